"""The front end against what the original simulator computed, to the last bit."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from leukospike.original.preprocessing import blur
from leukospike.spikes import SILENT, first_wave, gabor_bank, latency_map

pytestmark = pytest.mark.data

IMAGES = range(4)


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    """Give the stored arrays: from the folder LEUKOSPIKE_REFERENCE, or shared/reference beside the project."""
    named = os.environ.get("LEUKOSPIKE_REFERENCE")
    folder = Path(named) if named else Path(__file__).parents[3] / "shared" / "reference"
    path = folder / "spyketorch_golden.npz"
    if not path.is_file():
        pytest.skip(f"no stored results at {path}; set LEUKOSPIKE_REFERENCE to their folder")
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files if name.startswith("seed_")}


def grey(golden: dict[str, np.ndarray], index: int) -> torch.Tensor:
    return torch.from_numpy(golden[f"seed_{index}_gray"])[None, None]


def test_kernels(golden):
    np.testing.assert_array_equal(gabor_bank().numpy(), golden["seed_kernels"])


@pytest.mark.parametrize("index", IMAGES)
def test_latency(golden, index):
    np.testing.assert_array_equal(latency_map(grey(golden, index)).latency[0], golden[f"seed_{index}_latency"])


@pytest.mark.parametrize("index", IMAGES)
def test_winner_where_there_is_a_spike(golden, index):
    spikes = golden[f"seed_{index}_latency"] != SILENT
    winner = latency_map(grey(golden, index)).winner[0].numpy()
    np.testing.assert_array_equal(winner[spikes], golden[f"seed_{index}_winner"][spikes])


@pytest.mark.parametrize("index", IMAGES)
def test_first_wave(golden, index):
    np.testing.assert_array_equal(first_wave(grey(golden, index))[0], golden[f"seed_{index}_first_wave"])


@pytest.mark.parametrize(("first", "second"), [(0, 1), (2, 3)])
def test_batch(golden, first, second):
    images = torch.cat([grey(golden, first), grey(golden, second)])
    expected = np.stack([golden[f"seed_{index}_latency"] for index in (first, second)])
    np.testing.assert_array_equal(latency_map(images).latency, expected)


@pytest.mark.parametrize("index", IMAGES)
def test_blurred_first_wave(golden, index):
    blurred = blur(first_wave(grey(golden, index)).float(), window=9)
    np.testing.assert_allclose(blurred[0], golden[f"seed_{index}_first_wave_blur9"], rtol=0, atol=1e-4)
