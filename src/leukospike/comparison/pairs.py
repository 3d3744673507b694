"""The cells that two runs both tested."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64

from leukospike.errors import RunError
from leukospike.experiments.folder import read_run
from leukospike.experiments.results import Run
from leukospike.experiments.splits import linked_groups

_WHERE = "compare_runs"


@dataclass(frozen=True)
class Pairs:
    """Two runs and their predictions for the cells that both tested; arrays are in the order of the images."""

    runs: tuple[Run, Run]
    images: np.ndarray
    """(n,) str."""
    labels: Int64[np.ndarray, " n"]
    """1 leukemic, 0 normal; the same in both runs."""
    probabilities: tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]
    folds: tuple[np.ndarray, np.ndarray]
    groups: np.ndarray
    """(n,) str: the subject of each cell, or its image if neither run knows the subjects. Subjects that either run
    treats as one are joined, under all their names."""
    has_subjects: bool
    renamed: int
    """Cells whose subjects are named differently by the two runs."""
    alone: tuple[int, int]
    """Cells tested only by this run."""
    copies: tuple[int, int]
    """Predictions of augmented copies, which have no counterpart and are left out."""

    @property
    def names(self) -> tuple[str, str]:
        """Names of the run folders."""
        return self.runs[0].name, self.runs[1].name

    @property
    def group_name(self) -> str:
        """Unit that is resampled for the intervals, in the plural."""
        return "subjects" if self.has_subjects else "images"

    @property
    def same_folds(self) -> bool:
        """Whether both runs test the same cells together, whatever the numbers of the folds."""
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
    runs = read_run(first), read_run(second)
    tables = _originals(runs[0], first), _originals(runs[1], second)
    images, *places = np.intersect1d(
        tables[0]["image"].to_numpy(str), tables[1]["image"].to_numpy(str), return_indices=True
    )
    if len(images) == 0:
        firsts = [f"{len(table)} (first {table['image'].head(1).tolist()})" for table in tables]
        rule, got = (
            "runs must have tested cells of the same names",
            f"none in common between {firsts[0]} and {firsts[1]}",
        )
        raise RunError(rule, where=_WHERE, got=got, advice="Pass runs on the same data.")
    ours, theirs = (table.iloc[where] for table, where in zip(tables, places, strict=True))
    differ = np.flatnonzero(ours["label"].to_numpy() != theirs["label"].to_numpy())
    if len(differ):
        rule = "runs must give a cell the same label"
        got = f"two for {len(differ)} of {len(images)} cells (first {images[differ[0]]})"
        raise RunError(rule, where=_WHERE, got=got, advice="Correct the data of one of them and repeat its run.")
    subjects = ours["subject"].to_numpy(str), theirs["subject"].to_numpy(str)
    groups, renamed = _groups(*subjects, images, tuple(run.has_subjects for run in runs))
    return Pairs(
        runs=runs,
        images=images,
        labels=ours["label"].to_numpy(np.int64),
        probabilities=(ours["probability"].to_numpy(np.float64), theirs["probability"].to_numpy(np.float64)),
        folds=(ours["fold"].to_numpy(), theirs["fold"].to_numpy()),
        groups=groups,
        has_subjects=any(run.has_subjects for run in runs),
        renamed=renamed,
        alone=(len(tables[0]) - len(images), len(tables[1]) - len(images)),
        copies=(len(runs[0].predictions) - len(tables[0]), len(runs[1].predictions) - len(tables[1])),
    )


def _originals(run: Run, folder: Path) -> pd.DataFrame:
    """Return the predictions of the images themselves, each once."""
    table = run.predictions
    if "copy" in table:
        table = table.query("copy == 0")
    again = "Repeat the run."
    counts = table["image"].value_counts()
    if len(counts) < len(table):
        rule, got = "predictions.csv must list each image once", f"{counts.index[0]} {counts.iloc[0]} times in {folder}"
        raise RunError(rule, where=_WHERE, got=got, advice=again)
    known = table["fold"].isin([fold.fold for fold in run.result.folds])
    odd = table.loc[~known]
    if len(odd):
        rule = f"predictions.csv must name a fold of the run, 0 to {len(run.result.folds) - 1}"
        got = f"{odd['fold'].iloc[0]:g} for {odd['image'].iloc[0]} in {folder}"
        raise RunError(rule, where=_WHERE, got=got, advice=again)
    usable = table["label"].isin((0, 1)) & table["probability"].between(0, 1)
    unusable = table.loc[~usable]
    if len(unusable):
        rule = "predictions.csv must give each image a label, 0 or 1, and a probability, 0 to 1"
        got = f"neither for {unusable['image'].iloc[0]} in {folder}"
        raise RunError(rule, where=_WHERE, got=got, advice=again)
    return table


def _groups(
    ours: np.ndarray, theirs: np.ndarray, images: np.ndarray, known: tuple[bool, ...]
) -> tuple[np.ndarray, int]:
    """Return the resampling group of each cell, and the number of cells whose subject has two names."""
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
