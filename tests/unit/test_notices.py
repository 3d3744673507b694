"""Notices survive JSON, and old ones are read."""

import json

import pytest

from leukospike.notices import Notice, Severity


def test_a_notice_comes_back_from_json():
    notice = Notice("few", "`max_cells` took 3 of 4.", Severity.WARNING, {"taken": 3, "share": 0.75, "what": "cells"})
    assert Notice.from_json(json.loads(json.dumps(notice.to_json()))) == notice


def test_a_sentence_of_an_old_folder_is_a_note():
    assert Notice.from_json("Look.") == Notice("note", "Look.", Severity.INFO)


@pytest.mark.parametrize(
    "content",
    [
        None,
        3,
        {"code": "a", "text": "b", "severity": "info"},
        {"code": "a", "text": "b", "severity": "dire", "values": {}},
        {"code": "a", "text": "b", "severity": "info", "values": {"c": [1]}},
    ],
)
def test_what_is_no_notice_is_refused(content: object):
    with pytest.raises(ValueError, match=r"notice must have|not a valid Severity"):
        Notice.from_json(content)
