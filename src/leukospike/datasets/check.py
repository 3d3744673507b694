"""Check of a data set: every image is opened once, and all identical pictures are found."""

import os
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from leukospike.datasets.listing import files_below
from leukospike.datasets.own import UNDERSTOOD
from leukospike.datasets.records import DataSet, Record
from leukospike.errors import ImageError
from leukospike.failures import Failure
from leukospike.images import pixel_digest, read_image
from leukospike.jobs import Progress, silent
from leukospike.plurals import number_of


class Table(NamedTuple):
    """One table of the printed check."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class DataCheck:
    """Results of `check_dataset`."""

    dataset: DataSet
    sizes: dict[tuple[int, int], int]
    """Images per (rows, columns), most frequent first."""
    failures: tuple[Failure, ...]
    """Files that cannot be used; they are not counted as images."""
    duplicates: tuple[tuple[Record, ...], ...]
    """Groups of images with the same pixels, two or more each."""
    generated: int
    """Images drawn by ``leukospike smears``."""
    other_files: dict[str, int]
    """Files in the folder that are not images of the data set, per suffix, including tables and notes."""

    @property
    def cross_subject_duplicates(self) -> tuple[tuple[Record, ...], ...]:
        """Groups whose images are filed under different subjects: at least one file has the wrong subject."""
        return tuple(group for group in self.duplicates if len({record.subject for record in group}) > 1)

    @property
    def contradicting_duplicates(self) -> tuple[tuple[Record, ...], ...]:
        """Groups whose images have different labels: at least one label is wrong."""
        return tuple(group for group in self.duplicates if len({record.label for record in group}) > 1)


def check_dataset(dataset: DataSet, *, progress: Progress = silent) -> DataCheck:
    """Decode every image once and compare all pictures pixel by pixel.

    Pictures are compared by `pixel_digest`, independently of the file format. Memory holds at most as many decoded
    images as there are processors.

    Parameters
    ----------
    dataset : DataSet
        From `read_dataset` or `read_any`.
    progress : Progress
        Called after each image.

    Returns
    -------
    DataCheck
    """
    records = dataset.records
    seen: list[_Seen | Failure] = []
    pool = ThreadPoolExecutor(max_workers=os.cpu_count() or 1)
    try:
        for done, result in enumerate(pool.map(_look, records), start=1):
            seen.append(result)
            progress("check images", done, len(records))
    finally:
        # After an interruption, the thousands of images still waiting are not decoded.
        pool.shutdown(cancel_futures=True)

    decoded = [(record, what) for record, what in zip(records, seen, strict=True) if isinstance(what, _Seen)]
    groups: defaultdict[str, list[Record]] = defaultdict(list)
    for record, what in decoded:
        groups[what.digest].append(record)
    return DataCheck(
        dataset=dataset,
        sizes=dict(Counter(what.size for _, what in decoded).most_common()),
        failures=tuple(what for what in seen if isinstance(what, Failure)),
        duplicates=tuple(tuple(group) for group in groups.values() if len(group) > 1),
        generated=sum(what.generated for _, what in decoded),
        other_files=_other_files(dataset),
    )


def check_tables(check: DataCheck) -> list[Table]:
    """Arrange a check in tables for printing; empty tables are left out.

    Parameters
    ----------
    check : DataCheck
        From `check_dataset`.

    Returns
    -------
    list of Table
        Title, column names and rows, all text.
    """
    dataset = check.dataset
    unusable = {failure.image for failure in check.failures}
    usable = [record for record in dataset.records if record.image not in unusable]
    tables = [
        Table("Data set", ("what", "found"), _summary(check, usable)),
        Table("Classes", ("class", "images", "subjects"), _classes(dataset, usable)),
        Table("Subjects", ("subject", *dataset.class_names, "not labelled"), _subjects(usable)),
        Table("Sizes", ("rows x columns", "images"), [(f"{r} x {c}", str(n)) for (r, c), n in check.sizes.items()]),
        Table(
            "Files that cannot be used",
            ("image", "reason"),
            [(failure.image, failure.reason) for failure in check.failures],
        ),
        Table("Same pixels", ("images", "subjects", "labels"), [_group(dataset, group) for group in check.duplicates]),
        Table("Other files, not used", ("ending", "files"), [(k, str(n)) for k, n in check.other_files.items()]),
    ]
    return [table for table in tables if table.rows]


class _Seen(NamedTuple):
    """What is kept of one decoded image."""

    digest: str
    size: tuple[int, int]
    generated: bool


def _look(record: Record) -> _Seen | Failure:
    """Decode one image and keep what the check needs."""
    try:
        picture = read_image(record.path)
    except ImageError as error:
        return Failure(record.image, str(error))
    rows, columns = picture.pixels.shape[:2]
    return _Seen(pixel_digest(picture.pixels), (rows, columns), picture.generated)


def _other_files(dataset: DataSet) -> dict[str, int]:
    """Count files that are not records; with a manifest, other files are ignored."""
    if dataset.layout == "manifest":
        return {}
    used = {record.path for record in dataset.records}
    others = Counter(path.suffix or path.name for path in files_below(dataset.root) if path not in used)
    return dict(sorted(others.items()))


def _summary(check: DataCheck, usable: list[Record]) -> list[tuple[str, ...]]:
    """Summarise in a few lines what was recognised."""
    dataset = check.dataset
    subjects = {record.subject for record in usable if record.subject is not None}
    copies = sum(len(group) - 1 for group in check.duplicates)
    rows = [
        ("name", dataset.name),
        ("layout", f"{dataset.layout}, not a known layout" if dataset.layout == "files" else dataset.layout),
        ("images", str(len(usable))),
        ("subjects", str(len(subjects)) if subjects else "unknown"),
        ("files that cannot be used", str(len(check.failures))),
        (
            "groups of pixel-identical images",
            f"{len(check.duplicates)}" + (f" ({number_of(copies, 'redundant image')})" if copies else ""),
        ),
        ("of these, under different subjects", str(len(check.cross_subject_duplicates))),
        ("of these, with different labels", str(len(check.contradicting_duplicates))),
    ]
    if dataset.layout == "files":
        rows.append(("usable with", "analyze, segment and audit, which need no labels"))
        rows.append(("for train and reproduce", f"arrange it as {UNDERSTOOD}"))
    if check.generated:
        rows.append(("generated, not a patient", str(check.generated)))
    if dataset.no_subject_reason:
        rows.append(("reason for no subjects", dataset.no_subject_reason))
    if dataset.credit:
        rows.append(("cite as", dataset.credit))
    return [tuple(row) for row in rows]


def _classes(dataset: DataSet, usable: list[Record]) -> list[tuple[str, ...]]:
    """Count images and subjects of each class."""
    rows: list[tuple[str, ...]] = []
    for label, name in ((0, dataset.class_names[0]), (1, dataset.class_names[1]), (None, "not labelled")):
        records = [record for record in usable if record.label == label]
        subjects = {record.subject for record in records if record.subject is not None}
        if any(record.label == label for record in dataset.records):
            rows.append((name, str(len(records)), str(len(subjects)) if subjects else "unknown"))
    return rows


def _subjects(usable: list[Record]) -> list[tuple[str, ...]]:
    """Count the images of each subject by class."""
    counts: defaultdict[str, Counter[int | None]] = defaultdict(Counter)
    for record in usable:
        if record.subject is not None:
            counts[record.subject][record.label] += 1
    return [(name, *(str(counts[name][label]) for label in (0, 1, None))) for name in sorted(counts)]


def _group(dataset: DataSet, group: tuple[Record, ...]) -> tuple[str, ...]:
    """Describe one group of equal pictures."""
    subjects = sorted({"unknown" if record.subject is None else record.subject for record in group})
    labels = sorted({"not labelled" if record.label is None else dataset.class_names[record.label] for record in group})
    return (", ".join(record.image for record in group), ", ".join(subjects), ", ".join(labels))
