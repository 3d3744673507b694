"""Somebody's split of the data, as a table: which image stands on which side."""

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
    """Who stands where."""

    name: str
    """Of the table."""
    records: tuple[Record, ...]
    """The images that the table names, its subjects in place of the data set's where it gives any."""
    sides: tuple[str, ...]
    """Of each record: ``train``, ``fold 2``, ``train, fold 2``."""
    labels: tuple[str, ...]
    """Of each record, as the table spells it; empty where it does not."""
    missing: tuple[Failure, ...]
    """Lines whose image is not among the data."""
    n_unnamed: int
    """Images of the data that the table does not name."""


def read_split(table: Path, records: Sequence[Record]) -> Split:
    """Read a table of the columns image, split or fold or both, and, if there, subject and label.

    Parameters
    ----------
    table : Path
        CSV in UTF-8, column names in any case.
    records : sequence of Record
        The data. A line's image is found by its whole name, by the end of that, or by the file's name without folder
        and ending, whichever first fits one image alone.

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
    """Finds images by what a table may call them."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._whole: dict[str, set[int]] = {}
        self._ends: dict[str, set[int]] = {}
        for place, record in enumerate(records):
            image = PurePosixPath(_one_form(record.image))
            self._whole.setdefault(image.as_posix(), set()).add(place)
            for name in {"/".join(image.parts[start:]) for start in range(1, len(image.parts))} | {image.stem}:
                self._ends.setdefault(name, set()).add(place)

    def find(self, name: str) -> int | None:
        """Return the place of the one image that a name fits."""
        path = PurePosixPath(_one_form(name).replace("\\", "/"))
        # The table's names may begin further up than the data, or further down.
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
    """Bring a name to one Unicode form, since systems store the same name in several."""
    return unicodedata.normalize("NFC", name)
