"""Many images and a model: tables of cells and subjects, on one machine."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, UInt8
from PIL import Image

from leukospike.datasets import Record
from leukospike.environment import describe_environment
from leukospike.errors import WeightsError
from leukospike.evaluation import THRESHOLD
from leukospike.failures import Failure, write_failures
from leukospike.files import write_table, write_text, written_whole
from leukospike.images import Picture, luma
from leukospike.model import FittedModel
from leukospike.preparation import decoded
from leukospike.preprocessing import spike_map
from leukospike.progress import Progress, silent

DECISIONS = ("normal", "leukemic")
BLANK = "blank"
"""Flag of an image without a single spike, such as one of an even grey: it gets no probability."""

LARGE = "large"
"""Flag of an image with a side over 1,024 pixels: probably a whole field, where single cells are expected."""

_LARGE_PX = 1024
_BATCH = 64
_THUMBNAIL_PX = 64


@dataclass(frozen=True)
class Analysis:
    """What `analyze_cells` wrote."""

    cells: pd.DataFrame
    """One row an image: image, subject, probability, decision, flags."""
    subjects: pd.DataFrame
    """One row a subject: subject, cells, mean_probability, share_leukemic, decision."""
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class _Cell:
    """One image that was read."""

    record: Record
    map: Float[np.ndarray, "size size"]
    flags: tuple[str, ...]
    thumbnail: UInt8[np.ndarray, "64 64 3"]


def analyze_cells(
    records: Sequence[Record],
    models: Sequence[FittedModel],
    out: Path,
    *,
    model_name: str,
    progress: Progress = silent,
) -> Analysis:
    """Give each image of a single cell its probability, and each subject the mean of its cells.

    Parameters
    ----------
    records : sequence of Record
    models : sequence of FittedModel
        One, or the folds of a run, whose probabilities are averaged; all made for the same size of image.
    out : Path
        An existing folder. Written into it: `cells.csv`, `subjects.csv`, `summary.json`, `thumbnails.npz` and, if an
        image could not be used, `failures.csv`.
    model_name : str
        What the summary calls the model.
    progress : Progress

    Returns
    -------
    Analysis

    Raises
    ------
    WeightsError
        If the models are not for the same size of image.
    """
    size, window = models[0].image_size, models[0].blur_window
    if any((model.image_size, model.blur_window) != (size, window) for model in models):
        msg = f"analyze: models must be for one size of image, got several in {model_name}. Give one weights file."
        raise WeightsError(msg)
    cells: list[_Cell] = []
    probabilities: list[float] = []
    failures: list[Failure] = []
    waiting: list[_Cell] = []
    generated = 0

    def score_waiting() -> None:
        if waiting:
            maps = np.stack([cell.map for cell in waiting])
            mean = np.mean([model.probabilities(maps) for model in models], axis=0)
            # A blank image looks like nothing the model knows: no probability, rather than a made-up one.
            probabilities.extend(
                float("nan") if BLANK in cell.flags else float(value) for cell, value in zip(waiting, mean, strict=True)
            )
            cells.extend(waiting)
            waiting.clear()

    for done, (record, result) in enumerate(decoded(records), start=1):
        if isinstance(result, Picture):
            waiting.append(_cell(record, result, size, window))
            generated += result.generated
        else:
            failures.append(Failure(record.image, str(result)))
        if len(waiting) == _BATCH:
            score_waiting()
        progress("analyze", done, len(records))
    score_waiting()

    table = _cell_table(cells, probabilities)
    subjects = _subject_table(table)
    summary: dict[str, Any] = {
        "images": len(records),
        "scored": int(np.isfinite(table["probability"].to_numpy(np.float64)).sum()),
        "failed": len(failures),
        "leukemic": int((table["decision"].to_numpy(str) == DECISIONS[1]).sum()),
        "generated": generated > 0,
        "decision_threshold": THRESHOLD,
        "model": {"name": model_name, "networks": len(models), "image_size": size, "digest": _digest(models)},
        "environment": describe_environment(),
        "notices": _notices(table, failures, len(models)),
    }
    write_table(out / "cells.csv", table)
    write_table(out / "subjects.csv", subjects)
    if failures:
        write_failures(out / "failures.csv", failures)
    with written_whole(out / "thumbnails.npz") as part:
        no_thumbnails = np.zeros((0, _THUMBNAIL_PX, _THUMBNAIL_PX, 3), np.uint8)
        np.savez_compressed(
            part,
            images=np.array([cell.record.image for cell in cells], dtype=str),
            thumbnails=np.stack([cell.thumbnail for cell in cells]) if cells else no_thumbnails,
        )
    write_text(out / "summary.json", json.dumps(summary, indent=1))
    return Analysis(table, subjects, tuple(failures))


def _cell(record: Record, picture: Picture, size: int, window: int) -> _Cell:
    """Take one image through the spike front end, and note what is unusual about it."""
    spikes = spike_map(luma(picture.pixels), size=size, window=window)
    flags = [BLANK] if not spikes.any() else []
    if max(picture.pixels.shape) > _LARGE_PX:
        flags.append(LARGE)
    thumbnail = Image.fromarray(picture.pixels)
    thumbnail.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
    canvas = Image.new("RGB", (_THUMBNAIL_PX, _THUMBNAIL_PX))
    canvas.paste(thumbnail, ((_THUMBNAIL_PX - thumbnail.width) // 2, (_THUMBNAIL_PX - thumbnail.height) // 2))
    return _Cell(record, spikes, tuple(flags), np.asarray(canvas))


def _cell_table(cells: Sequence[_Cell], probabilities: Sequence[float]) -> pd.DataFrame:
    """Give one row a cell, in the order of the images."""
    values = np.array(probabilities, np.float64)
    decisions = np.where(np.isnan(values), "", np.where(values >= THRESHOLD, DECISIONS[1], DECISIONS[0]))
    return pd.DataFrame(
        {
            "image": [cell.record.image for cell in cells],
            "subject": [cell.record.subject for cell in cells],
            "probability": values,
            "decision": decisions,
            "flags": [" ".join(cell.flags) for cell in cells],
        }
    )


def _subject_table(table: pd.DataFrame) -> pd.DataFrame:
    """Give one row a subject: the mean probability of its cells, and the decision on that mean."""
    known = table.dropna(subset=["subject", "probability"])
    rows: list[dict[str, Any]] = []
    for subject in sorted(known["subject"].unique()):
        own = known.loc[known["subject"] == subject, "probability"].to_numpy(np.float64)
        rows.append(
            {
                "subject": subject,
                "cells": len(own),
                "mean_probability": float(own.mean()),
                "share_leukemic": float((own >= THRESHOLD).mean()),
                "decision": DECISIONS[int(own.mean() >= THRESHOLD)],
            }
        )
    return pd.DataFrame(rows, columns=["subject", "cells", "mean_probability", "share_leukemic", "decision"])


def _notices(table: pd.DataFrame, failures: Sequence[Failure], n_models: int) -> list[str]:
    """Say what a reader of the tables should know."""
    notices = ["The probabilities are not calibrated on other subjects, and foreign cells are not recognised."]
    if n_models > 1:
        notices.append(f"Each probability is the mean of {n_models} networks, the folds of one run.")
        notices.append("Cells that the run was trained on are scored too well: score other cells, or see its report.")
    if failures:
        notices.append(f"{len(failures)} files could not be used; failures.csv names them with the reason.")
    blank, large = (sum(flag in flags.split() for flags in table["flags"].to_list()) for flag in (BLANK, LARGE))
    if blank:
        notices.append(f"{blank} images are blank: without an edge there is no spike, and no probability.")
    if large:
        notices.append(f"{large} images are larger than {_LARGE_PX} pixels; the model expects single cells.")
    if not any(isinstance(subject, str) for subject in table["subject"].to_list()):
        notices.append("No subjects are known: put each subject's images into a folder of its own, or use a manifest.")
    return notices


def _digest(models: Sequence[FittedModel]) -> str:
    """Give a digest of all weights, by which an analysis names its model for good."""
    digest = hashlib.sha256()
    for model in models:
        digest.update(model.components.basis.tobytes())
        for tensor in model.network.state_dict().values():
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
