"""`leukospike demo`."""

from pathlib import Path
from typing import Annotated

import typer

from leukospike.cli.console import out_console, progress_bars
from leukospike.cli.options import SeedOption


def demo(
    out: Annotated[Path, typer.Option("--out", help="New folder for the cohort and both reports.")] = Path("demo"),
    seed: SeedOption = 0,
) -> None:
    """Draw a small cohort, read its patients with the classifier, and train the original system on it.

    Writes two pages that link to each other. The cells are drawn by a program: the figures say nothing about patients,
    and the classifier, which learned from photographs, abstains on many.

    Example:

    leukospike demo
    """
    from leukospike.demo import run_demo

    with progress_bars() as progress:
        report = run_demo(out, seed=seed, progress=progress)
    out_console.print(f"Fields, their masks and outlines: {out / 'masks'}")
    out_console.print(f"Original system, trained on the same cells: {out / 'run' / 'report.html'}")
    out_console.print(f"Report: {report}")
