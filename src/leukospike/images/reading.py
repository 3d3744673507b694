"""Any microscope image to RGB pixels, or one line that says why not.

An image is what its first bytes say, and only five formats are ever opened. Its size is known before a pixel is
decoded. What a camera or a program may have stored (16 bit, grey, palette, CMYK, transparency, a turned picture) ends
as the same upright 8-bit RGB, so nothing later in the pipeline has to ask.
"""

import hashlib
import io
import math
import re
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from math import inf, isfinite
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float, UInt, UInt8, UInt16
from PIL import ExifTags, Image, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile, PngInfo
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    COMPRESSION,
    EXTRASAMPLES,
    FILLORDER,
    IMAGEDESCRIPTION,
    IMAGELENGTH,
    IMAGEWIDTH,
    JPEGTABLES,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    PREDICTOR,
    RESOLUTION_UNIT,
    ROWSPERSTRIP,
    SAMPLEFORMAT,
    SAMPLESPERPIXEL,
    STRIPBYTECOUNTS,
    STRIPOFFSETS,
    TILEBYTECOUNTS,
    TILELENGTH,
    TILEOFFSETS,
    TILEWIDTH,
    X_RESOLUTION,
    Y_RESOLUTION,
    TiffImageFile,
)
from PIL.WebPImagePlugin import WebPImageFile

from leukospike.errors import ImageError
from leukospike.storage.files import written_whole

MAX_PIXELS = 64_000_000
"""Largest image decoded; a whole field is 5 million pixels, and 64 million take 192 MB as RGB."""

MIN_SIDE = 16
"""Fewest rows and columns; nothing smaller shows a cell."""

MAX_SCANS = 100
"""Most scans of a JPEG: a progressive one has about ten, and each passes over every pixel again."""

PLAUSIBLE_UM_PER_PX = (0.02, 2.0)
"""Pixel sizes that a light microscope can have: finer is below its resolution, at coarser a cell is a dot."""

_SUFFIXES = {
    ".bmp": "BMP",
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WebP",
}

IMAGE_SUFFIXES = frozenset(_SUFFIXES)
"""Endings of the file names that are read, in lower case and with the dot."""

# Pillow's own classes instead of Image.open: no other format can be reached, and no process-wide warning is raised
# for a large image before our own limit has refused it, which threads could not catch safely.
_READERS: dict[str, type[ImageFile]] = {
    "BMP": BmpImageFile,
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,
    "TIFF": TiffImageFile,
    "WebP": WebPImageFile,
}

_MAGIC = {
    b"BM": "BMP",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff\xf7": "JPEG-LS",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"GIF8": "GIF",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"%PDF": "PDF",
    b"PK\x03\x04": "ZIP",
    b"8BPS": "Photoshop",
}

_PLAIN_MODES = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"})
_GREY_16_MODES = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})

_SMALL_TILE = 2048**2  # pixels up to which a tile may be larger than its image

_TIFF_BYTES = {1: 1, 3: 2, 4: 4, 6: 1, 8: 2, 9: 4, 13: 4, 16: 8, 17: 8, 18: 8}  # of one number of each whole type
_MAX_ENTRIES = 4096  # of a directory; real ones have some twenty
_MAX_NUMBERS = 64  # read of one tag: more than any picture has channels
_MAX_SAMPLE_VALUE = 281
_IMAGE_DEPTH = 32997
_PLANES_OF_METAMORPH = 33629
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
_CODECS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946})  # that any libtiff decodes
_OPTIONAL_CODECS = {34925: "lzma", 50000: "zstd"}  # as Pillow calls those that a libtiff may lack
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
_WHITE_IS_ZERO, _YCBCR = 0, 6
_GREYS = (0, 1)
_SEPARATE_PLANES = 2
_PREMULTIPLIED, _ALPHA = 1, 2  # kinds of extra sample
# Mode of the picture that separate planes of each colour space make, without alpha, under it, and multiplied by it.
_MODES_OF_PLANES = {0: ("L", "LA", "La"), 1: ("L", "LA", "La"), 2: ("RGB", "RGBA", "RGBa"), 5: ("CMYK",)}

_TAGS_OF_PLANES = (
    IMAGEWIDTH,
    IMAGELENGTH,
    COMPRESSION,
    FILLORDER,
    PREDICTOR,
    ROWSPERSTRIP,
    TILEWIDTH,
    TILELENGTH,
    JPEGTABLES,
)  # that each has of the whole

_OME_PIXELS = re.compile(r"<(?:\w+:)?Pixels\b([^>]*)>")

_OTHER_BYTE = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}
_NARROW_BITS = (8, 10, 12, 14)

