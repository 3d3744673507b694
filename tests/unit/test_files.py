"""Whole or absent: what happens to a file when its writing fails."""

import os
import stat
import subprocess
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from leukospike.errors import RunError
from leukospike.storage.files import (
    locked,
    new_folder,
    remove_leftovers,
    whole_folder,
    write_text,
    written_whole,
)


def _fail(path: Path, error: BaseException) -> None:
    """Begin to write `path` and fail half-way."""
    with written_whole(path) as part:
        part.write_text("half")
        raise error


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException):
    path = tmp_path / "metrics.json"
    path.write_text("old")
    with pytest.raises(type(error)):
        _fail(path, error)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_failure_leaves_no_new_file(tmp_path: Path):
    with pytest.raises(OSError, match="disk full"):
        _fail(tmp_path / "metrics.json", OSError("disk full"))
    assert list(tmp_path.iterdir()) == []


def test_file_appears_when_it_is_whole_in_a_folder_that_is_made(tmp_path: Path):
    path = tmp_path / "weights" / "fold_0.safetensors"
    with written_whole(path) as part:
        part.write_text("new")
        assert not path.exists()
        assert (part.parent, part.suffix) == (path.parent, path.suffix)
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_old_file_is_replaced(tmp_path: Path):
    path = tmp_path / "report.html"
    write_text(path, "a longer old text")
    write_text(path, "µm")
    assert path.read_bytes() == "µm".encode()


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_result_is_as_readable_as_any_other_file(tmp_path: Path):
    plain = tmp_path / "plain.txt"
    plain.touch()
    write_text(tmp_path / "ours.txt", "")
    assert stat.S_IMODE((tmp_path / "ours.txt").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_names_that_are_no_text_come_out_spelled(tmp_path: Path):
    write_text(tmp_path / "page.html", "cell_\udcff.png")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == "cell_\\udcff.png"


# --- folders ---


def test_new_folder_is_made_with_its_parents(tmp_path: Path):
    assert new_folder(tmp_path / "a" / "b", where="analyze") == tmp_path / "a" / "b"
    assert (tmp_path / "a" / "b").is_dir()


def test_empty_folder_may_exist(tmp_path: Path):
    new_folder(tmp_path, where="analyze")


def test_results_are_not_written_over(tmp_path: Path):
    (tmp_path / "metrics.json").touch()
    message = r"analyze: output folder must be new or empty, got .*\. Choose another name or remove it\."
    for path in (tmp_path, tmp_path / "metrics.json"):
        with pytest.raises(RunError, match=message):
            new_folder(path, where="analyze")


@pytest.mark.skipif(os.name != "posix", reason="rights as POSIX has them")
def test_a_file_has_the_rights_of_any_new_file_and_the_umask_is_never_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "any").touch()
    monkeypatch.delattr(os, "umask")  # even for a moment it would be that of all threads
    write_text(tmp_path / "ours", "text")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "any").stat().st_mode


def test_two_threads_cannot_hold_one_folder(tmp_path: Path):
    def take() -> None:
        with locked(tmp_path, where="train"):
            pass

    with ThreadPoolExecutor(1) as pool:
        with locked(tmp_path, where="train"), pytest.raises(RunError, match="must not be in use"):
            pool.submit(take).result()
        pool.submit(take).result()


def test_whole_folder_holds_its_content_when_the_block_has_ended(tmp_path: Path):
    out = tmp_path / "out"
    with whole_folder(out, where="segment") as hidden:
        (hidden / "sub").mkdir()
        (hidden / "sub" / "a.png").touch()
        (hidden / "b.png").touch()
        assert not (out / "b.png").exists()
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*")) == ["b.png", "sub", "sub/a.png"]


@pytest.mark.parametrize("existed", [False, True])
def test_failure_leaves_things_as_they_were(tmp_path: Path, existed: bool):
    out = tmp_path / "out"
    if existed:
        out.mkdir()

    def fail() -> None:
        with whole_folder(out, where="segment") as hidden:
            (hidden / "a.png").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [path.name for path in tmp_path.rglob("*")] == (["out"] if existed else [])


def test_whole_folder_is_not_written_over(tmp_path: Path):
    (tmp_path / "old.txt").touch()
    with pytest.raises(RunError, match="must be new or empty"), whole_folder(tmp_path, where="segment"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["old.txt"]


# --- what a killed process leaves ---

HALF_WRITTEN = """
import sys
from pathlib import Path
from leukospike.storage.files import whole_folder, written_whole
with {block} as part:
    (part / "a.png" if part.is_dir() else part).write_text("half")
    print("ready", flush=True)
    sys.stdin.read()
"""


@contextmanager
def _writing(block: str, path: Path) -> Generator[subprocess.Popen[str]]:
    """Start a process that has begun to write to `path` and waits."""
    program = HALF_WRITTEN.format(block=block)
    command = [sys.executable, "-c", program, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


WHOLE_FOLDER = "whole_folder(Path(sys.argv[1]), where='segment')"
WRITTEN_WHOLE = "written_whole(Path(sys.argv[1]))"


def test_whole_folder_goes_on_where_another_was_killed(tmp_path: Path):
    out = tmp_path / "out"
    with _writing(WHOLE_FOLDER, out) as process:
        process.kill()
        process.wait()
        assert [*out.rglob("a.png")]
        with whole_folder(out, where="segment") as hidden:
            (hidden / "b.png").touch()
    assert [path.name for path in out.rglob("*")] == ["b.png"]


def test_whole_folder_leaves_alone_what_a_living_process_writes(tmp_path: Path):
    out = tmp_path / "out"
    with _writing(WHOLE_FOLDER, out):
        before = sorted(out.rglob("*"))
        message = r"segment: output folder must not be in use, got .*out, to which a running program is writing\. Wait"
        with pytest.raises(RunError, match=message), whole_folder(out, where="segment"):
            pass
        assert sorted(out.rglob("*")) == before


def test_lock_is_let_go_of_and_leaves_nothing(tmp_path: Path):
    for _ in range(2):
        with (
            locked(tmp_path, where="train"),
            pytest.raises(RunError, match="must not be in use"),
            locked(tmp_path, where="train"),
        ):
            pass
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_process_are_told_from_files(tmp_path: Path):
    kept = tmp_path / "weights" / ".keep"
    kept.parent.mkdir()
    kept.touch()
    with _writing(WRITTEN_WHOLE, tmp_path / "weights" / "fold_0.safetensors") as process:
        process.kill()
        process.wait()
    assert len(list(kept.parent.iterdir())) == 2
    remove_leftovers(tmp_path)
    assert list(kept.parent.iterdir()) == [kept]


@pytest.mark.parametrize("name", [".partners", ".part-time.txt", ".part-a-list", ".lock-smith", ".locked"])
def test_a_hidden_file_of_somebody_is_no_leftover(tmp_path: Path, name: str):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("precious")
    with pytest.raises(RunError, match="output folder must be new or empty"), whole_folder(tmp_path / "out", where="x"):
        raise AssertionError
    remove_leftovers(tmp_path)
    assert (tmp_path / "out" / name).read_text() == "precious"


def test_what_a_killed_process_was_writing_is_removed(tmp_path: Path):
    left = tmp_path / "sub"
    left.mkdir()
    with written_whole(tmp_path / "very.odd name-0.csv") as part:
        (left / part.name).write_text("half")
    remove_leftovers(tmp_path)
    assert not list(left.iterdir())
