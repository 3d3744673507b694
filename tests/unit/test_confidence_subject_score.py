"""From cells to subjects: against SciPy's beta-binomial, and on drawn subjects whose blasts are known."""

import json
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import betabinom

from leukospike.confidence import (
    BlastCount,
    Pooling,
    SubjectModel,
    compare_poolings,
    count_blasts,
    fit_subject_model,
    pool,
    score_subjects,
)
from leukospike.errors import ConfigError, DataError, WeightsError
from leukospike.evaluation.estimates import Interval

MODEL = SubjectModel(threshold=0.5, rate_normal=0.3, rate_leukemic=0.8, precision=8.0)


def _called(rng: np.random.Generator, rate: float, n: int) -> np.ndarray:
    """Draw the calls on the cells of one subject, as probabilities of 0.1 and 0.9."""
    of_subject = rng.beta(MODEL.precision * rate, MODEL.precision * (1 - rate))
    return np.where(rng.random(n) < of_subject, 0.9, 0.1)


def _cohort(n_subjects: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw subjects, half of them leukemic, of 5 to 200 cells."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(5, 200, n_subjects)
    label = np.arange(n_subjects) % 2
    rates = np.where(label == 1, MODEL.rate_leukemic, MODEL.rate_normal)
    probabilities = np.concatenate([_called(rng, rate, n) for rate, n in zip(rates, cells, strict=True)])
    member = np.repeat(np.arange(n_subjects), cells)
    return probabilities, label[member], member


def test_posterior_is_the_ratio_of_scipys_beta_binomials():
    for k, n in ((0, 1), (3, 7), (50, 120), (400, 400)):
        normal, leukemic = (betabinom.pmf(k, n, 8 * rate, 8 * (1 - rate)) for rate in (0.3, 0.8))
        assert MODEL.posterior(k, n) == pytest.approx(leukemic / (leukemic + normal))
        expected = 0.1 * leukemic / (0.1 * leukemic + 0.9 * normal)
        assert MODEL.posterior(k, n, prevalence=0.1) == pytest.approx(expected)


@given(
    cells=st.integers(1, 500),
    share=st.floats(0, 1),
    rates=st.tuples(st.floats(0.05, 0.45), st.floats(0.55, 0.95)),
    precision=st.floats(0.2, 300),
    prevalences=st.tuples(st.floats(0.01, 0.5), st.floats(0.5, 0.99)),
)
@settings(max_examples=50, deadline=None)
def test_posterior_rises_with_calls_and_prevalence(cells, share, rates, precision, prevalences):
    model = SubjectModel(0.5, *rates, precision)
    called = round(share * (cells - 1))
    fewer, more = (model.posterior(k, cells) for k in (called, called + 1))
    assert 0 <= fewer <= more <= 1
    rare, common = (model.posterior(called, cells, prevalence=prevalence) for prevalence in prevalences)
    assert rare <= common


def test_more_cells_of_one_subject_do_not_make_it_certain():
    doubtful = [MODEL.posterior(round(0.6 * n), n) for n in (10, 1_000, 1_000_000)]
    assert all(0.5 < posterior < 0.75 for posterior in doubtful)
    # Were cells independent, 1,000 of them would leave no doubt.
    independent = SubjectModel(0.5, 0.3, 0.8, 1000.0)
    assert independent.posterior(600, 1_000) > 0.99


def test_without_cells_the_prevalence_remains():
    assert MODEL.posterior(0, 0, prevalence=0.2) == pytest.approx(0.2)
    nothing = count_blasts(MODEL, 0, 0)
    assert nothing == BlastCount(0, 0.0, Interval(0.0, 0.0))
    assert np.isnan([nothing.share, nothing.share_interval.low, nothing.share_interval.high]).all()


@pytest.mark.parametrize(("k", "n"), [(0, 5), (3, 9), (12, 12)])
def test_number_of_blasts_by_scipy(k, n):
    likelihood = [
        sum(
            betabinom.pmf(j, blasts, 6.4, 1.6) * betabinom.pmf(k - j, n - blasts, 2.4, 5.6)
            for j in range(k + 1)
            if j <= blasts and k - j <= n - blasts
        )
        for blasts in range(n + 1)
    ]
    posterior = np.array(likelihood) / np.sum(likelihood)
    found = count_blasts(MODEL, k, n)
    assert found.expected == pytest.approx(posterior @ np.arange(n + 1))
    assert found.share == pytest.approx(found.expected / n)
    low, high = int(found.interval.low), int(found.interval.high)
    assert posterior[low : high + 1].sum() >= 0.95 - 1e-9
    shorter = [posterior[first : first + high - low].sum() for first in range(n + 2 - high + low)]
    assert max(shorter) < 0.95


def test_interval_holds_the_true_number_of_blasts_as_often_as_it_says():
    rng = np.random.default_rng(0)
    counted = cache(lambda k, n: count_blasts(MODEL, k, n))
    held, misses = [], []
    for _ in range(3000):
        n = int(rng.choice([20, 40]))
        blasts = int(rng.integers(0, n + 1))
        cells = np.append(_called(rng, MODEL.rate_leukemic, blasts), _called(rng, MODEL.rate_normal, n - blasts))
        found = counted(int((cells > 0.5).sum()), n)
        held.append(found.interval.low <= blasts <= found.interval.high)
        misses.append(found.expected - blasts)
    # Numbers are whole: the shortest interval of at least 95 % holds a little more.
    assert 0.94 <= np.mean(held) <= 0.97
    assert abs(np.mean(misses)) < 3 * np.std(misses) / np.sqrt(3000)


def test_many_cells_are_counted_by_share():
    few, many = count_blasts(MODEL, 240, 400), count_blasts(MODEL, 60_000, 100_000)
    assert many.n_cells == 100_000
    assert many.share == pytest.approx(few.share)
    assert many.share_interval == few.share_interval


def test_fit_finds_the_rates_that_subjects_were_drawn_with():
    fitted = fit_subject_model(*_cohort(600), threshold=0.5)
    assert fitted.rate_normal == pytest.approx(MODEL.rate_normal, abs=0.03)
    assert fitted.rate_leukemic == pytest.approx(MODEL.rate_leukemic, abs=0.03)
    assert fitted.precision == pytest.approx(MODEL.precision, rel=0.2)


def test_posteriors_of_new_subjects_are_as_often_right_as_they_say():
    fitted = fit_subject_model(*_cohort(200, seed=1), threshold=0.5)
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 2, 3000)
    rates = np.where(truth == 1, MODEL.rate_leukemic, MODEL.rate_normal)
    cells = rng.integers(5, 60, 3000)
    called = [int((_called(rng, rate, n) > 0.5).sum()) for rate, n in zip(rates, cells, strict=True)]
    posteriors = np.array([fitted.posterior(k, int(n)) for k, n in zip(called, cells, strict=True)])
    for low, high in ((0, 0.2), (0.2, 0.8), (0.8, 1.01)):
        inside = (posteriors >= low) & (posteriors < high)
        error = np.sqrt(0.25 / inside.sum())
        assert posteriors[inside].mean() == pytest.approx(truth[inside].mean(), abs=2.5 * error)


