"""From the class of each pixel to cells as instances: find components, split them into cells, drop debris."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt8
from scipy import ndimage

from leukospike.segmentation.parting import part_by_nuclei, part_component
from leukospike.segmentation.regions import (
    Labels,
    Region,
    any_in_blocks,
    connected,
    depth_inside,
    fill_holes,
    window_of,
)

__all__ = [
    "CYTOPLASM",
    "MIN_RED_CELLS",
    "NUCLEUS",
    "REST",
    "Box",
    "ClassMap",
    "Instances",
    "Region",
    "connected",
    "depth_inside",
    "fill_holes",
    "find_cells",
    "part_component",
    "touches_border",
    "window_of",
]

REST, CYTOPLASM, NUCLEUS = 0, 1, 2
"""The classes of a class map."""

MIN_RED_CELLS = 0.75
"""Least area of a white cell, relative to a red cell: no white cell is smaller than a red cell, most platelets are.

This is a quarter below the red cell's area, since that is an estimate. In pbc, 21 of 40 platelets had more than half
the area of a red cell, and 9 had more than this limit, or no red cell beside them; of 285 nucleated cells one had less,
in bccd none.
"""

_MIN_OF_LARGEST = 0.1  # without red cells to compare with: least area, relative to the largest cell of the image
_MIN_OF_IMAGE = 0.0005  # ... and relative to the image, so that a lone speck is not a cell
_MIN_OF_WHOLE_AT_BORDER = 0.25  # a cell cut off at the border may be smaller by this factor
_MIN_NUCLEUS = 0.08  # least share of nucleus in a cell
_LARGEST_RED_CELLS = 3.5  # diameter of a large monocyte, 25 micrometres, in red cells of 7.2
_BLOCK = 4  # pixels; components are looked for on blocks of this side first

ClassMap = UInt8[np.ndarray, "rows columns"]


class Box(NamedTuple):
    """The smallest upright rectangle around a cell, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def window(self) -> tuple[slice, slice]:
        """The rows and columns, to index an array with."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


@dataclass(frozen=True)
class Instances:
    """The cells of one image, numbered from 1 by the row in which they begin, then the column.

    Attributes
    ----------
    labels : ndarray of shape (rows, columns), int32
        Number of the cell at each pixel, 0 outside.
    boxes : tuple of Box
        Boxes of cells 1, 2, ...
    """

    labels: Int[np.ndarray, "rows columns"]
    boxes: tuple[Box, ...]

    def only(self, kept: Bool[np.ndarray, " cells"]) -> "Instances":
        """Return some of the cells, renumbered in the same order."""
        numbers = np.concatenate([[0], np.where(kept, np.cumsum(kept), 0)]).astype(np.int32)
        if kept.all():
            return self
        return Instances(
            numbers[self.labels], tuple(box for box, is_kept in zip(self.boxes, kept, strict=True) if is_kept)
        )


def find_cells(class_map: ClassMap, *, red_cell_px: float | None = None) -> Instances:
    """Split the foreground of a class map into cells.

    Pixels of cytoplasm and nucleus that touch, including at corners, form one component, with holes filled. A component
    is split into cells by its nuclei and the necks of its outline, see `part_by_nuclei`: lobes of one nucleus stay in
    one cell, touching cells are separated, and cytoplasm too far from any nucleus, or behind a narrow neck, is left
    out. A cell in the hole of another stays a separate cell.

    Debris and platelets are dropped by size: below three quarters of a red cell's area if `red_cell_px` is given,
    otherwise below a tenth of the largest cell or 0.0005 of the image. A cell at the border may be a quarter of that.
    Objects with hardly any nucleus are not white cells and are dropped too.

    Parameters
    ----------
    class_map : ndarray of shape (rows, columns)
        uint8: 0 rest, 1 cytoplasm, 2 nucleus.
    red_cell_px : float, optional
        Diameter of a red cell, pixels.

    Returns
    -------
    Instances
        Empty if there are no cells. Each box is the smallest around the pixels of its cell, and each cell has pixels.
    """
    found: list[_Part] = []
    largest_px = None if red_cell_px is None else _LARGEST_RED_CELLS * red_cell_px
    for top, left, component in _components(class_map):
        window = slice(top, top + component.shape[0]), slice(left, left + component.shape[1])
        nucleus = (class_map[window] == NUCLEUS) & component
        labels, n_cells = part_by_nuclei(component, nucleus, largest_px=largest_px)
        for number in range(1, n_cells + 1):
            found += _trimmed(labels == number, top, left)
    found.sort(key=lambda part: part.box)
    drawn = _drawn(found, class_map.shape)
    kept = _without_debris(found, drawn, class_map, red_cell_px)
    labels = drawn if len(kept) == len(found) else _drawn(kept, class_map.shape)
    return Instances(labels, tuple(part.box for part in kept))


class _Component(NamedTuple):
    """A connected region within its box."""

    top: int
    left: int
    region: Region


class _Part(NamedTuple):
    """One candidate: its region within its box, with holes not filled, so that no two share a pixel."""

    box: Box
    region: Region


def _components(class_map: ClassMap) -> list[_Component]:
    """Return all connected components.

    Labelling 5 million pixels is slow, and most are empty: blocks are labelled first, then the pixels of non-empty
    blocks. Pixels that touch lie in blocks that touch, so the result equals that of labelling all pixels.
    """
    blocks, _ = connected(any_in_blocks(class_map, _BLOCK), corners=True)
    result: list[_Component] = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(blocks), start=1):
        top, left = rows.start * _BLOCK, columns.start * _BLOCK
        inside = class_map[top : rows.stop * _BLOCK, left : columns.stop * _BLOCK] > 0
        own = (blocks[rows, columns] == number).repeat(_BLOCK, axis=0).repeat(_BLOCK, axis=1)
        own = inside & own[: inside.shape[0], : inside.shape[1]]
        pixels, n_pieces = connected(own, corners=True)
        # A tenth of the time (measured).
        windows = [window_of(own)] if n_pieces == 1 else ndimage.find_objects(pixels)
        for index, window in enumerate(windows, start=1):
            result.append(_Component(top + window[0].start, left + window[1].start, pixels[window] == index))
    return result


def _trimmed(region: Region, top: int, left: int) -> list[_Part]:
    """Shrink the box to the part; return no part if it lost all its pixels to finer neighbours."""
    rows, columns = inside = window_of(region)
    if not rows.stop:
        return []
    part = region[inside]
    return [_Part(Box(top + rows.start, left + columns.start, *part.shape), part)]


def _drawn(parts: list[_Part], shape: tuple[int, ...]) -> Labels:
    """Assign each part and its holes its number, but not other parts inside the holes."""
    labels = np.zeros(shape, dtype=np.int32)
    for number, part in enumerate(parts, start=1):
        labels[part.box.window][part.region] = number
    # The smallest first: a hole of a cell within the hole of another is its own.
    for number, part in sorted(enumerate(parts, start=1), key=lambda item: item[1].box.height * item[1].box.width):
        filled = fill_holes(part.region)
        if filled is not part.region:
            view = labels[part.box.window]
            view[filled & (view == 0)] = number
    return labels


def touches_border(box: Box, shape: tuple[int, int]) -> bool:
    """Return whether a box reaches the first or last row or column of an image of `shape` (rows, columns)."""
    bottom, right = box.top + box.height, box.left + box.width
    return box.top == 0 or box.left == 0 or bottom == shape[0] or right == shape[1]


def _without_debris(parts: list[_Part], labels: Labels, class_map: ClassMap, red_cell_px: float | None) -> list[_Part]:
    """Keep the parts that are large enough and have a nucleus, as drawn in `labels`."""
    nucleated: list[tuple[_Part, int]] = []
    for number, part in enumerate(parts, start=1):
        own = labels[part.box.window] == number
        area = int(np.count_nonzero(own))
        if np.count_nonzero(own & (class_map[part.box.window] == NUCLEUS)) >= _MIN_NUCLEUS * area:
            nucleated.append((part, area))
    if red_cell_px is None:
        least = max(_MIN_OF_LARGEST * max((area for _, area in nucleated), default=0), _MIN_OF_IMAGE * class_map.size)
    else:
        least = MIN_RED_CELLS * np.pi * red_cell_px**2 / 4
    shape = (class_map.shape[0], class_map.shape[1])
    return [
        part
        for part, area in nucleated
        if area >= least * (_MIN_OF_WHOLE_AT_BORDER if touches_border(part.box, shape) else 1)
    ]
