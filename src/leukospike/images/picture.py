"""One decoded image: its pixels, its origin, and notes on how it was read."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image


class Note(StrEnum):
    """What was done to read a picture, beyond what its format requires."""

    EMPTY_ALPHA = "empty_alpha"
    """Its alpha channel hides every pixel and was ignored, since there is a picture under it."""
    BITS_8_IN_16 = "8_bits_in_16"
    """Its 16-bit channels hold no value above 255, which was treated as their full range."""
    BITS_10_IN_16 = "10_bits_in_16"
    """The same for 1023."""
    BITS_12_IN_16 = "12_bits_in_16"
    """The same for 4095, as from a 12-bit camera."""
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
    """Bits per channel that the picture uses: 8 or 16 as stored, or 8, 10, 12 or 14 if 16-bit channels use no more;
    `notes` then says so."""
    generated: bool
    """Whether it was drawn by ``leukospike smears`` and shows no real blood."""
    um_per_px: float | None = None
    """Side of a pixel on the glass, micrometres, as stated in the file; None if it states none, or one outside
    `PLAUSIBLE_UM_PER_PX`, such as a screen's 72 dots per inch."""
    stored_size: tuple[int, int] | None = None
    """Rows and columns of the upright picture in the file; those of `pixels` unless it was read at reduced size."""
    notes: tuple[Note, ...] = ()
    """What was done to read it, if anything."""


def luma(pixels: UInt8[np.ndarray, "rows columns 3"]) -> Float[np.ndarray, "rows columns"]:
    """Return the grey value of each pixel by ITU-R 601: 0.299 R + 0.587 G + 0.114 B, rounded as in Pillow's mode ``L``.

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
    """Return the SHA-256 of size and RGB values: equal exactly for equal pixels, whatever file they came from.

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
