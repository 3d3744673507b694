"""The cells that two runs have both tested."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from leukospike.errors import RunError
from leukospike.experiments.splits import linked_groups
from leukospike.report.inputs import Columns, Run, read_run


@dataclass(frozen=True)
class Pairs:
    """Two runs, and what each said of the cells that both have tested; arrays are in the order of the images."""

    names: tuple[str, str]
    """Of the run folders."""
    runs: tuple[Run, Run]
    images: np.ndarray
    """(n,) str."""
    labels: Int64[np.ndarray, " n"]
    """1 leukemic, 0 normal; the same in both runs."""
    probabilities: tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]
    folds: tuple[np.ndarray, np.ndarray]
    groups: np.ndarray
    """(n,) str: the subject of each cell, or its image where neither run knows the subjects. Subjects that the other
    run takes for one are one, named by all their names."""
    has_subjects: bool
    renamed: int
    """Cells whose subject the runs name differently."""
    alone: tuple[int, int]
    """Cells that only this run has tested."""
    copies: tuple[int, int]
    """Predictions of augmented copies, which have no partner and are left out."""

    @property
    def group_name(self) -> str:
        """What is drawn for the intervals, in the plural."""
        return "subjects" if self.has_subjects else "images"

    @property
    def same_folds(self) -> bool:
        """Whether cells that are tested together in one run are so in the other, whatever the folds' numbers."""
        first, second = self.folds
        joint = np.unique(np.stack([first, second]), axis=1).shape[1]
        return joint == len(np.unique(first)) == len(np.unique(second))


def pair_runs(first: Path, second: Path) -> Pairs:
    """Read two run folders and pair their predictions by the names of the images.

    Parameters
    ----------
    first, second : Path
        Folders of finished runs.

    Returns
    -------
    Pairs

    Raises
    ------
    RunError
        If a folder is no finished run, no image was tested by both, or one has two labels.
    """
    runs = read_run(first, where="compare"), read_run(second, where="compare")
    tables = _originals(runs[0], first), _originals(runs[1], second)
    images, *places = np.intersect1d(tables[0]["image"], tables[1]["image"], return_indices=True)
    if len(images) == 0:
        msg = (
            f"compare: runs must have tested cells of the same names, got none in common of {len(tables[0]['image'])}"
            f" (first {tables[0]['image'][:1].tolist()}) and {len(tables[1]['image'])} (first"
            f" {tables[1]['image'][:1].tolist()}). Give runs on the same data."
        )
        raise RunError(msg)
    ours, theirs = (
        {name: column[where] for name, column in table.items()} for table, where in zip(tables, places, strict=True)
    )
    differ = np.flatnonzero(ours["label"] != theirs["label"])
    if len(differ):
        msg = (
            f"compare: runs must give a cell the same label, got two for {len(differ)} of {len(images)} cells (first"
            f" {images[differ[0]]}). Correct the data of one of them and repeat its run."
        )
        raise RunError(msg)
    groups, renamed = _groups(ours["subject"], theirs["subject"], images, tuple(run.has_subjects for run in runs))
    return Pairs(
        names=(first.resolve().name, second.resolve().name),
        runs=runs,
        images=images,
        labels=ours["label"].astype(np.int64),
        probabilities=(ours["probability"], theirs["probability"]),
        folds=(ours["fold"], theirs["fold"]),
        groups=groups,
        has_subjects=any(run.has_subjects for run in runs),
        renamed=renamed,
        alone=(len(tables[0]["image"]) - len(images), len(tables[1]["image"]) - len(images)),
        copies=(
            len(runs[0].predictions["image"]) - len(tables[0]["image"]),
            len(runs[1].predictions["image"]) - len(tables[1]["image"]),
        ),
    )


def _originals(run: Run, folder: Path) -> Columns:
    """Give the predictions of the images themselves, each once."""
    table = run.predictions
    if "copy" in table:
        chosen = np.flatnonzero(table["copy"] == 0)
        table = {name: column[chosen] for name, column in table.items()}
    names, counts = np.unique(table["image"], return_counts=True)
    if len(names) < len(table["image"]):
        msg = (
            f"compare: predictions.csv must hold each image once, got {names[counts > 1][0]} {counts.max()} times in"
            f" {folder}. Make the run anew."
        )
        raise RunError(msg)
    folds = table["fold"]
    odd = ~np.isin(folds, [fold.fold for fold in run.folds])
    if odd.any():
        msg = (
            f"compare: predictions.csv must name a fold of the run, 0 to {len(run.folds) - 1}, got {folds[odd][0]:g}"
            f" for {table['image'][odd][0]} in {folder}. Make the run anew."
        )
        raise RunError(msg)
    usable = np.isin(table["label"], (0, 1)) & (table["probability"] >= 0) & (table["probability"] <= 1)
    if not usable.all():
        msg = (
            "compare: predictions.csv must give each image a label, 0 or 1, and a probability, 0 to 1, got neither for"
            f" {table['image'][~usable][0]} in {folder}. Make the run anew."
        )
        raise RunError(msg)
    return table


def _groups(
    ours: np.ndarray, theirs: np.ndarray, images: np.ndarray, known: tuple[bool, ...]
) -> tuple[np.ndarray, int]:
    """Give each cell what it must be drawn with, and how many cells have two names for their subject."""
    if not all(known):
        return (ours if known[0] else theirs if known[1] else images), 0
    renamed = int(np.sum(ours != theirs))
    if renamed == 0:
        return ours, 0
    joined = linked_groups(ours.tolist(), theirs.tolist())
    names = np.array(
        [
            ", ".join(sorted({*ours[joined == group].tolist(), *theirs[joined == group].tolist()}))
            for group in range(int(joined.max()) + 1)
        ]
    )
    return names[joined], renamed
