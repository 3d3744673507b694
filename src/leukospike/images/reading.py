"""Read any microscope image as RGB pixels, or give the reason in one line.

The format is determined by the first bytes, and only five formats are ever opened. The size is known before any pixel
is decoded. Whatever a camera or program has stored (16 bit, grey, palette, CMYK, transparency, a rotated picture), the
result is upright 8-bit RGB, so later steps need no case distinctions.
"""

import math
from pathlib import Path
from typing import BinaryIO

from PIL import ExifTags, Image
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from leukospike.errors import ImageError
from leukospike.images.bands import Decoded, Whole, swap_raw_modes, undivided, upright
from leukospike.images.bit_depth import stored_bits
from leukospike.images.foreign import refuse_foreign
from leukospike.images.formats import format_of, open_header
from leukospike.images.pages import check_pages
from leukospike.images.picture import Picture
from leukospike.images.pixel_size import um_per_px
from leukospike.images.rgb import to_rgb
from leukospike.images.sixteen_bits import HighBytes, decode_sixteen, with_low_bytes
from leukospike.images.tiff_planes import decode_planes, in_planes
from leukospike.images.writing import GENERATED

MAX_PIXELS = 64_000_000
"""Largest image decoded; a whole field is 5 million pixels, and 64 million take 192 MB as RGB."""

MIN_SIDE = 16
"""Minimum number of rows and columns; nothing smaller shows a cell."""

_LYING = (5, 6, 7, 8)  # EXIF orientations that swap rows and columns


def read_image(path: str | Path, *, at_least: int | None = None) -> Picture:
    """Decode one image to upright 8-bit RGB.

    Sixteen-bit channels keep their high byte. The full range 0-65535 is used, so that the same picture gives the same
    pixels whether stored as grey or as colour, and an 8-bit picture widened to 16 bits is restored exactly. If no value
    of any colour needs more than 8, 10, 12 or 14 bits, however, that range is used and noted: such files come from
    cameras of that bit depth, and would fill only the darkest part of the full range. Ink (CMYK, white as zero) is
    exempt, since low values are bright there; so is a 14-bit picture that states 16 bits.

    Grey becomes three equal channels. Transparent pixels are laid over white, the empty background of a bright-field
    smear. An alpha channel that would hide every pixel is ignored, with a note, if there is a picture under it. CMYK is
    converted without a colour profile; embedded profiles are not applied. An EXIF or TIFF orientation is applied. From
    a camera's multi-picture JPEG the first, full-size picture is read.

    The function keeps no state and may be called from many threads.

    Parameters
    ----------
    path : str or Path
        A file whose name ends in one of `IMAGE_SUFFIXES` and whose content has that format.
    at_least : int, optional
        Shortest acceptable longer side, pixels, if a reduced picture is sufficient. A JPEG may then be read with its
        sides divided by 2, 4 or 8, which is several times faster.

    Returns
    -------
    Picture
        Pixels uint8, 0-255, RGB, (rows, columns, 3).

    Raises
    ------
    ImageError
        If the file is missing, unreadable, empty, truncated or damaged; if it is not an image, its format is not
        supported or does not match its name; if it has more than `MAX_PIXELS` pixels, fewer than `MIN_SIDE` rows or
        columns, several pages or planes, tiles far larger than itself, more than `MAX_SCANS` scans, an unsupported
        codec, byte order or layout, or values other than unsigned integers of up to 16 bits; or if its alpha channel
        hides it with nothing under it. The message is only the reason, without the path.

    Examples
    --------
    >>> import tempfile
    >>> import leukospike as ls
    >>> from leukospike.smears import SmearConfig, generate_cohort
    >>> config = SmearConfig(n_subjects=2, cells_per_subject=1, fields_per_subject=0, cell_size_px=100)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = next(generate_cohort(config, Path(folder) / "cohort").rglob("*.png"))
    ...     picture = ls.read_image(file)
    >>> picture.pixels.shape, picture.format
    ((100, 100, 3), 'PNG')
    """
    path = Path(path)
    try:
        if path.is_fifo():  # opening it would wait for its other end forever
            msg = "image must be a file"
            raise ImageError(msg, got="a pipe", advice="Leave it out.")
        refuse_foreign(path.suffix)
        with path.open("rb") as file:
            kind = format_of(file, path.suffix)
            return _decode(file, kind, at_least)
    except OSError as error:
        # Only errors of opening and reading arrive here; what Pillow raises about the content is translated in _decode.
        msg = "file must be readable"
        raise ImageError(
            msg,
            got=f"'{error.strerror or error}'",
            advice="Check that it exists, and check its permissions.",
        ) from error


