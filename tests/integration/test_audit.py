"""`leukospike audit` from end to end, on a generated cohort with planted leaks."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from leukospike.auditing import Findings, audit, examine, grouped_dataset, read_material
from leukospike.datasets import read_dataset
from leukospike.errors import DataError
from leukospike.images import read_image
from leukospike.smears import SmearConfig, generate_cohort
from tests.integration.conftest import Command


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give 4 subjects of 6 cells, as class/subject folders, with three planted copies."""
    made = tmp_path_factory.mktemp("audit") / "made"
    generate_cohort(SmearConfig(n_subjects=4, cells_per_subject=6, fields_per_subject=0), made)
    cells = made.parent / "cells"
    shutil.move(made / "cells", cells)
    first = cells / "all" / "GL01"
    with Image.open(first / "GL01_001.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    # The same pixels in another format, under another name; a mirrored JPEG under another subject; a crop.
    Image.fromarray(pixels).save(first / "again.webp", lossless=True)
    Image.fromarray(pixels[:, ::-1]).save(cells / "all" / "GL03" / "mirrored.jpg", quality=60)
    with Image.open(cells / "hem" / "GH02" / "GH02_002.png") as image:
        Image.fromarray(np.asarray(image.convert("RGB"))[30:270, 40:280]).save(cells / "hem" / "GH02" / "crop.png")
    return cells


PLANTED = {
    frozenset({"all/GL01/GL01_001.png", "all/GL01/again.webp"}): "identical",
    frozenset({"all/GL01/GL01_001.png", "all/GL03/mirrored.jpg"}): "copy",
    frozenset({"hem/GH02/GH02_002.png", "hem/GH02/crop.png"}): None,  # all of the cell may be in the crop: copy or crop
}


def test_planted_leaks_are_found_and_nothing_else(cohort: Path, leukospike: Command, tmp_path: Path) -> None:
    ended = leukospike("audit", cohort, "--out", tmp_path / "audit")
    assert ended.status == 0, ended.error
    found = json.loads((tmp_path / "audit" / "audit.json").read_text())
    kinds = {frozenset(pair["images"]): pair["kind"] for pair in found["pairs"]}
    kinds.pop(frozenset({"all/GL01/again.webp", "all/GL03/mirrored.jpg"}), None)  # copies of one picture
    assert set(kinds) == set(PLANTED)
    assert all(kind in (None, kinds[images]) for images, kind in PLANTED.items())
    assert found["overlapping_subjects"][0]["subjects"] == ["GL01", "GL03"]
    assert found["keep_together"] == [["GL01", "GL03"]]
    assert found["sides"] is None
    assert found["leaks"] is None
    assert "GL01 and GL03" in ended.out
    with (tmp_path / "audit" / "groups.csv").open() as file:
        groups = {row["subject"]: row["group"] for row in csv.DictReader(file)}
    assert groups["GL01"] == groups["GL03"]
    assert len(set(groups.values())) == 3


def test_the_page_needs_nothing_but_itself_and_shows_the_pairs(
    cohort: Path, leukospike: Command, tmp_path: Path
) -> None:
    leukospike("audit", cohort, "--out", tmp_path / "audit")
    page = (tmp_path / "audit" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert 'src="http' not in page
    assert "mirrored.jpg" in page
    assert page.count("data:image/jpeg;base64,") >= 4
    assert "drawn by a program" in page


def test_a_split_that_tears_copies_and_subjects_apart(cohort: Path, leukospike: Command, tmp_path: Path) -> None:
    lines = ["image,split"]
    for record in read_dataset(cohort).records:
        test = record.subject in {"GL03", "GH04"} or record.image.endswith("GH02_006.png")
        lines.append(f"{record.image},{'test' if test else 'train'}")
    table = tmp_path / "split.csv"
    table.write_text("\n".join(lines) + "\n")
    ended = leukospike("audit", cohort, "--split", table, "--out", tmp_path / "audit")
    assert ended.status == 0, ended.error
    sides = json.loads((tmp_path / "audit" / "audit.json").read_text())["sides"]
    assert sides["name"] == "split.csv"
    assert list(sides["subjects_on_several"]) == ["GH02"]
    assert {frozenset(pair) for pair in sides["pairs_across"]} >= {
        frozenset({"all/GL01/GL01_001.png", "all/GL03/mirrored.jpg"})
    }
    assert sides["images_with_a_copy_on_another"] == {"test": 1, "train": 2}


def test_a_line_that_names_no_image_ends_with_1(cohort: Path, leukospike: Command, tmp_path: Path) -> None:
    table = tmp_path / "split.csv"
    table.write_text("image,fold\nGL01_001.png,0\nmirrored.jpg,1\nnone.png,1\n")
    ended = leukospike("audit", cohort, "--split", table, "--out", tmp_path / "audit")
    assert ended.status == 1
    assert ended.reason.startswith(
        "leukospike: --split: each line must name one image in DATA, got 1 of 3 lines that do not."
    )
    assert "none.png" in (tmp_path / "audit" / "failures.csv").read_text()


def test_unreadable_files_end_with_1_and_are_named(cohort: Path, leukospike: Command, tmp_path: Path) -> None:
    data = shutil.copytree(cohort, tmp_path / "cells")
    (data / "all" / "GL01" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    shutil.copy(data / "all" / "GL03" / "GL03_002.png", data / "hem" / "GH02" / "copy.png")
    ended = leukospike("audit", data, "--out", tmp_path / "audit")
    assert ended.status == 1
    assert "1 of 29 files could not be read" in ended.reason
    assert "Pairs with different labels: 1" in ended.out
    assert re.search(r"all/GL03/GL03_002.png +│ hem/GH02/copy.png", ended.out)
    assert "broken.png" in (tmp_path / "audit" / "failures.csv").read_text()


def test_folder_of_patients_has_the_subjects_that_data_check_has(
    cohort: Path, leukospike: Command, tmp_path: Path
) -> None:
    data = tmp_path / "some"
    for name in ("P1", "P2"):
        (data / name).mkdir(parents=True)
        shutil.copy(cohort / "all" / "GL01" / "GL01_001.png", data / name / f"{name}.png")
    ended = leukospike("audit", data, "--out", tmp_path / "audit")
    assert ended.status == 0, ended.error
    found = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert [pair["kind"] for pair in found["pairs"]] == ["identical"]
    assert found["data"]["subjects"] == 2
    assert found["keep_together"] == [["P1", "P2"]]
    assert found["sides"] is None
    assert re.search(r"subjects +│ 2 ", leukospike("data", "check", data).out)


def test_folders_of_parts_are_sides(cohort: Path, leukospike: Command, tmp_path: Path) -> None:
    data = tmp_path / "some"
    for name in ("test", "train"):
        (data / name).mkdir(parents=True)
        shutil.copy(cohort / "all" / "GL01" / "GL01_001.png", data / name / f"{name}.png")
    ended = leukospike("audit", data, "--out", tmp_path / "audit")
    assert ended.status == 0, ended.error
    found = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert [pair["kind"] for pair in found["pairs"]] == ["identical"]
    assert found["data"]["subjects"] is None
    assert found["sides"]["pairs_across"] == [["test/test.png", "train/train.png"]]


def test_classes_of_other_names_are_mapped(cohort: Path, leukospike: Command, tmp_path: Path) -> None:
    data = shutil.copytree(cohort, tmp_path / "cells")
    (data / "all").rename(data / "krank")
    (data / "hem").rename(data / "gesund")
    plain = leukospike("audit", data, "--out", tmp_path / "plain")
    assert (plain.status, json.loads((tmp_path / "plain" / "audit.json").read_text())["data"]["subjects"]) == (0, 2)
    assert "The folders gesund, krank are treated as subjects, not as classes." in plain.error
    names = ("--positive", "krank", "--negative", "gesund")
    assert leukospike("audit", data, *names, "--out", tmp_path / "mapped").status == 0
    assert json.loads((tmp_path / "mapped" / "audit.json").read_text())["data"]["subjects"] == 4
    assert "krank" in leukospike("data", "check", data, *names).out
    misspelled = leukospike("audit", data, "--positive", "krnk", "--out", tmp_path / "no")
    assert misspelled.status == 2
    assert "got 'krnk'" in misspelled.reason


def test_findings_are_tables_and_come_back_from_their_folder(cohort: Path, tmp_path: Path) -> None:
    lines = ["image,split,label"]
    for record in read_dataset(cohort).records:
        lines.append(f"{record.image},{'test' if record.subject == 'GL03' else 'train'},hem")
    (tmp_path / "split.csv").write_text("\n".join(lines) + "\n")
    findings = audit(cohort, split=tmp_path / "split.csv")
    assert set(findings.pairs["what"]) <= {"identical", "copy", "crop"}
    assert findings.subjects.set_index("subject")["overlaps"].to_dict() == {
        "GH02": "",
        "GH04": "",
        "GL01": "GL03",
        "GL03": "GL01",
    }
    assert findings.save(tmp_path / "audit") == tmp_path / "audit" / "report.html"
    loaded = Findings.load(tmp_path / "audit")
    for name in ("pairs", "groups", "subjects"):
        pd.testing.assert_frame_equal(getattr(loaded, name), getattr(findings, name))
    assert loaded.to_json() == findings.to_json()
    content = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert content == json.loads(json.dumps(findings.to_json())) | {
        "leaks": None,
        "environment": content["environment"],
    }
    page = findings.report(tmp_path / "page.html")
    assert page.read_text(encoding="utf-8") == (tmp_path / "audit" / "report.html").read_text(encoding="utf-8")


def test_findings_of_one_file_alone_have_the_images_of_its_pairs(cohort: Path) -> None:
    findings = audit(str(cohort))
    loaded = Findings.from_json(findings.to_json())
    assert loaded.to_json() == findings.to_json()
    assert set(loaded.groups["image"]) == set(findings.pairs["image"]) | set(findings.pairs["other_image"])


@pytest.mark.parametrize("content", [{}, {"data": {}}, {"data": None, "pairs": 3}])
def test_what_are_no_findings_is_refused(content: dict[str, object]) -> None:
    with pytest.raises(DataError, match=r"findings must be those of an audit, got other content .* audit\.json"):
        Findings.from_json(content)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "must hold the audit.json"),
        ({"audit.json": "{"}, "must hold the audit.json"),
        ({"audit.json": "{}"}, "groups.csv must be a readable CSV table"),
        ({"audit.json": "{}", "groups.csv": "image,subject,group\na,b,c\n"}, "must number its groups"),
        ({"audit.json": "{}", "groups.csv": "image,subject,group\na,b,1\n"}, "must be those of an audit"),
    ],
)
def test_folder_without_an_audit_is_refused(files: dict[str, str], message: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        Findings.load(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--epochs", "2"], "training settings must be used with"),
        (["--run", "--split", "x.csv"], "must be used without"),
        (["--run", "--resume"], "must be used with the folder of an audit"),
        (["--split", "none.csv"], "must be a readable CSV table"),
    ],
)
def test_wrong_usage_ends_with_2(
    arguments: list[str], reason: str, cohort: Path, leukospike: Command, tmp_path: Path
) -> None:
    ended = leukospike("audit", cohort, "--out", tmp_path / "audit", *arguments)
    assert ended.status == 2
    assert reason in ended.reason
    assert not (tmp_path / "audit").exists()


