"""C-NMC as crops, with the groups of subjects that the leak audit finds to overlap, and the folds by group."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from benchmarks.pictures import data_folder
from leukospike.auditing import examine, grouped_dataset, read_material
from leukospike.classification.appearance_learning import appearances
from leukospike.classification.cells import LabelledCells
from leukospike.classification.network_input import cell_crop
from leukospike.datasets import read_dataset
from leukospike.datasets.decoding import decoded
from leukospike.images import Picture
from leukospike.storage.files import write_text, written_whole
from research import tables

FOLDS = 5


@dataclass(frozen=True)
class Cohort:
    """All cells, and what is measured of them once."""

    images: tuple[str, ...]
    cells: LabelledCells
    """With groups of overlapping subjects for subjects."""
    subjects: np.ndarray
    """As the data set has them."""
    appearances: np.ndarray

    @property
    def groups(self) -> np.ndarray:
        """Group of each cell."""
        return np.asarray(self.cells.subjects)

    def part(self, places: np.ndarray) -> LabelledCells:
        """Return some of the cells."""
        return LabelledCells(self.cells.crops[places], self.cells.labels[places], self.groups[places].tolist())


@cache
def cohort() -> Cohort:
    """Read C-NMC, or what was kept of it."""
    folder = data_folder() / "c-nmc"
    kept = tables.RESULTS / "classification" / "cells.npz"
    groups_file = kept.with_name("groups.json")
    dataset = read_dataset(folder).labelled()
    if not groups_file.exists():
        grouped = grouped_dataset(dataset, examine(read_material(folder)))
        write_text(groups_file, json.dumps({record.image: record.subject for record in grouped.records}))
    group_of = json.loads(groups_file.read_text(encoding="utf-8"))
    records = dataset.records
    if not kept.exists():
        crops = [cell_crop(read.pixels) for _, read in decoded(records) if isinstance(read, Picture)]
        with written_whole(kept) as part:
            np.savez(part, crops=np.stack(crops), appearances=appearances(np.stack(crops)))
    with np.load(kept, allow_pickle=False) as arrays:
        crops, measures = arrays["crops"], arrays["appearances"]
    labels = np.array([int(record.label or 0) for record in records])
    cells = LabelledCells(crops, labels, [group_of[record.image] for record in records])
    subjects = np.array([str(record.subject) for record in records])
    return Cohort(tuple(record.image for record in records), cells, subjects, measures)


def folds(labels: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """Return the number of the fold that each cell is tested in: whole groups, stratified by class."""
    number = np.zeros(len(labels), np.int64)
    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for fold, (_, test) in enumerate(splitter.split(labels, labels, groups)):
        number[test] = fold
    return number


def others(number: np.ndarray, held: Sequence[int]) -> np.ndarray:
    """Return the places of the cells of all folds but these."""
    return np.flatnonzero(np.logical_not(np.isin(number, held)))
