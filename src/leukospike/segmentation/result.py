"""What segmentation gives for one image."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import UInt8

from leukospike.segmentation.instances import Instances, find_cells
from leukospike.segmentation.morphology import cell_mask, cell_table, measure_cells
from leukospike.segmentation.quality import Quality, quality_of
from leukospike.segmentation.scale import PixelSize, pixel_size_from_red_cells


@dataclass(frozen=True)
class Segmentation:
    """The white cells of one image."""

    mask: UInt8[np.ndarray, "rows columns"]
    """255 nucleus, 128 cytoplasm, 0 the rest, uint8."""
    instances: Instances
    """Which pixel belongs to which cell."""
    cells: pd.DataFrame
    """One row a cell, columns `CELL_COLUMNS`; no rows if there are no cells or the image cannot be read."""
    quality: tuple[Quality, ...]
    """What is wrong with the image; then there are no cells, whatever the class map said."""
    pixel_size: PixelSize | None
    """None if it was not given and too few red cells show it."""


def segmentation_of(
    image: str,
    pixels: UInt8[np.ndarray, "rows columns 3"],
    class_map: UInt8[np.ndarray, "rows columns"],
    *,
    pixel_size: PixelSize | None = None,
) -> Segmentation:
    """Turn a class for each pixel into cells, or into flags and no cells.

    Parameters
    ----------
    image : str
        Name of the image in the table.
    pixels : ndarray of shape (rows, columns, 3)
        RGB, uint8, 0-255.
    class_map : ndarray of shape (rows, columns)
        uint8: 0 rest, 1 cytoplasm, 2 nucleus.
    pixel_size : PixelSize, optional
        If not given, estimated from red cells. It decides what is too small to be a white cell.

    Returns
    -------
    Segmentation
    """
    quality = quality_of(pixels, class_map)
    if quality:
        nothing = np.zeros_like(class_map)
        return Segmentation(nothing, find_cells(nothing), cell_table(image, []), quality, pixel_size)
    size = pixel_size_from_red_cells(pixels, class_map) if pixel_size is None else pixel_size
    instances = find_cells(class_map, red_cell_px=None if size is None else size.red_cell_px)
    measures = measure_cells(pixels, class_map, instances, um_per_px=None if size is None else size.um_per_px)
    cells = cell_table(image, measures)
    return Segmentation(cell_mask(class_map, instances), instances, cells, quality, size)
