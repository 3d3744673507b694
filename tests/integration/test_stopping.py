"""Whatever moment a signal comes at: one line, no traceback, and nothing that the next call trips over."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from leukospike.cli.stopping import CLEAN_UP_S, STEP_S

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")

AGAIN = "leukospike: Stopped. Run the same command again."
RESUME = "leukospike: Stopped. Nothing was lost; run the same command with --resume."


@pytest.fixture
def arguments(discs: Path, settings: Path, tmp_path: Path) -> dict[str, list[str | Path]]:
    """Give commands that take long enough to be stopped, all of them writing to one folder."""
    given: dict[str, list[str | Path]] = {
        "smears": ["--subjects", "40"],
        "segment": [discs],
        "analyze": [discs],
        "reproduce": ["c-nmc", "--data", discs, "--config", settings, "--epochs", "3", "--folds", "2"],
    }
    return {verb: [verb, *those, "--out", tmp_path / "out"] for verb, those in given.items()}


@contextmanager
def _running(arguments: list[str | Path]) -> Iterator[subprocess.Popen[str]]:
    # An interactive shell's commands do not ignore Ctrl-C, but what runs in the background of a script does.
    program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    program += "from leukospike.__main__ import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _wait_for(process: subprocess.Popen[str], stage: str) -> None:
    """Wait until a stage of the work has begun."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(stage):
            return
    pytest.fail(f"ended before {stage}")


def _ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Return the exit status and the last line, and hold that there is no traceback."""
    _, error = process.communicate(timeout=60)
    assert "Traceback" not in error, error
    assert "Exception ignored" not in error, error
    return process.returncode, error.splitlines()[-1]


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=str,
)
def test_a_signal_before_anything_is_written_ends_at_once(arguments, number: int, status: int, tmp_path: Path):
    with _running(arguments["analyze"]) as process:
        time.sleep(0.4)  # libraries are being loaded
        process.send_signal(number)
        assert _ended(process) == (status, AGAIN)
    assert not (tmp_path / "out").exists()


def test_a_signal_while_results_are_written_leaves_nothing(arguments, tmp_path: Path):
    with _running(arguments["smears"]) as process:
        _wait_for(process, "drawing")
        process.send_signal(signal.SIGINT)
        assert _ended(process) == (130, AGAIN)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("verb", "number", "status"), [("segment", signal.SIGTERM, 143), ("analyze", signal.SIGHUP, 129)]
)
def test_what_is_read_is_kept_when_a_signal_comes(
    arguments, leukospike, verb: str, number: int, status: int, tmp_path: Path
):
    with _running(arguments[verb]) as process:
        _wait_for(process, "")
        process.send_signal(number)
        assert _ended(process) == (status, RESUME)
    assert leukospike(*arguments[verb], "--resume").status == 0
    assert not list((tmp_path / "out").rglob(".*"))


def test_a_run_that_was_stopped_is_carried_on(arguments, leukospike, tmp_path: Path):
    with _running(arguments["reproduce"]) as process:
        _wait_for(process, "train fold 2")
        process.send_signal(signal.SIGINT)
        assert _ended(process) == (130, RESUME)
    assert not list((tmp_path / "out").rglob(".*"))
    assert leukospike(*arguments["reproduce"], "--resume").status == 0


@pytest.mark.parametrize(("verb", "pause"), [("smears", 0.0), ("smears", 0.05), ("reproduce", 0.0)])
def test_two_signals_end_at_once(arguments, verb: str, pause: float, tmp_path: Path):
    with _running(arguments[verb]) as process:
        _wait_for(process, "drawing" if verb == "smears" else "train fold 1")
        process.send_signal(signal.SIGINT)
        time.sleep(pause)
        process.send_signal(signal.SIGTERM)
        status, last = _ended(process)
    # Without a pause, either may be taken first: threads of the process share the signals.
    assert status in ({130} if pause else {130, 143})
    # Nor is it certain that the run was cut before it had cleaned up what was not trained yet.
    assert last == (RESUME if (tmp_path / "out" / "config.toml").exists() else AGAIN)


STUCK = """
import signal, sys, time
from leukospike import smears
from leukospike.__main__ import main

class Dropping:
    def __del__(self):
        time.sleep(4)  # where Python drops exceptions

def draw(*_, **__):
    {body}

signal.signal(signal.SIGINT, signal.default_int_handler)
smears.generate_cohort = draw
sys.argv = ["leukospike", "smears", "--out", sys.argv[1]]
print("ready", flush=True)
main()
"""


@pytest.mark.parametrize("body", ["time.sleep(60)", "Dropping(); time.sleep(60)"])
def test_work_without_steps_is_interrupted(body: str, tmp_path: Path):
    program = STUCK.format(body=body)
    with subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / "out"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(1.5)
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert _ended(process) == (130, AGAIN)
    assert time.monotonic() - begun < STEP_S + CLEAN_UP_S + 4
