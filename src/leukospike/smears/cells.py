"""A single cell: its compartments, the dye in each, and its picture."""

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

import numpy as np
from jaxtyping import Float, UInt8

from leukospike.errors import ConfigError
from leukospike.smears.optics import SubjectStyle, photograph
from leukospike.smears.shapes import Cleft, Grid, coverage, outline, segment_depth, square_grid, texture

CYTOPLASM = 128
"""Grey level of cytoplasm in masks."""
NUCLEUS = 255
"""Grey level of nucleus in masks."""
CROP_UM = 25.0
"""Width of the picture of a single cell, micrometres; no cell is wider."""

_ROOM = 1.26  # half the side of a cell's square over its mean radius; elongation and wobble stay within it
_ROMANOWSKY = 0.95  # eosin per azure in chromatin, which makes it purple


class CellKind(StrEnum):
    """Kinds of cell that can be drawn."""

    LYMPHOCYTE = "lymphocyte"
    LYMPHOBLAST = "lymphoblast"
    NEUTROPHIL = "neutrophil"
    PLATELET = "platelet"
    RED_CELL = "red cell"


@dataclass(frozen=True)
class Stained:
    """A stained cell on its own square, before it is photographed.

    Attributes
    ----------
    absorbers : ndarray of shape (3, rows, columns), float32
        Amounts of eosin, azure and haemoglobin, 0 outside the cell.
    cell, nucleus : ndarray of shape (rows, columns), float32
        Share of each pixel inside the cell and inside its nucleus, 0..1.
    """

    absorbers: Float[np.ndarray, "3 rows columns"]
    cell: Float[np.ndarray, "rows columns"]
    nucleus: Float[np.ndarray, "rows columns"]


@dataclass(frozen=True)
class DrawnCell:
    """The picture of one cell.

    Attributes
    ----------
    pixels : ndarray of shape (rows, columns, 3), uint8, 0-255, RGB
        0, 0, 0 outside the cell and nowhere else.
    mask : ndarray of shape (rows, columns), uint8
        255 nucleus, 128 cytoplasm, 0 outside.
    """

    pixels: UInt8[np.ndarray, "rows columns 3"]
    mask: UInt8[np.ndarray, "rows columns"]


@dataclass(frozen=True, kw_only=True)
class _Lymphoid:
    """How cells of one lymphoid kind vary; pairs are mean and standard deviation, or minimum and maximum."""

    diameter_um: tuple[float, float]  # mean, sd
    nucleus_share: tuple[float, float]  # of the cell's area: mean, sd
    grain_um: tuple[float, float]  # chromatin: lowest, highest
    clumping: tuple[float, float]  # share of dye that pale chromatin lacks: lowest, highest
    chromatin: tuple[float, float]  # units of dye: mean, sd
    nucleoli: tuple[float, ...]  # chance of 0, 1, 2, ...
    cleft_chance: float
    wobble: float
    basophilia: tuple[float, float]  # azure in the cytoplasm: lowest, highest


# The two kinds overlap in every trait, as real cells do; no single trait separates them.
_LYMPHOCYTES = _Lymphoid(
    diameter_um=(9.9, 1.1),
    nucleus_share=(0.73, 0.07),
    grain_um=(0.22, 0.40),
    clumping=(0.22, 0.44),
    chromatin=(0.82, 0.08),
    nucleoli=(0.88, 0.12),
    cleft_chance=0.12,
    wobble=0.016,
    basophilia=(0.24, 0.50),
)
_LYMPHOBLASTS = _Lymphoid(
    diameter_um=(11.9, 1.5),
    nucleus_share=(0.82, 0.06),
    grain_um=(0.12, 0.28),
    clumping=(0.12, 0.34),
    chromatin=(0.75, 0.08),
    nucleoli=(0.20, 0.35, 0.30, 0.15),
    cleft_chance=0.45,
    wobble=0.026,
    basophilia=(0.32, 0.66),
)


