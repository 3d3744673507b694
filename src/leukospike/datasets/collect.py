"""The user's files and folders, as records: whatever they are, and whether or not they are a known data set."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from leukospike.datasets.layouts import read_dataset, visible_files
from leukospike.datasets.records import Record
from leukospike.errors import DataError


def collect_images(paths: Sequence[Path]) -> tuple[Record, ...]:
    """List the images at `paths`, with their subjects where these can be known.

    A folder of a known layout gives its records. Any other folder gives every file below it, at any depth, an image
    or not (whoever opens it will say so); the first folder below the given one is taken for the subject. A file stands
    for itself.

    Parameters
    ----------
    paths : sequence of Path

    Returns
    -------
    tuple of Record
        `image` is relative to the path that it was found under. Where two of those collide, the name of that path is
        put in front of all.

    Raises
    ------
    DataError
        If a path does not exist, or no file is found.
    """
    found: list[tuple[Path, Record]] = []
    for path in paths:
        if not path.exists():
            msg = f"collect_images: PATHS must exist, got {path}. Check its spelling."
            raise DataError(msg)
        found += [(path, record) for record in _records_of(path)]
    if not found:
        msg = f"collect_images: PATHS must hold images, got none in {', '.join(map(str, paths))}. Give their folder."
        raise DataError(msg)
    if len({record.image for _, record in found}) < len(found):
        found = [(path, replace(record, image=f"{path.resolve().name}/{record.image}")) for path, record in found]
    unique = {record.image: record for _, record in found}
    if len(unique) < len(found):
        msg = f"collect_images: PATHS must not overlap, got {len(found) - len(unique)} files twice. Give each one once."
        raise DataError(msg)
    return tuple(unique[image] for image in sorted(unique))


def _records_of(path: Path) -> Iterator[Record]:
    """List one path."""
    if path.is_file() and path.suffix.lower() != ".csv":
        yield Record(path=path, image=path.name, label=None, subject=None)
        return
    try:
        yield from read_dataset(path).records
    except DataError:
        if path.is_file():
            raise
        for file in visible_files(path):
            parts = file.relative_to(path).parts
            subject = parts[0] if len(parts) > 1 else None
            yield Record(path=file, image=file.relative_to(path).as_posix(), label=None, subject=subject)
