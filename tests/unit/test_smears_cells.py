"""Single cells: what a hematologist would look for, in numbers."""

import numpy as np
import pytest
from scipy import ndimage

from leukospike.errors import ConfigError
from leukospike.images import read_image
from leukospike.smears import CellKind, draw_cell, subject_style

STYLE = subject_style(np.random.default_rng(4))


def drawn(kind, n, *, size_px=150):
    return [draw_cell(kind, STYLE, np.random.default_rng([8, i]), size_px=size_px) for i in range(n)]


@pytest.fixture(scope="module")
def lymphocytes():
    return drawn(CellKind.LYMPHOCYTE, 40)


@pytest.fixture(scope="module")
def lymphoblasts():
    return drawn(CellKind.LYMPHOBLAST, 40)


def areas_um2(cells):
    return np.array([np.count_nonzero(cell.mask) * (25 / 150) ** 2 for cell in cells])


def nucleus_shares(cells):
    return np.array([np.count_nonzero(cell.mask == 255) / np.count_nonzero(cell.mask) for cell in cells])


@pytest.mark.parametrize("kind", CellKind)
@pytest.mark.parametrize("size_px", [64, 101])
def test_picture_is_black_outside_the_cell_and_only_there(kind, size_px):
    cell = draw_cell(kind, STYLE, np.random.default_rng(3), size_px=size_px)
    assert cell.pixels.shape == (size_px, size_px, 3)
    assert cell.mask.shape == (size_px, size_px)
    assert cell.pixels.dtype == cell.mask.dtype == np.uint8
    np.testing.assert_array_equal(cell.pixels.any(axis=2), cell.mask > 0)
    assert cell.mask.any()


@pytest.mark.parametrize("kind", CellKind)
def test_cell_is_in_one_piece_in_the_middle(kind):
    cell = draw_cell(kind, STYLE, np.random.default_rng(5), size_px=200)
    whole = cell.mask > 0
    assert ndimage.label(whole)[1] == 1
    (rows, columns) = ndimage.find_objects(whole.astype(int))[0]
    assert abs(rows.start + rows.stop - 200) <= 1
    assert abs(columns.start + columns.stop - 200) <= 1


def test_blasts_are_larger_with_more_nucleus_yet_overlap(lymphocytes, lymphoblasts):
    small, large = areas_um2(lymphocytes), areas_um2(lymphoblasts)
    assert 1.2 < large.mean() / small.mean() < 1.8
    assert small.max() > large.min()
    little, much = nucleus_shares(lymphocytes), nucleus_shares(lymphoblasts)
    assert much.mean() - little.mean() > 0.04
    assert little.max() > much.min()
    assert little.min() > 0.4
    assert much.max() < 0.96


def test_lymphocytes_are_near_ten_micrometres(lymphocytes):
    diameters = 2 * np.sqrt(areas_um2(lymphocytes) / np.pi)
    assert 9 < diameters.mean() < 11


@pytest.mark.data
@pytest.mark.parametrize(("folder", "kind"), [("all", CellKind.LYMPHOBLAST), ("hem", CellKind.LYMPHOCYTE)])
def test_cells_fill_as_much_of_the_picture_as_real_ones(folder, kind, real_data):
    paths = sorted((real_data / "c-nmc" / "fold_0" / folder).glob("*.webp"))[::25]
    real = [np.sqrt(np.mean(read_image(path).pixels.any(axis=2))) for path in paths]
    ours = [np.sqrt(np.mean(cell.mask > 0)) for cell in drawn(kind, 60)]
    assert np.median(ours) == pytest.approx(np.median(real), rel=0.1)


def test_chromatin_of_lymphocytes_is_coarser(lymphocytes, lymphoblasts):
    def clumpiness(cell):
        core = ndimage.binary_erosion(cell.mask == 255, iterations=6)
        green = cell.pixels[:, :, 1].astype(float)
        return (green[core].std()) / green[core].mean()

    assert np.median([clumpiness(c) for c in lymphocytes]) > np.median([clumpiness(c) for c in lymphoblasts])


@pytest.mark.parametrize("kind", [CellKind.LYMPHOCYTE, CellKind.LYMPHOBLAST, CellKind.NEUTROPHIL])
def test_nucleus_is_darker_than_cytoplasm(kind):
    for cell in drawn(kind, 5):
        assert cell.pixels[cell.mask == 255].mean() < 0.8 * cell.pixels[cell.mask == 128].mean()


def test_neutrophil_has_a_lobed_nucleus_in_pink_cytoplasm():
    for cell in drawn(CellKind.NEUTROPHIL, 8):
        nucleus = cell.mask == 255
        assert 0.25 < np.count_nonzero(nucleus) / np.count_nonzero(cell.mask) < 0.55
        assert ndimage.label(nucleus, structure=np.ones((3, 3)))[1] == 1, "bridges join the lobes"
        rows, columns = np.nonzero(nucleus)
        reach = np.hypot(rows - rows.mean(), columns - columns.mean()).max()
        assert rows.size < 0.75 * np.pi * reach**2, "no disc"
        red, green, _ = cell.pixels[cell.mask == 128].mean(axis=0)
        assert red > 1.1 * green


def test_red_cell_is_pale_in_the_middle_and_has_no_nucleus():
    for cell in drawn(CellKind.RED_CELL, 8):
        assert not (cell.mask == 255).any()
        depth = ndimage.distance_transform_edt(cell.mask > 0)
        green = cell.pixels[:, :, 1]
        ring = (depth > 0.25 * depth.max()) & (depth < 0.5 * depth.max())
        assert green[depth > 0.85 * depth.max()].mean() > 1.05 * green[ring].mean()


def test_platelet_is_small_and_has_no_nucleus():
    for cell in drawn(CellKind.PLATELET, 8):
        assert not (cell.mask == 255).any()
        assert 2 < 2 * np.sqrt(np.count_nonzero(cell.mask) / np.pi) * 25 / 150 < 4.5


def test_size_in_pixels_changes_the_scale_not_the_cell():
    small = draw_cell(CellKind.LYMPHOBLAST, STYLE, np.random.default_rng(6), size_px=150)
    large = draw_cell(CellKind.LYMPHOBLAST, STYLE, np.random.default_rng(6), size_px=300)
    assert np.count_nonzero(large.mask) / np.count_nonzero(small.mask) == pytest.approx(4, rel=0.02)
    assert np.count_nonzero(large.mask == 255) / np.count_nonzero(small.mask == 255) == pytest.approx(4, rel=0.02)


@pytest.mark.parametrize("size_px", [0, 63, 1025])
def test_impossible_size_is_refused(size_px):
    with pytest.raises(
        ConfigError,
        match=rf"^draw_cell: size of a cell's picture must be from 64 to 1024 pixels, got {size_px}\. 300 is typical",
    ):
        draw_cell(CellKind.LYMPHOCYTE, STYLE, np.random.default_rng(0), size_px=size_px)
