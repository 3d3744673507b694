"""Who spikes first, compiled and plain; that both agree everywhere is in tests/properties."""

import pytest
import torch
from torch import Generator

from leukospike.errors import ImageError
from leukospike.spikes import SpikingConv2d
from leukospike.spikes.decision import decide, decide_by_map


def layer_of(weights: list[list[float]], *, threshold: float | None) -> SpikingConv2d:
    """Make a layer with windows of one row, a row of weights for each feature."""
    layer = SpikingConv2d(1, len(weights), (1, len(weights[0])), threshold=threshold, generator=Generator())
    layer.weight.copy_(torch.tensor(weights)[:, None, None])
    return layer


@pytest.mark.parametrize("way", [decide, decide_by_map])
class TestWhoDecides:
    def test_the_earliest(self, way):
        layer = layer_of([[1.0, 0.0], [0.0, 1.0]], threshold=0.5)
        decisions = way(layer, torch.tensor([[[[4, 2]]], [[[1, 2]]]], dtype=torch.uint8))
        assert decisions.winners.tolist() == [[[1, 0, 0]], [[0, 0, 0]]]
        assert decisions.times.tolist() == [[2], [1]]

    def test_the_highest_potential_among_equally_early(self, way):
        layer = layer_of([[0.6], [0.9], [0.9]], threshold=0.5)
        decisions = way(layer, torch.tensor([[[[7, 3, 3]]]], dtype=torch.uint8))
        assert decisions.winners.tolist() == [[[1, 0, 1]]]

    def test_nobody(self, way):
        layer = layer_of([[0.5, 0.5]], threshold=1.0)
        decisions = way(layer, torch.tensor([[[[0, 0]]]], dtype=torch.uint8))  # reached, not exceeded
        assert decisions.winners.tolist() == [[[-1, -1, -1]]]
        assert decisions.times.tolist() == [[15]]

    def test_without_a_threshold_the_highest_potential_at_the_end(self, way):
        layer = layer_of([[0.5, 0.1], [0.2, 0.3]], threshold=None)
        decisions = way(layer, torch.tensor([[[[14, 0]]], [[[15, 3]]], [[[15, 15]]]], dtype=torch.uint8))
        assert decisions.winners.tolist() == [[[0, 0, 0]], [[1, 0, 0]], [[-1, -1, -1]]]
        assert decisions.times.tolist() == [[14], [14], [15]]

    def test_no_image(self, way):
        decisions = way(layer_of([[1.0]], threshold=0.5), torch.zeros((0, 1, 3, 3), dtype=torch.uint8))
        assert decisions.winners.shape == (0, 1, 3)
        assert decisions.times.shape == (0, 1)

    def test_maps_that_do_not_fit(self, way):
        with pytest.raises(ImageError, match="latency must have 1 channels, got 2"):
            way(layer_of([[1.0]], threshold=0.5), torch.zeros((1, 2, 3, 3), dtype=torch.uint8))


def test_without_numba_the_map_decides(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("leukospike.spikes.fast_way.find_spec", lambda _: None)
    decisions = decide(layer_of([[1.0]], threshold=0.5), torch.tensor([[[[3, 1]]]], dtype=torch.uint8))
    assert decisions.winners.tolist() == [[[0, 0, 1]]]
