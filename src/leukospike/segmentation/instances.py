"""A class for each pixel to cells as instances: touching cells parted, debris dropped."""

from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy import ndimage
from skimage.morphology import local_maxima
from skimage.segmentation import watershed

REST, CYTOPLASM, NUCLEUS = 0, 1, 2
"""The classes of a class map."""

MIN_RED_CELLS = 0.75
"""Least area of a white cell, in areas of a red cell: no white cell is smaller than a red one, platelets mostly are.

A quarter less, since the red cells' size is an estimate. Looked at on pbc: of 40 platelets, 21 had more than half the
area of a red cell and 9 more than this, or no red cell beside them; of 285 nucleated cells one has less, of bccd none.
"""

_MIN_OF_LARGEST = 0.1  # without red cells to compare with: least area, in areas of the largest cell of the image
_MIN_OF_IMAGE = 0.0005  # ... and in areas of the image, so that a lone speck is no cell
_MIN_OF_WHOLE_AT_BORDER = 0.25  # a cell that the border cuts may be so much smaller
_MIN_NUCLEUS = 0.08  # least share of nucleus in a cell, and in a part that shall be a cell of its own
_MIN_PART = 0.15  # least area of such a part, in areas of its larger neighbour
_NECK = 0.85  # parts stay one cell where they join in more than so much of the width of the narrower
_WORKING_SIDE = 80  # cells are parted at the scale where their area is the square of this
_BLOCK = 4  # pixels; components are looked for on blocks of this side first
_EIGHT = np.ones((3, 3), dtype=bool)

ClassMap = UInt8[np.ndarray, "rows columns"]
Region = Bool[np.ndarray, "height width"]
Labels = Int[np.ndarray, "rows columns"]


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
        Of cell 1, 2, ...
    """

    labels: Int[np.ndarray, "rows columns"]
    boxes: tuple[Box, ...]


def connected(region: Region, *, corners: bool = False) -> tuple[Labels, int]:
    """Label the connected components of a region, from 1; `corners` says whether pixels touch by a corner."""
    # Three cells in four: measured, seen in a fifth of the time that labelling takes.
    if _is_chain(region) or _is_chain(region.T):
        return region.astype(np.int32), 1
    labels = np.zeros(region.shape, dtype=np.int32)
    return labels, int(cast("int", ndimage.label(region, _EIGHT if corners else None, output=labels)))


def _is_chain(region: Region) -> bool:
    """Tell whether a region is one run of pixels a row, each touching the next; False for an empty one."""
    n_touching = np.count_nonzero((region[1:] & region[:-1]).any(axis=1))
    return _has_one_run_a_row(region) and bool(n_touching == np.count_nonzero(region.any(axis=1)) - 1)


def _has_one_run_a_row(region: Region) -> bool:
    """Tell whether no row has a gap between its pixels."""
    n_runs = np.count_nonzero(region) - np.count_nonzero(region[:, 1:] & region[:, :-1])
    return bool(n_runs == np.count_nonzero(region.any(axis=1)))


def window_of(region: Region) -> tuple[slice, slice]:
    """Give the smallest window that holds all pixels of a region; an empty one if there are none."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def depth_inside(region: Region) -> Float[np.ndarray, "rows columns"]:
    """Give each pixel of a region its distance to the nearest pixel outside, in pixels, float32."""
    return cast("np.ndarray", ndimage.distance_transform_edt(region)).astype(np.float32)


def find_cells(class_map: ClassMap, *, red_cell_px: float | None = None) -> Instances:
    """Part the foreground of a class map into cells.

    Pixels of cytoplasm and nucleus that touch, corners included, are one component, holes filled. A component falls
    into parts by a watershed on the distance to its edge [1]_. Two parts join again where their neck is wide, more
    than 0.85 of the width of the narrower; where one has hardly any nucleus; or where one is far smaller. So lobes of
    one nucleus stay in one cell, as does a cell with bulges, while touching cells, whose neck is narrow, come apart.

    Debris and platelets are dropped by size: under three quarters of a red cell's area where `red_cell_px` says how
    large that is, else under a tenth of the largest cell or 0.0005 of the image. A cell at the border may be a quarter
    of that. What has hardly any nucleus is no white cell and dropped too.

    Parameters
    ----------
    class_map : ndarray of shape (rows, columns)
        uint8: 0 rest, 1 cytoplasm, 2 nucleus.
    red_cell_px : float, optional
        Diameter of a red cell, pixels.

    Returns
    -------
    Instances
        Without cells if there are none.

    References
    ----------
    .. [1] F. Meyer, Topographic distance and watershed lines, Signal Processing 38 (1994),
       doi 10.1016/0165-1684(94)90060-4.
    """
    found: list[_Part] = []
    for top, left, component in _components(class_map):
        window = slice(top, top + component.shape[0]), slice(left, left + component.shape[1])
        nucleus = (class_map[window] == NUCLEUS) & component
        labels, n_parts = part_component(component, nucleus)
        for number in range(1, n_parts + 1):
            part = component if n_parts == 1 else labels == number
            found += _trimmed(fill_holes(part), nucleus, top, left, class_map.shape)
    found = sorted(_without_debris(found, class_map.size, red_cell_px), key=lambda part: part.box)
    labels = np.zeros(class_map.shape, dtype=np.int32)
    for number, part in enumerate(found, start=1):
        view = labels[part.box.window]
        view[part.region & (view == 0)] = number
    return Instances(labels, tuple(part.box for part in found))


