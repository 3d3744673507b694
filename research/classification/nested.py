"""Nested cross-validation by subject: inner folds choose and calibrate, outer folds report."""

from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

import numpy as np
from jaxtyping import Float, Int64
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from leukospike.confidence import (
    EVEN,
    Calibration,
    ConformalThresholds,
    Guarantee,
    OperatingPoint,
    SubjectMean,
    SubjectModel,
    compare_poolings,
    coverage,
    fit_calibration,
    fit_conformal,
    fit_mahalanobis,
    fit_subject_model,
    flag_threshold,
    mean_over_subjects,
    score_subjects,
    threshold_at_sensitivity,
)
from leukospike.evaluation.metrics import calibration_error, metrics_of, per_subject, reliability
from research import tables
from research.classification.data import FOLDS, Cohort, folds, others
from research.classification.scores import held_out_scores

CANDIDATES = (
    "logistic",
    "boosting",
    "kernel",
    "one-network",
    "appearance",
    "appearance-shorter",
    "appearance-unbalanced",
)
"""What the inner folds choose from: by area under the curve."""

SEEDS = (0, 1, 2)
"""Each draws other folds and other first weights."""

ERROR_RATE = 0.1
"""Share of cells of new subjects whose set may miss the label."""

SENSITIVITY = 0.9
"""Target of the operating point."""


@dataclass(frozen=True)
class Confidence:
    """Parameters fitted on cells of subjects that the networks have not seen."""

    calibration: Calibration
    conformal: ConformalThresholds
    operating: OperatingPoint
    """For an own choice; the decision on a cell is by its probability at one half."""
    subjects: SubjectModel
    outlier_distance: float
    """Cells farther from the training cells are flagged."""


def fit_confidence(
    scores: Float[np.ndarray, " n"],
    distances: Float[np.ndarray, " n"],
    labels: Int64[np.ndarray, " n"],
    subjects: np.ndarray,
) -> Confidence:
    """Fit the measures of confidence.

    Parameters
    ----------
    scores, distances : ndarray of shape (n,)
        Log odds, and distances from the training cells, of cells of subjects that the networks have not seen: out of
        the folds of a cross-validation.
    labels, subjects : ndarray of shape (n,)

    Returns
    -------
    Confidence
        Its conformal sets are `Guarantee.MARGINAL`: with so few normal subjects, those by class say nothing.
    """
    calibration = fit_calibration(expit(scores), labels, prevalence=EVEN)
    probability = calibration.apply(expit(scores))
    return Confidence(
        calibration=calibration,
        conformal=fit_conformal(probability, labels, subjects, alpha=ERROR_RATE, guarantee=Guarantee.MARGINAL),
        operating=threshold_at_sensitivity(probability, labels, subjects, sensitivity=SENSITIVITY),
        subjects=fit_subject_model(probability, labels, subjects, threshold=EVEN),
        outlier_distance=flag_threshold(distances, subjects),
    )


def run(cells: Cohort) -> dict[str, Any]:
    """Judge and print every seed, and give the numbers."""
    by_seed = [judged(cells, seed) for seed in SEEDS]
    print(
        tables.table(
            "Nested, by cell and by subject", [_row(judgement) for judgement in by_seed], notes=_notes(by_seed)
        )
    )
    return {str(seed): judgement for seed, judgement in zip(SEEDS, by_seed, strict=True)}


