"""Prepares network inputs on disk: every image is decoded once, and the result is read from there afterwards."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.lib.format import open_memmap

from leukospike.datasets import Record
from leukospike.datasets.decoding import decoded
from leukospike.errors import ImageError, RunError
from leukospike.failures import Failure
from leukospike.images import Picture, pixel_digest
from leukospike.images.framing import View, view_of
from leukospike.jobs import Progress, silent
from leukospike.original.preprocessing import Augmentation
from leukospike.storage.files import write_text

INDEX = "index.json"
"""Lists the images whose maps or crops are stored next to it, with labels, subjects and digests."""

Said = tuple[str, int | None, str | None]
"""Image, label and subject."""

Stamp = tuple[int, int]
"""Size of a file in bytes and its modification time in nanoseconds, by which changes are detected."""

_CHUNK = 64  # augmented at a time


@runtime_checkable
class FrontEnd(Protocol):
    """Converts a picture to a network input."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of its output."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the dtype of its output."""
        ...

    def settings(self) -> dict[str, object]:
        """Return the settings that determine the output, as JSON data."""
        ...

    def see(self, picture: Picture) -> np.ndarray:
        """Compute it; raise `ImageError` if there is nothing to see."""
        ...

    def changed(self, seen: np.ndarray, augmentation: Augmentation) -> np.ndarray:
        """Augment several outputs."""
        ...


@dataclass(frozen=True)
class Index:
    """Content of `index.json`, and later of the `images.json` of a run."""

    settings: Mapping[str, object]
    """Of the front end, with the number of copies and the seed."""
    records: tuple[Said, ...]
    """Records of the images."""
    stamps: tuple[Stamp | None, ...]
    """Size and time of each file; None if it was not accessible."""
    images: tuple[str, ...]
    """Those that could be read."""
    digests: tuple[str, ...]
    """Of their pixels."""
    views: tuple[View, ...]
    """How each of them shows its cell."""
    failures: tuple[Failure, ...]
    generated: bool

    def to_json(self) -> dict[str, object]:
        """Return it in terms of JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Index":
        """Read what `to_json` returned.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it is something else.
        """
        return cls(
            settings=dict(content["settings"]),
            records=tuple((image, label, subject) for image, label, subject in content["records"]),
            stamps=tuple(None if stamp is None else (int(stamp[0]), int(stamp[1])) for stamp in content["stamps"]),
            images=tuple(content["images"]),
            digests=tuple(content["digests"]),
            views=tuple(View(**view) for view in content["views"]),
            failures=tuple(Failure(**failure) for failure in content["failures"]),
            generated=bool(content["generated"]),
        )


@dataclass(frozen=True)
class Prepared:
    """Network inputs of a data set, and facts collected while preparing them."""

    seen: np.ndarray
    """Shape (items, ...), given by the front end; read from disk as needed. The n images first, then their first
    augmented copies, and so on."""
    records: tuple[Record, ...]
    """The n readable images."""
    digests: tuple[str, ...]
    """Digest of the pixels of each of the n images."""
    views: tuple[View, ...]
    """How each of the n images shows its cell."""
    failures: tuple[Failure, ...]
    generated: bool
    """True if any image was drawn by `leukospike smears`."""


