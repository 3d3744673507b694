"""Comparison of two runs' predictions of the same cells: metrics side by side, differences, and tests."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from leukospike.comparison.pairs import Pairs, pair_runs
from leukospike.evaluation.estimates import (
    FEW_SUBJECTS,
    FEWEST_SUBJECTS,
    METRICS,
    NO_INTERVAL,
    Estimate,
    Metrics,
    groups_per_class,
    suffice,
    too_few_words,
)
from leukospike.evaluation.metrics import N_RESAMPLES, metrics_of, per_subject
from leukospike.evaluation.paired import DelongTest, McnemarTest, delong_test, mcnemar_test, metric_differences
from leukospike.notices import Notice, Severity
from leukospike.plurals import number_of

SEED = 0


@dataclass(frozen=True)
class Level:
    """Comparison by cell, or by subject. "A" is the first run, "B" the second; differences are B minus A."""

    unit: str
    """cell, subject"""
    names: np.ndarray
    """(n,) str: of the cells' images, or of the subjects."""
    labels: Int64[np.ndarray, " n"]
    probabilities: tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]
    metrics: tuple[Metrics, Metrics]
    """Of each run."""
    differences: Mapping[str, Estimate]
    """By metric, with the 95 % interval from resampling subjects (or images), in the same way for both runs."""
    delong: DelongTest
    mcnemar: McnemarTest
    """`only_first` counts what only B classifies correctly."""
    suffices: bool
    """Whether there are enough subjects (or images) of each class; if not, there are no intervals or p values, and
    neither run is called better."""

    @property
    def delong_difference(self) -> Estimate:
        """Difference of the areas under the ROC curve, with DeLong's interval."""
        return Estimate.of(self.delong.difference, self.delong.interval if self.suffices else NO_INTERVAL)

    @property
    def delong_p(self) -> float | None:
        """Return the p value of DeLong's test; None if unknown."""
        return Estimate.of(self.delong.p).value if self.suffices else None

    @property
    def mcnemar_p(self) -> float | None:
        """Return the p value of McNemar's test; None if unknown."""
        return self.mcnemar.p if self.suffices else None


@dataclass(frozen=True)
class Comparison:
    """Comparison of two runs."""

    pairs: Pairs
    cell: Level
    subject: Level | None
    """None if neither run knows the subjects."""
    interval: str
    """How the intervals of differences were computed, or why they are unknown."""
    warnings: tuple[Notice, ...]
    """Reasons why the comparison may mislead."""
    settings: dict[str, tuple[object, object]]
    """Settings that differ; None where a run lacks the setting."""

    @property
    def levels(self) -> tuple[Level, ...]:
        """By cell and, where there are subjects, by subject."""
        return (self.cell,) if self.subject is None else (self.cell, self.subject)


def compare_runs(first: Path, second: Path) -> Comparison:
    """Compare the predictions of two runs for the cells that both tested.

    Parameters
    ----------
    first, second : Path
        Folders of finished runs, "A" and "B".

    Returns
    -------
    Comparison

    Raises
    ------
    RunError
        As of `pairs.pair_runs`.
    """
    pairs = pair_runs(first, second)
    cell = _level("cell", pairs.images, pairs.labels, pairs.probabilities, pairs.groups, pairs.group_name)
    subject = None
    if pairs.has_subjects:
        labels, means, names = per_subject(pairs.labels, pairs.probabilities[0], pairs.groups)
        _, other_means, _ = per_subject(pairs.labels, pairs.probabilities[1], pairs.groups)
        subject = _level("subject", names, labels, (means, other_means), names, "subjects")
    n_groups = len(np.unique(pairs.groups))
    return Comparison(
        pairs=pairs,
        cell=cell,
        subject=subject,
        interval=f"95 %, from resampling {number_of(n_groups, pairs.group_name[:-1])} {N_RESAMPLES} times, in the"
        f" same way for both runs, seed {SEED}"
        if cell.suffices
        else too_few_words(pairs.group_name),
        warnings=tuple(_warnings(pairs, subject)),
        settings=_differing_settings(pairs),
    )


