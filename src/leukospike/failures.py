"""Images that could not be used, with the reason; the others are processed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from leukospike.storage.tables import read_rows, write_rows


@dataclass(frozen=True)
class Failure:
    """An image that could not be used."""

    image: str
    """POSIX path relative to the input folder."""
    reason: str


def write_failures(path: Path, failures: Sequence[Failure], *, for_excel: bool = False) -> None:
    """Write ``failures.csv``: which image could not be used, and why.

    Parameters
    ----------
    path : Path
    failures : sequence of Failure
    for_excel : bool
        As of `write_rows`.
    """
    rows = [(failure.image, failure.reason) for failure in failures]
    write_rows(path, ("image", "reason"), rows, for_excel=for_excel)


def read_failures(run: Path) -> tuple[Failure, ...]:
    """Read ``failures.csv`` of a finished run, if there is one.

    Parameters
    ----------
    run : Path
        Folder.

    Returns
    -------
    tuple of Failure

    Raises
    ------
    DataError
        If the table was changed or damaged.
    """
    path = run / "failures.csv"
    if not path.exists():
        return ()
    rows = read_rows(path, ("image", "reason"), where="read_failures")
    return tuple(Failure(row["image"], row["reason"]) for _, row in rows)
