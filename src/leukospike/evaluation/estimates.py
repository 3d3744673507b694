"""Estimates with intervals, and when nothing can be concluded from them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Int

METRICS = (
    "accuracy",
    "misclassification",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "precision",
    "f1",
    "weighted_f1",
    "roc_auc",
    "brier",
    "ece",
)

FEW_SUBJECTS = 10
"""With fewer of a class, intervals from resampling subjects are too narrow."""

FEWEST_SUBJECTS = 5
"""With fewer of a class nothing is concluded: there are no intervals or tests. Images count if there are no
subjects."""

_SAME = 1e-9  # ends of an interval that differ by less differ by rounding alone


@dataclass(frozen=True)
class Interval:
    """The two ends of a 95 % interval; NaN if it cannot be computed."""

    low: float
    high: float


NO_INTERVAL = Interval(float("nan"), float("nan"))


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval.

    Attributes
    ----------
    value : float or None
        None if undefined.
    low, high : float or None
        None if the interval is unknown. An interval without width counts as unknown: if every resample gives the same
        figure, there are too few subjects, which does not make the figure certain.

    Examples
    --------
    >>> Estimate.of(0.9, Interval(0.8, 1.0))
    Estimate(value=0.9, low=0.8, high=1.0)
    >>> Estimate.of(1.0, Interval(1.0, 1.0)).is_known
    False
    """

    value: float | None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, value: float, interval: Interval = NO_INTERVAL) -> "Estimate":
        """Build it from numbers that may be NaN."""
        return cls._checked(_plain(value), _plain(interval.low), _plain(interval.high))

    @classmethod
    def _checked(cls, value: float | None, low: float | None, high: float | None) -> "Estimate":
        """Build it, without an uninformative interval."""
        if value is None or low is None or high is None or abs(high - low) < _SAME:
            low = high = None
        return cls(value, low, high)

    @property
    def is_known(self) -> bool:
        """Whether the interval is known."""
        return self.low is not None and self.high is not None

    def excludes(self, value: float) -> bool:
        """Tell whether `value` lies outside the interval; False if the interval is unknown."""
        return self.low is not None and self.high is not None and not self.low <= value <= self.high

    @property
    def complement(self) -> "Estimate":
        """What is left to 1."""
        value, low, high = (None if end is None else 1 - end for end in (self.value, self.high, self.low))
        return Estimate(value, low, high)

    def to_json(self) -> dict[str, float | None]:
        """Return it in terms of JSON."""
        return {"value": self.value, "low": self.low, "high": self.high}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], *, low: str = "low", high: str = "high") -> "Estimate":
        """Read what `to_json` returned, or the same with other names for the ends."""
        return cls._checked(_number(content["value"]), _number(content[low]), _number(content[high]))


@dataclass(frozen=True)
class Confusion:
    """Confusion matrix at the threshold 0.5; leukemic is "positive"."""

    tn: int
    fp: int
    fn: int
    tp: int

    @property
    def wrong(self) -> int:
        """Calls that are wrong."""
        return self.fp + self.fn

    @property
    def called_leukemic(self) -> int:
        """Calls of leukemic."""
        return self.fp + self.tp

    def to_json(self) -> dict[str, int]:
        """Return it in terms of JSON."""
        return {"tn": self.tn, "fp": self.fp, "fn": self.fn, "tp": self.tp}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Confusion":
        """Read what `to_json` returned."""
        return cls(*(int(content[name]) for name in ("tn", "fp", "fn", "tp")))


@dataclass(frozen=True)
class Metrics:
    """Metrics of one set of test predictions.

    Attributes
    ----------
    n, positives : int
        Predictions, and how many of them are leukemic by label.
    estimates : mapping of str to Estimate
        One for each of `METRICS`.
    delong : Estimate
        The area under the ROC curve again, with DeLong's interval.
    confusion : Confusion
    interval : str
        How the intervals were computed, or why they are unknown.
    """

    n: int
    positives: int
    estimates: Mapping[str, Estimate]
    delong: Estimate
    confusion: Confusion
    interval: str

    def __getitem__(self, name: str) -> Estimate:
        """Return one of `METRICS`."""
        return self.estimates[name]

    @property
    def one_class(self) -> bool:
        """Whether all labels are the same, so that discrimination is undefined."""
        return self.positives in {0, self.n}

    @property
    def rarer(self) -> int:
        """Number of predictions of the rarer class."""
        return min(self.positives, self.n - self.positives)

    @property
    def has_intervals(self) -> bool:
        """Whether there are any intervals."""
        return any(estimate.is_known for estimate in self.estimates.values())

    def without_intervals(self, group_name: str) -> "Metrics":
        """Return the metrics without intervals, for too few groups, such as "subjects"."""
        return replace(
            self,
            estimates={name: Estimate(estimate.value) for name, estimate in self.estimates.items()},
            delong=Estimate(self.delong.value),
            interval=too_few_words(group_name),
        )

    def to_json(self) -> dict[str, object]:
        """Return it in terms of JSON, as `metrics.json` holds it."""
        figures: dict[str, dict[str, float | None]] = {name: self.estimates[name].to_json() for name in METRICS}
        figures["roc_auc"] |= {"delong_low": self.delong.low, "delong_high": self.delong.high}
        return {
            "n": self.n,
            "positives": self.positives,
            **figures,
            "confusion": self.confusion.to_json(),
            "interval": self.interval,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Metrics":
        """Read what `to_json` returned; in version 0.1.0, misclassification is derived from accuracy.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it is something else.
        """
        estimates = {name: Estimate.from_json(content[name]) for name in METRICS if name in content}
        if "misclassification" not in estimates:
            estimates["misclassification"] = estimates["accuracy"].complement
        return cls(
            n=int(content["n"]),
            positives=int(content["positives"]),
            estimates={name: estimates[name] for name in METRICS},
            delong=Estimate.from_json(content["roc_auc"], low="delong_low", high="delong_high"),
            confusion=Confusion.from_json(content["confusion"]),
            interval=str(content["interval"]),
        )


def too_few_words(group_name: str) -> str:
    """Explain why intervals are unknown; groups are, for example, "subjects"."""
    return f"unknown, because fewer than {FEWEST_SUBJECTS} {group_name} of a class were tested"


def groups_per_class(labels: Int[np.ndarray, " n"], groups: np.ndarray) -> tuple[int, int]:
    """Count the groups (subjects, or images) of each class; one with any leukemic cell is leukemic.

    Parameters
    ----------
    labels : ndarray of shape (n,), int, 0 or 1
    groups : ndarray of shape (n,)
        The group of each cell.

    Returns
    -------
    normal, leukemic : int

    Examples
    --------
    >>> groups_per_class(np.array([0, 0, 1, 1]), np.array(["A", "B", "C", "C"]))
    (2, 1)
    """
    leukemic = len(np.unique(groups[labels == 1]))
    return len(np.unique(groups)) - leukemic, leukemic


def suffice(labels: Int[np.ndarray, " n"], groups: np.ndarray) -> bool:
    """Tell whether there are enough groups of each class for intervals and tests to mean anything."""
    return min(groups_per_class(labels, groups)) >= FEWEST_SUBJECTS


def _plain(value: float) -> float | None:
    """Replace NaN, which JSON lacks, by None."""
    return float(value) if math.isfinite(value) else None


def _number(value: Any) -> float | None:  # noqa: ANN401 (JSON holds anything)
    """Read a figure; null and NaN both mean that there is none."""
    return None if value is None or math.isnan(value) else float(value)
