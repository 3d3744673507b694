"""Advice on good and spoiled images."""

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage.filters import threshold_otsu

from leukospike.images import read_image
from leukospike.segmentation import sharpness
from leukospike.segmentation.instances import connected
from leukospike.segmentation.quality import Advice, Quality, appearance_of, quality_of
from leukospike.smears import CellKind, draw_cell, draw_field, subject_style

PHOTOGRAPHS = (
    "astronaut.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "motorcycle_left.png",
    "grass.png",
    "page.png",
    "ihc.png",
    "retina.jpg",
)


def _fields() -> list[tuple[np.ndarray, np.ndarray]]:
    result: list[tuple[np.ndarray, np.ndarray]] = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        field = draw_field([CellKind.LYMPHOBLAST, CellKind.LYMPHOCYTE], subject_style(rng), rng)
        class_map = np.where(field.mask == 255, 2, field.mask > 0).astype(np.uint8)
        result.append((field.pixels, class_map))
    return result


FIELDS = _fields()


def _names(*arguments: np.ndarray, **options: object) -> tuple[Quality, ...]:
    return tuple(advice.quality for advice in quality_of(*arguments, **options))  # pyright: ignore[reportArgumentType]


def _times(pixels: np.ndarray, factor: float) -> np.ndarray:
    return np.clip(pixels * factor, 0, 255).astype(np.uint8)


def _blurred(pixels: np.ndarray, sigma: float) -> np.ndarray:
    return ndimage.gaussian_filter(pixels.astype(np.float32), (sigma, sigma, 0)).astype(np.uint8)


@pytest.mark.parametrize("field", FIELDS)
def test_generated_fields_are_fine_also_when_light_changes(field: tuple[np.ndarray, np.ndarray]):
    pixels, class_map = field
    assert quality_of(pixels) == quality_of(pixels, class_map) == ()
    for changed in (
        _times(pixels, 0.75),
        _times(pixels, 1.25),
        (255 * (pixels / 255) ** 0.7).astype(np.uint8),
        (255 * (pixels / 255) ** 1.4).astype(np.uint8),
        _blurred(pixels, 1.5),
    ):
        assert quality_of(changed, class_map) == ()


def test_generated_cells_are_fine():
    for seed in range(4):
        rng = np.random.default_rng(seed)
        assert quality_of(draw_cell(CellKind.LYMPHOBLAST, subject_style(rng), rng).pixels) == ()


