"""Classification of cells: cross-validated by subject on C-NMC, what each step is worth, and the figures that count."""

from collections.abc import Sequence
from statistics import mean
from typing import Any

import numpy as np
import torch
from scipy.special import expit
from sklearn.metrics import roc_curve

from leukospike.evaluation.metrics import metrics_of, per_subject
from research import tables
from research.classification import nested
from research.classification.data import FOLDS, Cohort, cohort, folds
from research.classification.methods import METHODS
from research.classification.scores import held_out_scores

SEED = 0
SPECIFICITY = 0.85
"""At which the sensitivity is read off the curve."""


def run(names: Sequence[str] = ()) -> None:
    """Judge the named methods, or all quick ones and then nested, and print and save the tables."""
    torch.set_num_threads(1)
    cells = cohort()
    chosen = names or [name for name, method in METHODS.items() if not method.slow]
    rows = {name: judged(cells, name, SEED) for name in chosen}
    print(tables.table("Held-out subjects, C-NMC, five folds", [_row(name, row) for name, row in rows.items()]))
    results: dict[str, Any] = {"seed": SEED, "folds": FOLDS, "rows": rows}
    if not names:
        results["nested"] = nested.run(cells)
    tables.save("-".join(["classification", *names]), results)


def judged(cells: Cohort, name: str, seed: int) -> dict[str, Any]:
    """Score every fold by what was fitted on the others."""
    number = folds(cells.cells.labels, cells.groups, seed)
    scores = np.full(len(number), np.nan)
    seconds = 0.0
    for fold in range(FOLDS):
        found, took = held_out_scores(cells, name, [fold], seed)
        scores[number == fold] = found[number == fold]
        seconds += took
    by_fold = [
        figures(scores[number == fold], cells.cells.labels[number == fold], cells.groups[number == fold], seed)
        for fold in range(FOLDS)
    ]
    pooled = figures(scores, cells.cells.labels, cells.groups, seed, intervals=True)
    return pooled | {
        "about": METHODS[name].about,
        "seconds": seconds,
        "fold_mean": {key: mean(fold[key] for fold in by_fold) for key in ("roc_auc", "weighted_f1")},
    }


def figures(
    scores: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int, *, intervals: bool = False
) -> dict[str, Any]:
    """Return the figures of log odds: at one half, uncalibrated, and the sensitivity at `SPECIFICITY`."""
    probabilities = expit(scores)
    table = metrics_of(
        labels, probabilities, groups, group_name="subjects", seed=seed, n_resamples=1000 if intervals else 2
    )
    false, true, _ = roc_curve(labels, probabilities)
    truth, means, _ = per_subject(labels, probabilities, groups)
    subject = metrics_of(truth, means, np.arange(len(truth)), group_name="subjects", seed=seed, n_resamples=2)
    return {
        "roc_auc": table["roc_auc"].value,
        "roc_auc_interval": [table["roc_auc"].low, table["roc_auc"].high],
        "weighted_f1": table["weighted_f1"].value,
        "weighted_f1_interval": [table["weighted_f1"].low, table["weighted_f1"].high],
        "sensitivity": float(true[false <= 1 - SPECIFICITY].max()),
        "subject_auc": subject["roc_auc"].value,
    }


def _row(name: str, row: dict[str, Any]) -> dict[str, str]:
    """Set one method as text."""

    def ranged(figure: str) -> str:
        low, high = row[f"{figure}_interval"]
        return f"{row[figure]:.3f} ({low:.3f} to {high:.3f})"

    return {
        "method": name,
        "AUC": ranged("roc_auc"),
        "AUC, fold mean": f"{row['fold_mean']['roc_auc']:.3f}",
        "weighted F1": ranged("weighted_f1"),
        f"sensitivity at {SPECIFICITY}": f"{row['sensitivity']:.3f}",
        "subject AUC": f"{row['subject_auc']:.3f}",
        "training, s": f"{row['seconds']:.0f}",
    }
