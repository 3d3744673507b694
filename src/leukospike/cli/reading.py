"""How images are read: by which segmenter, and at which size of their pixels."""

from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

from leukospike.errors import ConfigError

if TYPE_CHECKING:
    from leukospike.segmentation import PixelSize
    from leukospike.segmentation.class_maps import Segmenter


class Method(StrEnum):
    """How `segment` finds cells."""

    SURROGATE = "surrogate"
    STDP = "stdp"
    FIRST_WAVE = "first-wave"


def segmenter_of(method: Method = Method.SURROGATE) -> "Segmenter":
    """Return one of the segmenters that are part of the package."""
    if method is Method.STDP:
        from leukospike.segmentation import plastic

        return partial(plastic.read_classes, plastic.default_plastic())
    from leukospike.segmentation.class_maps import read_classes
    from leukospike.segmentation.network import default_segmenter

    return partial(read_classes, default_segmenter())


def given_pixel_size(um_per_px: float | None, *, where: str) -> "PixelSize | None":
    """Check the size of a pixel that was given."""
    from leukospike.images.reading import PLAUSIBLE_UM_PER_PX
    from leukospike.segmentation import PixelSize

    if um_per_px is None:
        return None
    low, high = PLAUSIBLE_UM_PER_PX
    if not low <= um_per_px <= high:
        msg = (
            f"{where}: --pixel-size must be {low:g} to {high:g} micrometres, as microscopes have it, got {um_per_px:g}."
            " Give the width of the field over its pixels."
        )
        raise ConfigError(msg)
    return PixelSize(um_per_px, "given")
