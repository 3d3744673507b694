"""What holds for cells in any class map."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from leukospike.segmentation import cell_mask, find_cells, measure_cells
from leukospike.segmentation.instances import MIN_RED_CELLS, connected, fill_holes


@st.composite
def class_maps(draw: st.DrawFn) -> np.ndarray:
    """Draw a few blobs with nuclei, and noise."""
    shape = draw(st.tuples(st.integers(16, 90), st.integers(16, 90)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, columns = np.indices(shape)
    class_map = (rng.random(shape) < draw(st.sampled_from([0.0, 0.01]))).astype(np.uint8)
    for _ in range(draw(st.integers(0, 4))):
        distance = np.hypot(rows - rng.uniform(0, shape[0]), columns - rng.uniform(0, shape[1]))
        radius = rng.uniform(3, 20)
        class_map = np.maximum(class_map, (distance <= radius).astype(np.uint8) + (distance <= 0.6 * radius))
    return class_map


@st.composite
def regions(draw: st.DrawFn) -> np.ndarray:
    """Draw a run of pixels a row, perhaps empty or apart from the next, and change a few pixels."""
    shape = draw(st.tuples(st.integers(1, 8), st.integers(1, 8)))
    ends = st.tuples(st.integers(0, shape[1]), st.integers(0, shape[1]))
    region = np.zeros(shape, bool)
    for row in region:
        row[slice(*sorted(draw(ends)))] = True
    for place in draw(st.lists(st.tuples(*(st.integers(0, side - 1) for side in shape)), max_size=2)):
        region[place] ^= True
    return region if draw(st.booleans()) else region.T


@given(regions(), st.booleans())
@settings(max_examples=500, deadline=None)
def test_what_is_seen_without_labelling_is_what_scipy_finds(region: np.ndarray, corners: bool):
    labels, n_components = connected(region, corners=corners)
    wanted, n_wanted = ndimage.label(region, np.ones((3, 3)) if corners else None)
    assert n_components == n_wanted
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, wanted)
    np.testing.assert_array_equal(fill_holes(region), ndimage.binary_fill_holes(region))


@given(class_maps())
@settings(max_examples=60, deadline=None)
def test_cells_partition_part_of_the_foreground(class_map: np.ndarray):
    found = find_cells(class_map)
    assert set(np.unique(found.labels)) - {0} == set(range(1, len(found.boxes) + 1))
    assert not (found.labels[~ndimage.binary_fill_holes(class_map > 0)]).any()
    for number, (box, window) in enumerate(zip(found.boxes, ndimage.find_objects(found.labels), strict=True), start=1):
        inside = found.labels[window] == number
        assert window[0].start >= box.top
        assert window[1].start >= box.left
        assert (class_map[window][inside] == 2).any()


@st.composite
def rings(draw: st.DrawFn) -> np.ndarray:
    """Draw rings around each other and beside each other, each of cytoplasm, nucleus or both, and noise."""
    shape = draw(st.tuples(st.integers(16, 90), st.integers(16, 90)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, columns = np.indices(shape)
    class_map = np.zeros(shape, np.uint8)
    for _ in range(draw(st.integers(1, 3))):
        distance = np.hypot(rows - rng.uniform(0, shape[0]), columns - rng.uniform(0, shape[1]))
        for radius in rng.uniform(1, 45, draw(st.integers(1, 5))):
            within = np.abs(distance - radius) <= rng.uniform(0.5, 6)
            class_map[within] = rng.choice([0, 1, 2, 2])
    noisy = rng.random(shape) < draw(st.sampled_from([0.0, 0.01, 0.1]))
    class_map[noisy] = rng.integers(0, 3, np.count_nonzero(noisy))
    return class_map


@given(rings() | class_maps(), st.sampled_from([None, 2.0, 8.0]))
@settings(max_examples=150, deadline=None)
def test_each_cell_has_pixels_and_its_box_is_the_smallest_around_them(class_map: np.ndarray, red_cell_px: float | None):
    found = find_cells(class_map, red_cell_px=red_cell_px)
    windows = ndimage.find_objects(found.labels)
    assert [box.window for box in found.boxes] == windows
    measured = measure_cells(np.zeros((*class_map.shape, 3), np.uint8), class_map, found)
    assert all(cell.area_px > 0 and cell.nucleus_area_px > 0 for cell in measured)


@given(class_maps(), st.integers(0, 3), st.integers(4, 30))
@settings(max_examples=40, deadline=None)
def test_cells_move_with_the_image_when_it_is_padded(class_map: np.ndarray, blocks: int, odd: int):
    inner = np.pad(class_map, 2)
    moved = np.pad(inner, ((4 * blocks + odd, 5), (odd, 9)))
    here, there = find_cells(inner, red_cell_px=6), find_cells(moved, red_cell_px=6)
    np.testing.assert_array_equal(
        there.labels[4 * blocks + odd :][: inner.shape[0], odd : odd + inner.shape[1]], here.labels
    )


@given(class_maps())
@settings(max_examples=40, deadline=None)
def test_measures_agree_with_labels_and_mask(class_map: np.ndarray):
    found = find_cells(class_map, red_cell_px=8)
    pixels = np.random.default_rng(0).integers(0, 256, (*class_map.shape, 3), dtype=np.uint8)
    mask = cell_mask(class_map, found)
    np.testing.assert_array_equal(mask > 0, found.labels > 0)
    cells = measure_cells(pixels, class_map, found)
    assert sum(cell.area_px for cell in cells) == np.count_nonzero(mask)
    assert sum(cell.nucleus_area_px for cell in cells) == np.count_nonzero(mask == 255)
    for cell in cells:
        assert cell.border or cell.area_px >= MIN_RED_CELLS * np.pi * 8**2 / 4 - 1e-9
        assert 0 < cell.nc_ratio <= 1
        assert 0 < cell.circularity <= 1
        assert cell.top <= cell.row < cell.top + cell.height
        assert cell.left <= cell.column < cell.left + cell.width
