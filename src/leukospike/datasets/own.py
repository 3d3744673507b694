"""The user's own images: a manifest, class/subject/ folders, or a folder of images in any arrangement."""

import os
import posixpath
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from leukospike.datasets.classes import ClassNames, accepted_words
from leukospike.datasets.cnmc import cnmc_subject
from leukospike.datasets.listing import entries, list_images, name_below, person, spelled
from leukospike.datasets.records import DataSet, Record, data_set, names_alike
from leukospike.errors import DataError, LayoutError
from leukospike.notices import Notice, Severity
from leukospike.storage.tables import read_rows

UNDERSTOOD = (
    "C-NMC (fold_N/{all,hem}/), ALL-IDB1 (im/ and xyc/), ALL-IDB2 (img/), class/subject/ folders, or a manifest.csv"
    " with the columns path,label,subject"
)
"""Layouts that can be used for training, in words."""

_PARTS = re.compile(r"train|training|test|testing|val|valid|validation|fold[ _-]?\d+", re.IGNORECASE)
_FEW_FOLDERS = range(2, 5)  # that may be classes; more are unlikely to be


def read_class_folders(root: Path, classes: ClassNames) -> DataSet:
    """Read class/subject/ folders.

    Parameters
    ----------
    root : Path
        Holds one folder of the normal and one of the leukemic class, or several matching the user's words.
    classes : ClassNames

    Returns
    -------
    DataSet

    Raises
    ------
    LayoutError
        If the folders in `root` are not recognised as the two classes.
    DataError
        If they hold no image.
    OSError
        If a folder cannot be listed.
    """
    folders = [path for path in entries(root) if path.is_dir()]
    labels = classes.labels(folder.name for folder in folders)
    if all(label is None for label in labels.values()):
        raise LayoutError(
            f"{root} must have a known layout",
            where="read_dataset",
            got=", ".join(path.name for path in entries(root)[:5]) or "nothing",
            advice=f"Arrange it as {UNDERSTOOD}. {accepted_words()}",
        )
    of_class = {label: [name for name in labels if labels[name] == label] for label in (0, 1)}
    # Two accepted words for one class may differ in meaning; the user's own words are explicit.
    doubtful = any(len(names) > 1 and not all(classes.is_given(name) for name in names) for names in of_class.values())
    if None in labels.values() or doubtful:
        raise LayoutError(
            f"{root} must hold one normal and one leukemic class folder (such as hem and all)",
            where="read_dataset",
            got=", ".join(labels),
            advice="Name the classes in a manifest.csv with the columns path,label,subject, or by their folders."
            f" {accepted_words()}",
        )
    listing = list_images(*folders, outside=root)
    records = [
        Record(
            path=path,
            image=name_below(path, root),
            label=labels[path.relative_to(root).parts[0]],
            # The first folder below the class; deeper ones, such as slides, belong to the same person.
            subject=(person(inner[0]) or None) if inner[1:] or path.is_dir() else None,
        )
        for path in listing.images
        for _, *inner in [name_below(path, root).split("/")]
    ]
    return data_set(
        root,
        records if any(not record.path.is_dir() for record in records) else [],
        name=spelled(root.absolute().name),
        layout="folder",
        class_names=(", ".join(of_class[0]) or "normal", ", ".join(of_class[1]) or "leukemic"),
        no_subject_reason=(
            "Images directly in a class folder have no known subject: move each to class/subject/, or list its"
            " subject in a manifest.csv."
        ),
        credit="",
        notices=[] if listing.notice is None else [listing.notice],
    )


def read_manifest(table: Path, classes: ClassNames) -> DataSet:
    """Read a CSV manifest; its paths are relative to its folder.

    Parameters
    ----------
    table : Path
        CSV with the columns path, label and optionally subject; others are ignored.
    classes : ClassNames
        Accepted names of labels.

    Returns
    -------
    DataSet

    Raises
    ------
    DataError
        If it has a faulty line, which is named by its number, or if none of its paths exists.
    """
    if table.suffix.lower() != ".csv":
        raise DataError(
            "data must be a folder or a CSV manifest",
            where="read_dataset",
            got=f"the file {table}",
            advice="Pass its folder.",
        )
    root = table.parent
    records: list[Record] = []
    first_line: dict[str, int] = {}
    class_names = {0: "normal", 1: "leukemic"}
    for line, row in read_rows(table, ("path", "label"), where="read_dataset"):
        values = {name: value.strip() for name, value in row.items()}
        place = f"{table.name} line {line}"
        if not values["path"]:
            raise DataError(
                f"{place}: path must name an image",
                where="read_dataset",
                got="an empty field",
                advice="Fill it in or remove the line.",
            )
        image = posixpath.normpath(values["path"])
        if image in first_line:
            raise DataError(
                f"{place}: path must be unique",
                where="read_dataset",
                got=f"'{image}' again after line {first_line[image]}",
                advice="Remove one of them.",
            )
        first_line[image] = line
        label = classes.label(values["label"])
        if label is None and values["label"]:
            raise DataError(
                f"{place}: label must be 1 (leukemic), 0 (normal) or empty",
                where="read_dataset",
                got=f"'{values['label']}'",
                advice=f"Correct it. {accepted_words()}",
            )
        if label is not None and values["label"] not in {"0", "1"}:
            class_names[label] = values["label"]
        subject = person(values.get("subject", "")) or None
        records.append(Record(path=on_disk(root / image), image=image, label=label, subject=subject))
    if records and not any(record.path.is_file() for record in records):
        raise DataError(
            f"paths in {table.name} must be relative to its folder",
            where="read_dataset",
            got=f"none that exists there (first '{records[0].image}')",
            advice="Move the table or correct the paths.",
        )
    return data_set(
        root,
        records,
        name=spelled(root.absolute().name),
        layout="manifest",
        class_names=(class_names[0], class_names[1]),
        no_subject_reason=f"Fill in the column subject of {table.name}, or split by image and report it.",
        credit="",
    )


