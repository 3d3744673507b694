"""A comparison as files: comparison.json, disagreements.csv, and a page; and as short tables to print."""

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from leukospike.comparison.figures import comparison_figures
from leukospike.comparison.findings import Comparison, Level
from leukospike.datasets import Table
from leukospike.evaluation.estimates import FEWEST_SUBJECTS, Estimate
from leukospike.evaluation.metrics import THRESHOLD
from leukospike.notices import as_options
from leukospike.plurals import number_of
from leukospike.report.pages import render_page, write_page
from leukospike.report.words import (
    METRIC_TITLES,
    NONE,
    number,
    p_value,
    protocol_sentence,
    signed,
    signed_interval_words,
    signed_with_interval,
    with_interval,
)
from leukospike.storage.files import write_text
from leukospike.storage.tables import write_table

PRINTED = ("roc_auc", "accuracy", "sensitivity", "specificity", "weighted_f1", "brier")
_CELLS_SHOWN = 40
_SUBJECTS_SHOWN = 20
INDEPENDENT = {
    "cell": "treats cells as independent, which those of one subject are not: p is too small",
    "subject": "subjects are independent; with few of them the normal approximation is rough",
}


def write_comparison(comparison: Comparison, out: Path) -> Path:
    """Write a comparison; what was there is replaced.

    Parameters
    ----------
    comparison : Comparison
    out : Path
        Folder: ``comparison.json``, ``disagreements.csv``, ``report.html``.

    Returns
    -------
    Path
        The page: one file with its figures inside, without scripts, that loads nothing.
    """
    table = _disagreements(comparison.cell, comparison.pairs.groups if comparison.pairs.has_subjects else None)
    write_table(out / "disagreements.csv", table)
    page = _page(comparison, table)
    report = write_page(out / "report.html", page)
    write_text(out / "comparison.json", json.dumps(comparison_as_json(comparison), indent=1))
    return report


def comparison_as_json(comparison: Comparison) -> dict[str, object]:
    """Return a comparison in the form that `comparison.json` holds."""
    pairs = comparison.pairs
    return {
        "runs": {
            letter: {
                "name": name,
                "protocol": result.protocol.value,
                "hold_out": result.hold_out,
                "generated": result.generated,
                "data": result.data.name,
                "digest": result.data.digest or None,
                "only_here": alone,
                "copies_left_out": copies,
            }
            for letter, name, result, alone, copies in zip(
                "AB", pairs.names, (run.result for run in pairs.runs), pairs.alone, pairs.copies, strict=True
            )
        },
        "paired": len(pairs.images),
        "same_folds": pairs.same_folds,
        "warnings": [str(warning) for warning in comparison.warnings],
        "settings_that_differ": {name: {"A": a, "B": b} for name, (a, b) in comparison.settings.items()},
        "difference": "B minus A",
        "interval": comparison.interval,
        "cell": _level_as_json(comparison.cell),
        "subject": comparison.subject and _level_as_json(comparison.subject),
        "leukospike": metadata.version("leukospike"),
    }


def comparison_tables(comparison: Comparison) -> list[Table]:
    """Arrange the figures for printing, shortly.

    Parameters
    ----------
    comparison : Comparison

    Returns
    -------
    list of Table
    """
    header = ("measure", f"A: {comparison.pairs.names[0]}", f"B: {comparison.pairs.names[1]}", "B minus A")
    tables = [
        Table(
            f"By {level.unit}: {len(level.labels)}, {int(level.labels.sum())} leukemic",
            header,
            [(METRIC_TITLES[name][0], *_figures(level, name)) for name in PRINTED],
        )
        for level in comparison.levels
    ]
    rows = [row[:4] for level in comparison.levels for row in _test_rows(level)]
    tables.append(Table("Tests", ("test", "by", "difference, B minus A", "p"), rows))
    return tables


