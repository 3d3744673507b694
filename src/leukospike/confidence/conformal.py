"""Sets of labels instead of one, at a chosen error rate: {normal}, {leukemic}, both ("don't know") or none ("neither").

Cells of one subject resemble each other, so 6,000 cells of 33 subjects are closer to 33 observations than to 6,000.
Conformal prediction by cells, as in common libraries, treats them as 6,000 and errs more often than requested on a new
subject. Here subjects are exchangeable, and so are the cells within each.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from leukospike.confidence.stored import read_count, read_number
from leukospike.confidence.subjects import (
    SubjectMean,
    check_cells,
    check_columns,
    check_probabilities,
    equal_weights,
    left_out,
    mean_over_subjects,
)
from leukospike.errors import ConfigError, DataError

_ROUNDING = 1e-9
_EVERYTHING = 1.0  # no score is larger, and JSON has no infinity


class Guarantee(StrEnum):
    """Which cells the error rate holds for."""

    MARGINAL = "marginal"
    """For a cell of a new subject of either class, mixed as in the data."""
    BY_CLASS = "by_class"
    """For a cell of a new normal subject, and for one of a new leukemic subject (Mondrian)."""


@dataclass(frozen=True)
class ConformalThresholds:
    """How improbable a label may be and still stay in the set."""

    alpha: float
    """Error rate."""
    normal: float
    """Largest probability of being leukemic at which "normal" stays; at 1 it always does."""
    leukemic: float
    """Largest probability of being normal at which "leukemic" stays; at 1 it always does."""
    n_normal: int
    """Number of subjects behind the first threshold."""
    n_leukemic: int
    """Number of subjects behind the second threshold; with `Guarantee.MARGINAL` both rest on all subjects."""

    def sets(self, probabilities: Float[np.ndarray, " n"]) -> Bool[np.ndarray, "n 2"]:
        """Return which labels stay in each set.

        Parameters
        ----------
        probabilities : ndarray of shape (n,), 0 to 1
            Of being leukemic, obtained like those fitted on.

        Returns
        -------
        ndarray of shape (n, 2), bool
            Whether normal stays, and whether leukemic does.

        Raises
        ------
        DataError
            If a probability is NaN or outside 0 to 1.
        """
        check_probabilities("ConformalThresholds.sets", probabilities)
        unlikely = _nonconformity(probabilities)
        return unlikely <= np.array([self.normal, self.leukemic])

    def stored(self) -> dict[str, float | int]:
        """Return the numbers for a weights file."""
        return asdict(self)

    @classmethod
    def from_stored(cls, stored: Mapping[str, Any]) -> "ConformalThresholds":
        """Load the numbers that `stored` returned.

        Raises
        ------
        WeightsError
            If a number is missing or impossible.
        """
        where = "ConformalThresholds"
        return cls(
            alpha=read_number(where, stored, "alpha", 0, 1),
            normal=read_number(where, stored, "normal", 0, 1),
            leukemic=read_number(where, stored, "leukemic", 0, 1),
            n_normal=read_count(where, stored, "n_normal", 1),
            n_leukemic=read_count(where, stored, "n_leukemic", 1),
        )


@dataclass(frozen=True)
class Coverage:
    """Performance of sets on subjects that the thresholds have not seen."""

    covered: SubjectMean
    """Share of a subject's cells whose label is in the set."""
    single: SubjectMean
    """Share of cells with one label."""
    both: SubjectMean
    """Share of cells with both labels: "don't know"."""
    none: SubjectMean
    """Share of cells without a label: "like neither"."""


def least_subjects(alpha: float) -> int:
    """Return the number of subjects below which sets at this error rate contain every label.

    Raises
    ------
    ConfigError
        If `alpha` is not between 0 and 1.

    Examples
    --------
    >>> least_subjects(0.1), least_subjects(0.05)
    (9, 19)
    """
    _check_alpha("least_subjects", alpha)
    return int(np.ceil((1 - alpha) / alpha - _ROUNDING))


