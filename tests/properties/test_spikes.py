"""What holds of every step of the spiking library: a batch gives what its images give one by one, to the bit."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from leukospike.spikes import (
    Spikes,
    difference_of_gaussians_bank,
    edge_responses,
    gabor_bank,
    k_winners,
    lateral_inhibition,
    opponent_channels,
    optical_density,
    pointwise_inhibition,
    pool_intensity,
    pool_latency,
    rank_order_latency,
    spot_responses,
    stain_channels,
    value_latency,
)

STEPS: dict[str, Callable[[Tensor], Tensor]] = {
    "edges": lambda images: edge_responses(images[:, :1], gabor_bank(window=5)),
    "spots": lambda images: spot_responses(images[:, :1], difference_of_gaussians_bank()),
    "opponents": opponent_channels,
    "optical density": optical_density,
    "stains": stain_channels,
    "pooled": lambda images: pool_intensity(images, 3, 2, 1),
    "inhibited": lateral_inhibition,
    "ranks": rank_order_latency,
    "values": value_latency,
    "pooled latencies": lambda images: pool_latency(value_latency(images), 3, 2, 1),
    "survivors": lambda images: pointwise_inhibition(Spikes(value_latency(images), images)).latency,
    "winners": lambda images: k_winners(Spikes(value_latency(images), images), 4, radius=2),
}


@pytest.mark.parametrize("step", STEPS)
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 5), rows=st.integers(5, 60), columns=st.integers(5, 60))
def test_a_batch_gives_what_its_images_give_one_by_one(step, seed, count, rows, columns):
    images = torch.rand((count, 3, rows, columns), generator=torch.Generator().manual_seed(seed))
    images[0] = (images[0] * 3).round() / 3  # equal responses, and zeros
    together = STEPS[step](images)
    for index, image in enumerate(images.split(1)):
        assert torch.equal(together[index], STEPS[step](image)[0])