def _level_as_json(level: Level) -> dict[str, object]:
    """Return one level's figures."""
    delong, mcnemar = level.delong_difference, level.mcnemar
    return {
        "n": len(level.labels),
        "positives": int(level.labels.sum()),
        "A": level.metrics[0].to_json(),
        "B": level.metrics[1].to_json(),
        "difference": {name: difference.to_json() for name, difference in level.differences.items()},
        "delong": {
            "difference": delong.value,
            "low": delong.low,
            "high": delong.high,
            "z": Estimate.of(level.delong.z).value if level.suffices else None,
            "p": level.delong_p,
            "note": INDEPENDENT[level.unit],
        },
        "mcnemar": {
            "only_A_right": mcnemar.only_second,
            "only_B_right": mcnemar.only_first,
            "p": level.mcnemar_p,
            "note": INDEPENDENT[level.unit],
        },
    }


def _figures(level: Level, name: str) -> tuple[str, str, str]:
    """Write a measure of A, of B, and the difference."""
    return (
        with_interval(level.metrics[0][name]),
        with_interval(level.metrics[1][name]),
        signed_with_interval(level.differences[name]),
    )


def _test_rows(level: Level) -> list[tuple[str, str, str, str, str]]:
    """Write the tests: name, unit, difference, p, what to mind."""
    mcnemar = level.mcnemar
    return [
        (
            "DeLong, ROC AUC",
            level.unit,
            signed_with_interval(level.delong_difference),
            p_value(level.delong_p),
            INDEPENDENT[level.unit],
        ),
        (
            "McNemar, calls",
            level.unit,
            f"correct only in A {mcnemar.only_second}, only in B {mcnemar.only_first}",
            p_value(level.mcnemar_p),
            INDEPENDENT[level.unit] if level.unit == "cell" else "exact; subjects are independent",
        ),
    ]


def _disagreements(level: Level, subjects: np.ndarray | None) -> pd.DataFrame:
    """Return one row each, those first on which the probabilities differ most."""
    first, second = level.probabilities
    right, other_right = ((given >= THRESHOLD) == (level.labels == 1) for given in level.probabilities)
    columns: dict[str, Any] = {"image" if level.unit == "cell" else "subject": level.names}
    if subjects is not None:
        columns["subject"] = subjects
    columns |= {
        "label": level.labels,
        "probability_a": first,
        "probability_b": second,
        "difference": second - first,
        "called_a": np.where(first >= THRESHOLD, "leukemic", "normal"),
        "called_b": np.where(second >= THRESHOLD, "leukemic", "normal"),
        "right": np.select([right & other_right, right, other_right], ["both", "A", "B"], "neither"),
    }
    order = np.argsort(-np.abs(second - first), kind="stable")
    return pd.DataFrame(columns).iloc[order]


def _page(comparison: Comparison, cells: pd.DataFrame) -> str:
    """Fill the template."""
    pairs = comparison.pairs
    subjects = [] if comparison.subject is None else _rows(_disagreements(comparison.subject, None), _SUBJECTS_SHOWN)
    return render_page(
        "comparison.html.j2",
        names=pairs.names,
        generated=any(run.result.generated for run in pairs.runs),
        warnings=[as_options(str(warning)) for warning in comparison.warnings],
        tiles=[tile for level in comparison.levels for tile in _tiles(level)],
        summary=_summary(comparison),
        interval=comparison.interval,
        suffices=comparison.cell.suffices,
        levels=[
            {
                "unit": level.unit,
                "n": len(level.labels),
                "rows": [(*METRIC_TITLES[name], *_figures(level, name)) for name in METRIC_TITLES],
            }
            for level in comparison.levels
        ],
        tests=[row for level in comparison.levels for row in _test_rows(level)],
        figures=comparison_figures(comparison),
        cells=_rows(cells, _CELLS_SHOWN),
        n_cells=len(cells),
        n_called=int(np.sum(cells["called_a"].to_numpy(str) != cells["called_b"].to_numpy(str))),
        subjects=subjects,
        n_subjects=0 if comparison.subject is None else len(comparison.subject.labels),
        runs=[
            (
                letter,
                name,
                f"{run.result.data.name}: {number_of(run.result.data.images, 'image')}",
                protocol_sentence(run.result.protocol),
                f"{run.settings.get('versions.leukospike', 'not recorded')}",
            )
            for letter, name, run in zip("AB", pairs.names, pairs.runs, strict=True)
        ],
        settings=[
            (name, *(NONE if value is None else str(value) for value in values))
            for name, values in comparison.settings.items()
        ],
    )


