"""The third stage: tables of cells, images and subjects."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from leukospike.analysis.flags import BLANK, NOT_COUNTED, OUTLIER
from leukospike.analysis.judges import Judge, Judgements
from leukospike.analysis.reading import CellsOfImage
from leukospike.confidence import EVEN, score_subjects
from leukospike.datasets import Record
from leukospike.evaluation.metrics import THRESHOLD
from leukospike.segmentation import CELL_COLUMNS, cell_row
from leukospike.segmentation.facts import IMAGE_COLUMN_TYPES, IMAGE_COLUMNS
from leukospike.settings import Kind

DECISIONS = ("normal", "leukemic")

DIGITS = 6
"""Decimal places of probabilities and shares; the two runtimes agree to four."""

FIRST_COLUMNS = ("image", "subject", "probability", "decision")
"""First columns of the table of cells; then follow the judge's own columns, `flags`, and, with a segmenter,
`MEASURES`."""

_FIRST_MEASURES = ("cell", "top", "left", "height", "width", "area_px")
MEASURES = (*_FIRST_MEASURES, *(name for name in CELL_COLUMNS[1:] if name not in _FIRST_MEASURES))
"""Columns of the table of cells for the position and measurements of a cell."""

WHOLE_MEASURES = (*_FIRST_MEASURES, "nucleus_area_px")
"""Measures that are whole numbers."""

IMAGE_TABLE_COLUMNS = (
    "image",
    "subject",
    "kind",
    "cells",
    "counted",
    "leukemic",
    *IMAGE_COLUMNS[2:],
    "scaled_by",
    "overlay",
)
"""Columns of the table of images."""

SUBJECT_COLUMNS = ("subject", "cells", "counted", "leukemic", "mean_probability", "share_leukemic")
"""First columns of the table of subjects."""

POSTERIOR_COLUMNS = ("blasts", "blasts_low", "blasts_high", "posterior")
"""Columns of the table of subjects, before `decision`, of a judge with a subject model."""


@dataclass(frozen=True)
class Tables:
    """Results of an analysis, as tables."""

    cells: pd.DataFrame
    """One row per cell: `FIRST_COLUMNS`, ``set`` and ``distance`` if the judge returns them, ``flags``, `MEASURES`."""
    images: pd.DataFrame
    """One row per image: `IMAGE_TABLE_COLUMNS`."""
    subjects: pd.DataFrame
    """One row per subject with a counted cell: `SUBJECT_COLUMNS`, `POSTERIOR_COLUMNS` if known, and ``decision``."""


def tabulate(
    records: Sequence[Record],
    images: Sequence[CellsOfImage],
    overlays: Sequence[str],
    judgements: Judgements,
    judge: Judge,
    *,
    with_measures: bool,
    prevalence: float = EVEN,
) -> Tables:
    """Build the tables from images and judgements.

    Parameters
    ----------
    records : sequence of Record
    images : sequence of CellsOfImage
        What was read of each record.
    overlays : sequence of str
        Path of each overlay, relative to the results; empty for an image of one cell.
    judgements : Judgements
        Of all cells, image by image.
    judge : Judge
    with_measures : bool
        Whether images were segmented, so that cells have a position and measurements.
    prevalence : float
        Share of leukemia among those examined; for judges that compute a posterior for subjects.

    Returns
    -------
    Tables
    """
    cells = _cell_table(records, images, judgements, with_measures=with_measures)
    return Tables(
        cells, _image_table(records, images, overlays, cells), _subject_table(cells, judgements, judge, prevalence)
    )


def counted_cells(cells: pd.DataFrame) -> pd.DataFrame:
    """Leave out cells without a probability, cells cut off at the border of a field, and outliers."""
    unmarked = [not NOT_COUNTED & set(flags.split()) for flags in cells["flags"].to_list()]
    scored = np.isfinite(cells["probability"].to_numpy(np.float64))
    return cells.loc[scored & np.array(unmarked, dtype=bool)]


def _cell_table(
    records: Sequence[Record], images: Sequence[CellsOfImage], judgements: Judgements, *, with_measures: bool
) -> pd.DataFrame:
    """Return one row per cell, in the order of the images."""
    owners = [record for record, image in zip(records, images, strict=True) for _ in image.cells]
    cells = [cell for image in images for cell in image.cells]
    nothing = np.array([cell.is_blank or BLANK in cell.flags for cell in cells], bool)
    # A blank image is like nothing the model knows, so it gets no probability. Probabilities are rounded first, so that
    # all other figures can be reproduced from the table.
    values = np.where(nothing, np.nan, np.round(judgements.probability, DIGITS))
    decisions = np.where(np.isnan(values), "", np.where(values >= THRESHOLD, DECISIONS[1], DECISIONS[0]))
    outliers = judgements.outlier & np.logical_not(nothing)
    own: dict[str, Sequence[object]] = {}
    if judgements.sets is not None:
        own["set"] = judgements.sets
    if judgements.distance is not None:
        own["distance"] = np.round(judgements.distance, 2).tolist()
    table = pd.DataFrame(
        {
            "image": [record.image for record in owners],
            "subject": [record.subject for record in owners],
            "probability": values,
            "decision": decisions,
            **{name: pd.Series(column, dtype=object).mask(nothing) for name, column in own.items()},
            "flags": [
                " ".join((*cell.flags, OUTLIER) if outlier else cell.flags)
                for cell, outlier in zip(cells, outliers, strict=True)
            ],
        }
    )
    table = table.reindex(columns=pd.Index([*FIRST_COLUMNS, *own, "flags"]))
    if not with_measures:
        return table
    rows = [{} if cell.measures is None else cell_row(cell.measures) for cell in cells]
    measures = pd.DataFrame(rows, columns=pd.Index(MEASURES))
    # Whole numbers stay whole beside an image in which no cell was found.
    types = dict.fromkeys(MEASURES, "float64") | dict.fromkeys(WHOLE_MEASURES, "Int64") | {"border": "boolean"}
    return pd.concat([table, measures.astype(types)], axis=1)


def _image_table(
    records: Sequence[Record], images: Sequence[CellsOfImage], overlays: Sequence[str], cells: pd.DataFrame
) -> pd.DataFrame:
    """Return one row per image, with the counts of its cells."""
    counted = counted_cells(cells)
    of_image = counted["image"].value_counts()
    leukemic = counted.loc[counted["decision"] == DECISIONS[1], "image"].value_counts()
    rows: list[dict[str, object]] = []
    for record, image, overlay in zip(records, images, overlays, strict=True):
        row: dict[str, object] = {} if image.facts is None else image.facts.row(image.facts.pixel_size)
        row |= {
            "image": record.image,
            "subject": record.subject,
            "kind": image.kind.value,
            "cells": len(image.cells),
            "counted": of_image.get(record.image, 0),
            "leukemic": leukemic.get(record.image, 0),
            "scaled_by": image.scaled_by,
        }
        if image.kind is Kind.FIELD:
            row["overlay"] = overlay
        rows.append(row)
    table = pd.DataFrame(rows, columns=pd.Index(IMAGE_TABLE_COLUMNS))
    return table.astype(IMAGE_COLUMN_TYPES)


def _subject_table(cells: pd.DataFrame, judgements: Judgements, judge: Judge, prevalence: float) -> pd.DataFrame:
    """Return one row per subject: the mean probability of its cells, and the posterior if the judge has one.

    Only counted cells are used. The decision is based on the posterior, or else on the mean.
    """
    known = counted_cells(cells).dropna(subset=["subject"])
    rows: list[dict[str, object]] = []
    for subject in sorted(known["subject"].unique()):
        own = known.loc[known["subject"] == subject]
        leukemic = int((own["decision"] == DECISIONS[1]).sum())
        values = (
            subject,
            int((cells["subject"] == subject).sum()),
            len(own),
            leukemic,
            round(float(own["probability"].mean()), DIGITS),
            round(leukemic / len(own), DIGITS),
        )
        rows.append(dict(zip(SUBJECT_COLUMNS, values, strict=True)))
    subjects = pd.DataFrame(rows, columns=list(SUBJECT_COLUMNS))
    decided_by = "mean_probability"
    if judge.subject_model is not None:
        ways = judgements.ways[:, known.index.to_numpy()]
        posterior = _posterior_table(judge, ways, known["subject"].to_numpy(str), prevalence)
        subjects, decided_by = subjects.merge(posterior, on="subject"), "posterior"
    subjects["decision"] = np.where(subjects[decided_by] >= THRESHOLD, DECISIONS[1], DECISIONS[0])
    return subjects


def _posterior_table(judge: Judge, ways: np.ndarray, subjects: np.ndarray, prevalence: float) -> pd.DataFrame:
    """Return one row per subject: number of blasts and posterior at a prevalence, over all assumptions."""
    model = judge.subject_model
    scores = [] if model is None else score_subjects(model, ways, subjects, prevalence=prevalence)
    rows = [
        {
            "subject": one.subject,
            "blasts": round(one.blasts.expected, 1),
            "blasts_low": one.blasts.interval.low,
            "blasts_high": one.blasts.interval.high,
            "posterior": round(one.posterior, 6),
        }
        for one in scores
    ]
    return pd.DataFrame(rows, columns=["subject", *POSTERIOR_COLUMNS])
