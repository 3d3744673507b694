"""How pictures show their cell: seen on drawn ones whose measures are known."""

import numpy as np
import pytest

from leukospike.framing import Framing, View, content_window, framing_of, view_of
from leukospike.images import Picture


def _picture(rows: int, columns: int, *, radius: int = 0, um_per_px: float | None = None) -> Picture:
    """Draw a disc on black; without a radius, an even pink."""
    pixels = np.full((rows, columns, 3), (200, 150, 180), np.uint8)
    if radius:
        row, column = np.ogrid[:rows, :columns]
        pixels[np.hypot(row - rows / 2, column - columns / 2) > radius] = 0
    return Picture(pixels, "PNG", 8, generated=False, um_per_px=um_per_px)


def test_cell_on_black_is_measured_by_its_area():
    view = view_of(_picture(300, 240, radius=60, um_per_px=0.1))
    assert (view.side_px, view.um_per_px) == (300, 0.1)
    assert view.cell_share == pytest.approx(120 / 300, rel=0.01)


def test_large_picture_is_measured_as_a_small_one():
    assert view_of(_picture(1500, 1500, radius=300)).cell_share == pytest.approx(0.4, rel=0.02)


def test_picture_with_its_background_tells_no_share():
    assert view_of(_picture(257, 257)).cell_share is None


@pytest.mark.parametrize(
    ("rows", "columns", "radius", "of_cell"),
    [
        (257, 257, 0, True),
        (512, 400, 0, True),
        (480, 640, 0, False),
        (1944, 2592, 0, False),
        (450, 450, 100, True),
        (1024, 1024, 300, True),
        (1200, 1600, 600, False),  # the round view through an eyepiece
    ],
)
def test_cells_and_fields_are_told_apart(rows: int, columns: int, radius: int, of_cell: bool):
    assert view_of(_picture(rows, columns, radius=radius)).of_cell is of_cell


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
    pixels = np.zeros((size, size, 3), np.uint8)
    pixels[corner[0] : corner[0] + 2 * radius, corner[1] : corner[1] + 2 * radius][disc] = (9, 2, 4)
    step = max(1, size // 512)
    area = np.count_nonzero(pixels[::step, ::step].max(axis=2) > 4)
    expected = 2 * step * np.sqrt(area / np.pi) / size
    assert view_of(Picture(pixels, "PNG", 8, generated=False)).cell_share == pytest.approx(expected, rel=1e-12)
