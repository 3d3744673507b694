"""The report of an analysis by the networks of a run: fields, cells by probability, and subjects."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int
from PIL import Image

from leukospike.analysis.flags import BORDER, OUTLIER
from leukospike.analysis.result import Analysis
from leukospike.analysis.tables import DECISIONS
from leukospike.notices import as_options
from leukospike.plurals import number_of
from leukospike.report.analysis_columns import AnalysisColumns, failure_columns, rows_of
from leukospike.report.drawing import Columns
from leukospike.report.explanations import explained_cells
from leukospike.report.figures import analysis_figures
from leukospike.report.pages import encoded_png, render_page
from leukospike.report.tables import failure_rows, number, setting_rows
from leukospike.report.words import MODEL_MEANINGS, NONE, probability
from leukospike.storage.reading import flattened

_CELLS_A_GROUP = 60
_FIELDS_SHOWN = 12
_PAGE_PX = 960


def scores_page(analysis: Analysis) -> str:
    """Return the page of an analysis without kinds of cells: probabilities, fields and subjects."""
    found = AnalysisColumns(analysis)
    summary = analysis.summary
    model = {name: value for name, value in summary.model.to_json().items() if name != "card"}
    return render_page(
        "scores.html.j2",
        summary=summary,
        notices=[as_options(str(notice)) for notice in summary.notices],
        threshold=summary.decision_threshold,
        cells=len(found.cells["image"]),
        scored=len(found.scored["image"]),
        counted=len(found.counted["image"]),
        leukemic=int((found.counted["decision"] == DECISIONS[1]).sum()),
        not_counted=_not_counted_words(found),
        figures=analysis_figures(found.counted, threshold=summary.decision_threshold, generated=summary.generated),
        model=setting_rows(flattened(model), MODEL_MEANINGS),
        card=summary.model.card,
        subjects=sorted(rows_of(found.subjects), key=lambda row: -row["mean_probability"]),
        groups=card_groups(found, threshold=summary.decision_threshold),
        fields=field_rows(found),
        explained=explained_cells(
            analysis.explanations,
            threshold=summary.decision_threshold,
            flags={(row["image"], row["cell"]): row["flags"] for row in rows_of(found.cells)},
            fields=set(found.fields["image"].tolist()),
        ),
        detection=summary.detection,
        named=bool((found.cells["subject"] != "").any()),
        failures=failure_rows(failure_columns(analysis)),
    )


@dataclass(frozen=True)
class Card:
    """One analysed cell on the page."""

    image: str
    cell: int
    """Number of the cell in its field; 0 where the image shows a single cell."""
    subject: str
    probability: str
    decision: str
    flags: str
    set: str | None
    """Labels that cannot be ruled out; None if the model gives no sets."""
    thumbnail: bytes | None


@dataclass(frozen=True)
class Field:
    """One analysed field on the page."""

    image: str
    subject: str
    cells: str
    counted: str
    leukemic: str
    flags: str
    pixel_size: str
    scaled_by: str
    picture: bytes | None
    """JPEG with numbered outlines; None if the page would grow too large, or if no cell was found."""


@dataclass(frozen=True)
class CardGroup:
    """Some analysed cells, in the order of their probabilities."""

    title: str
    words: str
    cards: list[Card]


def card_groups(analysis: AnalysisColumns, *, threshold: float) -> list[CardGroup]:
    """Choose the cells to show: all of them, or of thousands both ends and the middle.

    Parameters
    ----------
    analysis : AnalysisColumns
    threshold : float
        Lowest probability at which a cell is called leukemic.

    Returns
    -------
    list of CardGroup
        Highest probability first within each group. One group of all counted cells if there are at most 180, else the
        60 highest, the 60 nearest to the threshold and the 60 lowest. Then at most 60 cells that are scored but not
        counted.
    """
    cells, size = analysis.counted, _CELLS_A_GROUP
    every = np.arange(len(cells["image"]))
    chosen: list[_Chosen] = []
    if len(every) > 3 * size:
        chosen = _ends_and_middle(cells, threshold)
    elif len(every):
        chosen = [_Chosen("All counted cells", "Highest probability first.", cells)]
    others = analysis.not_counted
    if n_others := len(others["image"]):
        words = "Outliers, and cells cut off at the border of a field; highest probability first."
        if n_others > size:
            words += f" The highest {size} of {n_others} are shown."
        chosen.append(_Chosen("Scored, but not counted", words, _some(others, np.arange(min(size, n_others)))))
    return _with_pictures(chosen, analysis)


@dataclass(frozen=True)
class _Chosen:
    """Cells to show together."""

    title: str
    words: str
    cells: Columns


def _some(cells: Columns, places: Int[np.ndarray, " shown"]) -> Columns:
    """Choose some rows."""
    return {name: column[places] for name, column in cells.items()}


def _ends_and_middle(cells: Columns, threshold: float) -> list[_Chosen]:
    """Choose the highest, those nearest to the threshold, and the lowest."""
    size = _CELLS_A_GROUP
    every = np.arange(len(cells["image"]))
    nearest = np.sort(np.argsort(np.abs(cells["probability"] - threshold), kind="stable")[:size])
    middle = f"Highest first. A slightly different threshold would change only the calls close to {threshold:g}."
    return [
        _Chosen(
            f"The {size} highest",
            "The cells that the network is most certain are leukemic.",
            _some(cells, every[:size]),
        ),
        _Chosen(f"The {size} nearest to the threshold", middle, _some(cells, nearest)),
        _Chosen(
            f"The {size} lowest", "The cells that the network is most certain are normal.", _some(cells, every[-size:])
        ),
    ]


def _with_pictures(chosen: list[_Chosen], analysis: AnalysisColumns) -> list[CardGroup]:
    """Build the cards of chosen cells, reading their pictures in one pass."""
    fields = set(analysis.fields["image"].tolist())
    shown = sorted({(row["image"], row["cell"]) for group in chosen for row in rows_of(group.cells)})
    pictures = dict(zip(shown, analysis.analysis.thumbnails(shown), strict=True))
    groups: list[CardGroup] = []
    for group in chosen:
        cards: list[Card] = []
        for row in rows_of(group.cells):
            picture = pictures[(row["image"], row["cell"])]
            cards.append(
                Card(
                    image=row["image"],
                    cell=row["cell"] if row["image"] in fields else 0,
                    subject=row["subject"],
                    probability=probability(row["probability"]),
                    decision=row["decision"],
                    flags=row["flags"],
                    set=row.get("set"),
                    thumbnail=None if picture is None else encoded_png(picture),
                )
            )
        groups.append(CardGroup(group.title, group.words, cards))
    return groups


def field_rows(analysis: AnalysisColumns, *, with_pictures: bool = True) -> list[Field]:
    """Return one row per field; the first twelve fields with cells come with a picture.

    Parameters
    ----------
    analysis : AnalysisColumns
    with_pictures : bool

    Returns
    -------
    list of Field
    """
    fields: list[Field] = []
    shown = 0
    for row in rows_of(analysis.fields):
        path = analysis.analysis.overlay(row["image"])
        picture = None
        if with_pictures and path is not None and row["cells"] > 0 and shown < _FIELDS_SHOWN:
            picture, shown = _small_jpeg(path), shown + 1
        size = number(row["um_per_px"], digits=4) + " µm" if row["um_per_px"] > 0 else NONE
        source = row["pixel_size_from"]
        if source == "red cells":
            source = f"{row['red_cells']:.0f} red cells"
        fields.append(
            Field(
                image=row["image"],
                subject=row["subject"],
                cells=f"{row['cells']:.0f}",
                counted=f"{row['counted']:.0f}",
                leukemic=f"{row['leukemic']:.0f}",
                flags=row["flags"],
                pixel_size=f"{size} ({source})" if source else size,
                scaled_by=row["scaled_by"],
                picture=picture,
            )
        )
    return fields


def _not_counted_words(analysis: AnalysisColumns) -> str:
    """List how many cells are not counted, and why."""
    flags = [set(own.split()) for own in analysis.not_counted["flags"].tolist()]
    outliers, cut = (sum(flag in own for own in flags) for flag in (OUTLIER, BORDER))
    words: list[str] = []
    if outliers:
        words.append(number_of(outliers, "outlier"))
    if cut:
        words.append(f"{number_of(cut, 'cell')} cut off at a border")
    if both := outliers + cut - len(flags):
        words[-1] += f" ({number_of(both, 'is', 'are')} both)"
    if without := len(analysis.cells["image"]) - len(analysis.scored["image"]):
        words.append(f"{number_of(without, 'cell')} without a probability")
    return ", ".join(words)


def _small_jpeg(path: Path) -> bytes:
    """Return a picture scaled to the width of the page."""
    with Image.open(path) as image:
        small = image.convert("RGB")
    small.thumbnail((_PAGE_PX, _PAGE_PX))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=85)
    return buffer.getvalue()
