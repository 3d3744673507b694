"""`python -m research.segmentation.fit_parting`: fit what tells lobes of one cell from cells that touch.

Prints the weights that `leukospike.segmentation.parting` holds, and how many cells are kept whole and how many touching
ones parted, on the images of this split that were fitted and on the others.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression

from benchmarks.pictures import data_folder
from leukospike.segmentation.instances import NUCLEUS, find_cells
from leukospike.segmentation.parting import EVIDENCE, Contact, Part, at_step, evidence, is_plain_cell, joined, lobes_of
from research.segmentation.data import folds, load
from research.segmentation.scores import box_iou
from research.segmentation.touching import SCALES, KnownCells, drawn_cells, found_cells, single_cells, touching_cells

_FOUND_PER_KIND = 40
_CLUMPS = (3, 5, 8)  # cells
_C = 10.0  # inverse strength of the penalty, on standardised evidence: as good as none, with so few weights
_LEAST_IOU = 0.5
_ONE_CELL = (
    2.0  # at 1, six of 516 fields of one cell came apart that stayed whole before; at 2, two; at 4, pairs do not
)


@dataclass(frozen=True)
class Examples:
    """Class maps of known cells, from the images of one set and one side of the split."""

    single: list[KnownCells]
    pairs: list[KnownCells]
    clumps: list[KnownCells]


def examples(seed: int = 0) -> dict[str, Examples]:
    """Give known cells by "set, side": a quarter of the drawn and half of the found cells are "test"."""
    generator = np.random.default_rng(seed)
    cells: dict[str, list[np.ndarray]] = {}
    for name in ("tecom", "cellavision"):
        images = load(name, data_folder())
        fold = folds(images)[0]
        for side, places in (("fit", fold.train), ("test", fold.test)):
            cells[f"{name}, {side}"] = drawn_cells([images[place] for place in places])
    found = found_cells(data_folder() / "pbc", _FOUND_PER_KIND)
    cells["pbc, fit"], cells["pbc, test"] = found[::2], found[1::2]
    known: dict[str, Examples] = {}
    for name, maps in cells.items():
        known[name] = Examples([], [], [])
        for scale in SCALES:
            single = single_cells(maps, scale)
            known[name].single.extend(single)
            known[name].pairs.extend(touching_cells(single, len(single), generator, n_cells=2))
            for n_cells in _CLUMPS:
                clumps = touching_cells(single, len(single) // len(_CLUMPS), generator, n_cells=n_cells)
                known[name].clumps.extend(clumps)
    return known


def labelled_pairs(cells: KnownCells) -> tuple[list[list[float]], list[bool]]:
    """Measure pairs of parts as they join when it is known which are one cell, and tell which are."""
    component, nucleus = cells.class_map > 0, cells.class_map == NUCLEUS
    if is_plain_cell(component, nucleus):
        return [], []
    lobes = lobes_of(component, nucleus)
    true = at_step(cells.labels, lobes.step)
    owner = {
        number: np.bincount(true[(lobes.basins == number) & lobes.nucleus], minlength=2)[1:].argmax()
        for number in lobes.parts
    }
    rows: list[list[float]] = []
    same: list[bool] = []

    def known(pair: tuple[int, int], a: Part, b: Part, contact: Contact) -> float:
        rows.append(evidence(a, b, contact))
        same.append(bool(owner[pair[0]] == owner[pair[1]]))
        # The widest neck first, as it will mostly be.
        return contact.neck if same[-1] else -1.0

    joined(lobes.parts, lobes.contacts, known)
    return rows, same


def fit(cells: Sequence[KnownCells]) -> tuple[np.ndarray, float]:
    """Fit weights and bias, each image counting as much for either answer, and one cell twice as much as two."""
    measured = [labelled_pairs(one) for one in cells]
    rows = np.array([row for own, _ in measured for row in own])
    same = np.array([answer for _, own in measured for answer in own])
    weight = np.array([(_ONE_CELL if answer else 1) / own.count(answer) for _, own in measured for answer in own])
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    model = LogisticRegression(C=_C, max_iter=5000).fit((rows - mean) / spread, same, sample_weight=weight)
    weights = model.coef_[0] / spread
    return weights, float(model.intercept_[0] - weights @ mean)


def share_parted(cells: Sequence[KnownCells]) -> float:
    """Return the share of images where as many cells are found as there are, each in a box like its own."""
    return float(np.mean([n_found == n_right == len(one.boxes) for one in cells for n_found, n_right in [_found(one)]]))


def share_found(cells: Sequence[KnownCells]) -> tuple[float, float]:
    """Return the share of cells that are found in a box like their own, and of what is found that is such a cell."""
    counts = np.array([(*_found(one), len(one.boxes)) for one in cells]).sum(axis=0)
    return counts[1] / counts[2], counts[1] / counts[0]


def _found(cells: KnownCells) -> tuple[int, int]:
    """Count the boxes that are found, and the known ones among them."""
    found = find_cells(cells.class_map).boxes
    boxes = [(box.top, box.left, box.top + box.height, box.left + box.width) for box in found]
    known, places = (np.array(rows, np.int64).reshape(-1, 4) for rows in (cells.boxes, boxes))
    return len(boxes), int((box_iou(known, places) >= _LEAST_IOU).any(axis=1).sum())


def main() -> None:
    """Fit on one side of the split, and print."""
    argparse.ArgumentParser(prog="python -m research.segmentation.fit_parting", description=__doc__).parse_args()
    known = examples()
    fitted = [own for name, own in known.items() if name.endswith("fit")]
    weights, bias = fit([cells for own in fitted for cells in (*own.single, *own.pairs, *own.clumps)])
    print("weights", dict(zip(EVIDENCE, weights.round(2).tolist(), strict=True)), "bias", round(bias, 2))
    for name, own in known.items():
        recall, precision = share_found(own.clumps)
        print(
            f"{name}: {share_parted(own.single):.3f} of {len(own.single)} single cells kept whole;"
            f" {share_parted(own.pairs[::2]):.3f} of {len(own.pairs[::2])} pairs parted where cytoplasm touches,"
            f" {share_parted(own.pairs[1::2]):.3f} of {len(own.pairs[1::2])} where nuclei do;"
            f" in {len(own.clumps)} clumps, {recall:.3f} of cells found, {precision:.3f} of finds right"
        )


if __name__ == "__main__":
    main()
