"""Differences of Gaussians against what they are made for."""

import pytest
import torch

from leukospike.errors import ConfigError
from leukospike.spikes import difference_of_gaussians_bank, spot_responses


def test_kernels_have_mean_0_and_maximum_1_and_every_symmetry():
    bank = difference_of_gaussians_bank()
    assert bank.shape == (6, 1, 13, 13)
    assert bank.mean(dim=(1, 2, 3)).abs().max() < 1e-7
    assert bank.amax(dim=(1, 2, 3)).tolist() == [1.0] * 6
    assert torch.equal(bank, bank.transpose(2, 3))
    assert torch.equal(bank, bank.flip(2))


def test_off_is_on_upside_down():
    bank = difference_of_gaussians_bank(9, [(1.0, 2.0)])
    torch.testing.assert_close(bank[1] / -bank[1].min(), -bank[0] / bank[0].max())


def test_a_bright_spot_is_on_and_a_dark_one_off():
    image = torch.full((1, 1, 25, 25), 0.5)
    image[0, 0, 8, 8], image[0, 0, 16, 16] = 1.0, 0.0
    on, off = spot_responses(image, difference_of_gaussians_bank(scales_px=[(0.8, 1.6)]))[0]
    assert on.argmax() == 8 * 25 + 8
    assert off.argmax() == 16 * 25 + 16
    assert on[16, 16] == 0 == off[8, 8]


def test_the_border_of_a_flat_image_is_no_edge():
    responses = spot_responses(torch.full((2, 1, 9, 14), 0.7), difference_of_gaussians_bank())
    assert responses.shape == (2, 6, 9, 14)
    assert float(responses.max()) < 1e-5


@pytest.mark.parametrize(
    ("radius", "scales", "message"),
    [
        (0, [(1.0, 2.0)], r"radius_px must be at least 1, got 0\. Use twice"),
        (3, [], r"scales_px must be pairs of a positive centre and a wider, finite surround, got \[\]\. OFF"),
        (3, [(2.0, 1.0)], r"scales_px must be pairs .* got \[\(2\.0, 1\.0\)\]\. OFF"),
        (3, [(0.0, 1.0)], r"scales_px must be pairs"),
    ],
)
def test_impossible_banks_are_refused(radius, scales, message):
    with pytest.raises(ConfigError, match=message):
        difference_of_gaussians_bank(radius, scales)