def test_cell_cut_out_on_black_is_fine():
    pixels, class_map = FIELDS[0]
    assert quality_of(np.where(class_map[:, :, None] > 0, pixels // 3, 0).astype(np.uint8)) == ()


@pytest.mark.parametrize("grey", [0, 1, 128, 254, 255])
def test_uniform_is_blank(grey: int):
    assert quality_of(np.full((200, 300, 3), grey, np.uint8)) == (Advice(Quality.BLANK, "contrast", 0.0, 0.1),)


def test_empty_field_with_uneven_light_and_noise_is_blank():
    light = np.linspace(210, 230, 300)[None, :, None] + np.random.default_rng(0).normal(0, 2, (200, 300, 3))
    assert _names(light.astype(np.uint8)) == (Quality.BLANK,)


def test_field_of_one_small_faint_cell_is_not_blank():
    rows, columns = np.mgrid[:480, :640]
    cell = np.hypot(rows - 240, columns - 200) < 12
    pixels = np.where(cell[:, :, None], (190, 170, 205), (236, 234, 235)) + np.random.default_rng(0).normal(
        0, 2, (480, 640, 3)
    )
    assert Quality.BLANK not in _names(pixels.astype(np.uint8))


@pytest.mark.parametrize("field", FIELDS)
def test_spoiled_fields_are_told(field: tuple[np.ndarray, np.ndarray]):
    pixels, class_map = field
    assert Quality.INVERTED in _names(255 - pixels)
    assert Quality.UNDEREXPOSED in _names(_times(pixels, 0.15))
    assert Quality.OVEREXPOSED in _names((pixels.astype(int) // 6 + 210).astype(np.uint8)), "nearly white"
    cells, _ = connected(class_map > 0)
    largest = np.sqrt(np.bincount(cells.ravel())[1:].max() * 4 / np.pi)
    assert Quality.OUT_OF_FOCUS in _names(_blurred(pixels, 0.15 * largest), class_map)


def test_clipped_light_with_pale_nuclei_is_overexposed():
    pixels, _ = FIELDS[0]
    assert Quality.OVEREXPOSED in _names((pixels.astype(int) + 150).clip(0, 255).astype(np.uint8))


def test_exposure_is_that_of_the_light_before_it_was_evened_out():
    pixels, _ = FIELDS[0]
    assert quality_of(pixels, light=(200.0, 200.0, 200.0)) == ()
    [advice] = quality_of(pixels, light=(30.0, 40.0, 35.0))
    assert (advice.quality, advice.measure, advice.limit) == (Quality.UNDEREXPOSED, "light", 60.0)
    assert advice.value == pytest.approx(36.44)
    pale = (pixels.astype(int) // 2 + 110).astype(np.uint8)
    assert Quality.OVEREXPOSED in _names(pale, light=(255.0, 255.0, 254.0))
    assert Quality.OVEREXPOSED not in _names(pale, light=(200.0, 200.0, 200.0))


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs_are_no_smears(name: str):
    with resources.as_file(resources.files("skimage.data") / name) as path, Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert {Quality.NOT_A_SMEAR, Quality.INVERTED} & set(_names(pixels))


def test_noise_is_no_smear():
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    assert {Quality.NOT_A_SMEAR, Quality.BLANK} & set(_names(noise))


STAIN, GLASS = np.array([90, 40, 140]), np.array([240, 225, 230])


@pytest.mark.parametrize("grain", [3, 8, 15, 30])
def test_smoothed_noise_in_the_colours_of_a_smear_is_none(grain: int):
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(480, 640)), grain)
    share = ((noise - noise.min()) / np.ptp(noise))[:, :, None]
    assert Quality.NOT_A_SMEAR in _names((share * GLASS + (1 - share) * STAIN).astype(np.uint8))


def test_flat_shapes_in_the_colours_of_a_smear_are_none():
    rows, columns = np.mgrid[:480, :640]
    stripes = (columns // 20 % 2 == 0)[:, :, None]
    discs = (np.hypot(rows % 120 - 60, columns % 160 - 80) < 40)[:, :, None]
    for shape in (stripes, discs):
        assert Quality.NOT_A_SMEAR in _names(np.where(shape, STAIN, GLASS).astype(np.uint8))


@pytest.mark.parametrize("field", FIELDS)
def test_swapped_red_and_blue_are_no_smear(field: tuple[np.ndarray, np.ndarray]):
    pixels, class_map = field
    # Stronger azure than the generated stain has, as in real smears: nuclei keep less red.
    azure = pixels.copy()
    azure[class_map == 2, 0] //= 2
    assert quality_of(azure, class_map) == ()
    assert _names(np.ascontiguousarray(azure[:, :, ::-1]), class_map) == (Quality.NOT_A_SMEAR,)


@pytest.mark.parametrize("axis", [0, 1])
def test_moved_field_is_out_of_focus(axis: int):
    pixels, class_map = FIELDS[0]
    moved = ndimage.uniform_filter1d(pixels, max(pixels.shape) // 10, axis=axis)
    assert Quality.OUT_OF_FOCUS in _names(moved, class_map)


def test_speck_tells_no_scale():
    pixels, class_map = FIELDS[0]
    speck = np.zeros_like(class_map)
    row, column = np.argwhere(class_map == 2)[0]
    speck[row : row + 4, column : column + 4] = 2
    assert quality_of(pixels, speck) == ()


def test_what_is_beside_the_slide_is_not_looked_at():
    pixels, class_map = FIELDS[0]
    rows, columns = np.indices(pixels.shape[:2])
    middle, radius = np.array(pixels.shape[:2]) / 2, 0.48 * min(pixels.shape[:2])
    usable = np.hypot(rows - middle[0], columns - middle[1]) < radius
    for surround in (0, 90, 255):
        framed = np.where(usable[:, :, None], pixels, np.uint8(surround))
        assert quality_of(framed, class_map, usable=usable) == ()
    nowhere = np.zeros_like(usable)
    assert _names(pixels, usable=nowhere) == (Quality.BLANK,)


def test_all_usable_is_as_if_nothing_was_said_of_it():
    pixels, _ = FIELDS[1]
    blurred = _blurred(255 - pixels, 9)
    assert quality_of(blurred) == quality_of(blurred, usable=np.ones(pixels.shape[:2], dtype=bool))


def test_advice_says_what_was_measured_and_which_way_it_is_off():
    assert str(Advice(Quality.OUT_OF_FOCUS, "edge width of a cell", 0.24123, 0.2)) == (
        "out_of_focus (edge width of a cell 0.241, at most 0.2)"
    )
    assert str(Advice(Quality.UNDEREXPOSED, "light", 36.42, 60.0)) == "underexposed (light 36.4, at least 60)"


@pytest.mark.data
@pytest.mark.parametrize(
    ("images", "few"),
    [
        ("wbc-seg/tecom/???.png", 0),
        ("wbc-seg/cellavision/???.png", 1),
        ("bccd/images/*", 0),
        ("pbc/*/*", 0),
        ("raabin/images/*", 0),
        ("c-nmc/*/*/*", 0),
    ],
)
def test_real_smears_are_fine(real_data: Path, images: str, few: int):
    paths = sorted(real_data.glob(images))
    if not paths:
        pytest.skip(f"{images} is not there")
    chosen = paths[:: max(1, len(paths) // 20)]
    doubted = {path.name: advice for path in chosen if (advice := quality_of(read_image(path).pixels))}
    assert len(doubted) <= few, doubted


@pytest.mark.parametrize("highest", [4, 60, 256])
def test_appearance_is_that_of_its_definition(highest: int):
    pixels = np.random.default_rng(0).integers(0, highest, (90, 70, 3), dtype=np.uint8)
    pixels[:20] = [[[252, 250, 255]]]
    pixels[20:30, :, 1] //= 2
    usable = np.ones((90, 70), dtype=bool)
    usable[:, :10] = False
    for inside in (None, usable):
        seen = appearance_of(pixels, usable=inside)
        values = pixels.astype(np.float64)[:, 0 if inside is None else 10 :]
        luma = values @ [0.299, 0.587, 0.114]
        low, middle, high = np.percentile(luma, [1, 50, 99])
        np.testing.assert_allclose([seen.darkest, seen.brightest], [low, high], rtol=1e-5)
        assert seen.background == pytest.approx((middle - low) / (high - low), rel=1e-4)
        assert seen.cut_out == (np.mean(values.max(axis=2) <= 4) > 0.2)
        assert seen.white == pytest.approx(np.mean(values.min(axis=2) >= 250))
        assert seen.green == pytest.approx(np.mean(values[:, :, 1] > np.maximum(values[:, :, 0], values[:, :, 2]) + 6))
        light = np.full(3, 255.0)
        if not seen.cut_out:
            light = np.median(values[values[:, :, 1] > threshold_otsu(values[:, :, 1])], axis=0)
        np.testing.assert_allclose(seen.background_colour, light)
        spots = ndimage.uniform_filter(luma, 5)
        if inside is not None:
            spots = spots[2:-2, 2:-2]
        else:
            assert seen.contrast == pytest.approx(1 - spots.min() / np.percentile(spots, 99), rel=1e-4)


@pytest.mark.parametrize(("rows", "columns"), [(450, 450), (447, 301), (901, 1300)])
@pytest.mark.parametrize("place", [(0.1, 0.3), (0, 0), (0.55, 0.6)])
def test_what_is_black_around_a_cell_is_counted_and_not_looked_at(
    rows: int, columns: int, place: tuple[float, float], monkeypatch: pytest.MonkeyPatch
):
    cell = draw_cell(CellKind.LYMPHOBLAST, subject_style(np.random.default_rng(1)), np.random.default_rng(2)).pixels
    shown = cell[80:221, 70:231]
    pixels = np.zeros((rows, columns, 3), np.uint8)
    top, left = int(place[0] * (rows - len(shown))), int(place[1] * (columns - shown.shape[1]))
    pixels[top : top + shown.shape[0], left : left + shown.shape[1]] = shown
    found, edges = appearance_of(pixels), sharpness.edges_of(pixels)
    monkeypatch.setattr(sharpness, "content_window", lambda pixels: (slice(0, len(pixels)), slice(0, len(pixels[0]))))
    whole = appearance_of(pixels)
    for name, value in vars(whole).items():
        assert vars(found)[name] == pytest.approx(value, rel=1e-5), name
    for name, value in sharpness.edges_of(pixels)._asdict().items():
        # Black is flat and light is not: what is left out is no longer counted as either.
        if not name.startswith("flat"):
            assert edges._asdict()[name] == pytest.approx(value, rel=1e-5), name
    assert whole.cut_out


def test_image_without_an_edge_is_said_to_have_none():
    pixels = np.zeros((120, 160, 3), np.uint8)
    pixels[..., 0] = np.linspace(60, 250, 160)  # of red alone: green, by which edges are measured, is all 0
    [blur] = [advice for advice in quality_of(pixels) if advice.quality is Quality.OUT_OF_FOCUS]
    assert str(blur) == "out_of_focus (edge width of the longest side: there is no edge)"
