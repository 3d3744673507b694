"""The size of a pixel on the glass, as stated in a file."""

import re
from math import inf, isfinite

from PIL import Image
from PIL.TiffImagePlugin import IMAGEDESCRIPTION, RESOLUTION_UNIT, X_RESOLUTION, Y_RESOLUTION, TiffImageFile

PLAUSIBLE_UM_PER_PX = (0.02, 2.0)
"""Pixel sizes of light microscopes, micrometres: finer is below their resolution, and coarser shows cells as dots."""

UM_PER_INCH = 25_400


def um_per_px(image: Image.Image) -> float | None:
    """Return the pixel size stored in a file, if it is plausible for a microscope and pixels are square."""
    try:
        sides = _stated_um_per_px(image)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None  # a malformed note is no reason to reject the picture
    if not all(isfinite(side) and PLAUSIBLE_UM_PER_PX[0] <= side <= PLAUSIBLE_UM_PER_PX[1] for side in sides):
        return None
    return sum(sides) / 2 if max(sides) <= 1.02 * min(sides) else None


def _stated_um_per_px(image: Image.Image) -> tuple[float, float]:
    """Return the width and height of a pixel, micrometres; infinite if the file does not state them."""
    unknown = (inf, inf)
    if isinstance(image, TiffImageFile):
        note = str(image.tag_v2.get(IMAGEDESCRIPTION, ""))
        stored = (image.tag_v2.get(X_RESOLUTION, 0), image.tag_v2.get(Y_RESOLUTION, 0))
        if note.startswith("ImageJ=") and re.search(r"^unit=(micron|um|\xb5m|\\u00B5m)$", note, re.MULTILINE):
            per_um = stored  # ImageJ keeps the unit in its note, and pixels per unit as the resolution
        else:
            um = {2: UM_PER_INCH, 3: 10_000}.get(image.tag_v2.get(RESOLUTION_UNIT, 2))  # inch, centimetre
            if um is None:
                return unknown
            per_um = (stored[0] / um, stored[1] / um)
    else:
        dpi = image.info.get("dpi", (0, 0))
        per_um = (dpi[0] / UM_PER_INCH, dpi[1] / UM_PER_INCH)
    x, y = float(per_um[0]), float(per_um[1])
    return (1 / x, 1 / y) if x > 0 and y > 0 else unknown