def draw_cell(kind: CellKind, style: SubjectStyle, rng: np.random.Generator, *, size_px: int = 300) -> DrawnCell:
    """Draw one cell in the middle of a black picture 25 micrometres wide, as in C-NMC.

    Parameters
    ----------
    kind : CellKind
        Kind of cell.
    style : SubjectStyle
        Stain and microscope.
    rng : numpy.random.Generator
        Random number generator.
    size_px : int
        Rows and columns of the picture, 64 to 1024.

    Returns
    -------
    DrawnCell

    Raises
    ------
    ConfigError
        If `size_px` is out of range.
    """
    check_size_px(size_px, where="draw_cell")
    px_per_um = size_px / CROP_UM
    stained = stain_cell(kind, rng, px_per_um=px_per_um, size=style.size)
    centre_um = (float(rng.uniform(-24, 24)), float(rng.uniform(-34, 34)))
    taken = photograph(stained.absorbers, style, px_per_um=px_per_um, centre_um=centre_um, rng=rng)
    cut_mask = mask_of(stained)
    # The darkest pixel of a cell is 1, so that black means outside and nothing else.
    cut = np.where(cut_mask[:, :, None] > 0, np.maximum(taken, 1), 0).astype(np.uint8)

    pixels = np.zeros((size_px, size_px, 3), dtype=np.uint8)
    mask = np.zeros((size_px, size_px), dtype=np.uint8)
    rows, columns = np.nonzero(cut_mask)
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    top, left = (size_px - height) // 2, (size_px - width) // 2
    here = np.s_[top : top + height, left : left + width]
    there = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    pixels[here], mask[here] = cut[there], cut_mask[there]
    return DrawnCell(pixels, mask)


def check_size_px(size_px: int, *, where: str) -> None:
    """Raise ConfigError unless a picture of a cell may be `size_px` wide."""
    if not 64 <= size_px <= 1024:
        msg = "size of a cell's picture must be from 64 to 1024 pixels"
        raise ConfigError(msg, where=where, got=size_px, advice="300 is typical.")


def mask_of(stained: Stained) -> UInt8[np.ndarray, "rows columns"]:
    """Return the mask of a cell: 255 nucleus, 128 cytoplasm, 0 outside, by what covers at least half of a pixel."""
    mask = np.where(stained.cell >= 0.5, np.uint8(CYTOPLASM), np.uint8(0))
    mask[(stained.nucleus >= 0.5) & (stained.cell >= 0.5)] = NUCLEUS
    return mask


def stain_cell(kind: CellKind, rng: np.random.Generator, *, px_per_um: float, size: float) -> Stained:
    """Generate one cell and the dye in it.

    Parameters
    ----------
    kind : CellKind
        Kind of cell.
    rng : numpy.random.Generator
        Random number generator.
    px_per_um : float
        Scale, pixels per micrometre.
    size : float
        Factor applied to all lengths.

    Returns
    -------
    Stained
        On a square that holds the whole cell.
    """
    scale = px_per_um * size  # a larger cell is the same cell on a finer grid
    match kind:
        case CellKind.LYMPHOCYTE:
            return _lymphoid(_LYMPHOCYTES, rng, scale)
        case CellKind.LYMPHOBLAST:
            return _lymphoid(_LYMPHOBLASTS, rng, scale)
        case CellKind.NEUTROPHIL:
            return _neutrophil(rng, scale)
        case CellKind.PLATELET:
            return _platelet(rng, scale)
        case CellKind.RED_CELL:
            return _red_cell(rng, scale)


def _lymphoid(kind: _Lymphoid, rng: np.random.Generator, px_per_um: float) -> Stained:
    """Generate a lymphocyte or a lymphoblast: one large nucleus in a rim of blue cytoplasm."""
    radius = float(np.clip(rng.normal(*kind.diameter_um), 7.0, 16.0)) / 2
    share = float(np.clip(rng.normal(*kind.nucleus_share), 0.45, 0.93))
    nucleus_radius = radius * np.sqrt(share)
    grid = square_grid(_ROOM * radius, px_per_um)
    cell_depth = outline(
        grid, radius, rng=rng, elongation=_elongation(rng), wobble=kind.wobble * rng.uniform(0.3, 1.4)
    ).depth_um

    direction = rng.uniform(0, 2 * np.pi)
    shift = (radius - nucleus_radius) * rng.uniform(0.2, 0.95)
    centre = (float(shift * np.sin(direction)), float(shift * np.cos(direction)))
    nucleus_depth = outline(
        grid,
        nucleus_radius,
        rng=rng,
        centre_um=centre,
        elongation=0.8 * _elongation(rng),
        wobble=kind.wobble * rng.uniform(0.4, 1.5),
        clefts=_clefts(kind.cleft_chance, rng),
    ).depth_um
    nucleus_depth = np.minimum(nucleus_depth, cell_depth - np.float32(0.15))
    cell, nucleus = coverage(cell_depth, px_per_um), coverage(nucleus_depth, px_per_um)

    dye = _chromatin(
        grid, nucleus_depth, grain_um=rng.uniform(*kind.grain_um), clumping=rng.uniform(*kind.clumping), rng=rng
    )
    dye *= np.float32(rng.normal(*kind.chromatin))
    nucleoli = _nucleoli(grid, nucleus_radius, centre, kind.nucleoli, rng)
    nuclear_azure, nuclear_eosin = dye * (1 - 0.38 * nucleoli), _ROMANOWSKY * dye * (1 - 0.60 * nucleoli)

    mottle = 1 + 0.16 * texture(grid.shape, 0.35 * px_per_um, rng=rng)
    pale_zone = 1 - 0.35 * np.exp(-np.square((nucleus_depth + 0.5) / 0.5))  # the Golgi region and the perinuclear halo
    thicker_edge = 1 + 0.35 * np.exp(-np.square(cell_depth / 0.5))
    azure = np.float32(rng.uniform(*kind.basophilia)) * np.clip(mottle, 0.3, None) * pale_zone * thicker_edge
    eosin = 0.28 * azure
    return _nucleated(cell, nucleus, cytoplasm=(eosin, azure), chromatin=(nuclear_eosin, nuclear_azure))


