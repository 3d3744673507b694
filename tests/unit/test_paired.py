"""Two models on the same cells: against all pairs, resampling, exchange, and cases for paper and pencil."""

import numpy as np
import pytest
from scipy.stats import norm

from leukospike.evaluation.estimates import METRICS
from leukospike.evaluation.metrics import auc_components, point_metrics, resampled_intervals
from leukospike.evaluation.paired import delong_test, mcnemar_test, metric_differences


def _two_models(n: int, seed: int, *, gap: float = 0.0, steps: int | None = None) -> tuple[np.ndarray, ...]:
    """Give labels and what two models say of them, which err on the same cells; the first is better by `gap`."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.6).astype(np.int64)
    labels[:4] = 0, 1, 0, 1
    shared = rng.normal(size=n)
    first = norm.cdf((1 + gap) * labels + shared + 0.7 * rng.normal(size=n) - 0.5)
    second = norm.cdf(labels + shared + 0.7 * rng.normal(size=n) - 0.5)
    if steps is not None:
        first, second = np.round(first * steps) / steps, np.round(second * steps) / steps
    return labels, first, second


# --- DeLong ---


def _covariance_by_pairs(labels: np.ndarray, models: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Give the areas and their covariance matrix from all m x n pairs, as in DeLong et al. 1988, equations 3 to 6."""
    places, others = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    psi = np.array(
        [
            [[1.0 if p[i] > p[j] else 0.5 if p[i] == p[j] else 0.0 for j in others.tolist()] for i in places.tolist()]
            for p in models
        ]
    )
    areas = psi.mean(axis=(1, 2))
    v10, v01 = psi.mean(axis=2), psi.mean(axis=1)
    m, n = len(places), len(others)
    s10 = [[sum((v10[r] - areas[r]) * (v10[s] - areas[s])) / (m - 1) for s in (0, 1)] for r in (0, 1)]
    s01 = [[sum((v01[r] - areas[r]) * (v01[s] - areas[s])) / (n - 1) for s in (0, 1)] for r in (0, 1)]
    return areas, np.array(s10) / m + np.array(s01) / n


@pytest.mark.parametrize("steps", [None, 20, 3])
@pytest.mark.parametrize("n", [8, 30, 90])
def test_delong_is_that_of_all_pairs(n: int, steps: int | None):
    labels, first, second = _two_models(n, n, gap=0.5, steps=steps)
    areas, covariance = _covariance_by_pairs(labels, (first, second))
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    test = delong_test(labels, first, second)
    assert test.areas == pytest.approx(tuple(areas))
    assert test.areas == pytest.approx(tuple(point_metrics(labels, p)["roc_auc"] for p in (first, second)))
    assert test.difference == pytest.approx(areas[0] - areas[1])
    assert test.z == pytest.approx((areas[0] - areas[1]) / error)
    assert test.p == pytest.approx(2 * (1 - norm.cdf(abs(test.z))))
    reach = 1.959964 * error
    ends = (test.interval.low, test.interval.high)
    assert ends == pytest.approx((test.difference - reach, test.difference + reach), abs=1e-6)


def test_delong_of_four_cells_by_hand():
    # First: every leukemic cell above every normal one, components all 1. Second: .2 is below .4, components 1, 1/2 of
    # the leukemic cells and 1, 1/2 of the normal ones. Differences 0, 1/2 and 0, 1/2, each pair of variance 1/8.
    labels = np.array([1, 1, 0, 0])
    test = delong_test(labels, np.array([0.9, 0.8, 0.2, 0.1]), np.array([0.9, 0.2, 0.1, 0.4]))
    assert test.areas == (1, 0.75)
    assert test.z == pytest.approx(0.25 / np.sqrt((1 / 8) / 2 + (1 / 8) / 2))


def test_delong_error_is_that_of_cells_drawn_again():
    labels, first, second = _two_models(300, 4, gap=0.4)
    rng = np.random.default_rng(0)
    differences = []
    for _ in range(1500):
        drawn = rng.integers(0, 300, 300)
        areas = [auc_components(labels[drawn], p[drawn])[0].mean() for p in (first, second)]
        differences.append(areas[0] - areas[1])
    test = delong_test(labels, first, second)
    assert test.difference / test.z == pytest.approx(np.std(differences), rel=0.08)


