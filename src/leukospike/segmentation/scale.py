"""How large a pixel is: from red cells, whose diameter hardly varies between people."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from scipy import ndimage

from leukospike.errors import ConfigError
from leukospike.images import Picture
from leukospike.segmentation.parting import part_component
from leukospike.segmentation.regions import Labels, Region, connected, depth_inside, fill_holes

RED_CELL_UM = 7.2
"""Mean diameter of a red cell on a dried smear, micrometres."""

WORKING_RED_CELL_PX = 50.0
"""Diameter of a red cell at the scale that the segmenter works at, pixels."""

MOST_OFF = 1.3
"""Red cells that are off by this factor from what a pixel size, or a scale, makes of them contradict it."""

KNOWN_RED_CELL_PX = (12.0, 160.0)
"""Diameters of red cells in the images that the segmenter is made for, pixels."""

PLAUSIBLE_CELL_UM = (4.0, 40.0)
"""Median diameters of white cells that are let pass, micrometres: well beyond those of small lymphocytes, 7, and large
monocytes, 25, so that what is outside has a wrong pixel size."""

MIN_RED_CELLS_SEEN = 3
"""Fewer whole round red cells of one size give no estimate."""

_MIN_AREA = 60  # pixels: 9 across, below which a disc and a speck look the same
_MAX_ELONGATION = 1.4
_MIN_ELLIPSE = 0.94  # area over the area of the ellipse of the same second moments; 1 for ellipses, less with dents
_OTHER_LENS = 1.4  # three red cells, each off by a fifth at most, are off by less; common lenses differ by more
_SAME_SIZE = 0.2  # red cells of one field differ from their median by so much at most
_LEAST_AGREEING = 0.5  # share of the round cells that must be of one size: red cells that contradict tell nothing
_MOST_PARTED = 12  # clumps of red cells that are parted, where too few lie alone
_ABOUT, _LEAST_DEPTH = 5, 2  # pixels at half the size: side of what a middle is the deepest of, and its depth
_LEAST_IMAGES = 3  # whose differences tell how sure their agreement is
_MEDIAN_ERROR = 1.2533  # standard error of a median, in that of a mean
_95 = 1.96


@dataclass(frozen=True)
class PixelSize:
    """The side of a pixel on the glass, and how it is known."""

    um_per_px: float
    """Micrometres per pixel."""
    source: Literal["given", "metadata", "red cells", "red cells of all images"]
    interval: tuple[float, float] | None = None
    """95 % interval from the spread of the red cells, micrometres per pixel; None where the size was given or stored.
    It does not tell by how much the mean red cell of this person differs from `RED_CELL_UM`: a few per cent."""
    red_cells: int = 0
    """How many red cells the estimate rests on."""

    def __post_init__(self) -> None:
        """Refuse what is no size."""
        if not (np.isfinite(self.um_per_px) and self.um_per_px > 0):
            msg = f"PixelSize: um_per_px must be positive, got {self.um_per_px}. Give micrometres per pixel."
            raise ConfigError(msg)

    @property
    def red_cell_px(self) -> float:
        """Diameter of a red cell of average size, pixels."""
        return RED_CELL_UM / self.um_per_px


def contradicts(size: PixelSize, areas_px: Sequence[int]) -> bool:
    """Tell whether white cells of these areas cannot be, if a pixel is so large.

    Parameters
    ----------
    size : PixelSize
    areas_px : sequence of int
        Areas of whole cells, pixels.

    Returns
    -------
    bool
        Whether the median diameter, of discs of these areas, is outside `PLAUSIBLE_CELL_UM`; False without cells.
    """
    if not areas_px:
        return False
    low, high = PLAUSIBLE_CELL_UM
    return not low <= size.um_per_px * 2 * float(np.sqrt(np.median(areas_px) / np.pi)) <= high


def agreed_pixel_sizes(sizes: Sequence[PixelSize | None], frames: Sequence[tuple[int, int]]) -> list[PixelSize | None]:
    """Give the images of one source the pixel size that those of one frame agree on.

    A few red cells tell a pixel's size to a tenth only, and one camera behind one lens has one. So images of the same
    rows and columns take the median of what their red cells say, also those that show too few. A size that was given or
    stored stays; so does an estimate that is farther from the median than few red cells can make it, as through
    another lens. Where less than half of the red cells say the median to within a fifth, they contradict each other:
    then there is no agreement, and each image keeps its own.

    Parameters
    ----------
    sizes : sequence of PixelSize or None
        One an image, or one a cell: then images with more cells weigh more.
    frames : sequence of (rows, columns)
        Of the images, in the same order.

    Returns
    -------
    list of PixelSize or None
        None where nothing is known of any image of the frame.
    """
    estimates: dict[tuple[int, int], list[PixelSize]] = {}
    for size, frame in zip(sizes, frames, strict=True):
        if size is not None and size.source == "red cells":
            estimates.setdefault(frame, []).append(size)
    agreed = {frame: _agreed(found) for frame, found in estimates.items()}
    return [_own_or_agreed(size, agreed.get(frame)) for size, frame in zip(sizes, frames, strict=True)]


def _own_or_agreed(size: PixelSize | None, agreed: PixelSize | None) -> PixelSize | None:
    """Return what the images of a frame agree on, unless an image knows better."""
    if agreed is None or size is None:
        return size or agreed
    is_estimate = size.source == "red cells"
    is_other_lens = abs(np.log(size.um_per_px / agreed.um_per_px)) > np.log(_OTHER_LENS)
    return agreed if is_estimate and not is_other_lens else size


def _agreed(estimates: Sequence[PixelSize]) -> PixelSize | None:
    """Return the median over all red cells, with an interval; None if they contradict each other."""
    if len(estimates) == 1:
        return estimates[0]
    logs = np.log(np.repeat([size.um_per_px for size in estimates], [size.red_cells for size in estimates]))
    median = float(np.median(logs))
    if np.mean(np.abs(logs - median) <= np.log(1 + _SAME_SIZE)) < _LEAST_AGREEING:
        return None
    near = [size for size in estimates if abs(np.log(size.um_per_px) - median) <= np.log(_OTHER_LENS)]
    return PixelSize(
        float(np.exp(median)),
        "red cells of all images",
        interval=_interval_of_all(near, median),
        red_cells=sum(size.red_cells for size in near),
    )


def _interval_of_all(estimates: Sequence[PixelSize], median: float) -> tuple[float, float] | None:
    """Return a 95 % interval by how images differ; of fewer than three, what holds the intervals of all."""
    if len(estimates) < _LEAST_IMAGES:
        own = [size.interval for size in estimates if size.interval is not None]
        return (min(low for low, _ in own), max(high for _, high in own)) if len(own) == len(estimates) else None
    between = float(np.std(np.log([size.um_per_px for size in estimates]), ddof=1))
    error = _95 * _MEDIAN_ERROR * between / np.sqrt(len(estimates))
    return float(np.exp(median - error)), float(np.exp(median + error))


def stored_pixel_size(picture: Picture) -> PixelSize | None:
    """Give the pixel size that the image file states, or None if it states none that a microscope could have."""
    return None if picture.um_per_px is None else PixelSize(picture.um_per_px, "metadata")


def pixel_size_from_red_cells(diameters_px: Float[np.ndarray, " cells"]) -> PixelSize | None:
    """Estimate the size of a pixel from the median diameter of red cells.

    Parameters
    ----------
    diameters_px : ndarray of shape (cells,)
        Of whole, round red cells of one size, as `same_size` gives them, pixels.

    Returns
    -------
    PixelSize or None
        None if there are fewer than `MIN_RED_CELLS_SEEN`.
    """
    count = len(diameters_px)
    if count < MIN_RED_CELLS_SEEN:
        return None
    logs = np.log(diameters_px)
    error = _95 * _MEDIAN_ERROR * float(np.std(logs, ddof=1)) / np.sqrt(count)
    middle = RED_CELL_UM / float(np.median(diameters_px))
    interval = (middle * float(np.exp(-error)), middle * float(np.exp(error)))
    return PixelSize(middle, "red cells", interval=interval, red_cells=count)


def same_size(diameters: Float[np.ndarray, " cells"]) -> Float[np.ndarray, " group"]:
    """Return the diameters within a fifth of one of them, of the choice that covers the largest area.

    None where these are less than half of the area: such cells contradict each other.
    """
    group, share = largest_group(diameters)
    return group if share >= _LEAST_AGREEING else group[:0]


def largest_group(diameters: Float[np.ndarray, " cells"]) -> tuple[Float[np.ndarray, " group"], float]:
    """Return the diameters within a fifth of one of them, of the choice that covers the largest area, and its share."""
    if not len(diameters):
        return diameters, 0.0
    ordered = np.sort(diameters)
    areas = np.concatenate([[0.0], np.cumsum(ordered**2)])
    first = np.searchsorted(ordered, ordered * (1 - _SAME_SIZE), side="right")
    last = np.searchsorted(ordered, ordered * (1 + _SAME_SIZE), side="left")
    covered = areas[last] - areas[first]
    best = int(np.argmax(covered))
    return ordered[first[best] : last[best]], float(covered[best] / areas[-1])


def round_diameters(red: Region) -> Float[np.ndarray, " cells"]:
    """Return the diameters of whole, round regions, of the discs as large as they are.

    Clumps are parted only where fewer than `MIN_RED_CELLS_SEEN` cells lie alone: measured, parted cells are told too
    small, and the median error over generated fields is greater with them.

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
            # A part at the image's border is cut by it; the margin that was put around the clump is not.
            at = (rows.start == 0, rows.stop == red.shape[0], columns.start == 0, columns.stop == red.shape[1])
            parted.append(_round_pieces(parts, n_parts, margin=1, at_border=at))
    return np.concatenate(parted)