_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")  # but for those that stand within a scan, without a length
_SCAN, _END = 0xDA, 0xD9
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

_LYING = (5, 6, 7, 8)  # EXIF orientations that swap rows and columns

_UM_PER_INCH = 25_400
_GENERATED = "generated by leukospike smears; not a patient"


class Note(StrEnum):
    """What was done to read a picture, beyond what its format asks for."""

    EMPTY_ALPHA = "empty_alpha"
    """Its alpha channel hides every pixel; it was left out, as there is a picture under it."""
    BITS_8_IN_16 = "8_bits_in_16"
    """Its 16-bit channels hold no value above 255, which was taken as their full range."""
    BITS_10_IN_16 = "10_bits_in_16"
    """The same for 1023."""
    BITS_12_IN_16 = "12_bits_in_16"
    """The same for 4095, as a camera of 12 bits leaves it."""
    BITS_14_IN_16 = "14_bits_in_16"
    """The same for 16383."""


@dataclass(frozen=True)
class Picture:
    """One decoded image and what is known of its origin."""

    pixels: UInt8[np.ndarray, "rows columns 3"]
    """Upright RGB, 0-255."""
    format: str
    """As found in the content: BMP, PNG, JPEG, TIFF or WebP."""
    bit_depth: int
    """Bits per channel that the picture uses: 8 or 16 as the file stores, but 8, 10, 12 or 14 where 16 bits hold no
    more, as `notes` then say."""
    generated: bool
    """Whether it was drawn by ``leukospike smears`` and shows nobody's blood."""
    um_per_px: float | None = None
    """Side of a pixel on the glass, micrometres, as the file states it; None if it states none, or one outside
    `PLAUSIBLE_UM_PER_PX`, such as a screen's 72 dots per inch."""
    stored_size: tuple[int, int] | None = None
    """Rows and columns of the upright picture in the file, which `pixels` have unless they were read reduced."""
    notes: tuple[Note, ...] = ()
    """What was done to read it, if anything."""


def read_image(path: Path, *, at_least: int | None = None) -> Picture:
    """Decode one image to upright 8-bit RGB.

    Sixteen-bit channels keep their high byte: the full range 0-65535 is taken, so that the same picture gives the same
    pixels whether stored as grey or as colour, and an 8-bit picture widened to 16 bits comes back exactly. But where
    no value of any colour reaches beyond 8, 10, 12 or 14 bits, that range is taken and noted: such files come from
    cameras of so many bits, and of the full range they would fill the darkest part alone. Ink (CMYK, white as zero) is
    exempt, as low values are bright there; so is a picture of 14 bits that states its 16.

    Grey becomes three equal channels. Transparent pixels are laid over white, the empty background of a bright-field
    smear; an alpha channel that would hide every pixel is left out and noted if there is a picture under it. CMYK is
    converted without a colour profile; embedded profiles are not applied. An EXIF or TIFF orientation is applied. Of
    the pictures in a camera's multi-picture JPEG the first, full-size one is read.

    The function keeps no state and may be called from many threads.

    Parameters
    ----------
    path : Path
        A file whose name ends in one of `IMAGE_SUFFIXES` and whose content is of that format.
    at_least : int, optional
        Where a reduced picture will do: a JPEG may then come with its sides divided by 2, 4 or 8, which is several
        times faster, as long as the longer is no shorter than this, pixels.

    Returns
    -------
    Picture
        Pixels uint8, 0-255, RGB, (rows, columns, 3).

    Raises
    ------
    ImageError
        If the file is missing, unreadable, empty, truncated or damaged, not an image, of another format than its name
        says or of one that is not read, of more than `MAX_PIXELS` pixels or under `MIN_SIDE` rows or columns, of
        several pages or planes, of tiles far larger than itself or of more than `MAX_SCANS` scans, of a codec, byte
        order or layout that is not read, of numbers other than unsigned ones of up to 16 bits, or hidden by its alpha
        channel with nothing under it. The message is the reason alone, without the path.
    """
    try:
        if path.is_fifo():  # opening it would wait for its other end for ever
            msg = "image must be a file, got a pipe. Leave it out."
            raise ImageError(msg)
        with path.open("rb") as file:
            kind = _kind(file, path.suffix)
            return _decode(file, kind, at_least)
    except OSError as error:
        # Only opening and reading arrive here: what Pillow raises about the content is translated in _decode.
        msg = f"file must be readable, got '{error.strerror or error}'. Check that it exists and its permissions."
        raise ImageError(msg) from error


