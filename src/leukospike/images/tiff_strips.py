"""Large TIFFs of many strips, decoded a few strips at a time.

libtiff maps the whole file into memory, in addition to the picture: 400 MB for 64 million pixels of 16 bits with alpha.
Here each group of strips becomes a TIFF of its own, is decoded, and is pasted into the picture.
"""

import io
from collections.abc import Iterator
from typing import IO

from PIL import Image
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    COMPRESSION,
    EXTRASAMPLES,
    FILLORDER,
    IMAGELENGTH,
    IMAGEWIDTH,
    PHOTOMETRIC_INTERPRETATION,
    PREDICTOR,
    ROWSPERSTRIP,
    SAMPLESPERPIXEL,
    STRIPBYTECOUNTS,
    STRIPOFFSETS,
    TILEOFFSETS,
    TiffImageFile,
)

from leukospike.images.bands import swap_raw_modes
from leukospike.images.tiff_layout import numbers
from leukospike.images.tiff_planes import write_tiff

_TAGS = (
    IMAGEWIDTH,
    BITSPERSAMPLE,
    COMPRESSION,
    PHOTOMETRIC_INTERPRETATION,
    FILLORDER,
    SAMPLESPERPIXEL,
    ROWSPERSTRIP,
    PREDICTOR,
    EXTRASAMPLES,
)  # that each group takes from the whole

_OF_ONE_STRIP_EACH = frozenset({5, 8, 32773, 32946, 50000})
"""Compressions in which strips are independent: LZW, Deflate (two numbers), PackBits, Zstandard."""

_GROUP_BYTES = 2**24
"""Maximum size of a group of stored strips; files up to this size are decoded whole."""


def decode_strips(file: IO[bytes], image: TiffImageFile) -> None:
    """Decode an opened TIFF in groups of strips if it is large and allows it; otherwise leave it to be decoded whole.

    Samples are interpreted as `image.tile` says. The orientation is not applied.
    """
    tags, args = image.tag_v2, image.tile[0].args
    compression = int(tags.get(COMPRESSION, 1))
    if compression not in _OF_ONE_STRIP_EACH or TILEOFFSETS in tags or not isinstance(args, tuple):
        return
    strips = list(zip(numbers(tags[STRIPOFFSETS]), numbers(tags[STRIPBYTECOUNTS]), strict=True))
    columns, n_rows = int(tags[IMAGEWIDTH]), int(tags[IMAGELENGTH])  # before the orientation is applied
    height = int(tags.get(ROWSPERSTRIP, n_rows))
    stored = sum(length for _, length in strips)
    if stored <= _GROUP_BYTES or len(strips) != -(-n_rows // height):
        return
    if stored > file.seek(0, io.SEEK_END):
        msg = "truncated strips"
        raise ValueError(msg)
    shared: dict[int, tuple[int, ...] | bytes] = {tag: numbers(tags[tag]) for tag in _TAGS if tag in tags}
    whole = Image.new(image.mode, (columns, n_rows))
    for first, group in _groups(strips):
        top = first * height
        rows = min(len(group) * height, n_rows - top)
        with io.BytesIO() as content:
            write_tiff(
                content, tags.prefix, shared | {IMAGELENGTH: (rows,)}, (STRIPOFFSETS, STRIPBYTECOUNTS), file, group
            )
            part = TiffImageFile(content)
            swap_raw_modes(part, lambda _: args[0])
            whole.paste(part, (0, top))
    image.im, image.tile = whole.im, []


def _groups(strips: list[tuple[int, int]]) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Yield the index of the first strip of each group, and the group."""
    first, group, size = 0, list[tuple[int, int]](), 0
    for number, strip in enumerate(strips):
        if group and size + strip[1] > _GROUP_BYTES:
            yield first, group
            first, group, size = number, [], 0
        group.append(strip)
        size += strip[1]
    yield first, group
