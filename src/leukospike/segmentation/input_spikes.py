"""The spikes that tell the segmenter of an image: the darker a colour, the earlier."""

import math

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from leukospike.segmentation.light import EMPTY

INPUTS = 6
"""Spike channels of a pixel: darkness and optical density of red, green and blue."""

HIGHEST_DENSITY = 1.2
"""Optical density, decadic logarithm, from which a spike comes at once; nuclei reach about 0.8."""


def _by_value() -> Float[np.ndarray, "2 256"]:
    """Return darkness and density of each grey level, as activations."""
    values = np.arange(256, dtype=np.float64)
    density = np.log10((EMPTY + 1) / (values + 1)) / HIGHEST_DENSITY
    return np.stack([1 - values / 255, density.clip(0, 1)]).astype(np.float32)


BY_VALUE = _by_value()
"""Darkness and optical density of each grey level, float32, 0 to 1, shape (2, 256)."""


def input_spikes(pixels: UInt8[np.ndarray, "rows columns 3"]) -> Float[np.ndarray, "6 rows columns"]:
    """Code each colour channel twice, in even light: the darker and the denser, the earlier the spike.

    Darkness is 1 - value / 255. Density is the decadic logarithm of an empty place's light over the value's, which
    grows evenly with the amount of stain, over `HIGHEST_DENSITY`.

    Parameters
    ----------
    pixels : ndarray of shape (rows, columns, 3)
        RGB, uint8, 0-255.

    Returns
    -------
    ndarray of shape (6, rows, columns), float32, 0 to 1
        Darkness of red, green, blue, then their densities, as activations: 1 spikes at once, 0 never.
    """
    spikes = np.empty((INPUTS, *pixels.shape[:2]), np.float32)
    for channel in range(3):
        values = np.ascontiguousarray(pixels[..., channel])
        # All values are in the tables; where NumPy is to check that, it takes half as long again.
        np.take(BY_VALUE[0], values, out=spikes[channel], mode="clip")
        np.take(BY_VALUE[1], values, out=spikes[3 + channel], mode="clip")
    return spikes


def scaled(pixels: UInt8[np.ndarray, "rows columns 3"], scale: float) -> UInt8[np.ndarray, "r c 3"]:
    """Bring an image to a scale: smaller by the mean of the pixels, larger by cubic interpolation."""
    rows, columns = pixels.shape[:2]
    size = (max(math.floor(columns * scale + 0.5), 1), max(math.floor(rows * scale + 0.5), 1))
    if size == (columns, rows):
        return pixels
    method = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(pixels).resize(size, method))
