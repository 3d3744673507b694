"""The third stage: tables of cells, images and subjects."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from leukospike.analysis.flags import BLANK, BORDER, NOT_COUNTED, NOT_WHITE, OUTLIER
from leukospike.analysis.judges import Judge, Judgements
from leukospike.analysis.reading import CellsOfImage
from leukospike.classification.classifier import called_kinds
from leukospike.classification.kinds import KINDS, MATURE
from leukospike.classification.kinds import NOT_WHITE as KINDS_NOT_WHITE
from leukospike.confidence import EVEN, SubjectModel, SubjectScore, score_subjects
from leukospike.confidence.decision import decide
from leukospike.confidence.differential import differential
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
"""Columns of the table of subjects, before `decision`, of a judge with a subject model; `blasts` are corrected for
wrong calls."""

LEFT_OUT = (BORDER, OUTLIER, NOT_WHITE)
"""Flags for which a cell is not counted; the table of subjects of a judge that tells kinds has a column for each, after
`counted`, of the cells that have it and none of those before."""

KIND_COLUMNS = ("kind", "kind_probability", *(kind.column for kind in KINDS))
"""Columns of the table of cells of a judge that tells kinds."""

DIFFERENTIAL_COLUMNS = ("subject", "kind", "white", "cells", "percent", "low", "high")
"""Columns of the table of differentials: `cells` of the kind among the counted ones, in percent of these with the 95 %
interval; of kinds that are not `white`, the number alone."""


@dataclass(frozen=True)
class Tables:
    """Results of an analysis, as tables."""

    cells: pd.DataFrame
    """One row per cell: `FIRST_COLUMNS`, ``flags`` and `MEASURES`; before ``flags``, `KIND_COLUMNS`, ``set`` and
    ``distance`` if the judge returns them."""
    images: pd.DataFrame
    """One row per image: `IMAGE_TABLE_COLUMNS`."""
    subjects: pd.DataFrame
    """One row per subject with a counted cell: `SUBJECT_COLUMNS` and ``decision``. Of a judge that tells kinds, one for
    each subject, with `LEFT_OUT`, `POSTERIOR_COLUMNS` and, last, ``reason`` as well."""
    differential: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=pd.Index(DIFFERENTIAL_COLUMNS)))
    """One row per subject and kind: `DIFFERENTIAL_COLUMNS`; none if the judge tells no kinds."""


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
    of_images = _image_table(records, images, overlays, cells)
    if judge.subject_model is None or judgements.kinds is None:
        return Tables(cells, of_images, _plain_subject_table(cells))
    subjects = sorted({record.subject for record in records if record.subject is not None})
    return Tables(
        cells,
        of_images,
        _subject_table(cells, subjects, judge.subject_model, prevalence),
        _differential_table(cells, subjects),
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
    not_white = np.zeros(len(cells), bool)
    if judgements.kinds is not None:
        # By what the table says, so that kind and decision agree in the last digit too.
        shares = np.round(judgements.kinds, DIGITS)
        places = called_kinds(shares)
        own["kind"] = [KINDS[place].value for place in places.tolist()]
        own["kind_probability"] = shares[np.arange(len(shares)), places].tolist()
        not_white = np.isin(places, [kind.place for kind in KINDS_NOT_WHITE]) & np.logical_not(nothing)
    if judgements.sets is not None:
        own["set"] = judgements.sets
    if judgements.distance is not None:
        own["distance"] = np.round(judgements.distance, 2).tolist()
    if judgements.kinds is not None:
        own |= {kind.column: np.round(judgements.kinds[:, kind.place], DIGITS).tolist() for kind in KINDS}
    table = pd.DataFrame(
        {
            "image": [record.image for record in owners],
            "subject": [record.subject for record in owners],
            "probability": values,
            "decision": decisions,
            **{name: pd.Series(column, dtype=object).mask(nothing) for name, column in own.items()},
            "flags": [
                " ".join((*cell.flags, *[OUTLIER] * is_outlier, *[NOT_WHITE] * is_other))
                for cell, is_outlier, is_other in zip(cells, outliers.tolist(), not_white.tolist(), strict=True)
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


def _plain_subject_table(cells: pd.DataFrame) -> pd.DataFrame:
    """Return one row per subject with a counted cell: the mean probability of its cells, which decides."""
    known = counted_cells(cells).dropna(subset=["subject"])
    rows = [_subject_row(cells, subject) for subject in sorted(known["subject"].unique())]
    subjects = pd.DataFrame(rows, columns=list(SUBJECT_COLUMNS))
    subjects["decision"] = np.where(subjects["mean_probability"] >= THRESHOLD, DECISIONS[1], DECISIONS[0])
    return subjects


def _subject_row(cells: pd.DataFrame, subject: str) -> dict[str, object]:
    """Return `SUBJECT_COLUMNS` of one subject; shares are missing without counted cells."""
    own = cells.loc[cells["subject"] == subject]
    counted = counted_cells(own)
    leukemic = counted["decision"].to_list().count(DECISIONS[1])
    means = (
        (
            round(float(counted["probability"].to_numpy(np.float64).mean()), DIGITS),
            round(leukemic / len(counted), DIGITS),
        )
        if len(counted)
        else (float("nan"), float("nan"))
    )
    return dict(zip(SUBJECT_COLUMNS, (subject, len(own), len(counted), leukemic, *means), strict=True))


def _subject_table(
    cells: pd.DataFrame, subjects: Sequence[str], model: SubjectModel, prevalence: float
) -> pd.DataFrame:
    """Return one row per subject, with what was left out, the posterior by the counted cells, and the decision."""
    known = counted_cells(cells).dropna(subset=["subject"])
    mature = known["kind"].isin([kind.value for kind in MATURE]).to_numpy(bool)
    scored = score_subjects(
        model,
        known["probability"].to_numpy(np.float64),
        known["subject"].to_numpy(str),
        mature=mature,
        prevalence=prevalence,
    )
    score_of = {score.subject: score for score in scored}
    unfamiliar = np.array([OUTLIER in flags.split() for flags in cells["flags"]], bool)
    found = np.isfinite(cells["probability"].to_numpy(np.float64))
    rows: list[dict[str, object]] = []
    for subject in subjects:
        own = (cells["subject"] == subject).to_numpy(bool)
        row = _subject_row(cells, subject) | _left_out(cells.loc[own & found])
        score = score_of.get(subject)
        decision = decide(
            prevalence if score is None else score.posterior,
            n_counted=int(np.count_nonzero((known["subject"] == subject).to_numpy(bool))),
            n_found=int(np.count_nonzero(own & found)),
            n_unfamiliar=int(np.count_nonzero(own & found & unfamiliar)),
            n_found_in_all=int(np.count_nonzero(found)),
            n_unfamiliar_in_all=int(np.count_nonzero(found & unfamiliar)),
        )
        rows.append(row | _posterior_row(score) | {"decision": decision.decision.value, "reason": decision.reason})
    columns = [*SUBJECT_COLUMNS[:3], *LEFT_OUT, *SUBJECT_COLUMNS[3:], *POSTERIOR_COLUMNS, "decision", "reason"]
    return pd.DataFrame(rows, columns=pd.Index(columns))


def _left_out(cells: pd.DataFrame) -> dict[str, object]:
    """Count the cells that are not counted, each by the first reason that applies."""
    flags = [set(own.split()) for own in cells["flags"].to_list()]
    reasons = [next((flag for flag in LEFT_OUT if flag in own), None) for own in flags]
    return {flag: reasons.count(flag) for flag in LEFT_OUT}


def _posterior_row(score: SubjectScore | None) -> dict[str, object]:
    """Return `POSTERIOR_COLUMNS` of one subject; missing without counted cells."""
    if score is None:
        return dict.fromkeys(POSTERIOR_COLUMNS, float("nan"))
    blasts = score.blasts
    values = (round(blasts.expected, 1), blasts.interval.low, blasts.interval.high, round(score.posterior, DIGITS))
    return dict(zip(POSTERIOR_COLUMNS, values, strict=True))


def _differential_table(cells: pd.DataFrame, subjects: Sequence[str]) -> pd.DataFrame:
    """Return the differential of each subject: counted cells by kind, and beside them those that are not white."""
    white = [kind.value for kind in KINDS if kind not in KINDS_NOT_WHITE]
    rows: list[dict[str, object]] = []
    for subject in subjects:
        own = cells.loc[cells["subject"] == subject]
        for share in differential(counted_cells(own)["kind"].to_list(), order=white).kinds:
            low, high = (round(100 * end, 2) for end in (share.interval.low, share.interval.high))
            values = (subject, share.kind, True, share.count, round(share.percentage, 2), low, high)
            rows.append(dict(zip(DIFFERENTIAL_COLUMNS, values, strict=True)))
        for kind in KINDS_NOT_WHITE:
            n = int((own["kind"] == kind.value).sum())
            values = (subject, kind.value, False, n, *[float("nan")] * 3)
            rows.append(dict(zip(DIFFERENTIAL_COLUMNS, values, strict=True)))
    return pd.DataFrame(rows, columns=pd.Index(DIFFERENTIAL_COLUMNS))
