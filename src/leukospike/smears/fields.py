"""Whole fields of view: white cells, red cells and platelets, with their mask and boxes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from leukospike.errors import ConfigError
from leukospike.smears.cells import CellKind, Stained, mask_of, stain_cell
from leukospike.smears.optics import SubjectStyle, photograph

FIELD_ROWS, FIELD_COLUMNS = 480, 640
"""Size of a field, pixels: 60 by 80 micrometres."""
PX_PER_UM = 8.0
"""Scale of a field, pixels per micrometre."""
MAX_WHITE_CELLS = 4
"""This many always fit side by side."""

_RED_CELL_TRIES = 260
_RED_CELL_PX = 3.65 * PX_PER_UM  # mean radius

Label = Literal["WBC", "RBC", "Platelets"]


@dataclass(frozen=True)
class Box:
    """The smallest upright rectangle around the visible part of one cell.

    Attributes
    ----------
    label : str
        "WBC", "RBC" or "Platelets", as BCCD calls them.
    top, left, bottom, right : int
        Pixels: the cell lies in rows `top` to `bottom` - 1 and columns `left` to `right` - 1.
    """

    label: Label
    top: int
    left: int
    bottom: int
    right: int


@dataclass(frozen=True)
class DrawnField:
    """A picture of one field.

    Attributes
    ----------
    pixels : ndarray of shape (480, 640, 3), uint8, 0-255, RGB
    mask : ndarray of shape (480, 640), uint8
        Mask of the white cells: 255 nucleus, 128 cytoplasm, 0 all else.
    boxes : tuple of Box
        White cells first, in the order requested, then red cells, then platelets. A cell less than a quarter visible
        has no box.
    """

    pixels: UInt8[np.ndarray, "rows columns 3"]
    mask: UInt8[np.ndarray, "rows columns"]
    boxes: tuple[Box, ...]


def draw_field(white_cells: Sequence[CellKind], style: SubjectStyle, rng: np.random.Generator) -> DrawnField:
    """Draw a field of 60 by 80 micrometres, with white cells among red cells and a few platelets.

    White cells lie entirely within the field and apart from each other. Red cells touch and overlap slightly; their
    absorbances add up where they do.

    Parameters
    ----------
    white_cells : sequence of CellKind
        One to four of lymphocyte, lymphoblast and neutrophil.
    style : SubjectStyle
        Stain and microscope.
    rng : numpy.random.Generator
        Random number generator.

    Returns
    -------
    DrawnField

    Raises
    ------
    ConfigError
        If there are no white cells, too many, or one of another kind.
    """
    _check_white_cells(white_cells)
    canvas = _Canvas()
    whites = [stain_cell(kind, rng, px_per_um=PX_PER_UM, size=style.size) for kind in white_cells]
    radii = [_radius_px(stained) for stained in whites]
    places = _places_apart(radii, rng)
    for stained, place in zip(whites, places, strict=True):
        canvas.put_white(stained, place)
    taken = list(zip(places, radii, strict=True))
    for place in _red_cell_places(taken, rng, spacing_px=style.size * _RED_CELL_PX):
        canvas.put_under(stain_cell(CellKind.RED_CELL, rng, px_per_um=PX_PER_UM, size=style.size), place, "RBC")
    for _ in range(rng.integers(1, 6)):
        place = (int(rng.integers(FIELD_ROWS)), int(rng.integers(FIELD_COLUMNS)))
        canvas.put_under(stain_cell(CellKind.PLATELET, rng, px_per_um=PX_PER_UM, size=style.size), place, "Platelets")
    pixels = photograph(canvas.absorbers, style, px_per_um=PX_PER_UM, centre_um=(0.0, 0.0), rng=rng)
    return DrawnField(pixels, canvas.mask, tuple(canvas.boxes))


class _Canvas:
    """The field as it fills up."""

    def __init__(self) -> None:
        shape = (FIELD_ROWS, FIELD_COLUMNS)
        self.absorbers = np.zeros((3, *shape), dtype=np.float32)
        self.mask = np.zeros(shape, dtype=np.uint8)
        self.boxes: list[Box] = []
        self._free = np.ones(shape, dtype=np.float32)  # share of each pixel that no white cell covers

    def put_white(self, stained: Stained, place: tuple[int, int]) -> None:
        """Add a white cell that lies entirely within the field and apart from all others."""
        here, there = _overlap(stained.cell.shape, place)
        self.absorbers[:, *here] += stained.absorbers[:, *there]
        self._free[here] *= 1 - stained.cell[there]
        mask = mask_of(stained)[there]
        self.mask[here] = np.maximum(self.mask[here], mask)
        self._add_box("WBC", mask > 0, here, n_whole=int(np.count_nonzero(mask)))

    def put_under(self, stained: Stained, place: tuple[int, int], label: Label) -> None:
        """Add a cell that white cells hide; other cells show through it."""
        here, there = _overlap(stained.cell.shape, place)
        free = self._free[here]
        self.absorbers[:, *here] += stained.absorbers[:, *there] * free
        visible = stained.cell[there] * free >= 0.5
        self._add_box(label, visible, here, n_whole=int(np.count_nonzero(stained.cell >= 0.5)))

    def _add_box(self, label: Label, visible: np.ndarray, here: tuple[slice, slice], *, n_whole: int) -> None:
        """Record the box of the visible part, if that is at least a quarter of the cell."""
        if 4 * np.count_nonzero(visible) < n_whole:
            return
        rows, columns = np.nonzero(visible)
        top, left = here[0].start, here[1].start
        self.boxes.append(
            Box(
                label,
                int(top + rows.min()),
                int(left + columns.min()),
                int(top + rows.max()) + 1,
                int(left + columns.max()) + 1,
            )
        )


def _overlap(shape: tuple[int, ...], place: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the part of the field covered by a square around `place`, and the part of the square inside the field."""
    top, left = place[0] - shape[0] // 2, place[1] - shape[1] // 2
    first_row, last_row = (min(max(edge, 0), FIELD_ROWS) for edge in (top, top + shape[0]))
    first_column, last_column = (min(max(edge, 0), FIELD_COLUMNS) for edge in (left, left + shape[1]))
    return (
        np.s_[first_row:last_row, first_column:last_column],
        np.s_[first_row - top : last_row - top, first_column - left : last_column - left],
    )


