"""The cells of an analysis by kind, a few of each, in their surroundings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from leukospike.analysis.flags import OUTLIER
from leukospike.classification.kinds import KINDS
from leukospike.classification.kinds import NOT_WHITE as KINDS_NOT_WHITE
from leukospike.report.analysis_columns import AnalysisColumns, rows_of
from leukospike.report.patients import ShownCell, evenly, shown_cells
from leukospike.report.surroundings import cell_pictures

A_KIND = 7
"""Largest number of cells shown of one kind: a row."""

_SIDE_PX = 256
UNFAMILIAR = "unlike all training cells"


@dataclass(frozen=True)
class KindOfCells:
    """One row of the gallery."""

    kind: str
    n: int
    """Number of cells of the kind."""
    is_counted: bool
    cells: tuple[ShownCell, ...]

    @property
    def n_more(self) -> int:
        """Number of cells that are not shown."""
        return self.n - len(self.cells)


def gallery(analysis: AnalysisColumns, *, page: Path) -> list[KindOfCells]:
    """Choose some cells of each kind, in even steps from the most to the least certain.

    Parameters
    ----------
    analysis : AnalysisColumns
        With kinds.
    page : Path
        The page that is to show them, for links.

    Returns
    -------
    list of KindOfCells
        White kinds first, of counted cells; then the others; last the cells unlike all training cells. Kinds of which
        none was found are left out, as are cells cut off at a border.
    """
    counted = rows_of(analysis.counted)
    others = rows_of(analysis.not_counted)
    unfamiliar = [row for row in others if OUTLIER in row["flags"].split()]
    apart = [row for row in others if OUTLIER not in row["flags"].split()]
    rows: list[tuple[str, bool, list[dict[str, Any]]]] = []
    for kind in KINDS:
        source = apart if kind in KINDS_NOT_WHITE else counted
        own = [row for row in source if row["kind"] == kind.value]
        rows.append((kind.value, kind not in KINDS_NOT_WHITE, sorted(own, key=lambda row: -row["kind_probability"])))
    rows.append((UNFAMILIAR, False, sorted(unfamiliar, key=lambda row: np.nan_to_num(row.get("distance", 0.0)))))
    found = [(kind, is_counted, own) for kind, is_counted, own in rows if own]
    chosen = [[own[place] for place in evenly(range(len(own)), A_KIND)] for _, _, own in found]
    pictures = cell_pictures(analysis.analysis, [row for own in chosen for row in own], page=page, side_px=_SIDE_PX)
    return [
        KindOfCells(kind, len(own), is_counted, tuple(shown_cells(analysis, some, pictures)))
        for (kind, is_counted, own), some in zip(found, chosen, strict=True)
    ]
