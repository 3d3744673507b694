"""`python -m research.classification.fit`: train the classifier that ships, on all cells, with its card."""

import argparse
import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch

from leukospike.classification.appearance_learning import AppearanceTraining, train_appearance
from leukospike.classification.classifier import Classifier, fit_confidence, write_classifier
from leukospike.classification.source import reference_of
from leukospike.confidence import fit_mahalanobis
from research import tables
from research.classification.data import FOLDS, cohort, folds, others
from research.classification.nested import distances
from research.classification.scores import held_out_scores

SHIPPED = Path("src/leukospike/classification/classifier.safetensors")
CONFIG = AppearanceTraining()
METHOD = "appearance"
SEED = 0


def main() -> int:
    """Fit what says how far to believe it on the folds of a cross-validation, then train on all cells."""
    argparse.ArgumentParser(prog="python -m research.classification.fit", description=__doc__).parse_args()
    torch.set_num_threads(1)
    cells = cohort()
    labels, groups = cells.cells.labels, cells.groups
    number = folds(labels, groups, SEED)
    scores, far = np.empty(len(labels)), np.empty(len(labels))
    for fold in range(FOLDS):
        held = np.flatnonzero(number == fold)
        scores[held] = held_out_scores(cells, METHOD, [fold], SEED)[0][held]
        far[held] = distances(cells, others(number, [fold]), held)
    networks = train_appearance(cells.cells, CONFIG, known=cells.appearances)
    embedding = networks[0].standardised(torch.from_numpy(cells.appearances)).numpy()
    classifier = Classifier(
        networks=networks,
        confidence=fit_confidence(scores, far, labels, groups),
        distance=fit_mahalanobis(embedding, labels),
        reference=reference_of(cells.cells.crops, labels),
        card=card(len(labels), len(np.unique(cells.subjects)), len(np.unique(groups))),
    )
    write_classifier(classifier, SHIPPED)
    print(f"{len(labels)} cells: {SHIPPED}, {SHIPPED.stat().st_size / 1e6:.2f} MB")
    return 0


def card(n_cells: int, n_subjects: int, n_groups: int) -> dict[str, Any]:
    """Say what there is to know of the classifier; the figures are those that the nested cross-validation saved."""
    nested = json.loads((tables.RESULTS / "classification.json").read_text(encoding="utf-8"))["nested"]
    judged = list(nested.values())

    def over_seeds(level: str, figure: str) -> str:
        values = [one[level][figure]["value"] for one in judged]
        low, high = (
            mean(one[level][figure]["low"] for one in judged),
            mean(one[level][figure]["high"] for one in judged),
        )
        return f"{mean(values):.3f} ({low:.3f} to {high:.3f})"

    return {
        "name": "leukospike classifier 1",
        "what": "Gives a white cell the probability that it is a leukemic B-lymphoblast and not a normal B-lymphoid"
        " precursor, by its shape, its colours and their coarse order; three networks with two hidden layers.",
        "intended_use": "Research on smears of acute lymphoblastic leukemia. Never a diagnosis.",
        "data": f"{n_cells} cells of {n_subjects} subjects of C-NMC 2019 (A. Gupta, R. Gupta, The Cancer Imaging"
        " Archive, doi 10.7937/tcia.2019.dc64i46r), licence CC BY 3.0: its training folds, incomplete.",
        "weights_licence": "Apache-2.0",
        "protocol": f"Nested cross-validation by subject, {FOLDS} outer folds, {len(judged)} seeds, {n_groups}"
        " independent subjects (those that share images count as one): inner folds choose, outer report."
        " Intervals are 95 %, from resampling subjects. These weights are trained on all cells, and have no figure of"
        " their own; their calibration is of the folds.",
        "figures": {
            "cell: area under the ROC curve": over_seeds("cell", "roc_auc"),
            "cell: weighted F1": over_seeds("cell", "weighted_f1"),
            "cell: sensitivity at one half": over_seeds("cell", "sensitivity"),
            "cell: specificity at one half": over_seeds("cell", "specificity"),
            "cell: calibration error": over_seeds("calibration", "ece"),
            "cell: Brier score": over_seeds("calibration", "brier"),
            "subject: area under the ROC curve": over_seeds("subject", "roc_auc"),
        },
        "limits": [
            "It knows one laboratory's cells, cut out and stain-normalised; how it does on another's is not known.",
            "Cells of another laboratory are moved together to the training cells' size and colours, three times, as if"
            " none, half and all of them were blasts: of cells all of one kind, as of a single subject, it can tell"
            " little.",
            "Mature lymphocytes, other leukocytes and T-lymphoblasts are none of its classes: at best they are flagged"
            " as outliers.",
            "Eleven normal subjects: of one, with 46 cells, most are taken for leukemic.",
            "A leukemic subject's normal cells were labelled leukemic.",
        ],
        "rebuild": "python -m research classification && python -m research.classification.fit",
    }


if __name__ == "__main__":
    sys.exit(main())
