"""Sets, thresholds and flags for any cells of any subjects."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from leukospike.confidence import (
    Guarantee,
    fit_conformal,
    flag_threshold,
    left_out,
    mean_over_subjects,
    threshold_at_sensitivity,
)

Cells = tuple[np.ndarray, np.ndarray, np.ndarray]


@st.composite
def cells(draw: st.DrawFn) -> Cells:
    """Draw probabilities (many of them equal), labels of both classes and subjects."""
    n = draw(st.integers(4, 40))
    several = st.lists(st.integers(0, 20), min_size=n, max_size=n)
    labels = np.array([0, 1, *draw(st.lists(st.integers(0, 1), min_size=n - 2, max_size=n - 2))], np.int64)
    return np.array(draw(several)) / 20, labels, np.array(draw(several)) % 7


@given(cells=cells(), alpha=st.floats(0.05, 0.6), guarantee=st.sampled_from(Guarantee), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_sets_depend_neither_on_order_nor_on_how_often_a_subjects_cells_are_given(
    cells: Cells, alpha: float, guarantee: Guarantee, seed: int
) -> None:
    probabilities, labels, subjects = cells
    fitted = fit_conformal(probabilities, labels, subjects, alpha=alpha, guarantee=guarantee)
    # All cells of one subject three times: it still counts as one.
    again = np.concatenate([np.arange(len(labels)), *[np.flatnonzero(subjects == subjects[0])] * 2])
    again = np.random.default_rng(seed).permutation(again)
    renamed = np.array([f"subject {subject}" for subject in subjects])
    assert (
        fit_conformal(probabilities[again], labels[again], renamed[again], alpha=alpha, guarantee=guarantee) == fitted
    )


@given(
    cells=cells(), alphas=st.tuples(st.floats(0.02, 0.5), st.floats(0.02, 0.5)), guarantee=st.sampled_from(Guarantee)
)
@settings(max_examples=40, deadline=None)
def test_fewer_errors_take_larger_sets(cells: Cells, alphas: tuple[float, float], guarantee: Guarantee) -> None:
    probabilities, labels, subjects = cells
    strict, loose = (
        fit_conformal(probabilities, labels, subjects, alpha=alpha, guarantee=guarantee).sets(probabilities)
        for alpha in sorted(alphas)
    )
    assert (strict | ~loose).all()


@given(cells=cells(), alpha=st.floats(0.05, 0.6))
@settings(max_examples=40, deadline=None)
def test_sets_by_class_follow_a_rising_change_of_the_scores(cells: Cells, alpha: float) -> None:
    probabilities, labels, subjects = cells
    changed = probabilities**3 / 2
    how = {"alpha": alpha, "guarantee": Guarantee.BY_CLASS}
    before = fit_conformal(probabilities, labels, subjects, **how)
    after = fit_conformal(changed, labels, subjects, **how)
    np.testing.assert_array_equal(before.sets(probabilities), after.sets(changed))


@given(cells=cells(), sensitivity=st.floats(0.01, 1))
@settings(max_examples=40, deadline=None)
def test_threshold_is_sensitive_enough_and_no_lower_than_needed(cells: Cells, sensitivity: float) -> None:
    probabilities, labels, subjects = cells
    point = threshold_at_sensitivity(probabilities, labels, subjects, sensitivity=sensitivity)
    leukemic = probabilities[labels == 1]
    assert np.mean(leukemic >= point.threshold) >= sensitivity - 1e-9
    assert np.mean(leukemic > point.threshold) < sensitivity


@given(cells=cells(), rate=st.floats(0.01, 0.9))
@settings(max_examples=40, deadline=None)
def test_flags_are_no_more_than_stated_and_no_fewer_than_needed(cells: Cells, rate: float) -> None:
    distances, _, subjects = cells
    threshold = flag_threshold(distances, subjects, rate=rate)
    assert mean_over_subjects(distances > threshold, subjects, n_resamples=2).value <= rate + 1e-9
    assert mean_over_subjects(distances >= threshold, subjects, n_resamples=2).value > rate - 1e-9


@given(subjects=st.lists(st.integers(0, 9), min_size=2, max_size=40).filter(lambda names: len(set(names)) > 1))
def test_every_cell_is_held_out_once_and_apart_from_its_subject(subjects: list[int]) -> None:
    names = np.array(subjects)
    n_folds = len(set(subjects))
    folds = np.unique(names, return_inverse=True)[1] % max(2, n_folds // 2)
    held_out = []
    for rest, held in left_out(names, folds):
        assert not set(names[rest]) & set(names[held])
        assert sorted([*rest, *held]) == list(range(len(names)))
        held_out += held.tolist()
    assert sorted(held_out) == list(range(len(names)))