def judged(cells: Cohort, seed: int) -> dict[str, Any]:
    """Choose, calibrate and score, fold by fold.

    Decisions are at an even prevalence. Error and Brier score of the calibration are taken at that of the data, which
    is stated: no probability can hold for another share of blasts than there is.
    """
    labels, groups = cells.cells.labels, cells.groups
    number = folds(labels, groups, seed)
    n = len(labels)
    probability, as_here, raw = np.empty(n), np.empty(n), np.empty(n)
    sets, called, flagged = np.empty((n, 2), bool), np.empty(n, bool), np.empty(n, bool)
    chosen: list[str] = []
    posteriors: dict[str, float] = {}
    for fold in range(FOLDS):
        rest, held = others(number, [fold]), np.flatnonzero(number == fold)
        inner = {name: _inner_scores(cells, name, number, fold, seed) for name in CANDIDATES}
        areas = {name: float(roc_auc_score(labels[rest], scores[rest])) for name, scores in inner.items()}
        name = max(CANDIDATES, key=areas.__getitem__)
        chosen.append(name)
        far = _inner_distances(cells, number, fold)
        confidence = fit_confidence(inner[name][rest], far[rest], labels[rest], groups[rest])
        score = held_out_scores(cells, name, [fold], seed)[0][held]
        raw[held] = expit(score)
        probability[held] = confidence.calibration.apply(raw[held])
        as_here[held] = confidence.calibration.apply(raw[held], prevalence=float(labels.mean()))
        sets[held] = confidence.conformal.sets(probability[held])
        called[held] = confidence.operating.calls(probability[held])
        flagged[held] = distances(cells, rest, held) > confidence.outlier_distance
        precursors = np.zeros(len(held), bool)  # C-NMC has no mature cells
        scored = score_subjects(confidence.subjects, probability[held], groups[held], mature=precursors)
        posteriors |= {one.subject: one.posterior for one in scored}
    truth, _, names = per_subject(labels, probability, groups)
    posterior = np.array([posteriors[str(one)] for one in names])
    covered = coverage(sets, labels, groups)
    curve = reliability(labels, as_here)
    return {
        "chosen": chosen,
        "cell": metrics_of(labels, probability, groups, group_name="subjects", seed=seed).to_json(),
        "ece_uncalibrated": calibration_error(labels, raw),
        "calibration": metrics_of(labels, as_here, groups, group_name="subjects", seed=seed).to_json(),
        "subject": metrics_of(truth, posterior, names, group_name="subjects", seed=seed).to_json(),
        "subject_by_mean": metrics_of(
            truth, per_subject(labels, probability, groups)[1], names, group_name="subjects", seed=seed
        ).to_json(),
        "operating": {
            "sensitivity": float(called[labels == 1].mean()),
            "specificity": float(1 - called[labels == 0].mean()),
        },
        "coverage": {
            "covered": _as_json(covered.covered),
            "both": covered.both.value,
            "none": covered.none.value,
            "normal": coverage(sets[labels == 0], labels[labels == 0], groups[labels == 0]).covered.value,
            "leukemic": coverage(sets[labels == 1], labels[labels == 1], groups[labels == 1]).covered.value,
        },
        "flagged": _as_json(mean_over_subjects(flagged, groups)),
        "reliability": {
            "count": curve.counts.tolist(),
            "probability": [round(float(value), 4) for value in curve.mean_probability],
            "observed": [round(float(value), 4) for value in curve.observed],
        },
        "poolings": {
            pooling.value: {"roc_auc": found.roc_auc, "brier": found.brier, "log_loss": found.log_loss}
            for pooling, found in compare_poolings(
                probability, labels, groups, threshold=EVEN, prevalence=float(truth.mean())
            ).items()
        },
        "probabilities": [round(float(value), 5) for value in probability],
    }


def _inner_scores(cells: Cohort, name: str, number: np.ndarray, fold: int, seed: int) -> np.ndarray:
    """Return log odds of all other folds' cells, each by what has seen neither its fold nor `fold`."""
    scores = np.full(len(number), np.nan)
    for other in range(FOLDS):
        if other != fold:
            found, _ = held_out_scores(cells, name, sorted((other, fold)), seed)
            scores[number == other] = found[number == other]
    return scores


def _inner_distances(cells: Cohort, number: np.ndarray, fold: int) -> np.ndarray:
    """Return the distances of all other folds' cells likewise."""
    far = np.full(len(number), np.nan)
    for other in range(FOLDS):
        if other != fold:
            held = np.flatnonzero(number == other)
            far[held] = distances(cells, others(number, [other, fold]), held)
    return far


def distances(cells: Cohort, train: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Return the distances of some cells from others."""
    known = cells.appearances[train]
    centre, spread = known.mean(axis=0), known.std(axis=0)
    distance = fit_mahalanobis((known - centre) / spread, cells.cells.labels[train])
    return distance.distances((cells.appearances[held] - centre) / spread)


def _as_json(found: SubjectMean) -> list[float]:
    """Return value and interval."""
    return [found.value, found.interval.low, found.interval.high]


def _row(judgement: dict[str, Any]) -> dict[str, str]:
    """Set one seed as text."""
    cell, subject = judgement["cell"], judgement["subject"]

    def ranged(entry: dict[str, Any]) -> str:
        return f"{entry['value']:.3f} ({entry['low']:.3f} to {entry['high']:.3f})"

    return {
        "AUC": ranged(cell["roc_auc"]),
        "weighted F1": ranged(cell["weighted_f1"]),
        "ECE": f"{ranged(judgement['calibration']['ece'])}, before {judgement['ece_uncalibrated']:.3f}",
        "Brier": ranged(judgement["calibration"]["brier"]),
        "sensitivity / specificity": " / ".join(f"{value:.3f}" for value in judgement["operating"].values()),
        "subject AUC": ranged(subject["roc_auc"]),
        "by mean": f"{judgement['subject_by_mean']['roc_auc']['value']:.3f}",
        "covered": f"{judgement['coverage']['covered'][0]:.3f}",
        "both": f"{judgement['coverage']['both']:.3f}",
        "flagged": f"{judgement['flagged'][0]:.3f}",
        "chosen": " ".join(judgement["chosen"]),
    }


def _notes(by_seed: list[dict[str, Any]]) -> list[str]:
    """Say the spread over seeds."""
    figures = {
        name: [one[level][name]["value"] for one in by_seed]
        for level, name in (
            ("cell", "roc_auc"),
            ("cell", "weighted_f1"),
            ("calibration", "ece"),
            ("calibration", "brier"),
        )
    }
    return [
        f"{name}: mean {mean(values):.3f}, standard deviation {stdev(values):.3f}" for name, values in figures.items()
    ]
