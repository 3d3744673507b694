"""What the network for kinds is shown does not follow the stain."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from leukospike.classification.kind_input import by_nucleus

GAINS = st.lists(st.floats(0.6, 1.4), min_size=3, max_size=3)


def _densities(seed: int) -> Tensor:
    """Draw a square cell whose nucleus is all over denser than its cytoplasm, as optical density."""
    generator = torch.Generator().manual_seed(seed)
    texture = torch.rand((1, 40, 40), generator=generator) * 0.4 + 0.8
    dyes = torch.tensor([0.2, 0.4, 0.15]).view(3, 1, 1).expand(3, 40, 40).clone()
    dyes[:, 6:36, 5:37] = torch.tensor([0.9, 1.6, 0.5]).view(3, 1, 1)
    return dyes * texture


def _colours(densities: Tensor) -> Tensor:
    colours = torch.zeros(1, 3, 64, 64)
    colours[0, :, 10:50, 8:48] = ((-densities).exp() - 1 / 256) * 256 / 255
    return colours


@settings(deadline=None)
@given(gains=GAINS, seed=st.integers(0, 1000))
def test_scaling_the_density_of_each_colour_changes_nothing(gains: list[float], seed: int) -> None:
    densities = _densities(seed)
    scaled = densities * torch.tensor(gains).view(3, 1, 1)
    torch.testing.assert_close(by_nucleus(_colours(scaled)), by_nucleus(_colours(densities)), rtol=0, atol=2e-3)
