"""Convert any picture of 8 bits per channel to RGB, over white."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from leukospike.errors import ImageError
from leukospike.images.bands import EightBits, bands_of
from leukospike.images.picture import Note

_MODES = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"})


def to_rgb(picture: EightBits) -> tuple[UInt8[np.ndarray, "rows columns 3"], tuple[Note, ...]]:
    """Convert a picture of any supported mode to RGB, over white."""
    first = picture.band(slice(0, 1))
    if first.mode not in _MODES:
        msg = "image must be 8- or 16-bit grey or colour"
        raise ImageError(msg, got=f"mode {first.mode}", advice="Save it as 8-bit RGB.")
    under = first.has_transparency_data and _hides_all(picture)
    if under and _is_one_colour_under(picture):
        msg = "image must not be fully transparent"
        raise ImageError(
            msg,
            got="an alpha channel that hides every pixel, over a single colour",
            advice="Save it without transparency.",
        )
    room = picture.room
    pixels = np.empty((*picture.shape, 3), np.uint8) if room is None else room
    for rows in bands_of(picture.shape):
        pixels[rows] = _under(picture.band(rows)) if under else _over_white(picture.band(rows))
    return pixels, (Note.EMPTY_ALPHA,) if under else ()


def _hides_all(picture: EightBits) -> bool:
    """Return whether alpha is 0 everywhere."""
    return not any(_rgba(picture.band(rows)).getchannel("A").getextrema()[1] for rows in bands_of(picture.shape))


def _is_one_colour_under(picture: EightBits) -> bool:
    """Return whether a picture without its alpha channel has a single colour."""
    first = _under(picture.band(slice(0, 1)))[0, 0]
    return all((_under(picture.band(rows)) == first).all() for rows in bands_of(picture.shape))


def _under(band: Image.Image) -> UInt8[np.ndarray, "rows columns 3"]:
    """Return a band without alpha, which programs that do not support it leave empty."""
    if band.mode == "La":  # under a premultiplied alpha the colours are used as stored
        return np.repeat(np.asarray(band)[:, :, :1], 3, axis=2)
    return np.asarray(band if band.mode == "RGBa" else _rgba(band))[:, :, :3]


def _over_white(band: Image.Image) -> UInt8[np.ndarray, "rows columns 3"]:
    """Lay a band over white."""
    if not band.has_transparency_data:
        return np.asarray(band if band.mode == "RGB" else band.convert("RGB"))
    white = Image.new("RGBA", band.size, "white")
    return np.asarray(Image.alpha_composite(white, _rgba(band)).convert("RGB"))


def _rgba(band: Image.Image) -> Image.Image:
    """Return a band with its alpha channel."""
    return (band.convert("LA") if band.mode == "La" else band).convert("RGBA")
