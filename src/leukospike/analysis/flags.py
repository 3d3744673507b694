"""Flags of cells, in the column `flags` of `cells.csv`; those of images are `segmentation.Quality` and `Doubt`."""

from leukospike.segmentation import Quality
from leukospike.segmentation.result import Doubt

BLANK = "blank"
"""A cell without a single spike, or an image of an even grey: it gets no probability."""

LARGE = "large"
"""An image with a side over 1,024 pixels that is taken for a single cell: probably a whole field."""

NO_CELL = "no_cell"
"""An image of a single cell in which the segmenter finds no white cell, as on many crops of platelets."""

OUTLIER = "outlier"
"""A cell unlike those that the judge was trained on: it takes no part in what is said of its subject."""

BORDER = "border"
"""A cell of a field that the image's border cuts: it gets a probability and takes no part in the means."""

NOT_COUNTED = frozenset({BORDER, OUTLIER})
"""Cells that are scored and not counted: they are in no mean of a subject, and in no number of calls."""

DOUBTFUL = frozenset({flag.value for flag in Quality} | {Doubt.SCALE.value, Doubt.NO_SCALE.value})
"""Flags of images that look as if something were wrong with them."""