def _rows(table: pd.DataFrame, most: int) -> list[dict[str, Any]]:
    """Write the first rows of a table of disagreements."""
    shown: list[dict[str, Any]] = table.head(most).to_dict("records")  # pyright: ignore[reportAssignmentType]
    return [
        {str(name): value for name, value in row.items()}
        | {
            "label": "leukemic" if row["label"] else "normal",
            "probability_a": number(row["probability_a"]),
            "probability_b": number(row["probability_b"]),
            "difference": signed(row["difference"]),
        }
        for row in shown
    ]


def _tiles(level: Level) -> list[tuple[str, str, str]]:
    """Return label, figure and note of what the page shows largest."""
    mcnemar = level.mcnemar
    return [
        *(
            (f"{title} by {level.unit}, B minus A", signed(difference.value), signed_interval_words(difference))
            for title, difference in (
                ("ROC AUC", level.differences["roc_auc"]),
                ("accuracy", level.differences["accuracy"]),
            )
        ),
        (
            f"{level.unit}s only one classifies correctly",
            f"{mcnemar.only_second} / {mcnemar.only_first}",
            f"A / B, of {len(level.labels)}",
        ),
    ]


def _summary(comparison: Comparison) -> list[str]:
    """Summarise in a few sentences what was compared and found."""
    pairs = comparison.pairs
    whose = f" of {number_of(len(np.unique(pairs.groups)), 'subject')}" if pairs.has_subjects else ""
    done = (
        f"A is the run “{pairs.names[0]}”, B the run “{pairs.names[1]}”. Both tested"
        f" {number_of(len(pairs.images), 'cell')}{whose} ({int(pairs.labels.sum())} leukemic); {pairs.alone[0]} more"
        f" were tested only by A and {pairs.alone[1]} only by B. All figures here are for the cells that both tested."
        " Differences are B minus A."
    )
    read = (
        f"How to read this: look at the intervals first ({comparison.interval}). They come from resampling whole"
        f" {pairs.group_name}, so they allow for the similarity of cells from one subject, which the tests by cell do"
        " not. None of them shows what training again with another seed would change. Many measures are compared:"
        " even without any real difference, about one interval in twenty excludes 0 by chance."
        if comparison.cell.suffices
        else "How to read this: the figures describe only the cells that were tested. An interval or p value"
        f" needs at least {FEWEST_SUBJECTS} {pairs.group_name} of each class."
    )
    return [done, *(_found(level) for level in comparison.levels), read]


def _found(level: Level) -> str:
    """Describe the difference in ROC AUC, and what it shows."""
    difference = level.differences["roc_auc"]
    only_one = level.mcnemar.only_first + level.mcnemar.only_second
    calls = (
        f" {number_of(only_one, f'{level.unit} is', f'{level.unit}s are')} classified correctly by one run only: A"
        f" {level.mcnemar.only_second}, B {level.mcnemar.only_first}"
    )
    calls += f" (McNemar, p {p_value(level.mcnemar_p)})." if level.suffices else "."
    if difference.value is None:
        return f"By {level.unit}, the ROC AUC cannot be computed: all labels are of one class.{calls}"
    figures = (
        f"By {level.unit}, the ROC AUC is {with_interval(level.metrics[0]['roc_auc'])} in A and"
        f" {with_interval(level.metrics[1]['roc_auc'])} in B, a difference of {signed_with_interval(difference)}"
    )
    if not level.suffices:
        return f"{figures}. These are too few to tell which run is better.{calls}"
    if difference.excludes(0):
        better = "B" if difference.value > 0 else "A"
        verdict = f"the interval excludes 0: on these data, {better} ranks {level.unit}s better"
    elif difference.is_known:
        verdict = "the interval includes 0, which shows neither a difference nor its absence"
    else:
        verdict = "every resample gives the same value, which shows neither a difference nor its absence"
    return f"{figures}; {verdict}. DeLong's test: p {p_value(level.delong_p)} ({INDEPENDENT[level.unit]}).{calls}"
