"""Sets of kinds: thresholds that can be counted off by hand, and what is refused."""

import numpy as np
import pytest

from leukospike.confidence.kind_sets import FEWEST, KindThresholds, fit_kind_thresholds
from leukospike.errors import ConfigError, DataError, WeightsError


def _of_one_kind(own: np.ndarray, kind: int = 0) -> np.ndarray:
    """Return probabilities of two kinds, of cells of one of them."""
    other = 1 - own
    return np.stack([own, other] if kind == 0 else [other, own], axis=1)


def _fit(own: np.ndarray, groups: list[str] | None = None, *, alpha: float = 0.1) -> float:
    """Fit on cells of the first of two kinds, and return its threshold."""
    shuffled = np.random.default_rng(0).permutation(len(own))
    names = np.array(groups or ["a"] * len(own))
    zeros = np.zeros(len(own), np.int64)
    return fit_kind_thresholds(_of_one_kind(own)[shuffled], zeros, names[shuffled], alpha=alpha).least[0]


def test_threshold_is_what_all_but_a_share_reach():
    # Of 19 cells and a new one in 20 places, two may lie below.
    own = np.arange(1, 20) / 20
    assert _fit(own) == own[1]
    assert _fit(own, alpha=0.5) == own[9]


def test_threshold_misses_a_new_cell_as_often_as_was_chosen():
    rng = np.random.default_rng(0)
    missed = [np.mean(rng.random(200) < _fit(rng.random(24), alpha=0.2)) for _ in range(500)]
    assert np.mean(missed) == pytest.approx(0.2, abs=0.012)


def test_lowest_of_the_laboratories_thresholds_is_taken():
    first, second = np.linspace(0.5, 0.9, 19), np.linspace(0.3, 0.95, 19)
    assert _fit(np.concatenate([first, second]), ["a"] * 19 + ["b"] * 19) == _fit(second) == second[1]


def test_few_cells_of_a_kind_tell_nothing():
    own = np.linspace(0.5, 0.9, FEWEST)
    assert _fit(own) == own[0]
    assert _fit(own[1:]) == 0
    # A laboratory with few beside one with many is left out.
    assert _fit(np.append(own, 0.01), ["a"] * FEWEST + ["b"]) == own[0]


def test_fewer_cells_than_an_error_rate_needs_leave_the_kind_in():
    assert _fit(np.linspace(0.5, 0.9, 18), alpha=0.05) == 0
    assert _fit(np.linspace(0.5, 0.9, 19), alpha=0.05) == 0.5


def test_each_kind_has_its_own_threshold_by_its_own_cells():
    first, second = np.linspace(0.6, 0.9, 9), np.linspace(0.2, 0.7, 9)
    probabilities = np.concatenate([_of_one_kind(first), _of_one_kind(second, 1)])
    thresholds = fit_kind_thresholds(
        np.hstack([probabilities, np.zeros((18, 1))]), np.repeat([0, 1], 9), np.full(18, "a"), alpha=0.1
    )
    assert thresholds == KindThresholds(0.1, (0.6, 0.2, 0.0))


def test_sets_hold_what_reaches_its_threshold_and_the_likeliest():
    thresholds = KindThresholds(0.1, (0.5, 0.2, 0.0))
    found = thresholds.sets(np.array([[0.5, 0.2, 0.3], [0.49, 0.19, 0.32], [0.1, 0.1, 0.8]]))
    assert found.tolist() == [[True, True, True], [True, False, True], [False, False, True]]
    assert thresholds.sets(np.zeros((0, 3))).shape == (0, 3)


def test_wrong_arguments_are_refused():
    kinds, groups, probabilities = np.zeros(9, np.int64), np.full(9, "a"), np.full((9, 2), 0.5)
    for alpha in (0, 1, float("nan")):
        with pytest.raises(ConfigError, match="fit_kind_thresholds: alpha must be between 0 and 1, got"):
            fit_kind_thresholds(probabilities, kinds, groups, alpha=alpha)
    with pytest.raises(
        DataError, match="fit_kind_thresholds: kinds, groups and probabilities must have the same length"
    ):
        fit_kind_thresholds(probabilities, kinds, groups[1:], alpha=0.1)


def test_stored_numbers_come_back():
    thresholds = KindThresholds(0.1, (0.5, 0.0, 1.0))
    assert KindThresholds.from_stored(thresholds.stored(), n_kinds=3) == thresholds


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"least": None}, "least must be a list of 3 numbers"),
        ({"least": [0.1, 0.2]}, "least must be a list of 3 numbers"),
        ({"least": [0.1, 0.2, 1.1]}, "2 must be a number from 0 to 1"),
        ({"least": [0.1, "0.2", 0.3]}, "1 must be a number from 0 to 1"),
        ({"least": [float("nan"), 0.2, 0.3]}, "0 must be a number from 0 to 1"),
        ({"alpha": -0.1}, "alpha must be a number from 0 to 1"),
        ({"alpha": None}, "alpha must be a number from 0 to 1"),
    ],
)
def test_impossible_numbers_are_refused(change: dict, said: str):
    with pytest.raises(WeightsError, match=f"KindThresholds: {said}"):
        KindThresholds.from_stored({"alpha": 0.1, "least": [0.1, 0.2, 0.3]} | change, n_kinds=3)
