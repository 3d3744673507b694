"""Locates small pictures cut from large ones at the same scale, by normalised cross-correlation.

Only two or three blobs of a cell cut from a whole field are among the strongest of the field, too few to identify it.
Every picture with less than a sixth of another's area is therefore compared with every position in it, at a coarse
scale; the best positions are then verified like all candidates.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image
from scipy.fft import irfft2, next_fast_len, rfft2

from leukospike.auditing.fingerprints import Fingerprint
from leukospike.jobs import Progress, silent

MOST_PAIRS = 100_000
"""Maximum number of pairs of a small and a large picture; with more, none are compared."""

_LARGE_SHARE = 6
_FIELD_SIDE_PX = 240
_LEAST_SIDE_PX = 12  # of the small picture, so shrunk; less shows too little
_LEAST_CORRELATION = 0.6
_BEST = 3  # places of each small picture that are verified


def pairs_to_search(pictures: Sequence[Fingerprint]) -> int:
    """Count the pairs of a small and a large picture."""
    areas = np.sort([picture.size[0] * picture.size[1] for picture in pictures])
    return int((len(areas) - np.searchsorted(areas, areas * _LARGE_SHARE, side="right")).sum())


def places_in_fields(
    pictures: Sequence[Fingerprint], progress: Progress = silent
) -> list[tuple[int, int, Float[np.ndarray, "2 3"]]]:
    """Find the positions in large pictures that look most like each small one.

    Parameters
    ----------
    pictures : sequence of Fingerprint
    progress : Progress

    Returns
    -------
    list of (int, int, ndarray of shape (2, 3))
        Place of the small picture, of the large one, and the rough map between their small grey versions.
    """
    areas = [picture.size[0] * picture.size[1] for picture in pictures]
    smallest = min(areas, default=0)
    large = [place for place, area in enumerate(areas) if area > _LARGE_SHARE * smallest]
    best: dict[int, list[tuple[float, int, np.ndarray]]] = {}
    for done, field in enumerate(large, start=1):
        crops = [place for place, area in enumerate(areas) if areas[field] > _LARGE_SHARE * area]
        for crop, correlation, rough in _places_in(pictures[field], [pictures[crop] for crop in crops]):
            best.setdefault(crops[crop], []).append((correlation, field, rough))
        progress("search fields", done, len(large))
    return [
        (crop, field, rough)
        for crop, places in best.items()
        for _, field, rough in sorted(places, key=lambda place: -place[0])[:_BEST]
    ]


def _places_in(field: Fingerprint, crops: Sequence[Fingerprint]) -> list[tuple[int, float, np.ndarray]]:
    """Return (crop, correlation, rough map) of those crops that look like some place of a field."""
    factor = _FIELD_SIDE_PX / max(field.size)  # of the files' pixels
    picture = _resized(field.small, tuple(max(1, round(side * factor)) for side in field.size))
    shape = tuple(next_fast_len(side, real=True) for side in picture.shape)
    deviations: dict[tuple[int, int], np.ndarray] = {}
    field_spectrum = np.asarray(rfft2(picture, shape))
    found: list[tuple[int, float, np.ndarray]] = []
    for place, crop in enumerate(crops):
        size = (round(crop.size[0] * factor), round(crop.size[1] * factor))
        if min(size) < _LEAST_SIDE_PX or size[0] > picture.shape[0] or size[1] > picture.shape[1]:
            continue
        template = _resized(crop.small, size)
        template -= template.mean()
        length = float(np.linalg.norm(template))
        if length < 1e-3:
            continue
        if size not in deviations:
            deviations[size] = _deviations(picture, size)
        below = deviations[size] * length
        product = field_spectrum * np.conj(np.asarray(rfft2(template, shape)))
        correlation = np.asarray(irfft2(product, shape))
        correlation = correlation[: below.shape[0], : below.shape[1]] / below
        row, column = np.unravel_index(int(np.argmax(correlation)), correlation.shape)
        value = float(correlation[row, column])
        if value < _LEAST_CORRELATION:
            continue
        # From the crop's small picture to the file's pixels, to the field's, to its small picture.
        scale = np.array(field.small.shape) / field.size * np.array(crop.size) / crop.small.shape
        corner = np.array([row, column]) / factor * field.small.shape / field.size
        rough = np.column_stack([np.diag(scale), corner + (scale - 1) / 2])
        found.append((place, value, rough))
    return found


def _deviations(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Compute, for every place a window fits, the root of the sum of squares of what it shows, less its mean."""
    rows, columns = size

    def sums(values: np.ndarray) -> np.ndarray:
        table = np.pad(values.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        return table[rows:, columns:] - table[:-rows, columns:] - table[rows:, :-columns] + table[:-rows, :-columns]

    squares = sums(picture**2) - sums(picture) ** 2 / (rows * columns)
    return np.sqrt(np.maximum(squares, 1.0))


def _resized(grey: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Bring a grey picture to other rows and columns, as float."""
    resized = Image.fromarray(grey).resize((size[1], size[0]), Image.Resampling.BOX)
    return np.asarray(resized).astype(np.float32)
