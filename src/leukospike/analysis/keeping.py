"""Processing of many images with a store: each new image is processed, and stored as soon as it is done."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from leukospike.analysis.engine import Engine
from leukospike.analysis.store import Store, content_key
from leukospike.datasets import Record
from leukospike.datasets.decoding import decoded
from leukospike.failures import Failure
from leukospike.images import Picture
from leukospike.jobs import Progress

Result = TypeVar("Result")

_LARGE_VALUES = 4_000_000  # larger images run alone: two whole fields in parallel would take twice the memory


@dataclass(frozen=True)
class Contents:
    """What the files of some records hold."""

    keys: tuple[str, ...]
    """Digest of each file's content; empty if a file cannot be read."""
    digest: str
    """Digest of all keys, and of the subjects and names of the images."""


def contents_of(records: Sequence[Record]) -> Contents:
    """Compute the digests of files, without decoding them."""
    keys = [content_key(record.path) or "" for record in records]
    digest = hashlib.sha256()
    for record, key in zip(records, keys, strict=True):
        digest.update(f"{record.image}\0{record.subject}\0{key}\n".encode(errors="surrogateescape"))
    return Contents(tuple(keys), digest.hexdigest())


def keep_missing(
    records: Sequence[Record],
    contents: Contents,
    store: Store,
    work: Callable[[Picture], Result],
    keep: Callable[[str, Result], None],
    *,
    engine: Engine,
    stage: str,
    progress: Progress,
) -> dict[str, Failure]:
    """Process the images missing from a store, and store each at once.

    Parameters
    ----------
    records : sequence of Record
    contents : Contents
        Of their files.
    store : Store
    work : callable
        Function from a picture to its stored result; pure, callable from several threads.
    keep : callable
        Method of the store that saves a result under a key.
    engine : Engine
    stage : str
        Name of the stage, for `progress`.
    progress : Progress

    Returns
    -------
    dict of str to Failure
        By image: those that could not be used.
    """
    failures: dict[str, Failure] = {}
    key_of: dict[str, str] = {}
    missing: list[Record] = []
    taken: set[str] = set()
    for record, key in zip(records, contents.keys, strict=True):
        # A file that occurs twice is processed once.
        if not key or (key not in store and key not in taken):
            # A file without a digest cannot be decoded either, and that error states the reason.
            taken.add(key)
            key_of[record.image] = key
            missing.append(record)
    done = len(records) - len(missing)
    if done:
        progress(stage, done, len(records))

    def pictures() -> Iterator[tuple[Record, Picture]]:
        nonlocal done
        for record, result in decoded(missing):
            if isinstance(result, Picture) and key_of[record.image]:
                yield record, result
            else:
                reason = "file changed while it was read" if isinstance(result, Picture) else str(result)
                failures[record.image] = Failure(record.image, reason)
                done += 1
                progress(stage, done, len(records))

    def on_picture(item: tuple[Record, Picture]) -> Result:
        return work(item[1])

    for (record, _), result in engine.map(on_picture, pictures(), alone=is_large):
        keep(key_of[record.image], result)
        done += 1
        progress(stage, done, len(records))
    reasons = {key_of[image]: failure.reason for image, failure in failures.items()}
    return failures | {
        record.image: Failure(record.image, reasons[key])
        for record, key in zip(records, contents.keys, strict=True)
        if key in reasons and record.image not in failures
    }


def is_large(item: tuple[Record, Picture]) -> bool:
    """Tell whether an image should be processed alone."""
    return item[1].pixels.size > _LARGE_VALUES
