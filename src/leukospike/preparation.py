"""From files to spike maps on disk: every image is decoded once, and its maps are read from there ever after."""

import json
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from jaxtyping import Float
from numpy.lib.format import open_memmap

from leukospike.datasets import Record
from leukospike.errors import ImageError, RunError
from leukospike.failures import Failure
from leukospike.files import write_text
from leukospike.framing import View, view_of
from leukospike.images import Picture, luma, pixel_digest, read_image
from leukospike.preprocessing import Augmentation, spike_map
from leukospike.progress import Progress, silent

INDEX = "index.json"
"""Names the images whose maps lie beside it, their labels, subjects, and digests."""

_REFUSAL = (
    "prepare: images must be those that the run was begun with, got {}. Give the first data again or start a new run."
)
_CHUNK = 64  # maps augmented at a time
_AHEAD = 8  # decoded images held at a time: 120 MB of ALL-IDB1's fields
_WORKERS = 2


@dataclass(frozen=True)
class Prepared:
    """The spike maps of a data set, and what was learned while making them."""

    maps: Float[np.ndarray, "items rows columns"]
    """float32, 0 to 1, read from disk as needed. The n images first, then their first augmented copies, and so on."""
    records: tuple[Record, ...]
    """The n images that could be read."""
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
    *,
    size: int,
    window: int,
    copies: int,
    seed: int,
    progress: Progress = silent,
) -> Prepared:
    """Make, or find again, the spike maps of images and of their augmented copies.

    An augmented copy depends on its image, the seed and the image's place in the list, and on no other image.

    Parameters
    ----------
    records : sequence of Record
    folder : Path
        Where the maps are kept: `maps.npy` and `index.json`. If they are there already, no image is decoded but those
        whose files have changed since, to see if their pixels have.
    size : int
        Side of the maps, pixels.
    window : int
        Side of the blur's kernel, pixels.
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
        If `folder` keeps the maps of other images, labels, subjects, or settings.
    """
    settings = {"size": size, "window": window, "copies": copies, "seed": seed}
    index, maps_path = folder / INDEX, folder / "maps.npy"
    if index.exists():
        require_same_images(records, index)
        kept = json.loads(index.read_text(encoding="utf-8"))
        if kept["settings"] != settings:
            _refuse_images(f"others than {folder} keeps")
        if maps_path.exists():
            return _opened(records, maps_path, kept, copies)
    stamps = [_stamp(record) for record in records]
    folder.mkdir(parents=True, exist_ok=True)
    index.unlink(missing_ok=True)
    maps = open_memmap(maps_path, mode="w+", dtype=np.float32, shape=(len(records) * (1 + copies), size, size))
    if hasattr(os, "posix_fallocate"):
        # A full disk is an error now, and not the death of the process when a page of the map is first written.
        with maps_path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, maps_path.stat().st_size)
    digests: list[str] = []
    views: list[View] = []
    images: list[str] = []
    failures: list[Failure] = []
    generated = False
    for done, (record, result) in enumerate(decoded(records), start=1):
        if isinstance(result, Picture):
            maps[len(images)] = spike_map(luma(result.pixels), size=size, window=window)
            images.append(record.image)
            digests.append(pixel_digest(result.pixels))
            views.append(view_of(result))
            generated |= result.generated
        else:
            failures.append(Failure(record.image, str(result)))
        progress("decode and spikes", done, len(records))
    _augment(maps, len(images), copies, seed, progress)
    maps.flush()
    kept: dict[str, Any] = {
        "settings": settings,
        "records": [_said(record) for record in records],
        "stamps": stamps,
        "images": images,
        "digests": digests,
        "views": [asdict(view) for view in views],
        "failures": [asdict(failure) for failure in failures],
        "generated": generated,
    }
    # Written last: maps without an index are of an interrupted run, and are made again.
    write_text(index, json.dumps(kept))
    return _opened(records, maps_path, kept, copies)


