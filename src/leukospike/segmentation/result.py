"""The result of segmentation for one image: cells, each with its confidence, and advice on the image."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from io import BytesIO

import numpy as np
import pandas as pd
from jaxtyping import UInt8
from PIL import Image

from leukospike.segmentation.class_maps import Reading, Segmenter
from leukospike.segmentation.evidence import default_evidence, evidence_of
from leukospike.segmentation.instances import Box, ClassMap, Instances, find_cells, touches_border
from leukospike.segmentation.light import Light, estimate_light
from leukospike.segmentation.looks import ScaleFrom
from leukospike.segmentation.morphology import CellMeasures, cell_mask, cell_table, measure_cells
from leukospike.segmentation.overlay import overlay
from leukospike.segmentation.quality import Advice, Quality, appearance_of, quality_of
from leukospike.segmentation.scale import (
    KNOWN_RED_CELL_PX,
    WORKING_RED_CELL_PX,
    PixelSize,
    contradicts,
    disagree,
    pixel_size_from_red_cells,
)

MIN_CONFIDENCE = 0.25
"""Objects of lower confidence are left out, and counted as rejected: a missed cell costs a reader more than an object
to skip. From .5 to .25, measured recall in left-out laboratories rises by .01 to .08, and precision falls by 0 to
.02."""

_QUALITY_PX = 640  # longest side of the copy that quality is told on, which sees no more
_MOST_RED_CELLS = 5.6  # diameters: a longer picture is a field. Single cells of pbc and cellavision show 5, bccd's 6
_SHOWN_PX = 960  # longest side of the picture in a notebook
_MIDDLE = 0.2  # of the longer side: the cell of a picture of one cell is no farther from the middle ...
_LARGE = 0.18  # ... and its diameter no less


class Doubt(StrEnum):
    """Possible problems with an image besides its quality."""

    PIXEL_SIZE = "pixel_size"
    """Its red cells contradict the given or stored pixel size, or its white cells would be implausibly small or large
    by it."""
    SCALE = "scale"
    """Red cells are smaller or larger than the segmenter can handle, so that cells may be missed or wrongly
    outlined."""
    NO_SCALE = "no_scale"
    """Neither red nor white cells were found at any scale, or none at the scale suggested by white cells."""


@dataclass(frozen=True)
class Segmentation:
    """The white cells of one image."""

    mask: UInt8[np.ndarray, "rows columns"]
    """255 nucleus, 128 cytoplasm, 0 the rest, uint8."""
    instances: Instances
    """Which pixel belongs to which cell."""
    image: str
    """Its name, in the table."""
    measures: tuple[CellMeasures, ...]
    """Of each cell, in even light; none if there are no cells."""
    quality: tuple[Advice, ...]
    """What may be wrong with the image."""
    pixel_size: PixelSize | None
    """None if it was not given and there are too few red cells to estimate it."""
    light: Light
    """The light that the image was taken in."""
    rejected: int = 0
    """Objects that are no white cells, by their confidence."""
    scale: float = 1.0
    """At which the image was read, in its own size."""
    scale_from: ScaleFrom = ScaleFrom.OWN
    """How the scale was determined."""
    doubts: tuple[Doubt, ...] = ()
    """Other possible problems."""
    pixels: UInt8[np.ndarray, "rows columns 3"] | None = None
    """The original image."""

    @cached_property
    def cells(self) -> pd.DataFrame:
        """One row per cell, with the columns `CELL_COLUMNS` even if there are none."""
        return cell_table(self.image, self.measures)

    @property
    def flags(self) -> tuple[str, ...]:
        """Possible problems with the image, its scale or pixel size, as flags of the tables."""
        return (*(advice.quality.value for advice in self.quality), *(doubt.value for doubt in self.doubts))

    def outlines(self) -> UInt8[np.ndarray, "rows columns 3"]:
        """Return the image with numbered outlines of cells and nuclei, RGB, 0-255."""
        pixels = np.zeros((*self.mask.shape, 3), np.uint8) if self.pixels is None else self.pixels
        return overlay(pixels, self.mask, self.instances)

    def _repr_html_(self) -> str:
        """Show outlines and measures in a notebook."""
        shown = Image.fromarray(self.outlines())
        shown.thumbnail((_SHOWN_PX, _SHOWN_PX))
        buffer = BytesIO()
        shown.save(buffer, format="PNG")
        picture = b64encode(buffer.getvalue()).decode("ascii")
        table = self.cells.drop(columns="image").to_html(index=False, max_rows=20, border=0)
        image = f'<img alt="cells with numbered outlines" src="data:image/png;base64,{picture}">'
        flags = f"<p>{', '.join(self.flags)}</p>" if self.flags else ""
        return f'{image}{flags}<div style="overflow-x: auto">{table}</div>'

    @property
    def middle_cell(self) -> int | None:
        """Number of the cell in the middle of the image, or else of that nearest to it; None if there are no cells."""
        if not self.measures:
            return None
        rows, columns = self.mask.shape
        if in_middle := int(self.instances.labels[rows // 2, columns // 2]):
            return in_middle
        return min(self.measures, key=lambda cell: np.hypot(cell.row - rows / 2, cell.column - columns / 2)).cell

    @property
    def whole_cells(self) -> int:
        """Number of cells not cut off at the border."""
        return sum(not cell.border for cell in self.measures)

    @property
    def shows_one_cell(self) -> bool:
        """Whether the content is that of a picture of a single cell, not of a field.

        This is true for a cell on black, and for an image with at most one whole cell that is large and near its
        centre, unless its red cells show it to be larger than such pictures; without a cell, for an image too small for
        a field.
        """
        if self.light.cut_out:
            return True
        rows, columns = self.mask.shape
        longest = max(rows, columns)
        if not self.measures:
            return (
                self.scale_from is ScaleFrom.RED_CELLS and longest * self.scale / WORKING_RED_CELL_PX <= _MOST_RED_CELLS
            )
        is_long = longest * self.scale > _MOST_RED_CELLS * WORKING_RED_CELL_PX
        if self.whole_cells > 1 or (self.scale_from in {ScaleFrom.RED_CELLS, ScaleFrom.STATED} and is_long):
            return False
        cell = self.measures[(self.middle_cell or 1) - 1]
        off = np.hypot(cell.row - (rows - 1) / 2, cell.column - (columns - 1) / 2)
        diameter = 2 * np.sqrt(cell.area_px / np.pi)
        return bool(not cell.border and off <= _MIDDLE * longest and diameter >= _LARGE * longest)


def segment_pixels(
    image: str,
    pixels: UInt8[np.ndarray, "rows columns 3"],
    segmenter: Segmenter,
    *,
    pixel_size: PixelSize | None = None,
    strict: bool = False,
) -> Segmentation:
    """Find the white cells of an image.

    Light is corrected; the segmenter classifies each pixel at a suitable scale; pixels are grouped into cells; objects
    that are not white cells are rejected. Possible problems are flagged, but cells are returned nevertheless, except
    for a blank image.

    Parameters
    ----------
    image : str
        Name of the image in the table.
    pixels : ndarray of shape (rows, columns, 3)
        RGB, uint8, 0-255.
    segmenter : callable
        As `class_maps.read_classes` with a network.
    pixel_size : PixelSize, optional
        Given or stored; default: estimated from red cells. It determines what is too small to be a white cell, unless
        red cells contradict it; then these decide, and `Doubt.PIXEL_SIZE` is set. It is also checked against the whole
        white cells, which are unchanged. Micrometres are always computed with it.
    strict : bool
        Return no cells for images with any quality flag.

    Returns
    -------
    Segmentation
    """
    light = estimate_light(pixels)
    reading = segmenter(pixels, light, pixel_size)
    quality = _quality_of(pixels, light, reading.classes)
    size = pixel_size
    # What looks like red cells in a negative is none.
    is_negative = any(advice.quality is Quality.INVERTED for advice in quality)
    if size is None and reading.red_cells is not None and not is_negative:
        size = pixel_size_from_red_cells(reading.red_cells)
    refused = quality if strict else [advice for advice in quality if advice.quality is Quality.BLANK]
    classes = np.zeros_like(reading.classes) if refused else reading.classes
    instances = find_cells(classes, red_cell_px=red_cell_px(reading, size))
    confidences, n_rejected = np.full(len(instances.boxes), np.nan), 0
    if reading.shares is not None:
        confidences = default_evidence().confidence(evidence_of(reading, instances, cut_out=light.cut_out))
        kept = confidences >= MIN_CONFIDENCE
        n_rejected = int(np.count_nonzero(~kept))
        instances, confidences = instances.only(kept), confidences[kept]
    measures = measure_cells(
        _even_where_cells_are(pixels, light, instances.boxes),
        classes,
        instances,
        um_per_px=None if size is None else size.um_per_px,
        confidences=confidences,
    )
    doubts = _doubts(reading, instances, size, classes)
    return Segmentation(
        cell_mask(classes, instances),
        instances,
        image,
        tuple(measures),
        quality,
        size,
        light,
        n_rejected,
        reading.scale,
        reading.scale_from,
        doubts,
        pixels,
    )


def red_cell_px(reading: Reading, size: PixelSize | None) -> float | None:
    """Return how large red cells are: as the pixel size says, or else as they would be at the scale that was found.

    One or two that look round are not enough: they may be bits of cells.
    """
    if size is not None and not _is_contradicted(reading, size):
        return size.red_cell_px
    if reading.scale_from in {ScaleFrom.RED_CELLS, ScaleFrom.WHITE_CELLS}:
        return WORKING_RED_CELL_PX / reading.scale
    return None


def _is_contradicted(reading: Reading, size: PixelSize) -> bool:
    """Return whether an image was read at the scale of its red cells in spite of a size that is given or stored."""
    if size.source == "red cells" or reading.scale_from is not ScaleFrom.RED_CELLS:
        return False
    return disagree(size.red_cell_px, WORKING_RED_CELL_PX / reading.scale)


def _quality_of(pixels: UInt8[np.ndarray, "rows columns 3"], light: Light, classes: ClassMap) -> tuple[Advice, ...]:
    """Return the quality of an image, judged on a small copy in even light."""
    step = -(-max(pixels.shape[:2]) // _QUALITY_PX)
    small = np.asarray(Image.fromarray(pixels).reduce(step)) if step > 1 else pixels
    coarse = classes[::step, ::step]
    even = light.correct(small, step=step)
    if not light.is_known:
        return quality_of(even, coarse)
    lit = Image.fromarray(light.lit).resize((even.shape[1], even.shape[0]), Image.Resampling.NEAREST)
    advice = quality_of(even, coarse, usable=np.asarray(lit), light=light.colour)
    # Light that was evened out for a negative is none, and what is left of it looks like nothing; in a dim field it
    # does look like a smear.
    if any(one.quality is Quality.NOT_A_SMEAR for one in advice) and appearance_of(small).has_dark_background:
        of_negative = quality_of(small, coarse)
        if any(one.quality is Quality.INVERTED for one in of_negative):
            return of_negative
    return advice


def _even_where_cells_are(
    pixels: UInt8[np.ndarray, "rows columns 3"], light: Light, boxes: Sequence[Box]
) -> UInt8[np.ndarray, "rows columns 3"]:
    """Return an image with corrected light where cells are, and black elsewhere."""
    if not light.is_known:
        return pixels
    even = np.zeros_like(pixels)
    for box in boxes:
        even[box.window] = light.correct(pixels[box.window], top=box.top, left=box.left)
    return even


def _doubts(reading: Reading, instances: Instances, size: PixelSize | None, classes: ClassMap) -> tuple[Doubt, ...]:
    """Report possible problems with pixel size and scale."""
    doubts: list[Doubt] = []
    if size is not None and (_is_contradicted(reading, size) or _cells_contradict(size, classes, instances)):
        doubts.append(Doubt.PIXEL_SIZE)
    low, high = KNOWN_RED_CELL_PX
    is_guess = reading.scale_from is ScaleFrom.WHITE_CELLS and not instances.boxes
    if reading.scale_from is ScaleFrom.NOTHING or is_guess:
        doubts.append(Doubt.NO_SCALE)
    elif reading.red_cells is not None and not low <= WORKING_RED_CELL_PX / reading.scale <= high:
        doubts.append(Doubt.SCALE)
    return tuple(doubts)


def _cells_contradict(size: PixelSize, classes: ClassMap, instances: Instances) -> bool:
    """Return whether white cells cannot be, by a size that is given or stored."""
    return size.source != "red cells" and contradicts(size, _areas(classes, instances))


def _areas(class_map: ClassMap, instances: Instances) -> list[int]:
    """Return the areas of whole cells; where a wrong size may have dropped them all, of what is found without it."""
    found = instances if instances.boxes else find_cells(class_map)
    shape = (class_map.shape[0], class_map.shape[1])
    return [
        int(np.count_nonzero(found.labels[box.window] == number))
        for number, box in enumerate(found.boxes, start=1)
        if not touches_border(box, shape)
    ]
