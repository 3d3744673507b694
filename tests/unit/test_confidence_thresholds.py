"""Thresholds against trying every one."""

import json

import numpy as np
import pytest

from leukospike.confidence import OperatingPoint, cross_fitted_calls, threshold_at_sensitivity
from leukospike.errors import ConfigError, WeightsError
from leukospike.evaluation.metrics import point_metrics


def _case(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw scored cells, many of them equal."""
    rng = np.random.default_rng(seed)
    labels = np.append([0, 1], rng.integers(0, 2, 38))
    return np.round(np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0, 1), 1), labels, np.arange(40) % 8


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("wanted", [0.05, 0.5, 0.9, 0.95, 1.0])
def test_threshold_is_the_highest_that_is_sensitive_enough(seed, wanted):
    probabilities, labels, subjects = _case(seed)
    point = threshold_at_sensitivity(probabilities, labels, subjects, sensitivity=wanted)
    sensitive = [t for t in np.unique(probabilities) if np.mean(probabilities[labels == 1] >= t) >= wanted]
    assert point.threshold == max(sensitive)
    calls = point.calls(probabilities).astype(float)
    metrics = point_metrics(labels, calls)
    assert (point.sensitivity, point.specificity) == (metrics["sensitivity"], metrics["specificity"])
    assert point.wanted_sensitivity == wanted


def test_rounding_asks_for_no_cell_more():
    """In floats, 0.95 of 20 cells is a little over 19, and 0.07 of 100 over 7."""
    for wanted, n in ((0.95, 20), (0.07, 100), (0.9, 10)):
        probabilities, labels = np.append(np.linspace(0.1, 0.9, n), 0.0), np.append(np.ones(n, np.int64), 0)
        point = threshold_at_sensitivity(probabilities, labels, labels, sensitivity=wanted)
        assert point.sensitivity == pytest.approx(wanted)


def test_subjects_are_counted_by_class():
    subjects = np.array(["A", "A", "B", "C", "D"])
    point = threshold_at_sensitivity(
        np.array([0.9, 0.8, 0.7, 0.2, 0.1]), np.array([1, 1, 1, 0, 0]), subjects, sensitivity=0.5
    )
    assert (point.n_normal, point.n_leukemic) == (2, 2)


def test_calls_of_a_fold_are_by_the_other_folds_threshold():
    probabilities, labels, subjects = _case(0)
    calls = cross_fitted_calls(probabilities, labels, subjects, subjects % 2, sensitivity=0.8)
    held = subjects % 2 == 0
    point = threshold_at_sensitivity(probabilities[~held], labels[~held], subjects[~held], sensitivity=0.8)
    np.testing.assert_array_equal(calls[held], probabilities[held] >= point.threshold)


def test_stored_numbers_go_through_json():
    point = threshold_at_sensitivity(*_case(1), sensitivity=0.9)
    assert OperatingPoint.from_stored(json.loads(json.dumps(point.stored()))) == point


@pytest.mark.parametrize(("name", "value"), [("threshold", 1.5), ("specificity", None), ("n_normal", -1)])
def test_impossible_stored_number_is_refused(name, value):
    stored = threshold_at_sensitivity(*_case(1), sensitivity=0.9).stored()
    with pytest.raises(WeightsError, match=rf"OperatingPoint: {name} must be"):
        OperatingPoint.from_stored(stored | {name: value})


@pytest.mark.parametrize("sensitivity", [0.0, 1.1, 90.0, float("nan")])
def test_impossible_sensitivity_is_refused(sensitivity):
    with pytest.raises(ConfigError, match=r"sensitivity must be above 0 and at most 1, got"):
        threshold_at_sensitivity(*_case(1), sensitivity=sensitivity)
