"""Fingerprints by which copies of a picture are found: a small grey picture, a hash of 192 bits, and local patches.

Cells on black all look alike, since a common perceptual hash sees mostly their outline. Everything here is therefore
computed from a band of detail (a difference of Gaussians) *inside* the picture's content: black background and the edge
of the mask are excluded before smoothing.
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from jaxtyping import Bool, Float32, UInt8, UInt64
from PIL import Image
from scipy import ndimage

from leukospike.datasets import Record
from leukospike.errors import ImageError
from leukospike.failures import Failure
from leukospike.images import read_image
from leukospike.jobs import Progress, silent

SMALL_SIDE_PX = (150, 480)
"""Longer side of the small picture: a third of the original's, within these bounds, and never enlarged."""

N_BITS = 192

_REDUCTION = 3
_BLACK = 12  # grey values below are background: black, and what JPEG makes of it
_EDGE_PX = 2  # of the small picture: what is cut from the content's edge
_LEAST_CONTENT = 0.01
_LEAST_LEVELS = 9  # grey values; masks have fewer
_LEAST_DETAIL = 0.3  # grey values: standard deviation of the band of detail; less is an empty picture
_N_WAVES = 24  # along each side; the lowest 192 coefficients are among their products
_SIGMAS_PX = 1.4 * 2 ** (np.arange(7) / 2)
_COARSE = 3  # place in the above of the coarser end of the band that the hash is made from
_PATCH = np.arange(-3.5, 4.0)  # in units of the patch's scale
_PATCHES_PER_SMALLEST = 16
_MOST_PATCHES = 160

# Coefficients of the cosine transform whose signs are the hash: the lowest 192 but the mean.
_PLACES = sorted(
    ((row, column) for row in range(_N_WAVES) for column in range(_N_WAVES) if row + column),
    key=lambda place: (sum(place), abs(place[0] - place[1]), place),
)[:N_BITS]
_ROWS, _COLUMNS = (np.array(axis) for axis in zip(*_PLACES, strict=True))


@dataclass(frozen=True)
class Patches:
    """Local pieces of a picture around its strongest blobs, each brought to one of its eight views."""

    values: Float32[np.ndarray, "patches 64"]
    """Eight by eight samples over 8 times the blob's scale: mean 0, length 1."""
    places: Float32[np.ndarray, "patches 3"]
    """Row, column and scale, in pixels of the small picture."""
    views: UInt8[np.ndarray, " patches"]
    """Which view (see `turned`) of the piece, as the picture shows it, `values` is."""


@dataclass(frozen=True)
class Fingerprint:
    """Fingerprint of one picture."""

    size: tuple[int, int]
    """Rows and columns of the file."""
    small: UInt8[np.ndarray, "rows columns"]
    """Grey, 0-255."""
    content: Bool[np.ndarray, "rows columns"]
    """Where the small picture is not black background."""
    digest: str
    """SHA-256 of size and small picture: files of equal pixels agree in it."""
    hashes: UInt64[np.ndarray, "8 3"] | None
    """192 bits for each of the eight views; None without detail, as in a mask or an empty picture."""
    patches: Patches
    generated: bool
    """Drawn by ``leukospike smears``."""


def fingerprints(
    records: Sequence[Record], *, n_workers: int, progress: Progress = silent
) -> list[Fingerprint | Failure]:
    """Compute the fingerprint of every image, in threads.

    Parameters
    ----------
    records : sequence of Record
    n_workers : int
        Threads.
    progress : Progress
        Called after each image.

    Returns
    -------
    list of Fingerprint or Failure
        In the order of `records`; a Failure if an image cannot be used.
    """
    found: list[Fingerprint | Failure] = []
    pool = ThreadPoolExecutor(n_workers)
    try:
        for done, result in enumerate(pool.map(_fingerprint_or_failure, records), start=1):
            found.append(result)
            progress("look at images", done, len(records))
    finally:
        # After an interruption, the thousands of images still waiting are not decoded.
        pool.shutdown(cancel_futures=True)
    return found


