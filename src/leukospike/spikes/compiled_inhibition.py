"""Lateral inhibition on a CPU, compiled by numba: a row at a time, its gain in the cache."""

from collections.abc import Sequence
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float32
from numba import njit  # the extra `fast`
from torch import Tensor


def lateral_inhibition(
    intensity: Float32[Tensor, "batch channels rows columns"],
    padded: Float32[Tensor, "batch channels padded_rows padded_columns"],
    factors: Sequence[float],
) -> Float32[Tensor, "batch channels rows columns"]:
    """Give what `inhibition.lateral_inhibition` does, to the last bit, from maps and the same with zeros around."""
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
    """Work out one map."""
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
