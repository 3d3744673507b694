"""Where results may be written, and the exit status of a subcommand."""

import os
from pathlib import Path

import typer

from leukospike.cli.console import say
from leukospike.errors import RunError
from leukospike.failures import Failure
from leukospike.plurals import number_of

_NAMED = 3  # failures that are shown, and not only counted


def refuse_inside(out: Path, paths: list[Path]) -> None:
    """Refuse an output folder among the images, where later commands would read the results as images."""
    for path in paths:
        # A manifest says itself what belongs to it.
        listed = not (path / "manifest.csv").is_file()
        if listed and Path(os.path.realpath(out)).is_relative_to(os.path.realpath(path)):
            msg = f"`out` must be outside {path}"
            raise RunError(msg, where="command line", got=out, advice="Choose another folder.")


def end(failures: tuple[Failure, ...] | list[Failure], n_files: int, *, see: Path | str) -> None:
    """Exit with status 1 if some files failed."""
    if failures:
        if isinstance(see, Path) and len(failures) <= _NAMED:
            for failure in failures:
                say(f"{failure.image}: {failure.reason}")
        say(f"{len(failures)} of {number_of(n_files, 'file')} could not be read. See {see}.")
        raise typer.Exit(1)