def test_subjects_that_overlap_are_one_for_a_split(cohort: Path) -> None:
    findings = examine(read_material(cohort))
    dataset = grouped_dataset(read_dataset(cohort), findings)
    assert {record.subject for record in dataset.records} == {"GL01+GL03", "GH02", "GH04"}


def test_run_measures_each_leak_and_can_be_resumed(
    discs: Path, cohort: Path, settings: Path, leukospike: Command, tmp_path: Path
) -> None:
    out = tmp_path / "audit"
    arguments = ["audit", discs, "--run", "--folds", 2, "--config", settings, "--out", out]
    ended = leukospike(*arguments)
    assert ended.status == 0, ended.error
    first = json.loads((out / "audit.json").read_text())["leaks"]
    assert [arm["protocol"] for arm in first["protocols"]] == ["paper", "image", "honest"]
    assert [(step["from"], step["to"]) for step in first["worth"]] == [
        ("paper", "image"),
        ("image", "honest"),
        ("paper", "honest"),
    ]
    gains = [step["accuracy"][0] for step in first["worth"]]
    assert gains[0] + gains[1] == pytest.approx(gains[2])
    arms = {arm["protocol"]: arm["accuracy"][0] for arm in first["protocols"]}
    assert gains[2] == pytest.approx(arms["paper"] - arms["honest"])
    assert "What the leaks add" in (out / "report.html").read_text(encoding="utf-8")
    # Of other data, it would be written over.
    ended = leukospike("audit", cohort, *arguments[2:], "--resume")
    assert ended.status == 2
    assert "must be used with the data of the audit" in ended.reason
    assert json.loads((out / "audit.json").read_text())["leaks"] == first
    # As if it had been interrupted before the last protocol.
    shutil.rmtree(out / "runs" / "honest")
    assert leukospike(*arguments, "--resume").status == 0
    assert json.loads((out / "audit.json").read_text())["leaks"] == first


