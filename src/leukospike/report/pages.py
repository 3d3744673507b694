"""Results -> one HTML file that needs nothing but itself."""

import csv
import io
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from leukospike.analysis.scoring import BORDER, DECISIONS, OUTLIER
from leukospike.plurals import number_of
from leukospike.report.checklists import Checklist, answered_checklists
from leukospike.report.explanations import explained_cells
from leukospike.report.figures import analysis_figures, run_figures
from leukospike.report.inputs import Analysis, Columns, flattened, read_analysis, read_run
from leukospike.report.tables import (
    duration,
    failure_rows,
    metric_table,
    number,
    published_rows,
    setting_rows,
    subject_rows,
)
from leukospike.report.words import (
    KEY_METRICS,
    MODEL_MEANINGS,
    NONE,
    copies_sentence,
    probability,
    protocol_sentence,
    summary,
    with_interval,
)
from leukospike.storage.files import write_text, written_whole

_CELLS_A_GROUP = 60
_FIELDS_SHOWN = 12

_PAGE_PX = 960


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
    """Labels that cannot be ruled out; None where the model gives no sets."""
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
    """JPEG, with numbered outlines; None where the page would grow too large, or no cell was found."""


@dataclass(frozen=True)
class CardGroup:
    """Some analysed cells, in the order of their probabilities."""

    title: str
    words: str
    cards: list[Card]


def write_report(run: Path, *, fields_report: str | None = None) -> Path:
    """Write the report of a run, and its figures as files, from what is in its folder alone.

    Parameters
    ----------
    run : Path
        A run folder as `leukospike reproduce` leaves it.
    fields_report : str, optional
        Where, seen from the report, that of whole fields is which the run's model has read; the report links to it.

    Returns
    -------
    Path
        ``run/report.html``: one file with its style and figures inside, without scripts and without anything to be
        loaded from elsewhere. The figures are in ``run/figures/*.png`` too, and the answers to reporting guidelines in
        ``run/checklist.csv``. All replace what was there.

    Raises
    ------
    RunError
        If the folder lacks a file, or one does not hold what a run writes.
    """
    found = read_run(run)
    figures = run_figures(found)
    for name, illustration in figures.items():
        with written_whole(run / "figures" / f"{name}.png") as part:
            part.write_bytes(illustration.png)
    checklists = answered_checklists(found)
    write_text(run / "checklist.csv", _checklist_table(checklists))
    seconds = sum(time for _, time in found.stages)
    page = render_page(
        "run.html.j2",
        run=found,
        fields_report=fields_report,
        figures=figures,
        summary=summary(found),
        key_figures=_key_figures(found.cell.estimates, "cell")
        + (_key_figures(found.subject.estimates, "subject") if found.subject else []),
        protocol_sentence=protocol_sentence(found.protocol),
        copies_sentence=copies_sentence(found),
        cell_table=metric_table(found.cell, [(fold.fold, fold.cell) for fold in found.folds]),
        subject_table=found.subject
        and metric_table(found.subject, [(fold.fold, fold.subject) for fold in found.folds]),
        subjects=subject_rows(found) if found.has_subjects else [],
        published=published_rows(found),
        settings=setting_rows(found.settings),
        environment=setting_rows(flattened(found.environment)),
        stages=[(stage, duration(time), time / seconds if seconds else 0.0) for stage, time in found.stages],
        total=duration(seconds),
        checklists=checklists,
        failures=failure_rows(found.failures),
    )
    return write_page(run / "report.html", page)


