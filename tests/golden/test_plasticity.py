"""One step of reward-modulated STDP against what the original simulator computed."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from leukospike.spikes.plasticity import Reinforcement, reward_modulated_stdp, winner_times

pytestmark = pytest.mark.data

SILENT = 15


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    """Give the stored arrays: from the folder LEUKOSPIKE_REFERENCE, or shared/reference beside the project."""
    named = os.environ.get("LEUKOSPIKE_REFERENCE")
    folder = Path(named) if named else Path(__file__).parents[3] / "shared" / "reference"
    path = folder / "spyketorch_golden.npz"
    if not path.is_file():
        pytest.skip(f"no stored results at {path}; set LEUKOSPIKE_REFERENCE to their folder")
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files if name.startswith(("c1_", "s2_"))}


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize(
    ("reinforcement", "name"), [(Reinforcement.REWARD, "reward"), (Reinforcement.PUNISHMENT, "punish")]
)
def test_the_winners_weights_after_one_step(golden, index, reinforcement, name):
    latency, orientation = (torch.from_numpy(golden[f"c1_{index}_{part}"]) for part in ("latency", "winner"))
    inputs = torch.full((1, 4, *latency.shape), SILENT, dtype=torch.uint8)
    inputs.scatter_(1, orientation.long()[None, None], latency[None, None])
    winner = torch.from_numpy(golden[f"s2_{index}_winner_feature_row_col"])
    weight = torch.from_numpy(golden["s2_weight"])
    spikes = torch.from_numpy(golden[f"s2_{index}_latency"])[None]
    times = winner_times(spikes, winner[None, None])
    changed = reward_modulated_stdp(weight, inputs, winner[None, None], times, [reinforcement])
    expected = golden[f"s2_{index}_{name}_weight"]
    np.testing.assert_allclose(changed[winner[0]], expected, rtol=0, atol=1e-6)
