"""Cells of another laboratory, brought to the size and the stain of the training cells: all cells of one source alike.

What a laboratory's camera, lens and dyes do, they do to all its cells. What makes a blast, makes it larger and bluer
than its neighbours. So the cells of a source are moved together: their median diameter and their mean colours become
those of the training cells, and what sets one cell apart from the others of its source stays.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from leukospike.classification.crops import SEEN

_LARGEST_ZOOM = 2.0
_MOST_GAIN = 2.0


@dataclass(frozen=True)
class SourceLook:
    """How the cells of a source look together."""

    diameter: float
    """Median diameter of the disc as large as a cell; pixels of the crop."""
    mean: tuple[float, float, float]
    """Mean optical density of red, green and blue over the cells' pixels, natural logarithm; a mean of cells' means."""
    spread: tuple[float, float, float]
    """Standard deviation likewise."""


def look_of(crops: UInt8[np.ndarray, "n rows columns 3"]) -> SourceLook:
    """Measure the look of a source's cells.

    Parameters
    ----------
    crops : ndarray of shape (n, rows, columns, 3), uint8
        At one scale, black around the cell; at least one with a cell.

    Returns
    -------
    SourceLook
    """
    diameters, means, spreads = [], [], []
    for crop in crops:
        inside = crop.max(axis=2) >= SEEN
        if inside.any():
            densities = _density(crop[inside])
            diameters.append(diameter_of(crop))
            means.append(densities.mean(axis=0))
            spreads.append(densities.std(axis=0))
    mean, spread = np.mean(means, axis=0), np.mean(spreads, axis=0)
    return SourceLook(float(np.median(diameters)), tuple(mean.tolist()), tuple(spread.tolist()))


def diameter_of(crop: UInt8[np.ndarray, "rows columns 3"]) -> float:
    """Give the diameter of the disc as large as the cell, pixels of the crop."""
    return 2 * math.sqrt(np.count_nonzero(crop.max(axis=2) >= SEEN) / math.pi)


def matched(
    crops: UInt8[np.ndarray, "n rows columns 3"], look: SourceLook, reference: SourceLook
) -> UInt8[np.ndarray, "n rows columns 3"]:
    """Move the cells of a source to another look.

    Densities are moved by their mean and scaled by their spread, colour by colour, as Reinhard et al. [1]_ do in
    another colour space; by a factor of at most 2 either way.

    Parameters
    ----------
    crops : ndarray of shape (n, rows, columns, 3), uint8
    look : SourceLook
        Of these, or of the source they are from.
    reference : SourceLook
        Of the training cells.

    Returns
    -------
    ndarray of the same shape, uint8
        Inside the cell at least 5 in the brightest colour, so that black means outside and nothing else.

    References
    ----------
    .. [1] Reinhard, Ashikhmin, Gooch, Shirley, Color transfer between images, IEEE Computer Graphics and Applications
       21(5):34-41, 2001, doi 10.1109/38.946629.
    """
    gain = np.clip(np.array(reference.spread) / np.maximum(look.spread, 1e-3), 1 / _MOST_GAIN, _MOST_GAIN)
    moved = np.empty_like(crops)
    for place, crop in enumerate(crops):
        inside = crop.max(axis=2) >= SEEN
        densities = (_density(crop[inside]) - np.array(look.mean)) * gain + np.array(reference.mean)
        values = np.clip(256 * np.exp(-densities) - 1, SEEN, 255)
        moved[place] = 0
        moved[place][inside] = np.floor(values + 0.5)
    return moved


def zoomed(crop: UInt8[np.ndarray, "rows columns 3"], factor: float) -> UInt8[np.ndarray, "rows columns 3"]:
    """Scale a crop about its middle; what lies outside afterwards is lost, and black comes in."""
    factor = min(max(factor, 1 / _LARGEST_ZOOM), _LARGEST_ZOOM)
    shift = (1 - 1 / factor) * crop.shape[0] / 2
    affine = (1 / factor, 0.0, shift, 0.0, 1 / factor, shift)
    size = (crop.shape[1], crop.shape[0])
    image = Image.fromarray(crop)
    scaled = image.transform(size, Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)
    inside = Image.fromarray((crop.max(axis=2) >= SEEN).astype(np.uint8) * 255)
    shown = np.asarray(inside.transform(size, Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)) >= 128
    return np.where(shown[:, :, None], np.maximum(np.asarray(scaled), SEEN), 0).astype(np.uint8)


def _density(values: UInt8[np.ndarray, "pixels 3"]) -> Float[np.ndarray, "pixels 3"]:
    """Give the optical density, natural logarithm."""
    return -np.log((values.astype(np.float64) + 1) / 256)
