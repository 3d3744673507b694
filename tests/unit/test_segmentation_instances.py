"""Cells of drawn class maps, whose number, place and size are known."""

import numpy as np
import pytest

from leukospike.segmentation.instances import Box, find_cells, part_component

SHAPE = (300, 400)


def _disc(centre: tuple[float, float], radius: float, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    rows, columns = np.indices(shape)
    return np.hypot(rows - centre[0], columns - centre[1]) <= radius


def _map(*cells: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    class_map = np.zeros(cells[0][0].shape, dtype=np.uint8)
    for cell, nucleus in cells:
        class_map[cell] = np.maximum(class_map[cell], 1)
        class_map[nucleus] = 2
    return class_map


def _cell(row: float, column: float, radius: float) -> tuple[np.ndarray, np.ndarray]:
    return _disc((row, column), radius), _disc((row, column), 0.6 * radius)


def test_empty_map_has_no_cells():
    found = find_cells(np.zeros(SHAPE, np.uint8))
    assert found.boxes == ()
    assert found.labels.shape == SHAPE
    assert not found.labels.any()


def test_cells_apart_keep_their_pixels_and_are_numbered_by_row_then_column():
    class_map = _map(_cell(200, 60, 30), _cell(80, 300, 40), _cell(80, 100, 40))
    found = find_cells(class_map)
    assert found.boxes == (Box(40, 60, 81, 81), Box(40, 260, 81, 81), Box(170, 30, 61, 61))
    np.testing.assert_array_equal(found.labels > 0, class_map > 0)
    for number, centre in enumerate([(80, 100), (80, 300), (200, 60)], start=1):
        assert found.labels[centre] == number


@pytest.mark.parametrize("gap", [1, 2, 3])
def test_cells_closer_than_a_block_stay_apart(gap: int):
    class_map = np.zeros((60, 90), np.uint8)
    class_map[10:40, 10:40] = 2
    class_map[10:40, 40 + gap : 70 + gap] = 2
    assert find_cells(class_map).boxes == (Box(10, 10, 30, 30), Box(10, 40 + gap, 30, 30))


def test_pixels_that_touch_by_a_corner_are_one_component():
    class_map = np.zeros((60, 60), np.uint8)
    class_map[8:40, 8:40] = 2
    class_map[40, 40] = 2
    assert find_cells(class_map).boxes == (Box(8, 8, 33, 33),)


def test_touching_discs_are_parted_where_they_touch():
    class_map = _map(_cell(150, 130, 40), _cell(150, 200, 40))
    found = find_cells(class_map)
    assert len(found.boxes) == 2
    np.testing.assert_array_equal(found.labels > 0, class_map > 0)
    right = np.indices(SHAPE)[1] > 165
    away = np.abs(np.indices(SHAPE)[1] - 165) > 3
    np.testing.assert_array_equal(found.labels[(class_map > 0) & away], (1 + right)[(class_map > 0) & away])


def test_three_cells_in_a_ring_are_parted():
    class_map = _map(_cell(110, 200, 41), _cell(180, 160, 41), _cell(180, 240, 41))
    found = find_cells(class_map)
    assert [found.labels[centre] for centre in ((110, 200), (180, 160), (180, 240))] == [1, 2, 3]


def test_lobes_of_one_nucleus_stay_in_one_cell():
    lobes = _disc((130, 180), 14) | _disc((150, 220), 14) | _disc((175, 185), 14)
    found = find_cells(_map((_disc((150, 200), 60), lobes)))
    assert found.boxes == (Box(90, 140, 121, 121),)


@pytest.mark.parametrize(("column", "right"), [(235, 257), (255, 247)])
def test_bulge_stays_with_its_cell_where_the_neck_is_wide(column: int, right: int):
    bulge = _disc((150, column), 22)
    [box] = find_cells(_map((_disc((150, 200), 40) | bulge, _disc((150, 200), 24)))).boxes
    assert box[:3] == (110, 160, 81)
    assert abs(box.left + box.width - 1 - right) <= 2


def test_cytoplasm_farther_than_a_cell_reaches_is_left_out():
    strip = np.zeros(SHAPE, bool)
    strip[110:191, 20:380] = True
    [box] = find_cells(_map((strip, _disc((150, 200), 20)))).boxes
    assert box.left == pytest.approx(200 - 20 - 2.2 * 20, abs=2)
    assert box.width == pytest.approx(2 * (20 + 2.2 * 20), abs=4)


@pytest.mark.parametrize(("red_cell_px", "reach"), [(60, 70), (40, 50)])
def test_red_cells_say_how_far_cytoplasm_reaches_from_a_large_nucleus(red_cell_px: int, reach: int):
    class_map = _map((_disc((150, 200), 120), _disc((150, 200), 50)))
    [box] = find_cells(class_map, red_cell_px=red_cell_px).boxes
    assert box.height == pytest.approx(2 * (50 + reach), abs=6)  # one pixel of the working scale on either side


def test_cytoplasm_without_nucleus_behind_a_nucleated_cell_is_not_drawn():
    found = find_cells(_map((_disc((150, 100), 40) | _disc((150, 178), 40), _disc((150, 100), 24))))
    assert len(found.boxes) == 1
    assert not found.labels[:, 150:].any()


def test_blasts_whose_nuclei_touch_are_parted():
    first, second = _disc((150, 130), 40), _disc((150, 206), 40)
    found = find_cells(_map((first | second, _disc((150, 130), 38) | _disc((150, 206), 38))))
    assert len(found.boxes) == 2
    assert found.labels[150, 130] != found.labels[150, 206]


def test_cell_in_the_hole_of_another_is_a_cell_of_its_own():
    ring = _disc((150, 200), 120) & ~_disc((150, 200), 70)
    inner, nucleus = _cell(150, 200, 50)
    class_map = _map((ring, ring), (inner, nucleus))
    class_map[148:153, 198:203] = 0
    found = find_cells(class_map)
    assert found.boxes == (Box(30, 80, 241, 241), Box(100, 150, 101, 101))
    np.testing.assert_array_equal(found.labels == 2, inner)


def test_holes_belong_to_the_cell():
    cell, nucleus = _cell(150, 200, 40)
    class_map = _map((cell, nucleus))
    class_map[145:155, 195:205] = 0
    np.testing.assert_array_equal(find_cells(class_map).labels > 0, cell)


@pytest.mark.parametrize(("radius", "kept"), [(12, False), (30, True)])
def test_red_cells_say_what_is_debris(radius: int, kept: bool):
    class_map = _map(_cell(150, 200, radius))
    assert len(find_cells(class_map, red_cell_px=50).boxes) == kept


def test_without_red_cells_the_largest_cell_says_what_is_debris():
    found = find_cells(_map(_cell(100, 100, 50), _cell(200, 300, 10), _cell(250, 100, 20)))
    assert [box.height for box in found.boxes] == [101, 41]


def test_lone_speck_is_no_cell():
    assert find_cells(_map(_cell(150, 200, 4))).boxes == ()


def test_cytoplasm_alone_is_no_cell():
    cell, _ = _cell(150, 200, 40)
    assert find_cells(cell.astype(np.uint8)).boxes == ()


def test_cell_cut_by_the_border_may_be_smaller():
    whole, cut = _map(_cell(150, 200, 15)), _map(_cell(0, 200, 15))
    assert find_cells(whole, red_cell_px=44).boxes == ()
    assert find_cells(cut, red_cell_px=44).boxes == (Box(0, 185, 16, 31),)


def test_full_map_is_one_cell():
    assert find_cells(np.full((50, 70), 2, np.uint8)).boxes == (Box(0, 0, 50, 70),)


@pytest.mark.parametrize("scale", [1, 3])
def test_parts_are_found_at_any_scale(scale: int):
    component = _disc((30, 25), 20, (60, 100)) | _disc((30, 62), 20, (60, 100))
    component = component.repeat(scale, axis=0).repeat(scale, axis=1)
    labels, n_parts = part_component(component)
    assert n_parts == 2
    np.testing.assert_array_equal(labels > 0, component)
    assert abs(np.count_nonzero(labels == 1) / np.count_nonzero(labels == 2) - 1) < 0.1


@pytest.mark.data
@pytest.mark.parametrize("folder", ["tecom", "cellavision"])
def test_every_real_mask_of_one_cell_gives_one_cell(real_data, folder: str):
    from PIL import Image

    for path in sorted((real_data / "wbc-seg" / folder).glob("*_mask.png")):
        with Image.open(path) as image:
            mask = np.asarray(image)
        class_map = np.where(mask == 255, 2, mask > 0).astype(np.uint8)
        assert len(find_cells(class_map).boxes) == 1, path.name


def test_some_of_the_cells_are_numbered_anew_in_their_order():
    found = find_cells(_map(_cell(80, 100, 30), _cell(80, 200, 30), _cell(200, 60, 30), _cell(200, 300, 30)))
    some = found.only(np.array([False, True, False, True]))
    assert some.boxes == (found.boxes[1], found.boxes[3])
    assert some.labels.dtype == np.int32
    np.testing.assert_array_equal(some.labels == 1, found.labels == 2)
    np.testing.assert_array_equal(some.labels == 2, found.labels == 4)
    assert set(np.unique(some.labels)) == {0, 1, 2}


def test_all_or_none_of_the_cells_can_be_kept():
    found = find_cells(_map(_cell(80, 100, 30), _cell(80, 200, 30)))
    assert found.only(np.array([True, True])) is found
    none = found.only(np.array([False, False]))
    assert none.boxes == ()
    assert not none.labels.any()
    empty = find_cells(np.zeros(SHAPE, np.uint8))
    assert empty.only(np.zeros(0, bool)).boxes == ()