def fingerprint(pixels: UInt8[np.ndarray, "rows columns 3"], *, size: tuple[int, int], generated: bool) -> Fingerprint:
    """Compute the fingerprint of one picture.

    Parameters
    ----------
    pixels : ndarray of shape (rows, columns, 3)
        RGB, 0-255; may be decoded at a reduced size.
    size : tuple of int
        Rows and columns of the file.
    generated : bool
        Whether the file is marked as generated.

    Returns
    -------
    Fingerprint
    """
    grey = Image.fromarray(pixels).convert("L")
    side = small_side(max(size))
    rows, columns = (max(1, round(length * side / max(size))) for length in size)
    small = np.asarray(grey.resize((columns, rows), Image.Resampling.BOX))
    digest = hashlib.sha256(f"{size} ".encode() + small.tobytes()).hexdigest()
    content = _content(small)
    make = partial(Fingerprint, size, small, content, digest, generated=generated)
    n_levels = sum(count > 0 for count in grey.histogram())
    if content.mean() < _LEAST_CONTENT or n_levels < _LEAST_LEVELS:
        return make(hashes=None, patches=_no_patches())
    # Only where there is content: cells on black fill a quarter of their picture.
    box = ndimage.find_objects(content.astype(np.uint8))[0]
    levels, inside = _smoothed(small[box], content[box])
    band = (levels[0] - levels[_COARSE]) * inside
    deviation = float(np.sqrt((band**2).sum() / inside.sum()))
    if deviation < _LEAST_DETAIL:
        return make(hashes=None, patches=_no_patches())
    clipped = np.clip(band / deviation, -3, 3)  # a single bright speck must not decide all bits
    return make(
        hashes=_hashes(clipped, box, small.shape),
        patches=_patches(levels, inside, (box[0].start, box[1].start), small.size),
    )


def small_side(longer: int) -> int:
    """Return the longer side of the small picture for that of the file."""
    low, high = SMALL_SIDE_PX
    return min(longer, max(low, min(high, round(longer / _REDUCTION))))


def turned(picture: np.ndarray, view: int) -> np.ndarray:
    """Return one of the eight views of a picture: 1 swaps left and right, 2 top and bottom, 4 (last) rows and columns.

    Examples
    --------
    >>> turned(np.array([[1, 2], [3, 4]]), 1).tolist(), turned(np.array([[1, 2], [3, 4]]), 4).tolist()
    ([[2, 1], [4, 3]], [[1, 3], [2, 4]])
    """
    if view & 1:
        picture = picture[:, ::-1]
    if view & 2:
        picture = picture[::-1]
    return picture.T if view & 4 else picture


def _fingerprint_or_failure(record: Record) -> Fingerprint | Failure:
    """Read one file, a photograph at a reduced size where its format allows that."""
    try:
        picture = read_image(record.path, at_least=SMALL_SIDE_PX[1])
    except ImageError as error:
        return Failure(record.image, str(error))
    return fingerprint(
        picture.pixels, size=picture.stored_size or picture.pixels.shape[:2], generated=picture.generated
    )


def _content(small: np.ndarray) -> np.ndarray:
    """Return the mask of a picture's content: all of it, or all that is not black except specks."""
    content = small >= _BLACK
    if content.all():
        return content
    # The picture's own border is no edge of its content.
    return ndimage.binary_opening(np.pad(content, 2, mode="edge"), iterations=2)[2:-2, 2:-2]


