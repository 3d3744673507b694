"""The Gabor kernels against their closed form, and the responses against arithmetic by hand."""

import math

import numpy as np
import pytest
import torch

from leukospike.errors import ConfigError
from leukospike.spikes.gabor import (
    ORIENTATIONS_DEG,
    RADIUS_PX,
    edge_responses,
    edge_responses_by_rows,
    gabor_bank,
    gabor_kernel,
)


@pytest.mark.parametrize("degrees", [*ORIENTATIONS_DEG, 0.0, 45.0])
def test_a_kernel_has_mean_0_and_maximum_1(degrees):
    kernel = gabor_kernel(degrees)
    assert kernel.shape == (5, 5)
    assert kernel.dtype == torch.float32
    assert float(kernel.max()) == 1.0
    assert abs(float(kernel.double().mean())) < 1e-8


def test_a_kernel_is_largest_in_its_centre():
    for degrees in ORIENTATIONS_DEG:
        assert int(gabor_kernel(degrees).argmax()) == 12


def test_a_kernel_along_the_rows_follows_the_equation():
    # At 0 degrees u is the row and v the column; wavelength 2, sigma 1.6, gamma 0.3.
    raw = [
        [math.exp(-(row**2 + 0.09 * column**2) / (2 * 1.6**2)) * math.cos(math.pi * row) for column in range(-2, 3)]
        for row in range(-2, 3)
    ]
    centred = np.array(raw) - np.mean(raw)
    np.testing.assert_allclose(gabor_kernel(0.0).numpy(), centred / centred.max(), atol=1e-6)


def test_a_kernel_turned_half_round_is_itself_and_a_quarter_round_is_rotated():
    kernel = gabor_kernel(67.5)
    torch.testing.assert_close(gabor_kernel(67.5 + 180), kernel)
    torch.testing.assert_close(gabor_kernel(67.5 + 90), kernel.rot90())


def test_opposite_slants_are_mirror_images():
    bank = gabor_bank()
    torch.testing.assert_close(bank[0], bank[1].flip(-1))
    torch.testing.assert_close(bank[2], bank[3].flip(-1))


def test_the_bank_holds_the_four_kernels_in_order():
    bank = gabor_bank()
    assert bank.shape == (4, 1, 2 * RADIUS_PX + 1, 2 * RADIUS_PX + 1)
    for kernel, degrees in zip(bank, ORIENTATIONS_DEG, strict=True):
        assert torch.equal(kernel[0], gabor_kernel(degrees))


def test_responses_are_absolute_valid_cross_correlations():
    image = np.random.default_rng(0).random((7, 9), np.float32)
    bank = gabor_bank().numpy()[:, 0].astype(np.float64)
    by_hand = [
        [[abs((kernel * image[row : row + 5, column : column + 5]).sum()) for column in range(5)] for row in range(3)]
        for kernel in bank
    ]
    responses = edge_responses(torch.from_numpy(image)[None, None])
    np.testing.assert_allclose(responses[0].numpy(), by_hand, atol=1e-6)


def test_a_black_image_has_no_response_and_a_grey_one_only_rounding():
    assert float(edge_responses(torch.zeros(1, 1, 12, 12)).max()) == 0.0
    assert float(edge_responses(torch.full((1, 1, 12, 12), 0.7)).max()) < 1e-6


def test_the_image_is_not_modified():
    image = torch.rand(1, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    before = image.clone()
    edge_responses(image)
    assert torch.equal(image, before)


@pytest.mark.parametrize("at_once", [1, 2, 4])
@pytest.mark.parametrize(("rows", "columns"), [(5, 5), (6, 5), (7, 9), (40, 33), (41, 60), (224, 224), (450, 450)])
def test_responses_of_rows_at_once_are_the_same_to_the_last_bit(rows, columns, at_once):
    images = torch.rand(2, 1, rows, columns, generator=torch.Generator().manual_seed(0))
    images[1, :, : rows // 2] = 0
    whole, parts = edge_responses(images), edge_responses_by_rows(images, at_once=at_once)
    for row in range(at_once):
        own = whole[:, :, row::at_once]
        assert torch.equal(parts[:, row, :, : own.shape[2]], own)


def test_a_bank_of_other_kernels():
    bank = gabor_bank(window=7, orientations_deg=(0.0, 30.0))
    assert bank.shape == (2, 1, 7, 7)
    assert torch.equal(bank[1, 0], gabor_kernel(30.0, window=7))
    # Wavelength 3.5: along the row axis the envelope's and the wave's values one pixel from the centre.
    raw_at_1, raw_at_2 = (math.exp(-(row**2) / (2 * 2.8**2)) * math.cos(2 * math.pi * row / 3.5) for row in (1, 2))
    shape = (bank[0, 0, 3, 3] - bank[0, 0, 4, 3]) / (bank[0, 0, 3, 3] - bank[0, 0, 5, 3])
    assert float(shape) == pytest.approx((1 - raw_at_1) / (1 - raw_at_2), rel=1e-5)


def test_impossible_banks_are_refused():
    with pytest.raises(ConfigError, match=r"gabor_kernel: window must be at least 2, got 1\. The original uses 4"):
        gabor_bank(window=1)
    with pytest.raises(ConfigError, match=r"gabor_bank: orientations_deg must name at least one angle, got none\."):
        gabor_bank(orientations_deg=())
