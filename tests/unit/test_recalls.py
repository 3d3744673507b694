"""Mean recalls of two models, and what is concluded from them."""

import numpy as np
import pytest

from leukospike.classification.kind_refinement import KnownCells
from leukospike.errors import SplitError
from leukospike.evaluation.metrics import drawn_weights
from leukospike.evaluation.recalls import paired_recalls
from leukospike.refinement.validation import OutOfFold, require_groups, verdict_of


def test_intervals_are_those_of_cells_drawn_one_by_one():
    rng = np.random.default_rng(0)
    kinds, groups = rng.integers(3, size=60), rng.integers(6, size=60)
    first, second = rng.random(60) < 0.8, rng.random(60) < 0.5
    found = paired_recalls(kinds, first, second, groups, n_resamples=50, seed=3)
    gains = []
    for counts in drawn_weights(groups, 50, 3):
        drawn = np.concatenate([np.repeat(np.flatnonzero(groups == one), n) for one, n in enumerate(counts)])
        there = np.unique(kinds[drawn])
        recalls = [[right[drawn][kinds[drawn] == kind].mean() for kind in there] for right in (first, second)]
        gains.append(np.mean(recalls[0]) - np.mean(recalls[1]))
    assert (found.interval.low, found.interval.high) == pytest.approx(tuple(np.quantile(gains, [0.025, 0.975])))
    assert found.first == pytest.approx(np.mean([first[kinds == kind].mean() for kind in range(3)]))
    assert found.difference == pytest.approx(found.first - found.second)


def _verdict(right: np.ndarray, before: np.ndarray):
    kinds = np.arange(80) % 2
    shares = []
    for each in (right, before):
        said = np.full((80, 11), 0.01)
        said[np.arange(80), np.where(each, kinds, 1 - kinds)] = 0.9
        shares.append(said)
    cells = KnownCells(np.zeros((80, 1)), np.arange(80), kinds, np.arange(80) // 10)
    return verdict_of(cells, OutOfFold(np.zeros(80, np.int64), *shares, ()), group_name="subjects", seed=0)


def test_one_line_says_what_is_better():
    rng = np.random.default_rng(0)
    good, poor = rng.random(80) < 0.95, rng.random(80) < 0.5
    better = _verdict(good, poor)
    assert better.is_better
    assert better.line.startswith("On your 80 cells of 8 subjects, the refined model names 0.9")
    assert ": better by 0." in better.line
    assert better.line.endswith(", resampling subjects).")
    assert better.area is not None
    assert better.area.refined > better.area.shipped

    same = _verdict(good, good)
    assert not same.is_better
    assert same.line.endswith(
        ": not better beyond chance (gain 0.00, 95 % interval 0.00 to 0.00, resampling subjects)."
        " Keep the shipped model."
    )
    worse = _verdict(poor, good)
    assert ": worse by 0." in worse.line
    assert worse.line.endswith("Keep the shipped model.")


@pytest.mark.parametrize(
    ("kinds", "groups", "reason"),
    [
        (
            np.arange(8) % 2,
            np.arange(8) // 2,
            "cells must be of at least 5 independent images, got 4. Label cells of more",
        ),
        (np.full(8, 2), np.arange(8), "cells must be of at least two kinds, got only lymphocyte. Label"),
    ],
)
def test_too_few_are_refused(kinds: np.ndarray, groups: np.ndarray, reason: str):
    with pytest.raises(SplitError) as caught:
        require_groups(kinds, groups, "images")
    assert reason in str(caught.value)
