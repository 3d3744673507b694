"""Cross-validate one method: every image is predicted by what has not seen it, as it is and under every shift."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from research.segmentation.baselines import Predictor
from research.segmentation.data import AnnotatedImage, Fold
from research.segmentation.scores import (
    MATCH_IOU,
    Estimate,
    MaskScores,
    Matches,
    box_iou,
    component_boxes,
    mask_scores,
    match_boxes,
    mean,
    ratio,
)
from research.segmentation.shifts import SHIFTS, Shift

DRAWN_FINELY = ("tecom", "cellavision")
"""Sets whose masks are exact enough for a pooled Dice and for the fall under shifts."""

AS_IT_IS = Shift("none", lambda pixels: pixels)


@dataclass(frozen=True)
class Method:
    """A way to segment, and how it is fitted."""

    fit: Callable[[Sequence[AnnotatedImage]], Predictor]
    """Gets a fold's training images, of all sets: also C-NMC's, whose masks tell no nucleus."""
    per_set: bool = False
    """Whether each set is fitted for itself; then C-NMC, whose nuclei nobody drew, and bccd, coarse, are left out."""
    boxes: Callable[[np.ndarray], np.ndarray] = component_boxes
    """From a mask to the boxes of its white cells, int (cells, 4): top, left, bottom, right, half open."""


@dataclass(frozen=True)
class Judged:
    """What one image got under one shift."""

    set: str
    name: str
    group: int
    shift: str
    mask: MaskScores
    boxes: Matches
    """By the set's boxes; all false where it has none."""
    invented: int
    """Boxes that match neither a drawn box nor a cell of the drawn mask: some cells at borders were given no box."""


@dataclass(frozen=True)
class Figures:
    """One set's figures under one shift, with intervals from resampled groups of images."""

    images: int
    nucleus_dice: Estimate
    cell_dice: Estimate
    nucleus_iou: Estimate
    cell_iou: Estimate
    recall: Estimate
    """Of white cells by box; NaN where the set has no boxes."""
    precision: Estimate
    false_per_field: Estimate
    invented_per_field: Estimate


def judge(
    method: Method, images: Sequence[AnnotatedImage], split: Sequence[Fold], *, shifts: Sequence[Shift] = SHIFTS
) -> list[Judged]:
    """Fit on each fold's training images, predict its test images, and score them.

    Parameters
    ----------
    method : Method
    images : sequence of AnnotatedImage
    split : sequence of Fold
        As `folds` gives it for these images.
    shifts : sequence of Shift
        Applied to the test images of `DRAWN_FINELY`, besides all images as they are.

    Returns
    -------
    list of Judged
        One for each image and shift.

    Raises
    ------
    ValueError
        If a predicted mask is not of the image's size, uint8, or of other values than 0, 128 and 255.
    """
    judged: list[Judged] = []
    for fold in split:
        sets = {images[place].set for place in fold.test}
        train = [images[place] for place in fold.train]
        if method.per_set:
            trained = sets.intersection(DRAWN_FINELY)
            predictors = {name: method.fit([one for one in train if one.set == name]) for name in sorted(trained)}
        else:
            predictors = dict.fromkeys(sets, method.fit(train))
        for place in fold.test:
            image = images[place]
            if image.set in predictors:
                applied = (AS_IT_IS, *shifts) if image.set in DRAWN_FINELY else (AS_IT_IS,)
                judged += [_judged(image, predictors[image.set], method, shift) for shift in applied]
    return judged


def figures(judged: Sequence[Judged]) -> Figures:
    """Average over images of one or more sets, each image once.

    Parameters
    ----------
    judged : sequence of Judged
        At least one.

    Returns
    -------
    Figures
    """
    # Groups are numbered within a set.
    _, groups = np.unique([f"{one.set} {one.group}" for one in judged], return_inverse=True)
    unit = groups.tolist()
    found, missed, false = ([getattr(one.boxes, kind) for one in judged] for kind in ("found", "missed", "false"))
    has_boxes = sum(found) + sum(missed) > 0
    ones = [1 if has_boxes else 0] * len(judged)

    def counted(above: Sequence[int], below: Sequence[int]) -> Estimate:
        return ratio(above, below if has_boxes else ones, groups=unit)

    def averaged(name: str) -> Estimate:
        return mean([getattr(one.mask, name) for one in judged], groups=unit)

    return Figures(
        len(judged),
        averaged("nucleus_dice"),
        averaged("cell_dice"),
        averaged("nucleus_iou"),
        averaged("cell_iou"),
        counted(found, np.add(found, missed).tolist()),
        counted(found, np.add(found, false).tolist()),
        counted(false, ones),
        counted([one.invented for one in judged], ones),
    )


def _judged(image: AnnotatedImage, predict: Predictor, method: Method, shift: Shift) -> Judged:
    """Predict and score one image under one shift."""
    truth, boxes = shift.mask(image.mask), shift.boxes(image.boxes)
    found = predict(shift.change(image.pixels))
    values = np.unique(found).tolist()
    if found.shape != truth.shape or found.dtype != np.uint8 or not set(values) <= {0, 128, 255}:
        msg = (
            f"judge: a mask must be uint8 {truth.shape} of 0, 128 and 255, got {found.dtype} {found.shape} of"
            f" {values[:5]}. Predict at the image's size."
        )
        raise ValueError(msg)
    found_boxes = method.boxes(found)
    drawn = component_boxes(truth)
    unboxed = drawn[(box_iou(drawn, boxes) < MATCH_IOU).all(axis=1)]
    invented = match_boxes(np.concatenate([boxes, unboxed]), found_boxes).false
    return Judged(
        image.set,
        image.name,
        image.group,
        shift.name,
        mask_scores(truth, found),
        match_boxes(boxes, found_boxes),
        invented,
    )
