"""How pictures of single cells frame their cell, so that cells cropped from whole fields can be framed alike.

The first spike wave is a map of edges a few pixels wide: it depends on how many pixels a cell has, and on whether the
area outside its outline is black.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8
from scipy import ndimage
from skimage.filters import threshold_otsu

from leukospike.images.picture import Picture

BLACK = 4
"""Largest grey level of a black pixel."""

CUT_OUT = 0.2
"""Share of black pixels from which a picture may be a cell cut out on black; unprocessed smears have none."""

_SHARE_ON_BACKGROUND = 0.5
_COLOURFUL = 0.28
"""A cell's brightest parts are coloured, whereas a slide seen through an eyepiece is bright in many places. The measure
is the share by which the brightest colour channel exceeds the weakest, minus `_BRIGHT_COUNTS` times the share of bright
pixels. Of 300 cells of C-NMC 299 exceed this threshold; of 200 fields of bccd, raabin, chula, pbc and cellavision,
blackened around a circle, none does."""
_BRIGHT, _BRIGHT_COUNTS = 0.85, 0.4
_ONE_PIECE, _LEAST_DARK, _MOST_SHOWN = 0.9, 0.3, 0.35
"""A cell with pale cytoplasm is recognised by its nucleus: more than the first share of the dark pixels form one piece,
dark pixels are more than the second share of the content, and the content is less than the third share of the image. Of
120 generated cells 119 meet this, of 120 of C-NMC 119; of 320 fields of bccd, raabin, pbc and cellavision, blackened
around circles of two sizes, none does."""


@dataclass(frozen=True)
class View:
    """How one picture frames its cell."""

    side_px: int
    """Longer side of the picture."""
    um_per_px: float | None
    """Side of a pixel on the glass, micrometres, if the file states it."""
    cell_share: float | None
    """Diameter of a disc of the cell's area, over the longer side; None unless the cell is cut out on black."""


@dataclass(frozen=True)
class Framing:
    """How a set of pictures frames its cells: medians over the pictures."""

    side_px: int
    """Longer side of a picture."""
    um_per_px: float | None
    """Side of a pixel on the glass, micrometres; None unless most of the files state it."""
    cell_share: float
    """Diameter of a cell over the longer side of its picture; 0.5, unmeasured, where cells are not cut out."""
    on_black: bool
    """Whether most cells are cut out on black."""


C_NMC_FRAMING = Framing(side_px=450, um_per_px=None, cell_share=0.45, on_black=True)
"""Framing of C-NMC, whose files state no pixel size; 0.45 is the median over 149 of its cells."""


def view_of(picture: Picture) -> View:
    """Measure how a picture frames its cell.

    Parameters
    ----------
    picture : Picture

    Returns
    -------
    View
    """
    pixels = picture.pixels
    side = max(pixels.shape[:2])
    if not is_cut_out(pixels):
        return View(side, picture.um_per_px, None)
    area = _share_of_all(_sampled(pixels)[1], pixels) * pixels.shape[0] * pixels.shape[1]
    return View(side, picture.um_per_px, 2 * float(np.sqrt(area / np.pi)) / side)


def is_cut_out(pixels: UInt8[np.ndarray, "rows columns 3"]) -> bool:
    """Return whether a picture is a cell cut out on black, and not a field, even one with an eyepiece's black border.

    Parameters
    ----------
    pixels : ndarray of shape (rows, columns, 3)
        RGB, uint8, 0-255.

    Returns
    -------
    bool
    """
    planes, shown = _sampled(pixels)
    share = _share_of_all(shown, pixels)
    if not 0 < share < 1 - CUT_OUT:
        return False
    content = [plane[shown] for plane in planes]
    brightest = np.array([max(_percentile(values, 98), 1) for values in content])
    # Compared as bytes: measured, an eighth of the time of comparing each with a fraction.
    red, green, blue = (
        values >= np.uint8(math.ceil(_BRIGHT * level)) for values, level in zip(content, brightest, strict=True)
    )
    bright = float((red & green & blue).mean())
    colour = float(np.ptp(brightest) / brightest.max())
    if colour - _BRIGHT_COUNTS * bright > _COLOURFUL:
        return True
    return share < _MOST_SHOWN and _has_one_nucleus(planes[1], shown)


def _percentile(values: UInt8[np.ndarray, " n"], share: float) -> float:
    """Return a percentile as NumPy's, from the counts of each value: measured, in half its time."""
    place = (values.size - 1) * (share / 100)
    lower = int(place)
    up_to = np.cumsum(np.bincount(values, minlength=256))
    low, high = np.searchsorted(up_to, [lower, min(lower + 1, values.size - 1)], side="right").tolist()
    part = place - lower
    return low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part)


def _has_one_nucleus(green: UInt8[np.ndarray, "rows columns"], shown: Bool[np.ndarray, "rows columns"]) -> bool:
    """Return whether one dark piece fills much of the content."""
    content = green[shown]
    if np.ptp(content) == 0:
        return False
    dark = shown & (green <= threshold_otsu(content))
    pieces = np.zeros(dark.shape, np.int32)
    ndimage.label(dark, output=pieces)
    areas = np.bincount(pieces.ravel())[1:]
    return bool(areas.max() > _ONE_PIECE * areas.sum() and areas.sum() > _LEAST_DARK * np.count_nonzero(shown))


def _sampled(
    pixels: UInt8[np.ndarray, "rows columns 3"],
) -> tuple[UInt8[np.ndarray, "3 r c"], Bool[np.ndarray, "r c"]]:
    """Crop the margin that is 0, 0, 0 and subsample the content to about 256 pixels a side; return what is not black.

    Plane by plane, which takes a tenth of the time of working along the last axis (measured).
    """
    step = _step(pixels)
    rows, columns = (slice(part.start, part.stop, step) for part in content_window(pixels))
    planes = np.ascontiguousarray(pixels[rows, columns].transpose(2, 0, 1))
    red, green, blue = planes > BLACK
    return planes, red | green | blue


def _step(pixels: UInt8[np.ndarray, "rows columns 3"]) -> int:
    """Return the sampling step in rows and columns."""
    return max(1, max(pixels.shape[:2]) // 256)


def _share_of_all(shown: Bool[np.ndarray, "r c"], pixels: UInt8[np.ndarray, "rows columns 3"]) -> float:
    """Return the share of an image that is not black."""
    return min(1.0, int(np.count_nonzero(shown)) * _step(pixels) ** 2 / (pixels.shape[0] * pixels.shape[1]))


def content_window(pixels: UInt8[np.ndarray, "rows columns 3"]) -> tuple[slice, slice]:
    """Return the smallest window outside which a picture is 0, 0, 0, as around a cell segmented by a program.

    Parameters
    ----------
    pixels : ndarray of shape (rows, columns, 3)
        RGB, uint8, 0-255.

    Returns
    -------
    tuple of slice
        Rows and columns; empty if the picture is all black.
    """
    # The maximum of bytes takes a twentieth of the time of comparing each (measured).
    rows = np.flatnonzero(pixels.reshape(len(pixels), -1).max(axis=1))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    first, end = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(pixels[first:end].max(axis=0).max(axis=1))
    return slice(first, end), slice(int(columns[0]), int(columns[-1]) + 1)


def framing_of(views: Sequence[View]) -> Framing:
    """Summarise how the pictures of a set frame their cells.

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
