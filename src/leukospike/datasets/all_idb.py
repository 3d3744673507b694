"""ALL-IDB: whole fields with the positions of their blasts (ALL-IDB1), and crops of single cells (ALL-IDB2)."""

import re
from math import isfinite
from pathlib import Path

from leukospike.datasets.listing import entries, images_in, name_below
from leukospike.datasets.records import DataSet, Record, data_set
from leukospike.errors import DataError

ALL_IDB_CREDIT = (
    "R. Donida Labati, V. Piuri and F. Scotti, ALL-IDB: the acute lymphoblastic leukemia image database for image"
    " processing, IEEE ICIP 2011, doi 10.1109/ICIP.2011.6115881; redistribution not permitted"
)

_ALL_IDB_FILE = re.compile(r"Im\d+_([01])", re.IGNORECASE)


def read_all_idb1(root: Path) -> DataSet | None:
    """Read ALL-IDB1: whole fields, each with a list of its blasts.

    Parameters
    ----------
    root : Path

    Returns
    -------
    DataSet or None
        None if it is not there.

    Raises
    ------
    DataError
        If the name of a file, or a line of its list of blasts, is not as published.
    OSError
        If a folder cannot be listed.
    """
    folder = _all_idb_folder(root, "1", "im")
    if folder is None:
        return None
    records = [
        Record(
            path=path,
            image=name_below(path, folder),
            label=_all_idb_label(path),
            subject=None,
            centroids=_centroids(folder / "xyc" / f"{path.stem}.xyc"),
        )
        for path in images_in(folder / "im")
    ]
    return _all_idb(folder, records, name="ALL-IDB1", layout="all-idb1")


def read_all_idb2(root: Path) -> DataSet | None:
    """Read ALL-IDB2: crops with one cell in the centre.

    Parameters
    ----------
    root : Path

    Returns
    -------
    DataSet or None
        None if it is not there.

    Raises
    ------
    DataError
        If a file is not named as published.
    OSError
        If a folder cannot be listed.
    """
    folder = _all_idb_folder(root, "2", "img")
    if folder is None:
        return None
    records = [
        Record(path=path, image=name_below(path, folder), label=_all_idb_label(path), subject=None)
        for path in images_in(folder / "img")
    ]
    return _all_idb(folder, records, name="ALL-IDB2", layout="all-idb2")


def _all_idb(folder: Path, records: list[Record], *, name: str, layout: str) -> DataSet:
    """Build a data set from either part of ALL-IDB."""
    return data_set(
        folder,
        records,
        name=name,
        layout=layout,
        class_names=("normal", "blast"),
        no_subject_reason=(
            "ALL-IDB does not publish patient ids, so its images cannot be split by patient: use C-NMC for the honest"
            " protocol, or the protocol paper, which splits by image and reports it."
        ),
        credit=ALL_IDB_CREDIT,
    )


def _all_idb_folder(root: Path, number: str, inside: str) -> Path | None:
    """Find ALL-IDB1 or 2: `root` itself or a folder in it, known by its image folder and the files' names."""
    named = [path for path in entries(root) if re.fullmatch(rf"ALL[-_ ]?IDB{number}", path.name, re.IGNORECASE)]
    for folder in (root, *named):
        images = folder / inside
        if images.is_dir() and any(_ALL_IDB_FILE.fullmatch(path.stem) for path in entries(images)):
            return folder
    return None


def _all_idb_label(path: Path) -> int:
    """Take the class from the file name, ``ImNNN_0`` or ``ImNNN_1``."""
    match = _ALL_IDB_FILE.fullmatch(path.stem)
    if match is None:
        raise DataError(
            f"file {path} must be named ImNNN_0 or ImNNN_1",
            where="read_dataset",
            got=f"'{path.stem}'",
            advice="Rename or remove it.",
        )
    return int(match[1])


def _centroids(path: Path) -> tuple[tuple[float, float], ...] | None:
    """Read the blasts of one field, published as ``column<TAB>row``, as (row, column)."""
    if not path.is_file():
        return None
    centroids: list[tuple[float, float]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s+(\d+(?:\.\d+)?)\s*", line)
        place = None if match is None else (float(match[2]), float(match[1]))
        # A number with hundreds of digits overflows Python's floats.
        if place is None or not all(map(isfinite, place)):
            raise DataError(
                f"{path} line {number} must be column<TAB>row",
                where="read_dataset",
                got=repr(line[:40]),
                advice="Restore the file.",
            )
        centroids.append(place)
    return tuple(centroids)
