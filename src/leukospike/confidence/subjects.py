"""The subject as the unit: all subjects have equal weight, and none is judged by values fitted on its own cells."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from leukospike.errors import ConfigError, DataError, SplitError
from leukospike.evaluation.estimates import Interval
from leukospike.evaluation.metrics import CONFIDENCE, N_RESAMPLES

_NAMES = ("labels", "subjects", "folds")


def equal_weights(subjects: np.ndarray) -> Float[np.ndarray, " n"]:
    """Return a weight for each cell: one over the number of its subject's cells, so that every subject weighs 1.

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
        Subject and fold of each cell. Subjects that share images must have the same name. With the subjects themselves
        as folds, one subject is held out at a time.

    Yields
    ------
    rest, held : ndarray of int
        Indices of the cells to fit on, and of those to judge.

    Raises
    ------
    SplitError
        If lengths differ, a subject or fold is missing, a subject is in two folds, or there is only one fold.
    """
    check_columns("left_out", SplitError, subjects=subjects, folds=folds)
    pairs = {(str(subject), str(fold)) for subject, fold in zip(subjects, folds, strict=True)}
    if len(pairs) > len(np.unique(subjects)):
        msg = "each subject must be in one fold"
        raise SplitError(msg, where="left_out", got="one in several", advice="Split by subject.")
    names = np.unique(folds)
    if len(names) < 2:
        msg = "there must be at least 2 folds"
        raise SplitError(msg, where="left_out", got=len(names), advice="Split into more folds.")
    for name in names:
        held = folds == name
        yield np.flatnonzero(~held), np.flatnonzero(held)


def check_columns(where: str, kind: type[DataError] | type[SplitError] = DataError, **columns: np.ndarray) -> None:
    """Raise an error unless columns have one value per cell, with no label, subject or fold missing.

    Parameters
    ----------
    where : str
        Caller, with which the message begins.
    kind : type
        Type of the error.
    **columns : ndarray of shape (n,)
        By the caller's names, at least two.

    Raises
    ------
    DataError or SplitError
        If a column has another number of dimensions, lengths differ, there are no cells, or a name or number is
        missing.
    """
    _check_one_dimension(where, kind, **columns)
    lengths = [len(values) for values in columns.values()]
    if len(set(lengths)) > 1 or lengths[0] == 0:
        *first, last = columns
        msg = f"{', '.join(first)} and {last} must have the same length, at least 1"
        raise kind(msg, where=where, got=lengths, advice="Pass one value per cell.")
    for name, values in columns.items():
        # Only these two types can hold a missing value; a value unequal to itself is NaN.
        may_miss = name in _NAMES and values.dtype.kind in "fO"
        if may_miss and any(value is None or value != value for value in values.tolist()):
            msg = f"{name} must be known for every cell"
            raise kind(msg, where=where, got="a missing one", advice="Leave out cells without one.")


def check_cells(where: str, probabilities: np.ndarray, labels: np.ndarray, subjects: np.ndarray) -> None:
    """Raise an error for scored cells from which nothing can be fitted.

    Parameters
    ----------
    where : str
        Caller, with which the message begins.
    probabilities, labels, subjects : ndarray of shape (n,)

    Raises
    ------
    DataError
        If lengths differ, a subject is missing, a probability is not from 0 to 1, a label is neither 0 nor 1, or a
        class is absent.
    """
    check_columns(where, probabilities=probabilities, labels=labels, subjects=subjects)
    check_probabilities(where, probabilities)
    if set(np.unique(labels)) != {0, 1}:
        msg = "labels must contain both 0 and 1 and nothing else"
        raise DataError(msg, where=where, got=np.unique(labels)[:5].tolist(), advice="Pass cells of both classes.")


def check_probabilities(where: str, probabilities: np.ndarray) -> None:
    """Raise an error unless all values are probabilities; NaN is not.

    Raises
    ------
    DataError
        If there is not one value per cell, or one is not from 0 to 1.
    """
    _check_one_dimension(where, DataError, probabilities=probabilities)
    wrong = ~((probabilities >= 0) & (probabilities <= 1))
    if wrong.any():
        msg = "probabilities must be from 0 to 1"
        raise DataError(msg, where=where, got=probabilities[wrong][0], advice="Leave out cells without a score.")


def n_subjects_by_class(labels: np.ndarray, subjects: np.ndarray) -> tuple[int, int]:
    """Count the subjects with normal cells and those with leukemic cells."""
    return len(np.unique(subjects[labels == 0])), len(np.unique(subjects[labels == 1]))


def _check_one_dimension(where: str, kind: type[DataError] | type[SplitError], **columns: np.ndarray) -> None:
    """Raise an error for tables and single values."""
    for name, values in columns.items():
        if values.ndim != 1:
            msg = f"{name} must have one dimension"
            raise kind(msg, where=where, got=f"shape {values.shape}", advice="Pass one value per cell.")


@dataclass(frozen=True)
class SubjectMean:
    """A mean over subjects with equal weights."""

    value: float
    interval: Interval
    """95 % interval from resampling subjects; not useful with fewer than about ten."""
    n_subjects: int


def mean_over_subjects(
    values: Float[np.ndarray, " n"] | Bool[np.ndarray, " n"],
    subjects: np.ndarray,
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> SubjectMean:
    """Average values of cells within each subject, then over subjects, with a percentile interval over subjects.

    Parameters
    ----------
    values, subjects : ndarray of shape (n,)
        At least one cell.
    n_resamples : int
        At least 1.
    seed : int

    Returns
    -------
    SubjectMean

    Raises
    ------
    DataError
        If lengths differ, there are no cells, a subject is missing, or a value is not finite.
    ConfigError
        If `n_resamples` is not a whole number of at least 1.
    """
    where = "mean_over_subjects"
    check_columns(where, values=values, subjects=subjects)
    finite = np.isfinite(values)
    if not finite.all():
        msg = "values must be finite"
        raise DataError(msg, where=where, got=values[~finite][0], advice="Leave out cells without a value.")
    if not n_resamples >= 1 or n_resamples % 1:
        msg = "n_resamples must be a whole number, at least 1"
        raise ConfigError(msg, where=where, got=n_resamples, advice="Omit it to use the usual number.")
    names, member, counts = np.unique(subjects, return_inverse=True, return_counts=True)
    means = np.bincount(member, weights=values.astype(np.float64)) / counts
    drawn = np.random.default_rng(seed).choice(means, (n_resamples, len(names))).mean(axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return SubjectMean(float(means.mean()), Interval(float(low), float(high)), len(names))
