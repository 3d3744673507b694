"""`leukospike demo`."""

from pathlib import Path
from typing import Annotated

import typer

from leukospike.cli.console import out_console, progress_bars
from leukospike.cli.options import SeedOption


def demo(
    out: Annotated[Path, typer.Option("--out", help="New folder for the cohort, the run and the report.")] = Path(
        "demo"
    ),
    seed: SeedOption = 0,
) -> None:
    """Generate a small cohort, cross-validate the whole system on it, and write a report.

    The cells are drawn by a program: the figures say nothing about patients.

    Example:

    leukospike demo
    """
    from leukospike.demo import run_demo

    with progress_bars() as progress:
        report = run_demo(out, seed=seed, progress=progress)
    out_console.print(f"Fields, their masks and outlines: {out / 'masks'}")
    out_console.print(f"Fields, cell by cell: {out / 'fields' / 'report.html'}")
    out_console.print(f"Report: {report}")
