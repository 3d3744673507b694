"""Metrics for any labels and probabilities."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from leukospike.evaluation.estimates import METRICS
from leukospike.evaluation.metrics import (
    delong_interval,
    metrics_of,
    point_metrics,
    reliability,
    weighted_metrics,
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw labels, probabilities (many of them equal) and subjects."""
    n = draw(st.integers(1, 30))
    several = st.lists(st.integers(0, 20), min_size=n, max_size=n)
    labels = np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)), np.int64)
    return labels, np.array(draw(several)) / 20, np.array(draw(several)) % 12


@given(case=cases(), seed=st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_resample_that_takes_each_group_once_is_the_data(
    case: tuple[np.ndarray, np.ndarray, np.ndarray], seed: int
) -> None:
    labels, probabilities, groups = case
    order = np.random.default_rng(seed).permutation(len(labels))
    once = np.ones((1, len(np.unique(groups))), np.int64)
    ours = weighted_metrics(labels[order], probabilities[order], groups[order], once)
    expected = point_metrics(labels, probabilities)
    for name in METRICS:
        np.testing.assert_allclose(ours[name][0], expected[name], atol=1e-12, err_msg=name)


@given(case=cases())
@settings(max_examples=20, deadline=None)
def test_every_figure_is_a_share_or_none(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    labels, probabilities, groups = case
    found = metrics_of(labels, probabilities, groups, group_name="subjects", n_resamples=20)
    for name in METRICS:
        for value in found[name].to_json().values():
            assert value is None or -1e-9 <= value <= 1 + 1e-9
    assert sum(found.confusion.to_json().values()) == found.n == len(labels)


@given(case=cases())
@settings(max_examples=30, deadline=None)
def test_area_and_its_interval_mirror_with_the_classes(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    labels, probabilities, _ = case
    area, mirrored = (point_metrics(given, probabilities)["roc_auc"] for given in (labels, 1 - labels))
    np.testing.assert_allclose(mirrored, 1 - area)
    interval, other = (delong_interval(given, probabilities) for given in (labels, 1 - labels))
    np.testing.assert_allclose((other.low, other.high), (1 - interval.high, 1 - interval.low), atol=1e-9)


@given(case=cases(), n_bins=st.integers(1, 20))
@settings(max_examples=30, deadline=None)
def test_every_cell_is_in_one_bin(case: tuple[np.ndarray, np.ndarray, np.ndarray], n_bins: int) -> None:
    labels, probabilities, _ = case
    bins = reliability(labels, probabilities, n_bins)
    assert bins.counts.sum() == len(labels)
    np.testing.assert_allclose(np.nansum(bins.counts * bins.observed), labels.sum())
