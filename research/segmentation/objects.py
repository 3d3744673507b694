"""What segmenters find in images that they have not seen: masks, and objects with their evidence and what they are."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from leukospike.segmentation.class_maps import MOST_WORKING_AT_ONCE_PX, read_classes
from leukospike.segmentation.evidence import MEASURES, evidence_of
from leukospike.segmentation.instances import find_cells
from leukospike.segmentation.light import Light, estimate_light
from leukospike.segmentation.morphology import cell_mask
from leukospike.segmentation.network import SpikingSegmenter
from leukospike.segmentation.result import red_cell_px
from leukospike.segmentation.scale import pixel_size_from_red_cells
from research.segmentation.data import AnnotatedImage
from research.segmentation.scores import MATCH_IOU, box_iou, component_boxes

ABOUT_CELL, NOTHING_KNOWN = 0.3, 0.1
"""Intersection over union of boxes from which an object is of a listed cell though badly outlined, and up to which it
is of none; between them nothing is learned from it."""


@dataclass(frozen=True)
class Found:
    """What was found in one image."""

    set: str
    name: str
    group: int
    kind: str
    mask: np.ndarray
    """Of all objects, uint8: 0, 128 and 255."""
    labels: np.ndarray
    """Number of the object at each pixel."""
    boxes: np.ndarray
    """Of the objects, int (objects, 4): top, left, bottom, right, half open."""
    evidence: np.ndarray
    """Float32 (objects, measures)."""
    scale: float
    red_cell_px: float
    """By the red cells; NaN if they are too few."""
    red_cells: int


def found_in(
    network: SpikingSegmenter, image: AnnotatedImage, *, most_px: int = MOST_WORKING_AT_ONCE_PX, even: bool = False
) -> Found:
    """Read an image, all of its objects kept.

    Parameters
    ----------
    network : SpikingSegmenter
    image : AnnotatedImage
    most_px : int
        It is read at fewer pixels if it has more than so many at its working size.
    even : bool
        Take its light for even already.

    Returns
    -------
    Found
    """
    rows, columns = image.pixels.shape[:2]
    light = Light.unknown((rows, columns)) if even else estimate_light(image.pixels)
    reading = read_classes(network, image.pixels, light, most_px=most_px)
    size = pixel_size_from_red_cells(reading.red_cells) if reading.red_cells is not None else None
    instances = find_cells(reading.classes, red_cell_px=red_cell_px(reading, size))
    boxes = np.array([(b.top, b.left, b.top + b.height, b.left + b.width) for b in instances.boxes], np.int64)
    return Found(
        image.set,
        image.name,
        image.group,
        image.kind,
        cell_mask(reading.classes, instances),
        instances.labels.astype(np.uint16),
        boxes.reshape(-1, 4),
        evidence_of(reading, instances, cut_out=light.cut_out).reshape(-1, len(MEASURES)),
        reading.scale,
        float("nan") if size is None else size.red_cell_px,
        0 if size is None else size.red_cells,
    )


def kept(found: Found, confidences: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the mask and the boxes of the objects of so much confidence."""
    chosen = confidences >= least
    inside = np.concatenate([[False], chosen])[found.labels]
    return np.where(inside, found.mask, 0).astype(np.uint8), found.boxes[chosen]


def what_each_is(found: Found, image: AnnotatedImage) -> np.ndarray:
    """Say of each object whether it is a white cell, by what is drawn or boxed: 1, 0, or NaN where nobody knows."""
    count = len(found.boxes)
    if image.set == "c-nmc":
        return np.ones(count)
    if image.set == "pbc":
        return _by_kind(found, image)
    true = image.boxes
    if image.nucleus_drawn:
        drawn = component_boxes(image.mask)
        true = np.concatenate([true, drawn]) if len(true) else drawn
    overlap = box_iou(found.boxes, true) if count and len(true) else np.zeros((count, 1))
    best = overlap.max(axis=1)
    answers = np.where(best >= ABOUT_CELL, 1.0, np.where(best > NOTHING_KNOWN, np.nan, 0.0))
    inside = _share_inside(found.boxes, true)
    # A piece of a cell, beside which nothing better was found, is of a cell all the same: not learned from.
    return np.where((answers == 0) & (inside > 0.5), np.nan, answers)


def _share_inside(boxes: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return how much of each box lies in some other."""
    if not len(boxes) or not len(true):
        return np.zeros(len(boxes))
    first, second = boxes[:, None, :], true[None, :, :]
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    return (np.clip(sides, 0, None).prod(axis=-1) / (boxes[:, 2:] - boxes[:, :2]).prod(axis=-1)[:, None]).max(axis=1)


def _by_kind(found: Found, image: AnnotatedImage) -> np.ndarray:
    """Of pbc the object in the middle is known alone: a platelet or a white cell."""
    answers = np.full(len(found.boxes), np.nan)
    rows, columns = found.labels.shape
    middle = found.labels[rows * 9 // 20 : rows * 11 // 20 + 1, columns * 9 // 20 : columns * 11 // 20 + 1]
    for number in np.unique(middle[middle > 0]):
        answers[number - 1] = float(image.kind != "platelet")
    return answers


def matched(true: np.ndarray, found: np.ndarray) -> int:
    """Count the pairs of a listed box and a found one."""
    close = box_iou(true, found) >= MATCH_IOU
    return int(close[linear_sum_assignment(close, maximize=True)].sum())
