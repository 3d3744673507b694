"""Pictures of 8 bits per channel in bands of rows, so that a large one is never in memory twice on its way to RGB."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile

from leukospike.images.picture import Note

# Measured on 64 million pixels: as fast as any other size, and a step needs less than 20 MB beside the picture.
_BAND_PIXELS = 2**20


class EightBits(ABC):
    """A picture of 8 bits per channel, which may be computed band by band."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    def room(self) -> UInt8[np.ndarray, "rows columns 3"] | None:
        """Memory for the picture as RGB: a band of it may be written once the picture's own band has been read."""
        return None

    @abstractmethod
    def band(self, rows: slice) -> Image.Image:
        """Return some rows, in any 8-bit mode."""


@dataclass(frozen=True)
class Whole(EightBits):
    """A picture that Pillow has decoded to 8 bits."""

    image: Image.Image
    mode: str
    """Meaning of the samples; Pillow may have been given another mode so that it leaves them unchanged."""

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
    """A picture ready to become RGB, and what its file was found to contain."""

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
    """Return some rows of a picture as a separate one."""
    whole = rows.start == 0 and rows.stop >= image.height
    return image if whole else image.crop((0, rows.start, image.width, rows.stop))


def upright(image: Image.Image) -> Image.Image:
    """Decode a picture and apply its orientation."""
    ImageOps.exif_transpose(image, in_place=True)
    return image


def as_image(mode: str, samples: UInt8[np.ndarray, "rows columns channels"]) -> Image.Image:
    """Return samples as a picture of the given mode, without conversion."""
    return Image.frombytes(mode, (samples.shape[1], samples.shape[0]), samples.tobytes())


def swap_raw_modes(image: ImageFile, swap: Callable[[str], str]) -> bool:
    """Change how stored samples are interpreted, and return whether anything changed."""
    before = image.tile
    image.tile = [
        tile._replace(args=(swap(args[0]), *args[1:]) if isinstance(args := tile.args, tuple) else swap(str(args)))
        for tile in before
    ]
    return image.tile != before


def undivided(raw_mode: str) -> str:
    """Return the raw mode that leaves samples multiplied by alpha unchanged."""
    return raw_mode.replace("RGBa", "RGBA")
