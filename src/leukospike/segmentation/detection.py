"""Found cells against listed ones, as ALL-IDB1 lists the centroids of its blasts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Matches:
    """How many listed cells of an image were found."""

    listed: int
    found: int
    """Cells that segmentation gives, listed or not."""
    matched: int
    """Pairs of a listed and a found cell, each in at most one pair."""


def match_centroids(centroids: Sequence[tuple[float, float]], cells: pd.DataFrame) -> Matches:
    """Pair listed centroids with found cells.

    A found cell can stand for a listed one if their centroids are no further apart than its radius, that of the disc
    of its area. Of all pairings the one with the most pairs counts, and of those the one with the least distance.

    Parameters
    ----------
    centroids : sequence of (float, float)
        Row and column of each listed cell, pixels.
    cells : DataFrame
        Columns row, column and area_px, one row a found cell.

    Returns
    -------
    Matches
    """
    from scipy.optimize import linear_sum_assignment  # slow to load, and few data sets list centroids

    places = cells[["row", "column"]].to_numpy(np.float64)
    if not len(places) or not centroids:
        return Matches(len(centroids), len(places), 0)
    radii = np.sqrt(cells["area_px"].to_numpy(np.float64) / np.pi)
    listed = np.asarray(centroids, np.float64)
    apart = np.hypot(*(listed[:, None] - places[None]).transpose(2, 0, 1)) / radii
    near = apart <= 1
    # A pair out of reach costs more than all pairs within reach together, so as many of those as possible are taken.
    cost = np.where(near, apart, len(listed) + 1.0)
    pairs = linear_sum_assignment(cost)
    return Matches(len(listed), len(places), int(np.count_nonzero(near[pairs])))