def read_files(root: Path, classes: ClassNames, *, owner: str | None = None) -> DataSet:
    """Read a folder of images in any arrangement, for commands that need no labels.

    The subject is parsed from file names in the form of C-NMC; for other files it is the first folder below `root`, or
    `owner` for files directly in `root`. Folders of a class or of a part such as ``train`` are not subjects: the folder
    below them counts. If one folder is a class, so are its siblings.

    Parameters
    ----------
    root : Path
    classes : ClassNames
    owner : str, optional
        Subject of images directly in `root`.

    Returns
    -------
    DataSet
        Of layout ``files``, without labels. It may be empty.

    Raises
    ------
    OSError
        If the folder cannot be listed.
    """
    listing = list_images(root)
    places = [name_below(path, root).split("/") for path in listing.images]
    partitions = [place[0] if place[1:] and is_part(place[0]) else "" for place in places]
    folders = [place[bool(part) : -1] for place, part in zip(places, partitions, strict=True)]
    tops = classes.labels(inside[0] for inside in folders if inside)
    has_classes = any(label is not None for label in tops.values())
    records: list[Record] = []
    for path, place, partition, inside in zip(listing.images, places, partitions, folders, strict=True):
        above = inside[1:] if has_classes else inside
        records.append(
            Record(
                path=path,
                image="/".join(place),
                label=None,
                subject=cnmc_subject(path.stem) or (person(above[0]) if above else owner) or None,
                partition=partition,
            )
        )
    reason = "Images outside a subject's folder and without a C-NMC file name have no known subject."
    missing = any(record.subject is None for record in records)
    dataset = DataSet(
        name=spelled(root.absolute().name),
        layout="files",
        root=root,
        records=tuple(sorted(records, key=lambda record: record.image)),
        class_names=("normal", "leukemic"),
        no_subject_reason=reason if missing else None,
        credit="",
    )
    told = (listing.notice, _about_folders(folders, classes), *names_alike(records))
    return replace(dataset, notices=tuple(notice for notice in told if notice is not None))


def _about_folders(folders: Sequence[Sequence[str]], classes: ClassNames) -> Notice | None:
    """Warn if folders may be classes with unknown names."""
    tops = {inside[0]: False for inside in folders if inside}
    for inside in folders:
        if inside[1:]:
            tops[inside[0]] = True
    labels = classes.labels(tops)
    known, unknown = (sorted(name for name in tops if (labels[name] is None) == is_none) for is_none in (False, True))
    if known and unknown:
        text = f"Next to the class folder {known[0]} are folders with unknown names: {', '.join(unknown[:5])}."
        text += " Labels are ignored."
        return Notice("classes_unknown", f"{text} {accepted_words()}", Severity.WARNING)
    return None if known else about_names(unknown, have_folders=all(tops.values()))


def about_names(names: Sequence[str], *, have_folders: bool) -> Notice | None:
    """Warn if the folders of subjects may be classes.

    Parameters
    ----------
    names : sequence of str
        Names of folders that are treated as subjects.
    have_folders : bool
        Whether each holds folders with images, as class folders do.

    Returns
    -------
    Notice or None
        None if they are unlikely to be classes: patients' folders are numerous, or have numbers in their names and hold
        images directly.
    """
    has_number = any(char.isdigit() for name in names for char in name)
    if len(names) not in _FEW_FOLDERS or (has_number and not have_folders):
        return None
    text = f"The folders {', '.join(names)} are treated as subjects, not as classes. {accepted_words()}"
    return Notice("classes_or_subjects", text, Severity.WARNING)


def require_used(classes: ClassNames, paths: Sequence[Path]) -> None:
    """Refuse the user's class names that match no folder; manifests are checked elsewhere.

    Parameters
    ----------
    classes : ClassNames
    paths : sequence of Path
        Folders and manifests read together.

    Raises
    ------
    DataError
    """
    words: set[str] = set()
    for path in paths:
        if not path.is_dir() or (path / "manifest.csv").is_file():
            return
        words |= {Path(os.path.abspath(path)).name}  # noqa: PTH100 - links are not followed
        try:
            for inside in entries(path):
                words |= {inside.name}
                if is_part(inside.name) and inside.is_dir():
                    words |= {below.name for below in entries(inside)}
        except OSError:  # reported when the images are listed
            return
    classes.require_used(words)


def is_part(name: str) -> bool:
    """Tell whether a folder is named like a part of a data set, such as ``train``, and is not a subject.

    Parameters
    ----------
    name : str

    Returns
    -------
    bool
    """
    return _PARTS.fullmatch(name) is not None


def on_disk(path: Path) -> Path:
    """Return the path in the Unicode form that exists, if it differs from that in the table."""
    if not path.exists():
        for form in ("NFC", "NFD"):
            other = Path(unicodedata.normalize(form, str(path)))
            if other.exists():
                return other
    return path