def luma(pixels: UInt8[np.ndarray, "rows columns 3"]) -> Float[np.ndarray, "rows columns"]:
    """Grey value of each pixel by ITU-R 601: 0.299 R + 0.587 G + 0.114 B, rounded as Pillow's mode ``L`` rounds.

    Parameters
    ----------
    pixels : ndarray of shape (rows, columns, 3)
        RGB, uint8, 0-255.

    Returns
    -------
    ndarray of shape (rows, columns)
        float32, 0-1, in steps of 1/255.
    """
    grey = np.asarray(Image.fromarray(pixels).convert("L"), dtype=np.float32)
    return grey / np.float32(255)


def pixel_digest(pixels: UInt8[np.ndarray, "rows columns 3"]) -> str:
    """SHA-256 over size and RGB values: equal exactly for equal pixels, whatever file they came from.

    Parameters
    ----------
    pixels : ndarray of shape (rows, columns, 3)
        RGB, uint8, 0-255.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    digest = hashlib.sha256(f"{pixels.shape[0]} {pixels.shape[1]} ".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def write_png(
    path: Path,
    pixels: UInt8[np.ndarray, "rows columns 3"],
    *,
    generated: bool = False,
    um_per_px: float | None = None,
) -> None:
    """Write RGB pixels as PNG, whole or not at all.

    Parameters
    ----------
    path : Path
        Where the file shall be; its folder is made if missing.
    pixels : ndarray of shape (rows, columns, 3)
        RGB, uint8, 0-255.
    generated : bool
        Say inside the file that the image was drawn by this program; `read_image` gives it back in
        `Picture.generated`.
    um_per_px : float, optional
        Side of a pixel on the glass, micrometres, kept in the file as its resolution.
    """
    notes = PngInfo()
    if generated:
        notes.add_text("Source", _GENERATED)
    resolution = {} if um_per_px is None else {"dpi": (_UM_PER_INCH / um_per_px,) * 2}
    with written_whole(path) as part:
        Image.fromarray(pixels).save(part, format="PNG", pnginfo=notes, **resolution)


def _kind(file: BinaryIO, suffix: str) -> str:
    """Name the format of the content, and refuse one that is not read or not what the name says."""
    head = file.read(16)
    if not head:
        msg = "file must not be empty, got 0 bytes. Copy it again from its source."
        raise ImageError(msg)
    kind = next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        kind = "WebP"
    if head[4:8] == b"ftyp":
        kind = "HEIC, AVIF or a film"
    if kind is None:
        msg = (
            f"content must be BMP, PNG, JPEG, TIFF or WebP, got no known image (it begins with {head[:8]!r})."
            " Copy it again from its source or leave it out."
        )
        raise ImageError(msg)
    if kind not in _READERS:
        msg = f"content must be BMP, PNG, JPEG, TIFF or WebP, got {kind}. Save the picture as PNG."
        raise ImageError(msg)
    if _SUFFIXES.get(suffix.lower()) != kind:
        right = next(ending for ending, name in _SUFFIXES.items() if name == kind)
        ending = f"a name ending in {suffix!r}" if suffix else "a name without an ending"
        msg = f"content must be of the format that the name says, got {kind} in {ending}. Rename it to end in {right}."
        raise ImageError(msg)
    file.seek(0)
    return kind


def _decode(file: BinaryIO, kind: str, at_least: int | None) -> Picture:
    """Decode content known to begin like `kind`."""
    try:
        image = _opened(file, kind)
        _check_size(image)
        _check_pages(image)
        stored = _stored_bits(image)  # before getexif, which decodes a PNG
        um_per_px = _um_per_px(image)
        columns, rows = image.size
        if at_least is not None:
            share = min(1.0, at_least / max(image.size))
            image.draft(None, (math.ceil(columns * share), math.ceil(rows * share)))
        lies = image.getexif().get(ExifTags.Base.Orientation, 1) in _LYING
        eight_bit, depth, notes = _decoded(file, kind, image, stored)
        pixels, hidden = _rgb(eight_bit)
    except ImageError:
        raise
    except Exception as error:
        # Damaged content makes Pillow's readers fail in a dozen ways (SyntaxError, struct.error, zlib.error,
        # OverflowError, ...); for the user they are one.
        detail = " ".join(str(error).split())[:120] or type(error).__name__
        if detail.startswith("Unsupported"):  # as Pillow says of forms of BMP
            msg = f"content must be {kind} of a form that is read here, got another ({detail}). Save it as PNG."
        else:
            msg = (
                f"content must be a whole {kind} image, got one truncated or damaged ({detail})."
                " Copy it again from its source."
            )
        raise ImageError(msg) from error
    generated = kind == "PNG" and image.info.get("Source") == _GENERATED
    if kind == "JPEG":  # the one that may be reduced
        stored_size = (columns, rows) if lies else (rows, columns)
    else:
        stored_size = (pixels.shape[0], pixels.shape[1])
    return Picture(
        pixels=pixels,
        format=kind,
        bit_depth=depth,
        generated=generated,
        um_per_px=um_per_px,
        stored_size=stored_size,
        notes=notes + hidden,
    )


def _opened(file: BinaryIO, kind: str) -> ImageFile:
    """Read the header alone, and refuse what the decoder cannot do or is not to be trusted with."""
    file.seek(0)
    if kind == "JPEG":
        _check_jpeg(file)
    elif kind == "TIFF":
        tags = _layout(file)
        _check_layout(tags)
        file.seek(0)
        try:
            image = TiffImageFile(file)
        except SyntaxError as error:  # the directory is whole, so it is the layout that Pillow does not know
            msg = f"content must be TIFF of a layout that is read here, got {_described(tags)}. Save it as 8-bit PNG."
            raise ImageError(msg) from error
        _check_tiles(image, tags)
        return image
    return _READERS[kind](file)


def _check_size(image: Image.Image) -> None:
    """Refuse before decoding what is too large to hold or too small to show a cell."""
    size = f"{image.width} x {image.height}"
    if image.width * image.height > MAX_PIXELS:
        msg = f"image must have at most {MAX_PIXELS:,} pixels, got {size}. Cut it into smaller images."
        raise ImageError(msg)
    if min(image.size) < MIN_SIDE:
        msg = f"image must be at least {MIN_SIDE} x {MIN_SIDE} pixels, got {size}. Leave it out or use the full image."
        raise ImageError(msg)


def _check_pages(image: Image.Image) -> None:
    """Refuse stacks and animations: which page shows the cell, the file does not say."""
    pages = 1
    if isinstance(image, TiffImageFile):
        # The pages of a TIFF are a chain, and to count them takes time that grows with the square of their number.
        pages = "several" if getattr(image, "is_animated", False) else _stated_planes(image)
    elif getattr(image, "is_animated", False):
        pages = getattr(image, "n_frames", "several")
    if pages != 1:
        msg = f"image must be a single page, got {pages}. Save the page you mean as PNG, a file of its own."
        raise ImageError(msg)


def _stated_planes(image: TiffImageFile) -> int:
    """Count the planes that a TIFF of one directory tells of: the others lie behind the first, or in other files."""
    tags = image.tag_v2
    note = str(tags.get(IMAGEDESCRIPTION, ""))
    counts = [int(_numbers(tags.get(_IMAGE_DEPTH, 1))[0]), len(_numbers(tags.get(_PLANES_OF_METAMORPH, 1)))]
    samples = int(_numbers(tags.get(SAMPLESPERPIXEL, 1))[0])
    if note.startswith("ImageJ="):
        stated = {name: int(count) for name, count in re.findall(r"^(\w+)=(\d{1,9})\s*$", note, re.MULTILINE)}
        counts += [stated.get("images", 1), math.prod(stated.get(axis, 1) for axis in ("channels", "slices", "frames"))]
    elif (shape := re.match(r'\{"shape": \[([\d, ]+)\].*"truncated": true', note)) is not None:
        sizes = [int(size) for size in shape[1].split(",")]  # as tifffile notes it
        counts.append(math.prod(sizes) // (image.width * image.height * samples))
    else:
        series = [dict(re.findall(r'Size([ZTC])="(\d{1,9})"', pixels)) for pixels in _OME_PIXELS.findall(note)]
        # The colours of one pixel are one plane.
        counts.append(
            sum(int(s.get("Z", 1)) * int(s.get("T", 1)) * -(-int(s.get("C", 1)) // samples) for s in series),
        )
    if image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) in _GREYS:
        alpha = _numbers(tags.get(EXTRASAMPLES, 0))[0] in (_PREMULTIPLIED, _ALPHA)
        counts.append(samples - alpha)  # of several greys Pillow reads the first alone
    return max(1, *counts)


def _layout(file: BinaryIO) -> dict[int, tuple[int, ...]]:
    """Read what a TIFF's first directory says of how its pixels are stored.

    From the directory itself: Pillow opens no file that it cannot decode, libtiff, which decodes, takes the first of
    two equal tags and Pillow the last, so both are given, and libtiff knows types that Pillow passes over.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(16)
    order = "little" if head[:2] == b"II" else "big"
    large = 43 in head[2:4]
    if large and order == "big":
        msg = "content must be TIFF or little-endian BigTIFF, got BigTIFF of big-endian byte order. Save it as PNG."
        raise ImageError(msg)
    field = 8 if large else 4

    def number(content: bytes) -> int:
        return int.from_bytes(content, order)

    file.seek(min(number(head[8:16] if large else head[4:8]), size))
    entries = number(file.read(8 if large else 2))
    if not 0 < entries <= _MAX_ENTRIES:
        msg = f"a directory of {entries} entries"
        raise ValueError(msg)
    entry = struct.Struct(("<" if order == "little" else ">") + ("HHQ8s" if large else "HHI4s"))
    directory = file.read(entries * entry.size)
    if len(directory) < entries * entry.size:
        msg = "a directory cut short"
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
        numbers = [content[at : at + width] for at in range(0, min(width * count, len(content)), width)]
        tags[tag] = tags.get(tag, ()) + tuple(map(number, numbers))
    return tags


