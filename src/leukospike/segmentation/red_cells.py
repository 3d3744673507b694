"""Size of red cells in the region that a network classifies as red: of whole cells, and of cells in clumps."""

import numpy as np
from jaxtyping import Float, Int
from scipy import ndimage

from leukospike.segmentation.parting import part_component
from leukospike.segmentation.regions import Labels, Region, connected, depth_inside, fill_holes

MIN_RED_CELLS_SEEN = 3
"""Minimum number of whole, round red cells of one size for an estimate."""

SAME_SIZE = 0.2
"""Largest relative difference of the red cells of one field from their median."""

LEAST_AGREEING = 0.5
"""Share of the round cells that must be of one size: red cells that contradict each other show nothing."""

_MIN_AREA = 60  # pixels: 9 across, below which a disc and a speck look the same
_MAX_ELONGATION = 1.4
_MIN_ELLIPSE = 0.94  # area over the area of the ellipse of the same second moments; 1 for ellipses, less with dents
_MOST_PARTED = 12  # maximum number of clumps of red cells that are split if too few cells lie alone
_ABOUT, _LEAST_DEPTH = 5, 2  # pixels at half the size: side of the window that a middle is the deepest in, least depth


def same_size(diameters: Float[np.ndarray, " cells"]) -> Float[np.ndarray, " group"]:
    """Return the diameters within a fifth of one of them, for the choice that covers the largest area.

    The result is empty if these cover less than half of the area: such cells contradict each other.
    """
    group, share = largest_group(diameters)
    return group if share >= LEAST_AGREEING else group[:0]


def largest_group(diameters: Float[np.ndarray, " cells"]) -> tuple[Float[np.ndarray, " group"], float]:
    """Return the diameters within a fifth of one of them, for the choice that covers most area, and its share."""
    if not len(diameters):
        return diameters, 0.0
    ordered = np.sort(diameters)
    areas = np.concatenate([[0.0], np.cumsum(ordered**2)])
    first = np.searchsorted(ordered, ordered * (1 - SAME_SIZE), side="right")
    last = np.searchsorted(ordered, ordered * (1 + SAME_SIZE), side="left")
    covered = areas[last] - areas[first]
    best = int(np.argmax(covered))
    return ordered[first[best] : last[best]], float(covered[best] / areas[-1])


def round_diameters(red: Region) -> Float[np.ndarray, " cells"]:
    """Return the diameters of whole, round regions, as those of discs of the same area.

    Clumps are split only if fewer than `MIN_RED_CELLS_SEEN` cells lie alone. Measured on generated fields, split cells
    come out too small, and the median error is larger with them.

    Parameters
    ----------
    red : ndarray of shape (rows, columns), bool
        Where red cells are; pale middles may be missing.

    Returns
    -------
    ndarray of shape (cells,)
        Pixels.
    """
    filled = fill_holes(red)
    pieces, n_pieces = connected(filled)
    if not n_pieces:
        return np.zeros(0)
    alone = _round_pieces(pieces, n_pieces)
    if len(alone) >= MIN_RED_CELLS_SEEN:
        return alone
    windows = ndimage.find_objects(pieces)
    areas = np.bincount(pieces.ravel(), minlength=n_pieces + 1)[1:]
    parted: list[np.ndarray] = [alone]
    for number in np.argsort(-areas)[:_MOST_PARTED]:
        rows, columns = windows[number]
        clump = np.pad(pieces[rows, columns] == number + 1, 1)
        parts, n_parts = part_component(clump)
        if n_parts > 1:
            # A part at the image's border is cut off there, but not at the margin that was put around the clump.
            at = (rows.start == 0, rows.stop == red.shape[0], columns.start == 0, columns.stop == red.shape[1])
            parted.append(_round_pieces(parts, n_parts, margin=1, at_border=at))
    return np.concatenate(parted)


