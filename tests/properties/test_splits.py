"""Folds for any cohort: nobody is on two sides, and everybody is tested once."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from leukospike.errors import SplitError
from leukospike.experiments.splits import linked_groups, subject_folds


@st.composite
def cohorts(draw: st.DrawFn) -> tuple[list[int], list[str], list[str]]:
    """Draw labels, subjects and pixel digests; a few cells of anybody may show the same picture."""
    subjects: list[str] = []
    labels: list[int] = []
    for number, count in enumerate(draw(st.lists(st.integers(1, 6), min_size=4, max_size=12))):
        mixed = draw(st.integers(0, 9)) == 0
        label = draw(st.integers(0, 1))
        subjects += [f"S{number}"] * count
        labels += draw(st.lists(st.integers(0, 1), min_size=count, max_size=count)) if mixed else [label] * count
    digests = [str(cell) for cell in range(len(subjects))]
    for copied in draw(st.lists(st.integers(0, len(subjects) - 1), max_size=2)):
        digests[copied] = digests[0]
    return labels, subjects, digests


@given(cohort=cohorts(), n_folds=st.integers(2, 5), seed=st.integers(0, 1000))
@settings(max_examples=150, deadline=None)
def test_folds_are_disjoint_and_complete_by_subject(
    cohort: tuple[list[int], list[str], list[str]], n_folds: int, seed: int
) -> None:
    labels, subjects, digests = cohort
    try:
        folds = subject_folds(labels, subjects, digests, n_folds=n_folds, seed=seed)
    except SplitError:
        return  # refused with a reason, which the unit tests read
    assert len(folds) == n_folds
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(len(labels)))
    for fold in folds:
        assert sorted([*fold.train, *fold.validation, *fold.test]) == list(range(len(labels)))
        assert len(fold.test) > 0
        assert {labels[place] for place in fold.train} == {0, 1}
        for names in (subjects, digests):
            train, validation, test = (_of(names, part) for part in (fold.train, fold.validation, fold.test))
            assert not train & validation
            assert not train & test
            assert not validation & test


@given(pure=st.integers(2, 6), cells=st.integers(2, 5), n_folds=st.integers(2, 6), seed=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_balanced_cohort_is_never_refused(pure: int, cells: int, n_folds: int, seed: int) -> None:
    subjects = [f"S{number}" for number in range(2 * pure) for _ in range(cells)]
    labels = [int(number < pure) for number in range(2 * pure) for _ in range(cells)]
    folds = subject_folds(labels, subjects, list(map(str, range(len(labels)))), n_folds=min(n_folds, pure), seed=seed)
    assert len(folds) == min(n_folds, pure)


@given(cohort=cohorts())
@settings(max_examples=50, deadline=None)
def test_groups_are_the_finest_that_split_neither_subject_nor_picture(
    cohort: tuple[list[int], list[str], list[str]],
) -> None:
    _, subjects, digests = cohort
    groups = linked_groups(subjects, digests)
    for names in (subjects, digests):
        for name in set(names):
            assert len({groups[place] for place, other in enumerate(names) if other == name}) == 1
    # Walk from cell to cell over shared subjects and pictures: what is reached is the group.
    reached, waiting = {0}, [0]
    while waiting:
        cell = waiting.pop()
        near = {
            place
            for place in range(len(subjects))
            if subjects[place] == subjects[cell] or digests[place] == digests[cell]
        }
        waiting += near - reached
        reached |= near
    assert reached == {place for place, group in enumerate(groups) if group == groups[0]}


def _of(names: Sequence[str], places: np.ndarray) -> set[str]:
    return {names[place] for place in places}
