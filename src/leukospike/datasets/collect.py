"""Reads folders and files in the same way for all commands that need no labels."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from leukospike.datasets.classes import ClassNames, Names
from leukospike.datasets.cnmc import cnmc_subject
from leukospike.datasets.layouts import read_datasets
from leukospike.datasets.listing import name_below, person
from leukospike.datasets.own import about_names, is_part, read_files, require_used
from leukospike.datasets.records import DataSet, Record, names_alike
from leukospike.errors import DataError, LayoutError
from leukospike.notices import Notice, Severity


@dataclass(frozen=True)
class Found:
    """Images found at some paths."""

    records: tuple[Record, ...]
    """Sorted by `Record.image`, which is unique."""
    datasets: tuple[DataSet, ...]
    """Data sets of the images; files passed individually belong to none."""
    notices: tuple[Notice, ...]
    """Notices about how they were read."""


def collect_images(
    paths: Sequence[Path], *, positive: Names = None, negative: Names = None, subject: str | None = None
) -> tuple[Record, ...]:
    """List the images at `paths`, with their subjects where known.

    Parameters
    ----------
    paths, positive, negative, subject
        As for `find_images`.

    Returns
    -------
    tuple of Record
        As in `Found`.

    Raises
    ------
    DataError
        As of `find_images`.
    """
    return find_images(paths, positive=positive, negative=negative, subject=subject).records


def find_images(
    paths: Sequence[Path], *, positive: Names = None, negative: Names = None, subject: str | None = None
) -> Found:
    """Find the images at `paths`, with their subjects where known.

    A folder with a known layout yields its records; any other folder yields every image below it, at any depth. The
    subject is parsed from file names in the form of C-NMC; for other files it is the first folder below the given one
    that is not a class or part. Images directly in a folder belong to a subject named after it if several folders are
    given, or if a single folder holds only images. A file passed individually is an image, whatever its name, without a
    subject.

    Parameters
    ----------
    paths : sequence of Path
        Folders, images, and CSV manifests.
    positive, negative : str, sequence of str or None
        The user's names for the folders or labels of the leukemic and the normal class.
    subject : str, optional
        Subject of all images.

    Returns
    -------
    Found
        Names of images are relative to the path under which they were found. If any names collide, all are relative to
        the common parent folder.

    Raises
    ------
    DataError
        If a path does not exist, no image is found, or one is found twice; if a manifest cannot be used; if `subject`
        is empty, or given for images of several known subjects.
    """
    where = "find_images"
    classes = ClassNames.of(positive, negative)
    for path in paths:
        if not path.exists():
            raise DataError("`paths` must exist", where=where, got=path, advice="Check the spelling.")
    require_used(classes, paths)
    folders = [path for path in paths if path.is_dir()]
    owners = _owners(folders, classes)
    found: list[Record] = []
    datasets: list[DataSet] = []
    for path in paths:
        if path.is_file() and path.suffix.lower() != ".csv":
            found.append(
                Record(path=path, image=name_below(path, path.parent), label=None, subject=cnmc_subject(path.stem))
            )
            continue
        try:
            here = _read_path(path, classes, owner=owners.get(path))
        except LayoutError:  # it holds no image, but other paths may
            continue
        for dataset in here:
            if len(paths) == 1:
                dataset = _of_one_subject(dataset, path, classes)
            datasets.append(dataset)
            # A data set may be deeper than the given path.
            below = "" if dataset.root == path or path.is_file() else f"{name_below(dataset.root, path)}/"
            found += [replace(record, image=below + record.image) for record in dataset.records]
    _require_some(found, paths)
    if subject is not None:
        found = _named(found, datasets, subject)
    notices = [notice for dataset in datasets for notice in dataset.notices]
    advice = about_names(sorted(owners.values()), have_folders=False)
    if advice is not None and subject is None:
        notices.append(advice)
    if len(datasets) > 1 and not any(notice.code == "subjects_alike" for notice in notices):
        notices += names_alike(found)
    records = sorted(_told_apart(found), key=lambda record: record.image)
    return Found(tuple(records), tuple(datasets), tuple(notices))


def read_any(root: Path, *, positive: Names = None, negative: Names = None) -> tuple[DataSet, ...]:
    """List every data set under `root`, or else all its images, for commands that need no labels.

    Parameters
    ----------
    root : Path
        As for `read_datasets`; or a folder of images in any arrangement.
    positive, negative : str, sequence of str or None
        As for `find_images`.

    Returns
    -------
    tuple of DataSet
        For an unknown layout, one data set of layout ``files`` without labels.

    Raises
    ------
    DataError
        As for `read_datasets`; an unknown layout is an error only if there is no image.
    """
    classes = ClassNames.of(positive, negative)
    require_used(classes, [root])
    try:
        return read_datasets(root, positive=positive, negative=negative)
    except LayoutError as error:
        return _images_alone(root, classes, error)


def read_path(path: Path, *, positive: Names = None, negative: Names = None) -> tuple[DataSet, ...]:
    """Read one folder or manifest for commands that need no labels: faulty labels of a folder only cause a notice.

    Parameters
    ----------
    path : Path
    positive, negative : str, sequence of str or None
        As for `find_images`.

    Returns
    -------
    tuple of DataSet
        With at least one record each.

    Raises
    ------
    DataError
        If it does not exist, holds no image, or has a faulty manifest.
    """
    classes = ClassNames.of(positive, negative)
    require_used(classes, [path])
    return _read_path(path, classes, owner=None)


def _read_path(path: Path, classes: ClassNames, *, owner: str | None) -> tuple[DataSet, ...]:
    """Read one folder or manifest; images directly in a folder of unknown layout belong to `owner`."""
    try:
        return read_datasets(path, positive=tuple(classes.positive), negative=tuple(classes.negative))
    except DataError as error:
        if not path.is_dir() or (path / "manifest.csv").is_file():
            raise
        return _images_alone(path, classes, error, owner=owner)


def _of_one_subject(dataset: DataSet, folder: Path, classes: ClassNames) -> DataSet:
    """Treat a folder that holds only images as a subject, unless it is named like a class or part."""
    name = Path(os.path.abspath(folder)).name  # noqa: PTH100 - links are not followed
    is_flat = dataset.layout == "files" and all("/" not in record.image for record in dataset.records)
    if not is_flat or classes.label(name) is not None or is_part(name) or not person(name):
        return dataset
    records = tuple(replace(record, subject=record.subject or person(name)) for record in dataset.records)
    return replace(dataset, records=records, no_subject_reason=None)


def _images_alone(
    root: Path, classes: ClassNames, fault: DataError, *, owner: str | None = None
) -> tuple[DataSet, ...]:
    """List the images of a folder with faulty labels; the fault is raised if there are none."""
    try:
        dataset = read_files(root, classes, owner=owner)
    except OSError:
        raise fault from None
    if not dataset.records:
        raise fault
    if not isinstance(fault, LayoutError):
        notice = Notice("labels_unused", f"Labels are ignored: {fault.reason}", Severity.WARNING)
        dataset = replace(dataset, notices=(*dataset.notices, notice))
    return (dataset,)


def _require_some(found: Sequence[Record], paths: Sequence[Path]) -> None:
    """Refuse paths without images, or with an image twice."""
    if not found:
        raise DataError(
            "`paths` must hold images",
            where="find_images",
            got=f"none in {', '.join(map(str, paths))}" if paths else "no path",
            advice="Pass a folder of images.",
        )
    # Links are not followed: a folder may hold several to one file, or one that leads nowhere.
    twice = len(found) - len({os.path.abspath(record.path) for record in found})  # noqa: PTH100
    if twice:
        raise DataError(
            "`paths` must not overlap", where="find_images", got=f"{twice} files twice", advice="Pass each one once."
        )


def _told_apart(found: Sequence[Record]) -> list[Record]:
    """Name images relative to their common parent folder if two would have the same name."""
    if len({record.image for record in found}) == len(found):
        return list(found)
    files = [Path(os.path.abspath(record.path)) for record in found]  # noqa: PTH100 - as above
    above = Path(os.path.commonpath(files))
    return [replace(record, image=name_below(file, above)) for record, file in zip(found, files, strict=True)]


def _named(found: Sequence[Record], datasets: Sequence[DataSet], subject: str) -> list[Record]:
    """Assign all images to one subject, unless the data record several."""
    known = {
        record.subject
        for dataset in datasets
        if dataset.layout != "files"
        for record in dataset.records
        if record.subject is not None
    }
    if len(known) > 1:
        raise DataError(
            "`subject` must be used with images of one person",
            where="find_images",
            got=f"{len(known)} subjects ({', '.join(sorted(known)[:5])})",
            advice="Leave out `subject`, or pass the folder of one of them.",
        )
    name = person(subject)
    if not name:
        raise DataError(
            "`subject` must not be empty",
            where="find_images",
            got="an empty one",
            advice="Pass a name, or leave out `subject`.",
        )
    return [replace(record, subject=name) for record in found]


def _owners(folders: Sequence[Path], classes: ClassNames) -> dict[Path, str]:
    """Name the subject of images directly in each of several folders after the folder."""
    # Two paths to one folder count as one; the listing of files refuses them.
    absolute = {folder: Path(os.path.abspath(folder)) for folder in folders}  # noqa: PTH100
    if len(set(absolute.values())) < 2:
        return {}
    names = [path.name for path in set(absolute.values())]
    labels = classes.labels(names)
    above = Path(os.path.commonpath(list(absolute.values())))
    return {
        # The same name in two places need not be the same person.
        folder: person(path.name if names.count(path.name) == 1 else name_below(path, above))
        for folder, path in absolute.items()
        if labels[path.name] is None and not is_part(path.name)
    }
