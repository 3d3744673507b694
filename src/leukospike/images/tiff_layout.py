"""How a TIFF stores its pixels, according to its directory, and which of these layouts are supported."""

import io
import struct
from functools import cache
from typing import Any, BinaryIO

from PIL import Image
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    COMPRESSION,
    EXTRASAMPLES,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    SAMPLEFORMAT,
    SAMPLESPERPIXEL,
    TILELENGTH,
    TILEWIDTH,
    TiffImageFile,
)

from leukospike.errors import ImageError

_SMALL_TILE = 2048**2  # tiles of up to this many pixels may be larger than their image

_TIFF_BYTES = {1: 1, 3: 2, 4: 4, 6: 1, 8: 2, 9: 4, 13: 4, 16: 8, 17: 8, 18: 8}  # bytes per number of each integer type
_MAX_ENTRIES = 4096  # of a directory; real ones have about twenty
_MAX_NUMBERS = 64  # numbers read per tag; no picture has more channels
_LAYOUT_TAGS = frozenset(
    {
        BITSPERSAMPLE,
        COMPRESSION,
        EXTRASAMPLES,
        PHOTOMETRIC_INTERPRETATION,
        PLANAR_CONFIGURATION,
        SAMPLEFORMAT,
        SAMPLESPERPIXEL,
        TILELENGTH,
        TILEWIDTH,
    }
)
_CODECS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946})  # decoded by any libtiff
_OPTIONAL_CODECS = {34925: "lzma", 50000: "zstd"}  # Pillow's names of codecs that a libtiff may lack
_CODEC_NAMES = {
    9: "JBIG",
    10: "JBIG",
    22610: "JPEG XR",
    32809: "ThunderScan",
    33003: "JPEG 2000",
    33004: "JPEG 2000",
    33005: "JPEG 2000",
    34661: "JBIG",
    34676: "SGI LogL",
    34677: "SGI LogLuv",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG",
    34925: "LZMA",
    34933: "PNG",
    34934: "JPEG XR",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
_NUMBERS = {2: "signed", 3: "floating-point", 4: "undefined", 5: "complex", 6: "complex"}
_COLOURS = {
    0: "grey",
    1: "grey",
    2: "RGB",
    3: "palette",
    4: "mask",
    5: "CMYK",
    6: "YCbCr",
    8: "L*a*b*",
    9: "L*a*b*",
    10: "L*a*b*",
    32803: "raw camera",
    32844: "logarithmic",
    32845: "logarithmic",
    34892: "raw camera",
}
WHITE_IS_ZERO = 0
"""Photometric interpretation of a grey picture in ink, where 0 is white."""
GREYS = (WHITE_IS_ZERO, 1)
"""Both photometric interpretations of a grey picture."""
SEPARATE_PLANES = 2
"""Planar configuration in which each channel is stored on its own."""
PREMULTIPLIED, ALPHA = 1, 2
"""Kinds of extra sample: alpha that the colours have been multiplied by, and alpha that they have not."""


def tiff_layout(file: BinaryIO) -> dict[int, tuple[int, ...]]:
    """Read from a TIFF's first directory how its pixels are stored.

    The directory is parsed here for three reasons. Pillow does not open files that it cannot decode. Of two equal tags
    libtiff, which decodes, uses the first and Pillow the last, so both are returned. And libtiff supports types that
    Pillow ignores.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(16)
    order = "little" if head[:2] == b"II" else "big"
    large = 43 in head[2:4]
    if large and order == "big":
        msg = "content must be TIFF or little-endian BigTIFF"
        raise ImageError(
            msg,
            got="big-endian BigTIFF",
            advice="Save it as PNG.",
        )
    field = 8 if large else 4

    def number(content: bytes) -> int:
        return int.from_bytes(content, order)

    file.seek(min(number(head[8:16] if large else head[4:8]), size))
    entries = number(file.read(8 if large else 2))
    if not 0 < entries <= _MAX_ENTRIES:
        msg = f"a directory with {entries} entries"
        raise ValueError(msg)
    entry = struct.Struct(("<" if order == "little" else ">") + ("HHQ8s" if large else "HHI4s"))
    directory = file.read(entries * entry.size)
    if len(directory) < entries * entry.size:
        msg = "a truncated directory"
        raise ValueError(msg)
    tags: dict[int, tuple[int, ...]] = {}
    for tag, kind, count, value in entry.iter_unpack(directory):
        if tag not in _LAYOUT_TAGS:
            continue
        width = _TIFF_BYTES.get(kind, field)
        content = value
        if width * count > field:
            file.seek(min(number(value), size))
            content = file.read(width * min(count, _MAX_NUMBERS))
        values = [content[at : at + width] for at in range(0, min(width * count, len(content)), width)]
        tags[tag] = tags.get(tag, ()) + tuple(map(number, values))
    return tags


def check_layout(tags: dict[int, tuple[int, ...]]) -> None:
    """Raise an error that names any unsupported codec or number type."""
    for codec in tags.get(COMPRESSION, ()):
        if codec not in _CODECS and not (codec in _OPTIONAL_CODECS and _can_decode(_OPTIONAL_CODECS[codec])):
            msg = "TIFF must be uncompressed or compressed with LZW, Deflate, PackBits, CCITT or JPEG"
            raise ImageError(
                msg,
                got=f"{_CODEC_NAMES.get(codec, 'a codec')} (compression {codec})",
                advice="Save it as PNG.",
            )
    stored = max(tags.get(BITSPERSAMPLE, (1,)), default=1)
    for kind in tags.get(SAMPLEFORMAT, ()):
        if kind != 1:
            msg = "image must have unsigned integers of 8 or 16 bits per channel"
            raise ImageError(
                msg,
                got=f"{_NUMBERS.get(kind, 'unknown')} values of {stored} bits",
                advice="Save it as 8-bit PNG.",
            )
    if stored not in (1, 2, 4, 8, 16):
        msg = "image must have 8 or 16 bits per channel"
        raise ImageError(msg, got=stored, advice="Save it as PNG with 8 or 16 bits.")


@cache
def _can_decode(codec: str) -> bool:
    """Return whether Pillow's libtiff was built with a codec, by trying it; there is no other way to find out."""
    try:
        Image.new("RGB", (16, 16)).save(io.BytesIO(), "TIFF", compression=codec)
    except (OSError, RuntimeError):
        return False
    return True


def described(tags: dict[int, tuple[int, ...]]) -> str:
    """Describe how a TIFF stores a pixel."""
    photometric = tags.get(PHOTOMETRIC_INTERPRETATION, (0,))[-1]
    samples = tags.get(SAMPLESPERPIXEL, (1,))[-1]
    bits = " + ".join(map(str, dict.fromkeys(tags.get(BITSPERSAMPLE, (1,)))))
    planes = " in separate planes" if tags.get(PLANAR_CONFIGURATION, (1,))[-1] == SEPARATE_PLANES else ""
    return f"{colour_name(photometric)} of {samples} x {bits} bits{planes}"


def colour_name(photometric: int) -> str:
    """Return the name of a photometric interpretation."""
    return _COLOURS.get(photometric, f"photometric {photometric}")


def check_tiles(image: TiffImageFile, tags: dict[int, tuple[int, ...]]) -> None:
    """Raise an error for tiles far larger than the image: each is decoded whole, while libtiff trims strips."""
    columns, rows = (max(tags.get(side, (0,)), default=0) for side in (TILEWIDTH, TILELENGTH))
    # Sides of tiles are multiples of 16, so a tile that holds the image can have up to twice its pixels.
    if columns * rows > max(2 * image.width * image.height, _SMALL_TILE):
        msg = "image must have tiles no larger than about its own size"
        raise ImageError(
            msg,
            got=f"tiles of {columns} x {rows} for an image of {image.width} x {image.height}",
            advice="Save it as PNG.",
        )


def numbers(value: object) -> tuple[Any, ...]:
    """Return the numbers of a tag as a tuple; Pillow returns a single number bare."""
    return value if isinstance(value, tuple) else (value,)