def _decode(file: BinaryIO, kind: str, at_least: int | None) -> Picture:
    """Decode content that begins like `kind`."""
    try:
        image = open_header(file, kind)
        _check_size(image)
        check_pages(image)
        side_um = um_per_px(image)
        columns, rows = image.size
        if at_least is not None:
            share = min(1.0, at_least / max(image.size))
            image.draft(None, (math.ceil(columns * share), math.ceil(rows * share)))
        lies = kind == "JPEG" and image.getexif().get(ExifTags.Base.Orientation, 1) in _LYING
        decoded = _decoded(file, image)
        generated = kind == "PNG" and image.info.get("Source") == GENERATED
        del image  # whose memory is needed for the second decoding
        if isinstance(decoded, HighBytes):
            decoded = with_low_bytes(file, kind, decoded)
        pixels, hidden = to_rgb(decoded.picture)
    except ImageError:
        raise
    except Exception as error:
        # Damaged content makes Pillow's readers fail in a dozen ways (SyntaxError, struct.error, zlib.error,
        # OverflowError, ...); for the user they are one.
        detail = " ".join(str(error).split())[:120] or type(error).__name__
        if detail.startswith("Unsupported"):  # Pillow's words for variants of BMP
            rule, got = f"content must be {kind} in a supported form", f"another form ({detail})"
            raise ImageError(rule, got=got, advice="Save it as PNG.") from error
        rule, got = f"content must be a complete {kind} image", f"a truncated or damaged one ({detail})"
        raise ImageError(rule, got=got, advice="Copy it again from its source.") from error
    if kind == "JPEG":  # the one that may be reduced
        stored_size = (columns, rows) if lies else (rows, columns)
    else:
        stored_size = (pixels.shape[0], pixels.shape[1])
    return Picture(
        pixels=pixels,
        format=kind,
        bit_depth=decoded.bits,
        generated=generated,
        um_per_px=side_um,
        stored_size=stored_size,
        notes=decoded.notes + hidden,
    )


def _decoded(file: BinaryIO, image: ImageFile) -> Decoded | HighBytes:
    """Decode an opened file to an upright picture of 8 bits per channel, or to its high bytes."""
    if isinstance(image, TiffImageFile) and in_planes(image):
        return decode_planes(file, image)
    if stored_bits(image) == 16:
        return decode_sixteen(image)
    # Pillow would divide by alpha here, which destroys colours under an alpha of 0.
    premultiplied = isinstance(image, TiffImageFile) and swap_raw_modes(image, undivided)
    eight_bits = upright(image)
    return Decoded(Whole(eight_bits, "RGBa" if premultiplied else eight_bits.mode), 8)


def _check_size(image: Image.Image) -> None:
    """Raise an error before decoding if the image is too large for memory or too small to show a cell."""
    size = f"{image.width} x {image.height}"
    if image.width * image.height > MAX_PIXELS:
        msg = f"image must have at most {MAX_PIXELS:,} pixels"
        raise ImageError(msg, got=size, advice="Split it into smaller images.")
    if min(image.size) < MIN_SIDE:
        msg = f"image must be at least {MIN_SIDE} x {MIN_SIDE} pixels"
        raise ImageError(
            msg,
            got=size,
            advice="Leave it out or use the full image.",
        )
