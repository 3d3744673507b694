"""`python -m benchmarks.classification.foreign`: cells of other kinds and other laboratories, by what ships."""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

from benchmarks import measure
from benchmarks.classification.data import FOLDS, Cohort, cohort, folds, others
from benchmarks.classification.nested import distances
from benchmarks.segmentation.data import data_folder
from leukospike.classification.appearance_learning import AppearanceTraining, appearances, train_appearance
from leukospike.classification.augmentation import augmented
from leukospike.classification.classifier import default_classifier, ensemble
from leukospike.classification.network import colours_of
from leukospike.classification.source import look_of, matched, zoomed
from leukospike.datasets import collect_images
from leukospike.scorers import ShippedScorer
from leukospike.scoring import OUTLIER, analyze_cells
from leukospike.segmentation.class_maps import class_maps
from leukospike.segmentation.network import default_segmenter

SEED = 0
LABORATORIES = 5
"""Drawn at random: one stain, one light and one magnification for all cells of each."""

_STRENGTH = 1.0
_ZOOM = (0.8, 1.25)


def main() -> int:
    """Print and save both tables."""
    argparse.ArgumentParser(prog="python -m benchmarks.classification.foreign", description=__doc__).parse_args()
    torch.set_num_threads(1)
    cells = cohort()
    kinds = other_kinds(cells)
    print(measure.table("Cells of pbc against held-out cells of C-NMC", kinds))
    laboratories = other_laboratories(cells)
    print(measure.table("C-NMC's held-out cells, as five other laboratories would show them", laboratories))
    measure.save("classification-foreign", {"seed": SEED, "kinds": kinds, "laboratories": laboratories})
    return 0


def other_kinds(cells: Cohort) -> list[dict[str, str]]:
    """Analyse pbc as a user would, and hold the distances against those of subjects left out."""
    number = folds(cells.cells.labels, cells.groups, SEED)
    known = np.empty(len(number))
    for fold in range(FOLDS):
        held = np.flatnonzero(number == fold)
        known[held] = distances(cells, others(number, [fold]), held)
    with tempfile.TemporaryDirectory() as out:
        table = analyze_cells(
            collect_images([data_folder() / "pbc"]),
            ShippedScorer(default_classifier()),
            Path(out),
            class_maps=partial(class_maps, default_segmenter()),
        ).cells
    table["kind"] = [Path(image).parts[-2] for image in table["image"]]
    rows = [_kind("all", table, known)]
    return rows + [_kind(kind, part, known) for kind, part in table.groupby("kind")]


def _kind(name: str, table: pd.DataFrame, known: np.ndarray) -> dict[str, str]:
    """Say how far cells of one kind are told from those known; those in which nothing is found are as far as can be."""
    far = pd.to_numeric(table["distance"]).fillna(np.inf).to_numpy()
    most = max(known.max(), far[np.isfinite(far)].max(initial=0)) + 1
    truth = np.repeat([0, 1], [len(known), len(far)])
    area = roc_auc_score(truth, np.concatenate([known, np.minimum(far, most)]))
    left_out = table["probability"].isna() | table["flags"].str.contains(OUTLIER)
    called = table["probability"].ge(0.5) & np.logical_not(left_out)
    return {
        "kind": name,
        "images": str(len(table)),
        "AUROC": f"{area:.3f}",
        "flagged or nothing found": f"{left_out.mean():.2f}",
        "called leukemic": f"{called.mean():.2f}",
    }


def other_laboratories(cells: Cohort) -> list[dict[str, str]]:
    """Show each fold's held-out cells in other stain, light and size, and score them unmatched and matched."""
    number = folds(cells.cells.labels, cells.groups, SEED)
    scores: dict[str, np.ndarray] = {}
    for fold in range(FOLDS):
        train, held = others(number, [fold]), np.flatnonzero(number == fold)
        networks = train_appearance(cells.part(train), AppearanceTraining(seed=SEED), known=cells.appearances[train])
        look = look_of(cells.cells.crops[train])
        shown: dict[str, np.ndarray] = {"as they are": cells.cells.crops[held]}
        shown["as they are, matched"] = matched(shown["as they are"], look_of(shown["as they are"]), look)
        for laboratory in range(LABORATORIES):
            crops = _as_shown_by(cells.cells.crops[held], laboratory)
            shown[f"laboratory {laboratory}"] = crops
            factor = look.diameter / look_of(crops).diameter
            sized = np.stack([zoomed(crop, factor) for crop in crops])
            shown[f"laboratory {laboratory}, matched"] = matched(sized, look_of(sized), look)
        for name, crops in shown.items():
            scores.setdefault(name, np.empty(len(number)))[held] = ensemble(networks, appearances(crops))[0]
    return [
        {
            "shown": name,
            "AUC": f"{roc_auc_score(cells.cells.labels, score):.3f}",
            "accuracy": f"{np.mean((score > 0) == cells.cells.labels):.3f}",
            "called leukemic": f"{np.mean(score > 0):.2f}",
        }
        for name, score in scores.items()
    ]


def _as_shown_by(crops: np.ndarray, laboratory: int) -> np.ndarray:
    """Change stain, light and size of all cells alike."""
    zoom = float(np.random.default_rng((SEED, laboratory)).uniform(*_ZOOM))
    sized = np.stack([zoomed(crop, zoom) for crop in crops])
    parts = []
    for at in range(0, len(sized)):
        generator = torch.Generator().manual_seed(laboratory)
        colours = colours_of(torch.from_numpy(sized[at : at + 1]))
        parts.append(augmented(colours, strength=_STRENGTH, generator=generator))
    return (torch.cat(parts) * 255).round().byte().permute(0, 2, 3, 1).numpy()


if __name__ == "__main__":
    sys.exit(main())