def test_split_by_image_fits_on_the_training_part_and_tests_every_image_once(
    discs: Path, settings: Path, leukospike: Command, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    ended = leukospike(
        "reproduce", "c-nmc", "--data", discs, "--protocol", "image", "--folds", 2, "--config", settings, "--out", run
    )
    assert ended.status == 0, ended.error
    with (run / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["image"] for row in rows) == sorted(record.image for record in read_dataset(discs).records)
    folds_of = {row["subject"]: set() for row in rows}
    for row in rows:
        folds_of[row["subject"]].add(row["fold"])
    assert any(len(folds) > 1 for folds in folds_of.values())
    assert "Cells of one subject are on both sides of the split." in (run / "metrics.json").read_text()


def test_all_idb_crops_are_located_in_their_fields(tmp_path: Path, leukospike: Command) -> None:
    made = generate_cohort(SmearConfig(n_subjects=2, cells_per_subject=1, fields_per_subject=2), tmp_path / "made")
    fields = sorted((made / "fields" / "images").glob("*.png"))
    with (made / "fields" / "boxes.csv").open() as file:
        boxes = [row for row in csv.DictReader(file) if row["label"] == "WBC"]
    data = tmp_path / "data"
    (data / "ALL_IDB1" / "im").mkdir(parents=True)
    (data / "ALL_IDB2" / "img").mkdir(parents=True)
    for number, path in enumerate(fields, start=1):
        pixels = read_image(path).pixels
        label = int("GL" in path.name)
        Image.fromarray(pixels).save(data / "ALL_IDB1" / "im" / f"Im{number:03d}_{label}.jpg", quality=95)
        box = next(box for box in boxes if box["image"] == path.stem)
        top, left = max(0, int(box["ymin"]) - 12), max(0, int(box["xmin"]) - 12)
        crop = pixels[top : int(box["ymax"]) + 12, left : int(box["xmax"]) + 12]
        Image.fromarray(crop).save(data / "ALL_IDB2" / "img" / f"Im{number:03d}_{label}.tif")
    ended = leukospike("audit", data, "--out", tmp_path / "audit")
    assert ended.status == 0, ended.error
    found = json.loads((tmp_path / "audit" / "audit.json").read_text())
    pairs = {tuple(name.split("/")[-1][:5] for name in pair["images"]) for pair in found["pairs"]}
    assert pairs == {(f"Im{number:03d}",) * 2 for number in range(1, 5)}
    page = (tmp_path / "audit" / "report.html").read_text(encoding="utf-8")
    assert "Located in an image of ALL-IDB1: 4 of 4 crops of ALL-IDB2." in page


@pytest.mark.data
@pytest.mark.slow
def test_cnmc_pairs_no_two_subjects_but_those_who_overlap(real_data: Path) -> None:
    findings = examine(read_material(real_data / "c-nmc"))
    kinds = [pair.kind.value for pair in findings.matches.pairs]
    assert kinds.count("identical") == 12
    overlaps = {overlap.subjects: overlap.n_identical for overlap in findings.subject_overlaps}
    # Looked at one by one: the five pairs of subjects share dozens of cells each, not a look-alike or two.
    assert set(overlaps) == {("51", "78"), ("51", "75"), ("H10", "H3"), ("H14", "H24"), ("43", "44")}
    assert sum(overlaps.values()) == 7
    assert all(pair.view == 0 for pair in findings.matches.pairs)
    assert not findings.label_conflicts
