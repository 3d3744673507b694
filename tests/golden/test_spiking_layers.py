"""Mozafari's layers against what the original simulator computed: C1, S2, and the one winner, exactly."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from leukospike.spikes import (
    SILENT,
    Spikes,
    SpikingConv2d,
    edge_responses,
    gabor_bank,
    k_winners,
    lateral_inhibition,
    pointwise_inhibition,
    pool_intensity,
    rank_order_latency,
)

pytestmark = pytest.mark.data

IMAGES = range(3)


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    """Give the stored arrays: from the folder LEUKOSPIKE_REFERENCE, or shared/reference beside the project."""
    named = os.environ.get("LEUKOSPIKE_REFERENCE")
    folder = Path(named) if named else Path(__file__).parents[3] / "shared" / "reference"
    path = folder / "spyketorch_golden.npz"
    if not path.is_file():
        pytest.skip(f"no stored results at {path}; set LEUKOSPIKE_REFERENCE to their folder")
    with np.load(path, allow_pickle=False) as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}


def c1_spikes(golden: dict[str, torch.Tensor], index: int) -> torch.Tensor:
    """Put the stored latencies back into their features, one survivor a position: (1, 4, rows, columns)."""
    latency, winner = golden[f"c1_{index}_latency"], golden[f"c1_{index}_winner"]
    maps = torch.full((4, *latency.shape), SILENT, dtype=torch.uint8)
    return maps.scatter_(0, winner.long()[None], latency[None])[None]


def s2(golden: dict[str, torch.Tensor]) -> SpikingConv2d:
    layer = SpikingConv2d(4, 20, 17, threshold=float(golden["s2_threshold"]))
    layer.weight.copy_(golden["s2_weight"])
    return layer


def test_kernels_of_s1(golden):
    np.testing.assert_array_equal(gabor_bank(window=5), golden["s1_kernels"])


@pytest.mark.parametrize("index", IMAGES)
def test_pooled_responses(golden, index):
    responses = edge_responses(golden[f"seed_{index}_gray"][None, None], gabor_bank(window=5))
    pooled = pool_intensity(responses, kernel=5, stride=4, padding=2)
    np.testing.assert_array_equal(pooled[0], golden[f"c1_{index}_before_inhibition"])


@pytest.mark.parametrize("index", IMAGES)
def test_latency_and_survivor_of_c1(golden, index):
    strength = golden[f"c1_{index}_after_inhibition"][None]
    spikes = pointwise_inhibition(Spikes(rank_order_latency(strength), strength))
    np.testing.assert_array_equal(spikes.latency.amin(dim=1)[0], golden[f"c1_{index}_latency"])
    spiking = golden[f"c1_{index}_latency"] < SILENT
    winner = spikes.latency[0].argmin(dim=0)
    np.testing.assert_array_equal(winner[spiking], golden[f"c1_{index}_winner"][spiking])


@pytest.mark.parametrize("index", IMAGES)
def test_lateral_inhibition(golden, index):
    inhibited = lateral_inhibition(golden[f"c1_{index}_before_inhibition"][None])
    np.testing.assert_array_equal(inhibited[0], golden[f"c1_{index}_after_inhibition"])


@pytest.mark.parametrize("index", IMAGES)
def test_first_spikes_of_s2(golden, index):
    spikes = s2(golden)(c1_spikes(golden, index))
    np.testing.assert_array_equal(spikes.latency[0], golden[f"s2_{index}_latency"])
    assert bool((spikes.potential[spikes.latency < SILENT] > golden["s2_threshold"]).all())


@pytest.mark.parametrize("index", IMAGES)
def test_winner_of_s2(golden, index):
    spikes = s2(golden)(c1_spikes(golden, index))
    assert k_winners(spikes, 1)[0, 0].tolist() == golden[f"s2_{index}_winner_feature_row_col"].tolist()


def test_a_batch_has_the_winner_of_each_image(golden):
    both = torch.cat([c1_spikes(golden, 0), c1_spikes(golden, 1)])
    spikes: Spikes = s2(golden)(both)
    expected = [golden[f"s2_{index}_winner_feature_row_col"].tolist() for index in (0, 1)]
    assert k_winners(spikes, 1)[:, 0].tolist() == expected
