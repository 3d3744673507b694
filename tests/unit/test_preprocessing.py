"""Blur, size, normalisation and augmentation against their mathematics."""

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve1d

from leukospike.errors import ConfigError, DataError
from leukospike.original.preprocessing import BLUR_KERNELS, Augmentation, Normalisation, blur, resize, spike_map
from leukospike.spikes import first_wave


def _smooth(n: int, side: int) -> torch.Tensor:
    """Give images without sharp edges, so that interpolation changes little."""
    place = torch.linspace(0, 3, side)
    phase = torch.arange(n)[:, None, None]
    return torch.sin(place[:, None] + phase) * torch.cos(place + phase / 2)


def _still(n: int, **changes: torch.Tensor) -> Augmentation:
    """Give the augmentation that does nothing but `changes`."""
    nothing = {
        "flip": torch.zeros(n, dtype=torch.bool),
        "shift": torch.zeros(n, 2),
        "zoom": torch.ones(n),
        "rotation_deg": torch.zeros(n),
    }
    return Augmentation(**(nothing | changes))


# --- blur ---


@pytest.mark.parametrize("window", BLUR_KERNELS)
def test_blurred_impulse_is_the_kernel_and_keeps_its_sum(window):
    impulse = torch.zeros(1, 21, 21)
    impulse[0, 10, 10] = 1
    blurred = blur(impulse, window=window)[0]
    kernel = torch.tensor(BLUR_KERNELS[window]) / 256
    reach = window // 2
    torch.testing.assert_close(blurred[10, 10 - reach : 11 + reach], kernel[reach] * kernel)
    assert float(blurred.sum()) == pytest.approx(1, abs=1e-6)
    assert int((blurred > 0).sum()) == window**2


@pytest.mark.parametrize("window", BLUR_KERNELS)
def test_kernel_is_a_gaussian_of_opencv_default_width(window):
    # OpenCV's documentation of getGaussianKernel: 0.3 ((size - 1) / 2 - 1) + 0.8.
    sigma = 0.3 * ((window - 1) / 2 - 1) + 0.8
    place = np.arange(window) - window // 2
    gauss = np.exp(-(place**2) / (2 * sigma**2))
    np.testing.assert_allclose(np.array(BLUR_KERNELS[window]) / 256, gauss / gauss.sum(), atol=0.011)


def test_blur_mirrors_the_border_without_its_last_pixel():
    image = np.random.default_rng(0).random((12, 17), dtype=np.float32)
    kernel = np.array(BLUR_KERNELS[9]) / 256
    expected = convolve1d(convolve1d(image, kernel, axis=0, mode="mirror"), kernel, axis=1, mode="mirror")
    np.testing.assert_allclose(blur(torch.from_numpy(image)[None], window=9)[0], expected, atol=1e-6)


def test_unknown_blur_window_is_refused():
    with pytest.raises(ConfigError, match=r"blur: window must be one of 5, 7, 9, got 8\. The original uses 9\."):
        blur(torch.zeros(1, 20, 20), window=8)


# --- size ---


@pytest.mark.parametrize("size", [24, 50, 80])
def test_resized_constant_is_that_constant(size):
    resized = resize(torch.full((2, 31, 50), 0.375), size=size)
    torch.testing.assert_close(resized, torch.full((2, size, size), 0.375))


def test_shrinking_by_a_whole_number_keeps_the_mean_of_the_inside():
    ramp = torch.arange(60.0).expand(1, 60, 60)
    resized = resize(ramp, size=20)[0, 10]
    torch.testing.assert_close(resized[2:-2], torch.arange(20.0)[2:-2] * 3 + 1)


# --- first wave, blur, size ---


def test_spike_map_is_wave_then_blur_then_size():
    grey = np.random.default_rng(0).random((40, 60), dtype=np.float32)
    spikes = spike_map(grey, size=24, window=5)
    wave = first_wave(torch.from_numpy(grey)[None, None]).float()
    assert spikes.shape == (24, 24)
    assert spikes.dtype == np.float32
    np.testing.assert_array_equal(spikes, resize(blur(wave, window=5), size=24)[0])


def test_spike_map_of_a_black_image_is_empty():
    assert not spike_map(np.zeros((30, 30), np.float32), size=24, window=9).any()


# --- normalisation ---


