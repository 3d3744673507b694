"""The user's files and folders, as records: whatever they are, and whether or not they are a known data set."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from leukospike.datasets.layouts import (
    LEUKEMIC_NAMES,
    NORMAL_NAMES,
    cnmc_subject,
    name_below,
    read_dataset,
    read_datasets,
    visible_files,
)
from leukospike.datasets.records import DataSet, Record
from leukospike.errors import DataError, LayoutError
from leukospike.images import IMAGE_SUFFIXES


def collect_images(paths: Sequence[Path]) -> tuple[Record, ...]:
    """List the images at `paths`, with their subjects where these can be known.

    A folder of a known layout gives its records. Any other folder gives every file below it, at any depth, an image
    or not (whoever opens it will say so). Of a file named as C-NMC names its cells, the name says the subject; of
    others the first folder below the given one is taken for it. What lies directly in a given folder is nobody's if
    that is the only one; of several, each is taken for a subject, as it would be in the folder that holds them all. A
    file stands for itself.

    Parameters
    ----------
    paths : sequence of Path

    Returns
    -------
    tuple of Record
        Sorted by `image`, which is relative to the path that it was found under. Where two of those collide, all are
        relative to the folder that holds them all.

    Raises
    ------
    DataError
        If a path does not exist, no file is found, or one comes twice; or if a folder's manifest cannot be used.
    """
    subject_of = _subjects_of_folders([path for path in paths if path.is_dir()])
    found: list[Record] = []
    for path in paths:
        if not path.exists():
            msg = f"collect_images: PATHS must exist, got {path}. Check its spelling."
            raise DataError(msg)
        found += _records_of(path, subject_of.get(path))
    if not found:
        msg = f"collect_images: PATHS must hold images, got none in {', '.join(map(str, paths))}. Give their folder."
        raise DataError(msg)
    # Links are not followed: a folder may hold several to one file, or one that leads nowhere.
    files = [Path(os.path.abspath(record.path)) for record in found]  # noqa: PTH100
    twice = len(files) - len(set(files))
    if twice:
        msg = f"collect_images: PATHS must not overlap, got {twice} files twice. Give each one once."
        raise DataError(msg)
    if len({record.image for record in found}) < len(found):
        above = os.path.commonpath(files)
        images = [name_below(file, Path(above)) for file in files]
        found = [replace(record, image=image) for record, image in zip(found, images, strict=True)]
    return tuple(sorted(found, key=lambda record: record.image))


def read_any(root: Path) -> tuple[DataSet, ...]:
    """List every data set under `root`, or else its images, which are for who needs no labels.

    Parameters
    ----------
    root : Path
        As for `read_datasets`; or a folder of images in any order.

    Returns
    -------
    tuple of DataSet
        Of a folder of no known layout one of layout ``files``: no image has a label, and subjects are those that
        `collect_images` gives.

    Raises
    ------
    DataError
        As for `read_datasets`, but of an unknown layout only if there is no image.
    """
    try:
        return read_datasets(root)
    except LayoutError:
        records = [record for record in _loose_records(root) if record.path.suffix.lower() in IMAGE_SUFFIXES]
        if not records:
            raise
    reason = None
    if any(record.subject is None for record in records):
        reason = (
            "An image that lies in no folder of its subject's, nor is named as C-NMC names cells, is of nobody known."
        )
    return (
        DataSet(
            name=name_below(root.absolute(), root.absolute().parent),
            layout="files",
            root=root,
            records=tuple(sorted(records, key=lambda record: record.image)),
            class_names=("normal", "leukemic"),
            no_subject_reason=reason,
            credit="",
        ),
    )


def _subjects_of_folders(folders: Sequence[Path]) -> dict[Path, str]:
    """Name the subject of what lies directly in each of several folders, by the folder; a class's folder names none."""
    # Two ways to one folder are one; whoever lists the files refuses them.
    absolute = {folder: Path(os.path.abspath(folder)) for folder in folders}  # noqa: PTH100
    if len(set(absolute.values())) < 2:
        return {}
    names = [path.name for path in set(absolute.values())]
    above = Path(os.path.commonpath(list(absolute.values())))
    return {
        # The same name in two places need not be the same person.
        folder: path.name if names.count(path.name) == 1 else name_below(path, above)
        for folder, path in absolute.items()
        if path.name.casefold() not in NORMAL_NAMES | LEUKEMIC_NAMES
    }


def _records_of(path: Path, subject_of_folder: str | None) -> Iterator[Record]:
    """List one path; what lies directly in it, and does not say whose it is, is of `subject_of_folder`."""
    if path.is_file() and path.suffix.lower() != ".csv":
        yield Record(path=path, image=name_below(path, path.parent), label=None, subject=cnmc_subject(path.stem))
        return
    try:
        yield from read_dataset(path).records
    except DataError:
        if path.is_file() or (path / "manifest.csv").is_file():
            raise
        yield from _loose_records(path, subject_of_folder)


def _loose_records(root: Path, subject_of_folder: str | None = None) -> Iterator[Record]:
    """List every file below a folder of no known layout."""
    for file in visible_files(root):
        image = name_below(file, root)
        folder, *inner = image.split("/")
        subject = cnmc_subject(file.stem) or (folder if inner else subject_of_folder)
        yield Record(path=file, image=image, label=None, subject=subject)
