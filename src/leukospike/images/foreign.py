"""Images of other programs, recognised by their file extensions: what each is, and how to convert it."""

from leukospike.errors import ImageError

_SLIDE = "Export fields as TIFF or PNG, with QuPath or the scanner's software."
_MICROSCOPE = "Export it as TIFF or PNG with the microscope's software or Fiji."
_CAMERA = "Export it as TIFF or PNG with the camera's software."
_PLAIN = "Save the picture as PNG."

_FOREIGN = {
    ".svs": ("a whole-slide image from Aperio", _SLIDE),
    ".ndpi": ("a whole-slide image from Hamamatsu", _SLIDE),
    ".vms": ("a whole-slide image from Hamamatsu", _SLIDE),
    ".mrxs": ("a whole-slide image from 3DHISTECH", _SLIDE),
    ".scn": ("a whole-slide image from Leica", _SLIDE),
    ".bif": ("a whole-slide image from Ventana", _SLIDE),
    ".vsi": ("a whole-slide image from Olympus", _SLIDE),
    ".qptiff": ("a whole-slide image from PerkinElmer", _SLIDE),
    ".isyntax": ("a whole-slide image from Philips", _SLIDE),
    ".dcm": ("a DICOM file", _SLIDE),
    ".czi": ("an image from Zeiss", _MICROSCOPE),
    ".zvi": ("an image from Zeiss", _MICROSCOPE),
    ".lif": ("an image from Leica", _MICROSCOPE),
    ".nd2": ("an image from Nikon", _MICROSCOPE),
    ".oib": ("an image from Olympus", _MICROSCOPE),
    ".oir": ("an image from Olympus", _MICROSCOPE),
    ".cr2": ("a raw image from a Canon camera", _CAMERA),
    ".cr3": ("a raw image from a Canon camera", _CAMERA),
    ".nef": ("a raw image from a Nikon camera", _CAMERA),
    ".arw": ("a raw image from a Sony camera", _CAMERA),
    ".dng": ("a raw image from a camera", _CAMERA),
    ".heic": ("a HEIC image", _PLAIN),
    ".heif": ("a HEIF image", _PLAIN),
    ".avif": ("an AVIF image", _PLAIN),
    ".jxl": ("a JPEG XL image", _PLAIN),
    ".jp2": ("a JPEG 2000 image", _PLAIN),
    ".j2k": ("a JPEG 2000 image", _PLAIN),
    ".gif": ("a GIF image", _PLAIN),
    ".psd": ("a Photoshop image", _PLAIN),
}

FOREIGN_SUFFIXES = frozenset(_FOREIGN)
"""File extensions of images that are not supported, in lower case and with the dot."""


def refuse_foreign(suffix: str) -> None:
    """Raise an error for an unsupported file extension, before the content is read.

    Several of these formats are TIFF or JPEG inside, of which only a thumbnail could be read.

    Parameters
    ----------
    suffix : str
        File extension, with the dot.

    Raises
    ------
    ImageError
        If the extension is one of `FOREIGN_SUFFIXES`; the message says what the file is and how to convert it.

    Examples
    --------
    >>> refuse_foreign(".png")
    >>> refuse_foreign(".svs")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    leukospike.errors.ImageError: image must be BMP, PNG, JPEG, TIFF or WebP, got a whole-slide image from Aperio...
    """
    if suffix.lower() in _FOREIGN:
        what, advice = _FOREIGN[suffix.lower()]
        raise ImageError(
            "image must be BMP, PNG, JPEG, TIFF or WebP",
            got=f"{what} ({suffix.lower()}), which leukospike does not read",
            advice=advice,
        )
