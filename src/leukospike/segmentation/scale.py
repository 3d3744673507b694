"""How large a pixel is: from red cells, whose diameter hardly varies between people."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from scipy import ndimage
from skimage.filters import threshold_otsu

from leukospike.errors import ConfigError
from leukospike.framing import content_window
from leukospike.images import Picture
from leukospike.segmentation.instances import Region, connected, depth_inside, fill_holes, part_component

RED_CELL_UM = 7.2
"""Mean diameter of a red cell on a dried smear, micrometres."""

PLAUSIBLE_CELL_UM = (4.0, 40.0)
"""Median diameters of white cells that are let pass, micrometres: well beyond those of small lymphocytes, 7, and large
monocytes, 25, so that what is outside has a wrong pixel size."""

MIN_RED_CELLS_SEEN = 3
"""Fewer whole round red cells of one size give no estimate."""

_WORKING_SIDE = 320  # longest side at which red cells are looked for, pixels ...
_LARGE = 1300  # ... twice that in images from this side on: whole fields, in which a red cell is a smaller part
_BLACK, _CUT_OUT = 4, 0.2  # more than this share of pixels no brighter than that: a cell cut out on black
_BLUR = 3  # pixels there that the blur reaches
_MIN_AREA = 60  # pixels there: 9 across, below which a disc and a speck look the same
_EDGE = 0.35  # the outline lies at so much of the way from the background to the median red cell: pale ones count too
_SMOOTHING = 1  # pixels by which rings broken in the pale centre are closed and threads cut
_AROUND_WHITE = 3  # pixels left out around white cells
_MAX_ELONGATION = 1.5
_MIN_ELLIPSE = 0.92  # area over the area of the ellipse of the same second moments; 1 for ellipses, less with dents
_MAX_WHITE_TO_RED = 3.5  # diameter of a large monocyte, 20 to 25 micrometres, in red cells
_OTHER_LENS = 1.4  # three red cells, each off by a fifth at most, are off by less; common lenses differ by more
_SAME_SIZE = 0.2  # red cells of one field differ from their median by so much at most


@dataclass(frozen=True)
class PixelSize:
    """The side of a pixel on the glass, and how it is known."""

    um_per_px: float
    """Micrometres per pixel."""
    source: Literal["given", "metadata", "red cells"]
    spread_um_per_px: float = 0.0
    """Half the interquartile range over the red cells; 0 where the size was given or stored."""
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


def agreed_pixel_sizes(sizes: Sequence[PixelSize | None], frames: Sequence[tuple[int, int]]) -> list[float | None]:
    """Give the images of one source the pixel size that those of one frame agree on.

    A few red cells tell a pixel's size to a tenth only, and one camera behind one lens has one. So images of the same
    rows and columns take the median of what their red cells say, also those that show too few. A size that was given or
    stored stays; so does an estimate that is farther from the median than few red cells can make it, as through
    another lens.

    Parameters
    ----------
    sizes : sequence of PixelSize or None
        One an image, or one a cell: then images with more cells weigh more.
    frames : sequence of (rows, columns)
        Of the images, in the same order.

    Returns
    -------
    list of float or None
        Micrometres per pixel; None where nothing is known of any image of the frame.
    """
    estimates: dict[tuple[int, int], list[float]] = {}
    for size, frame in zip(sizes, frames, strict=True):
        if size is not None and size.source == "red cells":
            estimates.setdefault(frame, []).extend([size.um_per_px] * size.red_cells)
    medians = {frame: float(np.median(found)) for frame, found in estimates.items()}
    agreed: list[float | None] = []
    for size, frame in zip(sizes, frames, strict=True):
        median = medians.get(frame)
        own = None if size is None else size.um_per_px
        if size is not None and size.source == "red cells" and median is not None:
            agreed.append(own if abs(np.log(size.um_per_px / median)) > np.log(_OTHER_LENS) else median)
        else:
            agreed.append(median if own is None else own)
    return agreed


def stored_pixel_size(picture: Picture) -> PixelSize | None:
    """Give the pixel size that the image file states, or None if it states none that a microscope could have."""
    return None if picture.um_per_px is None else PixelSize(picture.um_per_px, "metadata")


def pixel_size_from_red_cells(
    pixels: UInt8[np.ndarray, "rows columns 3"], class_map: UInt8[np.ndarray, "rows columns"] | None = None
) -> PixelSize | None:
    """Estimate the pixel size from the median diameter of the red cells in an image.

    Green, which hemoglobin absorbs most, is split by Otsu's threshold [1]_ without the white cells; touching cells are
    parted; what is whole, round and without dents is a candidate. Platelets and clumps are candidates too, so
    the largest group of one size counts, by area. Its median diameter, that of the disc of equal area, stands
    for 7.2 micrometres.

    Parameters
    ----------
    pixels : ndarray of shape (rows, columns, 3)
        RGB, uint8, 0-255.
    class_map : ndarray of shape (rows, columns), optional
        uint8: 0 rest, 1 cytoplasm, 2 nucleus. Without it white cells take part, and a field full of them misleads.

    Returns
    -------
    PixelSize or None
        None if fewer than `MIN_RED_CELLS_SEEN` red cells are whole and round, as on crops of single cells; always of
        a cell cut out on black.

    References
    ----------
    .. [1] N. Otsu, A threshold selection method from gray-level histograms, IEEE Transactions on Systems, Man, and
       Cybernetics 9 (1979), doi 10.1109/TSMC.1979.4310076.
    """
    longest = max(pixels.shape[:2])
    step = -(-longest // (_WORKING_SIDE if longest < _LARGE else 2 * _WORKING_SIDE))
    if _is_black_around(pixels, step):
        return None
    green = _reduced(pixels[:, :, 1], step).astype(np.float32)
    green = ndimage.gaussian_filter(green, 0.7)
    if np.mean(green <= _BLACK) > _CUT_OUT:
        return None
    white = np.zeros(green.shape, dtype=bool)
    if class_map is not None:
        white = _reduced((class_map > 0).astype(np.uint8) * 255, step) > 0
    around = np.asarray(ndimage.binary_dilation(white, iterations=_AROUND_WHITE), dtype=bool)
    diameters = step * _round_diameters(green, ~around)
    if white.any():
        # Specks and platelets can be many: what is far smaller than the white cells of the same image is no red cell.
        width = 2 * step * float(depth_inside(white).max())
        diameters = diameters[diameters > width / _MAX_WHITE_TO_RED]
    group = _largest_group(diameters)
    if len(group) < MIN_RED_CELLS_SEEN:
        return None
    low, median, high = np.percentile(group, [25, 50, 75])
    spread = RED_CELL_UM * (1 / low - 1 / high) / 2
    return PixelSize(RED_CELL_UM / float(median), "red cells", spread_um_per_px=float(spread), red_cells=len(group))


def _is_black_around(pixels: UInt8[np.ndarray, "rows columns 3"], step: int) -> bool:
    """Tell a cell cut out on black by what is 0, 0, 0 around it, which is seen before anything is computed."""
    sides = [
        min(-(-part.stop // step) + _BLUR, -(-length // step)) - max(part.start // step - _BLUR, 0)
        for part, length in zip(content_window(pixels), pixels.shape[:2], strict=True)
    ]
    n_pixels = -(-pixels.shape[0] // step) * -(-pixels.shape[1] // step)
    return n_pixels - sides[0] * sides[1] > _CUT_OUT * n_pixels


def _reduced(plane: UInt8[np.ndarray, "rows columns"], step: int) -> UInt8[np.ndarray, "new_rows new_columns"]:
    """Average blocks of `step` x `step` pixels."""
    return np.asarray(Image.fromarray(plane).reduce(step)) if step > 1 else plane


def _round_diameters(green: Float[np.ndarray, "rows columns"], usable: Region) -> Float[np.ndarray, " cells"]:
    """Give the diameters of the whole, round regions that are darker than the background."""
    values = green[usable]
    # The blur can leave values of one colour a rounding apart, too little for the threshold's histogram.
    if not values.size or values.max() - values.min() < 1:
        return np.zeros(0)
    middle = threshold_otsu(values)
    background, cells = np.median(values[values > middle]), np.median(values[values <= middle])
    dark = (green < background - _EDGE * (background - cells)) & usable
    dark = ndimage.binary_opening(ndimage.binary_closing(dark, iterations=_SMOOTHING), iterations=_SMOOTHING)
    components, _ = connected(dark)
    diameters: list[float] = []
    for number, window in enumerate(ndimage.find_objects(components), start=1):
        component = fill_holes(components[window] == number)
        if np.count_nonzero(component) < _MIN_AREA:
            continue
        parts, n_parts = part_component(component)
        for part in range(1, n_parts + 1):
            rows, columns = np.nonzero(parts == part)
            whole = (
                rows.size > 0
                and rows.min() + window[0].start > 0
                and columns.min() + window[1].start > 0
                and rows.max() + window[0].start < green.shape[0] - 1
                and columns.max() + window[1].start < green.shape[1] - 1
            )
            if whole and rows.size >= _MIN_AREA and _is_round(rows, columns):
                diameters.append(2 * float(np.sqrt(rows.size / np.pi)))
    return np.array(diameters)


def _is_round(rows: np.ndarray, columns: np.ndarray) -> bool:
    """Compare a region with the ellipse that has its second moments."""
    minor, major = np.sqrt(np.linalg.eigvalsh(np.cov(rows, columns)))
    return bool(major <= _MAX_ELONGATION * minor and rows.size >= _MIN_ELLIPSE * 4 * np.pi * minor * major)


def _largest_group(diameters: Float[np.ndarray, " cells"]) -> Float[np.ndarray, " group"]:
    """Give the diameters within a fifth of one of them, of the choice that covers the largest area."""
    groups = [diameters[np.abs(diameters / centre - 1) < _SAME_SIZE] for centre in diameters]
    return max(groups, key=lambda group: float((group**2).sum()), default=diameters)