def widths_in_clumps(red: Region) -> Float[np.ndarray, " places"]:
    """Return twice the depth of the places that lie deepest about: the widths of cells, also where they touch.

    Holes stay, since gaps between cells of a clump are holes, too: measured on clumps of two laboratories, the spread
    of the widths is half of what it is with holes filled.

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
    """Return the width of the regions that half of the area is narrower than: about a diameter, where none is whole.

    Parameters
    ----------
    red : ndarray of shape (rows, columns), bool
        Where cells are.

    Returns
    -------
    float
        Pixels; 0 of an empty region.
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
    """Return the diameters of the labelled pieces that no border cuts and that are as large as their ellipse."""
    row, first, end, labels = _runs(pieces)

    def summed(values: np.ndarray) -> Float[np.ndarray, " pieces"]:
        return np.bincount(labels, weights=values, minlength=n_pieces + 1)[1:]

    # Each run of pixels along a row in one step: sums of numbers and of squares that follow each other.
    length, middle = end - first, (first + end - 1) / 2
    area = np.maximum(summed(length), 1)
    from_row = row - (summed(length * row) / area)[labels - 1]
    from_column = middle - (summed(length * middle) / area)[labels - 1]
    # Each pixel is a square, whose own second moment is a twelfth.
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
    """Return row, first column, end and label of each run of pixels of one label along a row."""
    padded = np.pad(pieces, ((0, 0), (1, 1)))
    changes = padded[:, 1:] != padded[:, :-1]
    begins, ends = changes & (padded[:, 1:] > 0), changes & (padded[:, :-1] > 0)
    row, first = np.nonzero(begins)
    _, end = np.nonzero(ends)
    return row, first, end, pieces[row, first]
