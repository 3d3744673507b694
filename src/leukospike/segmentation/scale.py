"""Pixel size, estimated from red cells, whose diameter hardly varies between people."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from leukospike.errors import ConfigError
from leukospike.images import PLAUSIBLE_UM_PER_PX, Picture
from leukospike.segmentation.red_cells import LEAST_AGREEING, MIN_RED_CELLS_SEEN, SAME_SIZE

RED_CELL_UM = 7.2
"""Mean diameter of a red cell on a dried smear, micrometres."""

WORKING_RED_CELL_PX = 50.0
"""Diameter of a red cell at the scale that the segmenter works at, pixels."""

MOST_OFF = 1.3
"""Red cells whose diameter is off by this factor contradict a pixel size or scale."""

KNOWN_RED_CELL_PX = (12.0, 160.0)
"""Diameters of red cells in the images that the segmenter is made for, pixels."""

PLAUSIBLE_CELL_UM = (4.0, 40.0)
"""Plausible median diameters of white cells, micrometres: well beyond those of small lymphocytes, 7, and large
monocytes, 25, so that values outside mean a wrong pixel size."""


_OTHER_LENS = 1.4  # three red cells, each off by at most a fifth, are off by less; common lenses differ by more
_LEAST_IMAGES = 3  # minimum number of images whose differences show how certain their agreement is
_MEDIAN_ERROR = 1.2533  # standard error of a median relative to that of a mean
_95 = 1.96


@dataclass(frozen=True)
class PixelSize:
    """The side of a pixel on the glass, and how it is known."""

    um_per_px: float
    """Micrometres per pixel."""
    source: Literal["given", "metadata", "red cells", "red cells of all images"]
    interval: tuple[float, float] | None = None
    """95 % interval from the spread of the red cells, micrometres per pixel; None if the size was given or stored. It
    does not include the difference of this person's mean red cell from `RED_CELL_UM`, a few per cent."""
    red_cells: int = 0
    """Number of red cells behind the estimate."""

    def __post_init__(self) -> None:
        """Raise an error for invalid sizes."""
        if not (np.isfinite(self.um_per_px) and self.um_per_px > 0):
            msg = "um_per_px must be positive"
            raise ConfigError(
                msg, where="PixelSize", got=self.um_per_px, advice="Pass the size in micrometres per pixel."
            )

    @classmethod
    def given(cls, um_per_px: float | None, *, where: str) -> "PixelSize | None":
        """Check a given pixel size; None if none was given.

        Raises
        ------
        ConfigError
            If it is implausible for a microscope.
        """
        if um_per_px is None:
            return None
        low, high = PLAUSIBLE_UM_PER_PX
        # `type` and not `isinstance`: True is an int, but not a size.
        if type(um_per_px) not in {int, float} and not isinstance(um_per_px, np.floating):
            msg = "`pixel_size` must be a number of micrometres"
            raise ConfigError(msg, where=where, got=repr(um_per_px), advice="Pass the size of one pixel, such as 0.1.")
        if not low <= um_per_px <= high:
            msg = f"`pixel_size` must be {low:g} to {high:g} micrometres, the range of microscopes"
            advice = "Divide the width of the field in micrometres by its width in pixels."
            raise ConfigError(msg, where=where, got=f"{um_per_px:g}", advice=advice)
        return cls(um_per_px, "given")

    @property
    def red_cell_px(self) -> float:
        """Diameter of a red cell of average size, pixels."""
        return RED_CELL_UM / self.um_per_px


def contradicts(size: PixelSize, areas_px: Sequence[int]) -> bool:
    """Return whether white cells of these areas are implausible at a pixel size.

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


def disagree(red_cell_px: float, other_px: float) -> bool:
    """Return whether two diameters of red cells differ by more than the factor `MOST_OFF`."""
    return bool(abs(np.log(red_cell_px / other_px)) > np.log(MOST_OFF))


def agreed_pixel_sizes(sizes: Sequence[PixelSize | None], frames: Sequence[tuple[int, int]]) -> list[PixelSize | None]:
    """Assign images of one source the pixel size agreed among those of the same frame size.

    A few red cells determine the pixel size only to a tenth, and one camera with one lens has a single pixel size.
    Images with the same number of rows and columns therefore share the median of the estimates from their red cells,
    including images with too few. A given or stored size is kept; so is an estimate too far from the median to be
    explained by few red cells, as with another lens. If fewer than half of the red cells are within a fifth of the
    median, they contradict each other: then each image keeps its own size.

    Parameters
    ----------
    sizes : sequence of PixelSize or None
        One per image, or one per cell, which gives more weight to images with more cells.
    frames : sequence of (rows, columns)
        Sizes of the images, in the same order.

    Returns
    -------
    list of PixelSize or None
        None if nothing is known about any image of the frame size.
    """
    estimates: dict[tuple[int, int], list[PixelSize]] = {}
    for size, frame in zip(sizes, frames, strict=True):
        if size is not None and size.source == "red cells":
            estimates.setdefault(frame, []).append(size)
    agreed = {frame: _agreed(found) for frame, found in estimates.items()}
    return [_own_or_agreed(size, agreed.get(frame)) for size, frame in zip(sizes, frames, strict=True)]


def _own_or_agreed(size: PixelSize | None, agreed: PixelSize | None) -> PixelSize | None:
    """Return the size agreed for the frame, unless the image has a better one."""
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
    if np.mean(np.abs(logs - median) <= np.log(1 + SAME_SIZE)) < LEAST_AGREEING:
        return None
    near = [size for size in estimates if abs(np.log(size.um_per_px) - median) <= np.log(_OTHER_LENS)]
    return PixelSize(
        float(np.exp(median)),
        "red cells of all images",
        interval=_interval_of_all(near, median),
        red_cells=sum(size.red_cells for size in near),
    )


def _interval_of_all(estimates: Sequence[PixelSize], median: float) -> tuple[float, float] | None:
    """Return a 95 % interval from differences between images; for fewer than three, the range of their intervals."""
    if len(estimates) < _LEAST_IMAGES:
        own = [size.interval for size in estimates if size.interval is not None]
        return (min(low for low, _ in own), max(high for _, high in own)) if len(own) == len(estimates) else None
    between = float(np.std(np.log([size.um_per_px for size in estimates]), ddof=1))
    error = _95 * _MEDIAN_ERROR * between / np.sqrt(len(estimates))
    return float(np.exp(median - error)), float(np.exp(median + error))


def stored_pixel_size(picture: Picture) -> PixelSize | None:
    """Return the pixel size stored in the image file, or None if there is none plausible for a microscope."""
    return None if picture.um_per_px is None else PixelSize(picture.um_per_px, "metadata")


def pixel_size_from_red_cells(diameters_px: Float[np.ndarray, " cells"]) -> PixelSize | None:
    """Estimate the size of a pixel from the median diameter of red cells.

    Parameters
    ----------
    diameters_px : ndarray of shape (cells,)
        Diameters of whole, round red cells of one size, from `same_size`, pixels.

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
