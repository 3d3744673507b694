"""From labelled cells to a classifier that continues from the shipped one, with what it is worth on these cells."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from leukospike.classification.classifier import Classifier, called_kinds, default_classifier, write_classifier
from leukospike.classification.kind_learning import KindTraining
from leukospike.classification.kind_refinement import (
    Decision,
    Recalibrated,
    Refined,
    distance_with,
    recalibrated,
    refine_nested,
)
from leukospike.classification.kinds import KINDS
from leukospike.confidence.kind_sets import FEWEST
from leukospike.datasets.classes import Names
from leukospike.errors import ConfigError
from leukospike.evaluation.estimates import FEW_SUBJECTS
from leukospike.experiments.folder import MODEL
from leukospike.failures import Failure, write_failures
from leukospike.jobs import Progress, silent
from leukospike.notices import Notice, Severity
from leukospike.plurals import number_of
from leukospike.refinement.cells import OwnCells, known_cells, read_cells
from leukospike.refinement.labels import LabelledCells, read_labelled
from leukospike.refinement.validation import OutOfFold, Verdict, cross_validate, require_groups, verdict_of
from leukospike.segmentation.methods import surrogate
from leukospike.storage.files import whole_folder, write_text
from leukospike.storage.tables import write_table

REPORT = "report.txt"
FAILURES = "failures.csv"

_WHERE = "refine_classifier"
_KEPT = 5  # words of a list in a line
_DIGITS = 5


@dataclass(frozen=True, kw_only=True)
class RefinementConfig:
    """Settings of a refinement."""

    n_folds: int = 5
    """Folds by subject, at most."""
    views: int = 6
    """Ways in which each cell is shown in the fit, besides as it is."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        for name, low in {"n_folds": 3, "views": 0, "seed": 0}.items():
            value: object = getattr(self, name)
            if type(value) is not int or value < low:
                rule = f"`{name}` must be a whole number, at least {low}"
                raise ConfigError(rule, where="settings", got=value, advice="Change it.")


@dataclass(frozen=True)
class Refinement:
    """A finished refinement."""

    folder: Path
    verdict: Verdict
    notices: tuple[Notice, ...]
    failures: tuple[Failure, ...]
    """Images that could not be used."""
    n_images: int
    """Labelled images, with those."""


def refine_classifier(
    data: Path,
    out: Path,
    config: RefinementConfig,
    *,
    positive: Names = None,
    negative: Names = None,
    progress: Progress = silent,
) -> Refinement:
    """Continue from the shipped classifier on labelled cells, and write a folder that `analyze` takes as a model.

    Parameters
    ----------
    data : Path
        As of `labels.read_labelled`.
    out : Path
        New folder: `model.safetensors`, trained on all cells; `cells.csv`, what the refined and the shipped classifier
        say of each cell when its subject is left out; `summary.json`; `report.txt`; and `failures.csv` if an image
        could not be used.
    config : RefinementConfig
    positive, negative : str, sequence of str or None
        The user's words for lymphoblasts and for normal lymphoid precursors.
    progress : Progress

    Returns
    -------
    Refinement

    Raises
    ------
    ConfigError
        If a setting is impossible.
    DataError
        If a label is unknown, or no image can be used.
    SplitError
        If there are too few subjects, or all cells are of one kind.
    RunError
        If `out` is not empty.
    """
    labelled = read_labelled(data, positive=positive, negative=negative)
    group_name = "subjects" if labelled.has_subjects else "images"
    # Here as well as below: reading takes minutes, and may join subjects or leave cells out.
    kinds = np.array([cell.kind.place for cell in labelled.cells], np.int64)
    require_groups(kinds, np.array([cell.record.subject or cell.source for cell in labelled.cells]), group_name)
    classifier = default_classifier()
    with whole_folder(out, where=_WHERE) as folder:
        own = read_cells(labelled.cells, surrogate(), progress=progress)
        training = KindTraining(views=config.views, seed=config.seed)
        require_groups(own.kinds, own.groups, group_name)
        cells, second = known_cells(own, classifier, training, progress=progress)
        shipped = Decision.of(classifier.network)
        found = cross_validate(
            cells,
            second,
            shipped,
            classifier.confidence,
            n_folds=config.n_folds,
            seed=config.seed,
            progress=progress,
        )
        verdict = verdict_of(cells, found, group_name=group_name, seed=config.seed)
        places = np.arange(len(cells.kinds))
        refined = refine_nested(shipped, cells, places, n_folds=config.n_folds, seed=config.seed)
        calibrated = recalibrated(classifier.confidence, cells, places, refined, second)
        notices = (*labelled.notices, *_notices(own, verdict, refined))
        model = Classifier(
            network=refined.decision.in_network(classifier.network),
            measures=classifier.measures,
            distance=distance_with(classifier.distance, cells),
            confidence=calibrated.confidence,
            card=_card(classifier, labelled, verdict, refined, calibrated, own, config),
        )
        write_classifier(model, folder / MODEL)
        write_table(folder / "cells.csv", _table(own, found))
        write_text(
            folder / "summary.json",
            json.dumps(_summary(verdict, found, refined, model, config, notices), indent=1, allow_nan=False),
        )
        write_text(folder / REPORT, _report(verdict, model.card, notices))
        if own.failures:
            write_failures(folder / FAILURES, own.failures)
    return Refinement(out, verdict, notices, own.failures, len(labelled.cells))


