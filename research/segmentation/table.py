"""What the segmenter is held against: cross-validated Dice by set and pooled, boxes of fields, falls under shifts."""

import time
from collections.abc import Sequence
from dataclasses import asdict

from benchmarks.pictures import data_folder
from research import tables
from research.segmentation import baselines, data, scores
from research.segmentation.data import AnnotatedImage
from research.segmentation.fit_plastic import fit_predictor
from research.segmentation.judge import AS_IT_IS, DRAWN_FINELY, Figures, Judged, Method, figures, judge
from research.segmentation.shifts import SHIFTS

N_FOLDS, SEED = 3, 0

METHODS = {
    "otsu-saturation": Method(lambda _: baselines.otsu_saturation),
    "otsu-green": Method(lambda _: baselines.otsu_green),
    "first-wave": Method(lambda _: baselines.first_wave_otsu),
    "boosted-pixels": Method(baselines.fit_boosted_pixels),
    "stdp": Method(fit_predictor),
    "boosted-pixels-per-set": Method(baselines.fit_boosted_pixels, per_set=True),
}
"""What is judged, by the name that the table gives it; the default segmenter has the table `laboratories`."""

JUDGED = ("tecom", "cellavision", "bccd", "c-nmc")
"""Sets that these methods are fitted to and judged on."""

POOLED = " + ".join(DRAWN_FINELY)


def run(names: Sequence[str] = ()) -> None:
    """Judge the named methods, or all, and print and save the tables."""
    folder = data_folder()
    images = [image for name in JUDGED for image in data.load(name, folder)]
    split = data.folds(images, n_folds=N_FOLDS, seed=SEED)
    results: dict[str, dict[str, dict[str, Figures]]] = {}
    seconds: dict[str, float] = {}
    for name in names or METHODS:
        start = time.perf_counter()
        results[name] = summarised(judge(METHODS[name], images, split))
        seconds[name] = time.perf_counter() - start
    print(tables.table("Segmentation, held-out images", dice_rows(results), notes=_dice_notes(images)))
    print(tables.table("White cells of bccd fields and C-NMC cells", box_rows(results), notes=_BOX_NOTES))
    print(tables.table("Fall under shifts", shift_rows(results), notes=_SHIFT_NOTES))
    kept = {
        name: {
            "seconds": seconds[name],
            "sets": {one: {shift: asdict(figure) for shift, figure in by.items()} for one, by in result.items()},
        }
        for name, result in results.items()
    }
    about = {"seed": SEED, "folds": N_FOLDS, "images": _counts(images), "methods": kept}
    tables.save("-".join(["segmentation", *names]), about)


def summarised(judged: Sequence[Judged]) -> dict[str, dict[str, Figures]]:
    """Return the figures by set, or pooled, and by shift."""
    sets = {name: (name,) for name in JUDGED} | {POOLED: DRAWN_FINELY}
    return {
        title: {
            shift: figures(chosen)
            for shift in (AS_IT_IS.name, *(shift.name for shift in SHIFTS))
            if (chosen := [one for one in judged if one.set in members and one.shift == shift])
        }
        for title, members in sets.items()
    }


def dice_rows(results: dict[str, dict[str, dict[str, Figures]]]) -> list[dict[str, str]]:
    """Set nucleus and cell Dice with intervals, a method a row."""
    rows: list[dict[str, str]] = []
    for method, by_set in results.items():
        row = {"method": method}
        for part in ("nucleus", "cell"):
            for name in (*DRAWN_FINELY, POOLED):
                row[f"{part}, {'pooled' if name == POOLED else name}"] = _set(
                    getattr(by_set[name][AS_IT_IS.name], f"{part}_dice")
                )
        rows.append(row)
    return rows


def box_rows(results: dict[str, dict[str, dict[str, Figures]]]) -> list[dict[str, str]]:
    """Set what is found of the fields' cells, and C-NMC's cell IoU, a method a row."""
    rows: list[dict[str, str]] = []
    for method, by_set in results.items():
        if not by_set["bccd"]:
            continue
        field, cell = by_set["bccd"][AS_IT_IS.name], by_set["c-nmc"][AS_IT_IS.name]
        rows.append(
            {
                "method": method,
                "recall": _set(field.recall),
                "precision": _set(field.precision),
                "false a field": _set(field.false_per_field),
                "not even drawn": _set(field.invented_per_field),
                "nucleus Dice": _set(field.nucleus_dice),
                "cell Dice": _set(field.cell_dice),
                "C-NMC cell IoU": _set(cell.cell_iou),
            }
        )
    return rows or [{"method": "none of those asked for is fitted for these sets"}]


def shift_rows(results: dict[str, dict[str, dict[str, Figures]]]) -> list[dict[str, str]]:
    """Set the mean Dice under each shift less that without, pooled, nucleus and cell, a shift a row."""
    rows: list[dict[str, str]] = []
    for shift in SHIFTS:
        row = {"shift": shift.name}
        for method, by_set in results.items():
            base, moved = by_set[POOLED][AS_IT_IS.name], by_set[POOLED][shift.name]
            row[method] = (
                f"{moved.nucleus_dice.value - base.nucleus_dice.value:+.3f}"
                f" {moved.cell_dice.value - base.cell_dice.value:+.3f}"
            )
        rows.append(row)
    return rows


_BOX_NOTES = (
    f"bccd by box at IoU {scores.MATCH_IOU}; its masks are drawn coarsely, so their Dice says little. Not even drawn:",
    "found boxes that match no cell of the drawn mask either, since some cells at borders have no box.",
    "C-NMC: cell against non-black pixels. Intervals: 95 %, fields or subjects resampled.",
)
_SHIFT_NOTES = (
    f"Mean Dice of nucleus and cell, {POOLED}, less that without shift.",
    "Methods are fitted on images as they are; the drawn mask is resized with the image.",
)


def _dice_notes(images: Sequence[AnnotatedImage]) -> tuple[str, ...]:
    """Say how the Dice table came about."""
    counts = ", ".join(f"{count} {name}" for name, count in _counts(images).items())
    return (
        f"Mean Dice of an image, in brackets 95 % intervals of resampled images. {N_FOLDS} folds by image, copies kept",
        f"together, seed {SEED}; fitted on the training images of all sets unless named per set. Images: {counts}.",
    )


def _counts(images: Sequence[AnnotatedImage]) -> dict[str, int]:
    """Count the images of each set."""
    return {name: sum(image.set == name for image in images) for name in JUDGED}


def _set(estimate: scores.Estimate) -> str:
    """Set a figure with its interval."""
    return f"{estimate.value:.3f} ({estimate.low:.3f}-{estimate.high:.3f})"
