"""Pictures of 8 bits per channel in bands of rows, so that a large one is never held twice while it becomes RGB."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile

from leukospike.images.picture import Note

# Measured on 64 million pixels: as fast as any, and what a step needs beside the picture stays below 20 MB.
_BAND_PIXELS = 2**20


class EightBits(ABC):
    """A picture of 8 bits per channel, which may be worked out band by band."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    def room(self) -> UInt8[np.ndarray, "rows columns 3"] | None:
        """Memory for the picture in RGB: a band of it may be written once the picture's own band has been read."""
        return None

    @abstractmethod
    def band(self, rows: slice) -> Image.Image:
        """Return some rows, in any mode of 8 bits."""


@dataclass(frozen=True)
class Whole(EightBits):
    """A picture that Pillow has decoded to 8 bits."""

    image: Image.Image
    mode: str
    """What the samples mean; Pillow may have been told otherwise, so that it leaves them as they are."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.image.height, self.image.width

    def band(self, rows: slice) -> Image.Image:
        """Return some rows."""
        cut = cut_out(self.image, rows)
        return cut if cut.mode == self.mode else Image.frombytes(self.mode, cut.size, cut.tobytes())


@dataclass(frozen=True)
class Decoded:
    """A picture ready to become RGB, and what its file was found to hold."""

    picture: EightBits
    bits: int
    """Bits per channel that the picture uses."""
    notes: tuple[Note, ...] = ()


def bands_of(shape: tuple[int, int]) -> Iterator[slice]:
    """Split the rows of a picture into bands."""
    rows, columns = shape
    height = max(1, _BAND_PIXELS // columns)
    for top in range(0, rows, height):
        yield slice(top, min(top + height, rows))


def cut_out(image: Image.Image, rows: slice) -> Image.Image:
    """Return some rows of a picture as one of its own."""
    return image.crop((0, rows.start, image.width, rows.stop))


def upright(image: Image.Image) -> Image.Image:
    """Decode, and turn as the file says."""
    ImageOps.exif_transpose(image, in_place=True)
    return image


def as_image(mode: str, samples: UInt8[np.ndarray, "rows columns channels"]) -> Image.Image:
    """Return samples as a picture of a mode, without any conversion."""
    return Image.frombytes(mode, (samples.shape[1], samples.shape[0]), samples.tobytes())


def swap_raw_modes(image: ImageFile, swap: Callable[[str], str]) -> bool:
    """Have stored samples taken in another way, and tell whether it is another."""
    before = image.tile
    image.tile = [
        tile._replace(args=(swap(args[0]), *args[1:]) if isinstance(args := tile.args, tuple) else swap(str(args)))
        for tile in before
    ]
    return image.tile != before


def undivided(raw_mode: str) -> str:
    """Name the form of samples that takes those multiplied by alpha as they are."""
    return raw_mode.replace("RGBa", "RGBA")
