"""Each shift does what it says, to the image and to nothing else."""

import numpy as np
import pytest
from skimage.color import rgb2hsv

from research.segmentation.shifts import SHIFTS, blur, brightness, gamma, hue, jpeg, resize

SHIFT = {shift.name: shift for shift in SHIFTS}


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Smooth colours, an odd and an even side."""
    rows, columns = np.mgrid[:41, :60]
    return np.stack([100 + rows, 60 + columns, 200 - rows - columns // 2], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("shift", SHIFTS, ids=lambda shift: shift.name)
def test_a_shift_gives_the_same_uint8_image_each_time_and_a_mask_of_its_size(shift, pixels):
    before = pixels.copy()
    changed = shift.change(pixels)
    assert changed.dtype == np.uint8
    assert changed.ndim == 3
    assert not np.array_equal(changed, pixels)
    assert np.array_equal(changed, shift.change(pixels))
    assert np.array_equal(pixels, before)
    mask = np.where(pixels[..., 0] > 120, 255, 128).astype(np.uint8)
    assert shift.mask(mask).shape == changed.shape[:2]
    assert set(np.unique(shift.mask(mask))) == {128, 255}


def test_brightness_multiplies_and_clips():
    assert brightness(np.full((1, 1, 3), 100, np.uint8), 1.25).tolist() == [[[125, 125, 125]]]
    assert brightness(np.full((1, 1, 3), 250, np.uint8), 1.25).tolist() == [[[255, 255, 255]]]


def test_gamma_keeps_black_and_white():
    grey = np.array([[[0, 128, 255]]], np.uint8)
    assert gamma(grey, 0.7).tolist() == [[[0, round(255 * (128 / 255) ** 0.7), 255]]]
    assert gamma(grey, 1.4)[0, 0, 1] < 128


def test_hue_turns_by_the_angle_and_comes_back(pixels):
    turned = hue(pixels, 10)
    angle = (rgb2hsv(turned)[..., 0] - rgb2hsv(pixels)[..., 0]) * 360 % 360
    assert np.median(angle) == pytest.approx(10, abs=0.5)
    assert np.abs(hue(turned, -10).astype(int) - pixels).max() <= 2


def test_blur_spreads_a_point_as_a_gaussian():
    point = np.zeros((31, 31, 3), np.uint8)
    point[15, 15] = 255
    assert blur(point, 1.5)[15, 15, 0] == round(255 / (2 * np.pi * 1.5**2))
    assert np.array_equal(*blur(point, 1.5)[..., :2].transpose(2, 0, 1))


def test_jpeg_changes_little_but_more_at_lower_quality(pixels):
    noise = np.random.default_rng(0).integers(0, 30, pixels.shape, np.uint8)
    rough = pixels + noise
    far, near = (np.abs(jpeg(rough, quality).astype(int) - rough).mean() for quality in (40, 95))
    assert 0 < near < far < 15


def test_size_changes_both_sides_and_boxes_alike(pixels):
    assert resize(pixels, 0.5).shape == (21, 30, 3)
    assert resize(pixels, 2).shape == (82, 120, 3)
    assert SHIFT["half size"].boxes(np.array([[10, 20, 30, 40]])).tolist() == [[5, 10, 15, 20]]
    assert SHIFT["gamma 0.7"].boxes(np.array([[10, 20, 30, 40]])).tolist() == [[10, 20, 30, 40]]


def test_a_mask_shrinks_to_where_its_image_does():
    mask = np.zeros((40, 40), np.uint8)
    mask[10:30, 10:30] = 255
    assert np.argwhere(SHIFT["half size"].mask(mask)).min() == 5
    assert (SHIFT["half size"].mask(mask) > 0).sum() == 100
    assert (SHIFT["double size"].mask(mask) > 0).sum() == 1600
