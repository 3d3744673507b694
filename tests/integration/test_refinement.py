"""From labelled cells to a classifier of one's own, which scores fields."""

import csv
import json
from pathlib import Path

import pytest

from leukospike.classification.classifier import default_classifier, read_classifier
from leukospike.cli.call import run
from leukospike.refinement.run import RefinementConfig, refine_classifier
from leukospike.smears import SmearConfig, generate_cohort


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw four cells and a field of each of six subjects."""
    drawn = SmearConfig(n_subjects=6, cells_per_subject=4, fields_per_subject=1)
    return generate_cohort(drawn, tmp_path_factory.mktemp("cohort") / "drawn")


@pytest.fixture(scope="module")
def refined(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Refine the package's classifier on its cells."""
    out = tmp_path_factory.mktemp("refined") / "mine"
    arguments = ["train", "--data", cohort / "cells", "--start", "shipped", "--folds", "3", "--out", out]
    assert run([str(argument) for argument in arguments]) == 0
    return out


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_folder_says_what_it_is_worth(refined: Path):
    assert {path.name for path in refined.iterdir()} == {"cells.csv", "model.safetensors", "report.txt", "summary.json"}
    summary = json.loads((refined / "summary.json").read_text())
    assert summary["verdict"].startswith("On your 24 cells of 6 subjects, the refined model names ")
    assert summary["verdict"] in (refined / "report.txt").read_text()
    assert {notice["code"] for notice in summary["notices"]} >= {"generated", "few_subjects"}
    assert len(summary["strength_by_fold"]) == 3
    rows = _rows(refined / "cells.csv")
    assert len(rows) == 24
    for subject in {row["subject"] for row in rows}:
        assert len({row["fold"] for row in rows if row["subject"] == subject}) == 1
    assert {row["label"] for row in rows} == {"lymphoblast", "normal lymphoid precursor"}
    kinds = [name for name in rows[0] if name.startswith("p_") and not name.endswith("_shipped")]
    assert all(sum(float(row[name]) for name in kinds) == pytest.approx(1, abs=1e-3) for row in rows)
    right = [sum(row[name] == row["label"] for row in rows) / 24 for name in ("kind", "kind_shipped")]
    assert summary["balanced_accuracy"]["refined"] == pytest.approx(right[0])
    assert summary["balanced_accuracy"]["shipped"] == pytest.approx(right[1])


def test_the_card_says_what_it_started_from(refined: Path):
    model, shipped = read_classifier(refined / "model.safetensors"), default_classifier()
    assert shipped.digest() in model.card["started_from"]
    assert model.card["data"].startswith("24 cells of 6 subjects: lymphoblast 12, normal lymphoid precursor 12.")
    assert "Never a diagnosis" in model.card["intended_use"]
    assert model.digest() == json.loads((refined / "summary.json").read_text())["model"]["digest"] != shipped.digest()
    assert model.confidence.at_home == shipped.confidence.at_home


@pytest.mark.parametrize("file", ["", "model.safetensors"])
def test_analyze_takes_it(leukospike, refined: Path, cohort: Path, tmp_path: Path, file: str):
    out = tmp_path / "out"
    fields = cohort / "fields" / "images"
    ended = leukospike("analyze", fields, "--model", refined / file, "--prevalence", 0.1, "--out", out)
    assert ended.status == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["model"]["name"] == (file or "mine")
    assert summary["model"]["digest"] == read_classifier(refined / "model.safetensors").digest()
    assert summary["prevalence"] == 0.1
    assert {"p_lymphoblast", "p_monocyte", "set"} <= set(_rows(out / "cells.csv")[0])


def test_the_same_cells_give_the_same_model(refined: Path, cohort: Path, tmp_path: Path):
    refine_classifier(cohort / "cells", tmp_path / "again", RefinementConfig(n_folds=3))
    for name in ("cells.csv", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (refined / name).read_bytes()


def test_too_few_subjects_and_unknown_kinds_write_nothing(leukospike, cohort: Path, tmp_path: Path):
    table = cohort / "manifest.csv"
    images = sorted((cohort / "cells" / "hem").rglob("*.png"))[:8]
    words = ("hem", "blast") * 4
    lines = [
        f"{image.relative_to(cohort)},{word},{image.parent.name}" for image, word in zip(images, words, strict=True)
    ]
    table.write_text("\n".join(["path,label,subject", *lines]), encoding="utf-8")
    ended = leukospike("train", "--data", table, "--start", "shipped", "--out", tmp_path / "out")
    assert ended.status == 2
    assert "cells must be of at least 5 independent subjects, got 2. Label cells of more subjects" in ended.error
    table.write_text("\n".join(["path,label,subject", *lines]).replace("blast", "normal"), encoding="utf-8")
    ended = leukospike("train", "--data", table, "--start", "shipped", "--out", tmp_path / "out")
    table.unlink()
    assert ended.status == 2
    assert "label must be a kind of cell, got 'normal'. Name a kind: lymphoblast, normal lymphoid" in ended.error
    assert "--negative to normal lymphoid precursor" in ended.error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "option", [("--backbone", "appearance"), ("--epochs", "2"), ("--preset", "all-idb"), ("--resume",)]
)
def test_options_of_other_trainings_are_refused(leukospike, cohort: Path, tmp_path: Path, option: tuple[str, ...]):
    ended = leukospike("train", "--data", cohort / "cells", "--start", "shipped", *option, "--out", tmp_path / "out")
    assert ended.status == 2
    assert f"{option[0]} must be used without --start, got it with shipped" in ended.error
