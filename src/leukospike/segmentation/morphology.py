"""Measures of each cell."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage
from skimage.measure import find_contours

from leukospike.segmentation.instances import (
    NUCLEUS,
    Box,
    ClassMap,
    Instances,
    Region,
    connected,
    touches_border,
)


@dataclass(frozen=True)
class CellMeasures:
    """One cell of one image; the names are the columns of the table."""

    cell: int
    """Number in the image, from 1, as in the overlay."""
    top: int
    """First row of the box around it."""
    left: int
    """First column of the box."""
    height: int
    """Rows of the box."""
    width: int
    """Columns of the box."""
    row: float
    """Centroid, pixels; 0 is the centre of the first row."""
    column: float
    """Centroid, pixels; 0 is the centre of the first column."""
    area_px: int
    """Nucleus and cytoplasm, pixels."""
    area_um2: float
    """The same in square micrometres; missing if the pixel size is unknown."""
    diameter_um: float
    """Diameter of a disc of that area, micrometres; missing likewise."""
    nucleus_area_px: int
    """Nucleus, pixels."""
    nc_ratio: float
    """Area of the nucleus over the area of the whole cell, 0-1; nucleus over cytoplasm is nc_ratio / (1 - nc_ratio)."""
    circularity: float
    """4 pi area / perimeter^2 of the whole cell: 1 for a disc, less for any other shape, at most 1."""
    nucleus_red: float
    """Mean red of the nucleus, 0-255; missing without nucleus."""
    nucleus_green: float
    """The same for green."""
    nucleus_blue: float
    """The same for blue."""
    cytoplasm_red: float
    """Mean red of the cytoplasm, 0-255; missing without cytoplasm."""
    cytoplasm_green: float
    """The same for green."""
    cytoplasm_blue: float
    """The same for blue."""
    nucleus_density: float
    """Mean optical density of the nucleus: -log10 of intensity / 255, averaged over pixels and channels."""
    cytoplasm_density: float
    """The same for the cytoplasm."""
    border: bool
    """Whether the cell touches the image's border and may be cut off; if so, area, ratio and circularity are of the
    visible part."""
    confidence: float = float("nan")
    """Probability that the object is a white cell, 0-1; missing if the segmenter does not estimate it."""


CELL_COLUMNS = ("image", *CellMeasures.__dataclass_fields__)
"""Columns of the table of cells."""

_LEVEL = 0.5  # of the blurred region at its contour
_DENSITIES = ("nucleus_density", "cytoplasm_density")
_COLOURS = tuple(f"{part}_{colour}" for part in ("nucleus", "cytoplasm") for colour in ("red", "green", "blue"))
# Finer than masks can resolve: one pixel more or less around a cell 100 pixels across is 0.04 of its area.
_DECIMALS = dict.fromkeys(("nc_ratio", "circularity", "confidence", *_DENSITIES), 4) | dict.fromkeys(
    ("row", "column", "area_um2", "diameter_um", *_COLOURS), 2
)


def measure_cells(
    pixels: UInt8[np.ndarray, "rows columns 3"],
    class_map: UInt8[np.ndarray, "rows columns"],
    instances: Instances,
    *,
    um_per_px: float | None = None,
    confidences: Sequence[float] | Float[np.ndarray, " cells"] | None = None,
) -> list[CellMeasures]:
    """Measure each cell.

    Parameters
    ----------
    pixels : ndarray of shape (rows, columns, 3)
        RGB, uint8, 0-255.
    class_map : ndarray of shape (rows, columns)
        uint8: 0 rest, 1 cytoplasm, 2 nucleus. Rest within a cell, such as a vacuole, counts as cytoplasm.
    instances : Instances
        The cells of `class_map`.
    um_per_px : float, optional
        Side of a pixel, micrometres, positive. Without it, area and diameter in micrometres are not-a-number.
    confidences : sequence of float, optional
        Probability that each object is a white cell, 0-1; not-a-number if not given.

    Returns
    -------
    list of CellMeasures
        In the order of their numbers; empty without cells.
    """
    measured = [
        _measured(number, box, instances.labels[box.window] == number, pixels[box.window], class_map, um_per_px)
        for number, box in enumerate(instances.boxes, start=1)
    ]
    if confidences is None:
        return measured
    return [replace(cell, confidence=float(value)) for cell, value in zip(measured, confidences, strict=True)]


def cell_table(image: str, cells: Sequence[CellMeasures]) -> pd.DataFrame:
    """Return cells as a table with the columns `CELL_COLUMNS`, one row per cell; without cells it is empty.

    Measures from 0 to 1 and densities are rounded to four decimals, measures with a unit to two.

    Parameters
    ----------
    image : str
        Name of the image, repeated in each row.
    cells : sequence of CellMeasures

    Returns
    -------
    DataFrame
    """
    table = pd.DataFrame([cell_row(cell) for cell in cells], columns=pd.Index(CELL_COLUMNS[1:]))
    table.insert(0, "image", image)
    return table


def cell_row(cell: CellMeasures) -> dict[str, Any]:
    """Return the rounded measures of a cell as a row of the table, without the image."""
    return {name: round(value, _DECIMALS[name]) if name in _DECIMALS else value for name, value in vars(cell).items()}


def circularity(region: Region) -> float:
    r"""Return the circularity of a shape, :math:`4 \pi A / P^2`, at most 1.

    The perimeter is the length of the contour at one half [1]_ after a Gaussian blur of 1 pixel; counting pixels along
    the edge would depend on the orientation of the shape. Holes do not count.

    Parameters
    ----------
    region : ndarray of shape (rows, columns), bool

    Returns
    -------
    float
        0-1; 0 for an empty region.

    References
    ----------
    .. [1] W. E. Lorensen and H. E. Cline, Marching cubes, SIGGRAPH 1987, doi 10.1145/37402.37422; in two dimensions.
    """
    smooth: Float[np.ndarray, "padded_height padded_width"] = ndimage.gaussian_filter(
        np.pad(region, 3).astype(np.float32), 1.0
    )
    high = smooth > _LEVEL
    if _bounded_by_one_line(high):
        length = contour_length(smooth, high)
    else:
        lines = find_contours(smooth, _LEVEL)
        length = max((float(np.hypot(*np.diff(line, axis=0).T).sum()) for line in lines), default=0.0)
    return min(1.0, 4 * np.pi * int(np.count_nonzero(region)) / length**2) if length else 0.0


def contour_length(smooth: Float[np.ndarray, "rows columns"], high: Region) -> float:
    """Return the length of all contours at one half, square by square, without joining them into lines.

    Parameters
    ----------
    smooth : ndarray of shape (rows, columns)
        Below one half at the border.
    high : ndarray of shape (rows, columns), bool
        Where `smooth` is above one half.

    Returns
    -------
    float
        Pixels.
    """
    corners = tuple(np.s_[row : row - 1 or None, column : column - 1 or None] for row in (0, 1) for column in (0, 1))
    some = high[corners[0]] | high[corners[1]] | high[corners[2]] | high[corners[3]]
    all_four = high[corners[0]] & high[corners[1]] & high[corners[2]] & high[corners[3]]
    row, column = np.nonzero(some & ~all_four)
    values = smooth[row + np.array([[0], [0], [1], [1]]), column + np.array([[0], [1], [0], [1]])].astype(np.float64)
    is_high = values > _LEVEL

    def crossing(one: int, other: int) -> tuple[Bool[np.ndarray, " squares"], Float[np.ndarray, " squares"]]:
        apart = values[other] - values[one]
        cut = is_high[one] != is_high[other]
        return cut, (_LEVEL - values[one]) / np.where(cut, apart, 1.0)

    (top, at_top), (left, at_left), (right, at_right), (bottom, at_bottom) = (
        crossing(*ends) for ends in ((0, 1), (0, 2), (1, 3), (2, 3))
    )
    saddle = top & left & right & bottom
    # A line connects the two sides that it crosses.
    from_row, from_column = (
        np.where(top, 0, np.where(left, at_left, 1)),
        np.where(top, at_top, np.where(left, 0, at_bottom)),
    )
    to_row, to_column = (
        np.where(right, at_right, np.where(bottom, 1, at_left)),
        np.where(right, 1, np.where(bottom, at_bottom, 0)),
    )
    length = float(np.hypot(to_row - from_row, to_column - from_column)[~saddle].sum())
    # In a saddle each high corner is cut off by itself.
    for high_corner, row_sides, column_sides in (
        (is_high[1], (at_right, 1 - at_left), (1 - at_top, at_bottom)),
        (is_high[0], (at_left, 1 - at_right), (at_top, 1 - at_bottom)),
    ):
        here = saddle & high_corner
        length += sum(float(np.hypot(a[here], b[here]).sum()) for a, b in zip(row_sides, column_sides, strict=True))
    return length


def _bounded_by_one_line(high: Region) -> bool:
    """Return whether a region that does not reach the border is one 4-connected piece without holes."""
    down, along = high[1:] & high[:-1], high[:, 1:] & high[:, :-1]
    # Pieces minus holes, by Euler: pixels minus pairs of neighbours plus squares.
    n_pixels, n_down, n_along, n_squares = (
        int(np.count_nonzero(part)) for part in (high, down, along, down[:, 1:] & down[:, :-1])
    )
    return n_pixels - n_down - n_along + n_squares == 1 and connected(high)[1] == 1


def _measured(
    number: int,
    box: Box,
    region: Region,
    pixels: UInt8[np.ndarray, "height width 3"],
    class_map: ClassMap,
    um_per_px: float | None,
) -> CellMeasures:
    """Measure one cell within its box."""
    nucleus = region & (class_map[box.window] == NUCLEUS)
    area, nucleus_area = int(np.count_nonzero(region)), int(np.count_nonzero(nucleus))
    area_um2 = float("nan") if um_per_px is None else area * um_per_px**2
    (cytoplasm_colour, cytoplasm_density), (nucleus_colour, nucleus_density) = _stains(pixels, region, nucleus)
    return CellMeasures(
        cell=number,
        top=box.top,
        left=box.left,
        height=box.height,
        width=box.width,
        row=box.top + float(region.sum(axis=1) @ np.arange(box.height)) / area,
        column=box.left + float(region.sum(axis=0) @ np.arange(box.width)) / area,
        area_px=area,
        area_um2=area_um2,
        diameter_um=2 * float(np.sqrt(area_um2 / np.pi)),
        nucleus_area_px=nucleus_area,
        nc_ratio=nucleus_area / area,
        circularity=circularity(region),
        nucleus_red=float(nucleus_colour[0]),
        nucleus_green=float(nucleus_colour[1]),
        nucleus_blue=float(nucleus_colour[2]),
        cytoplasm_red=float(cytoplasm_colour[0]),
        cytoplasm_green=float(cytoplasm_colour[1]),
        cytoplasm_blue=float(cytoplasm_colour[2]),
        nucleus_density=nucleus_density,
        cytoplasm_density=cytoplasm_density,
        border=touches_border(box, (class_map.shape[0], class_map.shape[1])),
    )


_DENSITY = -np.log10(np.maximum(np.arange(256), 1) / 255)  # 0 counts as 1: black has no finite density


def _stains(
    pixels: UInt8[np.ndarray, "height width 3"], region: Region, nucleus: Region
) -> list[tuple[Float[np.ndarray, "3"], float]]:
    """Return mean colour and mean optical density of cytoplasm and nucleus; not-a-number for an empty part."""
    # From the counts of each value, for all parts at once: a tenth of the time of three values per pixel (measured).
    first = 256 * (region.astype(np.uint16) + nucleus)
    channels = pixels.transpose(2, 0, 1)
    counts = np.stack([np.bincount((first + plane).ravel(), minlength=768).reshape(3, 256) for plane in channels])
    stains: list[tuple[np.ndarray, float]] = []
    for own in counts.swapaxes(0, 1)[1:]:
        n_pixels = own[0].sum()
        if n_pixels:
            stains.append((own @ np.arange(256) / n_pixels, float((own @ _DENSITY).sum() / (3 * n_pixels))))
        else:
            stains.append((np.full(3, np.nan), float("nan")))
    return stains


def cell_mask(class_map: UInt8[np.ndarray, "rows columns"], instances: Instances) -> UInt8[np.ndarray, "rows columns"]:
    """Return the cells as the mask that is written, without debris and with holes as cytoplasm.

    Parameters
    ----------
    class_map : ndarray of shape (rows, columns)
        uint8: 0 rest, 1 cytoplasm, 2 nucleus.
    instances : Instances

    Returns
    -------
    ndarray of shape (rows, columns)
        uint8: 255 nucleus, 128 cytoplasm, 0 the rest.
    """
    mask = np.zeros(class_map.shape, dtype=np.uint8)
    values = np.array([128, 128, 255], dtype=np.uint8)  # in the order of the classes; rest inside a cell is a hole
    for box in instances.boxes:
        inside = instances.labels[box.window] > 0
        np.copyto(mask[box.window], values.take(class_map[box.window]), where=inside)
    return mask