def _notices(own: OwnCells, verdict: Verdict, refined: Refined) -> list[Notice]:
    """Say what limits the figures."""
    notices: list[Notice] = []
    if own.generated:
        text = "Some cells are drawn, not of patients: the figures say nothing of patients."
        notices.append(Notice("generated", text, Severity.WARNING))
    if verdict.n_groups < FEW_SUBJECTS:
        text = f"With fewer than {FEW_SUBJECTS} {verdict.group_name}, intervals from resampling them are too narrow."
        notices.append(Notice("few_subjects", text, Severity.WARNING, {"subjects": verdict.n_groups}))
    alone = [kind.value for kind, (_, groups, _, _) in verdict.by_kind.items() if groups == 1]
    if alone:
        text = f"Of {_some(alone)} there are cells of a single one of the {verdict.group_name}: no cell of that kind"
        text += " was learned when these were tested."
        notices.append(Notice("kinds_of_one_subject", text, Severity.WARNING))
    if math.isinf(refined.strength):
        text = "Cross-validation chose the shipped weights: only how far to believe them was fitted on your cells."
        notices.append(Notice("unchanged", text))
    return notices


def _card(
    classifier: Classifier,
    labelled: LabelledCells,
    verdict: Verdict,
    refined: Refined,
    calibrated: Recalibrated,
    own: OwnCells,
    config: RefinementConfig,
) -> dict[str, Any]:
    """Return the model card."""
    kinds = ", ".join(f"{kind} {cells}" for kind, (cells, *_) in verdict.by_kind.items())
    drawn = " Some are drawn, not of patients." if own.generated else ""
    figures = {f"your cells: {name}": value for name, value in _figures(verdict).items()}
    kept = "the probability of a lymphoblast, " * (not calibrated.blasts_by_own)
    sets = [kind.value for kind in calibrated.sets_by_own]
    by_own = ["the probability of a lymphoblast"] * calibrated.blasts_by_own
    by_own += [f"which of {_some(sets, len(sets))} remain possible"] if sets else []
    said = classifier.card
    return {
        "name": f"{said.get('name', 'leukospike')}, refined on {labelled.name}",
        "started_from": f"The classifier of leukospike {metadata.version('leukospike')}, {classifier.digest()}",
        "what": said.get("what", ""),
        "intended_use": "Research on smears of the laboratory that the cells came from. Never a diagnosis.",
        "data": f"{number_of(verdict.n_cells, 'cell')} of {verdict.n_groups} {verdict.group_name}: {kinds}.{drawn}"
        f" Before: {said.get('data', '')}",
        "weights_licence": f"Before the refinement: {said.get('weights_licence', '')}",
        "protocol": f"Decision refitted about the shipped weights, strength of the prior {_strength(refined.strength)},"
        f" chosen by cross-validation. Figures: {config.n_folds} folds by"
        f" {verdict.group_name.removesuffix('s')}, with all choices made on the other folds; intervals are 95 %, from"
        f" resampling {verdict.group_name}. These weights are trained on all cells, and have no figures of their own.",
        "figures": figures,
        "calibrated_on_your_cells": ", and ".join(by_own) or "nothing",
        "as_shipped": f"{kept}that of cells in the form of C-NMC, whether a kind with fewer than {FEWEST} cells, or of"
        f" one of the {verdict.group_name} alone, remains possible, the probability of leukemia of subjects, and how"
        " far a cell must be to be unfamiliar",
        "limits": [
            f"The figures hold for cells like these, of the same laboratory and labelled by the same people"
            f"{'' if labelled.has_subjects else '; several images may be of one person'}.",
            "How often cells of a subject are called, by which its probability of leukemia is computed, was not learned"
            " anew.",
            *said.get("limits", []),
        ],
    }


