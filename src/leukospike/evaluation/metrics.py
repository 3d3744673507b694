"""Metrics of one model with intervals: DeLong's, and those from resampling subjects."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_array

from leukospike.evaluation.estimates import (
    METRICS,
    NO_INTERVAL,
    Confusion,
    Estimate,
    Interval,
    Metrics,
    suffice,
    too_few_words,
)

# scikit-learn and scipy.stats are imported where they are used: they take half a second, and an analysis needs only a
# threshold.

THRESHOLD = 0.5
"""Lowest probability at which a cell is called leukemic, as with the argmax of the original."""

N_BINS = 15
"""Bins of the calibration error and of the reliability diagram, as in Guo et al. 2017."""

N_RESAMPLES = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Reliability:
    """Predicted against observed shares, by bins of probability; NaN in an empty bin."""

    edges: Float[np.ndarray, " edges"]
    counts: Int[np.ndarray, " bins"]
    mean_probability: Float[np.ndarray, " bins"]
    observed: Float[np.ndarray, " bins"]
    """Share of leukemic cells."""


def point_metrics(labels: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, " n"]) -> dict[str, float]:
    """Compute every metric.

    Parameters
    ----------
    labels : ndarray of shape (n,), int
        1 leukemic (the positive class), 0 normal.
    probabilities : ndarray of shape (n,), float, 0 to 1
        Probability of being leukemic.

    Returns
    -------
    dict
        The names of `METRICS`, each a number, or NaN where the metric is not defined: a class that it needs is absent,
        or, for the precision, nothing was called leukemic.
    """
    from sklearn import metrics

    decisions = (probabilities >= THRESHOLD).astype(np.int64)
    both = len(np.unique(labels)) == 2
    nan = float("nan")
    leukemic, normal = bool((labels == 1).any()), bool((labels == 0).any())
    return {
        "accuracy": float(metrics.accuracy_score(labels, decisions)),
        "misclassification": float(metrics.zero_one_loss(labels, decisions)),
        "balanced_accuracy": float(metrics.balanced_accuracy_score(labels, decisions)) if both else nan,
        "sensitivity": float(metrics.recall_score(labels, decisions, pos_label=1)) if leukemic else nan,
        "specificity": float(metrics.recall_score(labels, decisions, pos_label=0)) if normal else nan,
        "precision": float(metrics.precision_score(labels, decisions)) if decisions.any() else nan,
        "f1": float(metrics.f1_score(labels, decisions)) if leukemic else nan,
        "weighted_f1": float(metrics.f1_score(labels, decisions, average="weighted", zero_division=0)),  # pyright: ignore[reportArgumentType]
        "roc_auc": float(metrics.roc_auc_score(labels, probabilities)) if both else nan,
        "brier": float(metrics.brier_score_loss(labels, probabilities, pos_label=1)),
        "ece": calibration_error(labels, probabilities),
    }


def calibration_error(labels: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, " n"]) -> float:
    """Compute the expected calibration error of the probability of being leukemic, 0 to 1, from `reliability`'s bins.

    Unlike torchmetrics, which puts probabilities of exactly 1 into a separate bin.
    """
    bins = reliability(labels, probabilities)
    return float(np.nansum(bins.counts * np.abs(bins.observed - bins.mean_probability)) / len(labels))


def delong_interval(labels: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, " n"]) -> Interval:
    r"""Compute DeLong's 95 % interval of the area under the ROC curve.

    The variance of the area from its structural components, by mid-ranks [2]_; normal approximation, cut at 0 and 1. It
    treats cells as independent, which those of one subject are not: it is reported in addition to the interval from
    resampling subjects.

    Parameters
    ----------
    labels : ndarray of shape (n,), int, 0 or 1
    probabilities : ndarray of shape (n,), float

    Returns
    -------
    Interval
        NaN if a class has fewer than two members.

    References
    ----------
    .. [1] DeLong, DeLong, Clarke-Pearson, Biometrics 44(3):837-845, 1988, doi 10.2307/2531595.
    .. [2] Sun, Xu, IEEE Signal Processing Letters 21(11):1389-1393, 2014, doi 10.1109/LSP.2014.2337313.
    """
    from scipy.stats import norm

    if min(np.sum(labels == 1), np.sum(labels == 0)) < 2:
        return NO_INTERVAL
    above, below = auc_components(labels, probabilities)
    area = float(above.mean())
    error = float(np.sqrt(above.var(ddof=1) / len(above) + below.var(ddof=1) / len(below)))
    reach = float(norm.ppf(0.5 + CONFIDENCE / 2)) * error
    return Interval(max(area - reach, 0.0), min(area + reach, 1.0))


def auc_components(
    labels: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " k"]]:
    """Compute the structural components of the area under the ROC curve, by mid-ranks as in Sun and Xu 2014.

    Parameters
    ----------
    labels : ndarray of shape (n,), int, 0 or 1
        At least one of each.
    probabilities : ndarray of shape (n,), float

    Returns
    -------
    above : ndarray of shape (m,), float, 0 to 1
        Of each of the m leukemic cells, in their order: the share of normal cells that it is ranked above, equals
        counting half. The mean is the area.
    below : ndarray of shape (k,), float, 0 to 1
        Of each of the k normal cells: the share of leukemic cells that it is ranked below. The same mean.

    Examples
    --------
    >>> above, below = auc_components(np.array([1, 1, 0, 0]), np.array([0.9, 0.3, 0.3, 0.1]))
    >>> above.tolist(), below.tolist()
    ([1.0, 0.75], [0.75, 1.0])
    """
    from scipy.stats import rankdata

    positive, negative = probabilities[labels == 1], probabilities[labels == 0]
    m, k = len(positive), len(negative)
    joint = rankdata(np.concatenate([positive, negative]))
    return (joint[:m] - rankdata(positive)) / k, 1 - (joint[m:] - rankdata(negative)) / m


def resampled_intervals(
    labels: Int[np.ndarray, " n"],
    probabilities: Float[np.ndarray, " n"],
    groups: np.ndarray,
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Compute each metric's 95 % percentile interval from resampling whole groups (subjects) with replacement.

    Parameters
    ----------
    labels, probabilities : ndarray of shape (n,)
    groups : ndarray of shape (n,)
        Unit of resampling: the subject of each cell, or the image if there are no subjects.
    n_resamples, seed : int

    Returns
    -------
    dict of Interval
        The names of `METRICS`. Draws in which a metric is not defined are left out of its interval.
    """
    weights = drawn_weights(groups, n_resamples, seed)
    draws = weighted_metrics(labels, probabilities, groups, weights)
    return {name: percentiles(draws[name]) for name in METRICS}