def fit_conformal(
    probabilities: Float[np.ndarray, " n"],
    labels: Int[np.ndarray, " n"],
    subjects: np.ndarray,
    *,
    alpha: float,
    guarantee: Guarantee,
) -> ConformalThresholds:
    r"""Fit the thresholds by hierarchical conformal prediction [1]_.

    The score s of a cell is one minus the probability of its label [2]_. The threshold is the quantile at 1 - alpha of

    .. math:: \sum_{k=1}^{K} \sum_{i=1}^{N_k} \frac{1}{(K+1) N_k} \delta_{s_{ki}} + \frac{1}{K+1} \delta_\infty

    over K subjects of :math:`N_k` cells. The set of a cell of a new subject then contains its label with a probability
    of at least 1 - alpha, on average over subjects, whatever the scores and their correlation within subjects. This
    assumes that subjects, and cells within a subject, are exchangeable, and that the scores come from networks that
    have not seen them. Single subsampling [3]_ draws one cell per subject for the same guarantee; this function uses
    all cells. Nothing is guaranteed for any single subject: far more than alpha of its cells may be missed.

    **Few subjects.** The last term is the new subject itself. Below K = (1 - alpha) / alpha it alone outweighs alpha,
    and the threshold is 1: the label is in every set. With nine normal subjects and an alpha of 0.1,
    `Guarantee.BY_CLASS` is just possible, and the threshold is the score of the most misleading of all normal cells;
    with eight it is not possible. `least_subjects` returns this limit.

    Thresholds of `Guarantee.BY_CLASS` follow any increasing transformation of the scores, so a calibration fitted on
    the same cells does no harm. Those of `Guarantee.MARGINAL` compare the scores of both classes, and hold only
    approximately with such a calibration. Scores from the folds of a cross-validation stand in for those of a network
    trained on all cells, which is also an approximation.

    Parameters
    ----------
    probabilities, labels, subjects : ndarray of shape (n,)
        For cells of subjects that the network has not seen. A subject with cells of both classes counts in both.
    alpha : float
        Error rate, between 0 and 1.
    guarantee : Guarantee

    Returns
    -------
    ConformalThresholds

    Raises
    ------
    DataError
        If a class is absent or a probability is impossible.
    ConfigError
        If `alpha` is not between 0 and 1, or the guarantee is unknown.

    References
    ----------
    .. [1] Lee, Barber, Willett, Distribution-free inference with hierarchical data, 2023, arXiv 2306.06342.
    .. [2] Sadinle, Lei, Wasserman, Least ambiguous set-valued classifiers with bounded error levels, JASA
       114(525):223-234, 2019, doi 10.1080/01621459.2017.1395341.
    .. [3] Dunn, Wasserman, Ramdas, Distribution-free prediction sets for two-layer hierarchical models, JASA
       118(544):2491-2502, 2023, doi 10.1080/01621459.2022.2060112.
    """
    check_cells("fit_conformal", probabilities, labels, subjects)
    _check_alpha("fit_conformal", alpha)
    scores = _nonconformity(probabilities)[np.arange(len(labels)), labels.astype(np.intp)]
    if _known(guarantee) is Guarantee.MARGINAL:
        threshold, n = _hierarchical_quantile(scores, subjects, alpha)
        return ConformalThresholds(alpha, threshold, threshold, n, n)
    (normal, n_normal), (leukemic, n_leukemic) = (
        _hierarchical_quantile(scores[labels == label], subjects[labels == label], alpha) for label in (0, 1)
    )
    return ConformalThresholds(alpha, normal, leukemic, n_normal, n_leukemic)


