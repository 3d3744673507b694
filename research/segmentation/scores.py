"""How well a mask or a set of boxes agrees with what was drawn."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import find_objects, label
from scipy.optimize import linear_sum_assignment

from research.segmentation.data import NUCLEUS, REST

MATCH_IOU = 0.5
"""Intersection over union from which a found box is taken for a drawn one."""

SMALLEST_CELL = 1 / 200
"""Share of a field's pixels under which a piece of a mask is not counted as a white cell."""

N_RESAMPLES = 1000

Numbers = Sequence[float] | np.ndarray
"""One an image."""


@dataclass(frozen=True)
class MaskScores:
    """Agreement of one mask with the drawn one."""

    nucleus_dice: float
    cell_dice: float
    """Of the whole cell: nucleus and cytoplasm."""
    nucleus_iou: float
    cell_iou: float


@dataclass(frozen=True)
class Matches:
    """White cells of one field, by box."""

    found: int
    missed: int
    false: int
    """Found boxes that match no drawn one."""


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float


def dice(truth: np.ndarray, found: np.ndarray) -> float:
    r"""Twice the pixels in common over the sum of both, :math:`2|A \cap B| / (|A| + |B|)`.

    Where nothing is drawn, it is 1 if nothing was found and 0 if anything was.

    Parameters
    ----------
    truth, found : ndarray of shape (rows, columns), bool

    Returns
    -------
    float, 0 to 1

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    overlap, size = _overlap(truth, found)
    return 2 * overlap / size if size else 1.0


def iou(truth: np.ndarray, found: np.ndarray) -> float:
    r"""Pixels in common over those in either, :math:`|A \cap B| / |A \cup B|`; empty masks as in `dice`.

    Parameters
    ----------
    truth, found : ndarray of shape (rows, columns), bool

    Returns
    -------
    float, 0 to 1

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    overlap, size = _overlap(truth, found)
    return overlap / (size - overlap) if size else 1.0


def mask_scores(truth: np.ndarray, found: np.ndarray) -> MaskScores:
    """Score the nucleus and the whole cell of a mask.

    Parameters
    ----------
    truth, found : ndarray of shape (rows, columns), uint8
        Masks of 0, 128 and 255.

    Returns
    -------
    MaskScores

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    nucleus = truth == NUCLEUS, found == NUCLEUS
    cell = truth != REST, found != REST
    return MaskScores(dice(*nucleus), dice(*cell), iou(*nucleus), iou(*cell))


def component_boxes(mask: np.ndarray) -> np.ndarray:
    """Box each connected piece of a mask that holds nucleus and is at least `SMALLEST_CELL` of the field.

    Parameters
    ----------
    mask : ndarray of shape (rows, columns), uint8
        Of 0, 128 and 255.

    Returns
    -------
    ndarray of shape (cells, 4), int
        Top, left, bottom, right, half open.
    """
    # Pieces that touch by a corner are one.
    pieces = np.empty(mask.shape, np.int32)
    label(mask != REST, structure=np.ones((3, 3)), output=pieces)
    size = np.bincount(pieces.ravel())
    nucleus = np.bincount(pieces.ravel(), weights=(mask == NUCLEUS).ravel())
    boxes = [
        (rows.start, columns.start, rows.stop, columns.stop)
        for piece, (rows, columns) in enumerate(find_objects(pieces), start=1)
        if size[piece] >= SMALLEST_CELL * mask.size and nucleus[piece] > 0
    ]
    return np.array(boxes, np.int64).reshape(-1, 4)


def match_boxes(truth: np.ndarray, found: np.ndarray) -> Matches:
    """Pair found boxes with drawn ones, each at most once, so that as many pairs as can be reach `MATCH_IOU`.

    Parameters
    ----------
    truth, found : ndarray of shape (cells, 4), int
        Top, left, bottom, right, half open.

    Returns
    -------
    Matches
    """
    close = box_iou(truth, found) >= MATCH_IOU
    pairs = int(close[linear_sum_assignment(close, maximize=True)].sum())
    return Matches(pairs, len(truth) - pairs, len(found) - pairs)


def box_iou(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Intersection over union of every drawn with every found box.

    Parameters
    ----------
    truth, found : ndarray of shape (n, 4) and (m, 4), int
        Top, left, bottom, right, half open.

    Returns
    -------
    ndarray of shape (n, m), float64, 0 to 1
    """
    first, second = truth[:, None, :], found[None, :, :]
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    common = np.clip(sides, 0, None).prod(axis=-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(axis=-1) for boxes in (first, second)]
    return common / np.maximum(areas[0] + areas[1] - common, 1)


def mean(values: Numbers, *, groups: Numbers = (), seed: int = 0) -> Estimate:
    """Average over images, with the percentile interval of resampled images.

    Parameters
    ----------
    values : sequence of float, or ndarray
        One an image, at least one.
    groups : sequence of int
        Where given, one an image, whole groups are resampled.
    seed : int

    Returns
    -------
    Estimate
    """
    return ratio(values, np.ones(len(values)), groups=groups, seed=seed)


def ratio(above: Numbers, below: Numbers, *, groups: Numbers = (), seed: int = 0) -> Estimate:
    """Sum over images over another sum, such as cells found over cells drawn, with an interval as in `mean`.

    Parameters
    ----------
    above, below : sequence of float
        One an image.
    groups : sequence of int
        Where given, one an image, whole groups are resampled.
    seed : int

    Returns
    -------
    Estimate
        NaN where `below` sums to 0.
    """
    parts = np.stack([np.asarray(above, np.float64), np.asarray(below, np.float64)])
    if not parts[1].any():
        return Estimate(math.nan, math.nan, math.nan)
    _, unit = np.unique(groups if len(groups) else np.arange(parts.shape[1]), return_inverse=True)
    by_unit = np.stack([np.bincount(unit, weights=part) for part in parts])
    n_units = by_unit.shape[1]
    drawn = np.random.default_rng(seed).integers(n_units, size=(N_RESAMPLES, n_units))
    sums = by_unit[:, drawn].sum(axis=2)
    # A draw of images that all have nothing below the line tells nothing.
    told = sums[:, sums[1] > 0]
    low, high = np.quantile(told[0] / told[1], (0.025, 0.975))
    return Estimate(float(parts[0].sum() / parts[1].sum()), float(low), float(high))


def _overlap(truth: np.ndarray, found: np.ndarray) -> tuple[int, int]:
    """Count the pixels in common and the sum of both."""
    if truth.shape != found.shape:
        msg = f"dice: found must have the shape of truth {truth.shape}, got {found.shape}. Predict at the image's size."
        raise ValueError(msg)
    return int(np.count_nonzero(truth & found)), int(np.count_nonzero(truth)) + int(np.count_nonzero(found))
