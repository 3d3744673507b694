"""What the report of an analysis says of each patient: the finding, the differential, and the cells that matter."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from leukospike.analysis.flags import BORDER, NOT_WHITE, OUTLIER
from leukospike.analysis.tables import LEFT_OUT
from leukospike.classification.kinds import KINDS
from leukospike.classification.kinds import NOT_WHITE as KINDS_NOT_WHITE
from leukospike.confidence.decision import Outcome
from leukospike.confidence.differential import TARGET, differential
from leukospike.plurals import number_of
from leukospike.report.analysis_columns import AnalysisColumns, rows_of
from leukospike.report.drawing import Columns
from leukospike.report.surroundings import Cell, CellPicture, cell_pictures, link_to
from leukospike.report.words import NONE, blast_words, finding, probability

MANY = 12
"""With more patients, a table with a row each comes first, and the pictures are smaller."""

CELLS_SHOWN = 12
_OPEN = 3  # as many patients are shown open; of more, one less
_WITH_CELLS = 40  # patients with pictures of cells; the page would grow too large with more
_WITH_FIELD = 12
_FIELD_PX = 720
_SIDE_PX, _SMALL_PX = 288, 192
_ORDER = (Outcome.LEUKEMIC, Outcome.UNFAMILIAR, Outcome.NOT_ENOUGH, Outcome.NORMAL)
_UNDECIDED = (Outcome.UNFAMILIAR, Outcome.NOT_ENOUGH)
_REASONS = {
    BORDER: "cut off at the border of a field",
    OUTLIER: "unlike all training cells",
    NOT_WHITE: "not a white cell",
}


@dataclass(frozen=True)
class Bar:
    """One kind in a differential."""

    kind: str
    cells: int
    percent: float
    low: float
    high: float
    words: str
    """Percentage and interval; without a decision, the interval alone."""


@dataclass(frozen=True)
class ShownCell:
    """One cell with its picture."""

    image: str
    cell: int
    """Number of the cell in its field; 0 where the image shows a single cell."""
    kind: str
    score: str
    """Probability of the kind and, of other kinds, that of a blast."""
    flags: str
    shown: CellPicture

    @property
    def name(self) -> str:
        """Image and number."""
        return f"{self.image}, cell {self.cell}" if self.cell else self.image


@dataclass(frozen=True)
class FieldPicture:
    """A field with numbered outlines."""

    image: str
    cells: int
    picture: bytes
    link: str | None


@dataclass(frozen=True)
class Patient:
    """One block of the page."""

    name: str
    """Empty of all images together."""
    anchor: str
    decision: str
    """Empty if there is no finding."""
    finding: str
    counted: int
    blasts: str
    """Share of blasts with its interval, or why none is given."""
    posterior: str
    """A dash where nothing is decided."""
    bars: tuple[Bar, ...]
    apart: str
    """Cells beside the white ones, by kind."""
    left_out: str
    field: FieldPicture | None
    cells_title: str
    cells: tuple[ShownCell, ...]
    is_open: bool

    @property
    def is_complete(self) -> bool:
        """Whether as many cells were counted as laboratories count."""
        return self.counted >= TARGET

    @property
    def is_undecided(self) -> bool:
        """Whether nothing is decided."""
        return self.decision in _UNDECIDED


def patients(analysis: AnalysisColumns, *, page: Path) -> list[Patient]:
    """Return one block for each subject, leukemic first, then undecided, then normal.

    Parameters
    ----------
    analysis : AnalysisColumns
        With kinds.
    page : Path
        The page that is to show them, for links.

    Returns
    -------
    list of Patient
        One of all images, without a finding, if no subject is known.
    """
    subjects = rows_of(analysis.subjects)
    if not subjects:
        drafts = [_of_all(analysis)]
    else:
        by_subject = _differentials(analysis)
        drafts = [_draft(analysis, row, by_subject[row["subject"]]) for row in sorted(subjects, key=_urgency)]
    n_open = _OPEN if len(drafts) <= _OPEN else _OPEN - 1 if len(drafts) <= MANY else 0
    chosen = [_cells_to_show(analysis, draft) if place < _WITH_CELLS else [] for place, draft in enumerate(drafts)]
    side = _SMALL_PX if len(drafts) > MANY else _SIDE_PX
    pictures = cell_pictures(analysis.analysis, [row for rows in chosen for row in rows], page=page, side_px=side)
    return [
        replace(
            draft,
            anchor=f"patient-{place + 1}",
            field=_field(analysis, draft.name, page) if place < _WITH_FIELD else None,
            cells=tuple(shown_cells(analysis, rows, pictures)),
            is_open=place < n_open,
        )
        for place, (draft, rows) in enumerate(zip(drafts, chosen, strict=True))
    ]


def shown_cells(
    analysis: AnalysisColumns, rows: Sequence[Mapping[str, Any]], pictures: Mapping[Cell, CellPicture]
) -> list[ShownCell]:
    """Describe cells for the page."""
    fields = set(analysis.fields["image"].tolist())
    return [
        ShownCell(
            image=row["image"],
            cell=row["cell"] if row["image"] in fields else 0,
            kind=row["kind"],
            score=_score(row),
            flags=row["flags"],
            shown=pictures[row["image"], row["cell"]],
        )
        for row in rows
    ]


def _score(row: Mapping[str, Any]) -> str:
    """Return the probability of the kind and, of other kinds, that of a blast."""
    of_kind = probability(row["kind_probability"])
    return of_kind if row["kind"] == KINDS[0].value else f"{of_kind}; blast {probability(row['probability'])}"


def _urgency(row: Mapping[str, Any]) -> tuple[int, float, str]:
    """Order subjects: leukemic, undecided, normal; the higher posterior first, or of undecided ones the more cells."""
    by = row["counted"] if row["decision"] in _UNDECIDED else row["posterior"]
    return _ORDER.index(row["decision"]), -by, row["subject"]


def _differentials(analysis: AnalysisColumns) -> dict[str, list[dict[str, Any]]]:
    """Part the rows of the table of differentials by subject."""
    parts: dict[str, list[dict[str, Any]]] = {row["subject"]: [] for row in rows_of(analysis.subjects)}
    table = analysis.analysis.differential
    for values in table.itertuples(index=False, name=None):
        row = dict(zip(map(str, table.columns), values, strict=True))
        parts.setdefault(row["subject"], []).append(row)
    return parts


def _draft(analysis: AnalysisColumns, row: Mapping[str, Any], kinds: Sequence[Mapping[str, Any]]) -> Patient:
    """Describe one subject, without pictures."""
    decision, counted = str(row["decision"]), int(row["counted"])
    is_undecided = decision in _UNDECIDED
    apart = {kind["kind"]: int(kind["cells"]) for kind in kinds if not kind["white"]}
    return Patient(
        name=row["subject"],
        anchor="",
        decision=decision,
        finding=finding(row, prevalence=analysis.summary.prevalence),
        counted=counted,
        blasts=blast_words(row),
        posterior=NONE if is_undecided else probability(row["posterior"]),
        bars=tuple(
            _bar(kind["kind"], int(kind["cells"]), kind["percent"], kind["low"], kind["high"], is_sure=not is_undecided)
            for kind in kinds
            if kind["white"]
        ),
        apart=_apart_words(apart),
        left_out=_left_out_words(row, n_cells=int(row["cells"]), n_counted=counted),
        field=None,
        cells_title=_cells_title(decision, counted),
        cells=(),
        is_open=False,
    )


def _of_all(analysis: AnalysisColumns) -> Patient:
    """Describe all images together, of unknown subjects."""
    counted = analysis.counted
    white = [kind.value for kind in KINDS if kind not in KINDS_NOT_WHITE]
    count = differential(counted["kind"].tolist(), order=white)
    cells = analysis.cells
    own_flags = [set(own.split()) for own in analysis.scored["flags"].tolist()]
    reasons = [next((flag for flag in LEFT_OUT if flag in own), "") for own in own_flags]
    return Patient(
        name="",
        anchor="",
        decision="",
        finding="It is not known whose cells these are, so there is no finding; the count is over all images together.",
        counted=count.n_counted,
        blasts="",
        posterior=NONE,
        bars=tuple(
            _bar(share.kind, share.count, share.percentage, 100 * share.interval.low, 100 * share.interval.high)
            for share in count.kinds
        ),
        apart=_apart_words({kind.value: int((cells["kind"] == kind.value).sum()) for kind in KINDS_NOT_WHITE}),
        left_out=_left_out_words(
            {flag: reasons.count(flag) for flag in LEFT_OUT}, n_cells=len(cells["image"]), n_counted=count.n_counted
        ),
        field=None,
        cells_title=_cells_title("", count.n_counted),
        cells=(),
        is_open=False,
    )


def _bar(kind: str, cells: int, percent: float, low: float, high: float, *, is_sure: bool = True) -> Bar:
    """Describe one kind's share; without any counted cell there is none, and without a decision only the interval."""
    if not np.isfinite(percent):
        return Bar(kind, cells, 0.0, 0.0, 0.0, NONE)
    interval = f"{low:.0f} to {high:.0f}"
    return Bar(kind, cells, percent, low, high, f"{percent:.0f} ({interval})" if is_sure else interval)


