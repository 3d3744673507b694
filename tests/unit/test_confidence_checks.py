"""What the measures of confidence have no answer for is refused in words."""

import jaxtyping
import numpy as np
import pytest

from leukospike.confidence import Guarantee, fit_conformal
from leukospike.confidence.calibration import shift_prevalence
from leukospike.confidence.conformal import coverage
from leukospike.confidence.outliers import flag_threshold
from leukospike.confidence.subjects import left_out, mean_over_subjects
from leukospike.confidence.thresholds import OperatingPoint
from leukospike.errors import ConfigError, DataError, SplitError

SUBJECTS = np.array([f"S{i % 24}" for i in range(96)])
LABELS = np.array([i % 24 % 3 == 0 for i in range(96)], dtype=np.int64)
PROBABILITIES = np.random.default_rng(0).random(96)


@pytest.fixture(autouse=True)
def _without_type_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.parametrize("guarantee", list(Guarantee))
def test_the_text_of_a_guarantee_is_the_guarantee(guarantee: Guarantee) -> None:
    def fit(named: str) -> object:
        return fit_conformal(PROBABILITIES, LABELS, SUBJECTS, alpha=0.2, guarantee=named)

    assert fit(str(guarantee)) == fit(guarantee)


def test_an_unknown_guarantee_is_refused() -> None:
    with pytest.raises(ConfigError, match="guarantee must be one of marginal, by_class, got 'bogus'"):
        fit_conformal(PROBABILITIES, LABELS, SUBJECTS, alpha=0.2, guarantee="bogus")


@pytest.mark.parametrize("value", [np.nan, -0.1, 1.1])
def test_what_is_no_probability_is_refused(value: float) -> None:
    point = OperatingPoint(0.5, 0.9, 0.9, 0.9, 3, 3)
    for call in (point.calls, lambda values: shift_prevalence(values, 0.5, 0.1)):
        with pytest.raises(DataError, match="probabilities must lie within 0 and 1"):
            call(np.array([0.5, value]))


@pytest.mark.parametrize(
    ("sets", "labels", "message"),
    [
        (np.zeros((0, 2), bool), np.zeros(0, np.int64), "of one length, and one at least, got"),
        (np.zeros((3, 2), bool), np.zeros(2, np.int64), "of one length, and one at least, got"),
        (np.zeros((2, 2), bool), np.array([0, -1]), "labels must be 0 or 1, got"),
    ],
)
def test_coverage_of_what_cannot_be_counted_is_refused(sets: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        coverage(sets, labels, np.array(["A", "B"])[: len(labels)])


@pytest.mark.parametrize("values", [[], [1.0], [1.0, np.nan]])
def test_a_mean_of_nothing_or_of_nan_is_refused(values: list[float]) -> None:
    with pytest.raises(DataError, match="values must be finite, one for each cell, and one at least"):
        mean_over_subjects(np.array(values), np.array(["A", "B"]))


def test_folds_of_another_length_are_refused() -> None:
    with pytest.raises(SplitError, match=r"subjects and folds must be of one length, got \[2, 1\]"):
        next(left_out(np.array(["A", "B"]), np.array([0])))


def test_distances_of_another_length_are_refused() -> None:
    with pytest.raises(DataError, match="distances must be"):
        flag_threshold(np.array([1.0, 2.0]), np.array(["A"]))
