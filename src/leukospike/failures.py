"""Images that could not be used: named with their reason, while the others go through."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from leukospike.storage.files import written_whole


@dataclass(frozen=True)
class Failure:
    """An image that could not be used."""

    image: str
    """POSIX path relative to the folder that was given."""
    reason: str


def write_failures(path: Path, failures: Sequence[Failure]) -> None:
    """Write `failures.csv`: which image could not be used, and why."""
    with written_whole(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "reason"])
        writer.writerows((failure.image, failure.reason) for failure in failures)


def read_failures(run: Path) -> tuple[Failure, ...]:
    """Read `failures.csv` of a finished run, if there is one."""
    path = run / "failures.csv"
    if not path.exists():
        return ()
    with path.open(newline="", encoding="utf-8") as file:
        return tuple(Failure(row["image"], row["reason"]) for row in csv.DictReader(file))
