"""`leukospike data check` and `leukospike data fetch`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leukospike.cli.console import out_console, print_table, progress_bars, tell
from leukospike.cli.options import NegativeOption, PositiveOption
from leukospike.cli.outcome import end

if TYPE_CHECKING:
    from leukospike.failures import Failure


def check(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder or CSV manifest.", show_default=False)],
    positive: PositiveOption = None,
    negative: NegativeOption = None,
) -> None:
    """Check a folder of images: what it holds, and what is wrong with it.

    Reports counts by class and subject, image sizes, unreadable files, pixel-identical images, and copies filed under
    several subjects. For a folder without labels, it lists the commands that can be used. Hidden files, documents, and
    files left behind by file managers and network drives are ignored.

    Example:

    leukospike data check C-NMC_Leukemia

    leukospike data check my-cells --positive Early --negative Benign
    """
    from leukospike import datasets

    failures: list[Failure] = []
    n_images = 0
    for dataset in datasets.read_any(folder, positive=positive, negative=negative):
        with progress_bars() as progress:
            check = datasets.check_dataset(dataset, progress=progress)
        for table in datasets.check_tables(check):
            print_table(table)
        tell(dataset.notices)
        failures += check.failures
        n_images += len(dataset.records)
    end(failures, n_images, see="the table above")


def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="One of bccd, c-nmc, all-idb.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to download to. Default: the name of the data set.")
    ] = None,
) -> None:
    """Download a public data set; run again to resume.

    - bccd: fields with boxes.

    - c-nmc: single cells, through Kaggle (needs the extra kaggle).

    - all-idb: available only on request; prints how to ask for it.

    Example:

    leukospike data fetch bccd --out bccd
    """
    from leukospike import datasets

    with progress_bars() as progress:
        folder = datasets.fetch(name, out or Path(name), progress=progress)
    out_console.print(f"Data: {folder}")
