"""Inhibition, by hand."""

import pytest
import torch

from leukospike.errors import ConfigError
from leukospike.spikes import Spikes, feature_inhibition, lateral_inhibition, pointwise_inhibition


def at_one_position(latency: list[int], potential: list[float], bins: int = 15) -> Spikes:
    return Spikes(
        torch.tensor(latency, dtype=torch.uint8).view(1, -1, 1, 1), torch.tensor(potential).view(1, -1, 1, 1), bins
    )


@pytest.mark.parametrize(
    ("latency", "potential", "survivor"),
    [
        ([3, 2, 4], [9.0, 1.0, 9.0], 1),
        ([2, 2, 2], [1.0, 3.0, 2.0], 1),
        ([2, 2, 2], [1.0, 3.0, 3.0], 1),
        ([15, 2, 15], [0.0, -3.0, 0.0], 1),
    ],
)
def test_earliest_then_highest_then_first_survives(latency, potential, survivor):
    spikes = pointwise_inhibition(at_one_position(latency, potential))
    expected = [latency[index] if index == survivor else 15 for index in range(3)]
    assert spikes.latency.flatten().tolist() == expected
    assert spikes.potential.flatten().tolist() == [potential[index] if index == survivor else 0 for index in range(3)]


def test_where_all_are_silent_nobody_survives():
    spikes = pointwise_inhibition(at_one_position([4, 4], [0.0, 0.0], bins=4))
    assert spikes.latency.flatten().tolist() == [4, 4]


def test_a_response_is_raised_over_its_weaker_neighbours():
    intensity = torch.zeros(1, 1, 5, 7)
    intensity[0, 0, 2, 2], intensity[0, 0, 2, 4], intensity[0, 0, 2, 6] = 2.0, 2.0, 3.0
    raised = lateral_inhibition(intensity, factors=[0.5, 0.25])
    # 8 and 16 neighbours; of the second, one at distance 2 is as strong and one stronger; of the third, all are weaker.
    assert raised[0, 0, 2, 2] == 2 * (1 + 8 * 0.5 + 15 * 0.25)
    assert raised[0, 0, 2, 4] == 2 * (1 + 8 * 0.5 + 14 * 0.25)
    assert raised[0, 0, 2, 6] == 3 * (1 + 8 * 0.5 + 16 * 0.25)
    assert raised[0, 0, 0, 0] == 0


def test_channels_do_not_inhibit_each_other():
    intensity = torch.rand(2, 3, 12, 9, generator=torch.Generator().manual_seed(0))
    for channel in range(3):
        alone = lateral_inhibition(intensity[:, channel : channel + 1])
        assert torch.equal(lateral_inhibition(intensity)[:, channel], alone[:, 0])


def test_dropped_features_are_silent():
    spikes = feature_inhibition(at_one_position([3, 2], [5.0, 6.0]), torch.tensor([False, True]))
    assert spikes.latency.flatten().tolist() == [3, 15]
    assert spikes.potential.flatten().tolist() == [5.0, 0.0]


def test_a_mask_of_another_length_is_refused():
    message = r"feature_inhibition: inhibited must have one entry for each of 2 channels, got 3\. Pass one Boolean"
    with pytest.raises(ConfigError, match=message):
        feature_inhibition(at_one_position([3, 2], [5.0, 6.0]), torch.zeros(3, dtype=torch.bool))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: torch.cuda.is_available() is false")
def test_a_gpu_inhibits_as_the_cpu():
    chance = torch.Generator().manual_seed(0)
    latency = torch.randint(0, 16, (3, 4, 40, 33), generator=chance).byte()
    # Few values: equals are met, and who is first among them counts.
    potential = torch.randint(1, 5, latency.shape, generator=chance).float()
    here, there = (
        pointwise_inhibition(spikes)
        for spikes in (Spikes(latency, potential), Spikes(latency.cuda(), potential.cuda()))
    )
    assert torch.equal(there.latency.cpu(), here.latency)
    assert torch.equal(there.potential.cpu(), here.potential)
    # A GPU may round a product and a sum once.
    torch.testing.assert_close(lateral_inhibition(potential.cuda()).cpu(), lateral_inhibition(potential))
