"""Integrate and fire on a CPU, compiled by numba: input spikes are added in order, each once.

A window is read time step by time step, and only until its last feature has spiked. The weights of a step's spikes are
added eight spikes at a time, for all features side by side. Only the result is kept in memory and, for one band of
rows, the sorted spikes.
"""

import math
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import product
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from numba import njit  # the extra `fast`
from torch import Tensor

# Maximum number of rows processed at a time. Measured: fewer sort too many rows twice, more do not fit the cache.
_BAND_ROWS = 32

# One cache line of potentials.
_BLOCK_COLUMNS = 16


def integrate_and_fire(
    latency: UInt8[Tensor, "batch channels rows columns"],
    weight: Float32[Tensor, "out_channels channels kernel_rows kernel_columns"],
    *,
    threshold: float | None,
    bins: int,
    padding: int,
    with_potential: bool,
) -> tuple[Tensor, Tensor]:
    """Return what `convolution.integrate_and_fire` returns; the potential is empty if not requested."""
    batch, channels, rows, columns = latency.shape
    features, _, kernel_rows, kernel_columns = weight.shape
    shape = (batch, features, rows + 2 * padding - kernel_rows + 1, columns + 2 * padding - kernel_columns + 1)
    # Allocated by NumPy, which requests large pages: measured, the potentials are written in half the time.
    first = np.empty(shape, np.uint8)
    potential = np.empty(shape if with_potential else (batch, 0, 0, 0), np.float32)
    # One row for each window position and channel, one row of zeros as filler, and features padded to whole vectors.
    # Allocated by torch, which aligns it to a vector, but filled by one thread: torch's own threads would then spin for
    # milliseconds waiting for work, on the cores that ours need.
    padded_features = -(-features // 8) * 8
    table = torch.empty(kernel_rows * kernel_columns * channels + 1, padded_features, dtype=torch.float64).numpy()
    only_rises = _lay_out(weight.detach().contiguous().numpy(), table)
    inputs = latency.contiguous().numpy()

    # Enough bands to keep all threads busy to the end.
    threads = torch.get_num_threads()
    bands = threads * math.ceil(shape[2] / (threads * _BAND_ROWS))
    height = math.ceil(shape[2] / bands)

    def work(task: tuple[int, int]) -> None:
        image, top = task
        _integrate_band(
            inputs[image],
            table,
            kernel_rows,
            kernel_columns,
            np.inf if threshold is None else threshold,
            only_rises,
            bins,
            padding,
            top,
            min(top + height, shape[2]),
            first[image],
            potential[image],
        )

    _share(work, product(range(batch), range(0, shape[2], height)), threads)
    return torch.from_numpy(first), torch.from_numpy(potential)


def _share(work: Callable[[tuple[int, int]], None], tasks: Iterable[tuple[int, int]], threads: int) -> None:
    """Share the tasks between this thread and the pool's; each takes the next one, and late threads are cancelled."""
    waiting = iter(list(tasks))

    def some() -> None:
        for task in waiting:
            work(task)

    helpers = [_pool(os.getpid(), threads).submit(some) for _ in range(threads - 1)]
    some()
    for helper in helpers:
        if not helper.cancel():
            helper.result()


@cache
def _pool(_process: int, threads: int) -> ThreadPoolExecutor:
    """Keep one pool per process, since threads do not survive a fork; starting one takes 0.1 ms (measured)."""
    return ThreadPoolExecutor(threads)


# Additions may be reordered, as below; the sum's rounding affects only its exponent.
@njit(cache=True, nogil=True, fastmath={"reassoc"})
@no_type_check
def _lay_out(weight, table):
    """Write the weights rounded as by `convolution.on_a_grid`; return whether none is negative."""
    features, channels, rows, columns = weight.shape
    largest, negative = 0.0, 0
    for values in weight.reshape(features, -1):
        total = 0.0
        for k in range(len(values)):
            total += abs(np.float64(values[k]))
            negative += values[k] < 0
        largest = max(largest, total)
    exponent = 52 - math.frexp(largest)[1]
    per_unit, unit = math.ldexp(1.0, exponent), math.ldexp(1.0, -exponent)
    table[-1] = 0
    table[:, features:] = 0
    for row in range(rows):
        for column in range(columns):
            for channel in range(channels):
                values = table[(row * columns + column) * channels + channel]
                for feature in range(features):
                    on_grid = np.rint(np.float64(weight[feature, channel, row, column]) * per_unit) * unit
                    values[feature] = np.float32(on_grid)
    return negative == 0


@njit(cache=True, nogil=True)
@no_type_check
def _sort_spikes(latency, bins, above, below):
    """Sort the spikes of some rows by row, time and column; return the borders and column * channels + channel."""
    channels, _, columns = latency.shape
    rows = max(below - above, 0)
    # Counts are stored two columns further on: as a column fills, its start moves to its end, the next column's start.
    starts = np.zeros((rows, bins, columns + 2), np.int32)
    for row in range(rows):
        for channel in range(channels):
            for column in range(columns):
                time = latency[channel, above + row, column]
                if time < bins:
                    starts[row, time, column + 2] += 1
    total = 0
    for row in range(rows):
        for time in range(bins):
            for column in range(columns + 2):
                total += starts[row, time, column]
                starts[row, time, column] = total
    spikes = np.empty(total, np.int32)
    for row in range(rows):
        for channel in range(channels):
            for column in range(columns):
                time = latency[channel, above + row, column]
                if time < bins:
                    spikes[starts[row, time, column + 1]] = column * channels + channel
                    starts[row, time, column + 1] += 1
    return starts, spikes


# Additions may be reordered so that they can be vectorised: every order gives the same sum (see `on_a_grid`).
@njit(cache=True, nogil=True, fastmath={"reassoc", "nsz"})
@no_type_check
def _integrate_band(
    latency,
    table,
    kernel_rows,
    kernel_columns,
    threshold,
    only_rises,
    bins,
    padding,
    top,
    bottom,
    first,
    potential,
):
    """Compute the output rows of one image from `top` to `bottom`."""
    channels, rows, columns = latency.shape
    features, _, width = first.shape
    above, below = max(top - padding, 0), min(bottom - 1 - padding + kernel_rows, rows)
    starts, spikes = _sort_spikes(latency, bins, above, below)
    rising = np.empty(table.shape[1])
    places = np.empty(kernel_rows * kernel_columns * channels + 8, np.int32)
    # A block of columns is kept with its features side by side, then written feature by feature.
    block_first = np.empty((_BLOCK_COLUMNS, features), np.uint8)
    block_potential = np.empty((_BLOCK_COLUMNS, features), np.float32)
    for row in range(top, bottom):
        begin, end = max(row - padding, above), min(row - padding + kernel_rows, below)
        for left in range(0, width, _BLOCK_COLUMNS):
            right = min(left + _BLOCK_COLUMNS, width)
            for column in range(left, right):
                its_first, its_potential = block_first[column - left], block_potential[column - left]
                its_first[:] = bins
                its_potential[:] = 0
                rising[:] = 0
                waiting = features
                from_column, to_column = max(column - padding, 0), min(column - padding + kernel_columns, columns)
                for time in range(bins):
                    count = 0
                    for input_row in range(begin, end):
                        place = ((input_row - row + padding) * kernel_columns - (column - padding)) * channels
                        borders = starts[input_row - above, time]
                        for spike in range(borders[from_column], borders[to_column]):
                            places[count] = spikes[spike] + place
                            count += 1
                    if count == 0:
                        continue
                    places[count : count + 8] = len(table) - 1
                    # Up to eight rows of the table at a time: one load for each, and one store for all.
                    done = 0
                    while done < count:
                        a, b = table[places[done]], table[places[done + 1]]
                        c, d = table[places[done + 2]], table[places[done + 3]]
                        if count - done <= 4:
                            for k in range(len(rising)):
                                rising[k] += (a[k] + b[k]) + (c[k] + d[k])
                            done += 4
                            continue
                        e, f = table[places[done + 4]], table[places[done + 5]]
                        g, h = table[places[done + 6]], table[places[done + 7]]
                        for k in range(len(rising)):
                            rising[k] += ((a[k] + b[k]) + (c[k] + d[k])) + ((e[k] + f[k]) + (g[k] + h[k]))
                        done += 8
                        if only_rises and len(potential) == 0:
                            reached = 0
                            for k in range(len(rising)):
                                reached += rising[k] > threshold
                            if reached == waiting:
                                break  # the rest of the step changes only potentials
                    for k in range(features):
                        if rising[k] > threshold:
                            its_first[k] = time
                            its_potential[k] = rising[k]
                            rising[k] = -np.inf  # a neuron fires once
                            waiting -= 1
                    if waiting == 0:
                        break
                if threshold == np.inf:
                    for k in range(features):
                        if rising[k] != 0:
                            its_first[k] = bins - 1
                            its_potential[k] = rising[k]
            for feature in range(features):
                for column in range(left, right):
                    first[feature, row, column] = block_first[column - left, feature]
            if len(potential):
                for feature in range(features):
                    for column in range(left, right):
                        potential[feature, row, column] = block_potential[column - left, feature]
