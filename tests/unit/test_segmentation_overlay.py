"""Outlines drawn over an image."""

import numpy as np

from leukospike.segmentation.instances import find_cells
from leukospike.segmentation.overlay import BORDER_COLOUR, CELL_COLOUR, NUCLEUS_COLOUR, overlay

PIXELS = np.full((200, 240, 3), 128, np.uint8)


def _draw(class_map: np.ndarray) -> np.ndarray:
    return overlay(PIXELS, np.array([0, 128, 255], np.uint8)[class_map], find_cells(class_map))


def _is(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (picture == colour).all(axis=2)


def test_image_without_cells_is_unchanged():
    drawn = _draw(np.zeros((200, 240), np.uint8))
    np.testing.assert_array_equal(drawn, PIXELS)
    assert drawn is not PIXELS


def test_outlines_lie_on_cell_and_nucleus_and_nothing_outside_but_the_number_changes():
    class_map = np.zeros((200, 240), np.uint8)
    class_map[60:140, 60:160] = 1
    class_map[90:120, 90:130] = 2
    drawn = _draw(class_map)
    assert _is(drawn, CELL_COLOUR)[139, 60:160].all()
    assert _is(drawn, CELL_COLOUR)[80:140, 159].all()
    assert _is(drawn, NUCLEUS_COLOUR)[90:120, 90].all()
    outside = class_map == 0
    np.testing.assert_array_equal(drawn[outside], PIXELS[outside])
    assert (drawn[60:80, 60:80].min(axis=2) > 200).any(), "the number"
    assert (PIXELS == 128).all(), "the input is not drawn on"


def test_cell_at_the_border_has_its_own_broken_outline():
    class_map = np.zeros((200, 240), np.uint8)
    class_map[0:80, 60:160] = 2
    drawn = _draw(class_map)
    assert not _is(drawn, CELL_COLOUR).any()
    bottom = _is(drawn, BORDER_COLOUR)[79, 60:160]
    assert 0.3 < bottom.mean() < 0.7


def test_each_cell_has_another_number():
    class_map = np.zeros((200, 240), np.uint8)
    class_map[20:80, 20:80] = 2
    class_map[20:80, 120:180] = 2
    drawn = _draw(class_map)
    assert (drawn[20:50, 20:50] != drawn[20:50, 120:150]).any()
