"""Any microscope image to pixels, and how it shows its cell."""

from leukospike.images.formats import IMAGE_SUFFIXES
from leukospike.images.jpeg import MAX_SCANS
from leukospike.images.picture import Note, Picture, luma, pixel_digest
from leukospike.images.pixel_size import PLAUSIBLE_UM_PER_PX
from leukospike.images.reading import MAX_PIXELS, MIN_SIDE, read_image
from leukospike.images.writing import encode_png, write_png

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "MAX_SCANS",
    "MIN_SIDE",
    "PLAUSIBLE_UM_PER_PX",
    "Note",
    "Picture",
    "encode_png",
    "luma",
    "pixel_digest",
    "read_image",
    "write_png",
]
