"""From cells to subjects: against SciPy's beta-binomial, and on drawn subjects whose blasts are known."""

import json
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import betabinom, binom
from sklearn.metrics import log_loss, roc_auc_score

from leukospike.confidence import (
    LEAST_SHARE,
    BlastCount,
    Pooling,
    SubjectModel,
    compare_poolings,
    count_blasts,
    fit_subject_model,
    pool,
    score_subjects,
)
from leukospike.confidence.subject_score import _log_ratios
from leukospike.errors import ConfigError, DataError, WeightsError
from leukospike.evaluation.estimates import Interval

MODEL = SubjectModel(threshold=0.5, rate_mature=0.02, rate_normal=0.3, rate_leukemic=0.8, precision=8.0)


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


def _likelihoods(k: int, n: int, false_rate: float) -> np.ndarray:
    """Return P(k | B) for every number of blasts B, by SciPy and by counting."""
    blasts_called, others_called = (
        (MODEL.precision * rate, MODEL.precision * (1 - rate)) for rate in (MODEL.rate_leukemic, false_rate)
    )
    return np.array(
        [
            sum(
                betabinom.pmf(j, blasts, *blasts_called) * betabinom.pmf(k - j, n - blasts, *others_called)
                for j in range(k + 1)
                if j <= blasts and k - j <= n - blasts
            )
            for blasts in range(n + 1)
        ]
    )


@pytest.mark.parametrize(("k", "n", "n_mature"), [(0, 1, 0), (3, 7, 0), (3, 7, 2), (9, 30, 21), (12, 12, 0)])
def test_posterior_weighs_all_shares_of_blasts_from_the_least_against_none(k, n, n_mature):
    mature = n_mature / (n - k) if n > k else 0.0
    likelihoods = _likelihoods(k, n, mature * MODEL.rate_mature + (1 - mature) * MODEL.rate_normal)
    # Integrated over the share by quadrature, where the package has a closed form.
    leukemic = quad(lambda f: likelihoods @ binom.pmf(np.arange(n + 1), n, f), LEAST_SHARE, 1)[0] / (1 - LEAST_SHARE)
    normal = likelihoods[0]
    assert MODEL.posterior(k, n, n_mature=n_mature) == pytest.approx(leukemic / (leukemic + normal))
    expected = 0.1 * leukemic / (0.1 * leukemic + 0.9 * normal)
    assert MODEL.posterior(k, n, n_mature=n_mature, prevalence=0.1) == pytest.approx(expected)


def test_likelihoods_sum_to_1_over_the_calls():
    ratios = _log_ratios(MODEL, 25, MODEL.rate_normal)
    normal = betabinom.pmf(np.arange(26), 25, 8 * 0.3, 8 * 0.7)
    assert np.sum(np.exp(ratios) * normal) == pytest.approx(1)


def _model(rates: tuple[float, float], precision: float, least_share: float = LEAST_SHARE) -> SubjectModel:
    """Return a model without mature cells."""
    return SubjectModel(
        threshold=0.5,
        rate_mature=rates[0],
        rate_normal=rates[0],
        rate_leukemic=rates[1],
        precision=precision,
        least_share=least_share,
    )


@given(
    cells=st.integers(1, 500),
    share=st.floats(0, 1),
    rates=st.tuples(st.floats(0.05, 0.45), st.floats(0.55, 0.95)),
    precision=st.floats(1, 300),
    least_share=st.floats(0, 0.99),
    prevalences=st.tuples(st.floats(0.01, 0.5), st.floats(0.5, 0.99)),
)
@settings(max_examples=50, deadline=None)
def test_posterior_rises_with_calls_and_prevalence(cells, share, rates, precision, least_share, prevalences):
    model = _model(rates, precision, least_share)
    called = round(share * (cells - 1))
    fewer, more = (model.posterior(k, cells) for k in (called, called + 1))
    assert 0 <= fewer <= more <= 1
    rare, common = (model.posterior(called, cells, prevalence=prevalence) for prevalence in prevalences)
    assert rare <= common


@given(
    cells=st.integers(1, 400),
    rate=st.floats(0.01, 0.69),
    apart=st.floats(0.3, 0.98),
    precision=st.floats(np.log(4), np.log(1000)).map(np.exp),
)
@settings(max_examples=50, deadline=None)
def test_likelihood_ratio_rises_by_itself_unless_subjects_differ_widely(cells, rate, apart, precision):
    ratios = _log_ratios(_model((rate, min(rate + apart, 0.99)), precision), cells, rate)
    assert np.diff(ratios).min() > -1e-6


