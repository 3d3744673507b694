"""The door of research names what can be made, and refuses what cannot."""

import re
import sys

import pytest

from research.__main__ import TABLES, WEIGHTS, main


def test_help_names_every_table_and_every_command_that_makes_weights(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["research", "--help"])
    with pytest.raises(SystemExit):
        main()
    shown = capsys.readouterr().out
    for name in TABLES:
        assert re.search(rf"^  {name} +\S", shown, re.MULTILINE), name
    for module in WEIGHTS:
        assert f"`python -m {module}" in shown


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["scales", "--method", "otsu"], "--method is for segmentation and classification"),
        (["segmentation", "--method", "otsu"], "unknown method otsu; choose from otsu-saturation"),
        (["speed"], "invalid choice"),
    ],
)
def test_what_cannot_be_made_is_refused(arguments, reason, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["research", *arguments])
    with pytest.raises(SystemExit):
        main()
    assert reason in capsys.readouterr().err
