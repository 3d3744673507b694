"""Cross-validation by subject: the refined classifier and the shipped one on the same cells, none seen by either fit.

The whole procedure is repeated in each fold: the strength of the prior, the decision and the calibration are chosen and
fitted on the other subjects alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from leukospike.classification.classifier import Confidence, called_kinds
from leukospike.classification.kind_refinement import (
    FEWEST_GROUPS,
    Decision,
    KnownCells,
    kind_folds,
    recalibrated,
    refine_nested,
    shares_of,
)
from leukospike.classification.kinds import KINDS, CellKind
from leukospike.errors import SplitError
from leukospike.evaluation.estimates import FEWEST_SUBJECTS, Estimate
from leukospike.evaluation.metrics import point_metrics
from leukospike.evaluation.paired import metric_differences
from leukospike.evaluation.recalls import PairedRecalls, paired_recalls
from leukospike.jobs import Progress, silent
from leukospike.plurals import number_of

_BLAST = CellKind.LYMPHOBLAST.place


@dataclass(frozen=True)
class OutOfFold:
    """What both classifiers say of each cell; the refined one has not seen its subject."""

    fold: Int64[np.ndarray, " n"]
    refined: Float[np.ndarray, "n kinds"]
    shipped: Float[np.ndarray, "n kinds"]
    strengths: tuple[float, ...]
    """Of the prior, in each fold."""


@dataclass(frozen=True)
class AreaGain:
    """Areas under the ROC curve of lymphoblasts."""

    refined: float
    shipped: float
    gain: Estimate
    """With the interval from resampling subjects."""


@dataclass(frozen=True)
class Verdict:
    """Whether the refined classifier is better on these cells."""

    n_cells: int
    n_groups: int
    group_name: str
    """What the groups are, in the plural: "subjects" or "images"."""
    recalls: PairedRecalls
    """The refined classifier first."""
    area: AreaGain | None
    """None without lymphoblasts, or with nothing else."""
    by_kind: Mapping[CellKind, tuple[int, int, float, float]]
    """Cells, groups, and the shares that the refined and the shipped classifier name right."""

    @property
    def is_better(self) -> bool:
        """Whether it names more of the kinds right, beyond chance."""
        return self.recalls.first_is_better

    @property
    def line(self) -> str:
        """All in one line."""
        recalls, low, high = self.recalls, self.recalls.interval.low, self.recalls.interval.high
        start = (
            f"On your {number_of(self.n_cells, 'cell')} of {self.n_groups} {self.group_name}, the refined model names"
            f" {recalls.first:.2f} of the kinds right (mean over kinds), the shipped one {recalls.second:.2f}"
        )
        interval = f"95 % interval {low:.2f} to {high:.2f}, resampling {self.group_name}"
        if self.is_better:
            return f"{start}: better by {recalls.difference:.2f} ({interval})."
        if high < 0:
            return f"{start}: worse by {-recalls.difference:.2f} ({interval} of the gain). Keep the shipped model."
        return f"{start}: not better beyond chance (gain {recalls.difference:.2f}, {interval}). Keep the shipped model."


def require_groups(kinds: Int64[np.ndarray, " n"], groups: np.ndarray, group_name: str) -> None:
    """Refuse cells by which nothing can be concluded.

    Raises
    ------
    SplitError
        If they are of too few groups, or of one kind.
    """
    where, n_groups = "cross_validate", len(np.unique(groups))
    fewest = max(FEWEST_SUBJECTS, FEWEST_GROUPS)
    if n_groups < fewest:
        rule = f"cells must be of at least {fewest} independent {group_name}"
        advice = f"Label cells of more {group_name}: with fewer, whether a model is better cannot be told."
        raise SplitError(rule, where=where, got=n_groups, advice=advice)
    present = np.unique(kinds)
    if len(present) < 2:
        rule, got = "cells must be of at least two kinds", f"only {KINDS[present[0]]}"
        raise SplitError(rule, where=where, got=got, advice="Label cells of another kind.")


def cross_validate(
    cells: KnownCells,
    second: Float[np.ndarray, " n"],
    shipped: Decision,
    confidence: Confidence,
    *,
    n_folds: int,
    seed: int,
    progress: Progress = silent,
) -> OutOfFold:
    """Refine without each fold in turn, and judge its cells.

    Parameters
    ----------
    cells : KnownCells
        Of at least three groups.
    second : ndarray of shape (n,)
        Second opinions, as in `kind_refinement.shares_of`.
    shipped : Decision
    confidence : Confidence
        That of the shipped classifier.
    n_folds : int
        Folds at most; fewer if there are fewer groups.
    seed : int
    progress : Progress

    Returns
    -------
    OutOfFold
    """
    n = len(cells.kinds)
    fold, refined = np.empty(n, np.int64), np.empty((n, len(KINDS)))
    strengths: list[float] = []
    held = kind_folds(cells.kinds, cells.groups, n_folds=min(n_folds, len(np.unique(cells.groups))), seed=seed)
    for number, part in enumerate(held):
        rest = np.delete(np.arange(n), part)
        found = refine_nested(shipped, cells, rest, n_folds=n_folds, seed=seed)
        own = recalibrated(confidence, cells, rest, found, second).confidence
        refined[part] = shares_of(own, found.decision.logits(cells.as_they_are[part]), second[part])
        fold[part] = number
        strengths.append(found.strength)
        progress("cross-validate", number + 1, len(held))
    before = shares_of(confidence, shipped.logits(cells.as_they_are), second)
    return OutOfFold(fold, refined, before, tuple(strengths))


def verdict_of(cells: KnownCells, found: OutOfFold, *, group_name: str, seed: int) -> Verdict:
    """Compare the two classifiers, paired by cell, with intervals from resampling groups.

    Parameters
    ----------
    cells : KnownCells
    found : OutOfFold
    group_name : str
        What the groups are, in the plural.
    seed : int

    Returns
    -------
    Verdict
    """
    kinds, groups = cells.kinds, cells.groups
    right, before = (called_kinds(shares) == kinds for shares in (found.refined, found.shipped))
    labels = (kinds == _BLAST).astype(np.int64)
    area = None
    if len(np.unique(labels)) == 2:
        judged = [(labels, shares[:, _BLAST], groups) for shares in (found.refined, found.shipped)]
        gain, interval = metric_differences(judged[0], judged[1], names=["roc_auc"], seed=seed)["roc_auc"]
        areas = [point_metrics(labels, shares)["roc_auc"] for _, shares, _ in judged]
        area = AreaGain(areas[0], areas[1], Estimate.of(gain, interval))
    by_kind = {
        KINDS[kind]: (
            int(np.count_nonzero(kinds == kind)),
            len(np.unique(groups[kinds == kind])),
            float(right[kinds == kind].mean()),
            float(before[kinds == kind].mean()),
        )
        for kind in np.unique(kinds).tolist()
    }
    return Verdict(
        n_cells=len(kinds),
        n_groups=len(np.unique(groups)),
        group_name=group_name,
        recalls=paired_recalls(kinds, right, before, groups, seed=seed),
        area=area,
        by_kind=by_kind,
    )
