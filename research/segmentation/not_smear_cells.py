"""What ships, on pictures that are no smears: confident cells, and flags; and which real fields end without cells."""

from collections import Counter
from functools import partial

from benchmarks.pictures import data_folder
from leukospike.segmentation import Quality, segment_pixels
from leukospike.segmentation.class_maps import read_classes
from leukospike.segmentation.network import default_segmenter
from research import tables
from research.segmentation.data import AnnotatedImage, load, load_all_pbc
from research.segmentation.not_smears import test_pictures

CONFIDENT = 0.5
"""Confidence from which a cell counts as confidently found where none can be."""

_FLAGGING = {Quality.NOT_A_SMEAR, Quality.BLANK, Quality.INVERTED}


def run() -> None:
    """Segment them, and print and save the tables."""
    segmenter = partial(read_classes, default_segmenter())
    rows: list[dict[str, str]] = []
    with_cells = flagged = 0
    pictures = test_pictures()
    for name, pixels in pictures.items():
        found = segment_pixels(name, pixels, segmenter)
        with_cells += any(cell.confidence >= CONFIDENT for cell in found.measures)
        is_flagged = bool(_FLAGGING & {advice.quality for advice in found.quality})
        flagged += is_flagged
        if found.measures or not is_flagged:
            surest = max((cell.confidence for cell in found.measures), default=0.0)
            rows.append(
                {
                    "picture": name,
                    "cells": str(len(found.measures)),
                    "surest": f"{surest:.2f}",
                    "flags": " ".join(found.flags) or "none",
                }
            )
    notes = (
        f"Of {len(pictures)} pictures: {with_cells} with confident cells, {flagged} flagged as no smear, blank or",
        "inverted. Those with cells or without a flag:",
    )
    print(tables.table("Pictures that are no smears", rows or [{"picture": "none"}], notes=notes))
    folder = data_folder()
    sets = {name: load(name, folder) for name in ("bccd", "raabin", "chula")} | {"pbc": load_all_pbc(folder)}
    fields = [_counted(name, images, segmenter) for name, images in sets.items()]
    print(tables.table("Real images with a white cell, what ships", fields, notes=("Trained on most of them.",)))
    tables.save(
        "not-smears",
        {"pictures": len(pictures), "with cells": with_cells, "flagged": flagged, "rows": rows, "fields": fields},
    )


def _counted(name: str, images: list[AnnotatedImage], segmenter: object) -> dict[str, str]:
    """Count the images of one set that end without cells, and the flags."""
    flags: Counter[str] = Counter()
    counted = empty = refused = 0
    for image in images:
        if not len(image.boxes) and (name != "pbc" or image.kind == "platelet"):
            continue
        found = segment_pixels(image.name, image.pixels, segmenter)  # pyright: ignore[reportArgumentType]
        counted += 1
        flags.update(found.flags)
        empty += not found.measures
        refused += any(advice.quality is Quality.BLANK for advice in found.quality)
    said = ", ".join(f"{flag} {count}" for flag, count in flags.most_common())
    return {
        "set": name,
        "images": str(counted),
        "without cells": str(empty),
        "by a quality rule": str(refused),
        "flags": said or "none",
    }
