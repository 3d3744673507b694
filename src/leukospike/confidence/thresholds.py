"""Thresholds for calls, picked for a sensitivity on subjects that neither network nor figures come from."""

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
    """A threshold, and what it gave where it was picked: a little better than on others, as every choice is."""

    threshold: float
    """A cell is called leukemic from this probability on."""
    wanted_sensitivity: float
    sensitivity: float
    """Share of leukemic cells called, of those that it was picked on."""
    specificity: float
    """Share of normal cells not called."""
    n_normal: int
    """Subjects with normal cells."""
    n_leukemic: int
    """Subjects with leukemic cells."""

    def calls(self, probabilities: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
        """Tell which cells, or subjects, are called leukemic.

        Raises
        ------
        DataError
            If a probability is NaN or outside 0 and 1.
        """
        check_probabilities("OperatingPoint.calls", probabilities)
        return probabilities >= self.threshold

    def stored(self) -> dict[str, float | int]:
        """Return the numbers for a weights file."""
        return asdict(self)

    @classmethod
    def from_stored(cls, stored: Mapping[str, Any]) -> "OperatingPoint":
        """Read what `stored` gave.

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

    Cells count alike, as in the sensitivity of `evaluation`. With one probability a subject in place of cells, it is a
    threshold for subjects.

    Parameters
    ----------
    probabilities, labels, subjects : ndarray of shape (n,)
        Of validation subjects: not those trained on, and not those reported on.
    sensitivity : float
        Above 0, at most 1.

    Returns
    -------
    OperatingPoint
        Its threshold is one of the probabilities.

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
        raise ConfigError(msg, where="threshold_at_sensitivity", got=sensitivity, advice="Give a share, as 0.95.")
    leukemic, normal = np.sort(probabilities[labels == 1])[::-1], probabilities[labels == 0]
    # Less a rounding error: 0.95 of 20 shall be 19.
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
    """Call each fold's cells by the threshold from the other folds' subjects: the sensitivity of the result is honest.

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
        As `threshold_at_sensitivity` and `left_out` do.
    """
    check_cells("cross_fitted_calls", probabilities, labels, subjects)
    calls = np.empty(len(labels), dtype=bool)
    for rest, held in left_out(subjects, folds):
        point = threshold_at_sensitivity(probabilities[rest], labels[rest], subjects[rest], sensitivity=sensitivity)
        calls[held] = point.calls(probabilities[held])
    return calls
