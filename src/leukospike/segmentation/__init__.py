"""Image to mask to cells.

`input_spikes` codes an image, `network` gives each pixel the potentials of its classes, and `class_maps` decides, for
images of any size (`tiles`, `windows`); what follows is here. `instances` finds the cells in the classes, `parting`
parts those that touch, on `regions` of pixels; `morphology` measures each, `scale` finds the size of a pixel, `quality`
refuses images that cannot be read, `result` joins the four, and `overlay` draws. `first_wave` is the original's
"segmentation".
"""

from leukospike.segmentation.first_wave import GREY_PER_STEP, wave_pictures
from leukospike.segmentation.instances import Box, Instances, find_cells
from leukospike.segmentation.light import Light, estimate_light
from leukospike.segmentation.morphology import (
    CELL_COLUMNS,
    CellMeasures,
    cell_mask,
    cell_row,
    cell_table,
    measure_cells,
)
from leukospike.segmentation.overlay import overlay
from leukospike.segmentation.quality import Advice, Quality, quality_of
from leukospike.segmentation.result import Doubt, Segmentation, segment_pixels
from leukospike.segmentation.scale import RED_CELL_UM, PixelSize, pixel_size_from_red_cells, stored_pixel_size

__all__ = [
    "CELL_COLUMNS",
    "GREY_PER_STEP",
    "RED_CELL_UM",
    "Advice",
    "Box",
    "CellMeasures",
    "Doubt",
    "Instances",
    "Light",
    "PixelSize",
    "Quality",
    "Segmentation",
    "cell_mask",
    "cell_row",
    "cell_table",
    "estimate_light",
    "find_cells",
    "measure_cells",
    "overlay",
    "pixel_size_from_red_cells",
    "quality_of",
    "segment_pixels",
    "stored_pixel_size",
    "wave_pictures",
]
