"""Kinds of cells: nested by subject on C-NMC, by image within the other laboratories, and each of these left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import logsumexp

from leukospike.classification.classifier import ERROR_RATE, called_kinds, with_blasts
from leukospike.classification.kinds import KINDS, CellKind
from leukospike.confidence import EVEN
from leukospike.confidence.blend import Blend, fit_blend
from leukospike.confidence.kind_sets import FEWEST, KindThresholds, fit_kind_thresholds
from leukospike.evaluation.metrics import metrics_of, per_subject
from research import tables
from research.classification.data import FOLDS, cohort
from research.classification.kind_data import C_NMC, OF_NO_KIND, OUTSIDE, SEED, everything
from research.classification.kind_scores import log_kinds
from research.classification.scores import held_out_scores

BLAST = CellKind.LYMPHOBLAST.place
SHARED = tuple(
    kind.place
    for kind in (
        CellKind.LYMPHOCYTE,
        CellKind.MONOCYTE,
        CellKind.NEUTROPHIL,
        CellKind.EOSINOPHIL,
        CellKind.BASOPHIL,
    )
)
"""The five kinds that the laboratories with kinds share."""

RESAMPLES = 1000


@dataclass(frozen=True)
class Outside:
    """What networks that have not seen a cell's laboratory, or its fold, say of it."""

    kinds: np.ndarray
    """Log probabilities, (cells, kinds)."""
    places: np.ndarray
    """Of the cells, in `everything`."""


def odds_of(kinds: np.ndarray) -> np.ndarray:
    """Return the log odds of a lymphoblast by log probabilities."""
    return kinds[:, BLAST] - logsumexp(np.delete(kinds, BLAST, axis=1), axis=1)


def nested_on_cnmc(*, network: bool = True, measures: bool = True) -> dict[str, Any]:
    """Calibrate on inner folds, by what has seen neither these nor the outer fold, and score the outer fold.

    Parameters
    ----------
    network, measures : bool
        Which opinions to blend.
    """
    home, whole = cohort(), everything()
    labels = home.cells.labels
    fold_of = whole.fold[: len(labels)]
    probability = np.empty(len(labels))
    for fold in range(FOLDS):
        rest, held = fold_of != fold, fold_of == fold
        inner = np.stack(
            _opinions([(fold, other) for other in range(FOLDS) if other != fold], network, measures), axis=1
        )
        outer = np.stack(_opinions([(fold,)], network, measures), axis=1)
        blend = fit_blend(inner[rest], labels[rest], np.ones(int(rest.sum())), prevalence=EVEN)
        probability[held] = blend.apply(outer[held])
    return figures_of(labels, probability, home.groups)


def _opinions(left_out: list[tuple[int, ...]], network: bool, measures: bool) -> list[np.ndarray]:  # noqa: FBT001
    """Return the log odds of C-NMC's cells in the last of the folds left out, each time, by what left them out."""
    home, whole = cohort(), everything()
    n = len(home.cells.labels)
    fold_of = whole.fold[:n]
    columns: list[np.ndarray] = []

    def by_network(held: tuple[int, ...]) -> np.ndarray:
        return odds_of(log_kinds(held)[:n])

    def by_measures(held: tuple[int, ...]) -> np.ndarray:
        return held_out_scores(home, "appearance", held, SEED)[0]

    for is_asked, score in ((network, by_network), (measures, by_measures)):
        if is_asked:
            column = np.full(n, np.nan)
            for held in left_out:
                own = fold_of == held[-1]
                column[own] = score(tuple(sorted(held)))[own]
            columns.append(column)
    return columns


