"""Pictures of other programs, known by the endings of their names: what each is, and how to get at its pixels."""

from leukospike.errors import ImageError

_SLIDE = "Export fields from it as TIFF or PNG, with QuPath or the scanner's program."
_MICROSCOPE = "Export it as TIFF or PNG with the microscope's program or Fiji."
_CAMERA = "Export it as TIFF or PNG with the camera's program."
_PLAIN = "Save the picture as PNG."

_FOREIGN = {
    ".svs": ("a whole-slide image of Aperio", _SLIDE),
    ".ndpi": ("a whole-slide image of Hamamatsu", _SLIDE),
    ".vms": ("a whole-slide image of Hamamatsu", _SLIDE),
    ".mrxs": ("a whole-slide image of 3DHISTECH", _SLIDE),
    ".scn": ("a whole-slide image of Leica", _SLIDE),
    ".bif": ("a whole-slide image of Ventana", _SLIDE),
    ".vsi": ("a whole-slide image of Olympus", _SLIDE),
    ".qptiff": ("a whole-slide image of PerkinElmer", _SLIDE),
    ".isyntax": ("a whole-slide image of Philips", _SLIDE),
    ".dcm": ("a DICOM file", _SLIDE),
    ".czi": ("an image of Zeiss", _MICROSCOPE),
    ".zvi": ("an image of Zeiss", _MICROSCOPE),
    ".lif": ("an image of Leica", _MICROSCOPE),
    ".nd2": ("an image of Nikon", _MICROSCOPE),
    ".oib": ("an image of Olympus", _MICROSCOPE),
    ".oir": ("an image of Olympus", _MICROSCOPE),
    ".cr2": ("a raw image of a Canon camera", _CAMERA),
    ".cr3": ("a raw image of a Canon camera", _CAMERA),
    ".nef": ("a raw image of a Nikon camera", _CAMERA),
    ".arw": ("a raw image of a Sony camera", _CAMERA),
    ".dng": ("a raw image of a camera", _CAMERA),
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
    leukospike.errors.ImageError: image must be BMP, PNG, JPEG, TIFF or WebP, got a whole-slide image of Aperio...
    """
    if suffix.lower() in _FOREIGN:
        what, advice = _FOREIGN[suffix.lower()]
        raise ImageError(
            "image must be BMP, PNG, JPEG, TIFF or WebP",
            got=f"{what} ({suffix.lower()}), which leukospike does not read",
            advice=advice,
        )
