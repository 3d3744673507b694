"""Decodes records to pictures, a few ahead of the consumer."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from leukospike.datasets.records import Record
from leukospike.errors import ImageError
from leukospike.images import Picture, read_image

_AHEAD = 8  # decoded images held at a time: 120 MB of ALL-IDB1's fields
_WORKERS = 2


def decoded(records: Sequence[Record]) -> Iterator[tuple[Record, Picture | ImageError]]:
    """Decode images on two threads, in order, a few ahead of the consumer; an unreadable one yields its error."""

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
