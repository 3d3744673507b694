"""The supported formats, and how they are recognised by a file's first bytes and its name."""

from pathlib import Path
from typing import BinaryIO

from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from leukospike.errors import ImageError
from leukospike.images.jpeg import check_jpeg
from leukospike.images.tiff_layout import check_layout, check_tiles, described, tiff_layout

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
"""Supported file extensions, in lower case and with the dot."""

# Pillow's own classes instead of Image.open: no other format can be reached, and a large image raises no process-wide
# warning, which threads could not catch safely, before our own limit rejects it.
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


def format_of(file: BinaryIO, suffix: str) -> str:
    """Return the format of the content; raise an error if it is unsupported or does not match the file extension."""
    head = file.read(16)
    if not head:
        msg = "file must not be empty"
        raise ImageError(msg, got="0 bytes", advice="Copy it again from its source.")
    kind = _kind_of(head)
    if kind is None:
        msg = "content must be BMP, PNG, JPEG, TIFF or WebP"
        raise ImageError(
            msg,
            got=f"an unknown format (it begins with {head[:8]!r})",
            advice="Copy it again from its source or leave it out.",
        )
    if kind not in _READERS:
        msg = "content must be BMP, PNG, JPEG, TIFF or WebP"
        raise ImageError(msg, got=kind, advice="Save the picture as PNG.")
    if _SUFFIXES.get(suffix.lower()) != kind:
        right = next(ending for ending, name in _SUFFIXES.items() if name == kind)
        ending = f"a name ending in {suffix!r}" if suffix else "a name without an extension"
        msg = "content must match the file extension"
        raise ImageError(
            msg,
            got=f"{kind} in {ending}",
            advice=f"Rename it to end in {right}.",
        )
    file.seek(0)
    return kind


def begins_as_image(path: Path) -> bool:
    """Return whether a file begins like one of the supported formats, whatever its name.

    Parameters
    ----------
    path : Path

    Returns
    -------
    bool
        False if it cannot be read or is not a regular file.
    """
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return _kind_of(file.read(16)) in _READERS
    except OSError:
        return False


def _kind_of(head: bytes) -> str | None:
    """Return the format by the first 16 bytes, or None if it is unknown."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp":
        return "HEIC, AVIF or a video"
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


def open_header(file: BinaryIO, kind: str) -> ImageFile:
    """Read only the header; raise an error for content that the decoder cannot or should not decode."""
    file.seek(0)
    if kind == "JPEG":
        check_jpeg(file)
    elif kind == "TIFF":
        tags = tiff_layout(file)
        check_layout(tags)
        file.seek(0)
        try:
            image = TiffImageFile(file)
        except SyntaxError as error:  # the directory is complete, so it is the layout that Pillow does not support
            msg = "content must be TIFF in a supported layout"
            raise ImageError(
                msg,
                got=described(tags),
                advice="Save it as 8-bit PNG.",
            ) from error
        check_tiles(image, tags)
        return image
    return _READERS[kind](file)
