"""Conformal sets: the textbook's for independent cells, and coverage on new subjects where that fails."""

import json

import numpy as np
import pytest
from scipy.special import expit

from leukospike.confidence import (
    ConformalThresholds,
    Guarantee,
    coverage,
    cross_fitted_sets,
    fit_conformal,
    least_subjects,
    mean_over_subjects,
)
from leukospike.errors import ConfigError, DataError, WeightsError


def _covered(sets: np.ndarray, labels: np.ndarray, subjects: np.ndarray) -> float:
    """Give the share of cells whose label is in the set, each subject counting alike."""
    return mean_over_subjects(sets[np.arange(len(labels)), labels], subjects, n_resamples=1).value


def _subjects(rng: np.random.Generator, n_normal: int, n_leukemic: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw scored cells: subjects differ more than cells within them, and those with more cells are easier."""
    cells = rng.choice([5, 80], n_normal + n_leukemic)
    label = np.repeat([0, 1], [n_normal, n_leukemic])
    centre = (2 * label - 1) * (0.5 + cells / 80) + rng.normal(0, 1.5, len(cells))
    member = np.repeat(np.arange(len(cells)), cells)
    return expit(centre[member] + rng.normal(0, 0.3, len(member))), label[member], member


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.25])
def test_cells_that_are_subjects_get_the_textbooks_threshold(alpha):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 99)
    probabilities = expit(2 * labels - 1 + rng.normal(0, 1, 99))
    fitted = fit_conformal(probabilities, labels, np.arange(99), alpha=alpha, guarantee=Guarantee.MARGINAL)
    scores = np.sort(np.where(labels == 1, 1 - probabilities, probabilities))
    assert fitted.normal == fitted.leukemic == scores[round(100 * (1 - alpha)) - 1]


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.25])
def test_cells_that_are_subjects_get_mapies_sets(alpha):
    classification = pytest.importorskip("mapie.classification", reason="mapie is compared with where it is installed")
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 150)
    scores = (2 * labels - 1 + rng.normal(0, 1, 150))[:, None]
    model = LogisticRegression().fit(scores[:50], labels[:50])
    mapie = classification.SplitConformalClassifier(model, confidence_level=1 - alpha, prefit=True)
    mapie.conformalize(scores[50:100], labels[50:100])
    theirs = mapie.predict_set(scores[100:])[1][:, :, 0]
    probabilities = model.predict_proba(scores)[:, 1]
    ours = fit_conformal(
        probabilities[50:100], labels[50:100], np.arange(50), alpha=alpha, guarantee=Guarantee.MARGINAL
    )
    np.testing.assert_array_equal(ours.sets(probabilities[100:]), theirs)


def test_threshold_by_hand():
    # Subject A weighs 1/4 in two cells of 1/8, B and C 1/4 each, the new subject 1/4.
    scores, labels = np.array([0.1, 0.4, 0.2, 0.3]), np.zeros(4, np.int64)
    probabilities, labels = np.append(scores, 0.9), np.append(labels, 1)
    subjects = np.array(["A", "A", "B", "C", "D"])

    def threshold(alpha: float) -> float:
        return fit_conformal(probabilities, labels, subjects, alpha=alpha, guarantee=Guarantee.BY_CLASS).normal

    assert threshold(0.25) == 0.4  # all of 3/4
    assert threshold(0.4) == 0.3  # 1/8 + 1/4 + 1/4 = 0.625 is enough for 0.6
    assert threshold(0.7) == 0.2
    assert threshold(0.2) == 1.0


def test_coverage_holds_on_new_subjects_where_cells_as_units_fail():
    rng = np.random.default_rng(0)
    by_subject, by_cell = [], []
    for _ in range(400):
        probabilities, labels, subjects = _subjects(rng, 5, 6)
        new, truth, whose = _subjects(rng, 5, 6)
        for units, covered in ((subjects, by_subject), (np.arange(len(labels)), by_cell)):
            fitted = fit_conformal(probabilities, labels, units, alpha=0.2, guarantee=Guarantee.MARGINAL)
            covered.append(_covered(fitted.sets(new), truth, whose))
    error = np.std(by_subject) / 20
    assert np.mean(by_subject) >= 0.8 - 2 * error
    assert np.mean(by_subject) <= 0.8 + 2 / 12
    assert np.mean(by_cell) < 0.8 - 4 * error


def test_coverage_by_class_holds_for_each():
    rng = np.random.default_rng(1)
    covered: dict[int, list[float]] = {0: [], 1: []}
    marginal: list[float] = []
    for _ in range(300):
        probabilities, labels, subjects = _subjects(rng, 9, 24)
        # A network that leans towards leukemia.
        shifted, new = expit(np.log(probabilities / (1 - probabilities)) + 1.5), _subjects(rng, 9, 24)
        new_shifted = expit(np.log(new[0] / (1 - new[0])) + 1.5)
        by_class = fit_conformal(shifted, labels, subjects, alpha=0.2, guarantee=Guarantee.BY_CLASS).sets(new_shifted)
        either = fit_conformal(shifted, labels, subjects, alpha=0.2, guarantee=Guarantee.MARGINAL).sets(new_shifted)
        for label in (0, 1):
            of = new[1] == label
            covered[label].append(_covered(by_class[of], new[1][of], new[2][of]))
        of = new[1] == 0
        marginal.append(_covered(either[of], new[1][of], new[2][of]))
    for label in (0, 1):
        assert np.mean(covered[label]) >= 0.8 - 2 * np.std(covered[label]) / np.sqrt(300)
    assert np.mean(marginal) < 0.75


def test_too_few_subjects_keep_the_label_in_every_set():
    rng = np.random.default_rng(2)
    for n_normal, known in ((8, False), (9, True)):
        probabilities, labels, subjects = _subjects(rng, n_normal, 24)
        fitted = fit_conformal(probabilities, labels, subjects, alpha=0.1, guarantee=Guarantee.BY_CLASS)
        assert (fitted.n_normal, fitted.n_leukemic) == (n_normal, 24)
        assert (fitted.normal < 1) is known
        assert fitted.sets(np.array([1.0, 0.5]))[:, 0].tolist() == [not known, fitted.normal >= 0.5]
        assert fitted.leukemic < 1


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1, 0.2, 1 / 3, 0.5])
def test_least_number_of_subjects_is_the_least(alpha):
    n = least_subjects(alpha)
    for n_subjects in {max(1, n - 1), n}:
        probabilities, labels = np.full(n_subjects + 1, 0.3), np.append(np.zeros(n_subjects, np.int64), 1)
        fitted = fit_conformal(
            probabilities, labels, np.arange(n_subjects + 1), alpha=alpha, guarantee=Guarantee.BY_CLASS
        )
        assert (fitted.normal < 1) is (n_subjects >= n)


def test_coverage_by_hand():
    sets = np.array([[True, False], [True, True], [False, False], [False, True]])
    found = coverage(sets, np.array([0, 0, 1, 1]), np.array(["A", "A", "B", "C"]))
    assert found.covered.value == pytest.approx((1 + 0 + 1) / 3)
    assert found.single.value == pytest.approx((1 / 2 + 0 + 1) / 3)
    assert found.both.value == pytest.approx((1 / 2 + 0 + 0) / 3)
    assert found.none.value == pytest.approx((0 + 1 + 0) / 3)
    assert found.covered.n_subjects == 3


def test_mean_over_subjects_has_the_interval_of_the_normal_law():
    rng = np.random.default_rng(3)
    centres = rng.normal(0.5, 0.1, 200)
    found = mean_over_subjects(np.repeat(centres, 7), np.repeat(np.arange(200), 7), n_resamples=4000)
    reach = 1.96 * centres.std() / np.sqrt(200)
    assert found.value == pytest.approx(centres.mean())
    assert (found.interval.low, found.interval.high) == pytest.approx(
        (found.value - reach, found.value + reach), abs=reach / 10
    )


def test_cross_fitted_sets_are_those_of_the_other_subjects():
    probabilities, labels, subjects = _subjects(np.random.default_rng(4), 6, 6)
    how = {"alpha": 0.3, "guarantee": Guarantee.BY_CLASS}
    sets = cross_fitted_sets(probabilities, labels, subjects, subjects % 3, **how)
    held = subjects % 3 == 1
    fitted = fit_conformal(probabilities[~held], labels[~held], subjects[~held], **how)
    np.testing.assert_array_equal(sets[held], fitted.sets(probabilities[held]))


def test_stored_numbers_go_through_json():
    fitted = ConformalThresholds(alpha=0.1, normal=1.0, leukemic=0.4, n_normal=8, n_leukemic=24)
    assert ConformalThresholds.from_stored(json.loads(json.dumps(fitted.stored()))) == fitted


@pytest.mark.parametrize(
    ("name", "value"),
    [("normal", 1.1), ("leukemic", None), ("alpha", float("nan")), ("n_normal", 0), ("n_leukemic", 2.0)],
)
def test_impossible_stored_number_is_refused(name, value):
    stored = {"alpha": 0.1, "normal": 0.5, "leukemic": 0.4, "n_normal": 9, "n_leukemic": 24}
    with pytest.raises(WeightsError, match=rf"ConformalThresholds: {name} must be a .*Fit it again"):
        ConformalThresholds.from_stored(stored | {name: value})


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, float("nan")])
def test_impossible_error_rate_is_refused(alpha):
    with pytest.raises(ConfigError, match=r"alpha must be between 0 and 1, got .*share of errors"):
        fit_conformal(
            np.array([0.1, 0.9]), np.array([0, 1]), np.array([0, 1]), alpha=alpha, guarantee=Guarantee.MARGINAL
        )


def test_no_set_for_what_is_no_probability():
    with pytest.raises(DataError, match=r"ConformalThresholds\.sets: probabilities must be from 0 to 1, got nan"):
        ConformalThresholds(0.1, 0.5, 0.5, 9, 9).sets(np.array([np.nan]))
