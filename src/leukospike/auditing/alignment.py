"""Whether two pictures show the same cells: one is aligned to the other, and their detail is correlated.

A candidate comes with a rough map between the pictures. Gauss-Newton steps (Lucas and Kanade, IJCAI 1981) fit the six
parameters of an affine map to the shared area; the correlation of the band of detail there then decides. Copies reach
0.8 and more, different cells at most 0.65 (docs/explanation/audit.md).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from leukospike.auditing.fingerprints import Fingerprint

LEAST_AGREEMENT = 0.75
"""Lowest correlation at which two pictures count as showing the same thing."""

LEAST_SHARE = 0.25
"""Share of the smaller picture's content that both must show."""

_GRID = 72  # samples along the longer side of what is common
_FINE, _COARSE = 0.9, 3.5  # scales of the band of detail, samples
_LEAST_LOCAL = 0.2  # of the whole picture's contrast; what is weaker is noise
_LEAST_SAMPLES = 256
_STEPS = 5
_HOPELESS_AFTER, _HOPELESS = 2, 0.3  # steps, and a correlation that the others would not make good
_MOST_STRETCH = 1.3  # of what the fit may add to the rough map


@dataclass(frozen=True)
class Alignment:
    """Alignment of one picture with another."""

    matrix: Float[np.ndarray, "2 3"]
    """Maps (row, column, 1) of the first small picture to (row, column) of the second."""
    agreement: float
    """Correlation of detail where both show content, -1 to 1."""
    shares: tuple[float, float]
    """Share of each picture's content that both show, 0 to 1."""


def view_matrix(view: int) -> Float[np.ndarray, "2 2"]:
    """Return the map of (row, column), seen from the centre, that `fingerprints.turned` is.

    Examples
    --------
    >>> view_matrix(4).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    flips = np.diag([-1.0 if view & 2 else 1.0, -1.0 if view & 1 else 1.0])
    return flips[::-1] if view & 4 else flips


def whole_map(first: Fingerprint, second: Fingerprint, view: int) -> Float[np.ndarray, "2 3"]:
    """Return the map from all of `first` to all of `second`, which shows it in one of the eight views.

    Parameters
    ----------
    first, second : Fingerprint
    view : int
        `first` looks like ``turned(second, view)``.
    """
    # turned() takes the second to the first; its inverse, a transpose, the first to the second.
    matrix = view_matrix(view).T
    ours = (np.array(first.small.shape) - 1) / 2
    theirs = (np.array(second.small.shape) - 1) / 2
    scale = (np.array(second.small.shape) / np.abs(matrix @ first.small.shape))[:, None]
    matrix = matrix * scale
    return np.column_stack([matrix, theirs - matrix @ ours])


def align(first: Fingerprint, second: Fingerprint, rough: Float[np.ndarray, "2 3"]) -> Alignment | None:
    """Refine a rough map and compute how well the pictures agree under it.

    Parameters
    ----------
    first, second : Fingerprint
    rough : ndarray of shape (2, 3)
        From (row, column, 1) of the first small picture to (row, column) of the second.

    Returns
    -------
    Alignment or None
        None if the shared area is too small, or if the fit diverges.
    """
    corners = _common_box(first, second, rough)
    if corners is None:
        return None
    low, high = corners
    step = max(float((high - low).max()) / _GRID, 1e-3)
    axes = [np.arange(a + step / 2, b, step) for a, b in zip(low, high, strict=True)]
    if min(map(len, axes)) < 8:
        return None
    at = np.stack(np.meshgrid(*axes, indexing="ij"))
    ours, our_content = _sampled(first, at)
    ones = np.ones((1, *at.shape[1:]))
    where = np.concatenate([at, ones]).reshape(3, -1)
    fitted = rough.copy()
    centre = np.array([*((low + high) / 2), 1.0])
    agreement, common = 0.0, our_content
    for step_number in range(_STEPS + 1):
        theirs, their_content = _sampled(second, (fitted @ where).reshape(at.shape))
        common = our_content & their_content
        both: np.ndarray = np.asarray(ndimage.binary_erosion(common, iterations=2, border_value=1), np.bool_)
        if both.sum() < _LEAST_SAMPLES:
            return None
        a, b = _bands(np.stack([ours, theirs]), both)
        agreement = _correlation(a[both], b[both])
        if step_number == _STEPS or (step_number == _HOPELESS_AFTER and agreement < _HOPELESS):
            break
        moved = _gauss_newton(a, b, both, at - centre[:2, None, None], step)
        if moved is None:
            return None
        # The fit moves the first picture's samples by `moved` before they are mapped.
        shift = np.vstack([moved, [0, 0, 0]])
        shift[:2, 2] -= moved[:, :2] @ centre[:2]
        fitted = fitted @ (np.eye(3) + shift)
    change = np.linalg.svd(fitted[:, :2] @ np.linalg.inv(rough[:, :2]), compute_uv=False)
    if change.max() > _MOST_STRETCH or change.min() < 1 / _MOST_STRETCH:
        return None
    area = float(common.sum()) * step**2
    stretch = abs(float(np.linalg.det(fitted[:, :2])))
    sizes = float(first.content.sum()), float(second.content.sum())
    shares = (min(1.0, area / sizes[0]), min(1.0, area * stretch / sizes[1]))
    return Alignment(fitted, agreement, shares)


def _common_box(first: Fingerprint, second: Fingerprint, rough: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the box (low, high) of the first picture where both have content, by the rough map; None if too small."""
    inverse = np.linalg.inv(rough[:, :2])
    boxes: list[tuple[np.ndarray, np.ndarray]] = []
    for picture in (first, second):
        rows, columns = (np.flatnonzero(picture.content.any(axis)) for axis in (1, 0))
        boxes.append((np.array([rows[0], columns[0]]) - 0.5, np.array([rows[-1], columns[-1]]) + 0.5))
    ends = np.stack(boxes[1], axis=1)  # (row, column) x (low, high)
    corners = np.array([[ends[0, i], ends[1, j]] for i in (0, 1) for j in (0, 1)])
    back = (corners - rough[:, 2]) @ inverse.T
    low, high = np.maximum(boxes[0][0], back.min(axis=0)), np.minimum(boxes[0][1], back.max(axis=0))
    areas = [float(np.prod(boxes[0][1] - boxes[0][0])), float(np.prod(back.max(axis=0) - back.min(axis=0)))]
    if (high <= low).any() or float(np.prod(high - low)) < LEAST_SHARE / 2 * min(areas):
        return None
    return low, high


