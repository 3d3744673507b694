"""From fields to a network: cells are cut out, labelled in a table, checked, trained on."""

import csv
import re
import shutil
from pathlib import Path

import pytest

from leukospike.analysis.manifest import SCORE_COLUMNS
from leukospike.smears import SmearConfig, generate_cohort


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw a field of each of six subjects, in folders by subject."""
    folder = tmp_path_factory.mktemp("fields")
    cohort = SmearConfig(n_subjects=6, cells_per_subject=1, fields_per_subject=1)
    drawn = generate_cohort(cohort, folder / "cohort")
    for path in sorted((drawn / "fields" / "images").iterdir()):
        subject = path.stem.split("_")[0]
        (folder / "in" / subject).mkdir(parents=True)
        shutil.copy(path, folder / "in" / subject)
    return folder / "in"


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _write(table: Path, rows: list[dict[str, str]]) -> None:
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_cells_of_fields_are_labelled_checked_and_trained_on(leukospike, fields: Path, tmp_path: Path):
    out = tmp_path / "cells"
    ended = leukospike("segment", fields, "--crops", "--out", out)
    manifest = out / "crops" / "manifest.csv"
    assert ended.status == 0
    assert ended.out.endswith(f"Cells to label: {manifest}\n")
    first, *others = _rows(manifest)
    for row in others:
        row["label"] = "all" if row["subject"].startswith("GL") else "hem"
    _write(manifest, [first, *others])
    for data in (manifest, out / "crops"):
        ended = leukospike("data", "check", data)
        assert ended.status == 0
        n = len(others) + 1
        for found in (
            r"layout +│ manifest",
            rf"images +│ {n} ",
            r"subjects +│ 6 ",
            r"not labelled +│ 1 ",
            rf"450 x 450 +│ {n} ",
            rf"generated, not a patient +│ {n} ",
        ):
            assert re.search(found, ended.out), found
    ended = leukospike("train", "--data", manifest, "--out", tmp_path / "run")
    assert ended.status == 2
    assert f"every image must have a label, got 1 of {n} without (first {first['path']})" in ended.reason
    _write(manifest, others)
    run = tmp_path / "run"
    options = ("--backbone", "appearance", "--epochs", 2)
    assert leukospike("train", "--data", manifest, *options, "--out", run).status == 0
    assert {row["label"] for row in _rows(run / "predictions.csv")} == {"0", "1"}


def test_analysis_cuts_out_the_same_cells_and_its_own_are_read_again(leukospike, fields: Path, tmp_path: Path):
    assert leukospike("segment", fields, "--crops", "--out", tmp_path / "cells").status == 0
    ended = leukospike("analyze", fields, "--crops", "--out", tmp_path / "analysis")
    assert ended.status == 0
    crops = tmp_path / "analysis" / "crops"
    assert ended.out == f"Report: {tmp_path / 'analysis' / 'report.html'}\nCells to label: {crops / 'manifest.csv'}\n"
    pictures = sorted(path.relative_to(crops) for path in crops.rglob("*.png"))
    for path in pictures:
        assert (crops / path).read_bytes() == (tmp_path / "cells" / "crops" / path).read_bytes()
    rows = _rows(crops / "manifest.csv")
    assert sorted(Path(row["path"]) for row in rows) == pictures
    assert set(SCORE_COLUMNS) <= set(rows[0])
    assert leukospike("analyze", crops, "--out", tmp_path / "again").status == 0
    again = _rows(tmp_path / "again" / "images.csv")
    assert {row["kind"] for row in again} == {"cell"}
    assert len(again) == len(rows)


def test_first_waves_have_no_cells_to_cut_out(leukospike, fields: Path, tmp_path: Path):
    ended = leukospike("segment", fields, "--method", "first-wave", "--crops", "--out", tmp_path / "out")
    assert ended.status == 2
    assert "--crops must be used with a method that finds cells, got --method first-wave" in ended.reason
    assert not (tmp_path / "out").exists()
