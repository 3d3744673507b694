"""What a run says to CLAIM 2024 and TRIPOD+AI: every item, and nothing that its files do not hold."""

import csv
import json
from pathlib import Path

import pytest

from leukospike.experiments.folder import read_run
from leukospike.report import write_report
from leukospike.report.checklists import Row, Status, answered_checklists
from tests.unit.test_report import build_run, page_of, read_rows, write_rows


def _rows(run: Path) -> tuple[dict[str, Row], dict[str, Row]]:
    """Give the rows of CLAIM and of TRIPOD+AI by number."""
    claim, tripod = ({row.number: row for row in checklist.rows} for checklist in answered_checklists(read_run(run)))
    return claim, tripod


def _change(run: Path, **changes: object) -> None:
    """Change entries of metrics.json; what is a dict is merged."""
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    for name, value in changes.items():
        metrics[name] = metrics[name] | value if isinstance(value, dict) else value
    (run / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return build_run(tmp_path / "run", n_folds=2)


def test_every_item_of_both_guidelines_is_there_once(run: Path):
    claim, tripod = answered_checklists(read_run(run))
    assert [row.number for row in claim.rows] == [str(number) for number in range(1, 45)]
    numbers = [row.number for row in tripod.rows]
    assert len(numbers) == len(set(numbers)) == 52
    assert list(dict.fromkeys(int(number.rstrip("abcdefg")) for number in numbers)) == list(range(1, 28))
    assert [number for number in numbers if number.startswith("12")] == [f"12{letter}" for letter in "abcdefg"]
    assert [number for number in numbers if number.startswith("18")] == [f"18{letter}" for letter in "abcdef"]


def test_answers_have_words_and_those_in_part_say_what_is_missing(run: Path):
    for checklist in answered_checklists(read_run(run)):
        for row in checklist.rows:
            assert row.answer or row.status is Status.NOT_RECORDED, row
            assert (row.status is Status.IN_PART) == (" Not recorded: " in row.answer), row


# What only the people behind data and study can know.
NEVER = (
    {"1", "3", "4", "5", "6", "11", "13", "15", "16", "17", "18", "30", "31", "34", "41", "44"},
    {"1", "3a", "3b", "3c", "4", "5b", "6a", "6c", "8b", "8c", "14", "17", "18a", "18b", "18c", "18d", "19", "27a"},
)


def test_what_no_file_of_a_run_holds_is_not_recorded(run: Path):
    for rows, never in zip(_rows(run), NEVER, strict=True):
        assert {number for number in never if rows[number].status is not Status.NOT_RECORDED} == set()


def test_of_photographed_cells_little_is_certain_not_to_apply(run: Path):
    claim, tripod = _rows(run)
    assert [row.number for row in claim.values() if row.status is Status.NOT_APPLICABLE] == []
    assert [row.number for row in tripod.values() if row.status is Status.NOT_APPLICABLE] == ["9c", "12f", "24"]


def test_drawn_cells_have_no_age_and_nobody_who_labelled_them(run: Path):
    _change(run, generated=True)
    claim, tripod = _rows(run)
    assert all(claim[number].status is Status.NOT_APPLICABLE for number in ("11", "16", "18", "36"))
    assert all(tripod[number].status is Status.NOT_APPLICABLE for number in ("6c", "17", "20b"))
    # Who paid for a study of drawn cells is still to be said.
    assert claim["44"].status is tripod["18a"].status is Status.NOT_RECORDED


def test_answers_follow_the_files(run: Path):
    claim, tripod = _rows(run)
    assert "n_folds 2, seed 0" in claim["19"].answer
    assert "leukospike 0.1.0" in claim["23"].answer
    assert "hidden_units 0" in claim["25"].answer
    assert "max_cells not set" in claim["10"].answer
    assert "0.762 (0.712 to 0.812)" in claim["38"].answer
    assert "resampling of 15 subjects, 1000 times, seed 0" in tripod["12e"].answer
    assert "0 images and 0 subjects are tested in several folds" in claim["20"].answer
    config = run / "config.toml"
    config.write_text(config.read_text(encoding="utf-8").replace("seed = 0", "seed = 77\nmax_cells = 99"), "utf-8")
    _change(run, data={"failed": 5, "digest": "0123456789abcdef"})
    claim, tripod = _rows(run)
    assert "seed 77" in claim["19"].answer
    assert "max_cells 99" in claim["10"].answer
    assert "5 images that could not be read" in tripod["11"].answer
    assert "0123456789ab" in tripod["5a"].answer


def test_subjects_on_both_sides_are_counted_not_believed(run: Path):
    rows = read_rows(run / "predictions.csv")
    rows[0]["fold"] = str(1 - int(rows[0]["fold"]))
    write_rows(run / "predictions.csv", list(rows[0]), [list(row.values()) for row in rows])
    assert "0 images and 1 subjects are tested in several folds" in _rows(run)[0]["20"].answer


def test_data_without_credit_or_names_are_answered_less(tmp_path: Path):
    run = build_run(tmp_path, protocol="paper", with_subjects=False, n_subjects=6, n_folds=2)
    _change(run, data={"credit": ""})
    claim, tripod = _rows(run)
    assert claim["7"].status is Status.IN_PART
    assert "subjects are unknown" in claim["35"].answer
    assert "copies of one image, and one subject, may be in several" in claim["20"].answer
    assert "an unknown number of subjects are tested in several folds" in claim["20"].answer
    assert "Augmented copies of one image are on both sides" in tripod["26"].answer


def test_what_is_not_known_is_not_claimed(tmp_path: Path):
    claim, tripod = _rows(build_run(tmp_path, n_subjects=12, n_folds=2))
    assert claim["29"].status is Status.NOT_RECORDED
    for row in (claim["37"], claim["38"], tripod["23a"]):
        assert row.status is Status.IN_PART
        assert "(interval unknown)" in row.answer
        assert "the certainty of figures without an interval" in row.answer
    full, _ = _rows(build_run(tmp_path / "more", n_subjects=15, n_folds=2))
    assert full["29"].status is full["37"].status is full["38"].status is Status.RECORDED


def test_threshold_is_said_only_if_the_counts_bear_it_out(run: Path):
    called = sum(float(row["probability"]) >= 0.5 for row in read_rows(run / "predictions.csv"))
    assert f"{called} with 0.5 or more are called leukemic" in _rows(run)[1]["15"].answer
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    metrics["pooled"]["cell"]["confusion"]["tp"] += 1
    (run / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    assert _rows(run)[1]["15"].answer.endswith("Not recorded: the threshold.")


def test_weights_are_claimed_only_where_they_lie(run: Path):
    assert "Not recorded: weights and layers." in _rows(run)[0]["22"].answer
    (run / "weights").mkdir()
    (run / "weights" / "fold_0.safetensors").touch()
    assert "weights/*.safetensors: 1" in _rows(run)[0]["22"].answer


def test_table_and_page_hold_the_same_answers_and_counts(run: Path):
    _change(run, notices=["half a character: \ud800, and, commas"])
    page = page_of(write_report(run))
    with (run / "checklist.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    checklists = answered_checklists(read_run(run))
    assert len(table) == sum(len(checklist.rows) for checklist in checklists) == 96
    for checklist in checklists:
        own = [row["status"] for row in table if row["guideline"] == checklist.name]
        assert checklist.counts == ", ".join(f"{own.count(status.value)} {status.value}" for status in Status)
        assert f"{checklist.name}: {checklist.counts}" in page.text
    for row in table:
        assert " ".join(row["answer"].split()) in page.text
    assert "half a character: \\ud800, and, commas" in page.text
