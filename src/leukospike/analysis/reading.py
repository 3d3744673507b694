"""The first stage: from one image to its cells, each shown as the judge needs it; independent of files and names."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from leukospike.analysis.crops import Crop, crop_of_single
from leukospike.analysis.flags import BLANK, BORDER, LARGE, NO_CELL
from leukospike.images import Picture, encode_png
from leukospike.images.framing import C_NMC_FRAMING, Framing, is_cut_out
from leukospike.segmentation import CellMeasures, PixelSize, Segmentation, overlay
from leukospike.segmentation.class_maps import Segmenter
from leukospike.segmentation.crop import crop_cell
from leukospike.segmentation.facts import ImageFacts
from leukospike.segmentation.result import segment_pixels
from leukospike.segmentation.scale import stored_pixel_size
from leukospike.settings import Kind

LARGE_PX = 1024
"""Longest side of an image of a single cell without a flag."""

THUMBNAIL_PX = 64
"""Side of the small picture of each cell."""


@runtime_checkable
class CellView(Protocol):
    """What a judge stores of a cell, and how cells must be shown; picklable, so that images can be read elsewhere."""

    @property
    def framing(self) -> Framing:
        """How the training pictures frame their cells."""
        ...

    @property
    def cuts_out(self) -> bool:
        """Whether every cell must be cut out on black, or pictures of single cells are used as they are."""
        ...

    def see(self, shown: UInt8[np.ndarray, "rows columns 3"]) -> np.ndarray:
        """Return what is stored of a cell, an array of the same shape for every cell."""
        ...

    def is_blank(self, seen: np.ndarray) -> bool:
        """Whether the output of `see` is blank."""
        ...


@dataclass(frozen=True)
class CellSize:
    """Size of a cell in its source."""

    diameter_px: float
    """Diameter of the disc of equal area; 0 if there was no cell to cut out."""
    pixel_size: PixelSize | None
    """Of its image, if that is known."""
    frame: tuple[int, int]
    """Rows and columns of its image."""


@dataclass(frozen=True)
class ReadCell:
    """A cell that was cut out, or an image of one; the pictures are in `ReadImage`."""

    is_blank: bool
    """Whether the cell is blank."""
    flags: tuple[str, ...]
    size: CellSize | None
    """None if the picture is shown unchanged."""
    measures: CellMeasures | None
    """None without a segmenter, or if no cell was found."""


@runtime_checkable
class CellsOfImage(Protocol):
    """What the later stages need of an image: a `ReadImage`, or its stored form."""

    @property
    def kind(self) -> Kind:
        """`Kind.CELL` or `Kind.FIELD`."""
        ...

    @property
    def cells(self) -> tuple[ReadCell, ...]:
        """The cells in the image."""
        ...

    @property
    def is_generated(self) -> bool:
        """Whether the image was drawn by `leukospike smears`."""
        ...

    @property
    def scaled_by(self) -> str:
        """How the cells of a field were scaled for the judge."""
        ...

    @property
    def facts(self) -> ImageFacts | None:
        """Facts about the image from segmentation; None without a segmenter."""
        ...

    @property
    def seen(self) -> np.ndarray:
        """What the judge stores of each cell, of shape (cells, ...); read only if there are cells."""
        ...


@dataclass(frozen=True)
class ReadImage:
    """One image, and the cells in it."""

    kind: Kind
    """`Kind.CELL` or `Kind.FIELD`."""
    cells: tuple[ReadCell, ...]
    seen: np.ndarray
    """What the judge stores of each cell, of shape (cells, ...), see `CellView`."""
    thumbnails: UInt8[np.ndarray, "cells 64 64 3"]
    is_generated: bool
    """Whether the image was drawn by `leukospike smears`."""
    scaled_by: str
    """How the cells of a field were scaled for the judge: "pixel size", "proportion", "source", or empty."""
    facts: ImageFacts | None
    """Facts about the image from segmentation; None without a segmenter."""
    overlay: UInt8[np.ndarray, "rows columns 3"] | None
    """A field with numbered outlines."""
    crops: tuple[Crop, ...] = ()
    """The cells as pictures of their own, if requested; a cell that could not be cut out has none."""


def read_image(
    picture: Picture,
    segmenter: Segmenter | None,
    view: CellView,
    *,
    kind: Kind = Kind.AUTO,
    pixel_size: PixelSize | None = None,
    strict: bool = False,
    crops: bool = False,
) -> ReadImage:
    """Find the cells of an image, and show each as a judge needs it.

    An image shows a single cell or a whole field. A field is segmented; each white cell is cut out and shown as the
    judge needs it (`segmentation.crop`). An image of a single cell is shown unchanged, and flagged if the segmenter
    finds no white cell in it. If the judge needs cells cut out and the image is not yet in that form, the cell in its
    middle is cut out.

    Parameters
    ----------
    picture : Picture
    segmenter : callable or None
        None: the image is treated as a single cell without position or measurements.
    view : CellView
        Of the judge.
    kind : Kind
        "auto" decides by `Segmentation.shows_one_cell`.
    pixel_size : PixelSize, optional
        Default: as stored in the file, else estimated from red cells.
    strict : bool
        Return no cells for images with any quality flag.
    crops : bool
        Return cells as pictures of their own, too, in the same form for every judge.

    Returns
    -------
    ReadImage
    """
    if segmenter is None:
        return _single(picture, None, view, crops=crops)
    size = pixel_size or stored_pixel_size(picture)
    segmentation = segment_pixels("", picture.pixels, segmenter, pixel_size=size, strict=strict)
    if kind is Kind.AUTO:
        kind = Kind.CELL if segmentation.shows_one_cell else Kind.FIELD
    return (_single if kind is Kind.CELL else _field)(picture, segmentation, view, crops=crops)


def _single(picture: Picture, segmentation: Segmentation | None, view: CellView, *, crops: bool) -> ReadImage:
    """Read an image of one cell, unchanged or cut out; the cell found in its middle is measured."""
    flags = [] if segmentation is None else [*segmentation.flags]
    if max(picture.pixels.shape) > LARGE_PX:
        flags.append(LARGE)
    if segmentation is not None and not segmentation.measures and BLANK not in flags:
        flags.append(NO_CELL)
    measures = None if segmentation is None else _middle_cell(segmentation)
    shown, size = picture.pixels, None
    if view.cuts_out and not _is_as_wanted(picture, segmentation, view.framing):
        shown, size = _middle_cut_out(picture.pixels, segmentation, measures, view.framing)
    facts = None if segmentation is None else ImageFacts.of(picture, segmentation)
    seen = view.see(shown)
    cell = _read_cell(seen, view, size, flags, measures)
    return ReadImage(
        Kind.CELL,
        (cell,),
        seen[None],
        _thumbnail(shown)[None],
        picture.generated,
        "",
        facts,
        None,
        crop_of_single(picture, segmentation) if crops else (),
    )


def _is_as_wanted(picture: Picture, segmentation: Segmentation | None, framing: Framing) -> bool:
    """Tell whether an image shows its cell as the judge needs it, of the same size and on black."""
    if picture.pixels.shape[:2] != (framing.side_px, framing.side_px):
        return False
    return is_cut_out(picture.pixels) if segmentation is None else segmentation.light.cut_out


def _middle_cell(segmentation: Segmentation) -> CellMeasures | None:
    """Return the measures of the cell in the middle of an image of one cell; None if none is found."""
    number = segmentation.middle_cell
    return None if number is None else segmentation.measures[number - 1]


def _middle_cut_out(
    pixels: UInt8[np.ndarray, "rows columns 3"],
    segmentation: Segmentation | None,
    measures: CellMeasures | None,
    framing: Framing,
) -> tuple[UInt8[np.ndarray, "side side 3"], CellSize]:
    """Cut out the cell in the middle of an image, and return its size there; black if there is none."""
    side = framing.side_px
    if segmentation is None or measures is None:
        return np.zeros((side, side, 3), np.uint8), CellSize(0.0, None, (len(pixels), len(pixels[0])))
    even = segmentation.light.correct(pixels)
    shown = crop_cell(even, segmentation.instances, measures.cell, framing)
    return shown, _size_of(measures, segmentation)


def _field(picture: Picture, segmentation: Segmentation, view: CellView, *, crops: bool) -> ReadImage:
    """Cut out the cells of a field, each framed like the judge's training images."""
    um_per_px = None if segmentation.pixel_size is None else segmentation.pixel_size.um_per_px
    even = segmentation.light.correct(picture.pixels) if segmentation.measures else picture.pixels
    cells: list[ReadCell] = []
    seen: list[np.ndarray] = []
    thumbnails: list[np.ndarray] = []
    cut_out: list[Crop] = []
    for measures in segmentation.measures:
        shown = crop_cell(even, segmentation.instances, measures.cell, view.framing, um_per_px=um_per_px)
        seen.append(view.see(shown))
        thumbnails.append(_thumbnail(shown))
        flags = [BORDER] if measures.border else []
        cells.append(_read_cell(seen[-1], view, _size_of(measures, segmentation), flags, measures))
        if crops:
            if view.framing != C_NMC_FRAMING:
                shown = crop_cell(even, segmentation.instances, measures.cell, C_NMC_FRAMING)
            png = encode_png(shown, generated=picture.generated)
            cut_out.append(Crop(measures.cell, is_of_image=False, png=png))
    by_size = um_per_px is not None and view.framing.um_per_px is not None
    way = "source" if view.cuts_out else "pixel size" if by_size else "proportion"
    return ReadImage(
        Kind.FIELD,
        tuple(cells),
        np.stack(seen) if seen else np.zeros(0),
        np.stack(thumbnails) if thumbnails else np.zeros((0, THUMBNAIL_PX, THUMBNAIL_PX, 3), np.uint8),
        picture.generated,
        way if cells else "",
        ImageFacts.of(picture, segmentation),
        overlay(picture.pixels, segmentation.mask, segmentation.instances),
        tuple(cut_out),
    )


def _read_cell(
    seen: np.ndarray, view: CellView, size: CellSize | None, flags: list[str], measures: CellMeasures | None
) -> ReadCell:
    """Collect what is known of one cell."""
    is_blank = view.is_blank(seen)
    # If there was no cell to cut out, the flags show it; the image itself need not be blank.
    if is_blank and size is None and BLANK not in flags:
        flags = [BLANK, *flags]
    return ReadCell(is_blank, tuple(flags), size, measures)


def _size_of(measures: CellMeasures, segmentation: Segmentation) -> CellSize:
    """Return the size of a cell in its image."""
    rows, columns = segmentation.mask.shape
    return CellSize(2 * float(np.sqrt(measures.area_px / np.pi)), segmentation.pixel_size, (rows, columns))


def _thumbnail(shown: UInt8[np.ndarray, "rows columns 3"]) -> UInt8[np.ndarray, "64 64 3"]:
    """Make a small picture of a cell, padded with black to a square."""
    small = Image.fromarray(shown)
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    canvas = Image.new("RGB", (THUMBNAIL_PX, THUMBNAIL_PX))
    canvas.paste(small, ((THUMBNAIL_PX - small.width) // 2, (THUMBNAIL_PX - small.height) // 2))
    return np.asarray(canvas)
