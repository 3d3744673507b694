"""Two models on the same cells: differences in metrics, and tests against chance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import binomtest, norm

from leukospike.errors import DataError
from leukospike.evaluation.estimates import NO_INTERVAL, Interval
from leukospike.evaluation.metrics import (
    CONFIDENCE,
    N_RESAMPLES,
    THRESHOLD,
    auc_components,
    drawn_weights,
    percentiles,
    point_metrics,
    weighted_metrics,
)

Judged = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Labels, probabilities and groups of one run's predictions."""


@dataclass(frozen=True)
class DelongTest:
    """Two correlated areas under the ROC curve; NaN if they cannot be compared."""

    areas: tuple[float, float]
    difference: float
    """First minus second."""
    interval: Interval
    """95 %, of the difference."""
    z: float
    p: float
    """Two-sided: probability of a difference at least as large by chance."""


@dataclass(frozen=True)
class McnemarTest:
    """Counts of cells on which only one of two models was correct."""

    only_first: int
    only_second: int
    p: float
    """Two-sided, exact."""


def metric_differences(
    first: Judged, second: Judged, *, names: Sequence[str], n_resamples: int = N_RESAMPLES, seed: int = 0
) -> dict[str, tuple[float, Interval]]:
    """Compute differences in metrics between two runs, with 95 % percentile intervals.

    Whole groups (subjects) are resampled with replacement, in the same way for both runs: subjects that are easy or
    hard for both do not widen the interval of the difference.

    Parameters
    ----------
    first, second : tuple of (labels, probabilities, groups)
        Arrays of shape (n,), n of each run's own; the same groups in both.
    names : sequence of str
        Of `METRICS`.
    n_resamples, seed : int

    Returns
    -------
    dict of (float, Interval)
        First minus second. Draws in which a metric is not defined are left out of its interval.

    Raises
    ------
    DataError
        If the groups differ.
    """
    if set(np.unique(first[2])) != set(np.unique(second[2])):
        rule = "both runs must have scored the same groups"
        raise DataError(rule, where="metric_differences", got="others", advice="Compare runs on the same data.")
    weights = drawn_weights(first[2], n_resamples, seed)
    values, other_values = (point_metrics(labels, probabilities) for labels, probabilities, _ in (first, second))
    draws, other_draws = (weighted_metrics(*judged, weights) for judged in (first, second))
    return {name: (values[name] - other_values[name], percentiles(draws[name] - other_draws[name])) for name in names}


def delong_test(
    labels: Int[np.ndarray, " n"], first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"]
) -> DelongTest:
    r"""Test whether two areas under the ROC curve, of the same cells, differ.

    The areas are means of structural components, one for each cell; the variance of their difference is that of the
    differences of components, :math:`s_{10}^2 / m + s_{01}^2 / n`, which is the contrast of DeLong's covariance
    matrix [1]_. Mid-ranks give the components in the time of a sort [2]_. Normal approximation.

    It treats cells as independent. Those of one subject are not, so p is too small for cells; for subjects it is as
    good as the normal approximation for such small numbers.

    Parameters
    ----------
    labels : ndarray of shape (n,), int, 0 or 1
    first, second : ndarray of shape (n,), float
        Probabilities of each model for the same cells.

    Returns
    -------
    DelongTest
        All NaN if a class has fewer than two members. Where the difference does not vary, `z` is NaN, and `p` is 1 if
        it is 0, else NaN.

    References
    ----------
    .. [1] DeLong, DeLong, Clarke-Pearson, Biometrics 44(3):837-845, 1988, doi 10.2307/2531595, equations 4 to 8.
    .. [2] Sun, Xu, IEEE Signal Processing Letters 21(11):1389-1393, 2014, doi 10.1109/LSP.2014.2337313.

    Examples
    --------
    >>> labels = np.array([1, 1, 1, 0, 0, 0])
    >>> test = delong_test(labels, np.array([0.9, 0.8, 0.3, 0.4, 0.2, 0.1]), np.array([0.6, 0.2, 0.9, 0.5, 0.3, 0.1]))
    >>> round(test.difference, 3), round(test.p, 3)
    (0.111, 0.724)
    """
    nan = float("nan")
    if min(np.sum(labels == 1), np.sum(labels == 0)) < 2:
        return DelongTest((nan, nan), nan, NO_INTERVAL, nan, nan)
    (above, below), (other_above, other_below) = (auc_components(labels, given) for given in (first, second))
    areas = float(above.mean()), float(other_above.mean())
    gain, loss = above - other_above, below - other_below
    difference = float(gain.mean())
    error = float(np.sqrt(gain.var(ddof=1) / len(gain) + loss.var(ddof=1) / len(loss)))
    if error < 1e-12:  # nothing but rounding
        same = abs(difference) < 1e-12
        return DelongTest(areas, difference, Interval(difference, difference), nan, 1.0 if same else nan)
    z = difference / error
    reach = float(norm.ppf(0.5 + CONFIDENCE / 2)) * error
    interval = Interval(difference - reach, difference + reach)
    return DelongTest(areas, difference, interval, z, 2 * float(norm.sf(abs(z))))


def mcnemar_test(
    labels: Int[np.ndarray, " n"], first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"]
) -> McnemarTest:
    """Test whether two models are correct equally often, on the same cells.

    Only cells that exactly one model classifies correctly are informative; if the models are equally good, each of
    these falls to either model with probability 1/2 (exact binomial test). Like `delong_test`, it treats cells as
    independent.

    Parameters
    ----------
    labels : ndarray of shape (n,), int, 0 or 1
    first, second : ndarray of shape (n,), float
        Probabilities of each model for the same cells; at `THRESHOLD` or above a cell is called leukemic.

    Returns
    -------
    McnemarTest
        With `p` 1 if they never differ.

    References
    ----------
    .. [1] McNemar, Psychometrika 12(2):153-157, 1947, doi 10.1007/BF02295996.

    Examples
    --------
    >>> mcnemar_test(np.array([1, 1, 0, 0]), np.array([0.9, 0.8, 0.1, 0.2]), np.array([0.9, 0.3, 0.6, 0.7]))
    McnemarTest(only_first=3, only_second=0, p=0.25)
    """
    right, other_right = ((given >= THRESHOLD) == (labels == 1) for given in (first, second))
    only_first, only_second = int(np.sum(right & ~other_right)), int(np.sum(~right & other_right))
    n = only_first + only_second
    return McnemarTest(only_first, only_second, float(binomtest(only_first, n).pvalue) if n else 1.0)
