"""Number of pages of a file; only one is allowed, since a file does not say which page shows the cell."""

import math
import re

from PIL import Image
from PIL.TiffImagePlugin import (
    EXTRASAMPLES,
    IMAGEDESCRIPTION,
    PHOTOMETRIC_INTERPRETATION,
    SAMPLESPERPIXEL,
    TiffImageFile,
)

from leukospike.errors import ImageError
from leukospike.images.tiff_layout import ALPHA, GREYS, PREMULTIPLIED, numbers

_IMAGE_DEPTH = 32997
_PLANES_OF_METAMORPH = 33629
_OME_PIXELS = re.compile(r"<(?:\w+:)?Pixels\b([^>]*)>")


def check_pages(image: Image.Image) -> None:
    """Raise an error for stacks and animations."""
    pages = 1
    if isinstance(image, TiffImageFile):
        # The pages of a TIFF form a chain, and counting them takes time that grows with the square of their number.
        pages = "several" if getattr(image, "is_animated", False) else _stated_planes(image)
    elif getattr(image, "is_animated", False):
        pages = getattr(image, "n_frames", "several")
    if pages != 1:
        msg = "image must be a single page"
        raise ImageError(msg, got=pages, advice="Save the page you need as a separate PNG file.")


def _stated_planes(image: TiffImageFile) -> int:
    """Count the planes that a TIFF with one directory states; others follow the first or are in other files."""
    tags = image.tag_v2
    note = str(tags.get(IMAGEDESCRIPTION, ""))
    counts = [int(numbers(tags.get(_IMAGE_DEPTH, 1))[0]), len(numbers(tags.get(_PLANES_OF_METAMORPH, 1)))]
    samples = int(numbers(tags.get(SAMPLESPERPIXEL, 1))[0])
    if note.startswith("ImageJ="):
        stated = {name: int(count) for name, count in re.findall(r"^(\w+)=(\d{1,9})\s*$", note, re.MULTILINE)}
        counts += [stated.get("images", 1), math.prod(stated.get(axis, 1) for axis in ("channels", "slices", "frames"))]
    elif (shape := re.match(r'\{"shape": \[([\d, ]+)\].*"truncated": true', note)) is not None:
        sizes = [int(size) for size in shape[1].split(",")]  # as tifffile notes it
        counts.append(math.prod(sizes) // (image.width * image.height * samples))
    else:
        series = [dict(re.findall(r'Size([ZTC])="(\d{1,9})"', pixels)) for pixels in _OME_PIXELS.findall(note)]
        # The colours of one pixel are one plane.
        counts.append(
            sum(int(s.get("Z", 1)) * int(s.get("T", 1)) * -(-int(s.get("C", 1)) // samples) for s in series),
        )
    if image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) in GREYS:
        alpha = numbers(tags.get(EXTRASAMPLES, 0))[0] in (PREMULTIPLIED, ALPHA)
        counts.append(samples - alpha)  # of several greys Pillow reads only the first
    return max(1, *counts)