def _check_layout(tags: dict[int, tuple[int, ...]]) -> None:
    """Refuse codecs and numbers that are not read, by their names."""
    for codec in tags.get(COMPRESSION, ()):
        if codec not in _CODECS and not (codec in _OPTIONAL_CODECS and _can_decode(_OPTIONAL_CODECS[codec])):
            name = _CODEC_NAMES.get(codec, "a codec")
            msg = (
                "TIFF must be uncompressed or compressed by LZW, Deflate, PackBits, CCITT or JPEG,"
                f" got {name} (compression {codec}). Save it as PNG."
            )
            raise ImageError(msg)
    stored = max(tags.get(BITSPERSAMPLE, (1,)), default=1)
    for kind in tags.get(SAMPLEFORMAT, ()):
        if kind != 1:
            msg = (
                "image must have unsigned whole numbers of 8 or 16 bits per channel,"
                f" got {_NUMBERS.get(kind, 'unknown')} ones of {stored} bits. Save it as 8-bit PNG."
            )
            raise ImageError(msg)
    if stored not in (1, 2, 4, 8, 16):
        msg = f"image must have 8 or 16 bits per channel, got {stored}. Save it as PNG with 8 or 16."
        raise ImageError(msg)


@cache
def _can_decode(codec: str) -> bool:
    """Try whether the libtiff that came with Pillow was built with a codec; there is no other way to ask it."""
    try:
        Image.new("RGB", (16, 16)).save(io.BytesIO(), "TIFF", compression=codec)
    except (OSError, RuntimeError):
        return False
    return True