def cross_fitted_sets(
    probabilities: Float[np.ndarray, " n"],
    labels: Int[np.ndarray, " n"],
    subjects: np.ndarray,
    folds: np.ndarray,
    *,
    alpha: float,
    guarantee: Guarantee,
) -> Bool[np.ndarray, "n 2"]:
    """Return each fold's sets, with thresholds from the other folds' subjects.

    Parameters
    ----------
    probabilities, labels, subjects, folds : ndarray of shape (n,)
        As in `fit_conformal` and `subjects.left_out`.
    alpha, guarantee
        As in `fit_conformal`.

    Returns
    -------
    ndarray of shape (n, 2), bool

    Raises
    ------
    DataError, ConfigError, SplitError
        As for `fit_conformal` and `left_out`.
    """
    check_cells("cross_fitted_sets", probabilities, labels, subjects)
    sets = np.empty((len(labels), 2), dtype=bool)
    for rest, held in left_out(subjects, folds):
        fitted = fit_conformal(probabilities[rest], labels[rest], subjects[rest], alpha=alpha, guarantee=guarantee)
        sets[held] = fitted.sets(probabilities[held])
    return sets


def coverage(sets: Bool[np.ndarray, "n 2"], labels: Int[np.ndarray, " n"], subjects: np.ndarray) -> Coverage:
    """Compute how often the label is in the set and how large the sets are, with equal weight for each subject.

    For the coverage of one class, pass only its cells.

    Raises
    ------
    DataError
        If the sets are not two Booleans per cell, lengths differ, there are no cells, or a label is neither 0 nor 1.
    """
    if sets.shape[1:] != (2,) or sets.dtype != bool:
        msg = "sets must be Booleans of shape (cells, 2)"
        got = f"{sets.dtype} of shape {sets.shape}"
        raise DataError(msg, where="coverage", got=got, advice="Pass the result of ConformalThresholds.sets.")
    check_columns("coverage", sets=sets[:, 0], labels=labels, subjects=subjects)
    if not np.isin(labels, (0, 1)).all():
        msg = "labels must be 0 or 1"
        raise DataError(
            msg, where="coverage", got=np.unique(labels)[:5].tolist(), advice="Leave out cells without a label."
        )
    size = sets.sum(axis=1)
    return Coverage(
        covered=mean_over_subjects(sets[np.arange(len(labels)), labels.astype(np.intp)], subjects),
        single=mean_over_subjects(size == 1, subjects),
        both=mean_over_subjects(size == 2, subjects),
        none=mean_over_subjects(size == 0, subjects),
    )


def _check_alpha(where: str, alpha: float) -> None:
    """Raise an error unless the error rate is between 0 and 1."""
    if not 0 < alpha < 1:
        msg = "alpha must be between 0 and 1"
        raise ConfigError(msg, where=where, got=alpha, advice="Use the share of errors to allow, such as 0.1.")


def _known(guarantee: Guarantee) -> Guarantee:
    """Return the guarantee of this name; raise an error for any other name."""
    if guarantee not in tuple(Guarantee):
        msg = f"guarantee must be one of {', '.join(Guarantee)}"
        raise ConfigError(msg, where="fit_conformal", got=repr(guarantee), advice="Use a value of Guarantee.")
    return Guarantee(guarantee)


def _nonconformity(probabilities: np.ndarray) -> Float[np.ndarray, "n 2"]:
    """Return how improbable each label is: for normal the probability of leukemic, and vice versa."""
    leukemic = probabilities.astype(np.float64)
    return np.stack([leukemic, 1 - leukemic], axis=1)


def _hierarchical_quantile(scores: np.ndarray, subjects: np.ndarray, alpha: float) -> tuple[float, int]:
    """Return the quantile of [1]_ and the number of subjects."""
    n_subjects = len(np.unique(subjects))
    order = np.argsort(scores)
    # In units of one subject, so that nine of ten is exactly enough for an alpha of 0.1.
    mass = np.cumsum(equal_weights(subjects)[order])
    enough = np.flatnonzero(mass >= (1 - alpha) * (n_subjects + 1) - _ROUNDING * n_subjects)
    return (float(scores[order[enough[0]]]) if len(enough) else _EVERYTHING), n_subjects
