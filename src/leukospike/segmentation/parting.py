"""Split components into cells: red cells at the necks of their outline, white cells also by their nuclei."""

from collections.abc import Callable
from typing import NamedTuple, cast

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from scipy.spatial import ConvexHull
from skimage.morphology import local_maxima
from skimage.segmentation import watershed

from leukospike.segmentation.regions import Labels, Region, connected, depth_inside, fill_holes

_WORKING_SIDE = 80  # a component is split at the scale where its area is the square of this ...
_MOST_SIDE = 400  # ... or, for many cells, which are small at that scale, at most the square of this
_NUCLEUS_DEPTH = 6  # least depth of a nucleus at that scale, pixels; otherwise a finer scale is used
_NECK = 0.85  # parts stay together if their neck is wider than this share of the width of the narrower part
_MIN_PART = 0.15  # least area of such a part, relative to its larger neighbour
_MIN_LOBE = 0.03  # least area of a lobe, relative to the largest; anything smaller is a speck
_TOWARDS_MIDDLE = 1.0  # weight of the depth against the distance to the nucleus where regions of lobes meet
_OPEN = 0.03  # widths of necks that differ by much less are treated as equal
_SOLID = 0.96  # share of its convex hull from which a component is considered solid, with nothing to split or cut
_REACH = 2.2  # farthest cytoplasm, in radii of a disc of the nucleus' area; 2.13 in 260 drawn cells
_LEAST_NUCLEUS = 0.24  # share of nucleus in all but 1 % of those cells; more cytoplasm may belong to another cell
_TAIL = 0.4  # half width of a neck behind which cytoplasm is another cell's, relative to the cell's half width
_RIM = 0.3  # cytoplasm within this distance, in the same radii, belongs to the cell whatever its shape
_MIN_CUT = 0.05  # least share of a cell that is cut off as a tail; smaller corners and bays are kept

EVIDENCE = ("neck", "bridge", "dent", "disc", "nucleus_share")
"""Measures of two neighbouring parts.

`neck` and `bridge`: the width of the neck between the parts, and of the bridge between their nuclei, relative to the
narrower, on a scale that is stretched near 1. `dent`: how much less of its convex hull the joint nucleus fills than
either. `disc`: the area of the largest disc within the component that is centred in a part, relative to the area of
that part; the smaller of the two values, more than 1 if the disc reaches into the other part. `nucleus_share`: the
share of nucleus in the joint cell.
"""

SAME_CELL = (1.34, 0.82, -2.96, 1.85, -7.43)
"""Weights of `EVIDENCE` in the log-odds of two parts being one cell.

From `research.segmentation.fit_parting`: a logistic regression on neighbouring lobes of drawn cells and of cells found
by the segmenter, from one cell or from two to eight cells placed side by side. All images have the same weight, and one
cell has twice the weight of several, since most cells stand alone. A wide neck, a wide bridge and a disc around both
parts indicate one cell; a dent between the nuclei, and much nucleus in both parts, as in blasts, indicate two.
"""

SAME_CELL_BIAS = -1.62
"""Log-odds if all evidence is 0."""


class Part(NamedTuple):
    """One or more lobes of nuclei with their cytoplasm, in pixels of the working scale."""

    width: float
    """Greatest depth inside the component."""
    nucleus_width: float
    """Greatest depth inside the nucleus."""
    area: int
    """Nucleus and cytoplasm."""
    nucleus_area: int
    nucleus_hull: Float[np.ndarray, "corners 2"]
    """Convex hull of the nucleus, rows and columns of its corners."""


class Contact(NamedTuple):
    """How two parts touch."""

    neck: float
    """Greatest depth inside the component along a path between them."""
    bridge: float
    """The same inside the nucleus; 0 if the nuclei do not touch."""


class Lobes(NamedTuple):
    """A component at its working scale, divided into a region for each lobe of a nucleus."""

    step: int
    """Sampling step in rows and columns."""
    nucleus: Region
    """All nuclei at that scale, including specks."""
    basins: Labels
    """Number of the lobe that each pixel belongs to, 0 outside."""
    away: Float[np.ndarray, "rows columns"]
    """Distance to the nearest lobe."""
    parts: dict[int, Part]
    """By number."""
    contacts: dict[tuple[int, int], Contact]
    """By the numbers of both parts, the lower first."""


Sureness = Callable[[tuple[int, int], Part, Part, Contact], float]
"""Function that returns how certain it is that two parts, given with their numbers, are one cell: below 0 not."""