def _sampled(picture: Fingerprint, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sample grey values and the content mask between pixels."""
    grey = ndimage.map_coordinates(picture.small, at, np.float32, order=1, mode="nearest")
    nearest = np.rint(at).astype(np.int64)
    rows, columns = picture.small.shape
    within = (nearest[0] >= 0) & (nearest[1] >= 0) & (nearest[0] < rows) & (nearest[1] < columns)
    clipped = np.clip(nearest[0], 0, rows - 1), np.clip(nearest[1], 0, columns - 1)
    return grey, within & picture.content[clipped]


def _bands(
    grey: Float[np.ndarray, "pictures rows columns"], inside: Bool[np.ndarray, "rows columns"]
) -> Float[np.ndarray, "pictures rows columns"]:
    """Compute the band of detail, smoothed only over `inside`, and zero outside.

    Contrast is equalised locally: otherwise the rim of the nucleus, which all cells have, outweighs all texture.
    """
    weight = inside.astype(np.float32)
    planes = np.concatenate([grey * weight, weight[None]])
    (*fine, below_fine), (*coarse, below) = (_smoothed(planes, sigma) for sigma in (_FINE, _COARSE))
    below_fine, below = np.maximum(below_fine, 1e-2), np.maximum(below, 1e-2)
    band = (np.stack(fine) / below_fine - np.stack(coarse) / below) * weight
    deviation = np.sqrt((band**2).sum(axis=(1, 2)) / weight.sum())
    local = np.sqrt(_smoothed(band**2, _COARSE) / below)
    return band / np.maximum(local, np.maximum(_LEAST_LOCAL * deviation, 1e-6)[:, None, None])


def _smoothed(planes: np.ndarray, sigma: float) -> np.ndarray:
    """Smooth several planes at once: at this size, a call takes as long as the smoothing."""
    return ndimage.gaussian_filter(planes, sigma, truncate=3, axes=(1, 2))


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Correlate two lists of values; 0 where one does not vary."""
    x, y = x - x.mean(), y - y.mean()
    length = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / length if length > 1e-6 * len(x) else 0.0


def _gauss_newton(a: np.ndarray, b: np.ndarray, both: np.ndarray, offset: np.ndarray, step: float) -> np.ndarray | None:
    """Compute the affine movement of the samples, in pixels of the first picture, that brings `b` nearest to `a`."""
    down, right = (slope / step for slope in np.gradient(b))
    down, right = down[both], right[both]
    rows, columns = offset[0][both], offset[1][both]
    design = np.stack([down * rows, down * columns, down, right * rows, right * columns, right], axis=1)
    square = design.T @ design
    square[np.diag_indices(6)] *= 1 + 1e-3
    try:
        moved = np.linalg.solve(square, design.T @ (a[both] - b[both]))
    except np.linalg.LinAlgError:
        return None
    return moved.reshape(2, 3) if np.isfinite(moved).all() else None