def _described(tags: dict[int, tuple[int, ...]]) -> str:
    """Put into words how a TIFF stores a pixel."""
    photometric = tags.get(PHOTOMETRIC_INTERPRETATION, (0,))[-1]
    samples = tags.get(SAMPLESPERPIXEL, (1,))[-1]
    bits = " + ".join(map(str, dict.fromkeys(tags.get(BITSPERSAMPLE, (1,)))))
    planes = " in separate planes" if tags.get(PLANAR_CONFIGURATION, (1,))[-1] == _SEPARATE_PLANES else ""
    colour = _COLOURS.get(photometric, f"photometric {photometric}")
    return f"{colour} of {samples} x {bits} bits{planes}"


def _check_tiles(image: TiffImageFile, tags: dict[int, tuple[int, ...]]) -> None:
    """Refuse tiles far larger than the image: each is decoded whole. Strips are cut to the image by libtiff."""
    columns, rows = (max(tags.get(side, (0,)), default=0) for side in (TILEWIDTH, TILELENGTH))
    # Sides of tiles are multiples of 16: one that holds the image can have up to twice its pixels.
    if columns * rows > max(2 * image.width * image.height, _SMALL_TILE):
        msg = (
            f"image must have tiles of about its own size at most, got tiles of {columns} x {rows} for an image of"
            f" {image.width} x {image.height}. Save it as PNG."
        )
        raise ImageError(msg)


def _check_jpeg(file: BinaryIO) -> None:
    """Refuse a JPEG that would have its pixels passed over again and again, or that has more than 8 bits."""
    content = file.read()
    file.seek(0)
    scans, position = 0, 2
    while (marker := _JPEG_MARKER.search(content, position)) is not None:
        kind = content[marker.start() + 1]
        if kind == _END:
            return  # what a camera appends, such as more pictures, is not read
        precision = content[marker.end() + 2 : marker.end() + 3]
        if kind in _FRAMES and precision not in (b"", b"\x08"):
            msg = f"JPEG must have 8 bits per channel, got {precision[0]}. Save it as PNG."
            raise ImageError(msg)
        scans += kind == _SCAN
        if scans > MAX_SCANS:
            msg = f"image must have at most {MAX_SCANS} JPEG scans, got more. Save it as PNG."
            raise ImageError(msg)
        position = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2], "big")