class _Component(NamedTuple):
    """A connected region within its box."""

    top: int
    left: int
    region: Region


@dataclass(frozen=True)
class _Part:
    """One candidate: its region within its box."""

    box: Box
    region: Region
    area: int
    nucleus_area: int
    border: bool


def _components(class_map: ClassMap) -> list[_Component]:
    """Give each connected component.

    Labelling 5 million pixels is slow, and most are empty: blocks are labelled first, then pixels where blocks hold
    some. Pixels that touch lie in blocks that touch, so the result is that of labelling all pixels.
    """
    blocks, _ = connected(_any_in_block(class_map), corners=True)
    result: list[_Component] = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(blocks), start=1):
        top, left = rows.start * _BLOCK, columns.start * _BLOCK
        inside = class_map[top : rows.stop * _BLOCK, left : columns.stop * _BLOCK] > 0
        own = (blocks[rows, columns] == number).repeat(_BLOCK, axis=0).repeat(_BLOCK, axis=1)
        own = inside & own[: inside.shape[0], : inside.shape[1]]
        pixels, n_pieces = connected(own, corners=True)
        # Measured, a tenth of the time.
        windows = [window_of(own)] if n_pieces == 1 else ndimage.find_objects(pixels)
        for index, window in enumerate(windows, start=1):
            result.append(_Component(top + window[0].start, left + window[1].start, pixels[window] == index))
    return result


def _any_in_block(class_map: ClassMap) -> Bool[np.ndarray, "block_rows block_columns"]:
    """Tell of each block of 4 x 4 pixels whether any is foreground."""
    rows, columns = class_map.shape
    padded = np.pad(class_map, ((0, -rows % _BLOCK), (0, -columns % _BLOCK)))
    stacked = padded[0::_BLOCK] | padded[1::_BLOCK] | padded[2::_BLOCK] | padded[3::_BLOCK]
    return np.ascontiguousarray(stacked).view(np.uint32) > 0  # four neighbours in a row, seen as one number


def fill_holes(region: Region) -> Region:
    """Fill holes: background that does not reach the edge of the box."""
    if _has_one_run_a_row(region) or _has_one_run_a_row(region.T):
        return region
    outside, n_outside = connected(~np.pad(region, 1))
    return region if n_outside == 1 else outside[1:-1, 1:-1] != outside[0, 0]


def _trimmed(region: Region, nucleus: Region, top: int, left: int, shape: tuple[int, ...]) -> list[_Part]:
    """Cut the box down to the part; none if the part lost all its pixels to finer neighbours."""
    rows, columns = inside = window_of(region)
    if not rows.stop:
        return []
    part = region[inside]
    box = Box(top + rows.start, left + columns.start, *part.shape)
    return [
        _Part(
            box,
            part,
            area=int(np.count_nonzero(part)),
            nucleus_area=int(np.count_nonzero(part & nucleus[inside])),
            border=touches_border(box, (shape[0], shape[1])),
        )
    ]


def touches_border(box: Box, shape: tuple[int, int]) -> bool:
    """Tell whether a box reaches the first or last row or column of an image of `shape` (rows, columns)."""
    bottom, right = box.top + box.height, box.left + box.width
    return box.top == 0 or box.left == 0 or bottom == shape[0] or right == shape[1]


def _without_debris(parts: list[_Part], n_pixels: int, red_cell_px: float | None) -> list[_Part]:
    """Keep what is large enough and has a nucleus."""
    parts = [part for part in parts if part.nucleus_area >= _MIN_NUCLEUS * part.area]
    if red_cell_px is None:
        least = max(_MIN_OF_LARGEST * max((part.area for part in parts), default=0), _MIN_OF_IMAGE * n_pixels)
    else:
        least = MIN_RED_CELLS * np.pi * red_cell_px**2 / 4
    return [part for part in parts if part.area >= least * (_MIN_OF_WHOLE_AT_BORDER if part.border else 1)]