def metrics_of(
    labels: Int[np.ndarray, " n"],
    probabilities: Float[np.ndarray, " n"],
    groups: np.ndarray,
    *,
    group_name: str,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Metrics:
    """Compute every metric with its intervals.

    Parameters
    ----------
    labels, probabilities, groups : ndarray of shape (n,)
        As in `resampled_intervals`.
    group_name : str
        What the groups are, in the plural: "subjects" or "images".
    n_resamples, seed : int

    Returns
    -------
    Metrics
        Without intervals if there are fewer than `FEWEST_SUBJECTS` groups of a class.
    """
    from sklearn import metrics

    values = point_metrics(labels, probabilities)
    counts = metrics.confusion_matrix(labels, probabilities >= THRESHOLD, labels=[0, 1]).ravel()
    n, positives, confusion = len(labels), int(labels.sum()), Confusion(*(int(count) for count in counts))
    if not suffice(labels, groups):
        estimates = {name: Estimate.of(values[name]) for name in METRICS}
        return Metrics(n, positives, estimates, estimates["roc_auc"], confusion, too_few_words(group_name))
    intervals = resampled_intervals(labels, probabilities, groups, n_resamples=n_resamples, seed=seed)
    return Metrics(
        n=n,
        positives=positives,
        estimates={name: Estimate.of(values[name], intervals[name]) for name in METRICS},
        delong=Estimate.of(values["roc_auc"], delong_interval(labels, probabilities)),
        confusion=confusion,
        interval=f"95 %, from resampling {len(np.unique(groups))} {group_name} {n_resamples} times, seed {seed}",
    )


def per_subject(
    labels: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, " n"], subjects: np.ndarray
) -> tuple[Int[np.ndarray, " s"], Float[np.ndarray, " s"], np.ndarray]:
    """Return each subject's label, mean probability and name.

    A subject is leukemic if any of its cells is labelled so: blasts are found in leukemia only.
    """
    names, member = np.unique(subjects, return_inverse=True)
    counts = np.bincount(member)
    means = np.bincount(member, weights=probabilities) / counts
    truth = (np.bincount(member, weights=labels) > 0).astype(np.int64)
    return truth, means, names


def as_published(labels: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, " n"]) -> dict[str, float | None]:
    """Compute precision and area under the curve by the published, wrong formulas, to be shown as wrong.

    The original computed its precision as TN / (TN + FP), which is the specificity, and its area from decisions in
    place of probabilities.
    """
    from sklearn import metrics

    decisions = (probabilities >= THRESHOLD).astype(np.int64)
    both = len(np.unique(labels)) == 2
    specificity = point_metrics(labels, probabilities)["specificity"]
    area = float(metrics.roc_auc_score(labels, decisions)) if both else float("nan")
    return {"precision": Estimate.of(specificity).value, "auc": Estimate.of(area).value}


