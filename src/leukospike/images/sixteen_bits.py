"""Convert pictures of 16 bits per channel to 8 bits, by the range that their values use.

Pillow decodes 16-bit colours to their high bytes. Nearly always these already show that the whole range is used, and
they are then the picture. Otherwise the file is decoded a second time for the low bytes.
"""

import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import PHOTOMETRIC_INTERPRETATION, TiffImageFile

from leukospike.images.bands import (
    Decoded,
    EightBits,
    Whole,
    as_image,
    bands_of,
    cut_out,
    swap_raw_modes,
    undivided,
    upright,
)
from leukospike.images.bit_depth import FULL, Depth, ValueRange, claimed_bits, may_be_narrow
from leukospike.images.formats import open_header
from leukospike.images.tiff_layout import WHITE_IS_ZERO
from leukospike.images.tiff_strips import decode_strips

_GREY_MODES = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})
"""Modes of Pillow that hold all 16 bits."""

_GREY_ALPHA = "LA;16B"
"""Raw mode of a PNG that Pillow would convert to RGBA."""

_OTHER_BYTE = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}


class _Samples(ABC):
    """A picture of 16 bits per channel."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    def room(self) -> UInt8[np.ndarray, "rows columns 3"] | None:
        """As for `EightBits`."""
        return None

    @abstractmethod
    def samples(self, rows: slice) -> UInt16[np.ndarray, "some_rows columns channels"]:
        """Return some rows."""


@dataclass(frozen=True)
class _Grey(_Samples):
    """Grey as held by Pillow, with alpha if one value is transparent."""

    image: Image.Image
    transparent: int | None

    @property
    def shape(self) -> tuple[int, int]:
        return self.image.height, self.image.width

    def samples(self, rows: slice) -> UInt16[np.ndarray, "some_rows columns channels"]:
        grey = np.asarray(cut_out(self.image, rows))[:, :, np.newaxis].astype(np.uint16)
        return grey if self.transparent is None else _with_alpha(grey, self.transparent)


@dataclass(frozen=True)
class _GreyAndAlpha(_Samples):
    """Grey and alpha, whose bytes Pillow treats as red, green, blue and alpha."""

    image: Image.Image

    @property
    def shape(self) -> tuple[int, int]:
        return self.image.height, self.image.width

    def samples(self, rows: slice) -> UInt16[np.ndarray, "some_rows columns 2"]:
        return np.asarray(cut_out(self.image, rows)).view(">u2").astype(np.uint16)


@dataclass(frozen=True)
class _Colours(_Samples):
    """Colours in two halves: their high bytes, and a picture of their low bytes."""

    high: "HighBytes"
    low: Image.Image

    @property
    def shape(self) -> tuple[int, int]:
        return self.low.height, self.low.width

    @property
    def room(self) -> UInt8[np.ndarray, "rows columns 3"]:
        return self.high.colours

    def samples(self, rows: slice) -> UInt16[np.ndarray, "some_rows columns channels"]:
        samples = np.asarray(cut_out(self.low, rows)).astype(np.uint16)
        samples[:, :, :3] |= self.high.colours[rows].astype(np.uint16) << 8
        if self.high.fourth is not None:
            samples[:, :, 3] |= self.high.fourth[rows].astype(np.uint16) << 8
        return samples if self.high.transparent is None else _with_alpha(samples, self.high.transparent)


@dataclass(frozen=True)
class _Narrowed(EightBits):
    """A 16-bit picture presented as an 8-bit one."""

    source: _Samples
    mode: str
    depth: Depth
    in_ink: bool
    """Whether 0 is white; Pillow inverts such pictures itself, except those of 16 bits."""

    @property
    def shape(self) -> tuple[int, int]:
        return self.source.shape

    @property
    def room(self) -> UInt8[np.ndarray, "rows columns 3"] | None:
        return self.source.room

    def band(self, rows: slice) -> Image.Image:
        colours = n_colours(self.mode)
        narrow = self.depth.narrowed(self.source.samples(rows), colours=colours)
        if self.in_ink:
            np.subtract(255, narrow[:, :, :colours], out=narrow[:, :, :colours])
        return as_image(self.mode, narrow)


@dataclass(frozen=True)
class HighBytes:
    """A colour picture whose low bytes are needed too."""

    mode: str
    colours: UInt8[np.ndarray, "rows columns 3"]
    fourth: UInt8[np.ndarray, "rows columns"] | None
    """Alpha, or any other channel after the three colours."""
    transparent: tuple[int, ...] | None
    """The transparent colour, if the file names one."""
    claimed: int | None
    """Number of bits that the file states."""


def n_colours(mode: str) -> int:
    """Count the channels of a mode that are not alpha."""
    return len(mode.rstrip("Aa"))


def decode_sixteen(image: ImageFile) -> Decoded | HighBytes:
    """Decode an opened file of 16 bits per channel, not in planes, as far as a single pass allows."""
    claimed, transparent = claimed_bits(image), image.info.get("transparency")
    if image.mode in _GREY_MODES:
        # Not convert("L"), which clips: every bright pixel would become 255.
        in_ink = isinstance(image, TiffImageFile) and image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == WHITE_IS_ZERO
        mode = "L" if transparent is None else "LA"
        return _narrowed(_Grey(upright(image), transparent), mode, claimed, in_ink=in_ink)
    if isinstance(image, PngImageFile) and image.tile[0].args == _GREY_ALPHA:
        swap_raw_modes(image, lambda _: "RGBA")  # keeps all four bytes; Pillow would drop two
        return _narrowed(_GreyAndAlpha(upright(image)), "LA", claimed, in_ink=False)
    # Pillow would divide by alpha here, which destroys colours under an alpha of 0.
    premultiplied = isinstance(image, TiffImageFile) and swap_raw_modes(image, undivided)
    _decode(image)
    mode = "RGBa" if premultiplied else upright(image).mode
    whole = Decoded(Whole(upright(image), mode), 16)
    if mode == "CMYK":
        return whole
    # Nearly always the low bytes would change nothing. A transparent colour is compared using both bytes.
    tops = (int(np.asarray(cut_out(image, rows))[:, :, :3].max()) for rows in bands_of(whole.picture.shape))
    if transparent is None and not all(may_be_narrow(top) for top in tops):
        return whole
    return _high_bytes(image, mode, transparent, claimed)


def with_low_bytes(file: BinaryIO, kind: str, high: HighBytes) -> Decoded:
    """Decode a file again for the bytes that Pillow drops."""
    image = open_header(file, kind)
    swap_raw_modes(image, lambda raw: undivided(raw)[:-3] + _OTHER_BYTE[raw[-3:]])
    _decode(image)
    mode = high.mode if high.transparent is None else high.mode + "A"
    return _narrowed(_Colours(high, upright(image)), mode, high.claimed, in_ink=False)


def _decode(image: ImageFile) -> None:
    """Decode large TIFFs in groups of strips; anything else is decoded when it is needed."""
    if isinstance(image, TiffImageFile) and image.fp is not None:
        decode_strips(image.fp, image)


def _narrowed(source: _Samples, mode: str, claimed: int | None, *, in_ink: bool) -> Decoded:
    """Find the range of a picture and map it to 8 bits; ink always has the full range, as low values are bright."""
    depth = FULL
    if not in_ink:
        used = ValueRange()
        for rows in bands_of(source.shape):
            used.add(source.samples(rows), colours=n_colours(mode))
            if used.is_full:
                break
        depth = used.depth(claimed)
    return Decoded(_Narrowed(source, mode, depth, in_ink), depth.bits, depth.notes)


def _high_bytes(image: Image.Image, mode: str, transparent: tuple[int, ...] | None, claimed: int | None) -> HighBytes:
    """Copy a picture of high bytes out of Pillow, so that its memory can be released."""
    shape = image.height, image.width
    colours = np.empty((*shape, 3), np.uint8)
    fourth = np.empty(shape, np.uint8) if len(image.getbands()) > 3 else None
    for rows in bands_of(shape):
        samples = np.asarray(cut_out(image, rows))
        colours[rows] = samples[:, :, :3]
        if fourth is not None:
            fourth[rows] = samples[:, :, 3]
    return HighBytes(mode, colours, fourth, transparent, claimed)


def _with_alpha(
    samples: UInt16[np.ndarray, "rows columns colours"], transparent: int | tuple[int, ...]
) -> UInt16[np.ndarray, "rows columns channels"]:
    """Add an alpha channel that hides one colour; Pillow would compare only its low bytes."""
    opaque = (samples != np.array(transparent, np.uint16)).any(axis=2, keepdims=True)
    return np.concatenate([samples, opaque * np.uint16(65535)], axis=2)
