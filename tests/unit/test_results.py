"""What a run leaves, as values: written, read again, and read as older releases wrote it."""

import json
from pathlib import Path

import numpy as np
import pytest

from leukospike.errors import RunError
from leukospike.experiments.folder import read_result
from leukospike.experiments.results import FinishedFold, JoinedSubjects, RunResult
from leukospike.learning.history import EpochRecord
from tests.unit.test_report import build_run


@pytest.mark.parametrize("subjects", [True, False])
def test_a_result_comes_back_from_json(tmp_path: Path, subjects: bool):
    run = build_run(tmp_path, protocol="paper", with_subjects=subjects)
    result = read_result(run)
    again = RunResult.from_json(json.loads(json.dumps(result.to_json())))
    assert again == result


def test_intervals_of_few_subjects_are_not_believed_in_an_old_folder(tmp_path: Path):
    run = build_run(tmp_path, n_subjects=12)
    stored = json.loads((run / "metrics.json").read_text())["pooled"]["cell"]
    result = read_result(run)
    assert stored["roc_auc"]["low"] is not None
    assert result.cell["roc_auc"].value == stored["roc_auc"]["value"]
    assert not result.cell.has_intervals
    assert result.subject is not None
    assert not result.subject.has_intervals


def test_notices_of_a_folder_are_its_sentences(tmp_path: Path):
    result = read_result(build_run(tmp_path))
    assert [(notice.code, str(notice)) for notice in result.notices] == [
        ("note", "500 components asked, 120 possible, 120 used.")
    ]


@pytest.mark.parametrize("change", [{"protocol": "fair"}, {"folds": 3}, {"notices": [3]}, {"data": {}}, {"seed": "x"}])
def test_what_no_run_has_written_is_refused(tmp_path: Path, change: dict[str, object]):
    run = build_run(tmp_path)
    metrics = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps(metrics | change))
    with pytest.raises(RunError, match=r"^read_run: metrics\.json must be as leukospike wrote it, got "):
        read_result(run)


def test_a_fold_comes_back_from_json():
    record = EpochRecord(1, 0.5, 0.8, None, None, None, 1e-3)
    fold = FinishedFold(np.array([0.1, 0.9]), (record,), (0.7, 0.2), {"train": 1.5}, 100.0)
    again = FinishedFold.from_json(json.loads(json.dumps(fold.to_json())), n_test=2)
    assert again.probabilities.tolist() == [0.1, 0.9]
    assert (again.history, again.explained_variance_ratio, again.stages) == ((record,), (0.7, 0.2), {"train": 1.5})


@pytest.mark.parametrize("probabilities", [[0.1], [0.1, float("nan")], [0.1, None], ["a", "b"]])
def test_a_fold_without_its_probabilities_is_refused(probabilities: list[object]):
    content = FinishedFold(np.zeros(2), (), None, {}, 0.0).to_json() | {"probabilities": probabilities}
    with pytest.raises((ValueError, TypeError)):
        FinishedFold.from_json(content, n_test=2)


def test_joined_subjects_are_said_in_a_few_words():
    joined = JoinedSubjects("0123456789abcdef", 5, 2)
    assert str(joined) == "5 subjects joined into 2 (digest 01234567)"
    assert JoinedSubjects.from_json(joined.to_json()) == joined


@pytest.mark.parametrize("content", [3, {"digest": "ab"}, {"digest": "ab", "subjects": 2, "into": 1, "more": 3}])
def test_what_joins_no_subjects_is_refused(content: object):
    with pytest.raises(TypeError, match="digest, subjects and into"):
        JoinedSubjects.from_json(content)
