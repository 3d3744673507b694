"""Somebody's split of the data, as a table: which image stands on which side."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from leukospike.datasets import Record
from leukospike.errors import DataError
from leukospike.failures import Failure

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
    where = f"audit --split {table.name}"
    rows = _rows(table, where)
    index = _Index(records)
    chosen: dict[int, tuple[Record, str, str]] = {}
    missing: list[Failure] = []
    for line, row in rows:
        parts = [row["split"]] if "split" in row else []
        parts += [f"fold {row['fold']}"] if "fold" in row else []
        if not all((row.get("split", "-"), row.get("fold", "-"), row["image"])):
            msg = f"{where} line {line}: image and side must be filled in, got an empty field. Fill it in."
            raise DataError(msg)
        place = index.find(row["image"])
        if place is None:
            reason = f"image must be one of DATA, got none, or several, of that name (line {line}). Correct the name."
            missing.append(Failure(row["image"], reason))
            continue
        if place in chosen:
            msg = f"{where} line {line}: image must come once, got {row['image']} again. Remove one line."
            raise DataError(msg)
        record = records[place]
        if row.get("subject"):
            record = replace(record, subject=row["subject"])
        chosen[place] = (record, ", ".join(parts), row.get("label", ""))
    if not chosen:
        first = rows[0][1]["image"] if rows else "no line"
        msg = f"{where}: images must be those of DATA, got none of them (first: {first}). Give the folder they lie in."
        raise DataError(msg)
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
        self._whole = {record.image: place for place, record in enumerate(records)}
        self._ends: dict[str, set[int]] = {}
        for place, record in enumerate(records):
            parts = PurePosixPath(record.image).parts
            names = {"/".join(parts[start:]) for start in range(1, len(parts))} | {PurePosixPath(record.image).stem}
            for name in names:
                self._ends.setdefault(name, set()).add(place)

    def find(self, name: str) -> int | None:
        """Give the place of the one image that a name fits."""
        path = PurePosixPath(name.replace("\\", "/"))
        if path.as_posix() in self._whole:
            return self._whole[path.as_posix()]
        # The table's names may begin further up than the data, or further down.
        shorter = ["/".join(path.parts[start:]) for start in range(1, len(path.parts))]
        for candidate in shorter:
            if candidate in self._whole:
                return self._whole[candidate]
        for candidate in (path.as_posix(), path.name, path.stem):
            places = self._ends.get(candidate, set())
            if len(places) == 1:
                return next(iter(places))
        return None


def _rows(table: Path, where: str) -> list[tuple[int, dict[str, str]]]:
    """Read the lines as (number, values of the columns that are known)."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            header = [name.strip().casefold() for name in next(lines, [])]
            if "image" not in header or not {"split", "fold"} & set(header) or len(set(header)) < len(header):
                got = ",".join(header)[:80] or "an empty table"
                msg = (
                    f"{where}: first line must name the columns image and split or fold (or both), each once, got"
                    f" '{got}'. Correct it; subject and label may be added."
                )
                raise DataError(msg)
            rows: list[tuple[int, dict[str, str]]] = []
            for values in lines:
                if not any(value.strip() for value in values):
                    continue
                if len(values) != len(header):
                    msg = (
                        f"{where} line {lines.line_num}: must have {len(header)} fields, got {len(values)}. Correct it."
                    )
                    raise DataError(msg)
                row = {name: value.strip() for name, value in zip(header, values, strict=True) if name in _COLUMNS}
                rows.append((lines.line_num, row))
            return rows
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        msg = f"{where}: must be a readable CSV table in UTF-8, got one that is not ({error}). Export it again."
        raise DataError(msg) from error
