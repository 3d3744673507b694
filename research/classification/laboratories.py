"""The cells of all laboratories, each as the segmenter cuts it out and with its kind, read once and kept."""

import csv
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pictures import data_folder
from leukospike.classification.kind_input import CELL_PX, cell_pixels
from leukospike.datasets import collect_images
from leukospike.datasets.decoding import decoded
from leukospike.images import Picture
from leukospike.images.framing import C_NMC_FRAMING
from leukospike.segmentation import Segmentation
from leukospike.segmentation.crop import crop_cell
from leukospike.segmentation.instances import Box, Instances
from leukospike.segmentation.light import estimate_light
from leukospike.segmentation.methods import surrogate
from leukospike.segmentation.result import segment_pixels
from leukospike.storage.files import written_whole
from research import tables

FIELDS = ("chula", "bccd", "raabin")
"""Laboratories that give whole fields with boxes."""

LABORATORIES = ("pbc", "tecom", "cellavision", "chula", "bccd", "raabin")
"""Besides C-NMC; of the last two, no white cell has a kind."""

WITH_OBJECTS = ("bccd", "raabin")
"""Laboratories that box red cells and platelets."""

KIND_OF_FOLDER = {
    "basophil": "basophil",
    "eosinophil": "eosinophil",
    "erythroblast": "erythroblast",
    "ig": "immature granulocyte",
    "lymphocyte": "lymphocyte",
    "monocyte": "monocyte",
    "neutrophil": "neutrophil",
    "platelet": "platelet",
}
KIND_OF_NUMBER = {"1": "neutrophil", "2": "lymphocyte", "3": "monocyte", "4": "eosinophil", "5": "basophil"}

WHITE = "white cell"
"""A white cell of unknown kind."""

NONE_OF_THESE = "not one of these"

Corners = tuple[int, int, int, int]
"""Top, left, bottom, right."""

_OVERLAP = 0.3
_TOUCHES = 0.1


@dataclass(frozen=True)
class Found:
    """Cells of one laboratory, in the order of its images."""

    pixels: np.ndarray
    """Uint8, (cells, 192, 192, 3), see `kind_input.cell_pixels`."""
    kind: np.ndarray
    image: np.ndarray
    diameter_px: np.ndarray
    """In the image."""
    um_per_px: np.ndarray
    """As the red cells of the image tell; NaN where they do not."""
    red_cells: np.ndarray
    """How many told it."""
    frame: np.ndarray
    """Int, (cells, 2): rows and columns of the image."""


def cells_of(name: str) -> Found:
    """Read a laboratory, or what was kept of it."""
    return _kept(f"cells-{name}", lambda: _fields(name) if name in FIELDS else _singles(name))


def _kept(name: str, read: Callable[[], Iterator[tuple[object, ...]]]) -> Found:
    """Read cells once, and keep them."""
    kept = tables.RESULTS / "classification" / f"{name}.npz"
    if not kept.exists():
        columns = [np.array(column) for column in zip(*read(), strict=True)]
        arrays: dict[str, Any] = dict(zip(Found.__dataclass_fields__, columns, strict=True))
        with written_whole(kept) as part:
            np.savez(part, **arrays)
    with np.load(kept, allow_pickle=False) as arrays:
        return Found(**{column: arrays[column] for column in Found.__dataclass_fields__})


def _singles(name: str) -> Iterator[tuple[object, ...]]:
    """Yield the cell in the middle of each picture."""
    folders, numbers = [data_folder() / "pbc"], dict[int, str]()
    if name != "pbc":
        folders = [data_folder() / "wbc-seg" / name]
        with (folders[0] / "class_labels.csv").open(encoding="utf-8") as file:
            numbers = {int(row[0]): row[1] for row in list(csv.reader(file))[1:]}
    records = [record for record in collect_images(folders) if "_mask" not in record.image]
    for record, picture in decoded(records):
        if not isinstance(picture, Picture):
            continue
        path = Path(record.image)
        kind = KIND_OF_FOLDER[path.parent.name] if name == "pbc" else KIND_OF_NUMBER[numbers[int(path.stem)]]
        segmentation = segment_pixels("", picture.pixels, surrogate().segmenter)
        if (number := segmentation.middle_cell) is not None:
            yield from _cut_out(segmentation, picture, [(number, kind)], f"{path.parent.name}/{path.stem}")


def _fields(name: str) -> Iterator[tuple[object, ...]]:
    """Yield what is found in each field, by the box that it lies in; what touches no box is none of these."""
    boxes = _boxes_of(name)
    for record, picture in decoded(collect_images([data_folder() / name / "images"])):
        if not isinstance(picture, Picture):
            continue
        stem = Path(record.image).stem
        segmentation = segment_pixels("", picture.pixels, surrogate().segmenter)
        chosen: list[tuple[int, str]] = []
        for measures in segmentation.measures:
            if measures.border:
                continue
            own = _corners(segmentation.instances.boxes[measures.cell - 1])
            white = [(label, _iou(own, other)) for label, other in boxes[stem] if label not in {"RBC", "Platelets"}]
            label, overlap = max(white, key=lambda one: one[1], default=("", 0.0))
            if overlap >= _OVERLAP:
                chosen.append((measures.cell, WHITE if label == "WBC" else label))
            elif overlap < _TOUCHES:
                platelet = max((_iou(own, other) for what, other in boxes[stem] if what == "Platelets"), default=0.0)
                chosen.append((measures.cell, "platelet" if platelet >= _OVERLAP else NONE_OF_THESE))
        yield from _cut_out(segmentation, picture, chosen, stem)


