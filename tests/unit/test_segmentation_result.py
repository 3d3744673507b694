"""From a class map to the result for one image."""

import numpy as np
import pytest

from leukospike.segmentation import CELL_COLUMNS, PixelSize, Quality, segmentation_of
from leukospike.smears import CellKind, DrawnField, draw_field, subject_style


@pytest.fixture(scope="module")
def field() -> DrawnField:
    rng = np.random.default_rng(1)
    return draw_field([CellKind.LYMPHOBLAST, CellKind.NEUTROPHIL, CellKind.LYMPHOCYTE], subject_style(rng), rng)


def _classes(field: DrawnField) -> np.ndarray:
    return np.where(field.mask == 255, 2, field.mask > 0).astype(np.uint8)


def test_cells_of_a_generated_field_are_those_drawn(field: DrawnField):
    result = segmentation_of("field.png", field.pixels, _classes(field))
    assert result.quality == ()
    np.testing.assert_array_equal(result.mask, field.mask)
    boxes = [(b.top, b.left, b.bottom - b.top, b.right - b.left) for b in field.boxes if b.label == "WBC"]
    rows = result.cells[["top", "left", "height", "width"]].itertuples(index=False)
    assert [tuple(row) for row in rows] == sorted(boxes)
    assert set(result.cells["image"]) == {"field.png"}
    assert result.pixel_size is not None
    assert result.pixel_size.source == "red cells"
    side = result.pixel_size.um_per_px
    np.testing.assert_allclose(result.cells["area_um2"], result.cells["area_px"] * side**2, atol=0.005)


def test_debris_goes_by_the_pixel_size(field: DrawnField):
    coarse = segmentation_of("a", field.pixels, _classes(field), pixel_size=PixelSize(0.01, "given"))
    assert len(coarse.cells) == 0
    assert not coarse.mask.any()
    assert coarse.pixel_size == PixelSize(0.01, "given")


@pytest.mark.parametrize(
    ("size", "flags"),
    [
        (PixelSize(0.125, "given"), ()),
        (PixelSize(0.5, "given"), ("pixel_size",)),
        (PixelSize(0.5, "metadata"), ("pixel_size",)),
        (PixelSize(0.5, "red cells"), ()),  # it rests on what the image shows
        (PixelSize(0.03, "given"), ("pixel_size",)),  # all cells are dropped as debris
    ],
)
def test_size_that_the_cells_contradict_is_flagged_and_cells_stay(field: DrawnField, size: PixelSize, flags: tuple):
    result = segmentation_of("a", field.pixels, _classes(field), pixel_size=size)
    assert result.quality == ()
    assert result.flags == flags
    assert len(result.cells) == (0 if size.um_per_px < 0.1 else 3)


def test_cell_that_the_border_cuts_says_nothing_of_the_size(field: DrawnField):
    bottom = min(box.bottom for box in field.boxes if box.label == "WBC")
    pixels, classes = field.pixels[bottom - 20 :], _classes(field)[bottom - 20 :]
    size = PixelSize(0.125, "given")
    whole = segmentation_of("a", pixels, classes, pixel_size=size)
    assert whole.cells["border"].any()
    assert whole.flags == ()


def test_bad_image_has_no_cells_whatever_the_class_map(field: DrawnField):
    blank = np.full_like(field.pixels, 200)
    result = segmentation_of("a", blank, _classes(field))
    assert [advice.quality for advice in result.quality] == [Quality.BLANK]
    assert tuple(result.cells.columns) == CELL_COLUMNS
    assert len(result.cells) == 0
    assert result.instances.boxes == ()
    assert not result.mask.any()
    assert result.pixel_size is None