def figures_of(labels: np.ndarray, probability: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
    """Return the figures by cell and by subject; the calibration error is taken at the prevalence of the data."""
    share = float(labels.mean())
    odds = probability / (1 - probability).clip(1e-9) * share / (1 - share)
    as_here = odds / (1 + odds)
    cell = metrics_of(labels, probability, groups, group_name="subjects", seed=SEED, n_resamples=RESAMPLES).to_json()
    calibration = metrics_of(labels, as_here, groups, group_name="subjects", seed=SEED, n_resamples=RESAMPLES).to_json()
    truth, means, names = per_subject(labels, probability, groups)
    subject = metrics_of(truth, means, names, group_name="subjects", seed=SEED, n_resamples=RESAMPLES).to_json()
    ranked = np.sort(probability[labels == 1])
    threshold = ranked[int(np.floor(0.1 * len(ranked)))]
    return {
        "cell": cell,
        "ece": calibration["ece"],
        "specificity_at_sensitivity_90": float(np.mean(probability[labels == 0] < threshold)),
        "subject": subject,
        "probabilities": [round(float(value), 5) for value in probability],
    }


def left_out(laboratory: str) -> Outside:
    """Return what the network without a laboratory says of its cells of known kind."""
    places = _known(laboratory)
    return Outside(log_kinds((), laboratory)[places], places)


def within(laboratory: str) -> Outside:
    """Return what networks that have seen other images of a laboratory say of its cells of known kind."""
    places = _known(laboratory)
    kinds = np.empty((len(places), len(KINDS)))
    for fold in range(FOLDS):
        own = everything().fold[places] == fold
        kinds[own] = log_kinds((fold,))[places[own]]
    return Outside(kinds, places)


def _known(laboratory: str) -> np.ndarray:
    """Return the places of a laboratory's cells of known kind."""
    places = everything().of(laboratory)
    return places[everything().cells.kinds[places] >= 0]


def elsewhere(*, without: str = "") -> tuple[Blend, KindThresholds]:
    """Fit calibration and sets on cells of laboratories that were left out, and of C-NMC's subjects that were.

    Half of all weight lies on lymphoblasts, a quarter on normal precursors, and a quarter on the other kinds, each kind
    of each laboratory alike.
    """
    parts = [within(C_NMC), *(left_out(laboratory) for laboratory in OUTSIDE if laboratory != without)]
    kinds = np.concatenate([part.kinds for part in parts])
    places = np.concatenate([part.places for part in parts])
    truth = everything().cells.kinds[places]
    laboratories = np.asarray(everything().cells.laboratories)[places]
    mass = equal_parts([f"{one}/{kind}" for one, kind in zip(laboratories, truth, strict=True)])
    mature = laboratories != C_NMC
    mass[mature] /= mass[mature].sum()
    blend = fit_blend(odds_of(kinds)[:, None], (truth == BLAST).astype(np.int64), mass, prevalence=EVEN)
    shares = with_blasts(kinds, blend.apply(odds_of(kinds)[:, None]))
    return blend, fit_kind_thresholds(shares, truth, laboratories, alpha=ERROR_RATE)


def equal_parts(parts: Sequence[str]) -> np.ndarray:
    """Return weights by which the cells of each part together weigh 1, such as a kind in a laboratory."""
    _, member, counts = np.unique(np.asarray(parts), return_inverse=True, return_counts=True)
    return 1 / counts[member]


def of_kinds(found: Outside, blend: Blend, sets: KindThresholds | None = None) -> dict[str, Any]:
    """Return the figures of a laboratory with kinds."""
    shares = with_blasts(found.kinds, blend.apply(odds_of(found.kinds)[:, None]))
    truth = everything().cells.kinds[found.places]
    images = everything().images[found.places]
    shared = np.isin(truth, SHARED)
    given = called_kinds(shares)
    figures: dict[str, Any] = {
        "cells": int(shared.sum()),
        "balanced_accuracy": _balanced(truth[shared], given[shared], images[shared]),
        "among_the_five": _balanced(
            truth[shared], np.array(SHARED)[shares[shared][:, SHARED].argmax(axis=1)], images[shared]
        ),
        "called_blast": {
            KINDS[kind].value: [float(np.mean(shares[truth == kind, BLAST] >= EVEN)), int(np.sum(truth == kind))]
            for kind in np.unique(truth)
        },
        "confusion": {
            KINDS[kind].value: {
                KINDS[other].value: int(count)
                for other, count in enumerate(np.bincount(given[truth == kind], minlength=len(KINDS)))
                if count
            }
            for kind in np.unique(truth)
        },
    }
    if sets is not None:
        stays = sets.sets(shares)
        figures["covered"] = {
            KINDS[kind].value: float(stays[truth == kind, kind].mean())
            for kind in np.unique(truth)
            if np.sum(truth == kind) >= FEWEST
        }
        figures["kinds_in_a_set"] = float(stays.sum(axis=1).mean())
    return figures


def _balanced(truth: np.ndarray, given: np.ndarray, images: np.ndarray) -> list[float]:
    """Return the mean recall over the kinds that are there, with the interval from resampling images."""
    kinds = np.unique(truth)

    def mean_recall(places: np.ndarray) -> float:
        drawn, right = truth[places], truth[places] == given[places]
        return float(np.mean([right[drawn == kind].mean() for kind in kinds if (drawn == kind).any()]))

    rng = np.random.default_rng(SEED)
    names, member = np.unique(images, return_inverse=True)
    cells = [np.flatnonzero(member == image) for image in range(len(names))]
    drawn = [
        mean_recall(np.concatenate([cells[image] for image in rng.integers(len(names), size=len(names))]))
        for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return [mean_recall(np.arange(len(truth))), float(low), float(high)]


def called_blast(laboratory: str) -> list[float]:
    """Return the share of a laboratory's white cells called blasts by what has not seen it, and their number."""
    places = everything().of(laboratory)
    blend, _ = elsewhere()
    probability = blend.apply(odds_of(log_kinds((), laboratory)[places])[:, None])
    return [float(np.mean(probability >= EVEN)), len(places)]


def run() -> None:
    """Print and save all tables."""
    found: dict[str, Any] = {
        "seed": SEED,
        "nested": nested_on_cnmc(),
        "network": nested_on_cnmc(measures=False),
        "measures": nested_on_cnmc(network=False),
        "left_out": {},
        "within": {},
        "called_blast": {laboratory: called_blast(laboratory) for laboratory in OF_NO_KIND},
    }
    for laboratory in OUTSIDE:
        blend, sets = elsewhere(without=laboratory)
        found["left_out"][laboratory] = of_kinds(left_out(laboratory), blend, sets)
        found["within"][laboratory] = of_kinds(within(laboratory), blend)
    tables.save("kinds", found)
    opinions = {"network and measures": "nested", "network": "network", "measures": "measures"}
    rows = [_row(name, found[key]) for name, key in opinions.items()]
    print(tables.table("C-NMC, nested by subject, five folds", rows))
    for key, title in (("left_out", "Kinds, laboratory left out"), ("within", "Kinds, folds by image")):
        print(tables.table(title, [{"laboratory": name} | _kind_row(found[key][name]) for name in OUTSIDE]))
    called = [
        {"laboratory": name, "white cells": str(n), "called blast": f"{share:.3f}"}
        for name, (share, n) in found["called_blast"].items()
    ]
    print(tables.table("White cells of healthy people, laboratory left out", called))


def _row(name: str, figures: dict[str, Any]) -> dict[str, str]:
    """Set the figures of one way to judge C-NMC's cells as text."""

    def ranged(figure: dict[str, Any]) -> str:
        return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"

    return {
        "judged by": name,
        "AUC": ranged(figures["cell"]["roc_auc"]),
        "weighted F1": ranged(figures["cell"]["weighted_f1"]),
        "specificity at sensitivity .90": f"{figures['specificity_at_sensitivity_90']:.3f}",
        "ECE": ranged(figures["ece"]),
        "subject AUC": ranged(figures["subject"]["roc_auc"]),
    }


def _kind_row(figures: dict[str, Any]) -> dict[str, str]:
    """Set the figures of one laboratory as text."""
    value, low, high = figures["balanced_accuracy"]
    most = max(share for share, n in figures["called_blast"].values() if n >= FEWEST)
    row = {
        "cells": str(figures["cells"]),
        "balanced accuracy": f"{value:.3f} ({low:.3f} to {high:.3f})",
        "among the five": f"{figures['among_the_five'][0]:.3f}",
        "called blast, most of any kind": f"{most:.3f}",
    }
    if "covered" in figures:
        row["sets cover, least of any kind"] = f"{min(figures['covered'].values()):.2f}"
        row["kinds in a set"] = f"{figures['kinds_in_a_set']:.1f}"
    return row
