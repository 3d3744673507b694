"""Two runs compared: the right cells paired, the figures those of the files, and all said that is to be minded."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leukospike.comparison import compare_runs, comparison_tables, write_comparison
from leukospike.comparison.pairs import pair_runs
from leukospike.errors import RunError
from leukospike.evaluation.estimates import METRICS
from leukospike.evaluation.metrics import per_subject, point_metrics
from leukospike.evaluation.paired import delong_test
from tests.unit.test_report import HOSTILE, build_run, page_of, read_rows, write_rows

Rows = list[dict[str, str]]


def _rewrite(run: Path, change: Callable[[Rows], Rows]) -> None:
    """Change the predictions of a run."""
    rows = change(read_rows(run / "predictions.csv"))
    write_rows(run / "predictions.csv", list(rows[0]), [list(row.values()) for row in rows])


def _noisy(seed: int) -> Callable[[Rows], Rows]:
    """Give the change that moves every probability towards the label, and a little anywhere."""
    rng = np.random.default_rng(seed)

    def change(rows: Rows) -> Rows:
        moved = []
        for row in rows:
            probability = 0.75 * float(row["probability"]) + 0.15 * int(row["label"]) + 0.1 * rng.random()
            moved.append(row | {"probability": str(probability)})
        return moved

    return change


def _change_metrics(run: Path, **changes: Any) -> None:
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    for name, value in changes.items():
        metrics[name] = metrics[name] | value if isinstance(value, dict) else value
    (run / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """Give two runs on the same cells in the same folds; the second is better."""
    first = build_run(tmp_path / "older", n_subjects=15, n_folds=3)
    _change_metrics(first, data={"digest": "0123abcd"})
    second = tmp_path / "newer"
    shutil.copytree(first, second)
    _rewrite(second, _noisy(1))
    return first, second


def _arrays(run: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = sorted(read_rows(run / "predictions.csv"), key=lambda row: row["image"])
    return (
        np.array([int(row["label"]) for row in rows]),
        np.array([float(row["probability"]) for row in rows]),
        np.array([row["subject"] for row in rows]),
    )


# ------------------------------------------------------------------------------------------------------------- pairing


def test_cells_are_paired_by_name_whatever_their_order(runs: tuple[Path, Path]):
    first, second = runs
    _rewrite(second, lambda rows: rows[::-1])
    pairs = pair_runs(first, second)
    assert (pairs.alone, pairs.copies, pairs.renamed, pairs.same_folds) == ((0, 0), (0, 0), 0, True)
    by_image = [{row["image"]: float(row["probability"]) for row in read_rows(run / "predictions.csv")} for run in runs]
    for image, one, other in zip(pairs.images.tolist(), *pairs.probabilities, strict=True):
        assert (one, other) == (by_image[0][image], by_image[1][image])


def test_cells_of_one_run_only_are_counted_and_left_out(runs: tuple[Path, Path]):
    first, second = runs
    n = len(read_rows(first / "predictions.csv"))
    _rewrite(first, lambda rows: rows[7:])
    _rewrite(second, lambda rows: rows[:-4])
    comparison = compare_runs(first, second)
    assert comparison.pairs.alone == (4, 7)
    assert len(comparison.cell.labels) == n - 11
    assert any("4 only by A, 7 only by B" in str(warning) for warning in comparison.warnings)


def test_runs_without_a_common_cell_are_refused(runs: tuple[Path, Path]):
    first, second = runs
    _rewrite(second, lambda rows: [row | {"image": f"other/{row['image']}"} for row in rows])
    with pytest.raises(
        RunError, match=r"^compare_runs: runs must have tested cells of the same names, got none in common between"
    ):
        compare_runs(first, second)


def test_labels_that_differ_are_refused_and_one_is_named(runs: tuple[Path, Path]):
    first, second = runs
    changed = read_rows(second / "predictions.csv")[5]
    other = str(1 - int(changed["label"]))
    _rewrite(second, lambda rows: [row | {"label": other} if row["image"] == changed["image"] else row for row in rows])
    with pytest.raises(RunError, match=rf"got two for 1 of \d+ cells \(first {re.escape(changed['image'])}\)\."):
        compare_runs(first, second)


def test_image_that_is_predicted_twice_is_refused(runs: tuple[Path, Path]):
    first, second = runs
    _rewrite(second, lambda rows: [*rows, rows[0]])
    with pytest.raises(RunError, match=r"^compare_runs: predictions\.csv must list each image once, got .* 2 times"):
        compare_runs(first, second)


@pytest.mark.parametrize(("column", "value"), [("probability", ""), ("probability", "1.5"), ("label", "2")])
def test_what_is_no_prediction_is_refused(runs: tuple[Path, Path], column: str, value: str):
    first, second = runs
    _rewrite(second, lambda rows: [rows[0] | {column: value}, *rows[1:]])
    with pytest.raises(RunError, match=r"^compare_runs: predictions\.csv must give each image a label, 0 or 1, and"):
        compare_runs(first, second)


@pytest.mark.parametrize("fold", ["", "-1", "0.5", "9", "inf"])
def test_what_is_no_fold_is_refused(runs: tuple[Path, Path], fold: str):
    _rewrite(runs[1], lambda rows: [rows[0] | {"fold": fold}, *rows[1:]])
    with pytest.raises(RunError, match=r"^compare_runs: predictions\.csv must name a fold of the run, 0 to \d, got "):
        compare_runs(*runs)


def test_unfinished_run_is_refused_by_this_command(runs: tuple[Path, Path]):
    (runs[1] / "metrics.json").unlink()
    with pytest.raises(RunError, match=r"^read_run: folder must hold metrics\.json, got .*newer without it\. Finish"):
        compare_runs(*runs)


def test_augmented_copies_are_left_out_and_told(runs: tuple[Path, Path], tmp_path: Path):
    paper = build_run(tmp_path / "paper", protocol="paper", n_subjects=15, n_folds=3)
    # Its names are of another run's cells: give every three rows the name of one image, and make them its copies.
    rows = read_rows(paper / "predictions.csv")
    labels = {row["image"]: row["label"] for row in read_rows(runs[0] / "predictions.csv")}
    names = list(labels)
    kept = [
        row | {"image": names[number // 3], "label": labels[names[number // 3]], "copy": str(number % 3)}
        for number, row in enumerate(rows[: 3 * len(names)])
    ]
    write_rows(paper / "predictions.csv", list(kept[0]), [list(row.values()) for row in kept])
    comparison = compare_runs(runs[0], paper)
    originals = [row for row in kept if row["copy"] == "0"]
    assert comparison.pairs.copies == (0, len(kept) - len(originals))
    by_image = {row["image"]: float(row["probability"]) for row in originals}
    assert comparison.pairs.probabilities[1].tolist() == [by_image[image] for image in comparison.pairs.images.tolist()]
    assert any(str(warning).startswith("Augmented copies are left out") for warning in comparison.warnings)
    assert any("A is “honest”, B “paper”" in str(warning) for warning in comparison.warnings)


def test_folds_of_other_numbers_are_the_same_folds(runs: tuple[Path, Path]):
    first, second = runs
    _rewrite(second, lambda rows: [row | {"fold": str((int(row["fold"]) + 1) % 3)} for row in rows])
    assert pair_runs(first, second).same_folds
    _rewrite(second, lambda rows: [rows[0] | {"fold": str((int(rows[0]["fold"]) + 1) % 3)}, *rows[1:]])
    assert not pair_runs(first, second).same_folds
    assert any(str(warning).startswith("The folds differ") for warning in compare_runs(first, second).warnings)


def test_subjects_that_the_other_run_takes_for_one_are_drawn_as_one(runs: tuple[Path, Path]):
    first, second = runs
    _rewrite(
        second,
        lambda rows: [row | {"subject": "both"} if row["subject"] in {"UID_01", "UID_02"} else row for row in rows],
    )
    pairs = pair_runs(first, second)
    subjects = _arrays(first)[2]
    assert pairs.renamed == int(np.isin(subjects, ["UID_01", "UID_02"]).sum())
    assert set(pairs.groups.tolist()) == (set(subjects.tolist()) - {"UID_01", "UID_02"}) | {"UID_01, UID_02, both"}


def test_subjects_that_only_one_run_knows_serve_both(runs: tuple[Path, Path]):
    first, second = runs
    _rewrite(first, lambda rows: [row | {"subject": ""} for row in rows])
    pairs = pair_runs(first, second)
    assert pairs.has_subjects
    assert pairs.groups.tolist() == _arrays(second)[2].tolist()


def test_without_subjects_images_are_drawn_and_that_is_said(runs: tuple[Path, Path]):
    for run in runs:
        _rewrite(run, lambda rows: [row | {"subject": ""} for row in rows])
    comparison = compare_runs(*runs)
    assert comparison.subject is None
    assert f"{len(comparison.cell.labels)} images" in comparison.interval
    assert any("Neither run knows the subjects of the cells" in str(warning) for warning in comparison.warnings)


# ------------------------------------------------------------------------------------------------------------- figures


def test_figures_are_those_of_the_files(runs: tuple[Path, Path]):
    (labels, first, subjects), (_, second, _) = map(_arrays, runs)
    comparison = compare_runs(*runs)
    by_subject = [per_subject(labels, given, subjects)[:2] for given in (first, second)]
    for level, truth, given in (
        (comparison.cell, labels, (first, second)),
        (comparison.subject, by_subject[0][0], (by_subject[0][1], by_subject[1][1])),
    ):
        assert level is not None
        ours, theirs = (point_metrics(truth, probabilities) for probabilities in given)
        for name in METRICS:
            assert level.metrics[0][name].value == pytest.approx(ours[name])
            assert level.metrics[1][name].value == pytest.approx(theirs[name])
            difference = level.differences[name]
            assert difference.value == pytest.approx(theirs[name] - ours[name])
            if difference.is_known:
                assert difference.low <= difference.value <= difference.high
        expected = delong_test(truth, given[1], given[0])
        assert (level.delong.areas, level.delong.p) == (expected.areas, expected.p)
        right, other_right = ((probabilities >= 0.5) == (truth == 1) for probabilities in given)
        assert level.mcnemar.only_second == int(np.sum(right & ~other_right))
        assert level.mcnemar.only_first == int(np.sum(~right & other_right))
    assert comparison.cell.differences["roc_auc"].value > 0
    assert all(comparison.cell.differences[name].is_known for name in METRICS)


def test_a_run_compared_with_itself_differs_in_nothing(runs: tuple[Path, Path]):
    comparison = compare_runs(runs[0], runs[0])
    for level in comparison.levels:
        assert {difference.value for difference in level.differences.values()} == {0}
        assert (level.delong.p, level.mcnemar.p) == (1, 1)
    assert comparison.settings == {}
    assert [warning.code for warning in comparison.warnings if warning.code != "few_subjects"] == []


@pytest.mark.parametrize(
    ("digest", "words"),
    [("other", "The data differ: the pixel digests"), ("", "It is unknown whether both runs used the same data")],
)
def test_other_or_unknown_data_are_told(runs: tuple[Path, Path], digest: str, words: str):
    _change_metrics(runs[1], data={"digest": digest})
    assert any(str(warning).startswith(words) for warning in compare_runs(*runs).warnings)


def test_groups_of_one_run_are_told(runs: tuple[Path, Path]):
    config = runs[1] / "config.toml"
    config.write_text(config.read_text() + '\n[groups]\ndigest = "ab"\nsubjects = 2\ninto = 1\n')
    comparison = compare_runs(*runs)
    assert any("joined by an audit's `groups` only in B" in str(warning) for warning in comparison.warnings)
    assert comparison.settings["groups.subjects"] == (None, 2)


def test_few_subjects_of_a_class_are_told(runs: tuple[Path, Path]):
    assert any("One class has only 5 subjects" in str(warning) for warning in compare_runs(*runs).warnings)


# --------------------------------------------------------------------------------------------------------------- files


def test_files_hold_the_comparison(runs: tuple[Path, Path], tmp_path: Path):
    comparison = compare_runs(*runs)
    out = tmp_path / "out"
    out.mkdir()
    page = page_of(write_comparison(comparison, out))
    assert {path.name for path in out.iterdir()} == {"comparison.json", "disagreements.csv", "report.html"}

    found = json.loads((out / "comparison.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert found["paired"] == len(comparison.cell.labels)
    assert found["warnings"] == [str(warning) for warning in comparison.warnings]
    assert (found["runs"]["A"]["name"], found["runs"]["B"]["name"]) == ("older", "newer")
    area = found["cell"]["difference"]["roc_auc"]
    ours, theirs = (found["cell"][run]["roc_auc"]["value"] for run in "AB")
    assert area["value"] == pytest.approx(theirs - ours)
    assert "independent" in found["cell"]["delong"]["note"]

    with (out / "disagreements.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == found["paired"]
    gaps = [abs(float(row["difference"])) for row in table]
    assert gaps == sorted(gaps, reverse=True)
    for row in table:
        right = [(float(row[f"probability_{run}"]) >= 0.5) == (row["label"] == "1") for run in "ab"]
        assert row["right"] == {(1, 1): "both", (1, 0): "A", (0, 1): "B", (0, 0): "neither"}[tuple(map(int, right))]

    assert page.anchors >= {"short", "mind", "measures", "tests", "curves", "disagreements", "runs"}
    assert {"differences", "roc", "agreement"} <= page.anchors
    assert len(page.images) == len(page.captions) == 3
    assert {target.removeprefix("#") for target in page.targets} <= page.anchors
    difference = f"{area['value']:+.3f} ({area['low']:+.3f} to {area['high']:+.3f})"
    # The interval from drawing subjects stands before DeLong's test, which says what it takes for granted.
    assert page.text.index(difference) < page.text.index("DeLong's test: p") < page.text.index("treats cells as indep")
    assert table[0]["image"] in page.text
    assert all(str(warning) in page.text for warning in comparison.warnings)
    assert not re.search(r"https?://|file:|url\(|@import|<script", page.html)


def test_same_runs_same_files(runs: tuple[Path, Path], tmp_path: Path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_comparison(compare_runs(*runs), tmp_path / name)
    for name in ("comparison.json", "disagreements.csv", "report.html"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_hostile_names_stay_text_and_drawn_cells_are_called_so(tmp_path: Path):
    first = build_run(tmp_path / "a", generated=True, subject_prefix=f"{HOSTILE}\u8840", n_folds=2, n_subjects=6)
    second = tmp_path / "$x_$<b>"
    shutil.copytree(first, second)
    _rewrite(second, _noisy(2))
    out = tmp_path / "out"
    out.mkdir()
    page = page_of(write_comparison(compare_runs(first, second), out))
    assert "<script" not in page.html
    assert "<b>" not in page.html
    assert HOSTILE in page.text
    assert "These cells are drawn by a program." in page.text


def test_one_class_has_no_area_and_the_rest_is_there(runs: tuple[Path, Path], tmp_path: Path):
    for run in runs:
        _rewrite(run, lambda rows: [row for row in rows if row["label"] == "1"])
    comparison = compare_runs(*runs)
    out = tmp_path / "out"
    out.mkdir()
    page = page_of(write_comparison(comparison, out))
    json.loads((out / "comparison.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert "roc" not in page.anchors
    assert "There are no ROC curves" in page.text
    assert "the ROC AUC cannot be computed" in page.text
    rows = {row[0]: row for row in comparison_tables(comparison)[0].rows}
    assert rows["ROC AUC"][1:] == ("\N{EN DASH}",) * 3
    assert rows["Sensitivity"][3].startswith(("+", "-"))


def test_printed_tables_are_short_and_name_the_runs(runs: tuple[Path, Path]):
    tables = comparison_tables(compare_runs(*runs))
    assert [table.title.partition(":")[0] for table in tables] == ["By cell", "By subject", "Tests"]
    assert tables[0].header[1:3] == ("A: older", "B: newer")
    assert [row[:2] for row in tables[2].rows] == [
        ("DeLong, ROC AUC", "cell"),
        ("McNemar, calls", "cell"),
        ("DeLong, ROC AUC", "subject"),
        ("McNemar, calls", "subject"),
    ]


def test_a_difference_without_width_has_no_interval(runs: tuple[Path, Path]):
    assert "+0.000 (interval unknown)" in str(comparison_tables(compare_runs(runs[0], runs[0])))


@pytest.fixture
def few(tmp_path: Path) -> tuple[Path, Path]:
    """Return two runs on four normal subjects and eight leukemic ones; the second is better."""
    first = build_run(tmp_path / "older", n_subjects=12, n_folds=3)
    second = tmp_path / "newer"
    shutil.copytree(first, second)
    _rewrite(second, _noisy(1))
    return first, second


def test_nothing_is_known_from_four_subjects_of_a_class(few: tuple[Path, Path]):
    comparison = compare_runs(*few)
    for level in comparison.levels:
        assert level.differences["roc_auc"].value is not None
        assert not any(difference.is_known for difference in level.differences.values())
        assert not any(run.has_intervals for run in level.metrics)
        assert (level.delong_difference.is_known, level.delong_p, level.mcnemar_p) == (False, None, None)
    assert comparison.interval == "unknown, because fewer than 5 subjects of a class were tested"
    assert [notice.values["fewest"] for notice in comparison.warnings if notice.code == "too_few_subjects"] == [4]


def test_neither_run_is_called_better_from_four_subjects_of_a_class(few: tuple[Path, Path], tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    comparison = compare_runs(*few)
    page = page_of(write_comparison(comparison, out))
    assert "too few to tell which run is better" in page.text
    for claim in ("ranks", "DeLong's test: p", "interval excludes 0:", "includes 0"):
        assert claim not in page.text
    found = json.loads((out / "comparison.json").read_text())
    for unit in ("cell", "subject"):
        assert found[unit]["delong"]["p"] is found[unit]["delong"]["low"] is found[unit]["mcnemar"]["p"] is None
        assert found[unit]["difference"]["roc_auc"]["low"] is None
    assert [row[3] for row in comparison_tables(comparison)[-1].rows] == ["unknown"] * 4


def test_images_count_where_there_are_no_subjects(few: tuple[Path, Path]):
    for run in few:
        _rewrite(run, lambda rows: [row | {"subject": ""} for row in rows])
    assert compare_runs(*few).cell.suffices
