"""The tables of the reports, as plain strings that the templates only have to lay out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from leukospike.evaluation.estimates import Metrics
from leukospike.evaluation.metrics import THRESHOLD, per_subject
from leukospike.experiments.results import Run
from leukospike.report.drawing import Columns
from leukospike.report.words import (
    METRIC_TITLES,
    NONE,
    SETTING_MEANINGS,
    number,
    unavailable,
    with_interval,
)

# The original's name for a figure -> ours.
_PUBLISHED_NAMES = {"auc": "roc_auc"}


@dataclass(frozen=True)
class MetricRow:
    """One measure: pooled with its interval, and its value in each fold."""

    title: str
    meaning: str
    pooled: str
    folds: tuple[str, ...]


@dataclass(frozen=True)
class MetricTable:
    """All measures of cells, or of subjects.

    Attributes
    ----------
    folds : tuple of int
        Headings of the columns after the pooled one.
    rows : tuple of MetricRow
    interval : str
        How the intervals were made.
    reasons : tuple of str
        Why there are dashes, one sentence for each column that has any, and what is to be said of the intervals.
    """

    folds: tuple[int, ...]
    rows: tuple[MetricRow, ...]
    interval: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class SubjectRow:
    """One subject of a run."""

    subject: str
    label: str
    cells: int
    mean_probability: str
    called: str
    right: bool


@dataclass(frozen=True)
class PublishedRow:
    """One figure of the paper beside ours."""

    title: str
    published: str
    ours: str
    by_their_formula: str


def metric_table(pooled: Metrics, folds: Sequence[tuple[int, Metrics | None]]) -> MetricTable:
    """Lay out the measures with the pooled ones first, then fold by fold.

    Parameters
    ----------
    pooled : Metrics
    folds : sequence of (int, Metrics or None)
        Number of each fold, and its measures if there are any.

    Returns
    -------
    MetricTable
        A dash where a figure could not be computed, with its reason in `reasons`.
    """
    rows = [
        MetricRow(
            *METRIC_TITLES[name],
            pooled=with_interval(pooled[name]),
            folds=tuple(number(metrics[name].value if metrics else None) for _, metrics in folds),
        )
        for name in METRIC_TITLES
    ]
    delong = MetricRow(
        "ROC AUC, DeLong",
        "the same with DeLong's interval, which treats all cells as independent and is too narrow",
        pooled=with_interval(pooled.delong),
        folds=rows[0].folds,
    )
    columns = [("all folds", pooled), *((f"fold {fold}", metrics) for fold, metrics in folds)]
    reasons = [
        unavailable(metrics, what=what)
        for what, metrics in columns
        if metrics is None or any(estimate.value is None for estimate in metrics.estimates.values())
    ]
    if pooled.has_intervals and not all(estimate.is_known for estimate in pooled.estimates.values()):
        reasons.append(
            "all folds: an interval is unknown if every resample gives the same figure, or if too few resamples could"
            " be computed; this does not make the figure certain"
        )
    return MetricTable(
        folds=tuple(fold for fold, _ in folds),
        rows=(rows[0], delong, *rows[1:]),
        interval=pooled.interval,
        reasons=tuple(reasons),
    )


def subject_rows(run: Run) -> list[SubjectRow]:
    """List the subjects of a run by mean probability, highest first, as in the dot plot."""
    labels, means, subjects = per_subject(run.labels, run.probabilities, run.groups)
    return [
        SubjectRow(
            subject=str(subjects[place]),
            label=_class_name(leukemic=bool(labels[place])),
            cells=int((run.groups == subjects[place]).sum()),
            mean_probability=number(float(means[place])),
            called=_class_name(leukemic=bool(means[place] >= THRESHOLD)),
            right=bool(labels[place]) == bool(means[place] >= THRESHOLD),
        )
        for place in np.argsort(-means, kind="stable")
    ]


def published_rows(run: Run) -> list[PublishedRow]:
    """Put the published figures beside ours, and ours by the paper's own formulas."""
    # What was published on photographs has no business beside drawn cells.
    result = run.result
    published = {} if result.generated or result.published is None else result.published.figures
    as_published = result.as_published or {}
    rows: list[PublishedRow] = []
    for name in dict.fromkeys([*published, *as_published]):
        ours = result.cell.estimates.get(_PUBLISHED_NAMES.get(name, name))
        title, _ = METRIC_TITLES.get(_PUBLISHED_NAMES.get(name, name), (name.replace("_", " "), ""))
        rows.append(
            PublishedRow(
                title=title,
                published=number(published.get(name), digits=4),
                ours=with_interval(ours) if ours else NONE,
                by_their_formula=number(as_published.get(name)),
            )
        )
    return rows


def setting_rows(
    settings: Mapping[str, object], meanings: Mapping[str, str] = SETTING_MEANINGS
) -> list[tuple[str, str, str]]:
    """List name, value and meaning of each setting; what is called ``versions.`` has its meaning in its name."""
    return [
        (name, _written(value), "version used" if name.startswith("versions.") else meanings.get(name, ""))
        for name, value in settings.items()
    ]


def failure_rows(failures: Columns | pd.DataFrame) -> list[tuple[str, str]]:
    """List the images that failed with their reasons."""
    return list(zip(failures["image"].tolist(), failures["reason"].tolist(), strict=True))


def duration(seconds: float) -> str:
    """Write a time span as people say it.

    Examples
    --------
    >>> duration(3.14159), duration(75), duration(3725)
    ('3.1 s', '1 min 15 s', '1 h 02 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _class_name(*, leukemic: bool) -> str:
    """Name a class."""
    return "leukemic" if leukemic else "normal"


def _written(value: object) -> str:
    """Write a setting as a person would, not as Python does."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_written(entry) for entry in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
