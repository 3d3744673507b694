"""Cuts cells out of a whole field, framed like pictures of single cells."""

import math

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from leukospike.images.framing import Framing
from leukospike.segmentation.instances import Instances

_MARGIN_PX = 2  # around a cell that is cut out on black, so that resampling sees what lies beyond its outline


def crop_cell(
    pixels: UInt8[np.ndarray, "rows columns 3"],
    instances: Instances,
    number: int,
    framing: Framing,
    *,
    um_per_px: float | None = None,
) -> UInt8[np.ndarray, "side side 3"]:
    """Cut out a cell of a field with margin, at the scale and on the background of other pictures.

    The square around the cell is as wide on the glass as those pictures where both pixel sizes are known. Else it is so
    wide that the cell takes up the same share of it.

    Parameters
    ----------
    pixels : ndarray of shape (rows, columns, 3)
        The field, RGB, uint8, 0-255.
    instances : Instances
        Its cells.
    number : int
        Which of them, from 1.
    framing : Framing
        How the other pictures show their cells.
    um_per_px : float, optional
        Side of a pixel of the field on the glass, micrometres.

    Returns
    -------
    ndarray of shape (framing.side_px, framing.side_px, 3)
        RGB, uint8, the middle of the cell's box in its middle. Around a cell on black all is black; else the field
        is seen around it, its outermost pixels repeated where it ends.
    """
    box = instances.boxes[number - 1]
    if um_per_px is not None and framing.um_per_px is not None:
        window = framing.side_px * framing.um_per_px / um_per_px
    else:
        area = int(np.count_nonzero(instances.labels[box.window] == number))
        window = 2 * math.sqrt(area / math.pi) / framing.cell_share
    reach = (box.height / 2 + _MARGIN_PX, box.width / 2 + _MARGIN_PX) if framing.on_black else (window, window)
    middle = (box.top + box.height / 2, box.left + box.width / 2)
    rows, columns = (
        _shown(centre, half, window, length, framing.side_px)
        for centre, half, length in zip(middle, reach, pixels.shape[:2], strict=True)
    )
    picture = _resampled(_part(pixels, rows, columns), rows, columns, Image.Resampling.BICUBIC)
    around = ((rows.before, rows.after), (columns.before, columns.after))
    if not framing.on_black:
        return np.pad(picture, (*around, (0, 0)), mode="edge")
    region = (_part(instances.labels, rows, columns) == number).view(np.uint8) * np.uint8(255)
    inside = _resampled(region, rows, columns, Image.Resampling.BILINEAR) >= 128
    # The darkest pixel of the cell is 1, so that black means outside and nothing else.
    return np.pad(np.where(inside[:, :, None], np.maximum(picture, 1), 0).astype(np.uint8), (*around, (0, 0)))


class _Shown:
    """Which stretch of the field is seen along one axis, and where in the picture it comes to lie."""

    def __init__(self, first: float, last: float, before: int, length: int, side: int) -> None:
        self.first, self.last = first, last  # of the field, in fractions of pixels
        self.before, self.length, self.after = before, length, side - before - length


def _shown(centre: float, half: float, window: float, n_pixels: int, side: int) -> _Shown:
    """Return the intersection of window and field."""
    start = centre - window / 2
    first, last = max(0.0, start, centre - half), min(float(n_pixels), start + window, centre + half)
    before = min(round((first - start) / window * side), side - 1)
    length = max(1, min(round((last - start) / window * side), side) - before)
    return _Shown(first, last, before, length, side)


def _part(plane: np.ndarray, rows: _Shown, columns: _Shown) -> np.ndarray:
    """Return the pixels of a field of which something is seen."""
    return plane[math.floor(rows.first) : math.ceil(rows.last), math.floor(columns.first) : math.ceil(columns.last)]


def _resampled(
    part: UInt8[np.ndarray, "rows columns ..."], rows: _Shown, columns: _Shown, method: Image.Resampling
) -> UInt8[np.ndarray, "height width ..."]:
    """Bring what `_part` returned to its size in the picture."""
    top, left = math.floor(rows.first), math.floor(columns.first)
    box = (columns.first - left, rows.first - top, columns.last - left, rows.last - top)
    return np.asarray(Image.fromarray(part).resize((columns.length, rows.length), method, box=box))
