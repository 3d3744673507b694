"""A given split of the data, as a table: the side of each image."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from leukospike.datasets import Record
from leukospike.datasets.listing import person
from leukospike.errors import DataError
from leukospike.failures import Failure
from leukospike.storage.tables import read_rows

_COLUMNS = ("image", "split", "fold", "subject", "label")


@dataclass(frozen=True)
class Split:
    """The side of each image."""

    name: str
    """Of the table."""
    records: tuple[Record, ...]
    """The images listed in the table, with its subjects, if any, instead of those of the data set."""
    sides: tuple[str, ...]
    """Of each record: ``train``, ``fold 2``, ``train, fold 2``."""
    labels: tuple[str, ...]
    """Label of each record, as spelled in the table; empty if missing."""
    missing: tuple[Failure, ...]
    """Lines whose image is not among the data."""
    n_unnamed: int
    """Number of images of the data not listed in the table."""


def read_split(table: Path, records: Sequence[Record]) -> Split:
    """Read a table with the columns image, split or fold (or both), and optionally subject and label.

    Parameters
    ----------
    table : Path
        CSV in UTF-8, column names in any case.
    records : sequence of Record
        The data. Images are found by their full name, by its end, or by the file name without folder and extension,
        whichever first matches a single image.

    Returns
    -------
    Split

    Raises
    ------
    DataError
        If the table cannot be read, lacks a column, names an image twice, leaves a side empty, or names no image of the
        data.
    """
    where = "read_split"
    lines = read_rows(table, ("image", "split|fold"), where=where)
    rows = [(line, {name: row[name].strip() for name in _COLUMNS if name in row}) for line, row in lines]
    index = _Index(records)
    chosen: dict[int, tuple[Record, str, str]] = {}
    missing: list[Failure] = []
    for line, row in rows:
        parts = [row["split"]] if "split" in row else []
        parts += [f"fold {row['fold']}"] if "fold" in row else []
        if not all((row.get("split", "-"), row.get("fold", "-"), row["image"])):
            raise DataError(
                f"{table.name} line {line}: image and side must be filled in",
                where=where,
                got="an empty field",
                advice="Fill it in.",
            )
        place = index.find(row["image"])
        if place is None:
            reason = (
                f"image must match exactly one file in DATA, got none or several with that name (line {line})."
                " Correct the name."
            )
            missing.append(Failure(row["image"], reason))
            continue
        if place in chosen:
            raise DataError(
                f"{table.name} line {line}: each image must be listed once",
                where=where,
                got=f"{row['image']} again",
                advice="Remove one line.",
            )
        record = records[place]
        if row.get("subject"):
            record = replace(record, subject=person(row["subject"]))
        chosen[place] = (record, ", ".join(parts), row.get("label", ""))
    if not chosen:
        first = rows[0][1]["image"] if rows else "no line"
        raise DataError(
            f"images in {table.name} must be files in DATA",
            where=where,
            got=f"none that match (first: {first})",
            advice="Pass the folder that holds them.",
        )
    ordered = [chosen[place] for place in sorted(chosen)]
    return Split(
        table.name,
        tuple(record for record, _, _ in ordered),
        tuple(side for _, side, _ in ordered),
        tuple(label for _, _, label in ordered),
        tuple(missing),
        len(records) - len(chosen),
    )


class _Index:
    """Finds images by the names in a table."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._whole: dict[str, set[int]] = {}
        self._ends: dict[str, set[int]] = {}
        for place, record in enumerate(records):
            image = PurePosixPath(_one_form(record.image))
            self._whole.setdefault(image.as_posix(), set()).add(place)
            for name in {"/".join(image.parts[start:]) for start in range(1, len(image.parts))} | {image.stem}:
                self._ends.setdefault(name, set()).add(place)

    def find(self, name: str) -> int | None:
        """Return the index of the one image that a name matches."""
        path = PurePosixPath(_one_form(name).replace("\\", "/"))
        # Names in the table may start above the data folder, or below it.
        for start in range(len(path.parts)):
            places = self._whole.get("/".join(path.parts[start:]), set())
            if len(places) == 1:
                return next(iter(places))
        for candidate in (path.as_posix(), path.name, path.stem):
            places = self._ends.get(candidate, set())
            if len(places) == 1:
                return next(iter(places))
        return None


def _one_form(name: str) -> str:
    """Normalise the Unicode form of a name, since systems store names in different forms."""
    return unicodedata.normalize("NFC", name)
