"""The pixel size that red cells tell: on generated fields of known scale, and on every real set."""

from functools import partial

import numpy as np
from PIL import Image

from leukospike.segmentation import segment_pixels
from leukospike.segmentation.class_maps import read_classes
from leukospike.segmentation.network import default_segmenter
from leukospike.segmentation.scale import agreed_pixel_sizes
from leukospike.smears import CellKind, draw_field, subject_style
from leukospike.smears.fields import PX_PER_UM, DrawnField
from research import tables
from research.segmentation.readings import FOLDS, plan, readings_of

RED_CELLS_PX = (13, 20, 30, 45, 70, 100, 150)
"""Diameters of red cells at which generated fields are shown, pixels."""

FIELDS_EACH = 12
DRAWN_RED_CELL_UM = 7.3
"""Mean diameter of the red cells that are drawn."""


def run() -> None:
    """Measure, print and save the tables."""
    drawn = _drawn()
    notes = (
        "Generated fields of 80 x 60 micrometres, each of another person, whose mean red cell is not just 7.2",
        "micrometres. Against its own: the red cells that were drawn. Agreed: by those of all fields, as `segment`",
        "takes it for images of one camera. Within: 95 % intervals of single fields with the true size.",
    )
    print(tables.table("Pixel size on generated fields of known scale", drawn, notes=notes))
    real = _real()
    notes = ("Networks of the folds, on images that they have not seen. Truth: median box of an image's red cells.",)
    print(tables.table("Red cells on real sets", real, notes=notes))
    tables.save("scales", {"drawn": drawn, "real": real})


def _drawn() -> list[dict[str, str]]:
    """Show generated fields at several scales."""
    segmenter = partial(read_classes, default_segmenter())
    rows: list[dict[str, str]] = []
    everything: list[float] = []
    all_own: list[float] = []
    together: list[float] = []
    for red_cell_px in RED_CELLS_PX:
        factor = red_cell_px / (DRAWN_RED_CELL_UM * PX_PER_UM)
        true = 1 / (PX_PER_UM * factor)
        errors, own, within, counts, sizes = [], [], [], [], []
        for seed in range(FIELDS_EACH):
            rng = np.random.default_rng(seed)
            drawn = draw_field([CellKind.LYMPHOCYTE, CellKind.NEUTROPHIL], subject_style(rng), rng)
            field = drawn.pixels
            size = (round(field.shape[1] * factor), round(field.shape[0] * factor))
            method = Image.Resampling.BOX if factor < 1 else Image.Resampling.BICUBIC
            found = segment_pixels("", np.asarray(Image.fromarray(field).resize(size, method)), segmenter).pixel_size
            sizes.append(found)
            if found is not None and found.interval is not None:
                errors.append(abs(found.um_per_px / true - 1))
                own.append(abs(found.red_cell_px / (_red_box(drawn) * factor) - 1))
                within.append(found.interval[0] <= true <= found.interval[1])
                counts.append(found.red_cells)
        [agreed, *_] = agreed_pixel_sizes(sizes, [(1, 1)] * len(sizes))
        together.append(float("nan") if agreed is None else abs(agreed.um_per_px / true - 1))
        everything += errors
        all_own += own
        rows.append(
            {
                "red cell, px": str(red_cell_px),
                "fields with a size": f"{len(errors)} of {FIELDS_EACH}",
                "red cells, median": f"{np.median(counts):.0f}" if counts else "",
                "median error": f"{np.median(errors):.1%}" if errors else "",
                "against its own red cells": f"{np.median(own):.1%}" if own else "",
                "agreed by all fields": f"{together[-1]:.1%}",
                "within": f"{np.mean(within):.2f}" if within else "",
            }
        )
    medians = {
        "median error": f"{np.median(everything):.1%}",
        "against its own red cells": f"{np.median(all_own):.1%}",
        "agreed by all fields": f"{np.median(together):.1%}",
    }
    rows.append(dict.fromkeys(rows[0], "") | {"red cell, px": "all"} | medians)
    return rows


def _red_box(drawn: DrawnField) -> float:
    """Return the median diameter of the whole red cells of a generated field, by their boxes, pixels."""
    rows, columns = drawn.mask.shape
    return float(
        np.median(
            [
                np.sqrt((box.bottom - box.top) * (box.right - box.left))
                for box in drawn.boxes
                if box.label == "RBC" and box.top > 0 and box.left > 0 and box.bottom < rows and box.right < columns
            ]
        )
    )


def _real() -> list[dict[str, str]]:
    """Compare with boxes where there are some, and with the other images of the set."""
    by_set: dict[str, list[tuple[float, float]]] = {}

    for fold in FOLDS:
        images = {(image.set, image.name): image for image in plan()[fold][1]}
        for found, _ in readings_of(fold):
            image = images.get((found.set, found.name))
            if image is not None and image.set != "c-nmc":
                true = image.red_cell_px if len(image.red_boxes) else float("nan")
                by_set.setdefault(image.set, []).append((found.red_cell_px, true))
    rows: list[dict[str, str]] = []
    for name, pairs in sorted(by_set.items()):
        values = np.array(pairs)
        told = ~np.isnan(values[:, 0])
        median = float(np.median(values[told, 0])) if told.any() else float("nan")
        errors = np.abs(values[told, 0] / values[told, 1] - 1)
        errors = errors[~np.isnan(errors)]
        rows.append(
            {
                "set": name,
                "images": str(len(values)),
                "with a size": str(int(told.sum())),
                "red cell, px, median": f"{median:.1f}",
                "spread (median deviation)": f"{np.median(np.abs(values[told, 0] / median - 1)):.1%}"
                if told.any()
                else "",
                "median error against boxes": f"{np.median(errors):.1%}" if errors.size else "no boxes",
            }
        )
    return rows
