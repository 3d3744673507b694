"""Differential counts: against SciPy's intervals, and the limits that laboratories use."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from leukospike.confidence import Differential, differential
from leukospike.errors import ConfigError, DataError

ORDER = ("neutrophil", "lymphocyte", "monocyte")


def _counted(count: int, n: int) -> Differential:
    return differential(["lymphocyte"] * count + ["neutrophil"] * (n - count), order=ORDER)


@pytest.mark.parametrize(("count", "n"), [(0, 1), (1, 1), (0, 100), (3, 7), (10, 100), (57, 100), (200, 200)])
def test_intervals_are_scipys(count, n):
    found = _counted(count, n)["lymphocyte"]
    expected = binomtest(count, n).proportion_ci(method="wilson")
    assert (found.interval.low, found.interval.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert found.share == count / n
    assert found.percentage == pytest.approx(100 * count / n)


RUEMKE = {0: (0, 4), 1: (0, 6), 2: (0, 8), 5: (1, 12), 10: (4, 18), 20: (12, 30), 50: (39, 61)}
"""Limits in percent for cells of a kind among 100, as published: exact ones, rounded outwards."""


@pytest.mark.parametrize(("count", "limits"), RUEMKE.items())
def test_limits_for_100_cells_lie_within_the_published_ones(count, limits):
    exact = binomtest(count, 100).proportion_ci(method="exact")
    assert (np.floor(100 * exact.low), np.ceil(100 * exact.high)) == limits
    interval = _counted(count, 100)["lymphocyte"].interval
    # 0 of 100: Wilson's upper limit is 3.7 %, the exact one 3.6 %.
    assert limits[0] <= 100 * interval.low
    assert 100 * interval.high <= limits[1]
    assert (interval.low, interval.high) == pytest.approx((exact.low, exact.high), abs=0.01)


def test_intervals_hold_the_true_share_as_often_as_they_say_on_average():
    n, counts = 100, np.arange(101)
    ends = [_counted(count, n)["lymphocyte"].interval for count in counts.tolist()]
    low, high = np.array([(end.low, end.high) for end in ends]).T
    held = np.array(
        [
            binom.pmf(counts, n, share)[(low <= share) & (share <= high)].sum()
            for share in np.linspace(0.005, 0.995, 397)
        ]
    )
    assert held.mean() == pytest.approx(0.95, abs=0.005)
    assert held.min() > 0.9


def test_kinds_are_in_the_order_asked_for():
    found = differential(["monocyte", "neutrophil", "monocyte"], order=ORDER, target=3)
    assert [(one.kind, one.count) for one in found.kinds] == [("neutrophil", 1), ("lymphocyte", 0), ("monocyte", 2)]
    assert found.is_complete
    assert (found.n_counted, found.target) == (3, 3)
    with pytest.raises(KeyError):
        found["basophil"]


def test_too_few_cells_are_not_complete():
    assert not _counted(10, 99).is_complete
    assert _counted(10, 100).is_complete


def test_shares_of_nothing_are_unknown():
    found = differential([], order=ORDER)
    assert (found.n_counted, found.is_complete) == (0, False)
    for one in found.kinds:
        assert one.count == 0
        assert np.isnan([one.share, one.percentage, one.interval.low, one.interval.high]).all()


@given(kinds=st.lists(st.sampled_from(ORDER), min_size=1, max_size=60))
def test_shares_sum_to_1_and_lie_in_their_intervals(kinds):
    found = differential(kinds, order=ORDER)
    assert sum(one.count for one in found.kinds) == found.n_counted == len(kinds)
    assert sum(one.share for one in found.kinds) == pytest.approx(1)
    for one in found.kinds:
        assert 0 <= one.interval.low <= one.share <= one.interval.high <= 1


def test_a_kind_that_is_not_in_the_order_is_refused():
    with pytest.raises(DataError, match=r"kinds must be among neutrophil, lymphocyte, monocyte, got platelet\. Leave"):
        differential(["platelet", "monocyte"], order=ORDER)


@pytest.mark.parametrize("order", [(), ("monocyte", "monocyte")])
def test_an_impossible_order_is_refused(order):
    with pytest.raises(ConfigError, match="differential: order must name each kind once, got"):
        differential([], order=order)


@pytest.mark.parametrize("target", [0, -5])
def test_an_impossible_target_is_refused(target):
    with pytest.raises(ConfigError, match="differential: target must be a whole number, at least 1, got"):
        differential([], order=ORDER, target=target)