def test_likelihood_ratio_is_made_to_rise_where_subjects_differ_widely():
    model = _model((0.1, 0.7), 1.0)
    assert np.diff(_log_ratios(model, 100, 0.1)).min() < 0
    posteriors = [model.posterior(k, 100) for k in range(101)]
    assert (np.diff(posteriors) >= 0).all()
    # The least value from there on, not the largest so far: more calls cannot make the claim bolder than they are.
    assert posteriors[-1] == pytest.approx(expit(_log_ratios(model, 100, 0.1)[-1]))


def test_more_cells_of_one_subject_do_not_make_it_certain():
    doubtful = [MODEL.posterior(round(0.45 * n), n) for n in (10, 1_000, 1_000_000)]
    assert all(0.4 < posterior < 0.75 for posterior in doubtful)
    # Were cells independent, 1,000 of them would leave no doubt.
    assert _model((0.3, 0.8), 1000.0).posterior(450, 1_000) > 0.99


def test_mature_cells_are_evidence_too():
    healthy = MODEL.posterior(3, 100, n_mature=97)
    assert healthy < 0.05
    # The same calls among precursors are fewer than expected, among few mature cells more.
    assert MODEL.posterior(3, 5, n_mature=2) > MODEL.posterior(3, 5) > healthy
    assert count_blasts(MODEL, 30, 100, n_mature=70).expected > count_blasts(MODEL, 30, 100).expected
    assert MODEL.posterior(30, 100, n_mature=70) > 0.9 > MODEL.posterior(30, 100)


def test_false_rate_is_the_mean_over_the_cells_that_are_not_called():
    assert MODEL.false_rate(3, 100) == MODEL.rate_normal
    assert MODEL.false_rate(3, 100, n_mature=97) == MODEL.rate_mature
    assert MODEL.false_rate(20, 100, n_mature=20) == pytest.approx(0.25 * 0.02 + 0.75 * 0.3)
    assert MODEL.false_rate(100, 100) == MODEL.false_rate(0, 0) == MODEL.rate_normal


def test_subjects_all_of_whose_cells_are_blasts_remain_sharply_told_apart():
    model = _model((0.23, 0.86), 7.5)  # as fitted to C-NMC
    rng = np.random.default_rng(0)
    cells = rng.choice([20, 50, 100, 200], 2000)
    labels = np.arange(2000) % 2
    rates = np.where(labels == 1, 0.86, 0.23)
    called = rng.binomial(cells, rng.beta(7.5 * rates, 7.5 * (1 - rates)))
    posterior = cache(model.posterior)
    ours = np.array([posterior(k, n) for k, n in zip(called.tolist(), cells.tolist(), strict=True)])
    normal, leukemic = (betabinom.pmf(called, cells, 7.5 * rate, 7.5 * (1 - rate)) for rate in (0.23, 0.86))
    all_or_none = leukemic / (leukemic + normal)
    assert roc_auc_score(labels, ours) > roc_auc_score(labels, all_or_none) - 0.002
    assert roc_auc_score(labels, ours) > 0.99
    # It costs some certainty, above all about normal subjects, whose false calls might be a few blasts.
    assert log_loss(labels, all_or_none) < log_loss(labels, ours) < 0.2
    assert np.mean(ours[labels == 1] >= 0.9) > 0.9
    assert np.mean(ours[labels == 0] <= 0.1) > 0.5


def test_without_cells_the_prevalence_remains():
    assert MODEL.posterior(0, 0, prevalence=0.2) == pytest.approx(0.2)
    nothing = count_blasts(MODEL, 0, 0)
    assert nothing == BlastCount(0, 0.0, Interval(0.0, 0.0))
    assert np.isnan([nothing.share, nothing.share_interval.low, nothing.share_interval.high]).all()


@pytest.mark.parametrize(("k", "n", "n_mature"), [(0, 5, 0), (3, 9, 0), (3, 9, 6), (12, 12, 0)])
def test_number_of_blasts_by_scipy(k, n, n_mature):
    posterior = _likelihoods(k, n, MODEL.false_rate(k, n, n_mature=n_mature))
    posterior /= posterior.sum()
    found = count_blasts(MODEL, k, n, n_mature=n_mature)
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


def test_rate_of_mature_cells_is_the_mean_over_groups():
    probabilities = np.array([0.9, *[0.1] * 9, 0.9, 0.1])
    groups = np.array(["A"] * 10 + ["B"] * 2)
    how = {"threshold": 0.5, "mature_groups": groups}
    fitted = fit_subject_model(*_cohort(60), **how, mature_probabilities=probabilities)
    assert fitted.rate_mature == pytest.approx((0.1 + 0.5) / 2)
    never = fit_subject_model(*_cohort(60), **how, mature_probabilities=np.full(12, 0.1))
    assert never.rate_mature == 0.01
    without = fit_subject_model(*_cohort(60), threshold=0.5)
    assert without.rate_mature == without.rate_normal == fitted.rate_normal == never.rate_normal
    assert without.least_share == LEAST_SHARE