def prepare(
    records: Sequence[Record],
    folder: Path,
    front: FrontEnd,
    *,
    copies: int,
    seed: int,
    progress: Progress = silent,
) -> Prepared:
    """Compute or reload the network inputs of images and their augmented copies.

    An augmented copy depends only on its image, the seed and the position of the image in the list.

    Parameters
    ----------
    records : sequence of Record
    folder : Path
        Folder of `seen.npy` and `index.json`. If these exist, only images whose files have changed since are decoded,
        to check whether their pixels have changed.
    front : FrontEnd
    copies : int
        Augmented copies of each image.
    seed : int
        Of the augmentation.
    progress : Progress

    Returns
    -------
    Prepared

    Raises
    ------
    RunError
        If `folder` was prepared from other images, labels, subjects or settings.
    """
    settings = front.settings() | {"copies": copies, "seed": seed}
    path, seen_path = folder / INDEX, folder / "seen.npy"
    if path.exists():
        require_same_images(records, path)
        try:
            index = Index.from_json(json.loads(path.read_text(encoding="utf-8")))
            if index.settings != settings:
                _refuse_images(f"settings that differ from those of {folder}")
            if seen_path.exists():
                return _opened(records, seen_path, index, copies)
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            rule, got = f"{folder} must be unchanged", f"changed or damaged content ({error})"
            raise RunError(rule, where="prepare", got=got, advice="Start a new run.") from error
    stamps = tuple(_stamp(record) for record in records)
    folder.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    seen = open_memmap(seen_path, mode="w+", dtype=front.dtype, shape=(len(records) * (1 + copies), *front.shape))
    if hasattr(os, "posix_fallocate"):
        # Allocate now, so that a full disk raises an error instead of killing the process later.
        with seen_path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, seen_path.stat().st_size)
    digests: list[str] = []
    views: list[View] = []
    images: list[str] = []
    failures: list[Failure] = []
    generated = False
    for done, (record, result) in enumerate(decoded(records), start=1):
        try:
            if isinstance(result, ImageError):
                raise result
            seen[len(images)] = front.see(result)
            images.append(record.image)
            digests.append(pixel_digest(result.pixels))
            views.append(view_of(result))
            generated |= result.generated
        except ImageError as error:
            failures.append(Failure(record.image, str(error)))
        progress("prepare images", done, len(records))
    _augment(front, seen, len(images), copies, seed, progress)
    seen.flush()
    index = Index(
        settings=settings,
        records=tuple(_said(record) for record in records),
        stamps=stamps,
        images=tuple(images),
        digests=tuple(digests),
        views=tuple(views),
        failures=tuple(failures),
        generated=generated,
    )
    # Written last: files without an index are from an interrupted run, and are computed again.
    write_text(path, json.dumps(index.to_json()))
    return _opened(records, seen_path, index, copies)


def require_same_images(records: Sequence[Record], index: Path) -> None:
    """Refuse images, labels or subjects that differ from an index written by `prepare`.

    A file with another size or time is decoded and its pixels are compared, so that a copied data set is accepted.

    Parameters
    ----------
    records : sequence of Record
    index : Path
        `index.json`, or a copy.

    Raises
    ------
    RunError
        If they differ, or if `index` lacks the information.
    """
    try:
        kept = Index.from_json(json.loads(index.read_text(encoding="utf-8")))
        digests = dict(zip(kept.images, kept.digests, strict=True))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        _refuse_images(f"a run whose {index.name} does not list them")
    now = tuple(_said(record) for record in records)
    if [image for image, *_ in now] != [image for image, *_ in kept.records]:
        _refuse_images(f"images that differ from those of {index.parent}")
    for said, other in zip(now, kept.records, strict=True):
        if said != other:
            _refuse_images(f"another label or subject for {said[0]} than in {index.parent}")
    changed = [record for record, stamp in zip(records, kept.stamps, strict=True) if _stamp(record) != stamp]
    for record, result in decoded(changed):
        if (pixel_digest(result.pixels) if isinstance(result, Picture) else None) != digests.get(record.image):
            _refuse_images(f"other pixels in {record.image} than in {index.parent}")


def _refuse_images(got: str) -> NoReturn:
    """Refuse data that differ from those at the start of a run."""
    rule, advice = "images must be the same as at the start of the run", "Pass the original data or start a new run."
    raise RunError(rule, where="prepare", got=got, advice=advice)


def _said(record: Record) -> Said:
    """Return what the data set says of an image."""
    return record.image, record.label, record.subject


def _stamp(record: Record) -> Stamp | None:
    """Return size and time of a file, by which changes are detected; None if it is not accessible."""
    try:
        status = record.path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _augment(front: FrontEnd, seen: np.ndarray, n: int, copies: int, seed: int, progress: Progress) -> None:
    """Compute the copies, which follow the n images."""
    for copy in range(1, copies + 1):
        generator = torch.Generator().manual_seed(int(np.random.SeedSequence((seed, copy)).generate_state(1)[0]))
        augmentation = Augmentation.draw(n, generator=generator)
        for first in range(0, n, _CHUNK):
            places = slice(first, min(first + _CHUNK, n))
            changed = front.changed(np.array(seen[places]), augmentation.part(places))
            seen[copy * n + places.start : copy * n + places.stop] = changed
            progress("augment", (copy - 1) * n + places.stop, copies * n)


def _opened(records: Sequence[Record], seen_path: Path, index: Index, copies: int) -> Prepared:
    """Open finished results for reading."""
    by_image = {record.image: record for record in records}
    seen = np.load(seen_path, mmap_mode="r", allow_pickle=False)
    return Prepared(
        seen=seen[: len(index.images) * (1 + copies)],
        records=tuple(by_image[image] for image in index.images),
        digests=index.digests,
        views=index.views,
        failures=index.failures,
        generated=index.generated,
    )
