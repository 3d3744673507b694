"""Flags of cells, in the column `flags` of `cells.csv`; those of images are `segmentation.Quality` and `Doubt`."""

from leukospike.segmentation import Quality
from leukospike.segmentation.result import Doubt

BLANK = "blank"
"""A cell without a single spike, or a uniformly grey image: it gets no probability."""

LARGE = "large"
"""An image with a side over 1,024 pixels that is treated as a single cell: probably a whole field."""

NO_CELL = "no_cell"
"""An image of a single cell in which the segmenter finds no white cell, as on many crops of platelets."""

OUTLIER = "outlier"
"""A cell unlike the judge's training cells: it does not count towards its subject."""

BORDER = "border"
"""A cell cut off at the border of a field: it gets a probability but is not included in the means."""

NOT_WHITE = "not_white"
"""An erythroblast, a platelet, or nothing known: it stands apart from the white cells, which are counted."""

NOT_COUNTED = frozenset({BORDER, OUTLIER, NOT_WHITE})
"""Flags of cells that are scored but not counted: they are in no mean and no count of a subject."""

DOUBTFUL = frozenset({flag.value for flag in Quality} | {Doubt.SCALE.value, Doubt.NO_SCALE.value})
"""Flags of doubtful images."""
