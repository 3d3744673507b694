"""Where results may go, and with which status a verb ends."""

import os
from pathlib import Path

import typer

from leukospike.cli.console import say
from leukospike.errors import RunError
from leukospike.failures import Failure


def refuse_inside(out: Path, paths: list[Path]) -> None:
    """Refuse results among the images, where the next command would take them for images."""
    for path in paths:
        # A manifest says itself what belongs to it.
        listed = not (path / "manifest.csv").is_file()
        if listed and Path(os.path.realpath(out)).is_relative_to(os.path.realpath(path)):
            msg = f"command line: --out must lie outside {path}, got {out}. Choose another folder."
            raise RunError(msg)


def end(failures: tuple[Failure, ...] | list[Failure], n_files: int, *, see: Path | str) -> None:
    """End with status 1 if some files failed."""
    if failures:
        say(f"files must be readable images, got {len(failures)} of {n_files} that are not. See {see}.")
        raise typer.Exit(1)