def part_component(component: Region, nucleus: Region) -> tuple[Labels, int]:
    """Part one component.

    Parameters
    ----------
    component : ndarray of shape (rows, columns), bool
        Connected, within its box.
    nucleus : ndarray of shape (rows, columns), bool
        Its nuclei; a part with hardly any joins its neighbour.

    Returns
    -------
    labels : ndarray of shape (rows, columns), int32
        1 to `n_parts` in the component, 0 outside.
    n_parts : int
    """
    step = max(1, round(float(np.sqrt(np.count_nonzero(component))) / _WORKING_SIDE))
    sampled = slice(step // 2, None, step)
    coarse = fill_holes(component[sampled, sampled])
    coarse_nucleus = nucleus[sampled, sampled] & coarse
    # The image's border is an edge like any other: a cell cut in half has its widest place there either way.
    depth = ndimage.gaussian_filter(
        depth_inside(np.pad(coarse, 1))[1:-1, 1:-1], 1.0
    )  # a rough outline gives many small maxima
    seeds, n_seeds = connected(local_maxima(depth) & coarse, corners=True)
    if n_seeds < 2:
        return component.astype(np.int32), 1
    basins = watershed(-depth, seeds, mask=coarse)
    numbers, n_parts = _joined(basins, depth, coarse_nucleus, n_seeds)
    if n_parts == 1:
        return component.astype(np.int32), 1
    basins = numbers[basins]
    nearest = cast(
        "Int[np.ndarray, '2 rows columns']",
        ndimage.distance_transform_edt(basins == 0, return_distances=False, return_indices=True),
    )
    whole = basins[nearest[0], nearest[1]]
    rows = np.minimum(np.arange(component.shape[0]) // step, whole.shape[0] - 1)
    columns = np.minimum(np.arange(component.shape[1]) // step, whole.shape[1] - 1)
    return np.where(component, whole[np.ix_(rows, columns)], 0), n_parts


def _joined(
    basins: Labels, depth: Float[np.ndarray, "rows columns"], nucleus: Region, n_basins: int
) -> tuple[Int[np.ndarray, " numbers"], int]:
    """Join basins that are one cell; give each old number its new one."""
    index = np.arange(n_basins + 1)
    peak = ndimage.maximum(depth, basins, index)
    area = np.bincount(basins.ravel(), minlength=n_basins + 1)
    inner = np.bincount(basins[nucleus], minlength=n_basins + 1)
    owner = index.copy()
    necks = _necks(basins, depth)
    while necks:
        # The pair that is most surely one cell first; a part too small or without nucleus is none of its own.
        sureness: dict[tuple[int, int], float] = {}
        for (a, b), neck in necks.items():
            small = min(area[a], area[b]) < _MIN_PART * max(area[a], area[b])
            bare = min(inner[a] / area[a], inner[b] / area[b]) < _MIN_NUCLEUS
            sureness[a, b] = float(neck / min(peak[a], peak[b])) + (1 if small or bare else 0)
        (a, b), best = max(sureness.items(), key=lambda item: item[1])
        if best < _NECK:
            break
        peak[a], area[a], inner[a] = max(peak[a], peak[b]), area[a] + area[b], inner[a] + inner[b]
        owner[owner == b] = a
        joined: dict[tuple[int, int], float] = {}
        for pair, neck in necks.items():
            one, other = sorted(a if end == b else end for end in pair)
            if one != other:
                joined[one, other] = max(joined.get((one, other), 0.0), neck)
        necks = joined
    left = np.unique(owner[1:])
    numbers = np.zeros(n_basins + 1, dtype=np.int32)
    numbers[1:] = np.searchsorted(left, owner[1:]) + 1
    return numbers, len(left)


def _necks(basins: Labels, depth: Float[np.ndarray, "rows columns"]) -> dict[tuple[int, int], float]:
    """Give, for each pair of basins that touch, the greatest depth at which one can pass between them."""
    necks: dict[tuple[int, int], float] = {}
    for here, there in (
        (np.s_[1:, :], np.s_[:-1, :]),
        (np.s_[:, 1:], np.s_[:, :-1]),
        (np.s_[1:, 1:], np.s_[:-1, :-1]),
        (np.s_[1:, :-1], np.s_[:-1, 1:]),
    ):
        first, second = basins[here], basins[there]
        meet = (first != second) & (first > 0) & (second > 0)
        low = np.minimum(depth[here][meet], depth[there][meet])
        for a, b, value in zip(first[meet].tolist(), second[meet].tolist(), low.tolist(), strict=True):
            pair = (a, b) if a < b else (b, a)
            necks[pair] = max(necks.get(pair, 0.0), value)
    return necks