def _stored_bits(image: Image.Image) -> int:
    """Tell 16 from 8 bits per stored channel; Pillow's mode hides it for colour."""
    if isinstance(image, TiffImageFile):
        return 16 if max(_numbers(image.tag_v2.get(BITSPERSAMPLE, 1))) == 16 else 8
    if isinstance(image, PngImageFile):
        # Pillow names the stored form, such as "RGB;16B", in the first tile of compressed data.
        return 16 if ";16" in str(image.tile[0].args) else 8
    return 8


def _um_per_px(image: Image.Image) -> float | None:
    """Read the resolution that a file states, if a microscope could have it and pixels are square."""
    try:
        sides = _stated_um_per_px(image)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None  # a malformed note is no reason to refuse the picture
    if not all(isfinite(side) and PLAUSIBLE_UM_PER_PX[0] <= side <= PLAUSIBLE_UM_PER_PX[1] for side in sides):
        return None
    return sum(sides) / 2 if max(sides) <= 1.02 * min(sides) else None


def _stated_um_per_px(image: Image.Image) -> tuple[float, float]:
    """Give the width and height of a pixel, micrometres; infinite where the file does not say."""
    unknown = (inf, inf)
    if isinstance(image, TiffImageFile):
        note = str(image.tag_v2.get(IMAGEDESCRIPTION, ""))
        stored = (image.tag_v2.get(X_RESOLUTION, 0), image.tag_v2.get(Y_RESOLUTION, 0))
        if note.startswith("ImageJ=") and re.search(r"^unit=(micron|um|\xb5m|\\u00B5m)$", note, re.MULTILINE):
            per_um = stored  # ImageJ keeps its unit in the note, and pixels per unit as the resolution
        else:
            um = {2: _UM_PER_INCH, 3: 10_000}.get(image.tag_v2.get(RESOLUTION_UNIT, 2))  # inch, centimetre
            if um is None:
                return unknown
            per_um = (stored[0] / um, stored[1] / um)
    else:
        dpi = image.info.get("dpi", (0, 0))
        per_um = (dpi[0] / _UM_PER_INCH, dpi[1] / _UM_PER_INCH)
    x, y = float(per_um[0]), float(per_um[1])
    return (1 / x, 1 / y) if x > 0 and y > 0 else unknown


def _decoded(file: BinaryIO, kind: str, image: ImageFile, stored: int) -> tuple[Image.Image, int, tuple[Note, ...]]:
    """Decode to an upright picture of 8 bits per channel, and tell how many the file uses."""
    if isinstance(image, TiffImageFile) and _in_planes(image):
        mode, samples = _joined_planes(file, image)
    elif image.mode in _GREY_16_MODES:
        # Not convert("L"): Pillow clips there, and every bright pixel would end as 255.
        mode, samples = "L", np.asarray(_upright(image))[:, :, np.newaxis].astype(np.uint16)
    else:
        # Pillow would divide by alpha here, which no colour under an alpha of 0 survives.
        premultiplied = isinstance(image, TiffImageFile) and _swap_raw_modes(image, _undivided)
        eight_bit = _upright(image)
        mode = "RGBa" if premultiplied else eight_bit.mode
        if stored == 8:
            return (_as_image(mode, np.asarray(eight_bit)) if premultiplied else eight_bit), 8, ()
        high = np.asarray(eight_bit)
        if high[:, :, :3].max() >> (max(_NARROW_BITS) - 8) and "transparency" not in image.info:
            return _as_image(mode, high), 16, ()  # as nearly always: the low bytes would change nothing
        mode, samples = _with_low_bytes(file, kind, mode, high)
    if (key := image.info.get("transparency")) is not None:  # a 16-bit colour, of which Pillow compares the low byte
        opaque = (samples != np.array(key, np.uint16)).any(axis=2, keepdims=True)
        mode, samples = mode + "A", np.concatenate([samples, opaque * np.uint16(65535)], axis=2)
    ink = isinstance(image, TiffImageFile) and image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO
    colours = len(mode.rstrip("Aa"))
    bits = stored
    if stored == 16 and not ink and mode != "CMYK":
        bits = _used_bits(samples[:, :, :colours], _claimed_bits(image))
    alpha_bits = stored if (samples[:, :, colours:] >= 1 << bits).any() else bits
    narrow = np.empty_like(samples, np.uint8)  # in the order in memory of the samples, which for planes is theirs
    np.right_shift(samples[:, :, :colours], bits - 8, out=narrow[:, :, :colours], casting="unsafe")
    np.right_shift(samples[:, :, colours:], alpha_bits - 8, out=narrow[:, :, colours:], casting="unsafe")
    if ink:  # Pillow turns such an image round itself, but none of 16 bits or of planes
        narrow[:, :, :colours] = 255 - narrow[:, :, :colours]
    notes = (Note(f"{bits}_bits_in_16"),) if bits < stored else ()
    return _as_image(mode, narrow), bits, notes


