"""Image to mask to cells.

`input_spikes` codes an image, `network` gives each pixel the potentials of its classes, and `class_maps` decides, for
images of any size (`tiles`, `windows`); what follows is here. `instances` parts the classes into cells, `morphology`
measures each, `scale` finds the size of a pixel, `quality` refuses images that cannot be read, `result` joins the four,
and `overlay` draws. `first_wave` is the original's "segmentation".
"""

from leukospike.segmentation.first_wave import GREY_PER_STEP, segment_by_first_wave
from leukospike.segmentation.instances import Box, Instances, find_cells
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
from leukospike.segmentation.result import Segmentation, segmentation_of
from leukospike.segmentation.scale import RED_CELL_UM, PixelSize, pixel_size_from_red_cells, stored_pixel_size
from leukospike.segmentation.tiles import class_map_in_tiles

__all__ = [
    "CELL_COLUMNS",
    "GREY_PER_STEP",
    "RED_CELL_UM",
    "Advice",
    "Box",
    "CellMeasures",
    "Instances",
    "PixelSize",
    "Quality",
    "Segmentation",
    "cell_mask",
    "cell_row",
    "cell_table",
    "class_map_in_tiles",
    "find_cells",
    "measure_cells",
    "overlay",
    "pixel_size_from_red_cells",
    "quality_of",
    "segment_by_first_wave",
    "segmentation_of",
    "stored_pixel_size",
]