def require_same_images(records: Sequence[Record], index: Path) -> None:
    """Refuse images, labels or subjects other than those of an index that `prepare` wrote.

    A file of another size or time is decoded and its pixels are compared, so that a copied data set is the same.

    Parameters
    ----------
    records : sequence of Record
    index : Path
        `index.json`, or a copy.

    Raises
    ------
    RunError
        If they differ in anything, or `index` does not say.
    """
    try:
        kept = json.loads(index.read_text(encoding="utf-8"))
        before, stamps = kept["records"], kept["stamps"]
        digests: dict[str, str] = dict(zip(kept["images"], kept["digests"], strict=True))
    except (OSError, ValueError, KeyError) as error:
        msg = _REFUSAL.format(f"a run whose {index.name} does not name them")
        raise RunError(msg) from error
    now = [_said(record) for record in records]
    if [image for image, *_ in now] != [image for image, *_ in before]:
        _refuse_images(f"others than {index.parent} keeps")
    for said, other in zip(now, before, strict=True):
        if said != other:
            _refuse_images(f"another label or subject for {said[0]} than {index.parent} keeps")
    changed = [record for record, stamp in zip(records, stamps, strict=True) if _stamp(record) != stamp]
    for record, result in decoded(changed):
        if (pixel_digest(result.pixels) if isinstance(result, Picture) else None) != digests.get(record.image):
            _refuse_images(f"other pixels in {record.image} than {index.parent} keeps")


def _refuse_images(got: str) -> NoReturn:
    """Refuse data that a run was not begun with."""
    raise RunError(_REFUSAL.format(got))


def _said(record: Record) -> list[str | int | None]:
    """Give what the data set says of an image."""
    return [record.image, record.label, record.subject]


def _stamp(record: Record) -> list[int] | None:
    """Give size and time of a file, by which it is known to be unchanged; None where it cannot be seen."""
    try:
        status = record.path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def decoded(records: Sequence[Record]) -> Iterator[tuple[Record, Picture | ImageError]]:
    """Decode images on two threads, in order, a few ahead of the reader; an unreadable one gives its error."""

    def read(record: Record) -> Picture | ImageError:
        try:
            return read_image(record.path)
        except ImageError as error:
            return error

    with ThreadPoolExecutor(_WORKERS) as pool:
        ahead: deque[tuple[Record, Future[Picture | ImageError]]] = deque()
        for record in records:
            ahead.append((record, pool.submit(read, record)))
            if len(ahead) == _AHEAD:
                first, result = ahead.popleft()
                yield first, result.result()
        for record, result in ahead:
            yield record, result.result()


def _augment(maps: np.ndarray, n: int, copies: int, seed: int, progress: Progress) -> None:
    """Fill in the copies, which lie behind the n images."""
    for copy in range(1, copies + 1):
        generator = torch.Generator().manual_seed(int(np.random.SeedSequence((seed, copy)).generate_state(1)[0]))
        augmentation = Augmentation.draw(n, generator=generator)
        for first in range(0, n, _CHUNK):
            places = slice(first, min(first + _CHUNK, n))
            changed = augmentation.part(places).apply(torch.from_numpy(np.array(maps[places])))
            maps[copy * n + places.start : copy * n + places.stop] = changed.numpy()
            progress("augment", (copy - 1) * n + places.stop, copies * n)


def _opened(records: Sequence[Record], maps_path: Path, kept: dict[str, Any], copies: int) -> Prepared:
    """Open finished maps for reading."""
    by_image = {record.image: record for record in records}
    maps = np.load(maps_path, mmap_mode="r", allow_pickle=False)
    return Prepared(
        maps=maps[: len(kept["images"]) * (1 + copies)],
        records=tuple(by_image[image] for image in kept["images"]),
        digests=tuple(kept["digests"]),
        views=tuple(View(**view) for view in kept["views"]),
        failures=tuple(Failure(**failure) for failure in kept["failures"]),
        generated=kept["generated"],
    )