def _upright(image: Image.Image) -> Image.Image:
    """Decode, and turn as the file says."""
    ImageOps.exif_transpose(image, in_place=True)
    return image


def _as_image(mode: str, samples: UInt8[np.ndarray, "rows columns *channels"]) -> Image.Image:
    """Take samples for a picture of a mode, without any conversion."""
    return Image.frombytes(mode, (samples.shape[1], samples.shape[0]), samples.tobytes())


def _swap_raw_modes(image: ImageFile, swap: Callable[[str], str]) -> bool:
    """Have stored samples taken in another way, and tell whether it is another."""
    before = image.tile
    image.tile = [
        tile._replace(args=(swap(args[0]), *args[1:]) if isinstance(args := tile.args, tuple) else swap(str(args)))
        for tile in before
    ]
    return image.tile != before


def _undivided(raw_mode: str) -> str:
    """Name the form of samples that takes those multiplied by alpha as they are."""
    return raw_mode.replace("RGBa", "RGBA")


def _with_low_bytes(
    file: BinaryIO, kind: str, mode: str, high: UInt8[np.ndarray, "rows columns channels"]
) -> tuple[str, UInt16[np.ndarray, "rows columns channels"]]:
    """Decode a picture of 16-bit colours again for the bytes that Pillow leaves out."""
    image = _opened(file, kind)
    if isinstance(image, PngImageFile) and image.tile[0].args == "LA;16B":  # which Pillow makes RGBA
        _swap_raw_modes(image, lambda _: "RGBA")
        return "LA", np.ascontiguousarray(_upright(image)).view(">u2").astype(np.uint16)
    _swap_raw_modes(image, lambda raw: _undivided(raw)[:-3] + _OTHER_BYTE[raw[-3:]])
    return mode, high.astype(np.uint16) << 8 | np.asarray(_upright(image))


def _used_bits(colours: UInt16[np.ndarray, "rows columns channels"], claimed: int | None) -> int:
    """Tell how many bits the values in 16 need, of those that cameras have."""
    top = int(colours.max())
    bits = next((bits for bits in _NARROW_BITS if top < 1 << bits), 16)
    if bits == 16 or not (colours % 257).any() or not (colours % 256).any():
        return 16  # the latter two are a dark picture of 8 bits, widened
    if claimed is not None and claimed > bits:
        wider = next((wider for wider in _NARROW_BITS if wider >= claimed), 16)
        # A claim of 16 may only mean the container. It is believed unless the picture would then be all but black.
        bits = wider if wider < 16 or bits > 12 else bits
    return bits


def _claimed_bits(image: Image.Image) -> int | None:
    """Read how many bits a TIFF itself says that its values have."""
    if not isinstance(image, TiffImageFile):
        return None
    claims = re.findall(r'\bSignificantBits="(\d{1,2})"', str(image.tag_v2.get(IMAGEDESCRIPTION, "")))
    if claims:
        return max(map(int, claims))
    largest = _numbers(image.tag_v2.get(_MAX_SAMPLE_VALUE, ()))
    return int(max(largest)).bit_length() if largest else None


def _numbers(value: object) -> tuple[Any, ...]:
    """Give the numbers of a tag, of which Pillow leaves a single one bare."""
    return value if isinstance(value, tuple) else (value,)


def _in_planes(image: TiffImageFile) -> bool:
    """Tell whether each channel is stored on its own, which Pillow reads wrongly or not at all in many forms."""
    tags = image.tag_v2
    samples = _numbers(tags.get(SAMPLESPERPIXEL, 1))[0]
    return tags.get(PLANAR_CONFIGURATION) == _SEPARATE_PLANES and samples > 1


def _joined_planes(file: BinaryIO, image: TiffImageFile) -> tuple[str, UInt[np.ndarray, "rows columns channels"]]:
    """Decode a TIFF of separate planes: each by itself, as the grey picture that it is."""
    tags = image.tag_v2
    samples = int(_numbers(tags[SAMPLESPERPIXEL])[0])
    photometric = int(tags.get(PHOTOMETRIC_INTERPRETATION, 0))
    bits = set(_numbers(tags.get(BITSPERSAMPLE, 1)))
    if photometric not in _MODES_OF_PLANES or bits not in ({8}, {16}):
        colour = _COLOURS.get(photometric, f"photometric {photometric}")
        msg = (
            "TIFF in separate planes must be grey, RGB or CMYK of 8 or 16 bits,"
            f" got {colour} of {' + '.join(map(str, bits))}. Save it as 8-bit PNG."
        )
        raise ImageError(msg)
    modes = _MODES_OF_PLANES[photometric]
    colours = len(modes[0])
    extra = _numbers(tags.get(EXTRASAMPLES, (_ALPHA,)))[0] if samples > colours else 0
    mode = modes[{_ALPHA: 1, _PREMULTIPLIED: 2}.get(extra, 0) if len(modes) > 1 else 0]
    planes = [np.asarray(_upright(plane)) for _, plane in zip(mode, _planes(file, image, samples), strict=False)]
    return mode, np.moveaxis(np.stack(planes), 0, 2)


