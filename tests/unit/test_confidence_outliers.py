"""Flags for unlike cells: distances against SciPy, the rate of false flags on left-out subjects."""

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score

from leukospike.confidence import (
    MahalanobisDistance,
    cross_fitted_distances,
    fit_mahalanobis,
    flag_threshold,
    mean_over_subjects,
)
from leukospike.errors import ConfigError, DataError, WeightsError


def _embeddings(
    n_subjects: int, seed: int = 0, features: int = 6, cells: tuple[int, int] = (20, 60)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw two classes of subjects, each with a place of its own."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(*cells, n_subjects)
    label = np.arange(n_subjects) % 2
    member = np.repeat(np.arange(n_subjects), counts)
    centre = np.outer(label, np.linspace(1, 3, features)) + 1 + rng.normal(0, 0.5, (n_subjects, features))
    spread = np.linspace(0.5, 2, features)
    cloud = centre[member] + rng.normal(0, 1, (len(member), features)) * spread
    return cloud.astype(np.float32), label[member], member


def test_mahalanobis_is_scipys_with_scikit_learns_shrunk_covariance():
    embeddings, labels, _ = _embeddings(6)
    means = [embeddings[labels == label].mean(axis=0, dtype=np.float64) for label in (0, 1)]
    centred = embeddings - np.array(means)[labels]
    precision = np.linalg.inv(LedoitWolf(assume_centered=True).fit(centred.astype(np.float64)).covariance_)
    new = _embeddings(2, seed=1)[0][:20]
    expected = [min(mahalanobis(cell, mean, precision) for mean in means) for cell in new]
    np.testing.assert_allclose(fit_mahalanobis(embeddings, labels).distances(new), expected, rtol=1e-4)


def test_more_features_than_cells_still_give_distances():
    embeddings, labels, _ = _embeddings(4, features=200, cells=(5, 10))
    assert np.isfinite(fit_mahalanobis(embeddings, labels).distances(embeddings)).all()


def test_new_subjects_get_the_stated_rate_of_false_flags_and_strangers_are_flagged():
    embeddings, labels, subjects = _embeddings(80)

    def fit(places: np.ndarray) -> MahalanobisDistance:
        return fit_mahalanobis(embeddings[places], labels[places])

    far = cross_fitted_distances(fit, embeddings, subjects, subjects // 2 % 10)
    threshold = flag_threshold(far, subjects, rate=0.05)
    assert mean_over_subjects(far > threshold, subjects).value == pytest.approx(0.05, abs=0.002)
    fitted = fit(np.arange(len(embeddings)))
    new, _, whose = _embeddings(200, seed=1)
    rate = mean_over_subjects(fitted.distances(new) > threshold, whose)
    assert rate.interval.low - 0.01 <= 0.05 <= rate.interval.high + 0.01
    strangers = np.random.default_rng(2).normal(-6, 1, (300, 6))
    assert (fitted.distances(strangers) > threshold).mean() > 0.95
    scores = np.append(fitted.distances(new), fitted.distances(strangers))
    assert roc_auc_score(np.repeat([0, 1], [len(new), 300]), scores) > 0.95


def test_threshold_counts_subjects_not_cells():
    # One subject of 90 near cells, nine of a single cell each at 1 to 9.
    distances = np.append(np.zeros(90), np.arange(1.0, 10.0))
    subjects = np.append(np.zeros(90, np.int64), np.arange(1, 10))
    assert flag_threshold(distances, subjects, rate=0.2) == 7.0
    assert flag_threshold(distances, np.arange(99), rate=0.2) == 0.0
    assert mean_over_subjects(distances > 7, subjects).value == pytest.approx(0.2)


def test_distances_of_a_fold_are_from_the_other_folds():
    embeddings, labels, subjects = _embeddings(8)
    far = cross_fitted_distances(
        lambda places: fit_mahalanobis(embeddings[places], labels[places]), embeddings, subjects, subjects // 2
    )
    held = subjects // 2 == 1
    fitted = fit_mahalanobis(embeddings[~held], labels[~held])
    np.testing.assert_allclose(far[held], fitted.distances(embeddings[held]))


def test_no_cells_no_distances():
    embeddings, labels, _ = _embeddings(4)
    assert fit_mahalanobis(embeddings, labels).distances(np.zeros((0, 6), np.float32)).shape == (0,)


def test_stored_arrays_give_the_same_distances():
    embeddings, labels, _ = _embeddings(6)
    fitted = fit_mahalanobis(embeddings, labels)
    again = MahalanobisDistance.from_stored(fitted.stored())
    np.testing.assert_array_equal(again.distances(embeddings), fitted.distances(embeddings))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"whitening": np.eye(5, dtype=np.float32)},
            r"whitening must be float32 of shape 6 x 6, got float32 of \(5, 5\)",
        ),
        ({"whitening": np.eye(6)}, r"whitening must be float32 of shape 6 x 6, got float64"),
        ({"means": np.zeros((0, 6), np.float32)}, r"means must be float32 of shape any x any, got float32 of \(0, 6\)"),
        ({"means": np.full((2, 6), np.nan, np.float32)}, r"means must be finite"),
        ({"means": [[0.0]]}, r"means must be an array, got list"),
    ],
)
def test_impossible_stored_array_is_refused(change, message):
    stored = {"means": np.zeros((2, 6), np.float32), "whitening": np.eye(6, dtype=np.float32)}
    with pytest.raises(WeightsError, match=rf"MahalanobisDistance: {message}.*Fit it again"):
        MahalanobisDistance.from_stored(stored | change)


def test_embeddings_that_cannot_be_used_are_refused():
    embeddings, labels, _ = _embeddings(4)
    fitted = fit_mahalanobis(embeddings, labels)
    with pytest.raises(DataError, match=r"distances: embeddings must have 6 features, got 3\. Use the same"):
        fitted.distances(np.zeros((1, 3)))
    with pytest.raises(DataError, match=r"embeddings must be finite, got NaN"):
        fitted.distances(np.full((1, 6), np.nan))
    with pytest.raises(DataError, match=r"embeddings within a class must differ, got all alike"):
        fit_mahalanobis(np.ones((5, 3)), np.array([0, 0, 1, 1, 1]))
    with pytest.raises(DataError, match=r"embeddings and labels must have the same length, at least 1, got \[0, 0\]"):
        fit_mahalanobis(np.zeros((0, 3)), np.zeros(0, np.int64))


@pytest.mark.parametrize("rate", [0.0, 1.0, 5.0])
def test_impossible_rate_is_refused(rate):
    with pytest.raises(ConfigError, match=r"rate must be between 0 and 1, got"):
        flag_threshold(np.array([1.0]), np.array(["A"]), rate=rate)


@pytest.mark.parametrize("distances", [[np.nan], [np.inf]])
def test_impossible_distances_are_refused(distances):
    with pytest.raises(DataError, match=r"distances must be finite, got"):
        flag_threshold(np.array(distances), np.zeros(len(distances)))
