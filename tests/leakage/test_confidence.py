"""What is said of a subject must not come from its own labels."""

from collections.abc import Callable

import numpy as np
import pytest

from leukospike.confidence import (
    Guarantee,
    cross_fitted_calls,
    cross_fitted_distances,
    cross_fitted_probabilities,
    cross_fitted_sets,
    fit_mahalanobis,
)

Judge = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def _distances(probabilities: np.ndarray, labels: np.ndarray, subjects: np.ndarray) -> np.ndarray:
    embeddings = np.stack([probabilities, np.sqrt(probabilities)], axis=1)
    return cross_fitted_distances(
        lambda places: fit_mahalanobis(embeddings[places], labels[places]), embeddings, subjects, subjects
    )


JUDGES: dict[str, Judge] = {
    "calibration": lambda p, y, s: cross_fitted_probabilities(p, y, s, s, prevalence=0.5),
    "sets": lambda p, y, s: cross_fitted_sets(p, y, s, s, alpha=0.3, guarantee=Guarantee.BY_CLASS),
    "calls": lambda p, y, s: cross_fitted_calls(p, y, s, s, sensitivity=0.5),
    "distances": _distances,
}


@pytest.mark.parametrize("name", JUDGES)
def test_other_labels_of_a_subject_change_the_others_alone(name: str) -> None:
    rng = np.random.default_rng(0)
    subjects = np.repeat(np.arange(10), 8)
    labels = subjects % 2
    probabilities = rng.beta(2, 2, 80) * 0.8 + 0.2 * labels
    turned = np.where(subjects == 3, 1 - labels, labels)
    before, after = (JUDGES[name](probabilities, truth, subjects) for truth in (labels, turned))
    own = subjects == 3
    np.testing.assert_array_equal(before[own], after[own])
    assert (before[~own] != after[~own]).any()
