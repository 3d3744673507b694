"""Colour channels, by hand."""

import pytest
import torch

from leukospike.errors import ConfigError
from leukospike.spikes import opponent_channels, optical_density, stain_channels


def colour(red: float, green: float, blue: float) -> torch.Tensor:
    return torch.tensor([float(red), float(green), float(blue)]).view(1, 3, 1, 1)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (colour(1, 0, 0), [1, 0, 0, 0.5]),
        (colour(0, 1, 0), [0, 1, 0, 0.5]),
        (colour(0, 0, 1), [0, 0, 1, 0]),
        (colour(0.5, 0.5, 0), [0, 0, 0, 0.5]),
        (colour(0.25, 0.25, 0.25), [0, 0, 0, 0]),
    ],
)
def test_opponents(image, expected):
    assert opponent_channels(image).flatten().tolist() == expected


def test_optical_density_is_the_decimal_logarithm_and_finite_at_black():
    assert optical_density(colour(1, 0.1, 0.01)).flatten().tolist() == pytest.approx([0, 1, 2], abs=1e-6)
    assert optical_density(colour(0, 0, 0)).flatten().tolist() == pytest.approx([2.4065] * 3, abs=1e-4)


def test_densities_of_layers_of_stain_add_up():
    first, second = colour(0.9, 0.4, 0.5), colour(0.3, 0.8, 0.9)
    both = optical_density(first) + optical_density(second)
    torch.testing.assert_close(optical_density(first * second), both)


def test_stains_are_told_apart():
    stains = [(0.1, 0.9, 0.2), (0.7, 0.3, 0.1), (0.2, 0.2, 0.8)]
    amounts = torch.tensor([0.3, 0.0, 0.9])
    image = 10 ** -(amounts @ torch.tensor(stains))
    assert stain_channels(image.view(1, 3, 1, 1), stains).flatten().tolist() == pytest.approx([0.3, 0, 0.9], abs=1e-5)


@pytest.mark.parametrize("stains", [[(1.0, 0.5, 0.1), (2.0, 1.0, 0.2)], [], [(1.0, 0.5)]])
def test_stains_of_one_colour_are_refused(stains):
    with pytest.raises(ConfigError, match=r"stain_channels: stains must be one to three different colours"):
        stain_channels(colour(0.5, 0.5, 0.5), stains)
