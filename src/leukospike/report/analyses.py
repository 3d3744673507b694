"""The report of an analysis: patients first, then cells by kind; by the networks of a run, cells by probability."""

from pathlib import Path

from leukospike.analysis.result import Analysis
from leukospike.confidence.decision import FEWEST_COUNTED
from leukospike.confidence.differential import TARGET
from leukospike.notices import as_options
from leukospike.report.analysis_columns import AnalysisColumns, failure_columns, rows_of
from leukospike.report.explanations import explained_cells
from leukospike.report.gallery import gallery
from leukospike.report.pages import render_page, write_page
from leukospike.report.patients import MANY, patients
from leukospike.report.scores import field_rows, scores_page
from leukospike.report.surroundings import link_to
from leukospike.report.tables import failure_rows, setting_rows
from leukospike.report.words import MODEL_MEANINGS, by_weight, prevalence_words
from leukospike.storage.reading import flattened


def write_analysis_report(
    analysis: Analysis, path: Path, *, lead: str | None = None, run_report: str | None = None
) -> Path:
    """Write the report of an analysis.

    Parameters
    ----------
    analysis : Analysis
    path : Path
        Path of the page; an existing file is replaced.
    lead : str, optional
        Sentences with which the page begins.
    run_report : str, optional
        Where, seen from the page, that of a run of the original system on the same cells is; the lead links to it.

    Returns
    -------
    Path
        One self-contained file with style and pictures, without scripts.

    Raises
    ------
    RunError
        If a file of the analysis cannot be read.
    """
    if "kind" not in analysis.cells:
        return write_page(path, scores_page(analysis))
    found = AnalysisColumns(analysis)
    summary = analysis.summary
    model = {name: value for name, value in summary.model.to_json().items() if name != "card"}
    settings = {
        "images": summary.images,
        "kind": None if summary.kinds is None else summary.kinds.asked,
        "prevalence": summary.prevalence,
        **({} if summary.scale is None else {f"scale.{name}": value for name, value in vars(summary.scale).items()}),
        **summary.environment,
    }
    blocks = patients(found, page=path)
    cells = rows_of(found.cells)
    page = render_page(
        "analysis.html.j2",
        summary=summary,
        notices=[as_options(str(notice)) for notice in by_weight(summary.notices)],
        patients=blocks,
        is_table=len(blocks) > MANY,
        unnamed=sum(not row["subject"] for row in cells) if len(found.subjects["subject"]) else 0,
        kinds=gallery(found, page=path),
        target=TARGET,
        fewest=FEWEST_COUNTED,
        prevalence=prevalence_words(summary.prevalence),
        model=setting_rows(flattened(model), MODEL_MEANINGS),
        card=summary.model.card or {},
        settings=setting_rows(settings, {}),
        fields=[(row, link_to(analysis, row.image, page=path)) for row in field_rows(found, with_pictures=False)],
        explained=explained_cells(
            analysis.explanations,
            threshold=summary.decision_threshold,
            flags={(row["image"], row["cell"]): row["flags"] for row in cells},
            fields=set(found.fields["image"].tolist()),
        ),
        detection=summary.detection,
        lead=lead,
        run_report=run_report,
        failures=failure_rows(failure_columns(analysis)),
    )
    return write_page(path, page)