def _radius_px(stained: Stained) -> int:
    """Return the radius of the circle around the square's centre that holds the whole cell."""
    rows, columns = np.nonzero(stained.cell)
    return int(np.ceil(np.hypot(rows - stained.cell.shape[0] // 2, columns - stained.cell.shape[1] // 2).max())) + 1


def _places_apart(radii: Sequence[int], rng: np.random.Generator) -> list[tuple[int, int]]:
    """Draw places until the circles lie in the field and apart; four of the largest fit, so this terminates."""
    while True:
        places = [
            (int(rng.integers(radius, FIELD_ROWS - radius)), int(rng.integers(radius, FIELD_COLUMNS - radius)))
            for radius in radii
        ]
        pairs = [(i, j) for i in range(len(radii)) for j in range(i)]
        if all(np.hypot(*np.subtract(places[i], places[j])) > radii[i] + radii[j] for i, j in pairs):
            return places


def _red_cell_places(
    taken: list[tuple[tuple[int, int], int]], rng: np.random.Generator, *, spacing_px: float
) -> list[tuple[int, int]]:
    """Draw places of red cells, each at least nearly a diameter from the others and nearly clear of white cells."""
    whites = [(*place, radius) for place, radius in taken]
    reds: list[tuple[int, int]] = []
    n_tries = int(rng.integers(_RED_CELL_TRIES // 3, _RED_CELL_TRIES))
    margin = int(spacing_px)
    for _ in range(n_tries):
        row = int(rng.integers(-margin, FIELD_ROWS + margin))
        column = int(rng.integers(-margin, FIELD_COLUMNS + margin))
        # Below 1, cells overlap; a fixed value would make the field look like a lattice.
        closeness = rng.uniform(0.75, 1.15)
        clear_of_reds = all(np.hypot(row - r, column - c) > 2 * spacing_px * closeness for r, c in reds)
        clear_of_whites = all(np.hypot(row - r, column - c) > w + 0.9 * spacing_px for r, c, w in whites)
        if clear_of_reds and clear_of_whites:
            reds.append((row, column))
    return reds


def _check_white_cells(white_cells: Sequence[CellKind]) -> None:
    """Raise ConfigError unless a field can hold these cells."""
    if not 1 <= len(white_cells) <= MAX_WHITE_CELLS:
        msg = f"white_cells must list 1 to {MAX_WHITE_CELLS} cells"
        raise ConfigError(msg, where="draw_field", got=len(white_cells), advice="Draw more fields for more cells.")
    for kind in white_cells:
        if kind in (CellKind.PLATELET, CellKind.RED_CELL):
            msg = "white_cells must be lymphocytes, lymphoblasts or neutrophils"
            raise ConfigError(
                msg, where="draw_field", got=kind.value, advice="Red cells and platelets are added automatically."
            )
