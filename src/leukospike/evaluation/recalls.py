"""How many of each kind two models name right, on the same cells."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from leukospike.evaluation.estimates import Interval
from leukospike.evaluation.metrics import N_RESAMPLES, drawn_weights, percentiles


@dataclass(frozen=True)
class PairedRecalls:
    """Mean recalls over the kinds that are there (balanced accuracy), 0 to 1."""

    first: float
    second: float
    interval: Interval
    """95 %, of the difference."""

    @property
    def difference(self) -> float:
        """First minus second."""
        return self.first - self.second

    @property
    def first_is_better(self) -> bool:
        """Whether the interval lies above 0."""
        return bool(self.interval.low > 0)


def paired_recalls(
    kinds: Int[np.ndarray, " n"],
    first: Bool[np.ndarray, " n"],
    second: Bool[np.ndarray, " n"],
    groups: np.ndarray,
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> PairedRecalls:
    """Compare two models.

    Whole groups (subjects) are resampled with replacement, in the same way for both models.

    Parameters
    ----------
    kinds : ndarray of shape (n,), int
        True kind of each cell.
    first, second : ndarray of shape (n,), bool
        Whether each model is right.
    groups : ndarray of shape (n,)
        Unit of resampling.
    n_resamples, seed : int

    Returns
    -------
    PairedRecalls
        In a draw that has no cell of a kind, the mean is over the others.

    Examples
    --------
    >>> right = np.array([True, True, True, True])
    >>> paired_recalls(np.array([0, 0, 1, 1]), right, np.array([True, True, True, False]), np.arange(4)).difference
    0.25
    """
    weights = drawn_weights(groups, n_resamples, seed)
    everyone = np.ones((1, weights.shape[1]))
    value, other = (float(_mean_recalls(kinds, right, groups, everyone)[0]) for right in (first, second))
    draws, other_draws = (_mean_recalls(kinds, right, groups, weights) for right in (first, second))
    return PairedRecalls(value, other, percentiles(draws - other_draws))


def _mean_recalls(
    kinds: np.ndarray, right: np.ndarray, groups: np.ndarray, weights: np.ndarray
) -> Float[np.ndarray, " resamples"]:
    """Return the mean recall over kinds for each resample."""
    names, member = np.unique(groups, return_inverse=True)
    recalls: list[np.ndarray] = []
    for kind in np.unique(kinds):
        own = kinds == kind
        hits, cells = (
            weights @ np.bincount(member[some], minlength=len(names)).astype(np.float64) for some in (own & right, own)
        )
        recalls.append(np.divide(hits, cells, out=np.full(len(weights), np.nan), where=cells > 0))
    return np.nanmean(recalls, axis=0)
