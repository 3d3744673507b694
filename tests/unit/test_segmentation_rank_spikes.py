"""What the segmenter by STDP sees."""

import numpy as np
import pytest

from leukospike.segmentation.rank_spikes import RANK_INPUTS, at_working_size, rank_spikes, working_scale


def noise(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def test_rank_survives_brightness_and_gamma_where_darkness_does_not():
    pixels = noise((30, 40)) // 8 * 4 + 8  # far enough apart that no two values fall together; none is clipped
    changed = np.round(1.25 * 255 * (pixels / 255) ** 0.7).astype(np.uint8)
    assert len(np.unique(changed)) == len(np.unique(pixels))
    before, after = rank_spikes(pixels), rank_spikes(changed)
    np.testing.assert_array_equal(before[3:], after[3:])
    assert np.abs(before[:3] - after[:3]).mean() > 0.05


def test_rank_spikes_by_hand():
    pixels = np.zeros((1, 4, 3), np.uint8)
    pixels[0, :, 0] = (0, 51, 51, 255)
    spikes = rank_spikes(pixels)
    assert spikes.shape == (RANK_INPUTS, 1, 4)
    np.testing.assert_allclose(spikes[0, 0], (1, 0.8, 0.8, 0), atol=1e-6)
    np.testing.assert_allclose(spikes[3, 0], (0.125, 0.5, 0.5, 0.875))


@pytest.mark.parametrize(
    ("shape", "scale"),
    [
        ((120, 120), 2),
        ((60, 60), 4),
        ((20, 20), 4),
        ((300, 300), 1),
        ((360, 10), 1),
        ((361, 10), 0.5),
        ((480, 640), 0.5),
        ((1440, 1080), 0.25),
        ((1944, 2592), 0.5),
        ((8000, 8000), 0.5),
    ],
)
def test_working_scale(shape: tuple[int, int], scale: float):
    assert working_scale(*shape) == scale


def test_half_and_double_size_come_to_the_same_working_size():
    for side in (120, 300, 450, 640):
        sizes = {at_working_size(noise((factor, factor))).shape for factor in (side // 2, side, side * 2)}
        assert len(sizes) == 1