def test_impossible_mature_cells_are_refused():
    with pytest.raises(DataError, match="leukemic subjects must be called more often than mature cells, got 0"):
        fit_subject_model(
            *_cohort(60), threshold=0.5, mature_probabilities=np.full(3, 0.9), mature_groups=np.array(["A"] * 3)
        )
    for alone in ({"mature_probabilities": np.full(3, 0.1)}, {"mature_groups": np.array(["A"] * 3)}):
        with pytest.raises(DataError, match="mature_probabilities and mature_groups must be given together"):
            fit_subject_model(*_cohort(60), threshold=0.5, **alone)


def test_posteriors_of_new_subjects_are_as_often_right_as_they_say():
    fitted = fit_subject_model(*_cohort(600, seed=1), threshold=0.5)
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 2, 3000)
    cells = rng.choice([10, 20, 40, 60], 3000)
    blasts = np.where(truth == 1, rng.binomial(cells, rng.uniform(LEAST_SHARE, 1, 3000)), 0)
    called = [
        int((np.append(_called(rng, MODEL.rate_leukemic, b), _called(rng, MODEL.rate_normal, n - b)) > 0.5).sum())
        for b, n in zip(blasts.tolist(), cells.tolist(), strict=True)
    ]
    posterior = cache(fitted.posterior)
    posteriors = np.array([posterior(k, int(n)) for k, n in zip(called, cells, strict=True)])
    for low, high in ((0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.01)):
        inside = (posteriors >= low) & (posteriors < high)
        error = np.sqrt(0.25 / inside.sum())
        assert posteriors[inside].mean() == pytest.approx(truth[inside].mean(), abs=2.5 * error)


def test_scores_are_by_subject():
    subjects = np.array(["B", "A", "B", "A", "A"])
    mature = np.array([True, False, False, True, False])
    probabilities = np.array([0.9, 0.2, 0.5, 0.4, 0.1])
    score_a, score_b = score_subjects(MODEL, probabilities, subjects, mature=mature, prevalence=0.3)
    assert (score_a.subject, score_a.n_called, score_a.n_mature, score_a.blasts.n_cells) == ("A", 0, 1, 3)
    # What kind a cell is given does not matter once it is called.
    assert (score_b.subject, score_b.n_called, score_b.n_mature, score_b.blasts.n_cells) == ("B", 2, 0, 2)
    assert score_b.posterior == MODEL.posterior(2, 2, prevalence=0.3)
    assert score_a.posterior == MODEL.posterior(0, 3, n_mature=1, prevalence=0.3)
    assert score_a.blasts == count_blasts(MODEL, 0, 3, n_mature=1)


def test_no_cells_no_scores():
    assert score_subjects(MODEL, np.zeros(0), np.zeros(0, dtype="<U1"), mature=np.zeros(0, bool)) == []


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
    cells = {"mature_probabilities": np.full(3, 0.1), "mature_groups": np.array(["A"] * 3)}
    for mature in ({}, cells):
        fitted = fit_subject_model(*_cohort(12), threshold=0.5, **mature)
        assert SubjectModel.from_stored(json.loads(json.dumps(fitted.stored()))) == fitted
    assert SubjectModel.from_stored(json.loads(json.dumps(MODEL.stored()))) == MODEL


def test_subjects_all_alike_give_a_model_that_can_be_stored():
    subjects = np.repeat(np.arange(6), 10)
    labels = subjects % 2
    probabilities = np.where(labels == 1, 0.9, 0.1)
    fitted = fit_subject_model(probabilities, labels, subjects, threshold=0.5)
    assert SubjectModel.from_stored(fitted.stored()) == fitted
    assert fitted.posterior(10, 10) > 0.98
    assert fitted.posterior(100, 100) > 0.98


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("precision", 0.0, "a number from 1 to"),
        ("precision", float("nan"), "a number from 1 to"),
        ("rate_normal", 0.9, "must be above rate_normal"),
        ("rate_mature", 0.8, "must be above rate_mature"),
        ("rate_mature", 0.001, "a number from 0.01"),
        ("least_share", 1.0, "a number from 0 to 0.99"),
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
        score_subjects(MODEL, np.array([0.5]), np.array(["A"]), mature=np.array([False]), prevalence=20.0)


@given(called=st.integers(0, 30), precursors=st.integers(0, 30), mature=st.integers(0, 60))
@settings(max_examples=30, deadline=None)
def test_expected_number_lies_in_its_interval(called, precursors, mature):
    n = called + precursors + mature
    found = count_blasts(MODEL, called, n, n_mature=mature)
    assert 0 <= found.interval.low <= found.expected <= found.interval.high <= n
