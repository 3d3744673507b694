"""Pictures of other programs, known by the endings of their names: what each is, and how to get at its pixels."""

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
"""Endings of the names of images that are not read, in lower case and with the dot."""


def refuse_foreign(suffix: str) -> None:
    """Refuse an image by the ending of its name, before its content is looked at.

    Several of these formats are TIFF or JPEG inside, and what can be read of them is a thumbnail.

    Parameters
    ----------
    suffix : str
        Ending of the file's name, with the dot.

    Raises
    ------
    ImageError
        If the ending is one of `FOREIGN_SUFFIXES`; it says what the file is and how to get at its pixels.

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
