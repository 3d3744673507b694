"""The segmenter by laboratory: folds by image, one laboratory left out, and shifts; what ships, on what is no smear."""

from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np

from leukospike.segmentation.evidence import EvidenceNetwork
from leukospike.segmentation.result import MIN_CONFIDENCE
from research import tables
from research.segmentation.data import FIELDS, AnnotatedImage
from research.segmentation.fit_evidence import Objects, fit_evidence, objects_of
from research.segmentation.judge import DRAWN_FINELY
from research.segmentation.objects import Found, kept, matched
from research.segmentation.readings import (
    FOLDS,
    NOT_SMEARS,
    WITHOUT,
    Reading,
    changed_readings_of,
    plan,
    read_all,
    readings_of,
)
from research.segmentation.scores import Estimate, mask_scores, mean, ratio
from research.segmentation.shifts import SHIFTS, shifted

EVERY_SHIFTED = 9
"""Each so-manieth image is shown under all shifts."""

Row = dict[str, str]


def run() -> None:
    """Judge the networks of folds and of left-out laboratories, and print and save the tables."""
    by_fold = {fold: readings_of(fold) for fold in FOLDS}
    objects = {fold: objects_of([*found, *changed_readings_of(fold)]) for fold, found in by_fold.items()}
    evidence = {fold: fit_evidence(_joined([objects[other] for other in FOLDS if other != fold])) for fold in FOLDS}
    judged = [(one, evidence[fold]) for fold in FOLDS for one, _ in by_fold[fold]]
    images = {(image.set, image.name): image for fold in FOLDS for image in plan()[fold][1]}
    inside = {name: _figures([each for each in judged if each[0].set == name], images) for name in _sets(judged)}
    outside: dict[str, dict[str, Estimate]] = {}
    everything = _joined(list(objects.values()))
    for name, without in WITHOUT.items():
        own = fit_evidence(everything.of(everything.group != name))
        found = [(one, own) for one, _ in readings_of(without) if one.set == name]
        outside[name] = _figures(found, {(image.set, image.name): image for image in plan()[without][1]})
    shifts = _shifts(evidence)
    for title, table in (
        ("All laboratories in training, folds by image", inside),
        ("One laboratory left out", outside),
    ):
        print(tables.table(title, [_row(name, figures) for name, figures in table.items()], notes=_NOTES))
    print(tables.table("Shifts, against the same images as they are", shifts, notes=_SHIFT_NOTES))
    kept_figures = {
        title: {name: {key: asdict(value) for key, value in figures.items()} for name, figures in table.items()}
        for title, table in (("folds", inside), ("left out", outside))
    }
    tables.save("segmentation-laboratories", kept_figures | {"shifts": shifts})


def _sets(judged: Sequence[tuple[Found, EvidenceNetwork]]) -> list[str]:
    """Name the sets that are judged."""
    return sorted({found.set for found, _ in judged} - {NOT_SMEARS})


def _joined(parts: Sequence[Objects]) -> Objects:
    """Put objects of several folds together."""
    return Objects(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("group", "measures", "is_cell"))
    )


def _figures(
    judged: Sequence[tuple[Found, EvidenceNetwork]], images: dict[tuple[str, str], AnnotatedImage]
) -> dict[str, Estimate]:
    """Score the images of one set."""
    name = judged[0][0].set
    groups = [found.group for found, _ in judged]
    found_of = [(found, images[found.set, found.name], network.confidence(found.evidence)) for found, network in judged]
    masks = [kept(found, confidence, MIN_CONFIDENCE) for found, _, confidence in found_of]
    if name in FIELDS:
        pairs = [matched(image.boxes, boxes) for (_, image, _), (_, boxes) in zip(found_of, masks, strict=True)]
        true = [len(image.boxes) for _, image, _ in found_of]
        boxes = [len(boxes) for _, boxes in masks]
        any_found = [float(bool(count)) for count, listed in zip(boxes, true, strict=True) if listed]
        return {
            "recall": ratio(pairs, true, groups=groups),
            "precision": ratio(pairs, boxes, groups=groups),
            "with cells": mean(any_found),
        }
    if name == "pbc":
        return _by_kind(found_of)
    scores = [mask_scores(image.mask, mask) for (_, image, _), (mask, _) in zip(found_of, masks, strict=True)]
    if name == "c-nmc":
        return {"cell IoU": mean([score.cell_iou for score in scores], groups=groups)}
    return {
        "nucleus Dice": mean([score.nucleus_dice for score in scores], groups=groups),
        "cell Dice": mean([score.cell_dice for score in scores], groups=groups),
    }


