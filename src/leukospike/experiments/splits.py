"""Cross-validation folds: by subject, or by image as in the original."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from leukospike.errors import SplitError

_VALIDATION_SHARE = 5  # one subject in so many


@dataclass(frozen=True)
class Fold:
    """Three disjoint sets of indices into the list of cells."""

    train: Int[np.ndarray, " n_train"]
    """Everything is fitted on these."""
    validation: Int[np.ndarray, " n_validation"]
    """Used to set the learning rate."""
    test: Int[np.ndarray, " n_test"]
    """Used to compute the figures."""


def linked_groups(subjects: Sequence[str], digests: Sequence[str]) -> Int[np.ndarray, " n"]:
    """Return, for each cell, the number of the group that a split must keep together.

    Cells of one subject stay together, and so do subjects that share a pixel-identical image.

    Parameters
    ----------
    subjects, digests : sequence of str, one a cell
        Subject id, and a digest of the pixels.

    Returns
    -------
    ndarray of shape (n,), int
        Group of each cell, from 0.

    Examples
    --------
    >>> linked_groups(["A", "A", "B", "C"], ["1", "2", "2", "3"]).tolist()
    [0, 0, 0, 1]
    """
    _, subject = np.unique(np.asarray(subjects), return_inverse=True)
    _, digest = np.unique(np.asarray(digests), return_inverse=True)
    # A graph whose nodes are the subjects and the images; each cell joins its subject to its image.
    n_nodes = int(subject.max() + digest.max()) + 2
    joins = coo_array((np.ones(len(subject)), (subject, subject.max() + 1 + digest)), shape=(n_nodes, n_nodes))
    _, component = connected_components(joins, directed=False)
    return np.unique(component[subject], return_inverse=True)[1].astype(np.int64)


def subject_folds(
    labels: Sequence[int], subjects: Sequence[str], digests: Sequence[str], *, n_folds: int, seed: int
) -> list[Fold]:
    """Split cells so that no subject, and no group of subjects sharing an image, is on both sides.

    Stratified: each fold gets about the same share of leukemic cells. One subject in five of the training part is held
    back for validation, or more if needed to include both classes.

    Parameters
    ----------
    labels : sequence of int, one a cell
        1 leukemic, 0 normal.
    subjects, digests : sequence of str, one a cell
        Subject id, and a digest of the pixels.
    n_folds : int
        At least 2, at most the number of independent groups of subjects and of the cells of the rarer class.
    seed : int

    Returns
    -------
    list of Fold

    Raises
    ------
    SplitError
        If there are too few subjects or cells for the folds, or a training part would hold one class only.
    """
    where = "subject_folds"
    label = np.asarray(labels)
    groups = linked_groups(subjects, digests)
    n_groups = int(groups.max()) + 1
    if n_folds > n_groups:
        rule = f"`n_folds` must be at most the number of independent subjects ({n_groups})"
        raise SplitError(rule, where=where, got=n_folds, advice="Lower `n_folds` or add subjects.")
    rarer = _rarer_class(label)
    if n_folds > rarer:
        rule = f"`n_folds` must be at most the number of images of the rarer class ({rarer})"
        raise SplitError(rule, where=where, got=n_folds, advice="Lower `n_folds`, or add images of that class.")
    folds: list[Fold] = []
    for rest, test in _stratified(label, groups, n_folds, seed):
        if len(test) == 0:
            got = f"none in fold {len(folds)} of {n_folds}: the {n_groups} independent subjects differ too much in size"
            advice = "Lower `n_folds` or change the seed."
            rule = "each fold must hold a subject"
            raise SplitError(rule, where=where, got=got, advice=advice)
        train, validation = _set_aside(rest, label, groups, seed)
        if len(np.unique(label[train])) < 2:
            rule = "each training part must hold both classes"
            got = f"a single class in fold {len(folds)} of {n_folds} ({n_groups} independent subjects)"
            advice = "Lower `n_folds` or add subjects of the rarer class."
            raise SplitError(rule, where=where, got=got, advice=advice)
        folds.append(Fold(train, validation, test))
    return folds


def _set_aside(
    rest: Int[np.ndarray, " n"], label: np.ndarray, groups: np.ndarray, seed: int
) -> tuple[Int[np.ndarray, " a"], Int[np.ndarray, " b"]]:
    """Split the untested cells into a training and a validation part, which may be empty.

    Both parts hold both classes if each class has two groups; with fewer, only the training part does.
    """
    own = label[rest]
    fewest_groups = min(len(np.unique(groups[rest][own == one])) for one in np.unique(own))
    # More parts than the rarer class has groups would leave it out of some.
    most = fewest_groups if fewest_groups > 1 else len(np.unique(groups[rest]))
    n_inner = min(_VALIDATION_SHARE, most, _rarer_class(own))
    if n_inner < 2:
        return rest, rest[:0]
    n_classes = len(np.unique(own))
    inner = _stratified(own, groups[rest], n_inner, seed)
    usable = [(train, held) for train, held in inner if len(np.unique(own[train])) == n_classes]
    # The first with the most classes in both.
    train, held = max(usable, key=lambda parts: len(np.unique(own[parts[1]])), default=(slice(None), slice(0)))
    return rest[train], rest[held]


def image_folds(n: int, *, n_folds: int, seed: int) -> list[Fold]:
    """Split images as in the original: shuffled regardless of subject, with the test images used for validation.

    Parameters
    ----------
    n : int
        Number of images, including augmented copies.
    n_folds : int
        From 2 to `n`.
    seed : int

    Returns
    -------
    list of Fold
        With `validation` the same as `test`: one of the flaws that this protocol reproduces.

    Raises
    ------
    SplitError
        If there are fewer images than folds.
    """
    from sklearn.model_selection import KFold  # slow to load, and an audit without --run makes no folds

    if n < n_folds:
        rule = f"`n_folds` must be at most the number of images ({n})"
        raise SplitError(rule, where="image_folds", got=n_folds, advice="Lower `n_folds`.")
    split = KFold(n_folds, shuffle=True, random_state=seed).split(np.zeros(n))
    return [Fold(train, test, test) for train, test in split]


def _rarer_class(label: np.ndarray) -> int:
    """Count the cells of the rarest class present."""
    return int(np.unique(label, return_counts=True)[1].min())


def _stratified(
    label: np.ndarray, groups: np.ndarray, n_folds: int, seed: int
) -> list[tuple[Int[np.ndarray, " a"], Int[np.ndarray, " b"]]]:
    """Split into stratified folds by group, in a reproducible order."""
    from sklearn.model_selection import StratifiedGroupKFold  # slow to load, as above

    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros(len(label)), label, groups))
