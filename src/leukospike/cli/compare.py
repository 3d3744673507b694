"""`leukospike compare`."""

from pathlib import Path
from typing import Annotated

import typer

from leukospike.cli.console import out_console, print_table, progress_bars, tell
from leukospike.cli.options import OutOption
from leukospike.cli.outcome import refuse_inside
from leukospike.storage.files import whole_folder


def compare(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A", help="Folder of a finished run.", show_default=False)],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B", help="Folder of another finished run.", show_default=False)],
    out: OutOption,
) -> None:
    """Compare two runs of reproduce or train on the cells that both tested.

    Shows the metrics side by side and their differences, with intervals from resampling subjects, and DeLong's and
    McNemar's tests, by cell and by subject. Writes report.html, comparison.json, and disagreements.csv, which lists the
    cells on which the runs differ most first. Warns if protocols, data or folds differ.

    Example:

    leukospike compare runs/paper runs/honest --out comparison
    """
    from leukospike.comparison import compare_runs, comparison_tables, write_comparison

    refuse_inside(out, [run_a, run_b])
    comparison = compare_runs(run_a, run_b)
    with progress_bars(), whole_folder(out, where="compare") as part:
        report = write_comparison(comparison, part).name
    tell(comparison.warnings)
    for table in comparison_tables(comparison):
        print_table(table)
    out_console.print(f"Report: {out / report}")
