"""What segmentation gives for one image."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import UInt8

from leukospike.segmentation.instances import ClassMap, Instances, find_cells, touches_border
from leukospike.segmentation.morphology import CellMeasures, cell_mask, cell_table, measure_cells
from leukospike.segmentation.quality import Advice, quality_of
from leukospike.segmentation.scale import PixelSize, contradicts, pixel_size_from_red_cells

PIXEL_SIZE = "pixel_size"
"""Flag of an image whose white cells would be implausibly small or large, if its pixels were as large as is said."""


@dataclass(frozen=True)
class Segmentation:
    """The white cells of one image."""

    mask: UInt8[np.ndarray, "rows columns"]
    """255 nucleus, 128 cytoplasm, 0 the rest, uint8."""
    instances: Instances
    """Which pixel belongs to which cell."""
    image: str
    """Its name, in the table."""
    measures: tuple[CellMeasures, ...]
    """Of each cell; none if there are no cells or the image cannot be read."""
    quality: tuple[Advice, ...]
    """What is wrong with the image; then there are no cells, whatever the class map said."""
    pixel_size: PixelSize | None
    """None if it was not given and too few red cells show it."""
    doubtful_size: bool = False
    """Whether the cells contradict a size that was given or stored."""

    @cached_property
    def cells(self) -> pd.DataFrame:
        """One row a cell, columns `CELL_COLUMNS`, also where there are none."""
        return cell_table(self.image, self.measures)

    @property
    def flags(self) -> tuple[str, ...]:
        """What is wrong with the image or its pixel size, in words of the tables."""
        return (*(advice.quality.value for advice in self.quality), *([PIXEL_SIZE] if self.doubtful_size else []))

    @property
    def middle_cell(self) -> int | None:
        """Number of the cell in the middle of the image, or else of that nearest to it; None if there are no cells."""
        if not self.measures:
            return None
        rows, columns = self.mask.shape
        if in_middle := int(self.instances.labels[rows // 2, columns // 2]):
            return in_middle
        return min(self.measures, key=lambda cell: np.hypot(cell.row - rows / 2, cell.column - columns / 2)).cell


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
        If not given, estimated from red cells. It decides what is too small to be a white cell. One that is given or
        stored is held against the whole cells, `doubtful_size`: against what was dropped as too small where none is
        left. They stay as they are.

    Returns
    -------
    Segmentation
    """
    quality = quality_of(pixels, class_map)
    if quality:
        nothing = np.zeros_like(class_map)
        return Segmentation(nothing, find_cells(nothing), image, (), quality, pixel_size)
    size = pixel_size_from_red_cells(pixels, class_map) if pixel_size is None else pixel_size
    instances = find_cells(class_map, red_cell_px=None if size is None else size.red_cell_px)
    measures = measure_cells(pixels, class_map, instances, um_per_px=None if size is None else size.um_per_px)
    doubtful = size is not None and size.source != "red cells" and contradicts(size, _areas(class_map, instances))
    return Segmentation(cell_mask(class_map, instances), instances, image, tuple(measures), quality, size, doubtful)


def _areas(class_map: ClassMap, instances: Instances) -> list[int]:
    """Give the areas of whole cells; where a wrong size may have dropped them all, of what is found without it."""
    found = instances if instances.boxes else find_cells(class_map)
    shape = (class_map.shape[0], class_map.shape[1])
    return [
        int(np.count_nonzero(found.labels[box.window] == number))
        for number, box in enumerate(found.boxes, start=1)
        if not touches_border(box, shape)
    ]
