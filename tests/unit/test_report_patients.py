"""The report of an analysis by kinds: patients first, nothing sure where nothing is decided, cells where they lie."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from leukospike.analysis.folder import AnalysisFolder
from leukospike.analysis.judges import JudgeFacts
from leukospike.analysis.result import Analysis
from leukospike.analysis.summary import Summary
from leukospike.analysis.tables import DIFFERENTIAL_COLUMNS, IMAGE_TABLE_COLUMNS, Tables
from leukospike.classification.kinds import KINDS, NOT_WHITE
from leukospike.confidence.differential import differential
from leukospike.images import encode_png
from leukospike.notices import Notice, Severity
from leukospike.report.analysis_columns import AnalysisColumns
from leukospike.report.gallery import A_KIND, UNFAMILIAR, gallery
from leukospike.report.patients import patients
from leukospike.report.surroundings import encoded_jpeg, link_to, surroundings
from leukospike.report.words import by_weight
from tests.unit.test_report import HOSTILE, Page, page_of

WHITE = [kind.value for kind in KINDS if kind not in NOT_WHITE]
REASONS = {
    "leukemic": "The probability of leukemia is 0.99, at least 0.9.",
    "normal": "The probability of leukemia is 0.01, at most 0.1.",
    "not enough": "8 cells counted; at least 20 are needed.",
    "unfamiliar": "20 of 30 cells found are unlike all training cells.",
}


def build(folder: Path, decisions: dict[str, str], *, n_cells: int = 30, notices: tuple[Notice, ...] = ()) -> Analysis:
    """Make an analysis of fields, one a subject, with plausible figures and the pictures of the fields."""
    rng = np.random.default_rng(0)
    cells, subjects, counts = [], [], []
    sources = {}
    for place, (subject, decision) in enumerate(decisions.items()):
        image = f"field {place}.png"
        sources[image] = folder / "originals" / image
        sources[image].parent.mkdir(parents=True, exist_ok=True)
        sources[image].write_bytes(encode_png(rng.integers(0, 255, (200, 300, 3)).astype(np.uint8)))
        own = [KINDS[number % len(KINDS)].value for number in range(n_cells)]
        for number, kind in enumerate(own):
            flags = ["not_white"] * (kind in {other.value for other in NOT_WHITE}) + ["outlier"] * (number == 12)
            cells.append(
                {
                    "image": image,
                    "subject": subject or None,
                    "probability": number / n_cells,
                    "decision": "leukemic" if number >= n_cells / 2 else "normal",
                    "kind": kind,
                    "kind_probability": 0.5 + number / n_cells / 4,
                    "distance": 5.0 + number,
                    "flags": " ".join(flags),
                    "cell": number + 1,
                    "top": 10 * (number % 15),
                    "left": 200,
                    "height": 20,
                    "width": 16,
                }
            )
        counted = [row["kind"] for row in cells if row["subject"] == subject and not row["flags"]]
        left_out = {"border": 0, "outlier": 1, "not_white": n_cells - len(counted) - 1}
        figures = {"leukemic": 10, "mean_probability": 0.5, "share_leukemic": 0.5, "blasts": 12.3, "blasts_low": 8.0}
        figures |= {"blasts_high": 17.0, "posterior": {"leukemic": 0.9876, "normal": 0.0123}.get(decision, 0.4321)}
        row = {"subject": subject, "cells": n_cells, "counted": len(counted), **left_out, **figures}
        if subject:
            subjects.append(row | {"decision": decision, "reason": REASONS[decision]})
        for share in differential(counted, order=WHITE).kinds:
            low, high = 100 * share.interval.low, 100 * share.interval.high
            counts.append((subject, share.kind, True, share.count, share.percentage, low, high))
        counts += [(subject, kind.value, False, own.count(kind.value), *[float("nan")] * 3) for kind in NOT_WHITE]
    images = pd.DataFrame(
        [
            {"image": image, "subject": subject, "kind": "field", "cells": n_cells, "counted": 20, "leukemic": 10}
            | {"overlay": f"overlays/{place}.png", "flags": "", "scaled_by": "", "pixel_size_from": ""}
            for place, (image, subject) in enumerate(zip(sources, decisions, strict=True))
        ],
        columns=pd.Index(IMAGE_TABLE_COLUMNS),
    )
    table = pd.DataFrame(cells).astype({"kind_probability": object})  # as beside blank cells, which have none
    counts = counts if subjects else []
    tables = Tables(table, images, pd.DataFrame(subjects, columns=None if subjects else ["subject"]), pd.DataFrame(
        counts, columns=pd.Index(DIFFERENTIAL_COLUMNS)
    ))  # fmt: skip
    out = folder / "analysis"
    (out / "overlays").mkdir(parents=True)
    for place, path in enumerate(sources.values()):
        (out / "overlays" / f"{place}.png").write_bytes(path.read_bytes())
    AnalysisFolder(out).write_thumbnails(
        table["image"].tolist(), table["cell"].tolist(), iter([np.zeros((len(table), 64, 64, 3), np.uint8)])
    )
    summary = Summary.from_json(
        {
            "images": len(sources),
            "failed": 0,
            "cells": len(table),
            "scored": len(table),
            "counted": int((table["flags"] == "").sum()),
            "generated": False,
            "decision_threshold": 0.5,
            "prevalence": 0.5,
            "model": JudgeFacts("leukospike", 3, 192, "0" * 64, card={"purpose": "research"}).to_json(),
            "notices": [],
        }
    )
    return Analysis(tables, (), replace(summary, notices=notices), out, sources=sources)


def written(analysis: Analysis) -> Page:
    return page_of(analysis.report(analysis.folder / "report.html"))


def test_leukemic_patients_come_first_then_undecided_then_normal(tmp_path: Path) -> None:
    decisions = {"A": "normal", "B": "not enough", "C": "leukemic", "D": "unfamiliar"}
    page = written(build(tmp_path, decisions))
    places = [page.text.index(f"{name} : {decision}") for name, decision in zip("CDBA", (
        "leukemic.", "unfamiliar:", "not enough:", "normal."), strict=True)]  # fmt: skip
    assert places == sorted(places)
    assert {"patients", "patient-1", "patient-4", "kinds"} <= page.anchors
    assert "4 patients: " in page.text
    assert "script" not in page.tags


def test_finding_is_one_sentence_with_the_interval_and_the_prevalence(tmp_path: Path) -> None:
    text = written(build(tmp_path, {"P-07": "leukemic"})).text
    assert (
        "P-07 : leukemic. About 12 of 23 counted white cells are lymphoblasts (95 % interval 8 to 17); posterior 0.988"
        " at a prevalence of one half."
    ) in text
    assert "Differential: 23 of 100 cells counted" in text
    assert "blasts, corrected for wrong calls 53 % (35 to 74)" in text
    assert "beside the white cells 2 erythroblasts, 2 platelets, 2 not one of these" in text
    assert "found, but not counted 1 unlike all training cells, 6 not a white cell" in text


@pytest.mark.parametrize("decision", ["not enough", "unfamiliar"])
def test_nothing_looks_sure_without_a_decision(decision: str, tmp_path: Path) -> None:
    page = written(build(tmp_path, {"P": decision}))
    assert f"P : {decision}: {REASONS[decision]}" in page.text
    assert "cells counted, too uncertain to report" in page.text
    assert "no share is given without a decision" in page.text
    for sure in ("0.432", "posterior 0", "About 12"):
        assert sure not in page.text
    assert '<i style="width' not in page.html  # no bar, only the interval


def test_cells_that_matter_are_the_likeliest_blasts_and_those_nearest_to_one_half(tmp_path: Path) -> None:
    analysis = AnalysisColumns(build(tmp_path, {"P": "leukemic", "Q": "normal", "U": "unfamiliar"}, n_cells=90))
    leukemic, unfamiliar, normal = patients(analysis, page=tmp_path / "report.html")
    scores = {row["image"] + str(row["cell"]): row["probability"] for row in analysis.analysis.cells.to_dict("records")}
    counted = sorted((scores[cell.image + str(cell.cell)] for cell in leukemic.cells), reverse=True)
    every = np.sort(analysis.counted["probability"][analysis.counted["subject"] == "P"])[::-1]
    np.testing.assert_allclose(counted[:6], every[:6])
    nearest = np.sort(np.abs(every[6:] - 0.5))[:6]
    np.testing.assert_allclose(np.sort(np.abs(np.array(counted[6:]) - 0.5)), nearest)
    assert [cell.cell for cell in unfamiliar.cells] == [13]
    assert len(normal.cells) == 12
    assert all("lymphoblast" in cell.kind or "; blast" in cell.score for cell in normal.cells)


def test_without_subjects_all_images_are_counted_together(tmp_path: Path) -> None:
    page = written(build(tmp_path, {"": "leukemic"}))
    assert "All images: It is not known whose cells these are, so there is no finding" in page.text
    assert "Differential: 23 of 100 cells counted" in page.text
    assert ": leukemic." not in page.text


def test_many_patients_are_a_table_first_and_few_are_open(tmp_path: Path) -> None:
    many = written(build(tmp_path / "many", {f"P{number:02}": "normal" for number in range(13)}))
    assert "All 13 patients in full" in many.text
    assert "#patient-13" in many.targets
    assert "<details open" not in many.html.replace(' class="printed"', "")
    few = written(build(tmp_path / "few", {f"P{number}": "normal" for number in range(3)}))
    assert few.html.count('class="printed" open') == 3
    assert "patients in full" not in few.text


def test_gallery_shows_some_of_each_kind_and_says_how_many_more(tmp_path: Path) -> None:
    analysis = build(tmp_path, {"P": "leukemic"}, n_cells=110)
    rows = gallery(AnalysisColumns(analysis), page=tmp_path / "report.html")
    assert [row.kind for row in rows] == [*(kind.value for kind in KINDS), UNFAMILIAR]
    assert all(len(row.cells) <= A_KIND and row.n_more == row.n - len(row.cells) for row in rows)
    assert [row.is_counted for row in rows] == [*[True] * 8, *[False] * 4]
    assert "10 cells; 3 more in cells.csv" in written(analysis).text


def test_cells_are_cut_from_the_original_and_link_to_the_outlines(tmp_path: Path) -> None:
    analysis = build(tmp_path, {"P": "leukemic"})
    row = gallery(AnalysisColumns(analysis), page=analysis.folder / "report.html")[0].cells[0]
    assert row.shown.link == "overlays/0.png"
    assert row.shown.picture is not None
    with Image.open(io.BytesIO(row.shown.picture)) as picture:
        assert picture.size == (50, 50)  # 2.5 times the longer side of 20 pixels
    for path in analysis.sources.values():
        path.unlink()
    gone = gallery(AnalysisColumns(analysis), page=analysis.folder / "report.html")[0].cells[0].shown
    assert gone.picture is not None
    with Image.open(io.BytesIO(gone.picture)) as picture:
        assert picture.size == (64, 64)


def test_square_about_a_cell_stays_in_the_image() -> None:
    pixels = np.arange(100 * 80 * 3, dtype=np.int64).reshape(100, 80, 3).astype(np.uint8)
    at_corner = surroundings(pixels, {"top": 0, "left": 60, "height": 20, "width": 20})
    assert at_corner is not None
    np.testing.assert_array_equal(at_corner, pixels[:50, 30:])
    whole = surroundings(pixels, {"top": 0, "left": 0, "height": 90, "width": 70})
    assert whole is not None
    assert whole.shape == (100, 80, 3)
    assert surroundings(pixels, {"top": 90, "left": 0, "height": 20, "width": 20}) is None
    assert surroundings(pixels, {"top": float("nan"), "left": 0, "height": 20, "width": 20}) is None
    assert surroundings(pixels, {}) is None


def test_large_picture_is_reduced_and_small_one_kept() -> None:
    for side, expected in ((400, 100), (60, 60)):
        with Image.open(io.BytesIO(encoded_jpeg(np.zeros((side, side, 3), np.uint8), side_px=100))) as picture:
            assert picture.size == (expected, expected)


def test_link_is_relative_and_quoted(tmp_path: Path) -> None:
    analysis = build(tmp_path, {"P": "leukemic"})
    assert link_to(analysis, "field 0.png", page=tmp_path / "pages" / "report.html") == "../analysis/overlays/0.png"
    (analysis.folder / "overlays" / "0.png").unlink()
    page = analysis.folder / "report.html"
    assert link_to(analysis, "field 0.png", page=page) == "../originals/field%200.png"
    assert link_to(replace(analysis, sources={}), "field 0.png", page=page) is None


def test_hostile_names_of_patients_stay_text(tmp_path: Path) -> None:
    page = written(build(tmp_path, {HOSTILE: "leukemic"}))
    assert "<script" not in page.html
    assert HOSTILE in page.text


def test_worst_notice_comes_first_and_the_rest_folds(tmp_path: Path) -> None:
    undecided = Notice("undecided", "1 subject is not decided.", Severity.WARNING)
    fields = Notice("fields", "1 image was treated as a whole field.")
    outliers = Notice("mostly_outliers", "Most cells are outliers.", Severity.WARNING)
    assert by_weight([fields, undecided, outliers]) == [outliers, undecided, fields]
    text = written(build(tmp_path, {"P": "leukemic"}, notices=(fields, undecided, outliers))).text
    assert "2 more. Most cells are outliers. 1 subject is not decided." in text


def test_every_picture_has_an_alternative_text(tmp_path: Path) -> None:
    page = written(build(tmp_path, {"P": "leukemic", "Q": "normal"}))
    assert page.images
    assert all(image["alt"] for image in page.images)
    assert all(str(image["src"]).startswith("data:image/") for image in page.images)
    assert all(target.startswith(("#", "overlays/")) for target in page.targets)
