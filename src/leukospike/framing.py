"""How pictures of single cells show their cell, so that cells cut out of whole fields can be shown alike.

The first spike wave is a map of edges a few pixels wide: it depends on how many pixels a cell has, and on whether black
begins at its outline.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from leukospike.images import Picture

LONGEST_CELL_PX = 512
"""A picture no larger shows a single cell, when nothing else is said."""

LONGEST_CUT_OUT_PX = 1024
"""A picture with black around its content shows a single cell up to this size; the round view through an eyepiece,
which is black around it too, is larger."""

_BLACK = 4  # grey levels up to which a pixel is black
_CUT_OUT = 0.2  # share of black from which a picture is of a cell cut out
_SHARE_ON_BACKGROUND = 0.5


@dataclass(frozen=True)
class View:
    """How one picture shows its cell."""

    side_px: int
    """Longer side of the picture."""
    um_per_px: float | None
    """Side of a pixel on the glass, where the file states it."""
    cell_share: float | None
    """Diameter of the disc as large as the cell, over the longer side; None unless the cell is cut out on black."""

    @property
    def of_cell(self) -> bool:
        """Whether it is taken for a picture of a single cell, and not of a whole field."""
        return self.side_px <= (LONGEST_CELL_PX if self.cell_share is None else LONGEST_CUT_OUT_PX)


@dataclass(frozen=True)
class Framing:
    """How a set of pictures shows its cells: medians over the pictures."""

    side_px: int
    """Longer side of a picture."""
    um_per_px: float | None
    """Side of a pixel on the glass; None unless most of the files state it."""
    cell_share: float
    """Diameter of a cell over the longer side of its picture; 0.5 where cells are not cut out, and it was not seen."""
    on_black: bool
    """Whether most cells are cut out on black."""


C_NMC_FRAMING = Framing(side_px=450, um_per_px=None, cell_share=0.45, on_black=True)
"""That of C-NMC, whose files state no pixel size; 0.45 is the median over 149 of its cells."""


def view_of(picture: Picture) -> View:
    """Measure how a picture shows its cell.

    Parameters
    ----------
    picture : Picture

    Returns
    -------
    View
    """
    side = max(picture.pixels.shape[:2])
    step = max(1, side // LONGEST_CELL_PX)
    rows, columns = (slice(part.start // step * step, part.stop, step) for part in content_window(picture.pixels))
    red, green, blue = (picture.pixels[rows, columns, channel] > _BLACK for channel in range(3))
    # Measured, ten times as fast as the maximum over the last axis.
    area = int(np.count_nonzero(red | green | blue))
    n_pixels = -(-picture.pixels.shape[0] // step) * -(-picture.pixels.shape[1] // step)
    cut_out = area < (1 - _CUT_OUT) * n_pixels
    return View(side, picture.um_per_px, 2 * step * float(np.sqrt(area / np.pi)) / side if cut_out else None)


def content_window(pixels: UInt8[np.ndarray, "rows columns 3"]) -> tuple[slice, slice]:
    """Give the smallest window outside which a picture is 0, 0, 0, as around a cell cut out by a program.

    Parameters
    ----------
    pixels : ndarray of shape (rows, columns, 3)
        RGB, uint8, 0-255.

    Returns
    -------
    tuple of slice
        Rows and columns; empty ones of a picture that is all black.
    """
    # Measured, the maximum of bytes takes a twentieth of the time of comparing each.
    rows = np.flatnonzero(pixels.reshape(len(pixels), -1).max(axis=1))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    first, end = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(pixels[first:end].max(axis=0).max(axis=1))
    return slice(first, end), slice(int(columns[0]), int(columns[-1]) + 1)


def framing_of(views: Sequence[View]) -> Framing:
    """Put together how the pictures of a set show their cells.

    Parameters
    ----------
    views : sequence of View
        At least one.

    Returns
    -------
    Framing
    """
    stated = [view.um_per_px for view in views if view.um_per_px is not None]
    shares = [view.cell_share for view in views if view.cell_share]
    on_black = 2 * len(shares) > len(views)
    return Framing(
        side_px=round(float(np.median([view.side_px for view in views]))),
        um_per_px=float(np.median(stated)) if 2 * len(stated) > len(views) else None,
        cell_share=float(np.median(shares)) if on_black else _SHARE_ON_BACKGROUND,
        on_black=on_black,
    )
