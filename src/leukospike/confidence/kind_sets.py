"""Sets of kinds in place of one: every kind that cannot be ruled out, at a chosen error rate.

Within a laboratory the least probability at which a kind stays is that which all but a share of its cells reach
(conformal prediction by class [1]_). A new laboratory is none of these, and its cells are not exchangeable with theirs.
So each laboratory is left out of training in turn, and the lowest of their thresholds is taken: what held in the worst
of the laboratories that were new should hold in the next.

References
----------
.. [1] Vovk, Conditional validity of inductive conformal predictors, Machine Learning 92:349-376, 2013,
   doi 10.1007/s10994-013-5355-6.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from leukospike.confidence.stored import read_number
from leukospike.confidence.subjects import check_columns
from leukospike.errors import ConfigError, WeightsError

FEWEST = 9
"""Cells of a kind in a laboratory below which its threshold would only be that of its one worst cell."""

_ROUNDING = 1e-9  # 0.29 x 100 is a little less than 29


@dataclass(frozen=True)
class KindThresholds:
    """How improbable a kind may be and still stay in the set."""

    alpha: float
    """Error rate."""
    least: tuple[float, ...]
    """Least probability at which each kind stays; 0: always."""

    def sets(self, probabilities: Float[np.ndarray, "n kinds"]) -> Bool[np.ndarray, "n kinds"]:
        """Return which kinds stay in each set; the likeliest always does."""
        stays = probabilities >= np.array(self.least)
        stays[np.arange(len(stays)), probabilities.argmax(axis=1)] = True
        return stays

    def stored(self) -> dict[str, Any]:
        """Return the numbers for a weights file."""
        return {"alpha": self.alpha, "least": list(self.least)}

    @classmethod
    def from_stored(cls, stored: Mapping[str, Any], *, n_kinds: int) -> "KindThresholds":
        """Load the numbers that `stored` returned.

        Raises
        ------
        WeightsError
            If a number is missing or impossible.
        """
        where, given = "KindThresholds", stored.get("least")
        if not isinstance(given, list) or len(given) != n_kinds:
            msg = f"least must be a list of {n_kinds} numbers"
            raise WeightsError(msg, where=where, got=f"{given!r}"[:80], advice="Fit it again.")
        named = {str(place): least for place, least in enumerate(given)}
        return cls(
            alpha=read_number(where, stored, "alpha", 0, 1),
            least=tuple(read_number(where, named, name, 0, 1) for name in named),
        )


def fit_kind_thresholds(
    probabilities: Float[np.ndarray, "n kinds"], kinds: Int[np.ndarray, " n"], groups: np.ndarray, *, alpha: float
) -> KindThresholds:
    """Fit the thresholds.

    Parameters
    ----------
    probabilities : ndarray of shape (n, kinds)
        Of cells whose laboratory, or at least subject, was left out of training.
    kinds : ndarray of shape (n,)
        True kind of each cell, from 0.
    groups : ndarray of shape (n,)
        Laboratory of each cell.
    alpha : float
        Error rate, between 0 and 1.

    Returns
    -------
    KindThresholds
        A kind without `FEWEST` cells in any laboratory always stays: nothing is known of it.

    Raises
    ------
    ConfigError
        If `alpha` is not between 0 and 1.
    DataError
        If lengths differ.
    """
    if not 0 < alpha < 1:
        msg = "alpha must be between 0 and 1"
        raise ConfigError(msg, where="fit_kind_thresholds", got=alpha, advice="Use an error rate, such as 0.1.")
    check_columns("fit_kind_thresholds", kinds=kinds, groups=groups, probabilities=probabilities[:, 0])
    least: list[float] = []
    for kind in range(probabilities.shape[1]):
        lowest: list[float] = []
        for group in np.unique(groups[kinds == kind]):
            own = np.sort(probabilities[(kinds == kind) & (groups == group), kind])
            if len(own) >= FEWEST:
                n_below = math.floor(alpha * (len(own) + 1) + _ROUNDING)
                lowest.append(float(own[n_below - 1]) if n_below else 0.0)
        least.append(min(lowest, default=0.0))
    return KindThresholds(alpha, tuple(least))
