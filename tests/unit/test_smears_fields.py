"""Whole fields: the picture, the mask and the boxes say the same."""

import numpy as np
import pytest
from scipy import ndimage

from leukospike.errors import ConfigError
from leukospike.smears import CellKind, draw_field, subject_style

STYLE = subject_style(np.random.default_rng(7))
WHITES = [CellKind.LYMPHOBLAST, CellKind.NEUTROPHIL, CellKind.LYMPHOCYTE]


@pytest.fixture(scope="module")
def field():
    return draw_field(WHITES, STYLE, np.random.default_rng(12))


def test_sizes_and_types(field):
    assert field.pixels.shape == (480, 640, 3)
    assert field.mask.shape == (480, 640)
    assert field.pixels.dtype == field.mask.dtype == np.uint8
    assert set(np.unique(field.mask)) == {0, 128, 255}


def test_white_cells_boxes_are_those_of_the_mask(field):
    boxes = {(b.top, b.bottom, b.left, b.right) for b in field.boxes if b.label == "WBC"}
    labelled, n_cells = ndimage.label(field.mask > 0)
    found = {(r.start, r.stop, c.start, c.stop) for r, c in ndimage.find_objects(labelled)}
    assert n_cells == len(WHITES)
    assert boxes == found


def test_boxes_lie_in_the_field_and_name_all_three(field):
    assert {b.label for b in field.boxes} == {"WBC", "RBC", "Platelets"}
    for b in field.boxes:
        assert 0 <= b.top < b.bottom <= 480
        assert 0 <= b.left < b.right <= 640


def test_red_cells_whole_in_the_field_are_seven_micrometres(field):
    sizes = [
        (b.bottom - b.top + b.right - b.left) / 2 / 8 / STYLE.size
        for b in field.boxes
        if b.label == "RBC" and b.top > 0 and b.left > 0 and b.bottom < 480 and b.right < 640
    ]
    assert len(sizes) >= 5
    assert 6.6 < np.median(sizes) < 8.0


def test_red_cells_are_darker_than_glass_and_lighter_than_nuclei(field):
    green = field.pixels[:, :, 1].astype(float)
    red_cell = next(b for b in field.boxes if b.label == "RBC" and b.top > 0 and b.left > 0 and b.bottom < 480)
    glass = np.percentile(green, 95)
    inside = np.median(green[red_cell.top : red_cell.bottom, red_cell.left : red_cell.right])
    assert green[field.mask == 255].mean() < inside < 0.9 * glass


def test_same_chance_same_field(field):
    again = draw_field(WHITES, STYLE, np.random.default_rng(12))
    np.testing.assert_array_equal(again.pixels, field.pixels)
    np.testing.assert_array_equal(again.mask, field.mask)
    assert again.boxes == field.boxes


@pytest.mark.parametrize("n", [0, 5])
def test_too_few_or_too_many_white_cells_are_refused(n):
    with pytest.raises(
        ConfigError,
        match=rf"^draw_field: white_cells must list 1 to 4 cells, got {n}\. Draw more fields for more cells",
    ):
        draw_field([CellKind.LYMPHOCYTE] * n, STYLE, np.random.default_rng(0))


def test_a_red_cell_is_no_white_cell():
    with pytest.raises(
        ConfigError, match=r"^draw_field: white_cells must be .* neutrophils, got red cell\. .* are added automatically"
    ):
        draw_field([CellKind.RED_CELL], STYLE, np.random.default_rng(0))
