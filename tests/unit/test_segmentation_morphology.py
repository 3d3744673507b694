"""Measures of drawn cells, against their exact values."""

import dataclasses

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import find_contours

from leukospike.segmentation import morphology
from leukospike.segmentation.instances import find_cells
from leukospike.segmentation.morphology import (
    CELL_COLUMNS,
    CellMeasures,
    cell_mask,
    cell_table,
    circularity,
    contour_length,
    measure_cells,
)

NUCLEUS_COLOUR, CYTOPLASM_COLOUR = (100, 50, 150), (200, 180, 220)


def _square_cell() -> tuple[np.ndarray, np.ndarray]:
    """Draw a cell of 40 x 30 pixels with a nucleus of 20 x 10."""
    class_map = np.zeros((90, 100), np.uint8)
    class_map[20:60, 30:60] = 1
    class_map[25:45, 35:45] = 2
    pixels = np.full((90, 100, 3), 240, np.uint8)
    pixels[class_map == 1] = CYTOPLASM_COLOUR
    pixels[class_map == 2] = NUCLEUS_COLOUR
    return pixels, class_map


def _measure(pixels: np.ndarray, class_map: np.ndarray) -> list[CellMeasures]:
    return measure_cells(pixels, class_map, find_cells(class_map))


def test_box_centroid_areas_and_ratio_of_a_rectangle():
    [cell] = _measure(*_square_cell())
    assert (cell.cell, cell.top, cell.left, cell.height, cell.width) == (1, 20, 30, 40, 30)
    assert (cell.row, cell.column) == (39.5, 44.5)
    assert (cell.area_px, cell.nucleus_area_px) == (1200, 200)
    assert cell.nc_ratio == pytest.approx(200 / 1200)
    assert not cell.border


def test_area_and_diameter_in_micrometres_need_the_size_of_a_pixel():
    pixels, class_map = _square_cell()
    [unknown] = _measure(pixels, class_map)
    assert np.isnan([unknown.area_um2, unknown.diameter_um]).all()
    [cell] = measure_cells(pixels, class_map, find_cells(class_map), um_per_px=0.25)
    assert cell.area_um2 == 1200 / 16
    assert np.pi * cell.diameter_um**2 / 4 == pytest.approx(1200 / 16)
    assert dataclasses.replace(cell, area_um2=0, diameter_um=0) == dataclasses.replace(
        unknown, area_um2=0, diameter_um=0
    )


def test_stain_is_the_mean_colour_and_density():
    [cell] = _measure(*_square_cell())
    assert (cell.nucleus_red, cell.nucleus_green, cell.nucleus_blue) == NUCLEUS_COLOUR
    assert (cell.cytoplasm_red, cell.cytoplasm_green, cell.cytoplasm_blue) == CYTOPLASM_COLOUR
    assert cell.nucleus_density == pytest.approx(-np.mean(np.log10(np.array(NUCLEUS_COLOUR) / 255)))
    assert cell.cytoplasm_density == pytest.approx(-np.mean(np.log10(np.array(CYTOPLASM_COLOUR) / 255)))


def test_black_has_a_finite_density():
    pixels, class_map = _square_cell()
    [cell] = _measure(np.zeros_like(pixels), class_map)
    assert cell.nucleus_density == pytest.approx(np.log10(255))


def test_cell_without_cytoplasm_has_no_colour_of_it():
    class_map = np.zeros((60, 60), np.uint8)
    class_map[10:50, 10:50] = 2
    [cell] = _measure(np.full((60, 60, 3), 90, np.uint8), class_map)
    assert cell.nc_ratio == 1
    assert np.isnan(cell.cytoplasm_red)
    assert np.isnan(cell.cytoplasm_density)


@pytest.mark.parametrize(
    ("window", "cut"),
    [
        (np.s_[20:], True),
        (np.s_[19:], False),
        (np.s_[:60], True),
        (np.s_[:61], False),
        (np.s_[:, 30:], True),
        (np.s_[:, 29:], False),
        (np.s_[:, :60], True),
        (np.s_[:, :61], False),
    ],
)
def test_border_is_flagged_where_the_cell_reaches_it(window: tuple[slice, ...], cut: bool):
    pixels, class_map = _square_cell()
    [cell] = _measure(pixels[window], class_map[window])
    assert cell.border == cut