def part_by_nuclei(component: Region, nucleus: Region, *, largest_px: float | None = None) -> tuple[Labels, int]:
    """Split one component into white cells by its nuclei.

    Nuclei are divided into lobes by a watershed on the distance to their edge [1]_. A second watershed, on the distance
    to the nuclei minus the depth, assigns each pixel of the component to a lobe: usually the nearest, but regions meet
    at the necks of the outline. Neighbours are joined, the most certain pair first, as long as a logistic regression on
    `evidence` considers them one cell and a disc of their area is no larger than a white cell can be.

    Cytoplasm too far from its nucleus, or behind a neck much narrower than the cell, does not belong to the cell: it is
    a red cell or stain beside it.

    Parameters
    ----------
    component : ndarray of shape (rows, columns), bool
        Connected, within its box.
    nucleus : ndarray of shape (rows, columns), bool
        The nuclei of the component.
    largest_px : float, optional
        Diameter of the largest possible white cell, pixels.

    Returns
    -------
    labels : ndarray of shape (rows, columns), int32
        1 to `n_cells`; 0 outside, and where the component belongs to no cell.
    n_cells : int
        0 without a nucleus.

    References
    ----------
    .. [1] F. Meyer, Topographic distance and watershed lines, Signal Processing 38 (1994),
       doi 10.1016/0165-1684(94)90060-4.
    """
    # Most cells are plain, which can be determined in a fraction of the time.
    if is_plain_cell(component, nucleus, largest_px=largest_px):
        return component.astype(np.int32), 1
    lobes = lobes_of(component, nucleus)
    largest = None if largest_px is None else largest_px / lobes.step
    numbers, n_cells = joined(lobes.parts, lobes.contacts, _sureness(largest))
    cells = numbers[lobes.basins]
    for number, window in enumerate(ndimage.find_objects(cells), start=1):
        own = cells[window] == number
        kept = _without_tails(own, lobes.nucleus[window] & own, lobes.away[window], largest)
        cells[window][own & ~kept] = 0
    return _at_full_size(cells, lobes.basins > 0, component, lobes.step), n_cells


def _working_step(component: Region) -> int:
    """Return the sampling step in rows and columns."""
    return max(1, round(float(np.sqrt(np.count_nonzero(component))) / _WORKING_SIDE))


def _sampled(
    component: Region, nucleus: Region, step: int
) -> tuple[Bool[np.ndarray, "rows columns"], Bool[np.ndarray, "rows columns"]]:
    """Sample every `step`-th row and column, with holes filled."""
    coarse = fill_holes(at_step(component, step))
    return coarse, at_step(nucleus, step) & coarse


