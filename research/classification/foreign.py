"""Cells of other kinds and of other laboratories, by the classifier that ships."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.special import expit
from sklearn.metrics import log_loss, roc_auc_score

from benchmarks.pictures import data_folder
from leukospike.analysis.analyze import analyze_images
from leukospike.analysis.flags import OUTLIER
from leukospike.analysis.judges import PackageJudge
from leukospike.classification.appearance_learning import AppearanceTraining, appearances, train_appearance
from leukospike.classification.appearance_network import AppearanceNetwork
from leukospike.classification.augmentation import augmented
from leukospike.classification.classifier import default_classifier, ensemble
from leukospike.classification.network import colours_of
from leukospike.classification.source import SHARES, Reference, brought, diameter_of, reference_of, zoomed
from leukospike.confidence import EVEN, score_subjects
from leukospike.datasets import collect_images
from leukospike.segmentation.methods import surrogate
from research import tables
from research.classification.data import FOLDS, Cohort, cohort, folds, others
from research.classification.nested import distances

SEED = 0
LABORATORIES = 5
"""Drawn at random: one stain, one light and one magnification for all cells of each."""

DRAWN_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of blasts, among the `CELLS_DRAWN` cells that a laboratory shows of a fold."""

CELLS_DRAWN = 120
FEWEST_CELLS = 5
"""Of a subject that is judged."""

_STRENGTH = 1.0
_ZOOM = (0.8, 1.25)


def run() -> None:
    """Print and save all tables."""
    torch.set_num_threads(1)
    cells = cohort()
    kinds = other_kinds(cells)
    print(tables.table("Cells of pbc against held-out cells of C-NMC", kinds))
    laboratories = other_laboratories(cells)
    print(tables.table("C-NMC's held-out cells, as five other laboratories would show them", laboratories))
    shares = shares_of_blasts(cells)
    print(tables.table("Likewise, by how many of the cells are blasts", shares))
    found = {"seed": SEED, "kinds": kinds, "laboratories": laboratories, "shares": shares}
    tables.save("classification-foreign", found)


def other_kinds(cells: Cohort) -> list[dict[str, str]]:
    """Analyse pbc as a user would, and hold the distances against those of subjects left out."""
    number = folds(cells.cells.labels, cells.groups, SEED)
    known = np.empty(len(number))
    for fold in range(FOLDS):
        held = np.flatnonzero(number == fold)
        known[held] = distances(cells, others(number, [fold]), held)
    with tempfile.TemporaryDirectory() as out:
        records, judge = collect_images([data_folder() / "pbc"]), PackageJudge(default_classifier())
        table = analyze_images(records, judge, Path(out), method=surrogate()).cells
    table["kind"] = [Path(image).parts[-2] for image in table["image"]]
    rows = [_kind("all", table, known)]
    return rows + [_kind(str(kind), part, known) for kind, part in table.groupby("kind")]


def _kind(name: str, table: pd.DataFrame, known: np.ndarray) -> dict[str, str]:
    """Say how far cells of one kind are told from those known; those in which nothing is found are as far as can be."""
    far = table["distance"].astype("float64").fillna(np.inf).to_numpy()
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
    """Show each fold's held-out cells in other stain, light and size, and score them as they are and brought back."""
    number = folds(cells.cells.labels, cells.groups, SEED)
    scores: dict[str, np.ndarray] = {}
    for fold in range(FOLDS):
        networks, reference = _learned(cells, others(number, [fold]))
        held = np.flatnonzero(number == fold)
        shown = {"as they are": cells.cells.crops[held]}
        shown |= {f"laboratory {number}": _as_shown_by(shown["as they are"], number) for number in range(LABORATORIES)}
        for name, crops in shown.items():
            scores.setdefault(name, np.empty(len(number)))[held] = _probabilities(networks, crops)
            ways = _ways(networks, reference, crops)
            scores.setdefault(f"{name}, moved", np.empty(len(number)))[held] = ways.mean(axis=0)
    return [
        {
            "shown": name,
            "AUC": f"{roc_auc_score(cells.cells.labels, score):.3f}",
            "accuracy": f"{np.mean((score >= EVEN) == cells.cells.labels):.3f}",
            "called leukemic": f"{np.mean(score >= EVEN):.2f}",
        }
        for name, score in scores.items()
    ]