def write_analysis_report(out: Path) -> Path:
    """Write the report of analysed cells, from what is in their folder alone.

    Parameters
    ----------
    out : Path
        A folder as `leukospike analyze` leaves it: cells.csv, subjects.csv, summary.json, thumbnails.npz; if any
        image is a whole field, images.csv and overlays/; if cells were explained, explanations.json and .npz; if any
        failed, failures.csv.

    Returns
    -------
    Path
        ``out/report.html``: one file with its style and pictures inside, without scripts and without anything to be
        loaded from elsewhere. It replaces what was there.

    Raises
    ------
    RunError
        If the folder lacks a file, or one does not hold what an analysis writes.
    """
    found = read_analysis(out)
    threshold = float(found.summary["decision_threshold"])
    page = render_page(
        "analysis.html.j2",
        summary=found.summary,
        threshold=threshold,
        cells=len(found.cells["image"]),
        scored=len(found.scored["image"]),
        counted=len(found.counted["image"]),
        leukemic=int((found.counted["decision"] == DECISIONS[1]).sum()),
        not_counted=_not_counted_words(found),
        figures=analysis_figures(found),
        model=setting_rows(
            flattened({name: value for name, value in found.summary["model"].items() if name != "card"}),
            MODEL_MEANINGS,
        ),
        card=found.summary["model"].get("card"),
        subjects=sorted(_rows(found.subjects), key=lambda row: -row["mean_probability"]),
        groups=card_groups(found, threshold=threshold),
        fields=field_rows(found),
        explained=explained_cells(
            found.explanations,
            threshold=threshold,
            flags={(row["image"], row["cell"]): row["flags"] for row in _rows(found.cells)},
            fields=set(found.fields["image"].tolist()),
        ),
        detection=found.summary.get("detection"),
        named=bool((found.cells["subject"] != "").any()),
        failures=failure_rows(found.failures),
    )
    return write_page(out / "report.html", page)


def card_groups(analysis: Analysis, *, threshold: float) -> list[CardGroup]:
    """Choose the cells to show: all, or where there are thousands the ends and the middle.

    Parameters
    ----------
    analysis : Analysis
    threshold : float
        Probability from which a cell is called leukemic.

    Returns
    -------
    list of CardGroup
        Highest probability first within each group. One group of all counted cells if there are at most 180, else the
        60 highest, the 60 nearest to the threshold and the 60 lowest of them. Then those that are scored and not
        counted, 60 at the most.
    """
    cells, size = analysis.counted, _CELLS_A_GROUP
    every = np.arange(len(cells["image"]))
    groups: list[CardGroup] = []
    if len(every) > 3 * size:
        groups = _ends_and_middle(cells, threshold, analysis)
    elif len(every):
        groups = [_group("All counted cells", "Highest probability first.", cells, every, analysis)]
    others = analysis.not_counted
    if len(others["image"]):
        shown = np.arange(min(size, len(others["image"])))
        words = "Outliers, and cells that the border of a field cuts; highest probability first."
        if len(shown) < len(others["image"]):
            words += f" The {size} highest of {len(others['image'])}."
        groups.append(_group("Scored, but not counted", words, others, shown, analysis))
    return groups


def _ends_and_middle(cells: Columns, threshold: float, analysis: Analysis) -> list[CardGroup]:
    """Make groups of the highest, those nearest to the threshold, and the lowest."""
    size = _CELLS_A_GROUP
    every = np.arange(len(cells["image"]))
    nearest = np.sort(np.argsort(np.abs(cells["probability"] - threshold), kind="stable")[:size])
    return [
        _group(f"The {size} highest", "Where this network leans most towards leukemic.", cells, every[:size], analysis),
        _group(
            f"The {size} nearest to the threshold",
            f"Highest first. Those close to {threshold:g} a slightly other threshold would turn, no others.",
            cells,
            nearest,
            analysis,
        ),
        _group(f"The {size} lowest", "Where this network leans most towards normal.", cells, every[-size:], analysis),
    ]


def field_rows(analysis: Analysis) -> list[Field]:
    """Give what the page says of each field; the first twelve with cells also show them.

    Parameters
    ----------
    analysis : Analysis

    Returns
    -------
    list of Field
    """
    fields: list[Field] = []
    shown = 0
    for row in _rows(analysis.fields):
        path = analysis.overlays.get(row["image"])
        picture = None
        if path is not None and row["cells"] > 0 and shown < _FIELDS_SHOWN:
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


