"""The first neuron to spike, on a CPU, compiled by numba: input spikes are added in order until a neuron fires."""

from concurrent.futures import ThreadPoolExecutor
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from numba import njit  # the extra `fast`
from torch import Tensor


def first_to_spike(
    latency: UInt8[Tensor, "batch channels rows columns"],
    weight: Float32[Tensor, "features channels kernel_rows kernel_columns"],
    *,
    threshold: float | None,
    bins: int,
    padding: int,
) -> tuple[Int64[Tensor, "batch 3"], UInt8[Tensor, " batch"]]:
    """Return the feature, row, column and time of each image's first spike, as `decision.decide` does."""
    batch, _, rows, columns = latency.shape
    features, _, kernel_rows, kernel_columns = weight.shape
    shape = (rows + 2 * padding - kernel_rows + 1, columns + 2 * padding - kernel_columns + 1, features)
    # Features side by side and columns mirrored, so that a spike adds one contiguous run to a row of potentials.
    table = np.ascontiguousarray(weight.flip(3).permute(1, 2, 3, 0).numpy(), np.float64)
    inputs = latency.contiguous().numpy()
    winners, times = np.empty((batch, 3), np.int64), np.empty(batch, np.uint8)

    def work(image: int) -> None:
        potential = np.zeros(shape)
        limit = np.inf if threshold is None else threshold
        times[image] = _first(inputs[image], table, limit, bins, padding, potential, winners[image])

    if torch.get_num_threads() == 1 or batch == 1:
        for image in range(batch):
            work(image)
    else:
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            list(pool.map(work, range(batch)))
    return torch.from_numpy(winners), torch.from_numpy(times)


@njit(cache=True, nogil=True)
@no_type_check
def _first(latency, table, threshold, bins, padding, potential, winner):
    """Add up spikes until a potential is above the threshold; write its neuron to `winner` and return the time."""
    channels, rows, columns = latency.shape
    _, kernel_rows, kernel_columns, features = table.shape
    height, width, _ = potential.shape
    line = potential.reshape(height, width * features)
    stamps = table.reshape(channels, kernel_rows, kernel_columns * features)
    ends = np.zeros(bins + 1, np.int64)
    for channel in range(channels):
        for row in range(rows):
            for column in range(columns):
                if latency[channel, row, column] < bins:
                    ends[latency[channel, row, column] + 1] += 1
    for time in range(bins):
        ends[time + 1] += ends[time]
    spikes = np.empty((ends[bins], 3), np.int64)
    places = ends[:bins].copy()
    for channel in range(channels):
        for row in range(rows):
            for column in range(columns):
                time = latency[channel, row, column]
                if time < bins:
                    spikes[places[time]] = channel, row + padding, column + padding
                    places[time] += 1
    for time in range(bins):
        for spike in range(ends[time], ends[time + 1]):
            channel, row, column = spikes[spike]
            left, right = max(column - kernel_columns + 1, 0), min(column, width - 1) + 1
            skipped = left - (column - kernel_columns + 1)
            for output_row in range(max(row - kernel_rows + 1, 0), min(row, height - 1) + 1):
                into = line[output_row, left * features : right * features]
                stamp = stamps[channel, row - output_row, skipped * features :]
                for k in range(len(into)):
                    into[k] += stamp[k]
        if _any_above(potential, threshold):
            _strongest(potential, threshold, winner)
            return time
    if threshold == np.inf and _strongest(potential, threshold, winner):
        return bins - 1
    winner[:] = -1
    return bins


@njit(cache=True, nogil=True)
@no_type_check
def _any_above(potential, threshold):
    """Return whether any neuron fires."""
    above = False
    for value in potential.flat:
        above |= value > threshold
    return above


@njit(cache=True, nogil=True)
@no_type_check
def _strongest(potential, threshold, winner):
    """Write the firing neuron of highest potential, among equals the lowest index; return whether there is one."""
    height, width, features = potential.shape
    highest = -np.inf
    for feature in range(features):
        for row in range(height):
            for column in range(width):
                value = potential[row, column, feature]
                fires = value != 0 if threshold == np.inf else value > threshold
                # Rounded like `Spikes.potential`, so that ties there are ties here.
                if fires and np.float32(value) > highest:
                    highest = np.float32(value)
                    winner[:] = feature, row, column
    return highest > -np.inf
