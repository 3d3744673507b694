"""Calibration against known distortions, scikit-learn and Bayes' rule."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from leukospike.confidence import Calibration, cross_fitted_probabilities, fit_calibration, shift_prevalence
from leukospike.confidence.subjects import check_cells
from leukospike.errors import ConfigError, DataError, SplitError, WeightsError
from leukospike.evaluation.metrics import calibration_error

SHARES = st.floats(0.01, 0.99)


def _distorted(n: int, slope: float, offset: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Give probabilities that `slope` and `offset` would put right, and labels."""
    rng = np.random.default_rng(seed)
    honest = rng.normal(0.3, 1.5, n)
    return expit((honest - offset) / slope), (rng.random(n) < expit(honest)).astype(np.int64)


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (0.5, -0.7), (2.0, 0.4)])
def test_known_distortion_is_undone(slope, offset):
    probabilities, labels = _distorted(40_000, slope, offset)
    fitted = fit_calibration(probabilities, labels, prevalence=float(labels.mean()))
    assert fitted.slope == pytest.approx(slope, rel=0.05)
    assert fitted.offset == pytest.approx(offset, abs=0.05)
    assert calibration_error(labels, fitted.apply(probabilities)) < 0.012


def test_fit_is_weighted_logistic_regression():
    probabilities, labels = _distorted(500, 0.6, 0.5)
    weights = np.where(labels == 1, 0.3 / labels.sum(), 0.7 / (1 - labels).sum())
    reference = LogisticRegression(C=1e9, tol=1e-10, max_iter=1000)
    # In units of a cell: scikit-learn's penalty is against the sum of the weights.
    reference.fit(logit(probabilities)[:, None], labels, sample_weight=weights * 500)
    fitted = fit_calibration(probabilities, labels, prevalence=0.3)
    assert fitted.slope == pytest.approx(reference.coef_[0, 0], rel=1e-3)
    assert fitted.offset == pytest.approx(reference.intercept_[0], abs=1e-3)


def test_number_of_cells_of_a_class_does_not_matter():
    probabilities, labels = _distorted(400, 0.6, 0.5)
    normal = labels == 0
    more = np.concatenate([probabilities, probabilities[normal], probabilities[normal]])
    fitted = fit_calibration(probabilities, labels, prevalence=0.5)
    again = fit_calibration(more, np.concatenate([labels, labels[normal], labels[normal]]), prevalence=0.5)
    assert (again.slope, again.offset) == pytest.approx((fitted.slope, fitted.offset), abs=1e-4)


def test_other_prevalence_is_as_if_fitted_for_it():
    probabilities, labels = _distorted(40_000, 0.7, -0.3)
    rarely = fit_calibration(probabilities, labels, prevalence=0.1).apply(probabilities)
    shifted = fit_calibration(probabilities, labels, prevalence=0.6).apply(probabilities, prevalence=0.1)
    np.testing.assert_allclose(shifted, rarely, atol=0.02)


def test_classes_apart_give_finite_numbers():
    fitted = fit_calibration(np.array([0.1, 0.2, 0.8, 0.9]), np.array([0, 0, 1, 1]), prevalence=0.5)
    assert np.isfinite([fitted.slope, fitted.offset]).all()
    assert Calibration.from_stored(fitted.stored()) == fitted


def test_scores_that_order_backwards_say_only_the_prevalence():
    probabilities, labels = _distorted(500, 1.0, 0.0)
    fitted = fit_calibration(1 - probabilities, labels, prevalence=0.3)
    assert fitted.slope == 0
    np.testing.assert_allclose(fitted.apply(probabilities), 0.3, atol=1e-4)


def test_certain_probabilities_stay_finite_and_in_order():
    calibrated = Calibration(0.5, 0.1, 0.5).apply(np.array([0.0, 0.3, 1.0], np.float32))
    assert ((calibrated > 0) & (calibrated < 1)).all()
    assert (np.diff(calibrated) > 0).all()


def test_no_cells_no_probabilities():
    assert Calibration(1.0, 0.0, 0.5).apply(np.zeros(0)).shape == (0,)


