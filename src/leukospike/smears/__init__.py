"""Generated blood smears: a stand-in for people without data, never a result.

Everything is drawn from chance and formulas; no pixel of any patient is in it. From one cell outwards: `shapes` draws
outlines and textures, `cells` lays out the dye in one cell, `optics` turns dye into a picture, `fields` composes whole
fields of view, and `cohort` writes a data set of several subjects.
"""

from leukospike.smears.cells import CellKind, DrawnCell, draw_cell
from leukospike.smears.cohort import SmearConfig, generate_cohort
from leukospike.smears.fields import Box, DrawnField, draw_field
from leukospike.smears.optics import SubjectStyle, subject_style

__all__ = [
    "Box",
    "CellKind",
    "DrawnCell",
    "DrawnField",
    "SmearConfig",
    "SubjectStyle",
    "draw_cell",
    "draw_field",
    "generate_cohort",
    "subject_style",
]
