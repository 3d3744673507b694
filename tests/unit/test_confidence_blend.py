"""Several opinions in one probability: against scikit-learn, and what is refused."""

import numpy as np
import pytest
from scipy.special import logit
from sklearn.linear_model import LogisticRegression

from leukospike.confidence.blend import Blend, fit_blend
from leukospike.errors import DataError, WeightsError


def _opinions(n: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw two opinions that both say something, labels, and weights."""
    rng = np.random.default_rng(0)
    labels = (rng.random(n) < 0.4).astype(np.int64)
    scores = rng.normal(0, 1.5, (n, 2)) + np.array([1.0, 2.0]) * (2 * labels - 1)[:, None]
    return scores, labels, rng.uniform(0.2, 2.0, n)


@pytest.mark.parametrize("prevalence", [0.5, 0.1])
def test_fit_is_that_of_another_program(prevalence: float):
    scores, labels, weights = _opinions()
    mass = weights.copy()
    for label, share in ((1, prevalence), (0, 1 - prevalence)):
        mass[labels == label] *= share / mass[labels == label].sum()
    other = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(scores, labels, sample_weight=len(mass) * mass)
    blend = fit_blend(scores, labels, weights, prevalence=prevalence)
    np.testing.assert_allclose(blend.weights, other.coef_[0], rtol=5e-3)
    assert blend.offset == pytest.approx(other.intercept_[0], abs=5e-3)
    np.testing.assert_allclose(blend.apply(scores), other.predict_proba(scores)[:, 1], atol=2e-3)
    assert blend.prevalence == prevalence


def test_calibrated_in_the_large():
    scores, labels, weights = _opinions()
    found = fit_blend(scores, labels, weights, prevalence=0.3).apply(scores)
    means = [np.average(found[labels == label], weights=weights[labels == label]) for label in (0, 1)]
    assert 0.7 * means[0] + 0.3 * means[1] == pytest.approx(0.3, abs=1e-3)


def test_an_opinion_that_says_the_opposite_counts_for_nothing():
    scores, labels, weights = _opinions()
    blend = fit_blend(scores * np.array([1, -1]), labels, weights, prevalence=0.5)
    assert blend.weights[1] == 0
    alone = fit_blend(scores[:, :1], labels, weights, prevalence=0.5)
    assert blend.weights[0] == pytest.approx(alone.weights[0], rel=0.01)


def test_probability_by_hand():
    blend = Blend(weights=(0.5, 2.0), offset=-1.0, prevalence=0.5)
    assert logit(blend.apply(np.array([[2.0, 1.0], [0.0, 0.0]]))) == pytest.approx([2.0, -1.0])
    assert blend.apply(np.zeros((0, 2))).shape == (0,)
    for wrong in (np.zeros((3, 1)), np.zeros((3, 3))):
        with pytest.raises(DataError, match=r"Blend\.apply: scores must have 2 columns, got"):
            blend.apply(wrong)


def test_what_cannot_be_fitted_on_is_refused():
    scores, labels, weights = _opinions(20)
    with pytest.raises(DataError, match="fit_blend: labels must be 0 and 1, both of them, got"):
        fit_blend(scores, np.ones_like(labels), weights, prevalence=0.5)
    with pytest.raises(DataError, match="fit_blend: scores must be finite"):
        fit_blend(np.where(np.arange(20)[:, None] == 3, np.nan, scores), labels, weights, prevalence=0.5)


def test_stored_numbers_come_back():
    blend = fit_blend(*_opinions(), prevalence=0.2)
    assert Blend.from_stored(blend.stored(), n_scores=2) == blend


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weights": None}, "weights must be a list of 2 numbers"),
        ({"weights": []}, "weights must be a list of 2 numbers"),
        ({"weights": [1.0]}, "weights must be a list of 2 numbers"),
        ({"weights": [1.0] * 3}, "weights must be a list of 2 numbers"),
        ({"weights": "11"}, "weights must be a list of 2 numbers"),
        ({"weights": [1.0, -0.1]}, "1 must be a number from 0 to"),
        ({"weights": [float("nan"), 1.0]}, "0 must be a number from 0 to"),
        ({"weights": [True, 1.0]}, "0 must be a number from 0 to"),
        ({"offset": "low"}, "offset must be a number from"),
        ({"offset": float("inf")}, "offset must be a number from"),
        ({"prevalence": 0}, "prevalence must be a number from"),
        ({"prevalence": 1}, "prevalence must be a number from"),
    ],
)
def test_impossible_numbers_are_refused(change: dict, said: str):
    with pytest.raises(WeightsError, match=f"Blend: {said}"):
        Blend.from_stored({"weights": [1.0, 2.0], "offset": 0.5, "prevalence": 0.5} | change, n_scores=2)


@pytest.mark.parametrize("name", ["weights", "offset", "prevalence"])
def test_missing_numbers_are_refused(name: str):
    stored = {"weights": [1.0, 2.0], "offset": 0.5, "prevalence": 0.5}
    del stored[name]
    with pytest.raises(WeightsError, match=f"Blend: {name} must be"):
        Blend.from_stored(stored, n_scores=2)
