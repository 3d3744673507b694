"""The order of equal responses: that in which the original simulator's sort happens to leave them.

It is the order of introsort [1]_ in the C++ library behind torch's sort on a CPU: ranges are split around the median of
three values until 16 values are left, and these are sorted by insertion. Equal values are moved in the process, and
where they end up depends on every value of the image. The sort is therefore repeated here, except where it cannot
matter: a range without a border between spike times is left as it is.

References
----------
.. [1] D. R. Musser, Introspective sorting and selection algorithms, Software: Practice and Experience 27(8):983-993,
   1997, doi 10.1002/(SICI)1097-024X(199708)27:8<983::AID-SPE117>3.0.CO;2-#.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8

_SMALL = 16
"""Ranges of this many values or fewer are sorted by insertion, which keeps the order of equal values."""

# Number of values for which the places to be swapped are held at a time.
_BLOCK = 2**16


def original_order(
    strength: Float[np.ndarray, "rows columns"], winner: UInt8[np.ndarray, "rows columns"], borders: Sequence[int]
) -> Integer[np.ndarray, " first"]:
    """Return the pixels before the last border, grouped by borders; within a group the order is arbitrary.

    Parameters
    ----------
    strength : ndarray of shape (rows, columns), float32, not negative
        Response of the surviving orientation.
    winner : ndarray of shape (rows, columns), uint8, 0 to 3
        That orientation. The original sorts all four; those that did not survive count as zeros.
    borders : sequence of int
        Ranks, strictly ascending, at most as many as there are non-zero responses.

    Returns
    -------
    ndarray of shape (borders[-1],)
        Places in the flattened image. The first borders[0] come first in the original, and so on.
    """
    responses = np.empty((4, strength.size), np.float32)
    for orientation, row in enumerate(responses):
        np.multiply(strength.ravel(), winner.ravel() == orientation, out=row)
    values = responses.reshape(-1)
    order = np.arange(values.size, dtype=np.int32 if values.size < 2**31 else np.int64)
    if not _settled(values, order, borders):
        for orientation, row in enumerate(responses):
            np.multiply(strength.ravel(), winner.ravel() == orientation, out=row)
        order = torch.from_numpy(values).sort(descending=True).indices.numpy()
    return order[: borders[-1]] % strength.size


def _settled(values: Float[np.ndarray, " n"], order: Integer[np.ndarray, " n"], borders: Sequence[int]) -> bool:
    """Sort both arrays in place as far as the borders need it; return False if introsort would switch to heapsort."""
    ranges = [(0, len(values), 2 * (len(values).bit_length() - 1), list(borders))]
    while ranges:
        first, last, cuts_left, inside = ranges.pop()
        if not inside:
            continue
        if last - first <= _SMALL:
            by_strength = np.argsort(-values[first:last], kind="stable")
            order[first:last] = order[first:last][by_strength]
            continue
        if cuts_left == 0:  # after many bad cuts introsort gives up cutting, and so does this
            return False
        cut = _cut(values, order, first, last)
        ranges.append((first, cut, cuts_left - 1, [border for border in inside if border < cut]))
        ranges.append((cut, last, cuts_left - 1, [border for border in inside if border > cut]))
    return True


def _cut(values: Float[np.ndarray, " n"], order: Integer[np.ndarray, " n"], first: int, last: int) -> int:
    """Move the stronger values of a range before the weaker ones, and return the place where the weaker ones begin.

    From the left, values that are not above the pivot, and from the right, values that are not below it, are swapped in
    pairs until left and right meet. The pairs of a block are swapped at once: no place is in two pairs.
    """
    _median_to_front(values, order, first, last)
    pivot = values[first]
    left = right = np.empty(0, np.intp)
    left_end, right_end = first + 1, last  # searched up to, and down to
    met = last
    while True:
        while not len(left) and left_end < met:
            begin, left_end = left_end, min(left_end + _BLOCK, met)
            left = begin + np.flatnonzero(values[begin:left_end] <= pivot)
        if not len(left):
            return met
        while not len(right) and right_end > first + 1:
            end, right_end = right_end, max(right_end - _BLOCK, first + 1)
            right = right_end + np.flatnonzero(values[right_end:end] >= pivot)[::-1]
        # If the search from the right runs out, it is stopped by the last value that was swapped to the left.
        pairs = min(len(left), len(right))
        swaps = int(np.count_nonzero(left[:pairs] < right[:pairs]))
        here, there = left[:swaps], right[:swaps]
        for array in (values, order):
            array[here], array[there] = array[there], array[here]
        met = int(there[-1]) if swaps else met
        if swaps < pairs or not len(right):
            return min(int(left[swaps]), met)
        left, right = left[swaps:], right[swaps:]


def _median_to_front(values: Float[np.ndarray, " n"], order: Integer[np.ndarray, " n"], first: int, last: int) -> None:
    """Swap the median of the second, middle and last value of a range with its first."""
    second, middle, end = first + 1, first + (last - first) // 2, last - 1
    a, b, c = values[second], values[middle], values[end]
    if a > b:  # noqa: SIM108 - unreadable in one line
        median = middle if b > c else end if a > c else second
    else:
        median = second if a > c else end if b > c else middle
    for array in (values, order):
        array[first], array[median] = array[median], array[first]
