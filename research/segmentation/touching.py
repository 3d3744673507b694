"""Cells laid beside each other so that they touch, as class maps whose cells are known."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from leukospike.images import read_image
from leukospike.segmentation.class_maps import read_classes
from leukospike.segmentation.instances import CYTOPLASM, NUCLEUS, REST
from leukospike.segmentation.light import estimate_light
from leukospike.segmentation.network import default_segmenter
from leukospike.segmentation.regions import connected
from research.segmentation.data import NUCLEUS as DRAWN_NUCLEUS
from research.segmentation.data import AnnotatedImage

SCALES = (0.75, 1.5, 3.0)
"""Sizes at which cells are looked at, in those of a cell 75 pixels across."""

_CELL_PX = 75
_MOST_OVERLAP = 0.05  # share of the smaller cell, or nucleus, that the other may cover
_LARGE_NUCLEUS = 0.5  # share of the cell from which on nuclei are brought to touch, as those of blasts do
_STEPS = 20
_MOST_PX = 300  # longest side of what can be one cell of pbc, whose images are about 360
_LEAST_NUCLEUS = 0.1


@dataclass(frozen=True)
class KnownCells:
    """A class map and which cell each of its pixels is of."""

    class_map: np.ndarray
    """Uint8, (rows, columns): 0 rest, 1 cytoplasm, 2 nucleus."""
    labels: np.ndarray
    """Uint8, (rows, columns): number of the cell, 0 outside; where one covers another, of the one on top."""
    boxes: tuple[tuple[int, int, int, int], ...]
    """Of each whole cell, also where covered: top, left, bottom, right, half open."""


def drawn_cells(images: Sequence[AnnotatedImage]) -> list[np.ndarray]:
    """Return the class maps of drawn cells, one an image."""
    return [
        np.where(image.mask == DRAWN_NUCLEUS, NUCLEUS, np.where(image.mask > 0, CYTOPLASM, REST)).astype(np.uint8)
        for image in images
    ]


def found_cells(folder: Path, n_per_kind: int) -> list[np.ndarray]:
    """Return the class maps that the segmenter that ships finds of cells in the middle of images, by folder and name.

    Only of whole cells, with a nucleus, of a size that one cell can have there.
    """
    kinds = sorted(path for path in folder.iterdir() if path.name != "platelet")
    network = default_segmenter()
    cells: list[np.ndarray] = []
    for path in (path for kind in kinds for path in sorted(kind.iterdir())[:n_per_kind]):
        pixels = read_image(path).pixels
        class_map = read_classes(network, pixels, estimate_light(pixels)).classes
        labels, _ = connected(class_map > 0, corners=True)
        own = labels == labels[class_map.shape[0] // 2, class_map.shape[1] // 2]
        top, left, bottom, right = _box(own)
        if top == 0 or left == 0 or (bottom, right) == class_map.shape or max(bottom - top, right - left) > _MOST_PX:
            continue
        if np.mean(class_map[own] == NUCLEUS) >= _LEAST_NUCLEUS:
            cells.append(np.where(own, class_map, REST)[top:bottom, left:right])
    return cells


def single_cells(maps: Sequence[np.ndarray], scale: float) -> list[KnownCells]:
    """Bring the cells of one lens to one scale: 1 where the median cell is 75 pixels across."""
    across = 2 * np.sqrt(np.median([np.count_nonzero(class_map) for class_map in maps]) / np.pi)
    factor = scale * _CELL_PX / across
    found: list[KnownCells] = []
    for class_map in maps:
        rows, columns = (max(1, round(side * factor)) for side in class_map.shape)
        sized = np.asarray(Image.fromarray(class_map).resize((columns, rows), Image.Resampling.NEAREST))
        top, left, bottom, right = _box(sized > 0)
        cell = np.pad(sized[top:bottom, left:right], 2)
        found.append(KnownCells(cell, (cell > 0).astype(np.uint8), (_box(cell > 0),)))
    return found


def touching_cells(
    cells: Sequence[KnownCells], n_images: int, generator: np.random.Generator, *, n_cells: int
) -> list[KnownCells]:
    """Lay cells beside each other, turned at random, until they touch or one covers up to a twentieth of the other.

    Every second time only cells are taken whose nucleus fills half of them, and pushed on until the nuclei touch
    likewise.
    """
    return [_touching(cells, generator, n_cells, nuclei=bool(place % 2)) for place in range(n_images)]


def _touching(cells: Sequence[KnownCells], generator: np.random.Generator, n_cells: int, *, nuclei: bool) -> KnownCells:
    """Lay one cell after the other beside those that lie, towards their middle."""
    of_large = [cell for cell in cells if np.mean(cell.class_map[cell.class_map > 0] == NUCLEUS) >= _LARGE_NUCLEUS]
    chosen = of_large if nuclei else cells
    least = NUCLEUS if nuclei else CYTOPLASM
    class_map, *others = (
        _turned(chosen[place].class_map, generator) for place in generator.permutation(len(chosen))[:n_cells]
    )
    labels, boxes = (class_map > 0).astype(np.uint8), [_box(class_map > 0)]
    for number, cell in enumerate(others, start=2):
        wanted = generator.uniform(0, _MOST_OVERLAP) * np.count_nonzero(cell >= least)
        angle = generator.uniform(0, 2 * np.pi)
        near, far = 0.0, float(np.hypot(*class_map.shape) + np.hypot(*cell.shape))
        for _ in range(_STEPS):
            middle = (near + far) / 2
            below, above, _ = _laid(class_map, cell, angle, middle)
            near, far = (
                (middle, far) if np.count_nonzero((below >= least) & (above >= least)) > wanted else (near, middle)
            )
        below, above, (down, right) = _laid(class_map, cell, angle, near)
        numbered, _, _ = _laid(labels, cell, angle, near)
        class_map, labels = np.maximum(below, above), np.where(above > 0, number, numbered).astype(np.uint8)
        boxes = [(box[0] + down, box[1] + right, box[2] + down, box[3] + right) for box in boxes]
        boxes.append(_box(above > 0))
    return KnownCells(class_map, labels, tuple(boxes))


def _turned(class_map: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Turn by right angles and mirror at random."""
    turned = np.rot90(class_map, int(generator.integers(4)))
    return turned[::-1] if generator.random() < 0.5 else turned


def _laid(
    first: np.ndarray, second: np.ndarray, angle: float, distance: float
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Lay both on planes of one size, centres so far apart, and tell how far down and right the first came to lie."""
    centre = [(one - other) / 2 for one, other in zip(first.shape, second.shape, strict=True)]
    at = [round(half + distance * part) for half, part in zip(centre, (np.sin(angle), np.cos(angle)), strict=True)]
    start = [max(0, -place) for place in at]
    shape = [
        max(begin + one, begin + place + other)
        for begin, place, one, other in zip(start, at, first.shape, second.shape, strict=True)
    ]
    below, above = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    below[start[0] : start[0] + first.shape[0], start[1] : start[1] + first.shape[1]] = first
    row, column = start[0] + at[0], start[1] + at[1]
    above[row : row + second.shape[0], column : column + second.shape[1]] = second
    return below, above, (start[0], start[1])


def _box(region: np.ndarray) -> tuple[int, int, int, int]:
    """Return the smallest box around a region."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