def at_step(image: np.ndarray, step: int) -> np.ndarray:
    """Sample every `step`-th row and column, in the middle of the rows and columns that it represents."""
    return image[step // 2 :: step, step // 2 :: step]


def _smooth_depth(region: Region) -> Float[np.ndarray, "rows columns"]:
    """Return the depth inside a region, smoothed because a rough outline causes many small maxima."""
    # The image's border is treated as an edge: a cell cut in half is widest there either way.
    return ndimage.gaussian_filter(depth_inside(np.pad(region, 1))[1:-1, 1:-1], 1.0)


def is_plain_cell(component: Region, nucleus: Region, *, largest_px: float | None = None) -> bool:
    """Return whether a component fills its convex hull and lies close to its nucleus, whatever its size."""
    step = _working_step(component)
    coarse, coarse_nucleus = _sampled(component, nucleus, step)
    largest = None if largest_px is None else largest_px / step
    area, nucleus_area = int(np.count_nonzero(coarse)), int(np.count_nonzero(coarse_nucleus))
    if not nucleus_area:
        return False
    hull = _hull(_corners(coarse))
    if area < _SOLID * _polygon_area(hull):
        return False
    down, along = (there[:, None] - own for there, own in zip(hull.T, _corners(coarse_nucleus).T, strict=True))
    # Squares, of which one root is taken: measured, a third of the time of as many as there are pairs.
    from_nucleus = np.sqrt((down * down + along * along).min(axis=1).max())
    return bool(from_nucleus <= _reach(nucleus_area, largest))


def _can_be(area: float, largest: float | None) -> bool:
    """Return whether a white cell can have this area."""
    return largest is None or area <= np.pi * largest**2 / 4


def _reach(nucleus_area: int, largest: float | None) -> float:
    """Return how far cytoplasm can lie from a nucleus of this area."""
    radius = float(np.sqrt(nucleus_area / np.pi))
    room = np.inf if largest is None else largest - 2 * radius
    # At least the reach of most cells: a given pixel size may be wrong, which the cells must be able to show.
    return min(_REACH * radius, max(room, radius))


def lobes_of(component: Region, nucleus: Region) -> Lobes:
    """Split a component into the regions of its nuclei's lobes, and measure the regions and their contacts.

    Parameters
    ----------
    component : ndarray of shape (rows, columns), bool
        Connected, within its box.
    nucleus : ndarray of shape (rows, columns), bool
        The nuclei of the component.

    Returns
    -------
    Lobes
        Without parts if there is no nucleus.
    """
    step = _working_step(component)
    coarse, inner = _sampled(component, nucleus, step)
    inner_depth = _smooth_depth(inner)
    if step > 1 and (deepest := float(inner_depth.max())) < _NUCLEUS_DEPTH:
        least = round(float(np.sqrt(np.count_nonzero(component))) / _MOST_SIDE)
        step = max(1, least, int(step * deepest / _NUCLEUS_DEPTH))
        coarse, inner = _sampled(component, nucleus, step)
        inner_depth = _smooth_depth(inner)
    marks = _marked_lobes(inner, inner_depth)
    depth = _smooth_depth(coarse)
    away = cast("np.ndarray", ndimage.distance_transform_edt(marks == 0)).astype(np.float32)
    n_lobes = int(marks.max())
    if n_lobes > 1:
        basins = watershed(away - _TOWARDS_MIDDLE * depth, marks, mask=coarse, connectivity=2).astype(np.int32)
    else:
        basins = n_lobes * coarse.astype(np.int32)
    parts: dict[int, Part] = {}
    windows = zip(ndimage.find_objects(basins), ndimage.find_objects(marks), strict=True)
    for number, (window, mark) in enumerate(windows, start=1):
        own, lobe = basins[window] == number, marks[mark] == number
        parts[number] = Part(
            width=float(depth[window][own].max()),
            nucleus_width=float(inner_depth[mark][lobe].max()),
            area=int(np.count_nonzero(own)),
            nucleus_area=int(np.count_nonzero(lobe)),
            nucleus_hull=_hull(np.add(_corners(lobe), (mark[0].start, mark[1].start))),
        )
    contacts = _contacts(basins, depth, np.where(marks > 0, inner_depth, 0)) if n_lobes > 1 else {}
    return Lobes(step, inner, basins, away, parts, contacts)


def _marked_lobes(nucleus: Region, depth: Float[np.ndarray, "height width"]) -> Labels:
    """Assign numbers to the lobes of nuclei, leaving out specks."""
    seeds, n_seeds = connected(local_maxima(depth) & nucleus, corners=True)
    if n_seeds == 1:
        return nucleus.astype(np.int32)
    lobes = watershed(-depth, seeds, mask=nucleus, connectivity=2)
    area = np.bincount(lobes.ravel(), minlength=n_seeds + 1)
    area[0] = 0
    is_lobe = area >= max(1, _MIN_LOBE * area.max())
    return np.where(is_lobe, np.cumsum(is_lobe), 0).astype(np.int32)[lobes]


def _corners(region: Region) -> Float[np.ndarray, "points 2"]:
    """Return the corners of the first and last pixel of each row, which include those of the convex hull."""
    rows = np.flatnonzero(region.any(axis=1))
    first = region[rows].argmax(axis=1)
    end = region.shape[1] - region[rows, ::-1].argmax(axis=1)
    return np.concatenate(
        [np.stack([row, column], axis=1) for row in (rows, rows + 1) for column in (first, end)]
    ).astype(np.float64)


def _hull(points: Float[np.ndarray, "points 2"]) -> Float[np.ndarray, "corners 2"]:
    """Return the corners of the convex hull in order."""
    return points[ConvexHull(points).vertices]


def _polygon_area(corners: Float[np.ndarray, "corners 2"]) -> float:
    """Return the area of a polygon by the shoelace formula."""
    row, column = corners.T
    return abs(float(row @ np.roll(column, 1) - column @ np.roll(row, 1))) / 2


def _contacts(
    basins: Labels, depth: Float[np.ndarray, "rows columns"], nucleus_depth: Float[np.ndarray, "rows columns"]
) -> dict[tuple[int, int], Contact]:
    """Measure the contact of each pair of touching basins."""
    n_codes = int(basins.max()) + 1
    codes: list[np.ndarray] = []
    widths: list[np.ndarray] = []
    for here, there in (
        (np.s_[1:, :], np.s_[:-1, :]),
        (np.s_[:, 1:], np.s_[:, :-1]),
        (np.s_[1:, 1:], np.s_[:-1, :-1]),
        (np.s_[1:, :-1], np.s_[:-1, 1:]),
    ):
        first, second = basins[here], basins[there]
        meet = np.nonzero((first != second) & (first > 0) & (second > 0))
        low, high = np.minimum(first[meet], second[meet]), np.maximum(first[meet], second[meet])
        codes.append(n_codes * low + high)
        widths.append(np.array([np.minimum(part[here][meet], part[there][meet]) for part in (depth, nucleus_depth)]))
    pairs, place = np.unique(np.concatenate(codes), return_inverse=True)
    neck, bridge = np.zeros((2, len(pairs)))
    for widest, found in zip((neck, bridge), np.concatenate(widths, axis=1), strict=True):
        np.maximum.at(widest, place, found)
    return {
        divmod(pair, n_codes): Contact(*widest)
        for pair, *widest in zip(pairs.tolist(), neck.tolist(), bridge.tolist(), strict=True)
    }


def _wider(contact: Contact, other: Contact | None) -> Contact:
    """Join two contacts of the same parts."""
    if other is None:
        return contact
    return Contact(max(contact.neck, other.neck), max(contact.bridge, other.bridge))


def _together(a: Part, b: Part) -> Part:
    """Join two parts."""
    corners = np.concatenate([a.nucleus_hull, b.nucleus_hull])
    return Part(
        max(a.width, b.width),
        max(a.nucleus_width, b.nucleus_width),
        a.area + b.area,
        a.nucleus_area + b.nucleus_area,
        _hull(corners) if len(corners) else corners,
    )


def joined(
    parts: dict[int, Part], contacts: dict[tuple[int, int], Contact], sureness: Sureness
) -> tuple[Int[np.ndarray, " numbers"], int]:
    """Join neighbouring parts, the most certain pair first, while the certainty of a pair is at least 0.

    Parameters
    ----------
    parts : dict of int to Part
        By number, from 1.
    contacts : dict of pair of int to Contact
        By the numbers of both parts, the lower first.
    sureness : callable
        Returns how certain it is that two parts are one cell.

    Returns
    -------
    numbers : ndarray of shape (parts + 1,), int32
        Cell number of each part; the first stands for no part and is 0.
    n_cells : int
    """
    parts = dict(parts)
    owner = np.arange(len(parts) + 1)
    sure: dict[tuple[int, int], float] = {}
    while True:
        for (a, b), contact in contacts.items():
            if (a, b) not in sure:
                sure[a, b] = sureness((a, b), parts[a], parts[b], contact)
        if not sure:
            break
        a, b = max(sure, key=sure.__getitem__)
        if sure[a, b] < 0:
            break
        parts[a] = _together(parts[a], parts.pop(b))
        owner[owner == b] = a
        left: dict[tuple[int, int], Contact] = {}
        for pair, contact in contacts.items():
            one, other = sorted(a if end == b else end for end in pair)
            if one != other:
                left[one, other] = _wider(contact, left.get((one, other)))
        contacts = left
        sure = {pair: value for pair, value in sure.items() if a not in pair and b not in pair}
    cells = np.unique(owner[1:])
    numbers = np.zeros(len(owner), dtype=np.int32)
    numbers[1:] = np.searchsorted(cells, owner[1:]) + 1
    return numbers, len(cells)


def evidence(a: Part, b: Part, contact: Contact) -> list[float]:
    """Measure the evidence for two parts being one cell, in the order of `EVIDENCE`."""
    nuclei = a.nucleus_area + b.nucleus_area
    filled = nuclei / _polygon_area(_hull(np.concatenate([a.nucleus_hull, b.nucleus_hull])))
    return [
        _openness(contact.neck / min(a.width, b.width)),
        _openness(contact.bridge / min(a.nucleus_width, b.nucleus_width)),
        min(part.nucleus_area / _polygon_area(part.nucleus_hull) for part in (a, b)) - filled,
        min(float(np.pi * part.width**2 / part.area) for part in (a, b)),
        nuclei / (a.area + b.area),
    ]


def _openness(width: float) -> float:
    """Convert the width of a neck, relative to the narrower part, to a scale that is stretched near 1."""
    return -float(np.log(1 + _OPEN - min(1.0, width)))


def _sureness(largest: float | None) -> Sureness:
    """Return a function for the log-odds of two parts being one cell, minus infinity if that would be too large."""

    def sureness(_pair: tuple[int, int], a: Part, b: Part, contact: Contact) -> float:
        area = min(a.area + b.area, (a.nucleus_area + b.nucleus_area) / _LEAST_NUCLEUS)
        if not _can_be(area, largest):
            return -np.inf
        return SAME_CELL_BIAS + float(np.dot(SAME_CELL, evidence(a, b, contact)))

    return sureness


def _without_tails(
    cell: Region, nucleus: Region, away: Float[np.ndarray, "height width"], largest: float | None
) -> Region:
    """Remove what lies too far from the nucleus, or within or behind a neck much narrower than the cell."""
    nucleus_area = int(np.count_nonzero(nucleus))
    rim = _RIM * float(np.sqrt(nucleus_area / np.pi))
    if away[cell].max() <= rim:
        return cell
    depth = depth_inside(np.pad(cell, 1))[1:-1, 1:-1]
    narrow = _TAIL * float(depth.max())
    cores, n_cores = connected(depth > narrow, corners=True)
    nucleated = np.bincount(cores[nucleus], minlength=n_cores + 1) > 0
    nucleated[0] = False
    if not nucleated.any():
        return cell
    # Half a pixel more, since depth is measured from the centre of the pixels outside.
    wide = depth_inside(~nucleated[cores]) <= narrow + 0.5
    kept = cell & (wide | (away <= rim)) & (away <= _reach(nucleus_area, largest))
    pieces, n_pieces = connected(kept, corners=True)
    if n_pieces > 1:
        kept = pieces == 1 + np.bincount(pieces[nucleus & kept], minlength=n_pieces + 1)[1:].argmax()
    whole = np.count_nonzero(cell)
    return kept if whole - np.count_nonzero(kept) >= _MIN_CUT * whole else cell


def _at_full_size(
    coarse: Labels,
    inside: Bool[np.ndarray, "rows columns"],
    component: Bool[np.ndarray, "full_rows full_columns"],
    step: int,
) -> Int[np.ndarray, "full_rows full_columns"]:
    """Resize labels from the working scale to that of the component."""
    # At the edge, rows and columns that are not sampled may extend a pixel further.
    coarse = np.where(inside, coarse, ndimage.maximum_filter(coarse, 3))
    rows, columns = (
        np.minimum(np.arange(length) // step, n - 1) for length, n in zip(component.shape, coarse.shape, strict=True)
    )
    return np.where(component, coarse[np.ix_(rows, columns)], 0).astype(np.int32)


def part_component(component: Region) -> tuple[Labels, int]:
    """Split one component only at the necks of its outline, as for touching red cells.

    A watershed on the distance to its edge divides the component into parts. Two parts are joined again if their neck
    is wider than 0.85 of the width of the narrower, or if one is far smaller.

    Parameters
    ----------
    component : ndarray of shape (rows, columns), bool
        Connected, within its box.

    Returns
    -------
    labels : ndarray of shape (rows, columns), int32
        1 to `n_parts` in the component, 0 outside.
    n_parts : int
    """
    step = _working_step(component)
    coarse = fill_holes(at_step(component, step))
    depth = _smooth_depth(coarse)
    seeds, n_seeds = connected(local_maxima(depth) & coarse, corners=True)
    if n_seeds < 2:
        return component.astype(np.int32), 1
    basins = watershed(-depth, seeds, mask=coarse).astype(np.int32)
    numbers = np.arange(1, n_seeds + 1)
    widths, areas = ndimage.maximum(depth, basins, numbers).tolist(), np.bincount(basins.ravel())[1:].tolist()
    parts = {
        number: Part(width, width, area, area, np.zeros((0, 2)))
        for number, width, area in zip(numbers.tolist(), widths, areas, strict=True)
    }
    numbers, n_parts = joined(parts, _contacts(basins, depth, depth), _width_of_neck)
    if n_parts == 1:
        return component.astype(np.int32), 1
    return _at_full_size(numbers[basins], basins > 0, component, step), n_parts


def _width_of_neck(_pair: tuple[int, int], a: Part, b: Part, contact: Contact) -> float:
    """Compare a neck with the narrower of two parts; a far smaller part is not a separate cell."""
    is_small = min(a.area, b.area) < _MIN_PART * max(a.area, b.area)
    return contact.neck / min(a.width, b.width) - _NECK + is_small
