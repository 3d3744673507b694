"""What the segmenter by STDP sees: an image at a size of its own, in darkness and ranks."""

import math

import numpy as np
from jaxtyping import Float, UInt8

from leukospike.segmentation.input_spikes import scaled

RANK_INPUTS = 6
"""Spike channels of a pixel: darkness and rank of red, green and blue."""

WORKING_PX = 360
"""An image of a cell is halved or doubled until its longer side is at most this, and more than half of it."""

MOST_HALVINGS = 2
"""An image is halved so often at the most."""

FIELD_HALVINGS = 1
"""What even that does not bring to its working size is a whole field, of many cells, and halved so often.

Halved twice, its cells can be smaller than any that the network has learned from: measured, on sixteen bccd fields side
by side Dice of the cell is .954 halved once and .915 halved twice, and on drawn ones with cells of 80 pixels it fails.
"""

_MOST_DOUBLINGS = 2


def rank_spikes(pixels: UInt8[np.ndarray, "rows columns 3"]) -> Float[np.ndarray, "6 rows columns"]:
    """Code each colour channel twice: the darker, and the higher in rank, the earlier the spike.

    Darkness is 1 - value / 255. Rank is the share of the image's pixels that are darker, half of the equal ones
    counted in; any change of brightness or gamma that keeps the order of the values keeps the ranks.

    Parameters
    ----------
    pixels : ndarray of shape (rows, columns, 3)
        RGB, uint8, 0-255.

    Returns
    -------
    ndarray of shape (6, rows, columns), float32, 0 to 1
        Darkness of red, green, blue, then their ranks, as activations: 1 spikes at once, 0 never.
    """
    spikes = np.empty((RANK_INPUTS, *pixels.shape[:2]), np.float32)
    darkness = 1 - np.arange(256, dtype=np.float32) / 255
    for channel in range(3):
        values = pixels[..., channel]
        counts = np.bincount(values.reshape(-1), minlength=256)
        ranks = (np.cumsum(counts) - counts / 2) / values.size
        spikes[channel], spikes[3 + channel] = darkness[values], ranks.astype(np.float32)[values]
    return spikes


def working_scale(rows: int, columns: int) -> float:
    """Return the power of two that brings an image to its working size: 1/4 to 4.

    Examples
    --------
    >>> working_scale(450, 450), working_scale(120, 120), working_scale(1944, 2592)
    (0.5, 2.0, 0.5)
    """
    halvings = math.ceil(math.log2(max(rows, columns) / WORKING_PX))
    return 2.0 ** -(FIELD_HALVINGS if halvings > MOST_HALVINGS else max(halvings, -_MOST_DOUBLINGS))


def at_working_size(pixels: UInt8[np.ndarray, "rows columns 3"]) -> UInt8[np.ndarray, "r c 3"]:
    """Halve (mean of the pixels) or double (bicubic) an image until it has its working size."""
    rows, columns = pixels.shape[:2]
    return scaled(pixels, working_scale(rows, columns))
