"""Results -> one HTML file that needs nothing but itself."""

import csv
import io
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from leukospike.plurals import number_of
from leukospike.report.checklists import Checklist, answered_checklists
from leukospike.report.figures import run_figures
from leukospike.report.inputs import flattened, read_run
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
    copies_sentence,
    probability,
    protocol_sentence,
    summary,
    with_interval,
)
from leukospike.storage.files import write_text, written_whole


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


def _checklist_table(checklists: Sequence[Checklist]) -> str:
    """Give all items with their answers as CSV."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("guideline", "item", "part", "asks", "status", "answer"))
    for checklist in checklists:
        for row in checklist.rows:
            writer.writerow((checklist.name, row.number, row.part, row.asks, row.status.value, row.answer))
    return buffer.getvalue()


def _key_figures(estimates: Mapping[str, Any], unit: str) -> list[tuple[str, str, str]]:
    """Give label, figure and interval of what the page shows largest."""
    key: list[tuple[str, str, str]] = []
    for name, title in KEY_METRICS.items():
        figure, _, interval = with_interval(estimates[name]).partition(" ")
        key.append((f"{title}, by {unit}", figure, interval.strip("()")))
    return key


def encoded_png(pixels: UInt8[np.ndarray, "rows columns 3"]) -> bytes:
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
    return _data_uri(encoded_png(pixels))


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
