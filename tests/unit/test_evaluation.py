"""Every figure against scikit-learn, brute force, or a case small enough for paper and pencil."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn import metrics as sk
from torchmetrics.functional.classification import binary_calibration_error

from leukospike.evaluation.curves import decision_curve, roc_band
from leukospike.evaluation.estimates import METRICS, Estimate, Interval, Metrics, groups_per_class, suffice
from leukospike.evaluation.metrics import (
    N_BINS,
    as_published,
    calibration_error,
    delong_interval,
    drawn_weights,
    metrics_of,
    per_subject,
    point_metrics,
    reliability,
    resampled_intervals,
    weighted_metrics,
)


def _case(n: int, share: float, steps: int | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Give labels, and probabilities that know a little of them; `steps`: rounded, so that many are equal."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < share).astype(np.int64)
    labels[:2] = 0, 1
    probabilities = np.clip(rng.beta(2, 2, n) + 0.3 * (labels - 0.5), 0, 1)
    return labels, probabilities if steps is None else np.round(probabilities * steps) / steps


def _grid() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for seed, n in enumerate((5, 40, 301)):
        for share in (0.1, 0.5, 0.8):
            for steps in (None, 4, 1):
                yield _case(n, share, steps, seed)


# --- metrics ---


def test_metrics_are_those_of_scikit_learn():
    for labels, probabilities in _grid():
        called = (probabilities >= 0.5).astype(int)
        expected = {
            "accuracy": sk.accuracy_score(labels, called),
            "balanced_accuracy": sk.balanced_accuracy_score(labels, called),
            "sensitivity": sk.recall_score(labels, called),
            "specificity": sk.recall_score(1 - labels, 1 - called),
            "precision": sk.precision_score(labels, called) if called.any() else np.nan,
            "f1": sk.f1_score(labels, called),
            "weighted_f1": sk.f1_score(labels, called, average="weighted", zero_division=0.0),
            "roc_auc": sk.roc_auc_score(labels, probabilities),
            "brier": sk.brier_score_loss(labels, probabilities),
        }
        ours = point_metrics(labels, probabilities)
        assert tuple(ours) == METRICS
        assert {name: ours[name] for name in expected} == pytest.approx(expected, nan_ok=True)


# 3 true positives, 2 false positives, 1 false negative, 4 true negatives.
LABELS = np.array([1, 1, 1, 0, 0, 1, 0, 0, 0, 0])
PROBABILITIES = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0])


def test_metrics_of_ten_cells_by_hand():
    ours = point_metrics(LABELS, PROBABILITIES)
    assert ours["accuracy"] == pytest.approx(7 / 10)
    assert ours["misclassification"] == pytest.approx(3 / 10)
    assert ours["sensitivity"] == pytest.approx(3 / 4)
    assert ours["specificity"] == pytest.approx(4 / 6)
    assert ours["precision"] == pytest.approx(3 / 5)
    assert ours["f1"] == pytest.approx(6 / 9)
    assert ours["weighted_f1"] == pytest.approx((4 * 6 / 9 + 6 * 8 / 11) / 10)
    # Of the 24 pairs, the leukemic cell at .4 is below the normal ones at .6 and .5.
    assert ours["roc_auc"] == pytest.approx(22 / 24)
    assert ours["brier"] == pytest.approx((0.01 + 0.04 + 0.09 + 0.36 + 0.25 + 0.36 + 0.09 + 0.04 + 0.01) / 10)


def test_published_precision_is_the_specificity_and_ours_is_not():
    published = as_published(LABELS, PROBABILITIES)
    assert published["precision"] == pytest.approx(4 / 6)
    assert point_metrics(LABELS, PROBABILITIES)["precision"] == pytest.approx(3 / 5)
    # An area from decisions is the balanced accuracy.
    assert published["auc"] == pytest.approx((3 / 4 + 4 / 6) / 2)


def test_area_counts_equals_half():
    labels = np.array([0, 0, 1, 1])
    assert point_metrics(labels, np.full(4, 0.5))["roc_auc"] == 0.5
    assert point_metrics(labels, np.array([0.1, 0.5, 0.5, 0.9]))["roc_auc"] == pytest.approx(3.5 / 4)


def test_calibration_error_by_hand():
    # Two bins in use: said .1, so 1/2; said .9, so 1.
    labels, probabilities = np.array([0, 1, 1, 1]), np.array([0.1, 0.1, 0.9, 0.9])
    assert calibration_error(labels, probabilities) == pytest.approx((0.4 + 0.1) / 2)
    assert calibration_error(labels, labels.astype(float)) == pytest.approx(0)


def test_calibration_error_away_from_the_borders_is_that_of_torchmetrics():
    labels, probabilities = _case(400, 0.4, None, 8)
    expected = binary_calibration_error(torch.tensor(probabilities), torch.tensor(labels), n_bins=N_BINS, norm="l1")
    assert calibration_error(labels, probabilities) == pytest.approx(float(expected))


def test_certain_cells_are_in_the_last_bin():
    # Together with the other cell above 14/15: said .98 on average, and half are so.
    assert calibration_error(np.array([0, 1]), np.array([1.0, 0.96])) == pytest.approx(0.48)


@pytest.mark.parametrize(("label", "absent"), [(1, {"specificity"}), (0, {"sensitivity", "f1"})])
def test_figures_that_need_the_absent_class_are_not_numbers(label, absent):
    ours = point_metrics(np.full(6, label), np.linspace(0.1, 0.9, 6))
    undefined = {name for name, value in ours.items() if np.isnan(value)}
    assert undefined == absent | {"balanced_accuracy", "roc_auc"}


def test_nothing_called_leukemic_has_no_precision():
    ours = point_metrics(np.array([0, 1]), np.array([0.1, 0.2]))
    assert np.isnan(ours["precision"])
    assert (ours["sensitivity"], ours["f1"]) == (0, 0)


# --- DeLong ---


def _delong_by_pairs(labels: np.ndarray, probabilities: np.ndarray) -> tuple[float, float]:
    """Give area and standard error from all m x n pairs, as in DeLong, DeLong and Clarke-Pearson, equations 3 to 6."""
    positive, negative = probabilities[labels == 1], probabilities[labels == 0]
    m, n = len(positive), len(negative)
    psi = [[1.0 if x > y else 0.5 if x == y else 0.0 for y in negative] for x in positive]
    area = sum(map(sum, psi)) / (m * n)
    v10 = [sum(row) / n for row in psi]
    v01 = [sum(psi[i][j] for i in range(m)) / m for j in range(n)]
    s10 = sum((v - area) ** 2 for v in v10) / (m - 1)
    s01 = sum((v - area) ** 2 for v in v01) / (n - 1)
    return area, (s10 / m + s01 / n) ** 0.5


def test_delong_is_that_of_all_pairs():
    for labels, probabilities in _grid():
        if min(np.bincount(labels, minlength=2)) < 2:
            continue
        area, error = _delong_by_pairs(labels, probabilities)
        interval = delong_interval(labels, probabilities)
        reach = norm.ppf(0.975) * error
        expected = (max(area - reach, 0), min(area + reach, 1))
        assert (interval.low, interval.high) == pytest.approx(expected, abs=1e-9)


def test_delong_of_six_cells_by_hand():
    # .8 is above all four, .4 above three: area 7/8. Components 1, 3/4 and 1/2, 1, 1, 1; variances 1/32 and 1/16.
    interval = delong_interval(np.array([1, 1, 0, 0, 0, 0]), np.array([0.8, 0.4, 0.5, 0.3, 0.2, 0.1]))
    error = np.sqrt((1 / 32) / 2 + (1 / 16) / 4)
    assert interval.low == pytest.approx(7 / 8 - 1.959964 * error, abs=1e-6)
    assert interval.high == 1


def test_delong_needs_two_of_each():
    interval = delong_interval(np.array([1, 0, 0]), np.array([0.9, 0.1, 0.2]))
    assert np.isnan(interval.low)
    assert np.isnan(interval.high)


# --- resampling ---


def _written_out(groups: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """List the places of the cells of one resample, each as often as its group was drawn."""
    _, member = np.unique(groups, return_inverse=True)
    return np.repeat(np.arange(len(groups)), weights[member])


def test_resampled_metrics_are_those_of_the_cells_written_out():
    for number, (labels, probabilities) in enumerate(_grid()):
        groups = np.random.default_rng(number).integers(0, 6, len(labels))
        weights = drawn_weights(groups, 3, seed=number)
        ours = weighted_metrics(labels, probabilities, groups, weights)
        assert tuple(ours) == METRICS
        for draw, weight in enumerate(weights):
            cells = _written_out(groups, weight)
            expected = point_metrics(labels[cells], probabilities[cells])
            got = {name: float(values[draw]) for name, values in ours.items()}
            assert got == pytest.approx(expected, nan_ok=True)


def test_a_draw_takes_as_many_groups_as_there_are():
    weights = drawn_weights(np.array(["a", "a", "b", "c"]), 500, seed=0)
    assert weights.shape == (500, 3)
    assert set(weights.sum(axis=1)) == {3}
    assert weights.mean(axis=0) == pytest.approx([1, 1, 1], abs=0.15)


def test_interval_is_the_middle_95_percent_of_the_draws():
    labels, probabilities = _case(60, 0.5, None, 0)
    groups = np.arange(60) // 5
    values = weighted_metrics(labels, probabilities, groups, drawn_weights(groups, 400, seed=3))["accuracy"]
    interval = resampled_intervals(labels, probabilities, groups, n_resamples=400, seed=3)["accuracy"]
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))
    assert ((values >= interval.low) & (values <= interval.high)).mean() == pytest.approx(0.95, abs=0.02)


def test_whole_subjects_are_drawn_so_few_of_them_mean_a_wide_interval():
    # All cells of a subject agree: 6 subjects, however many their cells, are 6 facts.
    labels = np.repeat([0, 0, 0, 1, 1, 1], 50)
    probabilities = np.repeat([0.2, 0.3, 0.6, 0.4, 0.8, 0.9], 50)
    by_subject = resampled_intervals(labels, probabilities, np.repeat(np.arange(6), 50), seed=0)["accuracy"]
    by_cell = resampled_intervals(labels, probabilities, np.arange(300), seed=0)["accuracy"]
    assert by_subject.high - by_subject.low > 4 * (by_cell.high - by_cell.low)


def test_accuracy_interval_of_independent_cells_is_the_binomial_one():
    labels = np.tile([0, 1], 500)
    right = np.random.default_rng(0).random(1000) < 0.8
    probabilities = np.where(right, labels, 1 - labels).astype(float)
    interval = resampled_intervals(labels, probabilities, np.arange(1000), n_resamples=2000, seed=0)["accuracy"]
    share = right.mean()
    reach = 1.96 * np.sqrt(share * (1 - share) / 1000)
    assert (interval.low, interval.high) == pytest.approx((share - reach, share + reach), abs=0.004)


# --- the table of metrics.json ---


def test_metrics_have_values_intervals_counts_and_say_how():
    labels, probabilities = _case(80, 0.5, None, 1)
    subjects = np.array([f"S{label}{cell % 8}" for cell, label in enumerate(labels)])
    found = metrics_of(labels, probabilities, subjects, group_name="subjects", n_resamples=200, seed=4)
    values = point_metrics(labels, probabilities)
    assert set(found.estimates) == set(METRICS)
    for name in METRICS:
        estimate = found[name]
        assert estimate.value == values[name]
        assert estimate.low <= estimate.value <= estimate.high
    assert found.delong.low < values["roc_auc"] < found.delong.high
    called = probabilities >= 0.5
    assert found.confusion.to_json() == {
        "tn": int(((labels == 0) & ~called).sum()),
        "fp": int(((labels == 0) & called).sum()),
        "fn": int(((labels == 1) & ~called).sum()),
        "tp": int(((labels == 1) & called).sum()),
    }
    assert (found.n, found.positives) == (80, int(labels.sum()))
    assert found.interval == f"95 %, from resampling {len(set(subjects))} subjects 200 times, seed 4"


def test_metrics_come_back_from_json():
    labels, probabilities = _case(60, 0.5, None, 3)
    found = metrics_of(labels, probabilities, np.arange(60), group_name="images", n_resamples=50)
    assert Metrics.from_json(found.to_json()) == found


def test_one_class_gives_none_in_place_of_numbers():
    found = metrics_of(np.ones(5, int), np.linspace(0.1, 0.9, 5), np.arange(5), group_name="images", n_resamples=50)
    assert found["roc_auc"] == found["specificity"] == found.delong == Estimate(None)
    assert found["sensitivity"].value == pytest.approx(3 / 5)
    assert found.confusion.to_json() == {"tn": 0, "fp": 0, "fn": 2, "tp": 3}
    assert as_published(np.ones(5, int), np.linspace(0.1, 0.9, 5)) == {"precision": None, "auc": None}


def test_same_seed_same_metrics_other_seed_other_interval():
    labels, probabilities = _case(50, 0.5, None, 2)

    def found(seed: int) -> Metrics:
        return metrics_of(labels, probabilities, np.arange(50), group_name="images", n_resamples=100, seed=seed)

    assert found(1) == found(1)
    assert found(1)["accuracy"] != found(2)["accuracy"]


# --- what nothing can be concluded from ---


@pytest.mark.parametrize(("n_leukemic", "known"), [(4, False), (5, True)])
def test_intervals_are_known_from_five_subjects_of_each_class(n_leukemic: int, known: bool):
    subject_label = np.array([0] * 9 + [1] * n_leukemic)
    labels, subjects = np.repeat(subject_label, 6), np.repeat(np.arange(len(subject_label)), 6)
    probabilities = np.random.default_rng(0).random(len(labels))
    found = metrics_of(labels, probabilities, subjects, group_name="subjects")
    assert found.has_intervals is known
    assert found.delong.is_known is known
    assert found["accuracy"].is_known is known
    assert found["accuracy"].value == point_metrics(labels, probabilities)["accuracy"]
    if not known:
        assert found.interval == "unknown, because fewer than 5 subjects of a class were tested"


def test_a_subject_with_any_leukemic_cell_is_leukemic():
    assert groups_per_class(np.array([0, 1, 0, 0]), np.array(["a", "a", "b", "b"])) == (1, 1)
    assert not suffice(np.array([0, 1]), np.array(["a", "b"]))


@pytest.mark.parametrize("high", [1.0, 1.0 + 1e-15])
def test_an_interval_without_width_is_not_known(high: float):
    estimate = Estimate.of(1.0, Interval(1.0, high))
    assert (estimate.value, estimate.low, estimate.high, estimate.is_known) == (1.0, None, None, False)
    assert not estimate.excludes(0)
    assert Estimate.from_json({"value": 1.0, "low": 1.0, "high": high}) == estimate


def test_a_narrow_interval_is_known():
    estimate = Estimate.of(0.9, Interval(0.8999, 0.9001))
    assert estimate.is_known
    assert estimate.excludes(0.89)
    assert not estimate.excludes(0.9)


# --- subjects ---


def test_subject_is_the_mean_of_its_cells_and_leukemic_if_any_cell_is():
    labels = np.array([0, 1, 0, 0, 1])
    probabilities = np.array([0.2, 0.4, 0.1, 0.3, 0.9])
    truth, means, names = per_subject(labels, probabilities, np.array(["b", "b", "a", "a", "c"]))
    assert names.tolist() == ["a", "b", "c"]
    assert truth.tolist() == [0, 1, 1]
    assert means == pytest.approx([0.2, 0.3, 0.9])


# --- curves ---


def test_band_contains_the_curve_and_ends_in_the_corners():
    labels, probabilities = _case(300, 0.5, None, 5)
    band = roc_band(labels, probabilities, np.arange(300) // 10, seed=0)
    assert (band.low <= band.tpr + 1e-12).all()
    assert (band.tpr <= band.high + 1e-12).all()
    assert (band.high - band.low).max() > 0.02
    assert band.fpr == pytest.approx(np.linspace(0, 1, 101))
    assert band.tpr[-1] == 1
    assert (np.diff(band.tpr) >= -1e-12).all()


def test_curve_is_that_of_scikit_learn():
    labels, probabilities = _case(200, 0.4, 20, 6)
    band = roc_band(labels, probabilities, np.arange(200), n_resamples=20)
    fpr, tpr, _ = sk.roc_curve(labels, probabilities)
    assert band.tpr == pytest.approx(np.interp(band.fpr, fpr, tpr))


def test_draws_without_one_of_the_classes_leave_the_band_whole():
    # A single leukemic subject: a third of the draws go without it.
    labels = np.array([1, 1, 0, 0, 0, 0])
    groups = np.array([0, 0, 1, 1, 2, 2])
    band = roc_band(labels, np.array([0.9, 0.4, 0.5, 0.1, 0.2, 0.3]), groups)
    assert np.isfinite(band.low).all()
    assert np.isfinite(band.high).all()


def test_net_benefit_is_that_of_counting():
    labels, probabilities = _case(120, 0.3, 50, 9)
    curve = decision_curve(labels, probabilities, np.arange(120), n_resamples=20)
    assert curve.thresholds == pytest.approx([percent / 100 for percent in range(1, 100)])
    for place, threshold in enumerate(curve.thresholds):
        tp = sum(1 for label, p in zip(labels, probabilities, strict=True) if p >= threshold and label == 1)
        fp = sum(1 for label, p in zip(labels, probabilities, strict=True) if p >= threshold and label == 0)
        assert curve.model[place] == pytest.approx((tp - fp * threshold / (1 - threshold)) / 120)
        share = labels.mean()
        assert curve.treat_all[place] == pytest.approx(share - (1 - share) * threshold / (1 - threshold))


def test_net_benefit_of_a_perfect_model_is_the_share_that_is_leukemic():
    labels = np.array([1, 0, 0, 1, 0])
    curve = decision_curve(labels, labels.astype(float), np.arange(5))
    assert curve.model == pytest.approx(np.full(99, 0.4))
    # Calling all is worth nothing where the threshold is the share itself.
    assert curve.treat_all[39] == pytest.approx(0)


def test_band_of_the_net_benefit_is_that_of_the_cells_written_out():
    labels, probabilities = _case(90, 0.5, None, 10)
    groups = np.arange(90) // 3
    curve = decision_curve(labels, probabilities, groups, n_resamples=400, seed=5)
    worths, gains = [], []
    for weight in drawn_weights(groups, 400, seed=5):
        cells = _written_out(groups, weight)
        called, truth = probabilities[cells] >= 0.3, labels[cells] == 1
        worths.append((np.sum(called & truth) - np.sum(called & ~truth) * 3 / 7) / len(cells))
        gains.append(worths[-1] - max(0, (np.sum(truth) - np.sum(~truth) * 3 / 7) / len(cells)))
    # 30 groups: t of 29 degrees of freedom.
    tail = norm.cdf(-2.045230 * np.sqrt(30 / 29))
    assert (curve.low[29], curve.high[29]) == pytest.approx(tuple(np.quantile(worths, [tail, 1 - tail])))
    assert (curve.gain_low[29], curve.gain_high[29]) == pytest.approx(tuple(np.quantile(gains, [tail, 1 - tail])))


def test_band_of_the_net_benefit_of_six_subjects_holds_the_truth_almost_as_often_as_it_says():
    # A subject's cells share half of their variance. At the threshold .5 the net benefit is a mean of 1, -1 and 0.
    rng = np.random.default_rng(0)
    truth = 0.5 * (norm.cdf(0.5) - norm.cdf(-0.5))
    groups = np.repeat(np.arange(6), 12)
    held = []
    for _ in range(300):
        labels = np.repeat((rng.random(6) < 0.5).astype(np.int64), 12)
        noise = np.repeat(rng.normal(0, 0.02**0.5, 6), 12) + rng.normal(0, 0.02**0.5, 72)
        curve = decision_curve(labels, 0.4 + 0.2 * labels + noise, groups, n_resamples=300)
        held.append(curve.low[49] <= truth <= curve.high[49])
    # Percentiles of 2.5 and 97.5 % would hold it in 86 of 100.
    assert 0.91 < np.mean(held) < 0.98


def test_net_benefit_of_one_group_has_no_band():
    curve = decision_curve(np.array([0, 1]), np.array([0.2, 0.7]), np.array(["a", "a"]))
    assert np.isfinite(curve.model).all()
    assert np.isnan([curve.low, curve.high, curve.gain_low, curve.gain_high]).all()


def test_reliability_adds_up():
    labels, probabilities = _case(250, 0.5, None, 7)
    bins = reliability(labels, probabilities)
    assert len(bins.edges) == N_BINS + 1
    assert bins.counts.sum() == 250
    assert np.nansum(bins.counts * bins.mean_probability) == pytest.approx(probabilities.sum())
    assert np.nansum(bins.counts * bins.observed) == pytest.approx(labels.sum())
    gap = np.nansum(bins.counts * np.abs(bins.observed - bins.mean_probability)) / 250
    assert gap == pytest.approx(calibration_error(labels, probabilities))
    inside = bins.counts > 0
    assert (bins.mean_probability[inside] >= bins.edges[:-1][inside]).all()
    assert (bins.mean_probability[inside] <= bins.edges[1:][inside]).all()


def test_reliability_has_no_number_for_an_empty_bin():
    bins = reliability(np.array([0, 1]), np.array([0.0, 1.0]), n_bins=4)
    assert bins.counts.tolist() == [1, 0, 0, 1]
    assert np.isnan(bins.observed[1:3]).all()
    assert np.isnan(bins.mean_probability[1:3]).all()
    assert (bins.observed[0], bins.observed[3]) == (0, 1)