def _nucleated(
    cell: Float[np.ndarray, "rows columns"],
    nucleus: Float[np.ndarray, "rows columns"],
    *,
    cytoplasm: tuple[Float[np.ndarray, "rows columns"], Float[np.ndarray, "rows columns"]],
    chromatin: tuple[Float[np.ndarray, "rows columns"], Float[np.ndarray, "rows columns"]],
) -> Stained:
    """Place eosin and azure, in proportion to coverage at edges; there is no haemoglobin."""
    eosin, azure = (
        cell * (outer + nucleus * (inner - outer)) for outer, inner in zip(cytoplasm, chromatin, strict=True)
    )
    return Stained(np.stack([eosin, azure, np.zeros_like(cell)]), cell, nucleus)


def _elongation(rng: np.random.Generator) -> float:
    """Draw the elongation of a cell."""
    return min(abs(rng.normal(0, 0.05)), 0.12)


def _clefts(chance: float, rng: np.random.Generator) -> tuple[Cleft, ...]:
    """Draw zero, one or two notches."""
    n_clefts = int(rng.random() < chance) * (1 + int(rng.random() < 0.25))
    return tuple(
        Cleft(angle=rng.uniform(0, 2 * np.pi), depth=rng.uniform(0.10, 0.42), width=rng.uniform(0.12, 0.32))
        for _ in range(n_clefts)
    )


def _chromatin(
    grid: Grid,
    depth_um: Float[np.ndarray, "rows columns"],
    *,
    grain_um: float,
    clumping: float,
    rng: np.random.Generator,
) -> Float[np.ndarray, "rows columns"]:
    """Draw chromatin around 1: dense clumps, paler seams, a denser membrane, and a nucleus that thins at its edge."""
    clumps = np.tanh(1.4 * texture(grid.shape, grain_um * grid.px_per_um, rng=rng) + 0.5)
    fine = texture(grid.shape, max(0.10 * grid.px_per_um, 0.6), rng=rng)
    membrane = 0.16 * np.exp(-np.square((depth_um - 0.2) / 0.22))
    thickness = 0.80 + 0.20 * np.clip(depth_um / 1.2, 0, 1)
    dye = (1 - clumping * 0.5 * (1 - clumps) + 0.04 * fine + membrane) * thickness
    return np.clip(dye, 0.1, None).astype(np.float32)


def _nucleoli(
    grid: Grid, nucleus_radius: float, centre: tuple[float, float], chances: tuple[float, ...], rng: np.random.Generator
) -> Float[np.ndarray, "rows columns"]:
    """Return how far each pixel lies within a nucleolus, 0..1, negative in the rim of chromatin around it."""
    found = np.zeros(grid.shape, dtype=np.float32)
    for _ in range(rng.choice(len(chances), p=chances)):
        radius = rng.uniform(0.6, 1.15)
        direction, away = rng.uniform(0, 2 * np.pi), 0.65 * nucleus_radius * np.sqrt(rng.random())
        place = (centre[0] + away * float(np.sin(direction)), centre[1] + away * float(np.cos(direction)))
        depth = outline(grid, radius, rng=rng, centre_um=place, elongation=0.12, wobble=0.06).depth_um
        inside = 0.5 + 0.5 * np.tanh(depth / 0.18) - 0.5 * np.exp(-np.square((depth + 0.22) / 0.2))
        found += np.float32(rng.uniform(0.4, 1.0)) * inside
    return np.clip(found, -0.4, 1)


