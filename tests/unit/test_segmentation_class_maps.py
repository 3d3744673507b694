"""From the network's answer to the class of each pixel: brought to size, piece by piece, and on black."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from leukospike.images.framing import content_window
from leukospike.segmentation import class_maps as module
from leukospike.segmentation.class_maps import LEAST_OF_WORKING, MOST_WORKING_PX, read_classes
from leukospike.segmentation.input_spikes import scaled
from leukospike.segmentation.light import Light, estimate_light
from leukospike.segmentation.looks import SCALES, Look, ScaleFrom
from leukospike.segmentation.network import CLASSES, default_segmenter
from leukospike.segmentation.scale import PixelSize
from leukospike.smears import CellKind, draw_cell, draw_field, subject_style
from tests.unit.random_network import noise, segmenter

SMOOTH = (12, 9)


def _field(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return draw_field([CellKind.LYMPHOBLAST, CellKind.LYMPHOCYTE], subject_style(rng), rng).pixels


def _shares(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """Give smooth shares of the four classes, which add up to 1; white cells are in some places only."""
    generator = torch.Generator().manual_seed(seed)
    potential = interpolate(torch.randn(1, 4, *SMOOTH, generator=generator), (rows, columns), mode="bicubic")[0]
    potential[0] += 0.7
    return torch.softmax(3 * potential, dim=0).half().numpy()


# --- brought to size ---


def _interpolated(
    shares: np.ndarray, rows: np.ndarray, columns: np.ndarray, factors: tuple[float, float]
) -> np.ndarray:
    """Interpolate at all pixels, also where the shares around a pixel leave no doubt."""
    along = (
        module._places_before(pixels, factor, length)
        for pixels, factor, length in zip((rows, columns), factors, shares.shape[1:], strict=True)
    )
    down, across = np.indices((rows.size, columns.size)).reshape(2, -1)
    (low, of_lower), (left, of_right) = along
    found = module._shares_between(shares, (low[down], of_lower[down]), (left[across], of_right[across]))
    return found.reshape(-1, rows.size, columns.size)


SIZES = [(480, 640), (481, 639), (90, 130), (205, 133), (60, 44), (61, 45)]


@pytest.mark.parametrize("shape", SIZES)
def test_interpolated_shares_are_those_of_torch(shape: tuple[int, int]):
    shares = _shares(120, 88)
    rows, columns = shape
    factors = rows / 120, columns / 88
    found = _interpolated(shares, np.arange(rows), np.arange(columns), factors)
    wanted = interpolate(torch.from_numpy(shares.astype(np.float32))[None], shape, mode="bilinear")[0].numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    part = _interpolated(shares, np.arange(20, 50), np.arange(7, 31), factors)
    np.testing.assert_allclose(part, wanted[:, 20:50, 7:31], atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", SIZES)
def test_classes_between_places_of_one_class_need_no_interpolation(shape: tuple[int, int], seed: int):
    shares = _shares(120, 88, seed)
    classes = module.likeliest(shares)
    rows, columns, factors = np.arange(shape[0]), np.arange(shape[1]), (shape[0] / 120, shape[1] / 88)
    found = module._classes_between(module._Places(shares, classes, module._differs(classes)), rows, columns, factors)
    np.testing.assert_array_equal(found, module.likeliest(_interpolated(shares, rows, columns, factors)))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", SIZES)
def test_classes_brought_to_size_are_those_of_all_pixels_interpolated(shape: tuple[int, int], seed: int):
    shares = _shares(120, 88, seed)
    factors = shape[0] / 120, shape[1] / 88
    everywhere = _interpolated(shares, np.arange(shape[0]), np.arange(shape[1]), factors).argmax(axis=0)
    wanted = np.where(everywhere == CLASSES.index("red cell"), 0, everywhere)
    found = module._brought_to_size(shares, *shape)
    assert {0, 1, 2} == set(np.unique(wanted))
    # Beside a place of no white cell, two halves of cytoplasm and nucleus may outweigh rest.
    assert (found != wanted).mean() < 2e-3
    assert (found > 0).mean() == pytest.approx((wanted > 0).mean(), rel=0.01)


def test_classes_of_the_working_size_are_taken_as_they_are():
    shares = _shares(120, 88)
    likeliest = shares.argmax(axis=0)
    np.testing.assert_array_equal(
        module._brought_to_size(shares, 120, 88), np.where(likeliest == 3, 0, likeliest).astype(np.uint8)
    )


def test_bands_change_nothing(monkeypatch: pytest.MonkeyPatch):
    shares = _shares(120, 88)
    whole = module._brought_to_size(shares, 480, 352)
    monkeypatch.setattr(module, "_BAND", 17)
    np.testing.assert_array_equal(module._brought_to_size(shares, 480, 352), whole)


@pytest.mark.parametrize("place", [(0, 0), (59, 59), (0, 30), (31, 59), (30, 30)])
def test_single_place_of_a_white_cell_is_kept_wherever_it_lies(place: tuple[int, int]):
    shares = np.zeros((4, 60, 60), np.float16)
    shares[0] = 1
    shares[:, place[0], place[1]] = (0, 0, 1, 0)
    found = module._brought_to_size(shares, 240, 180)
    rows, columns = np.nonzero(found)
    assert rows.mean() == pytest.approx(4 * place[0] + 1.5, abs=1)
    assert columns.mean() == pytest.approx(3 * place[1] + 1, abs=1)
    assert (found[rows, columns] == 2).all()


def test_image_without_white_cells_is_all_rest():
    shares = np.zeros((4, 50, 70), np.float16)
    shares[3] = 1
    assert not module._brought_to_size(shares, 100, 140).any()


# --- piece by piece ---


@pytest.mark.parametrize("shape", [(1024, 768), (1027, 769)])
def test_pieces_have_no_seams(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch):
    grains = noise((shape[0] // 16 + 1, shape[1] // 16 + 1)).repeat(16, axis=0).repeat(16, axis=1)
    image = np.ascontiguousarray(grains[: shape[0], : shape[1]])
    network = segmenter()
    with torch.inference_mode():
        whole = module._shares(network, image)
        monkeypatch.setattr(module, "LONGEST_WHOLE_PX", 700)
        monkeypatch.setattr(module, "_TILE_PX", 256)
        tiled = module._shares(network, image)
        monkeypatch.setattr(module, "_OVERLAP_PX", 0)
        with_seams = module._shares(network, image)
    assert tiled.shape == whole.shape == (4, *shape)
    assert len(np.unique(whole.argmax(axis=0))) > 1
    # The last bits of sums may depend on the size of the piece; an odd end is filled up otherwise.
    assert np.mean(whole.argmax(axis=0) != tiled.argmax(axis=0)) <= 1e-3
    assert np.mean(whole.argmax(axis=0) != with_seams.argmax(axis=0)) > 5e-3


# --- on black ---


def _on_black(shape: tuple[int, int], box: tuple[int, int, int, int], seed: int = 0) -> np.ndarray:
    """Draw noise in an ellipse, of box (top, left, height, width), on black."""
    top, left, height, width = box
    row, column = np.ogrid[:height, :width]
    inside = np.hypot((row + 0.5) / height - 0.5, (column + 0.5) / width - 0.5) < 0.5
    pixels = np.zeros((*shape, 3), np.uint8)
    pixels[top : top + height, left : left + width][inside] = noise((height, width), seed)[inside]
    return pixels


def _working_px(pixels: np.ndarray) -> int:
    sides = [part.stop - part.start for part in content_window(pixels)]
    return max(1, round(np.sqrt(np.prod(sides)) / 101))


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ((450, 450), (110, 130, 200, 190)),
        ((450, 450), (0, 130, 150, 210)),  # at the border
        ((450, 450), (250, 0, 200, 120)),
        ((450, 450), (243, 301, 207, 149)),
        ((225, 223), (60, 70, 104, 102)),  # as it is
        ((1000, 1000), (390, 410, 410, 405)),  # a quarter
    ],
)
def test_class_map_of_a_cell_on_black_is_that_of_the_plain_way(shape, box, monkeypatch: pytest.MonkeyPatch):
    network, pixels = segmenter(1), _on_black(shape, box)
    light = Light.unknown(shape, cut_out=True)
    px = _working_px(pixels)
    window = module._window_on_black(pixels, px)
    assert window is not None
    found = read_classes(network, pixels, light)
    assert (found.scale, found.scale_from) == (1 / px, ScaleFrom.CUT_OUT)
    computed = np.zeros(shape, bool)
    computed[2 * px * window.top : 2 * px * window.bottom, 2 * px * window.left : 2 * px * window.right] = True
    monkeypatch.setattr(module, "_window_on_black", lambda *_: None)
    plain = read_classes(network, pixels, light)
    top, left, height, width = box
    near = np.zeros(shape, bool)
    near[max(top - 4, 0) : top + height + 4, max(left - 4, 0) : left + width + 4] = True
    assert plain.scale == found.scale
    assert np.unique(plain.classes[near]).size > 1
    assert (found.classes != plain.classes)[near].mean() < 0.03  # what one rounding decides, a random network spreads
    assert not found.classes[~computed].any()  # where there is no cell, nothing is computed
    assert found.even is not None
    assert plain.even is not None
    assert found.even.shape == plain.even.shape
    assert (found.even != plain.even).mean() < 0.01


@pytest.mark.parametrize(
    ("pixels", "px"),
    [
        (noise((450, 450)), 2),
        (_on_black((450, 450), (5, 5, 440, 440)), 2),  # hardly anything to save
        (_on_black((451, 450), (110, 130, 200, 190)), 2),  # halved, it is no whole number of pixels
        (_on_black((20, 330), (5, 5, 10, 10)), 1),  # too small for borders and middle
    ],
)
def test_other_images_are_computed_whole(pixels: np.ndarray, px: int):
    assert module._window_on_black(pixels, px) is None


@pytest.mark.parametrize("size_px", [64, 150, 300, 451, 900])
def test_cell_on_black_is_read_at_the_size_of_its_box(size_px: int):
    rng = np.random.default_rng(3)
    cell = draw_cell(CellKind.LYMPHOBLAST, subject_style(rng), rng, size_px=size_px)
    found = read_classes(default_segmenter(), cell.pixels, Light.unknown((size_px, size_px), cut_out=True))
    assert found.classes.shape == (size_px, size_px)
    sides = [part.stop - part.start for part in content_window(cell.pixels)]
    assert 65 <= found.scale * np.sqrt(np.prod(sides)) <= 152
    both = np.count_nonzero((found.classes > 0) & (cell.mask > 0))
    assert 2 * both / (np.count_nonzero(found.classes) + np.count_nonzero(cell.mask)) > 0.9
    assert found.red_cells is not None
    assert len(found.red_cells) == 0


# --- the scale ---


@pytest.mark.parametrize("scale", [1e-4, 0.1, 1.0, 3.0, 1e4])
@pytest.mark.parametrize("shape", [(20, 30), (480, 640), (4000, 6000)])
def test_scales_are_bounded(scale: float, shape: tuple[int, int]):
    pixels = np.broadcast_to(np.uint8(0), (*shape, 3))
    bounded = module._bounded(scale, pixels)
    assert SCALES[0] <= bounded <= SCALES[1]
    assert bounded**2 * shape[0] * shape[1] <= MOST_WORKING_PX * 1.001
    if SCALES[0] < scale < SCALES[1] and scale**2 * shape[0] * shape[1] < MOST_WORKING_PX:
        assert bounded == scale


@pytest.mark.parametrize("um_per_px", [0.02, 2.0])
def test_absurd_pixel_size_is_no_obstacle(um_per_px: float):
    pixels = _field()[:160, :200]
    found = read_classes(default_segmenter(), pixels, estimate_light(pixels), PixelSize(um_per_px, "given"))
    assert found.classes.shape == pixels.shape[:2]
    assert SCALES[0] <= found.scale <= SCALES[1]


@pytest.mark.parametrize("factor", [0.4, 1.0, 1.9])
def test_field_is_read_where_its_red_cells_have_their_working_size(factor: float):
    pixels = scaled(_field(), factor)
    found = read_classes(default_segmenter(), pixels, estimate_light(pixels))
    assert found.scale_from is ScaleFrom.RED_CELLS
    assert found.scale * factor * 58 == pytest.approx(50, rel=0.15)
    assert found.red_cells is not None
    assert np.median(found.red_cells) == pytest.approx(factor * 58, rel=0.08)


def test_stated_size_that_fits_is_taken_and_one_that_red_cells_contradict_is_not():
    pixels = _field()
    light = estimate_light(pixels)
    fits, contradicted = (
        read_classes(default_segmenter(), pixels, light, PixelSize(um_per_px, "metadata")) for um_per_px in (0.125, 0.3)
    )
    assert (fits.scale_from, fits.scale) == (ScaleFrom.STATED, pytest.approx(50 / (7.2 / 0.125)))
    assert contradicted.scale_from is ScaleFrom.RED_CELLS
    assert contradicted.scale == pytest.approx(fits.scale, rel=0.15)


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (17, 33), (120, 121)])
def test_image_of_any_size_is_read(shape: tuple[int, int]):
    pixels = noise(shape)
    found = read_classes(segmenter(), pixels, estimate_light(pixels))
    assert found.classes.shape == shape
    assert found.classes.dtype == np.uint8
    assert found.classes.max() <= 2
    assert found.shares is not None
    np.testing.assert_allclose(found.shares.astype(float).sum(axis=0), 1, atol=0.01)


def test_blank_slide_shows_no_scale():
    pixels = (228 + np.random.default_rng(0).normal(0, 2, (300, 400, 3))).astype(np.uint8)
    found = read_classes(default_segmenter(), pixels, estimate_light(pixels))
    assert found.scale_from is ScaleFrom.NOTHING
    assert not found.classes.any()


def test_image_is_read_in_even_light():
    pixels = _field()
    columns = np.linspace(0, 1, pixels.shape[1])[None, :, None]
    dim = (pixels * (1 - 0.45 * columns) * np.array([0.95, 0.85, 0.75])).astype(np.uint8)
    plain, evened = (read_classes(default_segmenter(), one, estimate_light(one)) for one in (pixels, dim))
    both = np.count_nonzero((plain.classes > 0) & (evened.classes > 0))
    assert 2 * both / (np.count_nonzero(plain.classes) + np.count_nonzero(evened.classes)) > 0.93
    assert evened.even is not None
    bright = np.percentile(evened.even.reshape(-1, 3), 90, axis=0)
    assert np.ptp(bright) < 12


# --- large fields ---


def test_field_of_many_pixels_is_read_at_fewer_and_finds_the_same():
    pixels = _field()
    light = estimate_light(pixels)
    plain, fewer = (read_classes(default_segmenter(), pixels, light, most_px=most) for most in (10**9, 1))
    assert plain.even is not None
    assert fewer.even is not None
    assert fewer.even.shape[0] == pytest.approx(LEAST_OF_WORKING * fewer.scale * len(pixels), rel=0.15)
    assert fewer.scale == pytest.approx(plain.scale, rel=0.1)  # of the working size, as before
    both = np.count_nonzero((plain.classes > 0) & (fewer.classes > 0))
    assert 2 * both / (np.count_nonzero(plain.classes) + np.count_nonzero(fewer.classes)) > 0.95


@pytest.mark.parametrize(("most_px", "read"), [(10**9, 1.0), (480 * 640, 1.0), (64 * 480 * 640 // 100, 0.8), (1, 0.7)])
def test_least_scale_follows_from_the_pixels_of_the_working_size(most_px: int, read: float):
    pixels = np.broadcast_to(np.uint8(0), (960, 1280, 3))
    assert module._least_read(0.5, pixels, most_px) == pytest.approx(0.5 * read)


def test_large_image_is_looked_at_large_first(monkeypatch: pytest.MonkeyPatch):
    asked: list[float] = []
    plain = module._look_at

    def look_at(*arguments: Any) -> Look:
        asked.append(arguments[-1])
        return plain(*arguments)

    monkeypatch.setattr(module, "_look_at", look_at)
    for factor, first in ((1.0, 320), (3.2, 1280)):
        asked.clear()
        pixels = scaled(_field(), factor)
        read_classes(default_segmenter(), pixels, estimate_light(pixels))
        assert asked[0] * pixels.shape[1] == pytest.approx(first, rel=0.01)
