"""`leukospike smears`."""

from typing import Annotated

import typer

from leukospike.cli.console import out_console, progress_bars
from leukospike.cli.options import OutOption, SeedOption


def smears(
    out: OutOption,
    subjects: Annotated[int, typer.Option("--subjects", help="Number of subjects; half of them are leukemic.")] = 12,
    seed: SeedOption = 0,
) -> None:
    """Generate a cohort of drawn blood smears: cells, and fields with masks and boxes.

    For trying the program without data: figures from these images are not results.

    Example:

    leukospike smears --subjects 12 --out cohort --seed 0
    """
    from leukospike.smears import SmearConfig, generate_cohort

    with progress_bars() as progress:
        generate_cohort(SmearConfig(n_subjects=subjects, seed=seed), out, progress=progress)
    out_console.print(f"Cohort: {out}")