def shares_of_blasts(cells: Cohort) -> list[dict[str, str]]:
    """Draw held-out cells of which other shares are blasts, and hold all `SHARES` against one of them alone."""
    number, labels = folds(cells.cells.labels, cells.groups, SEED), cells.cells.labels
    rng = np.random.default_rng(SEED)
    subject_model = default_classifier().confidence.subjects
    by_cell: dict[tuple[float, str], list[tuple[float, float]]] = {}
    by_subject: dict[tuple[float, str], list[float]] = {}
    for fold in range(FOLDS):
        networks, reference = _learned(cells, others(number, [fold]))
        kinds = [np.flatnonzero((number == fold) & (labels == label)) for label in (0, 1)]
        for laboratory in range(LABORATORIES):
            for share in DRAWN_SHARES:
                n_blasts = round(share * CELLS_DRAWN)
                drawn = np.concatenate(
                    [rng.choice(kind, n) for kind, n in zip(kinds, (CELLS_DRAWN - n_blasts, n_blasts), strict=True)]
                )
                truth, groups = labels[drawn], cells.groups[drawn]
                all_ways = _ways(networks, reference, _as_shown_by(cells.cells.crops[drawn], laboratory))
                for name, ways in (("half", all_ways[[SHARES.index(EVEN)]]), ("all", all_ways)):
                    probability = ways.mean(axis=0)
                    right = float(np.mean((probability >= EVEN) == truth))
                    by_cell.setdefault((share, name), []).append((right, log_loss(truth, probability, labels=[0, 1])))
                    by_subject.setdefault((share, name), []).extend(
                        -np.log(one.posterior if truth[groups == one.subject][0] else 1 - one.posterior)
                        for one in score_subjects(subject_model, ways, groups)
                        if np.count_nonzero(groups == one.subject) >= FEWEST_CELLS
                    )
    rows: list[dict[str, str]] = []
    for share in DRAWN_SHARES:
        row = {"blasts": f"{share:.0%}"}
        for name in ("half", "all"):
            right, loss = np.mean(by_cell[share, name], axis=0)
            row |= {f"accuracy, {name}": f"{right:.3f}", f"log loss, {name}": f"{loss:.3f}"}
            row[f"log loss of subjects, {name}"] = f"{np.mean(by_subject[share, name]):.2f}"
        rows.append(row)
    return rows


def _learned(cells: Cohort, train: np.ndarray) -> tuple[Sequence[AppearanceNetwork], Reference]:
    """Train the networks on some cells, and measure how these look."""
    networks = train_appearance(cells.part(train), AppearanceTraining(seed=SEED), known=cells.appearances[train])
    return networks, reference_of(cells.cells.crops[train], cells.cells.labels[train])


def _probabilities(networks: Sequence[AppearanceNetwork], crops: np.ndarray) -> np.ndarray:
    """Return the probabilities, calibrated as those of what ships."""
    score, _ = ensemble(networks, appearances(crops))
    return default_classifier().confidence.calibration.apply(expit(score))


def _ways(networks: Sequence[AppearanceNetwork], reference: Reference, crops: np.ndarray) -> np.ndarray:
    """Bring cells back to the look of the training cells, in each way that `analyze` does, and score them."""
    diameters = np.array([diameter_of(crop) for crop in crops])
    relative = diameters / np.median(diameters)
    return np.stack([_probabilities(networks, brought(crops, relative, reference.look(share))) for share in SHARES])


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