def _apart_words(numbers: Mapping[str, int]) -> str:
    """List the cells that a differential does not count, by kind."""
    none_of_these = KINDS_NOT_WHITE[-1].value
    return ", ".join(number_of(n, kind, kind if kind == none_of_these else None) for kind, n in numbers.items() if n)


def _left_out_words(numbers: Mapping[str, Any], *, n_cells: int, n_counted: int) -> str:
    """List how many cells were found but not counted, and why."""
    words = [f"{int(numbers[flag])} {_REASONS[flag]}" for flag in LEFT_OUT if numbers[flag]]
    without = n_cells - n_counted - sum(int(numbers[flag]) for flag in LEFT_OUT)
    if without > 0:
        words.append(f"{without} without a probability")
    return ", ".join(words)


def _cells_title(decision: str, n_counted: int) -> str:
    """Say which cells are shown."""
    if decision == Outcome.UNFAMILIAR:
        return "Cells unlike all training cells"
    if n_counted <= CELLS_SHOWN:
        return "The counted cells, most likely blasts first"
    if decision == Outcome.NORMAL:
        return "The cells that look most like blasts"
    return "The cells that matter most: the likeliest blasts, then those nearest to one half"


def _cells_to_show(analysis: AnalysisColumns, draft: Patient) -> list[dict[str, Any]]:
    """Choose the cells that the finding depends on most."""
    counted = analysis.counted
    own = counted if not draft.name else _of_subject(counted, draft.name)
    if draft.decision == Outcome.UNFAMILIAR:
        scored = _of_subject(analysis.scored, draft.name)
        places = [place for place, flags in enumerate(scored["flags"].tolist()) if OUTLIER in flags.split()]
        rows = rows_of(scored)
        return [rows[place] for place in evenly(places, CELLS_SHOWN)] or rows_of(own)[:CELLS_SHOWN]
    rows = rows_of(own)  # highest probability first
    if len(rows) <= CELLS_SHOWN or draft.decision == Outcome.NORMAL:
        return rows[:CELLS_SHOWN]
    highest, others = rows[: CELLS_SHOWN // 2], rows[CELLS_SHOWN // 2 :]
    nearest = sorted(others, key=lambda row: abs(row["probability"] - 0.5))[: CELLS_SHOWN - len(highest)]
    return [*highest, *sorted(nearest, key=lambda row: -row["probability"])]


def evenly(places: Sequence[int], n: int) -> list[int]:
    """Choose at most `n` of these, in even steps from the first to the last.

    Examples
    --------
    >>> evenly([3, 5, 7, 9, 11], 3)
    [3, 7, 11]
    """
    if len(places) <= n:
        return list(places)
    return [places[place] for place in np.rint(np.linspace(0, len(places) - 1, n)).astype(int).tolist()]


def _of_subject(cells: Columns, subject: str) -> Columns:
    """Choose the cells of one subject."""
    own = cells["subject"] == subject
    return {name: column[own] for name, column in cells.items()}


def _field(analysis: AnalysisColumns, subject: str, page: Path) -> FieldPicture | None:
    """Return the subject's field with the most counted cells, or of all images; None if there is none."""
    fields = [row for row in rows_of(analysis.fields) if row["subject"] == subject or not subject]
    for row in sorted(fields, key=lambda row: -row["counted"]):
        path = analysis.analysis.overlay(row["image"])
        if path is None or not row["cells"] > 0:
            continue
        with Image.open(path) as image:
            small = image.convert("RGB")
        small.thumbnail((_FIELD_PX, _FIELD_PX), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        small.save(buffer, format="JPEG", quality=82)
        link = link_to(analysis.analysis, row["image"], page=page)
        return FieldPicture(row["image"], int(row["cells"]), buffer.getvalue(), link)
    return None
