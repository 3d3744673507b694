"""How pictures show their cell: seen on drawn ones whose measures are known."""

import numpy as np
import pytest

from leukospike.images import Picture, framing
from leukospike.images.framing import Framing, View, content_window, framing_of, is_cut_out, view_of
from leukospike.smears import CellKind, draw_cell, draw_field, subject_style

CELL, NUCLEUS, GLASS = (150, 120, 180), (80, 40, 130), (235, 228, 230)


def _picture(rows: int, columns: int, *, radius: int = 0, um_per_px: float | None = None) -> Picture:
    """Draw a cell with a nucleus on black; without a radius, an even pink."""
    pixels = np.full((rows, columns, 3), (200, 150, 180), np.uint8)
    if radius:
        row, column = np.ogrid[:rows, :columns]
        away = np.hypot(row - rows / 2, column - columns / 2)
        pixels[:] = np.where((away > radius)[..., None], 0, CELL)
        pixels[away <= 0.7 * radius] = NUCLEUS
    return Picture(pixels, "PNG", 8, generated=False, um_per_px=um_per_px)


def _through_eyepiece(radius: int, surround: int = 0) -> np.ndarray:
    """Draw a field of red cells and a white one, with a dark surround around a circle."""
    rng = np.random.default_rng(0)
    pixels = draw_field([CellKind.LYMPHOBLAST] * 3, subject_style(rng), rng).pixels.copy()
    row, column = np.ogrid[:480, :640]
    pixels[np.hypot(row - 240, column - 320) > radius] = surround
    return pixels


def test_cell_on_black_is_measured_by_its_area():
    view = view_of(_picture(300, 240, radius=60, um_per_px=0.1))
    assert (view.side_px, view.um_per_px) == (300, 0.1)
    assert view.cell_share == pytest.approx(120 / 300, rel=0.01)


def test_large_picture_is_measured_as_a_small_one():
    assert view_of(_picture(1500, 1500, radius=300)).cell_share == pytest.approx(0.4, rel=0.02)


def test_picture_with_its_background_tells_no_share():
    assert view_of(_picture(257, 257)).cell_share is None


@pytest.mark.parametrize("side", [120, 450, 1024, 2000])
@pytest.mark.parametrize("share", [0.25, 0.45, 0.6])
def test_cell_cut_out_is_told_at_any_size(side: int, share: float):
    assert is_cut_out(_picture(side, side, radius=round(side * share / 2)).pixels)


@pytest.mark.parametrize("kind", [CellKind.LYMPHOBLAST, CellKind.LYMPHOCYTE, CellKind.NEUTROPHIL])
@pytest.mark.parametrize("seed", range(4))
def test_cells_of_any_stain_and_kind_are_told_on_black(kind: CellKind, seed: int):
    rng = np.random.default_rng(seed)
    assert is_cut_out(draw_cell(kind, subject_style(rng), rng).pixels)


@pytest.mark.parametrize("radius", [180, 240, 300])
@pytest.mark.parametrize("surround", [0, 3])
def test_field_through_an_eyepiece_is_no_cell_cut_out(radius: int, surround: int):
    pixels = _through_eyepiece(radius, surround)
    assert not is_cut_out(pixels)
    assert view_of(Picture(pixels, "PNG", 8, generated=False)).cell_share is None


@pytest.mark.parametrize("grey", [0, 2, 90, 255])
def test_image_of_one_colour_is_no_cell_cut_out(grey: int):
    assert not is_cut_out(np.full((200, 300, 3), grey, np.uint8))


def test_a_grey_spot_on_black_is_no_cell_cut_out():
    pixels = np.zeros((300, 300, 3), np.uint8)
    pixels[100:200, 100:200] = 128
    assert not is_cut_out(pixels)


def test_framing_is_the_median():
    views = [View(300, 0.1, 0.3), View(300, 0.1, 0.4), View(450, 0.2, 0.5)]
    assert framing_of(views) == Framing(side_px=300, um_per_px=0.1, cell_share=0.4, on_black=True)


def test_pixel_size_that_few_state_is_not_that_of_all():
    assert framing_of([View(300, 0.1, 0.3), View(300, None, 0.3)]).um_per_px is None
    assert framing_of([View(300, 0.1, 0.3), View(300, None, 0.3), View(300, 0.1, 0.3)]).um_per_px == 0.1


def test_cells_on_their_background_are_taken_for_half_as_wide():
    assert framing_of([View(257, None, None), View(257, None, 0.3)]) == Framing(257, None, 0.5, on_black=False)


def test_content_window_is_the_box_of_all_that_is_not_zero():
    rng = np.random.default_rng(0)
    for n_pixels in (1, 2, 5):
        pixels = np.zeros((30, 40, 3), np.uint8)
        rows, columns = rng.integers(0, 30, n_pixels), rng.integers(0, 40, n_pixels)
        pixels[rows, columns, rng.integers(0, 3, n_pixels)] = 1
        expected = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
        assert content_window(pixels) == expected
    assert content_window(np.zeros((30, 40, 3), np.uint8)) == (slice(0, 0), slice(0, 0))


@pytest.mark.parametrize(
    ("size", "radius", "corner"), [(450, 90, (31, 63)), (1100, 200, (0, 7)), (1025, 250, (520, 500))]
)
def test_what_is_black_around_a_cell_changes_nothing_but_its_share(size: int, radius: int, corner: tuple[int, int]):
    row, column = np.ogrid[: 2 * radius, : 2 * radius]
    disc = np.hypot(row - radius, column - radius) < radius

    def share_at(top: int, left: int) -> float | None:
        pixels = np.zeros((size, size, 3), np.uint8)
        pixels[top : top + 2 * radius, left : left + 2 * radius][disc] = (9, 2, 4)
        return view_of(Picture(pixels, "PNG", 8, generated=False)).cell_share

    assert share_at(*corner) == share_at(0, 0)
    assert share_at(*corner) == pytest.approx(2 * np.sqrt(np.count_nonzero(disc) / np.pi) / size, rel=0.01)


@pytest.mark.parametrize("count", [1, 2, 3, 100, 1001, 40_000])
def test_percentiles_of_bytes_are_exactly_those_of_numpy(count: int):
    values = np.random.default_rng(count).integers(0, 256, count).astype(np.uint8)
    for share in (0, 1, 50, 98, 100):
        assert framing._percentile(values, share) == np.percentile(values, share)
