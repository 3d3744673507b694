"""Which of the eleven kinds each of the user's cells is: kind/subject/image folders, or a manifest."""

import math
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from leukospike.classification.kinds import KINDS, CellKind
from leukospike.datasets import Record
from leukospike.datasets.classes import LEUKEMIC_NAMES, ClassNames, Names, comparable
from leukospike.datasets.listing import entries, list_images, name_below, person
from leukospike.datasets.own import on_disk
from leukospike.datasets.records import names_alike
from leukospike.errors import DataError, LayoutError
from leukospike.notices import Notice, Severity
from leukospike.plurals import number_of
from leukospike.storage.tables import read_rows

_WHERE = "read_labelled"
_MANIFEST = "manifest.csv"
_SIZES = ("height", "width", "um_per_px")

_FURTHER: dict[CellKind, tuple[str, ...]] = {
    CellKind.PRECURSOR: ("hem", "hematogone", "haematogone"),
    CellKind.IMMATURE_GRANULOCYTE: ("promyelocyte", "myelocyte", "metamyelocyte"),
    CellKind.NONE_OF_THESE: ("artefact", "artifact", "smudge"),
}
"""Accepted words for a kind besides its name; plurals are accepted, too."""


@dataclass(frozen=True)
class LabelledCell:
    """An image of a cell of known kind."""

    record: Record
    kind: CellKind
    source: str
    """The image that the cell was cut out of, or its own."""
    diameter_um: float
    """By the columns height, width and um_per_px of a manifest, for a picture that is cut out already; else NaN."""


@dataclass(frozen=True)
class LabelledCells:
    """All cells of known kind."""

    name: str
    """Of the folder."""
    cells: tuple[LabelledCell, ...]
    has_subjects: bool
    """Whether subjects are known; else images count as such."""
    notices: tuple[Notice, ...]


@dataclass(frozen=True)
class KindNames:
    """The words for kinds: the accepted ones, and the user's, which take precedence.

    Words for "normal" alone are no kind: a lymphocyte is as normal as a precursor. The user's `negative` says that a
    word means a normal lymphoid precursor, and `positive` that it means a lymphoblast.

    Examples
    --------
    >>> words = KindNames(ClassNames.of(positive=None, negative="healthy"))
    >>> words.kind("Immature_Granulocytes").value, words.kind("ALL").value, words.kind("healthy").value
    ('immature granulocyte', 'lymphoblast', 'normal lymphoid precursor')
    >>> words.kind("normal") is None
    True
    """

    own: ClassNames

    def kind(self, word: str) -> CellKind | None:
        """Return the kind of a word; None if it is unknown."""
        if self.own.is_given(word):
            return CellKind.LYMPHOBLAST if comparable(word) in self.own.positive else CellKind.PRECURSOR
        plain = re.sub(r"[\s_-]+", " ", comparable(word)).strip()
        return _KIND_OF.get(plain) or _KIND_OF.get(plain.removesuffix("s"))


_KIND_OF: Mapping[str, CellKind] = (
    dict.fromkeys(LEUKEMIC_NAMES, CellKind.LYMPHOBLAST)
    | {kind.value: kind for kind in KINDS}
    | {word: kind for kind, words in _FURTHER.items() for word in words}
)


def read_labelled(data: Path, *, positive: Names = None, negative: Names = None) -> LabelledCells:
    """List the cells of known kind in a folder or a manifest, without opening an image.

    Parameters
    ----------
    data : Path
        A CSV manifest with the columns path, label and optionally subject, a folder with a ``manifest.csv``, or a
        folder of kind/subject/image. Of the manifest that `--crops` writes, the columns image, height, width and
        um_per_px are used, too.
    positive, negative : str, sequence of str or None
        The user's words for lymphoblasts and for normal lymphoid precursors.

    Returns
    -------
    LabelledCells
        Sorted by image. Cells without a label are left out, with a notice.

    Raises
    ------
    DataError
        If nothing is there, a label is unknown, a line is faulty, or some cells have a subject and others none.
    """
    names = KindNames(ClassNames.of(positive, negative))
    table = data / _MANIFEST if data.is_dir() else data
    try:
        if not data.exists():
            msg = "data must be an existing folder or CSV manifest"
            raise DataError(msg, where=_WHERE, got=data, advice="Check the path.")
        cells, notices = _of_manifest(table, names) if table.is_file() else _of_folders(data, names)
    except OSError as error:
        msg, got = "data must be readable", f"'{error.strerror}' for {error.filename}"
        raise DataError(msg, where=_WHERE, got=got, advice="Check its permissions.") from error
    if not cells:
        msg = f"{data} must hold cells with a label"
        raise DataError(msg, where=_WHERE, got="none", advice=_advice())
    without = [cell.record.image for cell in cells if cell.record.subject is None]
    if without and len(without) < len(cells):
        msg = "every cell must have a subject, or none"
        got = f"{len(without)} of {len(cells)} without (first {without[0]})"
        raise DataError(msg, where=_WHERE, got=got, advice="Fill in the subject, or leave out these cells.")
    if without:
        text = "No subject is known: images count as subjects. Cells of one person resemble each other, so the figures"
        notices.append(Notice("no_subjects", f"{text} are too good if several images are of one.", Severity.WARNING))
    notices += names_alike(cell.record for cell in cells)
    ordered = tuple(sorted(cells, key=lambda cell: cell.record.image))
    name = table.resolve().parent.name if table.is_file() else data.resolve().name
    return LabelledCells(name, ordered, not without, tuple(notices))


