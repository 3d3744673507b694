"""Image to mask to cells."""

from leukospike.segmentation.first_wave import GREY_PER_STEP, segment_by_first_wave

__all__ = ["GREY_PER_STEP", "segment_by_first_wave"]
