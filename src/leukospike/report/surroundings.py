"""Pictures of cells in their surroundings, cut from the original images, each with a link to where it lies."""

import io
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from leukospike.analysis.result import Analysis
from leukospike.errors import ImageError
from leukospike.images import read_image
from leukospike.report.pages import encoded_png

DIAMETERS = 2.5
"""Side of a picture, in diameters of its cell."""

_SMALLEST_PX = 48
_QUALITY = 85

Cell = tuple[str, int]
"""Image and number of a cell, as in the table of cells."""


@dataclass(frozen=True)
class CellPicture:
    """One cell on the page."""

    picture: bytes | None
    """JPEG or PNG; None if there is neither an image nor a thumbnail."""
    link: str | None
    """Where the cell lies: the field with numbered outlines, or else the image; seen from the page."""


def cell_pictures(
    analysis: Analysis, cells: Sequence[Mapping[str, Any]], *, page: Path, side_px: int
) -> dict[Cell, CellPicture]:
    """Cut cells from their images; each image is read once.

    Parameters
    ----------
    analysis : Analysis
    cells : sequence of mapping
        Rows of the table of cells.
    page : Path
        The page that is to show them.
    side_px : int
        Longest side of a picture, pixels; larger ones are reduced.

    Returns
    -------
    dict of Cell to CellPicture
        A square of `DIAMETERS` diameters about each cell, moved inwards at the border of the image. The thumbnail where
        the image is gone or has changed its size, or where the position is unknown.
    """
    by_image: defaultdict[str, dict[int, Mapping[str, Any]]] = defaultdict(dict)
    for row in cells:
        by_image[row["image"]][row["cell"]] = row
    cut: dict[Cell, bytes] = {}
    for image, own in by_image.items():
        pixels = _pixels(analysis.sources.get(image))
        if pixels is None:
            continue
        for number, row in own.items():
            square = surroundings(pixels, row)
            if square is not None:
                cut[image, number] = encoded_jpeg(square, side_px=side_px)
    others = [(image, number) for image, own in by_image.items() for number in own if (image, number) not in cut]
    if others:
        for cell, thumbnail in zip(others, analysis.thumbnails(others), strict=True):
            if thumbnail is not None:
                cut[cell] = encoded_png(thumbnail)
    links = {image: link_to(analysis, image, page=page) for image in by_image}
    return {
        (image, number): CellPicture(cut.get((image, number)), links[image])
        for image, own in by_image.items()
        for number in own
    }


def surroundings(
    pixels: UInt8[np.ndarray, "rows columns 3"], row: Mapping[str, Any]
) -> UInt8[np.ndarray, "side side2 3"] | None:
    """Cut a square about a cell; None if the cell does not lie in the image, or its position is unknown."""
    try:
        top, left, height, width = (int(row[name]) for name in ("top", "left", "height", "width"))
    except (KeyError, ValueError):
        return None
    rows, columns = pixels.shape[:2]
    if height <= 0 or width <= 0 or top < 0 or left < 0 or top + height > rows or left + width > columns:
        return None
    side = max(_SMALLEST_PX, round(DIAMETERS * max(height, width)))
    starts: list[slice] = []
    for start, length, whole in ((top, height, rows), (left, width, columns)):
        first = min(max(0, start + length // 2 - side // 2), max(0, whole - side))
        starts.append(slice(first, min(whole, first + side)))
    return pixels[starts[0], starts[1]]


def encoded_jpeg(pixels: UInt8[np.ndarray, "rows columns 3"], *, side_px: int) -> bytes:
    """Encode a picture, reduced if a side is longer than `side_px`."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=_QUALITY)
    return buffer.getvalue()


def link_to(analysis: Analysis, image: str, *, page: Path) -> str | None:
    """Return the address, seen from the page, of a field's overlay, or else of the image's file; None without either.

    What lies in a temporary folder is gone when the page is read, so it gets no link.
    """
    overlay = None if analysis.temporary is not None else analysis.overlay(image)
    target = overlay or analysis.sources.get(image)
    if target is None or not target.is_file():
        return None
    try:
        relative = os.path.relpath(target.absolute(), page.absolute().parent)
    except ValueError:  # on another drive
        return None
    return quote(os.fsencode(Path(relative).as_posix()))


def _pixels(path: Path | None) -> UInt8[np.ndarray, "rows columns 3"] | None:
    """Read an image again; None if that is no longer possible."""
    if path is None:
        return None
    try:
        return read_image(path).pixels
    except ImageError:
        return None