def _boxes_of(name: str) -> dict[str, list[tuple[str, Corners]]]:
    """Return the boxes of each image, with their labels."""
    boxes: dict[str, list[tuple[str, Corners]]] = defaultdict(list)
    with (data_folder() / name / "boxes.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            left, top, right, bottom = (int(row[side]) for side in ("xmin", "ymin", "xmax", "ymax"))
            boxes[row["image"]].append((row["label"], (top, left, bottom, right)))
    return boxes


def _corners(box: Box) -> Corners:
    """Return the top, left, bottom and right of a box."""
    return (box.top, box.left, box.top + box.height, box.left + box.width)


def _iou(one: Corners, other: Corners) -> float:
    """Return the intersection of two boxes over their union."""
    height = min(one[2], other[2]) - max(one[0], other[0])
    width = min(one[3], other[3]) - max(one[1], other[1])
    both = max(height, 0) * max(width, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return both / (sum(areas) - both)


def _cut_out(
    segmentation: Segmentation, picture: Picture, chosen: list[tuple[int, str]], image: str
) -> Iterator[tuple[object, ...]]:
    """Cut cells out as an analysis does."""
    if not chosen:
        return
    even, size = segmentation.light.correct(picture.pixels), segmentation.pixel_size
    for number, kind in chosen:
        shown = crop_cell(even, segmentation.instances, number, C_NMC_FRAMING)
        area = segmentation.measures[number - 1].area_px
        yield (
            cell_pixels(shown),
            kind,
            image,
            2 * float(np.sqrt(area / np.pi)),
            np.nan if size is None else size.um_per_px,
            0 if size is None else size.red_cells,
            segmentation.mask.shape,
        )


def objects_of(name: str) -> Found:
    """Read red cells and platelets of a set of fields with boxes, one of each a field, or what was kept of them."""
    return _kept(f"objects-{name}", lambda: _objects(name))


def _objects(name: str) -> Iterator[tuple[object, ...]]:
    """Yield the ellipse in a box of each kind: what the segmenter may take for a white cell under odd light."""
    boxes = _boxes_of(name)
    rng = np.random.default_rng(0)
    for record, picture in decoded(collect_images([data_folder() / name / "images"])):
        if not isinstance(picture, Picture):
            continue
        stem, (rows, columns) = Path(record.image).stem, picture.pixels.shape[:2]
        even = estimate_light(picture.pixels).correct(picture.pixels)
        for label, kind in (("RBC", NONE_OF_THESE), ("Platelets", "platelet")):
            whole = [
                box
                for own, box in boxes[stem]
                if own == label and min(box[:2]) > 0 and box[2] < rows - 1 and box[3] < columns - 1
            ]
            if not whole:
                continue
            top, left, bottom, right = whole[int(rng.integers(len(whole)))]
            down, across = np.ogrid[:rows, :columns]
            middle, half = ((top + bottom) / 2, (left + right) / 2), ((bottom - top) / 2, (right - left) / 2)
            inside = ((down - middle[0]) / half[0]) ** 2 + ((across - middle[1]) / half[1]) ** 2 <= 1
            instances = Instances(inside.astype(np.int32), (Box(top, left, bottom - top, right - left),))
            shown = crop_cell(even, instances, 1, C_NMC_FRAMING)
            diameter = 2 * float(np.sqrt(np.count_nonzero(inside) / np.pi))
            yield cell_pixels(shown), kind, stem, diameter, np.nan, 0, (rows, columns)


def of_cnmc() -> np.ndarray:
    """Return the pixels of C-NMC's cells, in the order of `data.cohort`."""
    kept = tables.RESULTS / "classification" / "cells-c-nmc.npy"
    if not kept.exists():
        from leukospike.datasets import read_dataset

        records = read_dataset(data_folder() / "c-nmc").labelled().records
        pixels = np.empty((len(records), CELL_PX, CELL_PX, 3), np.uint8)
        for place, (_, picture) in enumerate(decoded(records)):
            if isinstance(picture, Picture):
                pixels[place] = cell_pixels(picture.pixels)
        with written_whole(kept) as part:
            np.save(part, pixels)
    return np.load(kept, mmap_mode="r")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        if name.endswith("-objects"):
            print(name, len(objects_of(name.removesuffix("-objects")).kind), flush=True)
        else:
            print(name, len(of_cnmc()) if name == "c-nmc" else len(cells_of(name).kind), flush=True)