def test_normalisation_has_the_closed_form():
    # Half 0, half 1: mean 1/2, standard deviation 1/2.
    maps = np.zeros((4, 6, 6), np.float32)
    maps[:, :3] = 1
    fitted = Normalisation.fit(maps)
    assert (fitted.mean, fitted.std) == (0.5, 0.5)
    np.testing.assert_array_equal(fitted.apply(maps), np.where(maps > 0, 1, -1))


def test_normalisation_of_many_pixels_is_that_of_float64():
    maps = np.random.default_rng(0).random((50, 40, 40), dtype=np.float32) + 100
    fitted = Normalisation.fit(maps)
    assert fitted.mean == pytest.approx(maps.mean(dtype=np.float64), rel=1e-12)
    assert fitted.std == pytest.approx(maps.std(dtype=np.float64), rel=1e-6)
    applied = fitted.apply(maps)
    assert applied.mean(dtype=np.float64) == pytest.approx(0, abs=1e-4)
    assert applied.std(dtype=np.float64) == pytest.approx(1, rel=1e-4)


def test_applying_leaves_the_maps_as_they_were():
    maps = np.random.default_rng(0).random((3, 8, 8), dtype=np.float32)
    before = maps.copy()
    Normalisation.fit(maps).apply(maps)
    np.testing.assert_array_equal(maps, before)


def test_blank_maps_cannot_be_normalised():
    with pytest.raises(DataError, match=r"at least one image must not be blank, got 3 without a spike\."):
        Normalisation.fit(np.zeros((3, 8, 8), np.float32))


# --- augmentation ---


def test_no_change_gives_the_same_images():
    images = _smooth(3, 25)
    torch.testing.assert_close(_still(3).apply(images), images, rtol=0, atol=1e-5)


def test_flip_mirrors_columns_of_the_chosen_images():
    images = _smooth(2, 24)
    flipped = _still(2, flip=torch.tensor([True, False])).apply(images)
    torch.testing.assert_close(flipped[0], images[0].flip(-1), rtol=0, atol=1e-5)
    torch.testing.assert_close(flipped[1], images[1], rtol=0, atol=1e-5)


def test_shift_by_whole_pixels_repeats_the_border():
    side = 20
    images = torch.rand(1, side, side, generator=torch.Generator().manual_seed(0))
    shifted = _still(1, shift=torch.tensor([[2 / side, -1 / side]])).apply(images)[0]
    # Two columns to the right, one row up.
    torch.testing.assert_close(shifted[:-1, 2:], images[0, 1:, :-2], rtol=0, atol=1e-5)
    torch.testing.assert_close(shifted[:-1, 0], images[0, 1:, 0], rtol=0, atol=1e-5)
    torch.testing.assert_close(shifted[-1, 2:], images[0, -1, :-2], rtol=0, atol=1e-5)


def test_rotation_by_a_right_angle_turns_the_image_clockwise():
    images = _smooth(1, 21)
    turned = _still(1, rotation_deg=torch.tensor([90.0])).apply(images)[0]
    torch.testing.assert_close(turned, torch.rot90(images[0], -1), rtol=0, atol=1e-4)


def test_zoom_enlarges_about_the_centre():
    side = 21
    place = torch.arange(side) - side // 2
    images = place.expand(1, side, side) / 1.0
    zoomed = _still(1, zoom=torch.tensor([1.25])).apply(images)[0]
    torch.testing.assert_close(zoomed, images[0] / 1.25, rtol=0, atol=1e-5)


def test_draw_stays_within_the_limits_and_reaches_them():
    drawn = Augmentation.draw(4000, generator=torch.Generator().manual_seed(0))
    for values, low, high in ((drawn.shift, -0.1, 0.1), (drawn.zoom, 0.8, 1.2), (drawn.rotation_deg, -30, 30)):
        reach = 0.01 * (high - low)
        assert low <= float(values.min()) < low + reach
        assert high - reach < float(values.max()) <= high
    assert float(drawn.flip.float().mean()) == pytest.approx(0.5, abs=0.05)


def test_draw_repeats_with_its_generator_alone():
    def numbers(seed: int) -> torch.Tensor:
        drawn = Augmentation.draw(5, generator=torch.Generator().manual_seed(seed))
        return torch.cat([drawn.flip.float(), drawn.shift.flatten(), drawn.zoom, drawn.rotation_deg])

    first = numbers(3)
    torch.rand(7)
    assert torch.equal(first, numbers(3))
    assert not torch.equal(first, numbers(4))
