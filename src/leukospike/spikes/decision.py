"""C2 of Mozafari 2018: the first neuron to spike, found without computing the rest of the map."""

from dataclasses import dataclass

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from leukospike.spikes.convolution import SpikingConv2d, on_a_grid
from leukospike.spikes.fast_way import compiled_twin
from leukospike.spikes.plasticity import winner_times
from leukospike.spikes.winners import k_winners


@dataclass(frozen=True)
class Decisions:
    """The first neuron to spike, over all features and the whole map of each image."""

    winners: Int64[Tensor, "batch 1 3"]
    """Feature, row and column; -1 where nothing spikes."""
    times: UInt8[Tensor, "batch 1"]
    """When it spikes; `bins` where nothing does."""


def decide(layer: SpikingConv2d, latency: UInt8[Tensor, "batch channels rows columns"]) -> Decisions:
    """Find the neuron that spikes first; ties go to the highest potential, then to the lowest (feature, row, column).

    The result equals that of ``k_winners(layer(latency), 1)``. On a CPU with numba the spikes of an image are added
    time step by time step, and only until the first neuron fires.

    Parameters
    ----------
    layer : SpikingConv2d
        The neurons.
    latency : Tensor of shape (batch, channels, rows, columns), uint8
        When the inputs spike.

    Returns
    -------
    Decisions

    Raises
    ------
    ImageError
        As for the layer's `forward`.
    """
    layer.check_input(latency)
    if latency.device.type == "cpu" and (compiled := compiled_twin("compiled_decision")):
        winners, times = compiled.first_to_spike(
            latency, on_a_grid(layer.weight.float()), threshold=layer.threshold, bins=layer.bins, padding=layer.padding
        )
        return Decisions(winners[:, None], times[:, None])
    return decide_by_map(layer, latency)


def decide_by_map(layer: SpikingConv2d, latency: UInt8[Tensor, "batch channels rows columns"]) -> Decisions:
    """Find the neuron that spikes first from the whole map, on any device; `decide` is tested against this."""
    spikes = layer(latency)
    winners = k_winners(spikes, 1)
    times = winner_times(spikes.latency, winners)
    return Decisions(winners, torch.where(winners[..., 0] < 0, layer.bins, times).to(torch.uint8))
