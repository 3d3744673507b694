"""Tiles against the whole image."""

import numpy as np
import pytest
from scipy import ndimage

from leukospike.errors import ConfigError
from leukospike.segmentation.tiles import class_map_in_tiles

REACH = 7


def _local(pixels: np.ndarray) -> np.ndarray:
    """Classify by the brightest green within REACH."""
    near = ndimage.maximum_filter(pixels[:, :, 1], size=2 * REACH + 1, mode="constant")
    return (near // 86).astype(np.uint8)


def _strided(pixels: np.ndarray) -> np.ndarray:
    """Classify blocks of 4, like a network that works on a smaller map."""
    rows, columns = pixels.shape[:2]
    return _local(pixels[::4, ::4].repeat(4, axis=0).repeat(4, axis=1)[:rows, :columns])


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    noise = np.random.default_rng(0).random((131, 173, 3))
    return np.where(noise > 0.997, 255, noise * 100).astype(np.uint8)


@pytest.mark.parametrize("tile", [40, 64, 131, 500])
def test_tiles_equal_the_whole_where_the_overlap_is_the_reach(pixels: np.ndarray, tile: int):
    np.testing.assert_array_equal(class_map_in_tiles(_local, pixels, tile=tile, overlap=REACH), _local(pixels))


def test_seams_show_where_the_overlap_is_smaller(pixels: np.ndarray):
    assert (class_map_in_tiles(_local, pixels, tile=40, overlap=REACH - 1) != _local(pixels)).any()


def test_tiles_begin_at_multiples_of_the_stride(pixels: np.ndarray):
    whole = _strided(pixels)
    np.testing.assert_array_equal(class_map_in_tiles(_strided, pixels, tile=48, overlap=12, align=4), whole)
    assert (class_map_in_tiles(_strided, pixels, tile=47, overlap=12) != whole).any()


def test_no_tile_is_larger_than_asked(pixels: np.ndarray):
    sizes: list[tuple[int, ...]] = []

    def spy(part: np.ndarray) -> np.ndarray:
        sizes.append(part.shape[:2])
        return _local(part)

    class_map_in_tiles(spy, pixels, tile=40, overlap=8)
    assert len(sizes) == 4 * 5
    assert np.max(sizes) == 40 + 2 * 8


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tile": 0, "overlap": 0}, "tile must be a positive multiple of align"),
        ({"tile": 30, "overlap": 8, "align": 4}, "tile must be a positive multiple of align"),
        ({"tile": 32, "overlap": 7, "align": 4}, "overlap must be a multiple of align"),
        ({"tile": 32, "overlap": -4}, "overlap must be a multiple of align"),
    ],
)
def test_impossible_tiles_are_refused(pixels: np.ndarray, values: dict[str, int], message: str):
    with pytest.raises(ConfigError, match=message):
        class_map_in_tiles(_local, pixels, **values)
