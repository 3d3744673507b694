"""Segmentation of the white cells of one image, in one call."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from leukospike.errors import ImageError
from leukospike.images import MIN_SIDE, Picture, read_image
from leukospike.segmentation.methods import SegmentationMethod, surrogate
from leukospike.segmentation.result import Segmentation, segment_pixels
from leukospike.segmentation.scale import PixelSize, stored_pixel_size


def segment(
    image: Picture | UInt8[np.ndarray, "rows columns 3"] | str | Path,
    *,
    pixel_size: float | None = None,
    strict: bool = False,
    method: SegmentationMethod | None = None,
) -> Segmentation:
    """Find the white cells of one image, a whole field or a picture of one cell.

    Parameters
    ----------
    image : Picture, ndarray of shape (rows, columns, 3), str or Path
        Output of `read_image`; or RGB pixels, uint8, 0-255; or a file.
    pixel_size : float, optional
        Pixel size in micrometres. Default: as stored in the file, else estimated from red cells.
    strict : bool
        Return no cells for images with any quality flag.
    method : SegmentationMethod, optional
        `segmentation.methods.surrogate` unless given.

    Returns
    -------
    Segmentation
        Mask, instances, measures (`cells`, a table), quality and flags; in a notebook, it shows the outlines.

    Raises
    ------
    ConfigError
        If `pixel_size` is implausible for a microscope.
    ImageError
        If the image cannot be read, or an array is not RGB, uint8, or too small.

    Examples
    --------
    >>> import leukospike as ls
    >>> import numpy as np
    >>> from leukospike.smears import CellKind, draw_field, subject_style
    >>> rng = np.random.default_rng(0)
    >>> field = draw_field([CellKind.LYMPHOBLAST] * 3, subject_style(rng), rng)
    >>> found = ls.segment(field.pixels, pixel_size=0.125)
    >>> len(found.cells), found.mask.shape == field.pixels.shape[:2]
    (3, True)
    """
    size = PixelSize.given(pixel_size, where="segment")
    name = ""
    if isinstance(image, str | Path):
        name, image = Path(image).name, read_image(Path(image))
    if isinstance(image, Picture):
        size, pixels = size or stored_pixel_size(image), image.pixels
    else:
        pixels = _checked(image)
    return segment_pixels(name, pixels, (method or surrogate()).segmenter, pixel_size=size, strict=strict)


def _checked(image: object) -> UInt8[np.ndarray, "rows columns 3"]:
    """Raise an error unless this is a picture as returned by `read_image`."""
    if not isinstance(image, np.ndarray) or isinstance(image, np.ma.MaskedArray):
        got = type(image).__name__
    elif image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or min(image.shape[:2]) < MIN_SIDE:
        got = f"{image.dtype} of shape {image.shape}"
    else:
        return image
    msg = f"image must be an RGB array, uint8, of shape (rows, columns, 3), with at least {MIN_SIDE} rows and columns"
    raise ImageError(msg, where="segment", got=got, advice="Convert it, or pass the file.")
