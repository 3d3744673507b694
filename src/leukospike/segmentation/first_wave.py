"""The original's "segmentation": first spike waves, as pictures."""

import numpy as np
import torch
from jaxtyping import UInt8

from leukospike.images import luma
from leukospike.spikes import SILENT, latency_map

PICTURES = ("first_wave", "latency")
"""What `wave_pictures` returns."""

GREY_PER_STEP = 17
"""Grey levels between one spike time and the next: 255 spikes first, 17 last, 0 is silent."""


def wave_pictures(pixels: UInt8[np.ndarray, "rows columns 3"]) -> dict[str, UInt8[np.ndarray, "rows columns"]]:
    """Return the first spike wave of an image and its latencies, at its own size.

    Parameters
    ----------
    pixels : ndarray of shape (rows, columns, 3)
        RGB, uint8, 0-255.

    Returns
    -------
    dict of str to ndarray of shape (rows, columns), uint8
        ``first_wave``: 255 where a pixel spikes first, else 0. ``latency``: 255 for the first spike time,
        `GREY_PER_STEP` less for each later one, and 0 for silent pixels. The two rows and columns at each border, which
        the 5 x 5 kernels cannot reach, are silent.
    """
    latency = latency_map(torch.from_numpy(luma(pixels))[None, None]).latency[0].numpy()
    latency = np.pad(latency, 2, constant_values=SILENT)
    return {
        "first_wave": np.where(latency == 0, 255, 0).astype(np.uint8),
        "latency": ((SILENT - latency) * GREY_PER_STEP).astype(np.uint8),
    }