def _neutrophil(rng: np.random.Generator, px_per_um: float) -> Stained:
    """Generate a neutrophil: lobes on an arc joined by thin bridges, pink cytoplasm with fine granules."""
    radius = float(np.clip(rng.normal(6.5, 0.4), 5.5, 7.5))
    grid = square_grid(_ROOM * radius, px_per_um)
    cell_depth = outline(grid, radius, rng=rng, elongation=_elongation(rng), wobble=0.03).depth_um
    nucleus_depth = np.minimum(_lobes(grid, radius, rng), cell_depth - np.float32(0.4))
    cell, nucleus = coverage(cell_depth, px_per_um), coverage(nucleus_depth, px_per_um)
    dye = _chromatin(grid, nucleus_depth, grain_um=0.34, clumping=rng.uniform(0.35, 0.5), rng=rng) * np.float32(0.92)

    granules = np.clip(texture(grid.shape, 0.11 * px_per_um, rng=rng) - 0.9, 0, 2)
    cloud = 1 + 0.18 * texture(grid.shape, 0.5 * px_per_um, rng=rng)
    eosin, azure = 0.12 * cloud + 0.16 * granules, 0.055 * cloud + 0.15 * granules
    return _nucleated(cell, nucleus, cytoplasm=(eosin, azure), chromatin=(_ROMANOWSKY * dye, dye))


def _lobes(grid: Grid, cell_radius: float, rng: np.random.Generator) -> Float[np.ndarray, "rows columns"]:
    """Return the depth, micrometres, within a nucleus of two to five lobes."""
    n_lobes = int(rng.choice([2, 3, 4, 5], p=[0.15, 0.40, 0.33, 0.12]))
    lobe_radius = cell_radius * np.sqrt(rng.uniform(0.36, 0.46) / n_lobes)
    arc_radius = cell_radius * rng.uniform(0.46, 0.54)
    # At most two thirds of a turn between the outer lobes' centres, or the arc would close into a ring.
    step = min(2 * np.arcsin(min(1.0, lobe_radius * rng.uniform(0.88, 1.02) / arc_radius)), 4.2 / (n_lobes - 1))
    angles = rng.uniform(0, 2 * np.pi) + step * np.arange(n_lobes) + rng.normal(0, 0.06, size=n_lobes)
    away = arc_radius * rng.uniform(0.85, 1.12, size=n_lobes)
    # The arc is open to one side; its centre of mass, not its centre of curvature, lies in the middle of the cell.
    rows, columns = away * np.sin(angles), away * np.cos(angles)
    centres = [
        (float(r), float(c)) for r, c in zip(rows - 0.6 * rows.mean(), columns - 0.6 * columns.mean(), strict=True)
    ]
    parts = [
        outline(
            grid,
            lobe_radius * rng.uniform(0.85, 1.1),
            rng=rng,
            centre_um=centre,
            elongation=rng.uniform(0.05, 0.2),
            wobble=0.05,
        ).depth_um
        for centre in centres
    ]
    parts += [segment_depth(grid, *ends, 0.4) for ends in pairwise(centres)]
    # A soft maximum rounds the corners where bridge meets lobe.
    return np.logaddexp.reduce(np.stack(parts) * np.float32(6)) / np.float32(6)


def _platelet(rng: np.random.Generator, px_per_um: float) -> Stained:
    """Generate a platelet: purple granules crowded in the middle of a pale, ragged disc; no nucleus."""
    radius = rng.uniform(1.1, 1.8)
    grid = square_grid(1.6 * radius, px_per_um)
    line = outline(grid, radius, rng=rng, elongation=rng.uniform(0, 0.15), wobble=0.09)
    cell = coverage(line.depth_um, px_per_um)
    crowd = np.exp(-np.square(line.fraction / 0.9))
    granules = np.clip(0.8 + 0.55 * texture(grid.shape, 0.17 * px_per_um, rng=rng), 0, 2) * crowd
    dye = np.float32(rng.uniform(0.8, 1.1)) * cell
    none = np.zeros_like(cell)
    return Stained(np.stack([dye * (0.10 + 0.54 * granules), dye * (0.15 + 0.46 * granules), none]), cell, none)


def _red_cell(rng: np.random.Generator, px_per_um: float) -> Stained:
    """Generate a red cell: no nucleus, and less haemoglobin in the middle third."""
    radius = float(np.clip(rng.normal(3.65, 0.2), 3.0, 4.3))
    grid = square_grid(_ROOM * radius, px_per_um)
    line = outline(grid, radius, rng=rng, elongation=_elongation(rng), wobble=0.022)
    cell = coverage(line.depth_um, px_per_um)
    pallor = np.float32(rng.uniform(0.3, 0.8)) * np.exp(
        -np.power(line.fraction / np.float32(rng.uniform(0.45, 0.62)), 4)
    )
    round_edge = np.float32(0.85) + np.float32(0.15) * np.clip(line.depth_um / 0.5, 0, 1)
    thickness = np.float32(rng.normal(1, 0.08)) * cell * (1 - pallor) * round_edge
    return Stained(np.stack([0.16 * thickness, 0.05 * thickness, 0.45 * thickness]), cell, np.zeros_like(cell))
