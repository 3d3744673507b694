"""The subject as the unit: each counts alike, and none is judged by what was fitted on its cells."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from leukospike.errors import DataError, SplitError
from leukospike.evaluation.estimates import Interval
from leukospike.evaluation.metrics import CONFIDENCE, N_RESAMPLES


def equal_weights(subjects: np.ndarray) -> Float[np.ndarray, " n"]:
    """Return each cell one over the number of its subject's cells, so that every subject weighs 1.

    Examples
    --------
    >>> equal_weights(np.array(["A", "A", "B"])).tolist()
    [0.5, 0.5, 1.0]
    """
    _, member, counts = np.unique(subjects, return_inverse=True, return_counts=True)
    return 1 / counts[member]


def left_out(
    subjects: np.ndarray, folds: np.ndarray
) -> Iterator[tuple[Int[np.ndarray, " rest"], Int[np.ndarray, " held"]]]:
    """Hold out each fold in turn.

    Parameters
    ----------
    subjects, folds : ndarray of shape (n,)
        Subject and fold of each cell. Subjects that share images must have been given one name. With the subjects
        themselves for folds, one subject is held out at a time.

    Yields
    ------
    rest, held : ndarray of int
        Places of the cells to fit on, and of those to judge.

    Raises
    ------
    SplitError
        If lengths differ, a subject lies in two folds, or there is one fold only.
    """
    if len(subjects) != len(folds):
        msg = "subjects and folds must be of one length"
        raise SplitError(msg, where="left_out", got=[len(subjects), len(folds)], advice="Give one a cell.")
    pairs = {(str(subject), str(fold)) for subject, fold in zip(subjects, folds, strict=True)}
    if len(pairs) > len(np.unique(subjects)):
        msg = "each subject must lie in one fold"
        raise SplitError(msg, where="left_out", got="one in several", advice="Split by subject.")
    names = np.unique(folds)
    if len(names) < 2:
        msg = "folds must be at least 2"
        raise SplitError(msg, where="left_out", got=len(names), advice="Split into more.")
    for name in names:
        held = folds == name
        yield np.flatnonzero(~held), np.flatnonzero(held)


def check_cells(where: str, probabilities: np.ndarray, labels: np.ndarray, subjects: np.ndarray) -> None:
    """Refuse scored cells from which nothing can be fitted.

    Parameters
    ----------
    where : str
        Who asks; the message begins with it.
    probabilities, labels, subjects : ndarray of shape (n,)

    Raises
    ------
    DataError
        If lengths differ, a probability is not within 0 and 1, a label is neither 0 nor 1, or a class is absent.
    """
    lengths = {len(probabilities), len(labels), len(subjects)}
    if len(lengths) > 1:
        msg = "probabilities, labels and subjects must be of one length"
        raise DataError(msg, where=where, got=sorted(lengths), advice="Give one a cell.")
    check_probabilities(where, probabilities)
    if set(np.unique(labels)) != {0, 1}:
        msg = "labels must be 0 and 1, both"
        raise DataError(msg, where=where, got=np.unique(labels)[:5].tolist(), advice="Give cells of both classes.")


def check_labels(where: str, values: np.ndarray, labels: np.ndarray, subjects: np.ndarray) -> None:
    """Refuse judged cells that cannot be counted.

    Raises
    ------
    DataError
        If lengths differ, there is no cell, or a label is neither 0 nor 1.
    """
    lengths = {len(values), len(labels), len(subjects)}
    if len(lengths) > 1 or lengths == {0}:
        msg = "values, labels and subjects must be of one length, and one at least"
        raise DataError(msg, where=where, got=sorted(lengths), advice="Give one a cell.")
    if not np.isin(labels, (0, 1)).all():
        msg = "labels must be 0 or 1"
        raise DataError(msg, where=where, got=np.unique(labels)[:5].tolist(), advice="Leave out cells without one.")


def check_probabilities(where: str, probabilities: np.ndarray) -> None:
    """Refuse what is no probability; NaN is none.

    Raises
    ------
    DataError
        If a value is not within 0 and 1.
    """
    wrong = ~((probabilities >= 0) & (probabilities <= 1))
    if wrong.any():
        msg = "probabilities must lie within 0 and 1"
        raise DataError(msg, where=where, got=probabilities[wrong][0], advice="Leave out cells without a score.")


def n_subjects_by_class(labels: np.ndarray, subjects: np.ndarray) -> tuple[int, int]:
    """Count the subjects that have normal cells, and those that have leukemic ones."""
    return len(np.unique(subjects[labels == 0])), len(np.unique(subjects[labels == 1]))


@dataclass(frozen=True)
class SubjectMean:
    """A mean over subjects, each counting alike."""

    value: float
    interval: Interval
    """95 %, from resampling subjects; of no use with fewer than about ten."""
    n_subjects: int


def mean_over_subjects(
    values: Float[np.ndarray, " n"] | Bool[np.ndarray, " n"],
    subjects: np.ndarray,
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> SubjectMean:
    """Average a value a cell within each subject, then over subjects, with a percentile interval from drawing subjects.

    Parameters
    ----------
    values, subjects : ndarray of shape (n,)
        At least one cell.
    n_resamples, seed : int

    Returns
    -------
    SubjectMean

    Raises
    ------
    DataError
        If lengths differ, there is no cell, or a value is not finite.
    """
    if len(values) != len(subjects) or len(values) == 0 or not np.isfinite(values).all():
        msg = "values must be finite, one for each cell, and one at least"
        got = f"{len(values)} for {len(subjects)} cells"
        raise DataError(msg, where="mean_over_subjects", got=got, advice="Leave out cells without a value.")
    names, member, counts = np.unique(subjects, return_inverse=True, return_counts=True)
    means = np.bincount(member, weights=values.astype(np.float64)) / counts
    drawn = np.random.default_rng(seed).choice(means, (n_resamples, len(names))).mean(axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return SubjectMean(float(means.mean()), Interval(float(low), float(high)), len(names))