def reliability(
    labels: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, " n"], n_bins: int = N_BINS
) -> Reliability:
    """Compare mean probability and share of leukemic cells in bins of equal width."""
    edges = np.linspace(0, 1, n_bins + 1)
    place = _bin_of(probabilities, n_bins)
    counts = np.bincount(place, minlength=n_bins)
    per_cell = np.where(counts > 0, counts, np.nan)
    return Reliability(
        edges=edges,
        counts=counts.astype(np.int64),
        mean_probability=np.bincount(place, weights=probabilities, minlength=n_bins) / per_cell,
        observed=np.bincount(place, weights=labels, minlength=n_bins) / per_cell,
    )


def _bin_of(probabilities: np.ndarray, n_bins: int) -> np.ndarray:
    """Return each probability's bin of equal width; a border belongs to the bin below it, as in Guo et al. 2017."""
    return np.clip(np.ceil(probabilities * n_bins).astype(np.int64) - 1, 0, n_bins - 1)


def drawn_weights(groups: np.ndarray, n_resamples: int, seed: int) -> Int[np.ndarray, "resamples groups"]:
    """Draw as many groups as there are, with replacement.

    Parameters
    ----------
    groups : ndarray of shape (n,)
        The group of each cell.
    n_resamples, seed : int

    Returns
    -------
    ndarray of shape (resamples, groups), int
        Count of each group in each resample; groups in the order of `numpy.unique`.
    """
    n_groups = len(np.unique(groups))
    return np.random.default_rng(seed).multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n_resamples)


def weighted_metrics(
    labels: np.ndarray, probabilities: np.ndarray, groups: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Compute every metric for every resample at once.

    Each metric except the area consists of sums over cells, hence of sums over groups: one matrix product gives them
    for all resamples. The tests compare this with `point_metrics` on the resampled cells.

    Parameters
    ----------
    labels, probabilities, groups : ndarray of shape (n,)
        As in `resampled_intervals`.
    weights : ndarray of shape (resamples, groups), int
        From `drawn_weights`.

    Returns
    -------
    dict of ndarray of shape (resamples,)
        The names of `METRICS`; NaN where a metric is not defined.
    """
    names, member = np.unique(groups, return_inverse=True)
    called = probabilities >= THRESHOLD
    truth = labels == 1
    place = _bin_of(probabilities, N_BINS)

    def sums(values: np.ndarray) -> np.ndarray:
        """Sum one value per cell over the cells of each resample."""
        return weights @ np.bincount(member, weights=values.astype(np.float64), minlength=len(names))

    tp, fp, fn, tn = (sums(cells) for cells in (truth & called, ~truth & called, truth & ~called, ~truth & ~called))
    n = tp + fp + fn + tn
    with np.errstate(divide="ignore", invalid="ignore"):
        sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
        f1 = 2 * tp / (2 * tp + fp + fn)
        f1_normal = 2 * tn / (2 * tn + fp + fn)
        weighted_f1 = (np.nan_to_num(f1) * (tp + fn) + np.nan_to_num(f1_normal) * (tn + fp)) / n
        gaps = [np.abs(sums((truth - probabilities) * (place == index))) for index in range(N_BINS)]
        return {
            "accuracy": (tp + tn) / n,
            "misclassification": (fp + fn) / n,
            "balanced_accuracy": (sensitivity + specificity) / 2,
            "sensitivity": sensitivity,
            "specificity": specificity,
            "precision": tp / (tp + fp),
            "f1": np.where(tp + fn > 0, f1, np.nan),
            "weighted_f1": weighted_f1,
            "roc_auc": _weighted_areas(truth, probabilities, member, weights),
            "brier": sums((truth - probabilities) ** 2) / n,
            "ece": np.sum(gaps, axis=0) / n,
        }


def _weighted_areas(
    truth: np.ndarray, probabilities: np.ndarray, member: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Compute the area under the ROC curve of every resample: share of correctly ordered pairs, ties counting half."""
    levels, level = np.unique(probabilities, return_inverse=True)
    shape = (weights.shape[1], len(levels))
    areas: list[np.ndarray] = []
    tables = [coo_array((cells.astype(np.float64), (member, level)), shape=shape).tocsr() for cells in (truth, ~truth)]
    # In parts: all resamples of 20,000 cells at once would take gigabytes.
    for part in np.array_split(weights, max(1, weights.shape[0] * len(levels) // 2_000_000)):
        positive, negative = (part @ table for table in tables)
        lower = np.cumsum(negative, axis=1) - negative / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            areas.append((positive * lower).sum(axis=1) / (positive.sum(axis=1) * negative.sum(axis=1)))
    return np.concatenate(areas)


def percentiles(values: np.ndarray) -> Interval:
    """Return the middle 95 % of the values that are defined; NaN if none is."""
    defined = values[np.isfinite(values)]
    if len(defined) == 0:
        return NO_INTERVAL
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Interval(float(low), float(high))
