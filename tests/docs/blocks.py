"""The code blocks of a page, and what becomes of each when the page is followed from top to bottom.

`python tests/docs/blocks.py PAGE...` follows pages and writes what the commands print today into them.
"""

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Generator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np

from leukospike.cli.call import run
from leukospike.smears import SmearConfig, generate_cohort

_BLOCK = re.compile(
    r"(?:^<!-- (?P<word>[a-z ]+): (?P<said>[^\n]+?) -->\n+)?^```(?P<language>[\w{}-]*)\n(?P<text>.*?)^```$", re.M | re.S
)
_GIVEN = re.compile(r"^<!-- given: (.+?) -->$", re.M)
# Off a terminal, progress is a line a stage; on a terminal it is a bar. Pages show neither.
_STAGE = re.compile(r"[a-z][a-z ]*?( fold \d+)? \(\d+\)")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_WIDTH = 88


@dataclass(frozen=True)
class Block:
    """One fenced block, with the comment before it: `not run: reason` or `file: name`."""

    language: str
    text: str
    word: str
    said: str
    start: int
    """Offset of its text in the page."""

    @property
    def steps(self) -> list[tuple[str, str]]:
        """Commands of a console block, each with the output that the page shows."""
        parts = re.split(r"^\$ ", self.text, flags=re.M)[1:]
        return [(command, output) for command, _, output in (part.partition("\n") for part in parts)]


def blocks(page: str) -> list[Block]:
    """Return the fenced code blocks of a page of Markdown, in order, without the site's own directives."""
    return [
        Block(found["language"], found["text"], found["word"] or "", found["said"] or "", found.start("text"))
        for found in _BLOCK.finditer(page)
        if not found["language"].startswith("{")
    ]


def given(page: str) -> set[str]:
    """Return the names of the folders that a page takes for granted."""
    return {name for names in _GIVEN.findall(page) for name in names.split()}


def make_given(folder: Path) -> None:
    """Draw what pages take for granted: labelled cells of ten subjects, and two patients with a field each."""
    drawn = folder / "drawn"
    generate_cohort(SmearConfig(n_subjects=10, cells_per_subject=6, fields_per_subject=1), drawn)
    (drawn / "cells").rename(folder / "my-cells")
    fields = sorted((drawn / "fields" / "images").iterdir())
    for patient, field in zip(("patient-1", "patient-2"), fields, strict=False):
        (folder / "fields" / patient).mkdir(parents=True)
        shutil.copy(field, folder / "fields" / patient)
    shutil.rmtree(drawn)
    with chdir(folder), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        quick = ["--backbone", "appearance", "--epochs", "2"]
        assert run(["train", "--data", "my-cells", *quick, "--out", "run"]) == 0
        assert run(["reproduce", "c-nmc", "--data", "my-cells", *quick, "--folds", "2", "--out", "own"]) == 0


def call(command: str, cache: Path) -> tuple[int, str]:
    """Run one command in the current folder; return its exit status and what it prints, but for progress.

    Commands of the package run in this process. What `smears` has drawn once is copied from `cache` after that.
    """
    words = shlex.split(command, comments=True)
    if words[0] != "leukospike":
        done = subprocess.run(command, shell=True, text=True, capture_output=True, check=False)
        return done.returncode, done.stdout + done.stderr
    stored = cache / re.sub(r"\W+", "_", command)
    if words[1] == "smears" and (stored / "text").is_file():
        shutil.copytree(stored / "cohort", words[words.index("--out") + 1])
        return 0, (stored / "text").read_text(encoding="utf-8")
    printed = StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        status = run(words[1:])
    text = "".join(f"{line.rstrip()}\n" for line in printed.getvalue().splitlines() if not _STAGE.fullmatch(line))
    if words[1] == "smears" and status == 0:
        shutil.copytree(words[words.index("--out") + 1], stored / "cohort")
        (stored / "text").write_text(text, encoding="utf-8")
    return status, text


@contextmanager
def follow(page: str, folder: Path, *, materials: Path) -> Generator[None]:
    """Stand in an empty folder that holds what the page takes for granted."""
    for name in given(page):
        shutil.copytree(materials / name, folder / name)
    with chdir(folder):
        yield


def same_output(shown: str, printed: str) -> bool:
    """Compare two outputs: words exactly, wherever lines break, and numbers to two in a hundred.

    Another processor may round the last digits of a network's figures differently.
    """
    if _NUMBER.sub("#", shown).split() != _NUMBER.sub("#", printed).split():
        return False
    numbers = [np.array(_NUMBER.findall(text), dtype=float) for text in (shown, printed)]
    return bool(np.allclose(*numbers, rtol=0.02, atol=0.02))


def _wrapped(text: str) -> str:
    """Break long lines as a terminal does, but between words."""
    lines = (
        textwrap.wrap(line, _WIDTH, break_on_hyphens=False, break_long_words=False)
        if " " in line and line[0] not in "┏┃┡│└"
        else [line]
        for line in text.splitlines()
    )
    return "".join(f"{part}\n" for line in lines for part in line)


def _rewritten(page: str, folder: Path, materials: Path, cache: Path) -> str:
    """Return the page with today's output under each command that shows one."""
    pieces, end = [], 0
    with follow(page, folder, materials=materials):
        for block in blocks(page):
            if block.word == "file":
                Path(block.said).write_text(block.text, encoding="utf-8")
            if block.language != "console" or block.word == "not run":
                continue
            text = ""
            for command, shown in block.steps:
                _, printed = call(command, cache)
                text += f"$ {command}\n" + (_wrapped(printed) if shown else "")
            pieces += [page[end : block.start], text]
            end = block.start + len(block.text)
    return "".join(pieces) + page[end:]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        materials, cache = Path(name) / "materials", Path(name) / "cache"
        materials.mkdir()
        if any(given(Path(path).read_text(encoding="utf-8")) for path in sys.argv[1:]):
            make_given(materials)
        for number, path in enumerate(map(Path, sys.argv[1:])):
            folder = Path(name) / str(number)
            folder.mkdir()
            page = _rewritten(path.read_text(encoding="utf-8"), folder, materials, cache)
            path.write_text(page, encoding="utf-8")
