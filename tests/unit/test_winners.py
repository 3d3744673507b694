"""Winners: order, inhibition of feature and neighbourhood, and against a loop by definition."""

import pytest
import torch

from leukospike.errors import ConfigError
from leukospike.spikes import Spikes, k_winners


def spikes_of(latency: torch.Tensor, potential: torch.Tensor, bins: int = 15) -> Spikes:
    latency = latency.byte()
    return Spikes(latency, torch.where(latency < bins, potential, 0).float(), bins)


def by_definition(spikes: Spikes, image: int, k: int, radius: int) -> list[list[int]]:
    """Sort all who spiked, then go down the list and skip who is inhibited."""
    latency, potential = spikes.latency[image], spikes.potential[image]
    order = sorted(
        (int(latency[tuple(place)]), -float(potential[tuple(place)]), place.tolist())
        for place in (latency < spikes.bins).nonzero()
    )
    winners: list[list[int]] = []
    for _, _, place in order:
        inhibited = any(
            place[0] == won[0] or max(abs(place[1] - won[1]), abs(place[2] - won[2])) <= radius for won in winners
        )
        if not inhibited and len(winners) < k:
            winners.append(place)
    return winners + [[-1, -1, -1]] * (k - len(winners))


@pytest.mark.parametrize("radius", [0, 1, 3])
@pytest.mark.parametrize("bins", [2, 15, 200])
def test_winners_are_those_of_the_definition(radius, bins):
    chance = torch.Generator().manual_seed(bins + radius)
    latency = torch.randint(0, bins + 1, (3, 6, 9, 8), generator=chance)
    potential = torch.randint(1, 4, latency.shape, generator=chance)  # many equals
    spikes = spikes_of(latency, potential, bins)
    winners = k_winners(spikes, k=5, radius=radius).tolist()
    assert winners == [by_definition(spikes, image, 5, radius) for image in range(3)]


def test_a_negative_potential_can_win():
    spikes = spikes_of(torch.tensor([[[[14]], [[15]]]]), torch.tensor([[[[-2.0]], [[0.0]]]]))
    assert k_winners(spikes, 1).tolist() == [[[0, 0, 0]]]


def test_nobody_wins_a_silent_image():
    assert k_winners(spikes_of(torch.full((2, 3, 4, 4), 15), torch.zeros(2, 3, 4, 4)), 2).unique().tolist() == [-1]


@pytest.mark.parametrize(
    ("k", "radius", "message"),
    [(0, 0, r"k must be at least 1, got 0\. Request"), (1, -1, r"radius must be at least 0, got -1\. Use 0")],
)
def test_impossible_requests_are_refused(k, radius, message):
    with pytest.raises(ConfigError, match=message):
        k_winners(spikes_of(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)), k, radius)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: torch.cuda.is_available() is false")
@pytest.mark.parametrize("radius", [0, 2])
def test_a_gpu_finds_the_winners_of_the_cpu(radius):
    chance = torch.Generator().manual_seed(0)
    latency = torch.randint(0, 16, (3, 6, 20, 17), generator=chance).byte()
    potential = torch.randint(1, 5, latency.shape, generator=chance).float()  # few values: equals are met
    expected = k_winners(spikes_of(latency, potential), 4, radius)
    assert torch.equal(k_winners(spikes_of(latency.cuda(), potential.cuda()), 4, radius).cpu(), expected)