def _not_counted_words(analysis: Analysis) -> str:
    """Say how many cells are not counted, and why."""
    flags = [set(own.split()) for own in analysis.not_counted["flags"].tolist()]
    outliers, cut = (sum(flag in own for own in flags) for flag in (OUTLIER, BORDER))
    words: list[str] = []
    if outliers:
        words.append(number_of(outliers, "outlier"))
    if cut:
        words.append(f"{number_of(cut, 'cell')} cut by a border")
    if both := outliers + cut - len(flags):
        words[-1] += f" ({number_of(both, 'is', 'are')} both)"
    if without := len(analysis.cells["image"]) - len(analysis.scored["image"]):
        words.append(f"{number_of(without, 'cell')} without a probability")
    return ", ".join(words)


def _checklist_table(checklists: Sequence[Checklist]) -> str:
    """Give all items with their answers as CSV."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("guideline", "item", "part", "asks", "status", "answer"))
    for checklist in checklists:
        for row in checklist.rows:
            writer.writerow((checklist.name, row.number, row.part, row.asks, row.status.value, row.answer))
    return buffer.getvalue()


def _small_jpeg(path: Path) -> bytes:
    """Give a picture at the width of the page."""
    with Image.open(path) as image:
        small = image.convert("RGB")
    small.thumbnail((_PAGE_PX, _PAGE_PX))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=85)
    return buffer.getvalue()


def _group(title: str, words: str, cells: Columns, places: Int[np.ndarray, " shown"], analysis: Analysis) -> CardGroup:
    """Make the cards of some cells."""
    cards: list[Card] = []
    fields = set(analysis.fields["image"].tolist())
    for row in _rows({name: column[places] for name, column in cells.items()}):
        thumbnail = analysis.thumbnails.get((row["image"], row["cell"]))
        cards.append(
            Card(
                image=row["image"],
                cell=row["cell"] if row["image"] in fields else 0,
                subject=row["subject"],
                probability=probability(row["probability"]),
                decision=row["decision"],
                flags=row["flags"],
                set=row.get("set"),
                thumbnail=None if thumbnail is None else _png(thumbnail),
            )
        )
    return CardGroup(title, words, cards)


def _rows(table: Columns) -> list[dict[str, Any]]:
    """Turn a table's columns into its rows."""
    return [
        dict(zip(table, row, strict=True)) for row in zip(*(column.tolist() for column in table.values()), strict=True)
    ]


def _key_figures(estimates: Mapping[str, Any], unit: str) -> list[tuple[str, str, str]]:
    """Give label, figure and interval of what the page shows largest."""
    key: list[tuple[str, str, str]] = []
    for name, title in KEY_METRICS.items():
        figure, _, interval = with_interval(estimates[name]).partition(" ")
        key.append((f"{title}, by {unit}", figure, interval.strip("()")))
    return key


def _png(pixels: UInt8[np.ndarray, "rows columns 3"]) -> bytes:
    """Encode a small picture."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def _data_uri(picture: bytes) -> str:
    """Put a picture, PNG or JPEG, into the page itself."""
    kind = "jpeg" if picture.startswith(b"\xff\xd8") else "png"
    return f"data:image/{kind};base64,{b64encode(picture).decode('ascii')}"


def _picture_uri(pixels: UInt8[np.ndarray, "rows columns 3"]) -> str:
    """Put a small picture into the page itself."""
    return _data_uri(_png(pixels))


def render_page(template: str, **values: object) -> str:
    """Fill one of the package's templates; everything put in is escaped, since file names come from anywhere."""
    environment = Environment(
        loader=PackageLoader("leukospike.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = _data_uri
    environment.filters["picture_uri"] = _picture_uri
    environment.filters["number"] = number
    environment.filters["probability"] = probability
    return environment.get_template(template).render(values, number_of=number_of)


def write_page(path: Path, page: str) -> Path:
    """Write a page; a file name that is no text in any encoding comes out with its bytes spelled."""
    write_text(path, page.encode("utf-8", "backslashreplace").decode("utf-8"))
    return path
