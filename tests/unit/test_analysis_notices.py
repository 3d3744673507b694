"""What a reader of an analysis is told: which notices come of which tables, and in what order."""

import numpy as np
import pandas as pd
import pytest

from leukospike.analysis.judges import Judge, Judgements, load_classifier
from leukospike.analysis.notices import analysis_notices
from leukospike.analysis.tables import Tables
from leukospike.failures import Failure
from leukospike.notices import Notice, Severity

SUBJECTS = pd.DataFrame({"subject": []})


@pytest.fixture(scope="module")
def judge() -> Judge:
    return load_classifier()


def _cells(counted: dict[str, int], *, outliers: int = 0) -> pd.DataFrame:
    subjects = [subject for subject, n in counted.items() for _ in range(n)]
    flags = [""] * len(subjects) + ["outlier"] * outliers
    subjects += ["A"] * outliers
    return pd.DataFrame({"subject": subjects, "probability": 0.9, "flags": flags})


def _images(*kinds: str) -> pd.DataFrame:
    return pd.DataFrame({"subject": "A", "kind": kinds, "flags": "", "cells": 1, "scaled_by": ""})


def _notices(
    judge: Judge,
    cells: pd.DataFrame,
    images: pd.DataFrame,
    failures: tuple[Failure, ...] = (),
    *,
    subjects: pd.DataFrame = SUBJECTS,
    **said: int,
) -> dict[str, Notice]:
    judgements = Judgements(np.full(len(cells), 0.9), np.zeros(len(cells), bool), **said)
    found = analysis_notices(Tables(cells, images, subjects), failures, judge, judgements)
    return {notice.code: notice for notice in found}


def test_subjects_of_few_counted_cells_are_named_where_all_are_decided(judge: Judge):
    notice = _notices(judge, _cells({"A": 9, "B": 10, "C": 1}), _images("cell"))["few_cells"]
    assert str(notice) == (
        "2 subjects have fewer than 10 counted cells (A, C): a single wrong call can decide their results."
    )
    assert "few_cells" not in _notices(judge, _cells({"A": 10}), _images("cell"))


def test_subjects_without_a_counted_cell_are_named_where_they_have_no_row(judge: Judge):
    cells = _cells({"A": 12, "B": 12})
    cells.loc[cells["subject"] == "B", "flags"] = "border"
    notice = _notices(judge, cells, _images("cell"))["silent_subjects"]
    assert str(notice).startswith("1 subject has no result and no row in subjects.csv (B): none of their cells counts")


def _decided(**decisions: str) -> pd.DataFrame:
    return pd.DataFrame({"subject": [*decisions], "decision": [*decisions.values()], "reason": "."})


def test_undecided_subjects_are_named_with_the_reason(judge: Judge):
    subjects = _decided(A="not enough", B="leukemic", C="not enough", D="unfamiliar", E="normal")
    notices = analysis_notices(
        Tables(_cells({"A": 3, "B": 30}), _images("cell"), subjects),
        (),
        judge,
        Judgements(np.full(33, 0.9), np.zeros(33, bool)),
    )
    undecided = [notice for notice in notices if notice.code == "undecided"]
    assert [str(notice) for notice in undecided] == [
        "1 subject is not decided (D): their cells, or those of all images, are mostly unlike the training cells. See"
        " the column reason in subjects.csv.",
        "2 subjects are not decided (A, C): their cells are too few, or leave it open. See the column reason in"
        " subjects.csv.",
    ]
    assert [notice.values["subjects"] for notice in undecided] == [1, 2]
    assert not {"few_cells", "silent_subjects"} & {notice.code for notice in notices}
    decided = _notices(judge, _cells({"B": 30}), _images("cell"), subjects=_decided(B="leukemic"))
    assert "undecided" not in decided


def test_cells_that_are_not_white_are_counted(judge: Judge):
    cells = _cells({"A": 12})
    cells.loc[:2, "flags"] = ["not_white", "border not_white", "not_white"]
    notice = _notices(judge, cells, _images("cell"))["not_white"]
    assert str(notice) == (
        "3 cells are no white cell (erythroblast, platelet, or none of the kinds): listed, but not counted."
    )
    assert "not_white" not in _notices(judge, _cells({"A": 12}), _images("cell"))


@pytest.mark.parametrize(("outliers", "code"), [(3, "outliers"), (13, "mostly_outliers")])
def test_outliers_are_counted(judge: Judge, outliers: int, code: str):
    found = _notices(judge, _cells({"A": 12}, outliers=outliers), _images("cell"))
    assert found[code].values["outliers"] == outliers
    assert len({"outliers", "mostly_outliers"} & set(found)) == 1


def test_images_taken_for_single_cells_are_counted_beside_fields(judge: Judge):
    found = _notices(judge, _cells({"A": 12}), _images("field", "field", "cell"))
    assert str(found["fields"]).startswith(
        "2 images were treated as whole fields, 1 other as a single cell. Unless `kind` is set"
    )


def test_warnings_come_first(judge: Judge):
    failures = (Failure("x.png", "damaged"),)
    found = _notices(judge, _cells({"A": 2}, outliers=1), _images("field"), failures, n_as_given=2)
    severities = [notice.severity for notice in found.values()]
    n_warnings = severities.count(Severity.WARNING)
    assert 0 < n_warnings < len(severities)
    assert set(severities[:n_warnings]) == {Severity.WARNING}
