"""Facts about one image for the table of images: content, possible problems, light and scale."""

from dataclasses import dataclass

from leukospike.images import Picture
from leukospike.segmentation.result import Segmentation
from leukospike.segmentation.scale import PixelSize

IMAGE_COLUMNS = (
    "image",
    "cells",
    "rejected",
    "flags",
    "advice",
    "light_red",
    "light_green",
    "light_blue",
    "unevenness",
    "tint_range",
    "lit",
    "scale",
    "scale_from",
    "um_per_px",
    "um_per_px_low",
    "um_per_px_high",
    "pixel_size_from",
    "red_cells",
)
"""Columns of the table of images."""

_NUMBERS = ("light_red", "light_green", "light_blue", "unevenness", "tint_range", "lit", "scale")
_SIZES = ("um_per_px", "um_per_px_low", "um_per_px_high")
IMAGE_COLUMN_TYPES = dict.fromkeys((*_NUMBERS, *_SIZES), "float64") | {"red_cells": "Int64"}
"""Of the columns that may hold nothing; whole numbers stay whole beside an image where none were counted."""


@dataclass(frozen=True)
class ImageFacts:
    """One image, without its name, masks and cells."""

    frame: tuple[int, int]
    """Rows and columns."""
    cells: int
    rejected: int
    """Objects that are no white cells, by their confidence."""
    flags: tuple[str, ...]
    """Possible problems with the image, its scale or pixel size, and how its file was read."""
    advice: str
    """Advice about its quality."""
    light: tuple[float, float, float] | None
    """Colour of its light, 0-255; None if unknown, like the next three."""
    unevenness: float | None
    tint_range: float | None
    lit: float | None
    """Share of the image that light falls on."""
    scale: float
    """At which it was read, in its own size."""
    scale_from: str
    pixel_size: PixelSize | None

    @classmethod
    def of(cls, picture: Picture, segmentation: Segmentation) -> "ImageFacts":
        """Collect the facts of a segmented picture."""
        light = segmentation.light
        colour = None
        if light.is_known:
            red, green, blue = (round(level, 1) for level in light.colour)
            colour = (red, green, blue)
        return cls(
            frame=(picture.pixels.shape[0], picture.pixels.shape[1]),
            cells=len(segmentation.measures),
            rejected=segmentation.rejected,
            flags=(*segmentation.flags, *picture.notes),
            advice="; ".join(str(advice) for advice in segmentation.quality),
            light=colour,
            unevenness=round(light.unevenness, 3) if light.is_known else None,
            tint_range=round(light.tint_range, 3) if light.is_known else None,
            lit=round(light.lit_share, 3) if light.is_known else None,
            scale=round(segmentation.scale, 4),
            scale_from=segmentation.scale_from.value,
            pixel_size=segmentation.pixel_size,
        )

    def row(self, pixel_size: PixelSize | None) -> dict[str, object]:
        """Return the row of the table, without the image.

        Parameters
        ----------
        pixel_size : PixelSize or None
            That the row states: the image's own, or what the images of one camera agree on.

        Returns
        -------
        dict
            By `IMAGE_COLUMNS`; None is an empty cell.
        """
        red, green, blue = self.light or (None, None, None)
        low, high = (None, None) if pixel_size is None or pixel_size.interval is None else pixel_size.interval
        return {
            "cells": self.cells,
            "rejected": self.rejected,
            "flags": " ".join(self.flags),
            "advice": self.advice,
            "light_red": red,
            "light_green": green,
            "light_blue": blue,
            "unevenness": self.unevenness,
            "tint_range": self.tint_range,
            "lit": self.lit,
            "scale": self.scale,
            "scale_from": self.scale_from,
            "um_per_px": None if pixel_size is None else round(pixel_size.um_per_px, 5),
            "um_per_px_low": None if low is None else round(low, 5),
            "um_per_px_high": None if high is None else round(high, 5),
            "pixel_size_from": "" if pixel_size is None else pixel_size.source,
            "red_cells": None if pixel_size is None or not pixel_size.red_cells else pixel_size.red_cells,
        }