def test_scores_are_by_subject():
    subjects = np.array(["B", "A", "B", "A", "A"])
    scores = score_subjects(MODEL, np.array([0.9, 0.2, 0.5, 0.4, 0.1]), subjects, prevalence=0.3)
    assert [(score.subject, score.n_called, score.blasts.n_cells) for score in scores] == [("A", 0, 3), ("B", 2, 2)]
    assert scores[1].posterior == MODEL.posterior(2, 2, prevalence=0.3)
    assert scores[0].blasts == count_blasts(MODEL, 0, 3)


def test_several_ways_of_judging_are_averaged_before_they_are_weighed():
    ways, n = (2, 9), 10
    likelihoods = [np.mean([betabinom.pmf(k, n, 8 * rate, 8 * (1 - rate)) for k in ways]) for rate in (0.3, 0.8)]
    assert MODEL.posterior(ways, n) == pytest.approx(likelihoods[1] / sum(likelihoods))
    # As many calls in all, but with no doubt of which: that would tell.
    assert MODEL.posterior((9, 9), n) == pytest.approx(MODEL.posterior(9, n))
    lower, upper = (count_blasts(MODEL, k, n) for k in ways)
    both = count_blasts(MODEL, ways, n)
    assert lower.expected < both.expected < upper.expected
    assert both.interval.low <= lower.interval.low
    assert both.interval.high >= upper.interval.high


def test_scores_over_several_ways_are_by_subject():
    ways = np.array([[0.9, 0.2, 0.5], [0.7, 0.7, 0.4]])
    [score_a, score_b] = score_subjects(MODEL, ways, np.array(["B", "A", "B"]))
    assert (score_a.subject, score_a.n_called, score_a.posterior) == ("A", 0, MODEL.posterior((0, 1), 1))
    # The means of B's are 0.8 and 0.45.
    assert (score_b.subject, score_b.n_called, score_b.posterior) == ("B", 1, MODEL.posterior((2, 1), 2))
    assert score_b.blasts == count_blasts(MODEL, (2, 1), 2)


