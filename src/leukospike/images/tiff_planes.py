"""TIFFs that store each channel separately, many of which Pillow reads wrongly or not at all.

Each plane becomes a grey TIFF of its own, made of the blocks as stored; the planes are decoded one after another.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, BinaryIO

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    COMPRESSION,
    EXTRASAMPLES,
    FILLORDER,
    IMAGELENGTH,
    IMAGEWIDTH,
    JPEGTABLES,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    PREDICTOR,
    ROWSPERSTRIP,
    SAMPLESPERPIXEL,
    STRIPBYTECOUNTS,
    STRIPOFFSETS,
    TILEBYTECOUNTS,
    TILELENGTH,
    TILEOFFSETS,
    TILEWIDTH,
    TiffImageFile,
)

from leukospike.errors import ImageError
from leukospike.images.bands import Decoded, EightBits, as_image, bands_of, cut_out, upright
from leukospike.images.bit_depth import FULL, ValueRange, claimed_bits
from leukospike.images.tiff_layout import ALPHA, PREMULTIPLIED, SEPARATE_PLANES, WHITE_IS_ZERO, colour_name, numbers

# Picture mode for separate planes of each colour space: without alpha, with alpha, and multiplied by alpha.
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
)  # that each plane takes from the whole

_CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class _Planes(EightBits):
    """8-bit channels, each in a separate array."""

    mode: str
    planes: list[UInt8[np.ndarray, "rows columns"]]

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.planes[0].shape
        return rows, columns

    def band(self, rows: slice) -> Image.Image:
        return as_image(self.mode, np.stack([plane[rows] for plane in self.planes], axis=2))


def in_planes(image: Image.Image) -> bool:
    """Return whether a file is a TIFF with separate planes."""
    if not isinstance(image, TiffImageFile):
        return False
    samples = numbers(image.tag_v2.get(SAMPLESPERPIXEL, 1))[0]
    return image.tag_v2.get(PLANAR_CONFIGURATION) == SEPARATE_PLANES and samples > 1


def decode_planes(file: BinaryIO, image: TiffImageFile) -> Decoded:
    """Decode an opened TIFF with separate planes."""
    tags = image.tag_v2
    photometric = int(tags.get(PHOTOMETRIC_INTERPRETATION, 0))
    bits = set(numbers(tags.get(BITSPERSAMPLE, 1)))
    if photometric not in _MODES_OF_PLANES or bits not in ({8}, {16}):
        msg = "TIFF with separate planes must be grey, RGB or CMYK of 8 or 16 bits"
        raise ImageError(
            msg,
            got=f"{colour_name(photometric)} of {' + '.join(map(str, bits))}",
            advice="Save it as 8-bit PNG.",
        )
    mode, colours = _mode_of(image, photometric)
    in_ink = photometric == WHITE_IS_ZERO
    if bits == {8}:
        planes = [_narrowed(plane, 8, in_ink=in_ink and n < colours) for n, plane in _decoded(file, image, mode)]
        return Decoded(_Planes(mode, planes), 8)
    # Nearly always all bits are used, and the high ones are kept; otherwise all planes are decoded again.
    used, planes = ValueRange(), []
    for n, plane in _decoded(file, image, mode):
        for rows in bands_of((plane.height, plane.width)):
            if not used.is_full:
                used.add(_samples(plane, rows).astype(np.uint16)[:, :, np.newaxis], colours=int(n < colours))
        planes.append(_narrowed(plane, 16, in_ink=in_ink and n < colours))
        del plane
    depth = FULL if in_ink or mode == "CMYK" else used.depth(claimed_bits(image))
    if depth != FULL:
        planes.clear()
        for n, plane in _decoded(file, image, mode):
            planes.append(_narrowed(plane, depth.bits if n < colours else depth.alpha_bits, in_ink=False))
            del plane
    return Decoded(_Planes(mode, planes), depth.bits, depth.notes)


def _mode_of(image: TiffImageFile, photometric: int) -> tuple[str, int]:
    """Return the picture mode of the planes together, and how many of them are colours."""
    tags, modes = image.tag_v2, _MODES_OF_PLANES[photometric]
    samples, colours = int(numbers(tags[SAMPLESPERPIXEL])[0]), len(modes[0])
    extra = numbers(tags.get(EXTRASAMPLES, (ALPHA,)))[0] if samples > colours else 0
    return modes[{ALPHA: 1, PREMULTIPLIED: 2}.get(extra, 0) if len(modes) > 1 else 0], colours


def _samples(plane: Image.Image, rows: slice) -> np.ndarray:
    """Return some rows of a plane with its own number of bits."""
    return np.asarray(cut_out(plane, rows))


def _narrowed(plane: Image.Image, bits: int, *, in_ink: bool) -> UInt8[np.ndarray, "rows columns"]:
    """Return the highest 8 of the used bits, inverted for ink, which is dark where its values are high."""
    narrow = np.empty((plane.height, plane.width), np.uint8)
    for rows in bands_of((plane.height, plane.width)):
        np.right_shift(_samples(plane, rows), bits - 8, out=narrow[rows], casting="unsafe")
        if in_ink:
            np.subtract(255, narrow[rows], out=narrow[rows])
    return narrow


def _decoded(file: BinaryIO, image: TiffImageFile, mode: str) -> Iterator[tuple[int, Image.Image]]:
    """Decode the planes that a mode needs, one after another."""
    tags = image.tag_v2
    samples = int(numbers(tags[SAMPLESPERPIXEL])[0])
    at, lengths = (TILEOFFSETS, TILEBYTECOUNTS) if TILEOFFSETS in tags else (STRIPOFFSETS, STRIPBYTECOUNTS)
    blocks = list(zip(numbers(tags[at]), numbers(tags[lengths]), strict=True))
    if len(blocks) % samples or sum(length for _, length in blocks) > file.seek(0, io.SEEK_END):
        msg = f"{len(blocks)} blocks for {samples} planes"
        raise ValueError(msg)
    shared: dict[int, tuple[int, ...] | bytes] = {
        tag: value if isinstance(value := tags[tag], bytes) else numbers(value)
        for tag in (*_TAGS_OF_PLANES, ExifTags.Base.Orientation)
        if tag in tags
    }
    bits = max(numbers(tags[BITSPERSAMPLE]))
    shared |= {BITSPERSAMPLE: (bits,), PHOTOMETRIC_INTERPRETATION: (1,)}
    whole = image.width * image.height * bits // 8 if shared.get(COMPRESSION, (1,)) == (1,) else 1
    count = len(blocks) // samples
    for n in range(len(mode)):
        own = blocks[n * count : (n + 1) * count]
        if sum(length for _, length in own) < whole:
            msg = "a truncated plane"  # Pillow would read beyond its end
            raise ValueError(msg)
        with io.BytesIO() as content:
            write_tiff(content, tags.prefix, shared, (at, lengths), file, own)
            plane = upright(TiffImageFile(content))
        yield n, plane
        del plane  # frees it before the next one is decoded; callers do the same


def write_tiff(
    into: io.BytesIO,
    prefix: bytes,
    tags: dict[int, tuple[int, ...] | bytes],
    block_tags: tuple[int, int],
    file: IO[bytes],
    blocks: list[tuple[int, int]],
) -> None:
    """Write a TIFF with one directory: header, blocks, values that do not fit into the directory, directory."""
    order = "<" if prefix == b"II" else ">"
    into.write(bytes(8))
    starts: list[int] = []
    for offset, length in blocks:
        starts.append(into.tell())
        _copy(file, offset, length, into)
    tags = tags | {block_tags[0]: tuple(starts), block_tags[1]: tuple(length for _, length in blocks)}
    entries: list[bytes] = []
    for tag, values in sorted(tags.items()):
        kind, value = (7, values) if isinstance(values, bytes) else (4, struct.pack(f"{order}{len(values)}I", *values))
        if len(value) > 4:
            place = into.tell()
            into.write(value)
            value = struct.pack(f"{order}I", place)
        entries.append(struct.pack(f"{order}HHI4s", tag, kind, len(values), value))
    directory = into.tell()
    into.write(struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4))
    into.seek(0)
    into.write(prefix + struct.pack(f"{order}HI", 42, directory))
    into.seek(0)


def _copy(file: IO[bytes], offset: int, length: int, into: io.BytesIO) -> None:
    """Copy a block piece by piece, so that it is in memory only once."""
    file.seek(offset)
    while length > 0:
        piece = file.read(min(length, _CHUNK_BYTES))
        if not piece:
            msg = "a truncated plane"
            raise ValueError(msg)
        into.write(piece)
        length -= len(piece)