def widths_in_clumps(red: Region) -> Float[np.ndarray, " places"]:
    """Return twice the depth at local maxima of the depth: the widths of cells, including touching ones.

    Holes are kept, since gaps between the cells of a clump are holes, too. Measured on clumps of two laboratories, the
    spread of the widths is half of that with holes filled.

    Parameters
    ----------
    red : ndarray of shape (rows, columns), bool
        Where red cells are.

    Returns
    -------
    ndarray of shape (places,)
        Pixels.
    """
    depth = depth_inside(red[::2, ::2])
    smooth = ndimage.gaussian_filter(depth, 1.0)
    is_middle = (smooth == ndimage.maximum_filter(smooth, _ABOUT)) & (depth >= _LEAST_DEPTH)
    middles, n_middles = connected(is_middle, corners=True)
    return 4 * np.asarray(ndimage.maximum(depth, middles, np.arange(1, n_middles + 1))).reshape(-1)


def usual_width(red: Region) -> float:
    """Return the median width of the regions by area: roughly a diameter if no cell is whole.

    Parameters
    ----------
    red : ndarray of shape (rows, columns), bool
        Where cells are.

    Returns
    -------
    float
        Pixels; 0 for an empty region.
    """
    pieces, n_pieces = connected(fill_holes(red[::2, ::2]))
    if not n_pieces:
        return 0.0
    widths = 4 * np.asarray(ndimage.maximum(depth_inside(pieces > 0), pieces, np.arange(1, n_pieces + 1)))
    order = np.argsort(widths)
    areas = np.cumsum(np.bincount(pieces.ravel())[1:][order])
    return float(widths[order][np.searchsorted(areas, areas[-1] / 2)])


def _round_pieces(
    pieces: Labels,
    n_pieces: int,
    *,
    margin: int = 0,
    at_border: tuple[bool, bool, bool, bool] = (True, True, True, True),
) -> Float[np.ndarray, " cells"]:
    """Return the diameters of the labelled pieces that are not cut off at a border and fill their ellipse."""
    row, first, end, labels = _runs(pieces)

    def summed(values: np.ndarray) -> Float[np.ndarray, " pieces"]:
        return np.bincount(labels, weights=values, minlength=n_pieces + 1)[1:]

    # Each run of pixels along a row in one step, by sums of consecutive numbers and of their squares.
    length, middle = end - first, (first + end - 1) / 2
    area = np.maximum(summed(length), 1)
    from_row = row - (summed(length * row) / area)[labels - 1]
    from_column = middle - (summed(length * middle) / area)[labels - 1]
    # Each pixel is a square with a second moment of one twelfth.
    down2 = summed(length * from_row**2) / area + 1 / 12
    along2 = summed(length * (from_column**2 + (length**2 - 1) / 12)) / area + 1 / 12
    both = summed(length * from_row * from_column) / area
    root = np.sqrt(((down2 - along2) / 2) ** 2 + both**2)
    major, minor = np.sqrt((down2 + along2) / 2 + root), np.sqrt(np.maximum((down2 + along2) / 2 - root, 1e-9))
    cut = np.zeros(n_pieces + 1, bool)
    height, width = pieces.shape
    for edge, is_border in zip(
        (pieces[margin], pieces[height - 1 - margin], pieces[:, margin], pieces[:, width - 1 - margin]),
        at_border,
        strict=True,
    ):
        if is_border:
            cut[edge] = True
    kept = (
        ~cut[1:]
        & (area >= _MIN_AREA)
        & (major <= _MAX_ELONGATION * minor)
        & (area >= _MIN_ELLIPSE * 4 * np.pi * minor * major)
    )
    return 2 * np.sqrt(area[kept] / np.pi)


def _runs(pieces: Labels) -> tuple[Int[np.ndarray, " runs"], ...]:
    """Return the row, first column, end and label of each run of pixels with one label along a row."""
    padded = np.pad(pieces, ((0, 0), (1, 1)))
    changes = padded[:, 1:] != padded[:, :-1]
    begins, ends = changes & (padded[:, 1:] > 0), changes & (padded[:, :-1] > 0)
    row, first = np.nonzero(begins)
    _, end = np.nonzero(ends)
    return row, first, end, pieces[row, first]