def _level(
    unit: str,
    names: np.ndarray,
    labels: np.ndarray,
    probabilities: tuple[np.ndarray, np.ndarray],
    groups: np.ndarray,
    group_name: str,
) -> Level:
    """Compare two lists of probabilities."""
    first, second = probabilities
    suffices = suffice(labels, groups)
    differences = metric_differences((labels, second, groups), (labels, first, groups), names=METRICS, seed=SEED)
    return Level(
        unit=unit,
        names=names,
        labels=labels,
        probabilities=probabilities,
        metrics=(
            metrics_of(labels, first, groups, group_name=group_name, seed=SEED),
            metrics_of(labels, second, groups, group_name=group_name, seed=SEED),
        ),
        differences={
            name: Estimate.of(value, interval if suffices else NO_INTERVAL)
            for name, (value, interval) in differences.items()
        },
        delong=delong_test(labels, second, first),
        mcnemar=mcnemar_test(labels, second, first),
        suffices=suffices,
    )


def _warnings(pairs: Pairs, subject: Level | None) -> Iterator[Notice]:
    """Yield the reasons why the comparison may mislead."""
    first, second = (run.result for run in pairs.runs)
    if first.protocol != second.protocol:
        yield _warning(
            "other_protocols",
            f"The protocols differ: A is “{first.protocol}”, B “{second.protocol}”. The effect of the split cannot be"
            " separated from that of the model.",
        )
    if not first.data.digest or not second.data.digest:
        yield _warning(
            "data_not_known",
            "It is unknown whether both runs used the same data: at least one has no digest of its pixels.",
        )
    elif first.data.digest != second.data.digest:
        yield _warning(
            "other_data",
            "The data differ: the pixel digests of the two runs are not the same. One model may have learned from"
            " more pictures, or from other ones.",
        )
    digests = [run.settings.get("groups.digest") for run in pairs.runs]
    if digests[0] != digests[1] and any(run.settings.get("groups.subjects") for run in pairs.runs):
        whose = "by different groups in A and B" if all(digests) else f"only in {'A' if digests[0] else 'B'}"
        yield _warning(
            "other_groups",
            f"Overlapping subjects are joined by an audit's `groups` {whose}: the runs do not keep the same people"
            " together.",
        )
    if not pairs.same_folds:
        yield _warning(
            "other_folds",
            "The folds differ: the two models that score a cell have learned from different cells and subjects.",
        )
    if any(pairs.alone):
        yield _warning(
            "not_both",
            f"Not all cells were tested by both: {pairs.alone[0]} only by A, {pairs.alone[1]} only by B. They are left"
            " out, so the figures differ from those in the runs' own reports.",
            a=pairs.alone[0],
            b=pairs.alone[1],
        )
    if any(pairs.copies):
        yield _warning(
            "copies",
            f"Augmented copies are left out: {number_of(pairs.copies[0], 'prediction')} of A, {pairs.copies[1]} of B."
            " Only predictions of the images themselves are compared.",
            a=pairs.copies[0],
            b=pairs.copies[1],
        )
    if pairs.renamed:
        yield _warning(
            "renamed_subjects",
            f"The two runs name the subject of {number_of(pairs.renamed, 'cell')} differently. Subjects that share a"
            " cell are treated as one.",
            cells=pairs.renamed,
        )
    if subject is None:
        yield _warning(
            "unknown_subjects",
            "Neither run knows the subjects of the cells: intervals come from resampling images, and are therefore"
            " too narrow.",
        )
    yield from _few_subjects(pairs)


def _few_subjects(pairs: Pairs) -> Iterator[Notice]:
    """Warn of too few subjects, or of too few images if subjects are unknown."""
    fewest = min(groups_per_class(pairs.labels, pairs.groups))
    unit = pairs.group_name[:-1]
    of_one = f"One class has only {number_of(fewest, unit)}"
    if fewest < FEWEST_SUBJECTS:
        yield _warning(
            "too_few_subjects",
            f"{of_one}: with fewer than {FEWEST_SUBJECTS}, there are no intervals or tests, and neither run can be"
            " called better.",
            fewest=fewest,
        )
    elif pairs.has_subjects and fewest < FEW_SUBJECTS:
        yield _warning(
            "few_subjects",
            f"{of_one}: with fewer than {FEW_SUBJECTS}, intervals from resampling are too narrow.",
            fewest=fewest,
        )


def _warning(code: str, text: str, **values: int) -> Notice:
    """Build a notice."""
    return Notice(code, text, Severity.WARNING, values)


def _differing_settings(pairs: Pairs) -> dict[str, tuple[object, object]]:
    """List the settings, data and versions that differ."""
    first, second = (run.settings for run in pairs.runs)
    names = list(dict.fromkeys([*first, *second]))
    return {name: (first.get(name), second.get(name)) for name in names if first.get(name) != second.get(name)}
