"""The command line, run in this process, and one tiny run that several tests look at."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from leukospike.cli.call import run

SETTINGS = """\
image_size = 24
n_components = 8
augmented_copies = 1
epochs = 1
batch_size = 8
"""


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    error: str

    @property
    def reason(self) -> str:
        """The last line on standard error: before it stand the stages."""
        return self.error.splitlines()[-1] if self.error else ""


Command = Callable[..., Ended]


@pytest.fixture
def leukospike(capsys: pytest.CaptureFixture[str]) -> Command:
    """Give the function that runs a command."""

    def run_command(*arguments: str | Path) -> Ended:
        capsys.readouterr()
        status = run([str(argument) for argument in arguments])
        return Ended(status, *capsys.readouterr())

    return run_command


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a file of settings under which a run takes a second or two."""
    path = tmp_path_factory.mktemp("settings") / "tiny.toml"
    path.write_text(SETTINGS)
    return path


@pytest.fixture(scope="session")
def finished(discs: Path, settings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a run folder as `leukospike reproduce` leaves it; who wants to change it copies it."""
    out = tmp_path_factory.mktemp("finished") / "run"
    arguments = ["reproduce", "c-nmc", "--data", discs, "--folds", 2, "--config", settings, "--out", out]
    assert run([str(argument) for argument in arguments]) == 0
    return out