def test_circularity_of_a_disc_is_one_and_of_nothing_is_zero():
    rows, columns = np.indices((201, 201))
    assert circularity(np.hypot(rows - 100, columns - 100) <= 90) == pytest.approx(1, abs=0.02)
    assert circularity(np.zeros((5, 5), bool)) == 0


@pytest.mark.parametrize("turned_degrees", [0, 30, 45])
def test_circularity_of_a_square_is_a_quarter_of_pi_however_it_is_turned(turned_degrees: int):
    rows, columns = np.indices((301, 301)) - 150
    angle = np.deg2rad(turned_degrees)
    along, across = (
        rows * np.cos(angle) + columns * np.sin(angle),
        columns * np.cos(angle) - rows * np.sin(angle),
    )
    square = (np.abs(along) < 80) & (np.abs(across) < 80)
    assert circularity(square) == pytest.approx(np.pi / 4, abs=0.015)


def test_circularity_of_an_ellipse_follows_its_perimeter():
    rows, columns = np.indices((301, 301))
    ellipse = ((rows - 150) / 140) ** 2 + ((columns - 150) / 70) ** 2 <= 1
    perimeter = np.pi * (3 * 210 - np.sqrt((3 * 140 + 70) * (140 + 3 * 70)))  # Ramanujan
    assert circularity(ellipse) == pytest.approx(4 * np.pi * np.pi * 140 * 70 / perimeter**2, abs=0.02)


def test_table_has_its_columns_with_and_without_cells():
    table = cell_table("a/b.png", _measure(*_square_cell()))
    assert tuple(table.columns) == CELL_COLUMNS == ("image", *(f.name for f in dataclasses.fields(CellMeasures)))
    assert table.loc[0, "image"] == "a/b.png"
    assert table.loc[0, "area_px"] == 1200
    empty = cell_table("a/b.png", [])
    assert tuple(empty.columns) == CELL_COLUMNS
    assert len(empty) == 0


def test_table_is_rounded_and_empty_where_nothing_is_known():
    pixels, class_map = _square_cell()
    pixels[30, 40] = 0  # a mean that is no round number
    class_map[25, 35] = 1
    table = cell_table("a.png", _measure(pixels, class_map))
    assert table.loc[0, "nc_ratio"] == 0.1658  # 199 / 1200
    assert table.loc[0, "nucleus_red"] == 99.5  # 100 * 198 / 199
    for row in table.to_csv(index=False).splitlines()[1:]:
        assert all(len(field.partition(".")[2]) <= 4 for field in row.split(",")[1:])
    assert table.to_csv(index=False, columns=["area_px", "area_um2", "diameter_um"]).splitlines()[1] == "1200,,"


def test_mask_has_the_values_of_its_classes_and_no_debris_and_no_holes():
    _, class_map = _square_cell()
    expected = np.array([0, 128, 255], np.uint8)[class_map]
    class_map[50:52, 50:52] = 0  # a hole
    class_map[80:84, 80:84] = 2  # debris
    np.testing.assert_array_equal(cell_mask(class_map, find_cells(class_map)), expected)


@pytest.mark.parametrize("sigma", [0.4, 1, 2, 4])
def test_contour_length_is_that_of_joined_lines(sigma: float):
    for seed in range(20):
        smooth = ndimage.gaussian_filter(np.random.default_rng(seed).random((40, 50)), sigma)
        smooth = np.pad(0.5 + (smooth - np.median(smooth)), 1).astype(np.float32)
        lines = find_contours(smooth, 0.5)
        expected = sum(float(np.hypot(*np.diff(line, axis=0).T).sum()) for line in lines)
        assert contour_length(smooth, smooth > 0.5) == pytest.approx(expected, rel=1e-9)


def test_one_line_is_told_from_several():
    for seed in range(200):
        high = np.pad(ndimage.gaussian_filter(np.random.default_rng(seed).random((12, 12)), 1.5) > 0.5, 1)
        lines = find_contours(high.astype(float), 0.5)
        assert morphology._bounded_by_one_line(high) is (len(lines) == 1)


def test_circularity_takes_the_longest_line():
    region = np.zeros((60, 90), bool)
    row, column = np.ogrid[:60, :90]
    region |= np.hypot(row - 30, column - 30) < 25
    region |= np.hypot(row - 30, column - 75) < 8
    alone = region & (column < 60)
    ratio = np.count_nonzero(region) / np.count_nonzero(alone)
    assert circularity(region) == pytest.approx(min(1, circularity(alone) * ratio), rel=1e-9)