def _smoothed(small: np.ndarray, content: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smooth the content at every scale; also return where its edge is far enough."""
    grey = small.astype(np.float32)
    if content.all():
        return np.stack([_blurred(grey, sigma) for sigma in _SIGMAS_PX]), np.ones(small.shape, np.float32)
    inside = ndimage.binary_erosion(content, iterations=_EDGE_PX, border_value=1).astype(np.float32)
    if not inside.any():
        inside = content.astype(np.float32)
    both = np.stack([grey * inside, inside])
    levels = [kept / np.maximum(weight, 1e-2) for kept, weight in (_blurred(both, sigma) for sigma in _SIGMAS_PX)]
    return np.stack(levels), inside


def _blurred(pictures: np.ndarray, sigma: float) -> np.ndarray:
    """Smooth one or several by a Gaussian."""
    # Several at once: at this size, a call takes as long as the smoothing.
    return ndimage.gaussian_filter(pictures, sigma, truncate=3, axes=(-2, -1))


def _hashes(band: np.ndarray, box: tuple[slice, slice], shape: tuple[int, int]) -> np.ndarray:
    """Compute the signs of the lowest cosine coefficients of a picture of a shape, zero outside a box, for each view.

    A swap of left and right turns the sign of every odd column's coefficient, one of rows and columns transposes them:
    one transform gives all eight.
    """
    # The box alone: besides less work, most products are too small for NumPy to split them over threads, which would
    # wait for one another and for those that look at other pictures.
    down, right = (_waves(length)[:, part] for length, part in zip(shape, box, strict=True))
    coefficients = down @ band @ right.T
    views: list[np.ndarray] = []
    for view in range(8):
        signs = coefficients * (-1.0) ** (np.arange(_N_WAVES) * (view & 1))
        signs = signs * ((-1.0) ** (np.arange(_N_WAVES) * (view >> 1 & 1)))[:, None]
        signs = signs.T if view & 4 else signs
        views.append(np.packbits(signs[_ROWS, _COLUMNS] > 0).view(np.uint64))
    return np.stack(views)


@cache
def _waves(length: int) -> np.ndarray:
    """Compute the cosine waves of the discrete transform (type II) along a side, lowest first, one a row."""
    waves = np.cos(np.pi * (np.arange(length) + 0.5) * np.arange(_N_WAVES)[:, None] / length)
    return waves.astype(np.float32)


def _no_patches() -> Patches:
    """Return no patches."""
    return Patches(np.zeros((0, 64), np.float32), np.zeros((0, 3), np.float32), np.zeros(0, np.uint8))


def _patches(levels: np.ndarray, inside: np.ndarray, corner: tuple[int, int], n_pixels: int) -> Patches:
    """Find the strongest blobs of the scale space, and cut out a patch around each."""
    strength = np.abs(np.diff(levels, axis=0)) * inside
    peak = (strength == ndimage.maximum_filter(strength, size=3)) & (strength > 0)
    peak[0] = peak[-1] = False
    level, row, column = np.nonzero(peak)
    most = min(_MOST_PATCHES, max(_PATCHES_PER_SMALLEST, _PATCHES_PER_SMALLEST * n_pixels // SMALL_SIDE_PX[0] ** 2))
    rows, columns = inside.shape
    margin = 2 * _SIGMAS_PX[level]
    far = (row >= margin) & (column >= margin) & (row < rows - margin) & (column < columns - margin)
    # The order of equal strengths must not depend on the sort.
    order = np.argsort(-strength[level, row, column][far], kind="stable")[:most]
    level, row, column = level[far][order], row[far][order], column[far][order]
    if len(level) == 0:
        return _no_patches()
    sigma = _SIGMAS_PX[level][:, None, None]
    down, right = np.meshgrid(_PATCH, _PATCH, indexing="ij")
    at_row = np.clip(np.rint(row[:, None, None] + sigma * down), 0, rows - 1).astype(np.int64)
    at_column = np.clip(np.rint(column[:, None, None] + sigma * right), 0, columns - 1).astype(np.int64)
    weight = inside[at_row, at_column]
    values = levels[level[:, None, None], at_row, at_column]
    mean = (values * weight).sum((1, 2), keepdims=True) / np.maximum(weight.sum((1, 2), keepdims=True), 1)
    values = (values - mean) * weight
    # The view in which the centre of brightness lies to the lower right, further right than down.
    views = ((values * right).sum((1, 2)) < 0) * 1 + ((values * down).sum((1, 2)) < 0) * 2
    views += (np.abs((values * down).sum((1, 2))) > np.abs((values * right).sum((1, 2)))) * 4
    upright = np.stack([turned(value, int(view)) for value, view in zip(values, views, strict=True)])
    flat = upright.reshape(len(upright), -1)
    flat = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    places = np.stack([row + corner[0], column + corner[1], _SIGMAS_PX[level]], axis=1)
    return Patches(flat.astype(np.float32), places.astype(np.float32), views.astype(np.uint8))
