"""Thresholds for calls, picked for a sensitivity on subjects used neither for training nor for the figures."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from leukospike.confidence.stored import read_count, read_number
from leukospike.confidence.subjects import check_cells, check_probabilities, left_out, n_subjects_by_class
from leukospike.errors import ConfigError


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, and its figures on the cells it was picked on, which are a little better than on others."""

    threshold: float
    """A cell with this probability or a higher one is called leukemic."""
    wanted_sensitivity: float
    sensitivity: float
    """Share of the leukemic cells it was picked on that it calls."""
    specificity: float
    """Share of the normal cells that it does not call."""
    n_normal: int
    """Number of subjects with normal cells."""
    n_leukemic: int
    """Number of subjects with leukemic cells."""

    def calls(self, probabilities: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
        """Return which cells or subjects are called leukemic.

        Raises
        ------
        DataError
            If a probability is NaN or outside 0 to 1.
        """
        check_probabilities("OperatingPoint.calls", probabilities)
        return probabilities >= self.threshold

    def stored(self) -> dict[str, float | int]:
        """Return the numbers for a weights file."""
        return asdict(self)

    @classmethod
    def from_stored(cls, stored: Mapping[str, Any]) -> "OperatingPoint":
        """Load the numbers that `stored` returned.

        Raises
        ------
        WeightsError
            If a number is missing or impossible.
        """
        where = "OperatingPoint"
        names = ("threshold", "wanted_sensitivity", "sensitivity", "specificity")
        shares = {name: read_number(where, stored, name, 0, 1) for name in names}
        counts = {name: read_count(where, stored, name, 1) for name in ("n_normal", "n_leukemic")}
        return cls(**shares, **counts)  # pyright: ignore[reportArgumentType]


def threshold_at_sensitivity(
    probabilities: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"], subjects: np.ndarray, *, sensitivity: float
) -> OperatingPoint:
    """Return the highest threshold that calls at least this share of the leukemic cells.

    Cells have equal weights, as in the sensitivity of `evaluation`. With one probability per subject instead of per
    cell, this is a threshold for subjects.

    Parameters
    ----------
    probabilities, labels, subjects : ndarray of shape (n,)
        For validation subjects, which are neither trained nor reported on.
    sensitivity : float
        Above 0 and at most 1.

    Returns
    -------
    OperatingPoint
        The threshold is one of the probabilities.

    Raises
    ------
    DataError
        If a class is absent or a probability is impossible.
    ConfigError
        If the sensitivity is impossible.

    Examples
    --------
    >>> probabilities, labels = np.array([0.9, 0.7, 0.4, 0.6, 0.1]), np.array([1, 1, 1, 0, 0])
    >>> subjects = np.array(["A", "A", "B", "C", "C"])
    >>> point = threshold_at_sensitivity(probabilities, labels, subjects, sensitivity=0.6)
    >>> point.threshold, point.specificity
    (0.7, 1.0)
    """
    check_cells("threshold_at_sensitivity", probabilities, labels, subjects)
    if not 0 < sensitivity <= 1:
        msg = "sensitivity must be above 0 and at most 1"
        raise ConfigError(msg, where="threshold_at_sensitivity", got=sensitivity, advice="Use a share, such as 0.95.")
    leukemic, normal = np.sort(probabilities[labels == 1])[::-1], probabilities[labels == 0]
    # Minus a rounding error: 0.95 of 20 must be 19.
    needed = max(1, int(np.ceil(sensitivity * len(leukemic) - 1e-9)))
    threshold = float(leukemic[needed - 1])
    n_normal, n_leukemic = n_subjects_by_class(labels, subjects)
    return OperatingPoint(
        threshold=threshold,
        wanted_sensitivity=sensitivity,
        sensitivity=float(np.mean(leukemic >= threshold)),
        specificity=float(np.mean(normal < threshold)),
        n_normal=n_normal,
        n_leukemic=n_leukemic,
    )


def cross_fitted_calls(
    probabilities: Float[np.ndarray, " n"],
    labels: Int[np.ndarray, " n"],
    subjects: np.ndarray,
    folds: np.ndarray,
    *,
    sensitivity: float,
) -> Bool[np.ndarray, " n"]:
    """Call each fold's cells with the threshold from the other folds' subjects, for an unbiased sensitivity.

    Parameters
    ----------
    probabilities, labels, subjects, folds : ndarray of shape (n,)
        As in `subjects.left_out`.
    sensitivity : float

    Returns
    -------
    ndarray of shape (n,), bool

    Raises
    ------
    DataError, ConfigError, SplitError
        As for `threshold_at_sensitivity` and `left_out`.
    """
    check_cells("cross_fitted_calls", probabilities, labels, subjects)
    calls = np.empty(len(labels), dtype=bool)
    for rest, held in left_out(subjects, folds):
        point = threshold_at_sensitivity(probabilities[rest], labels[rest], subjects[rest], sensitivity=sensitivity)
        calls[held] = point.calls(probabilities[held])
    return calls
