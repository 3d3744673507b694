"""Inhibition on a CPU, compiled by numba."""

from collections.abc import Sequence
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from numba import njit  # the extra `fast`
from torch import Tensor


def lateral_inhibition(
    intensity: Float32[Tensor, "batch channels rows columns"],
    padded: Float32[Tensor, "batch channels padded_rows padded_columns"],
    factors: Sequence[float],
) -> Float32[Tensor, "batch channels rows columns"]:
    """Return what `inhibition.lateral_inhibition` does, to the last bit; `padded` holds the maps with zeros around."""
    reach = len(factors)
    distance = np.abs(np.arange(-reach, reach + 1))
    by_distance = np.array([0, *factors], np.float32)
    table = by_distance[np.maximum(distance[:, None], distance)]
    inhibited = np.empty(tuple(intensity.shape), np.float32)
    maps = zip(intensity.flatten(0, 1).numpy(), padded.flatten(0, 1).numpy(), strict=True)
    for index, (strength, around) in enumerate(maps):
        _inhibit(strength, around, table, inhibited.reshape(-1, *strength.shape)[index])
    return torch.from_numpy(inhibited)


@njit(cache=True, nogil=True)
@no_type_check
def _inhibit(strength, around, table, inhibited):
    """Compute one map."""
    rows, columns = strength.shape
    window = len(table)
    gain = np.empty(columns, np.float32)
    for row in range(rows):
        here = strength[row]
        gain[:] = 0
        for down in range(window):
            for right in range(window):
                factor, neighbour = table[down, right], around[row + down, right:]
                for column in range(columns):
                    gain[column] += np.float32(here[column] > neighbour[column]) * factor
        for column in range(columns):
            inhibited[row, column] = here[column] + here[column] * gain[column]


def pointwise_inhibition(
    latency: UInt8[Tensor, "batch channels rows columns"],
    potential: Float32[Tensor, "batch channels rows columns"],
    bins: int,
) -> tuple[UInt8[Tensor, "batch channels rows columns"], Float32[Tensor, "batch channels rows columns"]]:
    """Return the latency and potential of `inhibition.pointwise_inhibition`."""
    shape = tuple(latency.shape)
    kept, strength = np.full(shape, bins, np.uint8), np.zeros(shape, np.float32)
    for image in range(len(latency)):
        _keep_first(latency[image].numpy(), potential[image].numpy(), bins, kept[image], strength[image])
    return torch.from_numpy(kept), torch.from_numpy(strength)


@njit(cache=True, nogil=True)
@no_type_check
def _keep_first(latency, potential, bins, kept, strength):
    """Compute one image."""
    channels, rows, columns = latency.shape
    for row in range(rows):
        for column in range(columns):
            best = 0
            for channel in range(1, channels):
                time, first = latency[channel, row, column], latency[best, row, column]
                if time < first or (time == first and potential[channel, row, column] > potential[best, row, column]):
                    best = channel
            if latency[best, row, column] < bins:
                kept[best, row, column] = latency[best, row, column]
                strength[best, row, column] = potential[best, row, column]
