"""How many bits a channel has, and which of them become the 8 bits of a pixel."""

import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, IMAGEDESCRIPTION, TiffImageFile

from leukospike.images.picture import Note
from leukospike.images.tiff_layout import numbers

_NARROW_BITS = (8, 10, 12, 14)
_MAX_SAMPLE_VALUE = 281


@dataclass(frozen=True)
class Depth:
    """How many of 16 bits a picture uses."""

    bits: int
    """Bits used by the colours."""
    alpha_bits: int
    """Bits used by the alpha channel, if there is one."""

    @property
    def notes(self) -> tuple[Note, ...]:
        """Note on a narrow range, if it is one."""
        return (Note(f"{self.bits}_bits_in_16"),) if self.bits < 16 else ()

    def narrowed(
        self, samples: UInt16[np.ndarray, "rows columns channels"], *, colours: int
    ) -> UInt8[np.ndarray, "rows columns channels"]:
        """Return the highest 8 of the used bits; channels after the colours are alpha."""
        narrow = np.empty(samples.shape, np.uint8)
        np.right_shift(samples[:, :, :colours], self.bits - 8, out=narrow[:, :, :colours], casting="unsafe")
        np.right_shift(samples[:, :, colours:], self.alpha_bits - 8, out=narrow[:, :, colours:], casting="unsafe")
        return narrow


FULL = Depth(16, 16)
"""All 16 bits."""


def stored_bits(image: Image.Image) -> int:
    """Return 16 or 8, the bits per stored channel; for colour Pillow's mode does not show it."""
    if isinstance(image, TiffImageFile):
        return 16 if max(numbers(image.tag_v2.get(BITSPERSAMPLE, 1))) == 16 else 8
    if isinstance(image, PngImageFile):
        # Pillow names the stored form, such as "RGB;16B", in the first tile of compressed data.
        return 16 if ";16" in str(image.tile[0].args) else 8
    return 8


def claimed_bits(image: Image.Image) -> int | None:
    """Return the number of bits that a TIFF states for its values, or None."""
    if not isinstance(image, TiffImageFile):
        return None
    claims = re.findall(r'\bSignificantBits="(\d{1,2})"', str(image.tag_v2.get(IMAGEDESCRIPTION, "")))
    if claims:
        return max(map(int, claims))
    largest = numbers(image.tag_v2.get(_MAX_SAMPLE_VALUE, ()))
    return int(max(largest)).bit_length() if largest else None


def may_be_narrow(high: int) -> bool:
    """Return whether colours with this largest high byte may have fewer than 16 bits."""
    return high >> (max(_NARROW_BITS) - 8) == 0


class ValueRange:
    """The range of a picture's values, collected band by band."""

    def __init__(self) -> None:
        self._top = self._top_alpha = 0
        # Whether each value so far is an 8-bit value, repeated in both bytes or in the high byte only.
        self._repeated = self._raised = True

    @property
    def is_full(self) -> bool:
        """Whether the values so far already show that all bits are used."""
        return not may_be_narrow(self._top >> 8)

    def add(self, samples: UInt16[np.ndarray, "rows columns channels"], *, colours: int) -> None:
        """Add some rows; channels after the colours are alpha."""
        values = samples[:, :, :colours]
        self._top = max(self._top, int(values.max(initial=0)))
        self._top_alpha = max(self._top_alpha, int(samples[:, :, colours:].max(initial=0)))
        self._repeated = self._repeated and not (values % 257).any()
        self._raised = self._raised and not (values % 256).any()

    def depth(self, claimed: int | None) -> Depth:
        """Return the bits that the values need, among those that cameras have; `claimed` is what the file states."""
        if self.is_full or self._repeated or self._raised:
            return FULL  # the latter two are dark 8-bit pictures, widened
        bits = next(bits for bits in _NARROW_BITS if self._top < 1 << bits)
        if claimed is not None and claimed > bits:
            wider = next((wider for wider in _NARROW_BITS if wider >= claimed), 16)
            # A claim of 16 may only mean the container. It is believed unless the picture would be nearly black.
            bits = wider if wider < 16 or bits > 12 else bits
        return Depth(bits, 16 if self._top_alpha >= 1 << bits else bits)
