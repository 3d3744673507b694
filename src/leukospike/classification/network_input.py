"""Input of the classifier: a small square colour picture of a cell cut out on black, at one scale."""

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from leukospike.errors import ImageError
from leukospike.images.framing import C_NMC_FRAMING

REDUCTION = 4
"""Pixels of the picture along each side of a pixel of the crop."""

CROP_PX = 96
"""Side of a crop: 384 pixels of the picture, which hold 99 of 100 cells of C-NMC whole."""


SEEN = 5
"""Lowest grey level of the brightest colour at which a pixel belongs to the cell: re-encoding leaves lower levels
around it."""


def cell_crop(picture: UInt8[np.ndarray, "rows columns 3"]) -> UInt8[np.ndarray, "96 96 3"]:
    """Cut out the middle of a picture and take the mean of each 4 x 4 pixels.

    Parameters
    ----------
    picture : ndarray of shape (450, 450, 3)
        RGB, uint8, 0-255: a cell cut out on black, as `C_NMC_FRAMING` says.

    Returns
    -------
    ndarray of shape (96, 96, 3)
        RGB, uint8, means rounded half up. The size of a cell is preserved, since it is a feature.

    Raises
    ------
    ImageError
        If the picture has another size.

    Examples
    --------
    >>> cell_crop(np.full((450, 450, 3), 7, np.uint8)).shape
    (96, 96, 3)
    """
    side = C_NMC_FRAMING.side_px
    if picture.shape != (side, side, 3):
        rows, columns = picture.shape[:2]
        msg = f"picture must be {side} x {side}"
        raise ImageError(msg, where="cell_crop", got=f"{rows} x {columns}", advice="Resize it first.")
    first = (side - CROP_PX * REDUCTION) // 2
    middle = picture[first : side - first, first : side - first]
    return np.asarray(Image.fromarray(middle).reduce(REDUCTION))


def seen(crop: UInt8[np.ndarray, "rows columns 3"]) -> Bool[np.ndarray, "rows columns"]:
    """Return the mask of the cell's pixels."""
    red, green, blue = (crop[:, :, channel] >= SEEN for channel in range(3))
    return red | green | blue