def _by_kind(found_of: Sequence[tuple[Found, AnnotatedImage, np.ndarray]]) -> dict[str, Estimate]:
    """Count the images of pbc in whose middle a white cell is found: of nucleated cells and of platelets."""
    found: dict[bool, list[float]] = {True: [], False: []}
    for one, image, confidence in found_of:
        rows, columns = one.labels.shape
        middle = one.labels[rows * 9 // 20 : rows * 11 // 20 + 1, columns * 9 // 20 : columns * 11 // 20 + 1]
        numbers = np.unique(middle[middle > 0])
        found[image.kind != "platelet"].append(float((confidence[numbers - 1] >= MIN_CONFIDENCE).any()))
    return {"found": mean(found[True]), "platelets taken for one": mean(found[False])}


def _shifts(evidence: dict[str, EvidenceNetwork]) -> list[Row]:
    """Compare Dice under each shift with that of the same images as they are."""
    rows: list[Row] = []

    def dice(change: Callable[[AnnotatedImage], AnnotatedImage]) -> dict[str, float]:
        values: dict[str, list[float]] = {}
        for fold in FOLDS:
            drawn = [image for image in plan()[fold][1] if image.set in DRAWN_FINELY]
            images = [change(image) for image in drawn[::EVERY_SHIFTED]]
            for (found, _), image in zip(_read(fold, images), images, strict=True):
                mask, _ = kept(found, evidence[fold].confidence(found.evidence), MIN_CONFIDENCE)
                score = mask_scores(image.mask, mask)
                values.setdefault(f"nucleus, {image.set}", []).append(score.nucleus_dice)
                values.setdefault(f"cell, {image.set}", []).append(score.cell_dice)
        return {part: float(np.mean(each)) for part, each in values.items()}

    plain = dice(lambda image: image)
    for shift in SHIFTS:
        moved = dice(lambda image, shift=shift: shifted(image, shift))
        rows.append({"shift": shift.name} | {part: f"{moved[part] - plain[part]:+.3f}" for part in plain})
    return rows


def _read(fold: str, images: Sequence[AnnotatedImage]) -> list[Reading]:
    """Read images by a fold's network."""
    return read_all(fold, images)


def _row(name: str, figures: dict[str, Estimate]) -> Row:
    """Set the figures of one laboratory."""
    row = {"laboratory": name}
    for key in (
        "nucleus Dice",
        "cell Dice",
        "recall",
        "precision",
        "with cells",
        "cell IoU",
        "found",
        "platelets taken for one",
    ):
        value = figures.get(key)
        row[key] = "" if value is None else f"{value.value:.3f} ({value.low:.3f}-{value.high:.3f})"
    return row


_NOTES = (
    f"White cells of a confidence of {MIN_CONFIDENCE:g} or more; boxes at IoU 0.5. In brackets 95 % intervals of",
    "resampled images, copies, slides (chula) and subjects (C-NMC) kept together. The confidence is fitted on",
    "other folds, or other laboratories. C-NMC: cell against non-black pixels. pbc: a cell in the middle of the image.",
)
_SHIFT_NOTES = ("Mean Dice less that without shift; networks and confidence of the folds.",)
