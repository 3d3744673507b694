"""Flags on good and spoiled images."""

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage.filters import threshold_otsu

from leukospike.segmentation import quality as quality_module
from leukospike.segmentation.instances import connected
from leukospike.segmentation.quality import Quality, appearance_of, edges_of, quality_of
from leukospike.smears import CellKind, draw_cell, draw_field, subject_style

PHOTOGRAPHS = (
    "astronaut.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "motorcycle_left.png",
    "grass.png",
    "page.png",
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
    assert quality_of(np.full((200, 300, 3), grey, np.uint8)) == (Quality.BLANK,)


def test_empty_field_with_uneven_light_and_noise_is_blank():
    light = np.linspace(210, 230, 300)[None, :, None] + np.random.default_rng(0).normal(0, 2, (200, 300, 3))
    assert quality_of(light.astype(np.uint8)) == (Quality.BLANK,)


@pytest.mark.parametrize("field", FIELDS)
def test_spoiled_fields_are_flagged(field: tuple[np.ndarray, np.ndarray]):
    pixels, class_map = field
    assert Quality.INVERTED in quality_of(255 - pixels)
    assert quality_of(_times(pixels, 0.15)) == (Quality.UNDEREXPOSED,)
    assert quality_of((pixels.astype(int) // 6 + 210).astype(np.uint8)) == (Quality.BLANK,), "nearly white"
    cells, _ = connected(class_map > 0)
    largest = np.sqrt(np.bincount(cells.ravel())[1:].max() * 4 / np.pi)
    assert quality_of(_blurred(pixels, 0.15 * largest), class_map) == (Quality.OUT_OF_FOCUS,)


def test_clipped_light_with_pale_nuclei_is_overexposed():
    pixels, _ = FIELDS[0]
    assert quality_of((pixels.astype(int) + 150).clip(0, 255).astype(np.uint8)) == (Quality.OVEREXPOSED,)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs_are_no_smears(name: str):
    with resources.as_file(resources.files("skimage.data") / name) as path, Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert Quality.NOT_A_SMEAR in quality_of(pixels)


def test_grey_smear_and_noise_are_no_smears():
    pixels, _ = FIELDS[0]
    grey = np.asarray(Image.fromarray(pixels).convert("L").convert("RGB"))
    assert quality_of(grey) == (Quality.NOT_A_SMEAR,)
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    assert Quality.NOT_A_SMEAR in quality_of(noise)


STAIN, GLASS = np.array([90, 40, 140]), np.array([240, 225, 230])


@pytest.mark.parametrize("grain", [3, 8, 15, 30])
def test_smoothed_noise_in_the_colours_of_a_smear_is_none(grain: int):
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(480, 640)), grain)
    share = ((noise - noise.min()) / np.ptp(noise))[:, :, None]
    assert quality_of((share * GLASS + (1 - share) * STAIN).astype(np.uint8)) == (Quality.NOT_A_SMEAR,)


def test_flat_shapes_in_the_colours_of_a_smear_are_none():
    rows, columns = np.mgrid[:480, :640]
    stripes = (columns // 20 % 2 == 0)[:, :, None]
    discs = (np.hypot(rows % 120 - 60, columns % 160 - 80) < 40)[:, :, None]
    for shape in (stripes, discs):
        assert Quality.NOT_A_SMEAR in quality_of(np.where(shape, STAIN, GLASS).astype(np.uint8))


@pytest.mark.parametrize("field", FIELDS)
def test_swapped_red_and_blue_are_no_smear(field: tuple[np.ndarray, np.ndarray]):
    pixels, class_map = field
    # Stronger azure than the generated stain has, as in real smears: nuclei keep less red.
    azure = pixels.copy()
    azure[class_map == 2, 0] //= 2
    assert quality_of(azure, class_map) == ()
    assert quality_of(np.ascontiguousarray(azure[:, :, ::-1]), class_map) == (Quality.NOT_A_SMEAR,)


@pytest.mark.parametrize("axis", [0, 1])
def test_moved_field_is_out_of_focus(axis: int):
    pixels, class_map = FIELDS[0]
    moved = ndimage.uniform_filter1d(pixels, max(pixels.shape) // 10, axis=axis)
    assert Quality.OUT_OF_FOCUS in quality_of(moved, class_map)


def test_speck_tells_no_scale():
    pixels, class_map = FIELDS[0]
    speck = np.zeros_like(class_map)
    row, column = np.argwhere(class_map == 2)[0]
    speck[row : row + 4, column : column + 4] = 2
    assert quality_of(pixels, speck) == ()


@pytest.mark.parametrize("sigma", [3.0, 6.0, 12.0])
def test_edge_of_a_blurred_step_has_the_width_of_the_blur(sigma: float):
    step = np.zeros((200, 200, 3), np.float32)
    step[:, 101:] = 200  # steepest at an even column: every second is looked at
    width = edges_of(ndimage.gaussian_filter(step, (sigma, sigma, 0)).astype(np.uint8)).width_px
    # The slope of a step blurred to s is its height / (s sqrt(2 pi)); the measurement blurs by another pixel.
    assert width == pytest.approx(np.sqrt(2 * np.pi * (sigma**2 + 1)), rel=0.05)


def test_edges_are_measured_in_pixels_of_the_image_and_whatever_the_contrast():
    pixels, _ = FIELDS[0]
    blurred = _blurred(pixels, 6)
    width = edges_of(blurred).width_px
    assert edges_of(blurred // 2).width_px == pytest.approx(width, rel=0.05)
    double = np.kron(blurred, np.ones((2, 2, 1), np.uint8))
    assert edges_of(double).width_px == pytest.approx(2 * width, rel=0.05)


@pytest.mark.data
def test_real_smears_are_fine(real_data: Path):
    folders = ("wbc-seg/tecom", "wbc-seg/cellavision", "bccd/images", "pbc/*", "c-nmc/*/*")
    for folder in folders:
        paths = [path for path in sorted(real_data.glob(f"{folder}/*.*")) if path.suffix != ".csv"]
        paths = [path for path in paths if not path.stem.endswith("_mask")]
        for path in paths[:: len(paths) // 20]:
            with Image.open(path) as image:
                assert quality_of(np.asarray(image.convert("RGB"))) == (), path.name


@pytest.mark.parametrize("highest", [4, 60, 256])
def test_appearance_is_that_of_its_definition(highest: int):
    pixels = np.random.default_rng(0).integers(0, highest, (90, 70, 3), dtype=np.uint8)
    pixels[:20] = [[[252, 250, 255]]]
    pixels[20:30, :, 1] //= 2
    seen = appearance_of(pixels)
    values = pixels.astype(np.float64)
    luma = values @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose([seen.darkest, seen.brightest], np.percentile(luma, [1, 99]), rtol=1e-5)
    assert seen.cut_out == (np.mean(values.max(axis=2) <= 4) > 0.2)
    assert seen.white == pytest.approx(np.mean(values.min(axis=2) >= 250))
    assert seen.green == pytest.approx(np.mean(values[:, :, 1] > np.maximum(values[:, :, 0], values[:, :, 2]) + 6))
    if seen.cut_out:
        cells, light = values.max(axis=2) > 4, np.full(3, 255.0)
    else:
        cells = values[:, :, 1] <= threshold_otsu(values[:, :, 1])
        light = np.median(values[~cells], axis=0)
    absorbed = -np.log10(np.maximum(values[cells], 1) / light)
    magenta = absorbed[:, 1] - (absorbed[:, 0] + absorbed[:, 2]) / 2
    assert seen.stain == pytest.approx(magenta.mean() / max(absorbed.mean(), 1e-3), rel=1e-4, abs=1e-6)
    most = absorbed[:, 1] >= np.maximum(absorbed[:, 0], absorbed[:, 2]) - 0.02
    assert seen.magenta == pytest.approx(most.mean(), abs=1e-6)


def test_edges_are_those_of_their_definition():
    pixels = FIELDS[0][0][:300, :200]
    green = ndimage.gaussian_filter(pixels[:, :, 1].astype(np.float64), 1.0)
    down, along = green[1:, :-1] - green[:-1, :-1], green[:-1, 1:] - green[:-1, :-1]
    slope = np.hypot(down, along)
    low, high = np.percentile(green[::2, ::2], [1, 99])
    steepest = np.percentile(slope[::2, ::2], 99.5)
    angle = np.arctan2(along, down)[::2, ::2]
    one_way = np.abs(np.sum(slope[::2, ::2] * np.exp(2j * angle))) / slope[::2, ::2].sum()
    middle = green[:-1, :-1][::2, ::2]
    dark = slope[::2, ::2][(middle < (low + high) / 2) & (middle > 4)]
    expected = (
        (high - low) / steepest,
        slope.mean() / (high - low),
        slope.mean() / steepest,
        one_way,
        np.median(dark) / (high - low),
    )
    np.testing.assert_allclose(edges_of(pixels), expected, rtol=1e-3)


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
    found, edges = appearance_of(pixels), edges_of(pixels)
    flags = quality_of(pixels)
    monkeypatch.setattr(
        quality_module, "content_window", lambda pixels: (slice(0, len(pixels)), slice(0, len(pixels[0])))
    )
    whole = appearance_of(pixels)
    for name, value in vars(whole).items():
        assert vars(found)[name] == pytest.approx(value, rel=1e-5), name
    assert edges == pytest.approx(edges_of(pixels), rel=1e-5)
    assert flags == quality_of(pixels)
    assert whole.cut_out


def test_percentiles_with_zeros_are_those_of_all_values():
    values = np.random.default_rng(0).random((30, 41)).astype(np.float32)
    for n_zeros in (0, 1, 12, 1000, 100_000):
        found = quality_module._percentiles(values, (0.5, 1, 50, 99, 99.5), n_zeros=n_zeros)
        expected = np.percentile(np.append(values.ravel(), np.zeros(n_zeros, np.float32)), (0.5, 1, 50, 99, 99.5))
        assert found == pytest.approx(expected.tolist(), abs=1e-6)