def test_delong_p_is_that_of_exchanging_the_models():
    # If neither is better, a cell's two values might as well have come from each other's model.
    labels, first, second = _two_models(160, 11, gap=0.28)
    observed = delong_test(labels, first, second)
    rng = np.random.default_rng(1)
    extreme = 0
    for _ in range(2000):
        swapped = rng.random(160) < 0.5
        ours, theirs = np.where(swapped, second, first), np.where(swapped, first, second)
        gap = auc_components(labels, ours)[0].mean() - auc_components(labels, theirs)[0].mean()
        extreme += abs(gap) >= abs(observed.difference)
    assert 0.005 < observed.p < 0.5
    assert observed.p == pytest.approx(extreme / 2000, abs=0.03)


def test_delong_errs_as_often_as_it_says_where_there_is_no_difference():
    p = [delong_test(*_two_models(150, seed)).p for seed in range(1000)]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.021)
    assert np.mean(np.array(p) < 0.5) == pytest.approx(0.5, abs=0.05)


def test_delong_exchanged_has_the_other_sign():
    labels, first, second = _two_models(60, 2, gap=0.3)
    one, other = delong_test(labels, first, second), delong_test(labels, second, first)
    assert (one.difference, one.z, one.p) == pytest.approx((-other.difference, -other.z, other.p))
    assert (one.interval.low, one.interval.high) == pytest.approx((-other.interval.high, -other.interval.low))


def test_delong_of_a_model_with_itself_says_no_difference():
    labels, first, _ = _two_models(40, 0)
    test = delong_test(labels, first, first**2)  # the same order
    assert (test.difference, test.p) == (0, 1)
    assert np.isnan(test.z)


def test_delong_cannot_judge_a_difference_that_does_not_vary():
    test = delong_test(np.array([1, 1, 0, 0]), np.array([0.9, 0.8, 0.2, 0.1]), np.array([0.2, 0.1, 0.9, 0.8]))
    assert test.difference == 1
    assert np.isnan(test.p)


def test_delong_needs_two_of_each():
    test = delong_test(np.array([1, 0, 0]), np.array([0.9, 0.1, 0.2]), np.array([0.9, 0.1, 0.2]))
    assert np.isnan([*test.areas, test.difference, test.interval.low, test.z, test.p]).all()


# --- McNemar ---


def test_mcnemar_counts_and_p_by_hand():
    # Of 6 cells that only one calls right, 5 are the first's: p = 2 (1 + 6) / 64.
    labels = np.array([1, 1, 1, 1, 0, 0, 0, 1])
    first = np.array([0.9, 0.9, 0.9, 0.9, 0.1, 0.9, 0.1, 0.2])
    second = np.array([0.1, 0.1, 0.1, 0.1, 0.9, 0.1, 0.2, 0.1])
    test = mcnemar_test(labels, first, second)
    assert (test.only_first, test.only_second) == (5, 1)
    assert test.p == pytest.approx(14 / 64)


def test_mcnemar_without_a_differing_call_is_no_difference():
    assert mcnemar_test(np.array([1, 0]), np.array([0.9, 0.1]), np.array([0.6, 0.4])).p == 1


# --- differences of metrics ---


def test_differences_are_those_of_the_metrics_and_hold_zero_for_a_model_with_itself():
    labels, first, second = _two_models(200, 5, gap=0.6)
    groups = np.arange(200) // 10
    found = metric_differences((labels, first, groups), (labels, second, groups), names=METRICS, n_resamples=300)
    values = [point_metrics(labels, p) for p in (first, second)]
    for name in METRICS:
        difference, span = found[name]
        assert difference == pytest.approx(values[0][name] - values[1][name])
        assert span.low <= difference <= span.high
    same = metric_differences((labels, first, groups), (labels, first, groups), names=METRICS, n_resamples=50)
    assert all((gain, span.low, span.high) == (0, 0, 0) for gain, span in same.values())


def test_what_is_hard_for_both_does_not_widen_the_difference():
    labels, first, _ = _two_models(300, 6)
    second = np.clip(first - 0.02, 0, 1)
    groups = np.arange(300) // 15
    _, paired = metric_differences((labels, first, groups), (labels, second, groups), names=["accuracy"])["accuracy"]
    alone = resampled_intervals(labels, first, groups)["accuracy"]
    assert paired.high - paired.low < (alone.high - alone.low) / 2


def test_other_groups_are_refused():
    labels, first, second = _two_models(20, 7)
    groups = np.arange(20)
    with pytest.raises(ValueError, match=r"^metric_differences: both runs must have scored the same groups"):
        metric_differences((labels, first, groups), (labels, second, groups + 1), names=METRICS)