def test_no_cells_no_scores():
    assert score_subjects(MODEL, np.zeros(0), np.zeros(0, dtype="<U1")) == []


def test_poolings_by_hand():
    probabilities = np.array([0.2, 0.8, 0.5, 0.9])
    subjects = np.array(["A", "A", "B", "B"])
    np.testing.assert_allclose(pool(probabilities, subjects, Pooling.MEAN_PROBABILITY), [0.5, 0.7])
    # Odds 1 and 9: their geometric mean is 3.
    np.testing.assert_allclose(pool(probabilities, subjects, Pooling.MEAN_LOGIT), [0.5, 0.75])
    # Weights are odds: 1/4 and 4, 1 and 9.
    attention = [(0.25 * 0.2 + 4 * 0.8) / 4.25, (1 * 0.5 + 9 * 0.9) / 10]
    np.testing.assert_allclose(pool(probabilities, subjects, Pooling.ATTENTION), attention)
    np.testing.assert_allclose(pool(probabilities, subjects, Pooling.TOP_SHARE), [0.8, 0.9])
    many = np.linspace(0, 1, 40)
    assert pool(many, np.zeros(40), Pooling.TOP_SHARE)[0] == pytest.approx(many[-4:].mean())


def test_pooling_that_takes_a_fit_is_refused():
    with pytest.raises(ConfigError, match=r"pool: pooling must be one of mean_probability, .* got beta_binomial\. For"):
        pool(np.array([0.5]), np.array(["A"]), Pooling.BETA_BINOMIAL)


def test_beta_binomial_beats_the_most_suspicious_cells_where_subjects_differ_in_rate():
    rng = np.random.default_rng(0)
    probabilities, labels, subjects = _cohort(40)
    blurred = expit(np.where(probabilities > 0.5, 1.5, -1.5) + rng.normal(0, 0.5, len(probabilities)))
    figures = compare_poolings(blurred, labels, subjects, threshold=0.5, prevalence=0.5)
    assert set(figures) == set(Pooling)
    ours = figures[Pooling.BETA_BINOMIAL]
    assert ours.roc_auc > 0.9
    for pooling in (Pooling.ATTENTION, Pooling.TOP_SHARE):
        assert ours.log_loss < figures[pooling].log_loss
        assert ours.brier < figures[pooling].brier


def test_stored_numbers_go_through_json():
    fitted = fit_subject_model(*_cohort(12), threshold=0.5)
    assert SubjectModel.from_stored(json.loads(json.dumps(fitted.stored()))) == fitted


def test_subjects_all_alike_give_a_model_that_can_be_stored():
    subjects = np.repeat(np.arange(6), 10)
    labels = subjects % 2
    probabilities = np.where(labels == 1, 0.9, 0.1)
    fitted = fit_subject_model(probabilities, labels, subjects, threshold=0.5)
    assert SubjectModel.from_stored(fitted.stored()) == fitted
    assert fitted.posterior(10, 10) > 0.99


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("precision", 0.0, "a number from 0.1"),
        ("precision", float("nan"), "a number from 0.1"),
        ("rate_normal", 0.9, "must be above rate_normal"),
        ("rate_leukemic", None, "a number"),
        ("threshold", 2, "a number from 0 to 1"),
    ],
)
def test_impossible_stored_number_is_refused(name, value, rule):
    with pytest.raises(WeightsError, match=rf"SubjectModel: .*{rule}.*Fit it again"):
        SubjectModel.from_stored(MODEL.stored() | {name: value})


def test_one_subject_of_a_class_is_too_few():
    with pytest.raises(DataError, match=r"each class must have at least 2 subjects, got 1\. Add"):
        fit_subject_model(np.array([0.1, 0.2, 0.9]), np.array([0, 0, 1]), np.array(["A", "B", "C"]), threshold=0.5)


def test_scores_the_wrong_way_round_are_refused():
    probabilities, labels, subjects = _cohort(12)
    with pytest.raises(
        DataError, match=r"leukemic subjects must be called more often than normal ones, got 0\.\d+ and"
    ):
        fit_subject_model(1 - probabilities, labels, subjects, threshold=0.5)


def test_impossible_prevalence_is_refused():
    with pytest.raises(ConfigError, match=r"prevalence must be from 1e-06 to 0.999999, got 20"):
        score_subjects(MODEL, np.array([0.5]), np.array(["A"]), prevalence=20.0)


@given(called=st.integers(0, 30), missed=st.integers(0, 30))
@settings(max_examples=30, deadline=None)
def test_expected_number_lies_in_its_interval(called, missed):
    found = count_blasts(MODEL, called, called + missed)
    assert 0 <= found.interval.low <= found.expected <= found.interval.high <= called + missed
