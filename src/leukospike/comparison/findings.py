"""What two runs' predictions of the same cells say: figures side by side, differences, and tests."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from leukospike.comparison.pairs import Pairs, pair_runs
from leukospike.evaluation.metrics import FEW_SUBJECTS, METRICS, N_RESAMPLES, metric_table, per_subject
from leukospike.evaluation.paired import DelongTest, McnemarTest, delong_test, mcnemar_test, metric_differences
from leukospike.plurals import number_of
from leukospike.report.inputs import Interval

SEED = 0


@dataclass(frozen=True)
class Level:
    """Two runs compared by cell, or by subject. "A" is the first run, "B" the second; differences are B less A."""

    unit: str
    """cell, subject"""
    names: np.ndarray
    """(n,) str: of the cells' images, or of the subjects."""
    labels: Int64[np.ndarray, " n"]
    probabilities: tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]
    tables: tuple[dict[str, Any], dict[str, Any]]
    """Of each run, as `evaluation.metric_table` gives them."""
    differences: dict[str, Interval]
    """By metric, with the 95 % interval from drawing subjects (or images), the same for both runs."""
    delong: DelongTest
    mcnemar: McnemarTest
    """`only_first` counts what only B calls right."""

    def value(self, run: int, metric: str) -> Interval:
        """Give a run's figure with its interval."""
        entry = self.tables[run][metric]
        return Interval(entry["value"], entry["low"], entry["high"])


@dataclass(frozen=True)
class Comparison:
    """Two runs compared."""

    pairs: Pairs
    cell: Level
    subject: Level | None
    """None where neither run knows the subjects."""
    interval: str
    """How the intervals of differences were made."""
    warnings: tuple[str, ...]
    """Why the comparison may not say what it seems to."""
    settings: dict[str, tuple[object, object]]
    """Those that differ, None where a run has none of that name."""

    @property
    def levels(self) -> tuple[Level, ...]:
        """By cell and, where there are subjects, by subject."""
        return (self.cell,) if self.subject is None else (self.cell, self.subject)


def compare_runs(first: Path, second: Path) -> Comparison:
    """Compare what two runs said of the cells that both have tested.

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
        interval=f"95 %, from resampling {number_of(n_groups, pairs.group_name[:-1])} {N_RESAMPLES} times, the same for"
        f" both runs, seed {SEED}",
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
    differences = metric_differences((labels, second, groups), (labels, first, groups), names=METRICS, seed=SEED)
    return Level(
        unit,
        names,
        labels,
        probabilities,
        (
            metric_table(labels, first, groups, group_name=group_name, seed=SEED),
            metric_table(labels, second, groups, group_name=group_name, seed=SEED),
        ),
        {
            name: Interval(*(None if np.isnan(end) else float(end) for end in (value, span.low, span.high)))
            for name, (value, span) in differences.items()
        },
        delong_test(labels, second, first),
        mcnemar_test(labels, second, first),
    )


def _warnings(pairs: Pairs, subject: Level | None) -> list[str]:
    """Say why the comparison may not say what it seems to."""
    found: list[str] = []
    first, second = pairs.runs
    if first.protocol != second.protocol:
        found.append(
            f"The protocols differ: A is “{first.protocol}”, B “{second.protocol}”. What the split adds cannot be"
            " told from what the model adds."
        )
    if not first.data.digest or not second.data.digest:
        found.append("Whether both runs had the same data is not known: not both have a digest of their pixels.")
    elif first.data.digest != second.data.digest:
        found.append(
            "The data differ: the digests of all images' pixels are not the same. One model may have learned from"
            " more, or from other pictures."
        )
    digests = [run.settings.get("groups.digest") for run in pairs.runs]
    if digests[0] != digests[1] and any(run.settings.get("groups.subjects") for run in pairs.runs):
        whose = "by other groups in A than in B" if all(digests) else f"in {'A' if digests[0] else 'B'} alone"
        found.append(
            f"Overlapping subjects are joined by an audit's groups (--groups) {whose}: the runs do not keep the same"
            " people together."
        )
    if not pairs.same_folds:
        found.append(
            "The folds differ: the two models that judge a cell have learned from other cells, and of other subjects."
        )
    if any(pairs.alone):
        found.append(
            f"Not all cells were tested by both: {pairs.alone[0]} by A alone, {pairs.alone[1]} by B alone. Those are"
            " left out, so that the figures are not those of the runs' own reports."
        )
    if any(pairs.copies):
        found.append(
            f"Augmented copies are left out: of A {number_of(pairs.copies[0], 'prediction')}, of B {pairs.copies[1]}."
            " Only predictions of the images themselves are compared."
        )
    if pairs.renamed:
        found.append(
            f"Of differently named subjects: {number_of(pairs.renamed, 'cell')}. Subjects that share a cell are taken"
            " for one."
        )
    if subject is None:
        found.append(
            "Neither run knows whose the cells are: images are drawn for the intervals, which are too narrow for that."
        )
    else:
        fewest = int(min(np.sum(subject.labels == label) for label in (0, 1)))
        if fewest < FEW_SUBJECTS:
            found.append(
                f"Of one class there {'is' if fewest == 1 else 'are'} {number_of(fewest, 'subject')}: with fewer than"
                f" {FEW_SUBJECTS}, intervals from resampling are too narrow."
            )
    return found


def _differing_settings(pairs: Pairs) -> dict[str, tuple[object, object]]:
    """List the settings, data and versions that differ."""
    first, second = (run.settings for run in pairs.runs)
    names = list(dict.fromkeys([*first, *second]))
    return {name: (first.get(name), second.get(name)) for name in names if first.get(name) != second.get(name)}
