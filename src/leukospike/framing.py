"""How pictures of single cells show their cell, so that cells cut out of whole fields can be shown alike.

The first spike wave is a map of edges a few pixels wide: it depends on how many pixels a cell has, and on whether black
begins at its outline.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
    red, green, blue = (picture.pixels[::step, ::step, channel] > _BLACK for channel in range(3))
    content = red | green | blue  # measured, ten times as fast as the maximum over the last axis
    area = int(np.count_nonzero(content))
    cut_out = area < (1 - _CUT_OUT) * content.size
    return View(side, picture.um_per_px, 2 * step * float(np.sqrt(area / np.pi)) / side if cut_out else None)


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