def _figures(verdict: Verdict) -> dict[str, str]:
    """Return the figures in words."""
    recalls, interval = verdict.recalls, verdict.recalls.interval
    figures = {
        "kinds named right, mean over kinds": f"{recalls.first:.3f} (shipped model: {recalls.second:.3f})",
        "gain over the shipped model": f"{recalls.difference:.3f} ({interval.low:.3f} to {interval.high:.3f})",
    }
    if (area := verdict.area) is not None:
        gain = area.gain
        known = f"{gain.low:.3f} to {gain.high:.3f}" if gain.low is not None and gain.high is not None else "unknown"
        figures["lymphoblasts: area under the ROC curve"] = f"{area.refined:.3f} (shipped model: {area.shipped:.3f})"
        figures["lymphoblasts: gain in that area"] = f"{gain.value:.3f} ({known})"
    return figures


def _table(own: OwnCells, found: OutOfFold) -> pd.DataFrame:
    """Return what both classifiers say of each cell."""

    def named(shares: np.ndarray) -> list[str]:
        return [KINDS[place].value for place in called_kinds(shares).tolist()]

    columns: dict[str, object] = {
        "image": [cell.record.image for cell in own.cells],
        "subject": [cell.record.subject for cell in own.cells],
        "fold": found.fold,
        "label": [cell.kind.value for cell in own.cells],
        "kind": named(found.refined),
        "kind_shipped": named(found.shipped),
    }
    for suffix, shares in (("", found.refined), ("_shipped", found.shipped)):
        columns |= {kind.column + suffix: np.round(shares[:, kind.place], _DIGITS) for kind in KINDS}
    return pd.DataFrame(columns)


def _summary(
    verdict: Verdict,
    found: OutOfFold,
    refined: Refined,
    model: Classifier,
    config: RefinementConfig,
    notices: Sequence[Notice],
) -> dict[str, Any]:
    """Return what `summary.json` holds."""
    recalls, area = verdict.recalls, verdict.area
    return {
        "verdict": verdict.line,
        "better": verdict.is_better,
        "cells": verdict.n_cells,
        verdict.group_name: verdict.n_groups,
        "balanced_accuracy": {
            "refined": recalls.first,
            "shipped": recalls.second,
            "gain": recalls.difference,
            "low": recalls.interval.low,
            "high": recalls.interval.high,
        },
        "roc_auc_of_lymphoblasts": None
        if area is None
        else {"refined": area.refined, "shipped": area.shipped, "gain": area.gain.to_json()},
        "kinds": {
            kind.value: {"cells": cells, verdict.group_name: groups, "refined": after, "shipped": before}
            for kind, (cells, groups, after, before) in verdict.by_kind.items()
        },
        "strength": _strength(refined.strength),
        "strength_by_fold": [_strength(strength) for strength in found.strengths],
        "settings": {"start": "shipped", "n_folds": config.n_folds, "views": config.views, "seed": config.seed},
        "model": {"file": MODEL, "digest": model.digest()},
        "notices": [notice.to_json() for notice in notices],
    }


def _report(verdict: Verdict, card: Mapping[str, Any], notices: Sequence[Notice]) -> str:
    """Return the report as plain text."""
    widest = max(len(kind.value) for kind in verdict.by_kind)
    header = f"{'kind':<{widest}}  {'cells':>6}  {verdict.group_name:>8}  refined  shipped"
    rows = [
        f"{kind.value:<{widest}}  {cells:>6}  {groups:>8}  {after:>7.2f}  {before:>7.2f}"
        for kind, (cells, groups, after, before) in verdict.by_kind.items()
    ]
    parts = [
        "Research software, not a medical device.",
        verdict.line,
        "\n".join(f"{name}: {value}" for name, value in _figures(verdict).items()),
        "Share named right, of subjects left out:".replace("subjects", verdict.group_name),
        "\n".join([header, *rows]),
        f"Data: {card['data']}",
        f"Protocol: {card['protocol']}",
        f"Calibrated on your cells: {card['calibrated_on_your_cells']}.",
        f"As shipped: {card['as_shipped']}.",
        "\n".join(["Limits:", *(f"- {limit}" for limit in card["limits"])]),
        *(["\n".join(["Notices:", *(f"- {notice.text}" for notice in notices)])] if notices else []),
    ]
    return "\n\n".join(parts) + "\n"


def _strength(strength: float) -> float | str:
    """Return the strength as JSON can have it."""
    return "infinite" if math.isinf(strength) else strength


def _some(words: Sequence[str], most: int = _KEPT) -> str:
    """Write some words one after the other."""
    return ", ".join(words[:most]) + (" and others" if len(words) > most else "")