def _planes(file: BinaryIO, image: TiffImageFile, samples: int) -> Iterator[ImageFile]:
    """Give each plane of a TIFF as a grey TIFF of its own, made of its blocks as they are stored."""
    tags = image.tag_v2
    at, lengths = (TILEOFFSETS, TILEBYTECOUNTS) if TILEOFFSETS in tags else (STRIPOFFSETS, STRIPBYTECOUNTS)
    blocks = list(zip(_numbers(tags[at]), _numbers(tags[lengths]), strict=True))
    if len(blocks) % samples or sum(length for _, length in blocks) > file.seek(0, io.SEEK_END):
        msg = f"{len(blocks)} blocks for {samples} planes"
        raise ValueError(msg)
    shared: dict[int, tuple[int, ...] | bytes] = {
        tag: value if isinstance(value := tags[tag], bytes) else _numbers(value)
        for tag in (*_TAGS_OF_PLANES, ExifTags.Base.Orientation)
        if tag in tags
    }
    columns, rows, bits = image.width, image.height, max(_numbers(tags[BITSPERSAMPLE]))
    shared |= {BITSPERSAMPLE: (bits,), PHOTOMETRIC_INTERPRETATION: (1,)}
    count = len(blocks) // samples
    for first in range(0, len(blocks), count):
        contents: list[bytes] = []
        for offset, length in blocks[first : first + count]:
            file.seek(offset)
            contents.append(file.read(length))
        whole = columns * rows * bits // 8 if shared.get(COMPRESSION, (1,)) == (1,) else 1
        if sum(map(len, contents)) < max(whole, sum(length for _, length in blocks[first : first + count])):
            msg = "a plane cut short"  # behind which Pillow would read on
            raise ValueError(msg)
        yield TiffImageFile(io.BytesIO(_tiff(tags.prefix, shared, (at, lengths), contents)))


def _tiff(
    prefix: bytes, tags: dict[int, tuple[int, ...] | bytes], block_tags: tuple[int, int], blocks: list[bytes]
) -> bytes:
    """Put together a TIFF of one directory: head, blocks, what does not fit into the directory, directory."""
    order = "<" if prefix == b"II" else ">"
    starts = [8]
    for block in blocks:
        starts.append(starts[-1] + len(block))
    tags = tags | {block_tags[0]: tuple(starts[:-1]), block_tags[1]: tuple(map(len, blocks))}
    content = b"".join(blocks)
    entries: list[bytes] = []
    for tag, values in sorted(tags.items()):
        kind, value = (7, values) if isinstance(values, bytes) else (4, struct.pack(f"{order}{len(values)}I", *values))
        if len(value) > 4:
            content, value = content + value, struct.pack(f"{order}I", 8 + len(content))
        entries.append(struct.pack(f"{order}HHI4s", tag, kind, len(values), value))
    head = prefix + struct.pack(f"{order}HI", 42, 8 + len(content))
    return head + content + struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4)


def _rgb(image: Image.Image) -> tuple[UInt8[np.ndarray, "rows columns 3"], tuple[Note, ...]]:
    """Turn any mode of 8 bits that is read into RGB, over white."""
    if image.mode not in _PLAIN_MODES:
        msg = f"image must be 8- or 16-bit grey or colour, got mode {image.mode}. Save it as 8-bit RGB."
        raise ImageError(msg)
    if not image.has_transparency_data:
        return np.array(image if image.mode == "RGB" else image.convert("RGB")), ()
    rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    if rgba.getchannel("A").getextrema() == (0, 0):
        # Programs that know of no alpha leave it empty. Under a premultiplied one colours are as they are stored.
        stored = np.asarray(image if image.mode in ("La", "RGBa") else rgba)
        under = np.repeat(stored[:, :, :1], 3, axis=2) if image.mode == "La" else stored[:, :, :3].copy()
        if (under == under[0, 0]).all():
            msg = (
                "image must show something, got an alpha channel that hides every pixel and a single colour under it."
                " Save it without transparency."
            )
            raise ImageError(msg)
        return under, (Note.EMPTY_ALPHA,)
    white = Image.new("RGBA", image.size, "white")
    return np.array(Image.alpha_composite(white, rgba).convert("RGB")), ()