def _of_manifest(table: Path, names: KindNames) -> tuple[list[LabelledCell], list[Notice]]:
    """Read a manifest; its paths are relative to its folder."""
    root = table.parent
    cells: list[LabelledCell] = []
    lines: dict[str, int] = {}
    words: list[str] = []
    unlabelled = 0
    for line, row in read_rows(table, ("path", "label"), where=_WHERE):
        values = {name: value.strip() for name, value in row.items()}
        place = f"{table.name} line {line}"
        if not values["path"]:
            msg = f"{place}: path must name an image"
            raise DataError(msg, where=_WHERE, got="an empty field", advice="Fill it in or remove the line.")
        image = posixpath.normpath(values["path"])
        if image in lines:
            msg, got = f"{place}: path must be unique", f"'{image}' again after line {lines[image]}"
            raise DataError(msg, where=_WHERE, got=got, advice="Remove one of them.")
        lines[image] = line
        if not values["label"]:
            unlabelled += 1
            continue
        words.append(values["label"])
        kind = names.kind(values["label"])
        if kind is None:
            msg = f"{place}: label must be a kind of cell"
            raise DataError(msg, where=_WHERE, got=f"'{values['label']}'", advice=_advice())
        subject = person(values.get("subject", "")) or None
        record = Record(path=on_disk(root / image), image=image, label=None, subject=subject)
        cells.append(LabelledCell(record, kind, values.get("image") or image, _diameter_um(values)))
    names.own.require_used(words)
    if cells and not any(cell.record.path.is_file() for cell in cells):
        first = cells[0].record.image
        msg, got = f"paths in {table.name} must be relative to its folder", f"none that exists there (first '{first}')"
        raise DataError(msg, where=_WHERE, got=got, advice="Move the table or correct the paths.")
    if not unlabelled:
        return cells, []
    text = f"{number_of(unlabelled, 'cell has', 'cells have')} no label in {table.name}, and"
    text += f" {'was' if unlabelled == 1 else 'were'} left out."
    return cells, [Notice("unlabelled", text, values={"cells": unlabelled})]


def _of_folders(root: Path, names: KindNames) -> tuple[list[LabelledCell], list[Notice]]:
    """Read kind/subject/image folders; images directly in that of a kind have no subject."""
    folders = [path for path in entries(root) if path.is_dir()]
    names.own.require_used(path.name for path in folders)
    kinds = {path.name: names.kind(path.name) for path in folders}
    unknown = [name for name, kind in kinds.items() if kind is None]
    if unknown or not kinds:
        msg, got = f"each folder in {root} must be named for a kind of cell", ", ".join(unknown[:5]) or "no folder"
        raise LayoutError(msg, where=_WHERE, got=got, advice=_advice())
    listing = list_images(*folders, outside=root)
    cells: list[LabelledCell] = []
    for path in listing.images:
        image = name_below(path, root)
        inner = image.split("/")[1:]
        kind = kinds[path.relative_to(root).parts[0]]
        assert kind is not None, "refused above"
        subject = (person(inner[0]) or None) if inner[1:] else None
        record = Record(path=path, image=image, label=None, subject=subject)
        cells.append(LabelledCell(record, kind, image, math.nan))
    return cells, [] if listing.notice is None else [listing.notice]


def _diameter_um(values: Mapping[str, str]) -> float:
    """Return the diameter of the disc as large as an ellipse with this box; NaN if one of the numbers is missing."""
    try:
        height, width, um_per_px = (float(values.get(name, "")) for name in _SIZES)
    except ValueError:
        return math.nan
    diameter = math.sqrt(max(height * width, 0)) * um_per_px
    return diameter if 0 < diameter < math.inf else math.nan


def _advice() -> str:
    """Name what is accepted."""
    return (
        f"Name a kind: {_listed([kind.value for kind in KINDS])}. What you call otherwise, `positive` maps to"
        " lymphoblast and `negative` to normal lymphoid precursor."
    )


def _listed(words: Sequence[str]) -> str:
    """Write words one after the other."""
    return f"{', '.join(words[:-1])} or {words[-1]}"