def test_leaving_a_subject_out_does_not_push_it_away_from_its_label():
    """Scores that say nothing must stay so; with weights by cell, each subject would be pushed to the other class."""
    rng = np.random.default_rng(0)
    subjects = np.repeat([f"s{index}" for index in range(12)], 50)
    labels = np.repeat([0, 1], 300)
    calibrated = cross_fitted_probabilities(rng.uniform(0.4, 0.6, 600), labels, subjects, subjects, prevalence=0.5)
    means = calibrated[labels == 1].mean(), calibrated[labels == 0].mean()
    assert means == pytest.approx((0.5, 0.5), abs=0.03)


@given(probability=SHARES, before=SHARES, after=SHARES)
def test_shift_is_bayes_rule_and_can_be_undone(probability, before, after):
    odds = probability / (1 - probability) * (after / (1 - after)) / (before / (1 - before))
    shifted = shift_prevalence(np.array([probability]), before, after)
    assert shifted[0] == pytest.approx(odds / (1 + odds))
    assert shift_prevalence(shifted, after, before)[0] == pytest.approx(probability)


def test_stored_numbers_go_through_json():
    fitted = fit_calibration(*_distorted(200, 0.6, 0.5), prevalence=0.4)
    assert Calibration.from_stored(json.loads(json.dumps(fitted.stored()))) == fitted


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("slope", -0.1),
        ("slope", float("nan")),
        ("slope", "1"),
        ("slope", True),
        ("offset", float("inf")),
        ("offset", 10**400),
        ("prevalence", 0),
        ("prevalence", None),
    ],
)
def test_impossible_stored_number_is_refused(name, value):
    with pytest.raises(WeightsError, match=rf"Calibration: {name} must be a number from .*Fit it again"):
        Calibration.from_stored({"slope": 1.0, "offset": 0.0, "prevalence": 0.5} | {name: value})


def test_missing_stored_number_is_refused():
    with pytest.raises(WeightsError, match="offset must be a number"):
        Calibration.from_stored({"slope": 1.0, "prevalence": 0.5})


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        ([0.1, np.nan], [0, 1], r"probabilities must be from 0 to 1, got nan\. Leave out"),
        ([0.1, 1.1], [0, 1], r"got 1\.1"),
        ([0.1, 0.2], [1, 1], r"labels must contain both 0 and 1 and nothing else, got \[1\]"),
        ([], [], r"must have the same length, at least 1, got \[0, 0, 0\]"),
    ],
)
def test_impossible_cells_are_refused(probabilities, labels, message):
    with pytest.raises(DataError, match=message):
        fit_calibration(np.array(probabilities), np.array(labels, np.int64), prevalence=0.5)


def test_lengths_that_differ_are_refused():
    message = r"here: probabilities, labels and subjects must have the same length, at least 1, got \[1, 2, 2\]"
    with pytest.raises(DataError, match=message):
        check_cells("here", np.array([0.1]), np.array([0, 1]), np.array(["A", "B"]))


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -1.0, 50.0, float("nan")])
def test_impossible_prevalence_is_refused(prevalence):
    with pytest.raises(ConfigError, match=r"fit_calibration: prevalence must be from 1e-06 to 0.999999, got"):
        fit_calibration(np.array([0.1, 0.9]), np.array([0, 1]), prevalence=prevalence)
    with pytest.raises(ConfigError, match=r"shift_prevalence: prevalence must"):
        shift_prevalence(np.array([0.1]), 0.5, prevalence)


def test_subject_in_two_folds_is_refused():
    with pytest.raises(SplitError, match="each subject must be in one fold"):
        cross_fitted_probabilities(
            np.array([0.1, 0.2, 0.8, 0.9]),
            np.array([0, 0, 1, 1]),
            np.array(["A", "A", "B", "B"]),
            np.array([0, 1, 0, 1]),
            prevalence=0.5,
        )


def test_one_fold_is_refused():
    with pytest.raises(SplitError, match="there must be at least 2 folds, got 1"):
        cross_fitted_probabilities(
            np.array([0.1, 0.9]), np.array([0, 1]), np.array(["A", "B"]), np.array([0, 0]), prevalence=0.5
        )
