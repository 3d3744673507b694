"""Cells as pictures of their own, cut out on black and framed like those of C-NMC; independent of files and names."""

from dataclasses import dataclass

from leukospike.images import Picture, encode_png
from leukospike.images.framing import C_NMC_FRAMING, Framing, view_of
from leukospike.segmentation import Segmentation
from leukospike.segmentation.crop import crop_cell


@dataclass(frozen=True)
class Crop:
    """A cell as a picture of its own."""

    cell: int
    """Number of the cell in its image; 0 for a picture of a cell that segmentation did not find."""
    is_of_image: bool
    """Whether the image shows this cell alone, so that the label of the image is that of the cell."""
    png: bytes
    """The picture, as a PNG file."""


def is_framed(picture: Picture, framing: Framing) -> bool:
    """Return whether an image already shows a cell on black, at the size of other pictures.

    Parameters
    ----------
    picture : Picture
    framing : Framing
        How the other pictures show their cells.

    Returns
    -------
    bool
    """
    side = framing.side_px
    return picture.pixels.shape[:2] == (side, side) and view_of(picture).cell_share is not None


def crops_of(picture: Picture, segmentation: Segmentation) -> tuple[Crop, ...]:
    """Cut out all cells of an image, in even light, as networks on cut-out cells see them.

    Each is scaled to take up the same share of its picture, see `segmentation.crop.crop_cell`. An image that is such a
    picture already is returned unchanged.

    Parameters
    ----------
    picture : Picture
    segmentation : Segmentation
        Of this picture.

    Returns
    -------
    tuple of Crop
        In the order of their numbers; one per cell, or only that in the middle of an image returned unchanged.
    """
    middle = segmentation.middle_cell if segmentation.shows_one_cell else None
    if middle is not None and is_framed(picture, C_NMC_FRAMING):
        return (_unchanged(picture, middle),)
    return _cut_out(picture, segmentation, [measures.cell for measures in segmentation.measures], middle)


def crop_of_single(picture: Picture, segmentation: Segmentation | None) -> tuple[Crop, ...]:
    """Cut out the cell in the middle of an image of one cell, as `crops_of` does.

    Parameters
    ----------
    picture : Picture
    segmentation : Segmentation or None
        Of this picture; None if it was not segmented.

    Returns
    -------
    tuple of Crop
        One, or none if there is no cell to cut out.
    """
    middle = None if segmentation is None else segmentation.middle_cell
    if is_framed(picture, C_NMC_FRAMING):
        return (_unchanged(picture, middle or 0),)
    return () if segmentation is None or middle is None else _cut_out(picture, segmentation, [middle], middle)


def _unchanged(picture: Picture, cell: int) -> Crop:
    """Return an image that is a picture of one cell already, and keep what its file states."""
    png = encode_png(picture.pixels, generated=picture.generated, um_per_px=picture.um_per_px)
    return Crop(cell, is_of_image=True, png=png)


def _cut_out(picture: Picture, segmentation: Segmentation, cells: list[int], single: int | None) -> tuple[Crop, ...]:
    """Cut out some cells; `single` is the one that the image is of, if any."""
    if not cells:
        return ()
    even = segmentation.light.correct(picture.pixels)
    crops: list[Crop] = []
    for cell in cells:
        # Encoded at once: all pictures of a crowded field together would be larger than the field.
        shown = crop_cell(even, segmentation.instances, cell, C_NMC_FRAMING)
        crops.append(Crop(cell, is_of_image=cell == single, png=encode_png(shown, generated=picture.generated)))
    return tuple(crops)
