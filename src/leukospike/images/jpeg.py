"""Checks of a JPEG's markers, before any pixel is decoded."""

import re
from typing import BinaryIO

from leukospike.errors import ImageError

MAX_SCANS = 100
"""Maximum number of scans of a JPEG: a progressive one has about ten, and each processes every pixel again."""

_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")  # except those within a scan, which have no length
_SCAN, _END = 0xDA, 0xD9
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def check_jpeg(file: BinaryIO) -> None:
    """Raise an error for a JPEG with too many scans or with more than 8 bits."""
    content = file.read()
    file.seek(0)
    scans, position = 0, 2
    while (marker := _MARKER.search(content, position)) is not None:
        kind = content[marker.start() + 1]
        if kind == _END:
            return  # anything that a camera appends, such as further pictures, is not read
        precision = content[marker.end() + 2 : marker.end() + 3]
        if kind in _FRAMES and precision not in (b"", b"\x08"):
            msg = "JPEG must have 8 bits per channel"
            raise ImageError(msg, got=precision[0], advice="Save it as PNG.")
        scans += kind == _SCAN
        if scans > MAX_SCANS:
            msg = f"image must have at most {MAX_SCANS} JPEG scans"
            raise ImageError(msg, got="more", advice="Save it as PNG.")
        position = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2], "big")
