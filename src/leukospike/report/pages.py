"""Results -> one HTML file that needs nothing but itself."""

import io
from base64 import b64encode
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from leukospike.evaluation.estimates import Metrics
from leukospike.experiments.folder import read_run
from leukospike.plurals import number_of
from leukospike.report.checklists import answered_checklists
from leukospike.report.figures import run_figures
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
    interval_words,
    probability,
    protocol_sentence,
    summary,
)
from leukospike.storage.files import write_text, written_whole
from leukospike.storage.reading import flattened
from leukospike.storage.tables import write_rows


def write_report(run: Path, *, patients_report: str | None = None) -> Path:
    """Write the report of a run, and its figures as files, from what is in its folder alone.

    Parameters
    ----------
    run : Path
        A run folder as `leukospike reproduce` leaves it.
    patients_report : str, optional
        Where, seen from the report, that of the package's classifier on the same cells is; the report links to it.

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
    result = found.result
    figures = run_figures(found)
    for name, illustration in figures.items():
        with written_whole(run / "figures" / f"{name}.png") as part:
            part.write_bytes(illustration.png)
    checklists = answered_checklists(found)
    rows = [
        (checklist.name, row.number, row.part, row.asks, row.status.value, row.answer)
        for checklist in checklists
        for row in checklist.rows
    ]
    write_rows(run / "checklist.csv", ("guideline", "item", "part", "asks", "status", "answer"), rows)
    seconds = sum(result.stages.values())
    page = render_page(
        "run.html.j2",
        run=result,
        has_components=found.components is not None,
        patients_report=patients_report,
        figures=figures,
        summary=summary(found),
        key_figures=_key_figures(result.cell, "cell")
        + (_key_figures(result.subject, "subject") if result.subject else []),
        protocol_sentence=protocol_sentence(result.protocol),
        copies_sentence=copies_sentence(found),
        cell_table=metric_table(result.cell, [(fold.fold, fold.cell) for fold in result.folds]),
        subject_table=result.subject
        and metric_table(result.subject, [(fold.fold, fold.subject) for fold in result.folds]),
        subjects=subject_rows(found) if found.has_subjects else [],
        published=published_rows(found),
        settings=setting_rows(found.settings),
        environment=setting_rows(flattened(result.environment)),
        stages=[(stage, duration(time), time / seconds if seconds else 0.0) for stage, time in result.stages.items()],
        total=duration(seconds),
        checklists=checklists,
        failures=failure_rows(found.failures),
    )
    return write_page(run / "report.html", page)


def _key_figures(metrics: Metrics, unit: str) -> list[tuple[str, str, str]]:
    """Return label, figure and interval of what the page shows largest."""
    return [
        (f"{title}, by {unit}", number(metrics[name].value), interval_words(metrics[name]))
        for name, title in KEY_METRICS.items()
    ]


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
