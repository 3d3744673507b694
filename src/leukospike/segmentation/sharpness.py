"""Steepness, distribution and direction of an image's edges: measures of focus, and of what an image shows."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from scipy import ndimage

from leukospike.images.framing import BLACK, CUT_OUT, content_window
from leukospike.segmentation.percentiles import percentiles

_SIDE = 640  # longest side of the copy on which edges are measured, pixels; a smaller copy would sharpen them
_REACH = 3  # pixels of the copy over which the blur mixes in what lies outside the usable part
_MARGIN = 6  # blocks of a copy, more than the radius of the blur
_FLAT_DARK, _FLAT_LIGHT = 0.0015, 0.0005  # slopes below which a picture is flat, per pixel of the copy, over its range


class Edges(NamedTuple):
    """Sharpness and restlessness of an image, and how much of it is flat."""

    width_px: float
    """Width of the sharpest edges, in pixels of the image itself: the range of green over its steepest slope."""
    slope: float
    """Mean slope per pixel of the copy, over the range."""
    restlessness: float
    """Mean slope over the steepest, 0-1: small if edges separate plain areas, 0.38 for noise of any grain."""
    one_way: float
    """Agreement of the slopes in direction, 0-1: 0 around round cells, 1 for stripes."""
    flat_dark: float
    """Share without slope of the pixels that are dark but not black, 0-1; 1 if there are none."""
    flat_light: float
    """Share without slope of the remaining pixels, 0-1; 1 if there are none."""


def edges_of(
    pixels: UInt8[np.ndarray, "rows columns 3"], *, usable: Bool[np.ndarray, "rows columns"] | None = None
) -> Edges:
    """Measure the edges in green at no more than 640 pixels a side, after a Gaussian blur of 1 pixel against noise.

    Parameters
    ----------
    pixels : ndarray of shape (rows, columns, 3)
        RGB, uint8, 0-255.
    usable : ndarray of shape (rows, columns), optional
        Part of the image to measure; all of it by default.

    Returns
    -------
    Edges
        Independent of brightness and contrast. For an image of one colour, or if nothing is usable, the width is
        infinite and everything is flat.
    """
    step = step_of(pixels, _SIDE)
    rows, columns = (-(-side // step) for side in pixels.shape[:2])
    looked_at = but_black(pixels, step) if usable is None else pixels
    green: Float[np.ndarray, "height width"] = ndimage.gaussian_filter(
        reduced(looked_at[:, :, 1], step).astype(np.float32), 1.0
    )
    here = green[:-1, :-1]
    down, along = green[1:, :-1] - here, green[:-1, 1:] - here
    # A third of the time of hypot (measured), whose care for large numbers is not needed for grey levels.
    slope = np.sqrt(down * down + along * along)
    every_second = green[::2, ::2]
    level, sparse, down, along = here[::2, ::2], slope[::2, ::2], down[::2, ::2], along[::2, ::2]
    n_black = n_flat = n_slopes = 0
    if usable is None:
        n_black = -(-rows // 2) * -(-columns // 2) - every_second.size
        n_flat = (rows // 2) * (columns // 2) - sparse.size
        n_slopes = (rows - 1) * (columns - 1)
    else:
        inside = reduced_usable(usable, step)
        inside = np.asarray(ndimage.minimum_filter(inside, 2 * _REACH + 1), dtype=bool)
        every_second = every_second[inside[::2, ::2]]
        slope, inside = slope[inside[:-1, :-1]], inside[:-1, :-1][::2, ::2]
        level, sparse, down, along = level[inside], sparse[inside], down[inside], along[inside]
        n_slopes = slope.size
    if not every_second.size or not sparse.size:
        return _NO_EDGES
    low, high = percentiles(every_second, (1, 99), n_zeros=n_black)
    [steepest] = percentiles(sparse, (99.5,), n_zeros=n_flat)
    if steepest == 0:
        return _NO_EDGES
    contrast = max(high - low, 1.0)
    mean = float(slope.sum()) / n_slopes
    is_dark = level < (low + high) / 2
    dark, light = sparse[is_dark & (level > BLACK)], sparse[~is_dark]
    # Weighted by the slope and not its square, which a single straight edge, as of a black margin, would dominate.
    turn = (down + 1j * along) ** 2 / np.maximum(sparse, 1e-6)
    return Edges(
        width_px=pixels.shape[0] / rows * (high - low) / steepest,
        slope=mean / contrast,
        restlessness=mean / steepest,
        one_way=float(abs(turn.sum()) / sparse.sum()),
        flat_dark=float(np.count_nonzero(dark < _FLAT_DARK * contrast)) / dark.size if dark.size else 1.0,
        flat_light=float(np.count_nonzero(light < _FLAT_LIGHT * contrast)) / light.size if light.size else 1.0,
    )


_NO_EDGES = Edges(float("inf"), 0.0, 0.0, 0.0, 1.0, 1.0)


def but_black(pixels: UInt8[np.ndarray, "rows columns 3"], step: int) -> UInt8[np.ndarray, "height width 3"]:
    """Crop the margin that is 0, 0, 0 around a cut-out cell, in most such images three quarters.

    The crop begins at an even number of blocks of `step` pixels and includes everything that blur would reach.
    """
    rows, columns = (
        slice(max(window.start // step - _MARGIN, 0) // 2 * 2 * step, (window.stop // step + 1 + _MARGIN) * step)
        for window in content_window(pixels)
    )
    part = pixels[rows, columns]
    return part if part.size < (1 - CUT_OUT) * pixels.size else pixels


def step_of(pixels: UInt8[np.ndarray, "rows columns 3"], side: int) -> int:
    """Return the side of blocks such that an image has at most `side` of them along its longest side."""
    return -(-max(pixels.shape[:2]) // side)


def reduced(pixels: UInt8[np.ndarray, "..."], step: int) -> UInt8[np.ndarray, "..."]:
    """Average blocks of pixels."""
    return np.asarray(Image.fromarray(pixels).reduce(step)) if step > 1 else pixels


def reduced_usable(usable: Bool[np.ndarray, "rows columns"], step: int) -> Bool[np.ndarray, "height width"]:
    """Return which blocks consist only of usable pixels."""
    return reduced(np.where(usable, np.uint8(255), np.uint8(0)), step) == 255
