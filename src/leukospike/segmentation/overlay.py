"""The image with numbered outlines."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from leukospike.segmentation.instances import Instances, Region, touches_border

CELL_COLOUR = (0, 158, 115)
NUCLEUS_COLOUR = (240, 228, 66)
BORDER_COLOUR = (213, 94, 0)
"""Bluish green, yellow and vermilion of the Okabe-Ito palette, which colour-blind readers tell apart; and none is the
purple or pink of the stain."""

_WIDTH_PER_PX = 1 / 320  # of an outline, of the longest side
_TEXT_PER_PX = 1 / 32  # height of a number, of the longest side


def overlay(
    pixels: UInt8[np.ndarray, "rows columns 3"], mask: UInt8[np.ndarray, "rows columns"], instances: Instances
) -> UInt8[np.ndarray, "rows columns 3"]:
    """Draw the outline and number of each cell, and the outline of its nucleus, over the image.

    A cell cut off at the border has another colour and a dashed outline, so that the two also differ without colour.

    Parameters
    ----------
    pixels : ndarray of shape (rows, columns, 3)
        RGB, uint8, 0-255; not modified.
    mask : ndarray of shape (rows, columns)
        uint8: 255 nucleus, 128 cytoplasm, 0 the rest.
    instances : Instances

    Returns
    -------
    ndarray of shape (rows, columns, 3)
        RGB, uint8.
    """
    drawn = pixels.copy()
    shape = (pixels.shape[0], pixels.shape[1])
    width = max(1, round(max(shape) * _WIDTH_PER_PX))
    for number, box in enumerate(instances.boxes, start=1):
        cell = instances.labels[box.window] == number
        nucleus = cell & (mask[box.window] == 255)
        view = drawn[box.window]
        view[_outline(nucleus, width)] = NUCLEUS_COLOUR
        outline = _outline(cell, width)
        if touches_border(box, shape):
            rows, columns = np.indices(cell.shape)
            outline &= (rows + columns) // (4 * width) % 2 == 0
        view[outline] = BORDER_COLOUR if touches_border(box, shape) else CELL_COLOUR
    image = Image.fromarray(drawn)
    pen = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=max(12, round(max(shape) * _TEXT_PER_PX)))
    for number, box in enumerate(instances.boxes, start=1):
        place = (box.left + 2 * width, box.top + 2 * width)
        pen.text(place, str(number), font=font, fill="white", stroke_width=max(1, width), stroke_fill="black")
    return np.array(image)


def _outline(region: Region, width: int) -> Region:
    """Return the outermost pixels of a region, `width` deep; the edge of the array counts as outside."""
    return region & ~np.asarray(ndimage.binary_erosion(region, iterations=width), dtype=bool)
