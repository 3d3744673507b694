"""The order of equals: against torch's own sort, which is the C++ library's."""

import numpy as np
import pytest
import torch

from leukospike.spikes import ties
from leukospike.spikes.ties import original_order


def _by_torch(strength: np.ndarray, winner: np.ndarray) -> np.ndarray:
    responses = np.zeros((4, strength.size), np.float32)
    responses[winner.ravel(), np.arange(strength.size)] = strength.ravel()
    return torch.from_numpy(responses.ravel()).sort(descending=True).indices.numpy() % strength.size


@pytest.mark.parametrize("block", [2, 37, 2**16])
@pytest.mark.parametrize("size", [(3, 5), (1, 40), (30, 30), (150, 170)])
@pytest.mark.parametrize("levels", [2, 9, 1000])
def test_pixels_between_borders_are_the_originals(monkeypatch: pytest.MonkeyPatch, block, size, levels):
    monkeypatch.setattr(ties, "_BLOCK", block)
    rng = np.random.default_rng(0)
    for share in (0.2, 0.9, 1.0):
        strength = (rng.integers(1, levels, size) / levels * (rng.random(size) < share)).astype(np.float32)
        winner = rng.integers(0, 4, size, np.uint8)
        responses = int(np.count_nonzero(strength))
        expected = _by_torch(strength, winner)
        step = max(responses // 7, 1)
        for borders in ([responses], [step], list(range(step, responses + 1, step))):
            order = original_order(strength, winner, borders)
            assert len(order) == borders[-1]
            for first, last in zip([0, *borders], borders, strict=False):
                assert set(order[first:last]) == set(expected[first:last])


def test_what_introsort_gives_up_cutting_is_left_to_torch(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    strength, winner = rng.integers(0, 5, (40, 40)).astype(np.float32), rng.integers(0, 4, (40, 40), np.uint8)

    def cut_badly(values: np.ndarray, order: np.ndarray, first: int, _last: int) -> int:
        for array in (values, order):
            array[first], array[-1] = array[-1], array[first]
        return first + 1

    monkeypatch.setattr(ties, "_cut", cut_badly)
    assert original_order(strength, winner, [900]).tolist() == _by_torch(strength, winner)[:900].tolist()
