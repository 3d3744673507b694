"""What the network for kinds sees: the cell at one size, whatever its camera, and its diameter as a number beside it.

All but `cell_pixels` works on batches and is written so that it can become part of an ONNX graph.
"""

import math

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional

from leukospike.classification.network_input import CROP_PX, REDUCTION, SEEN

CELL_REDUCTION = 2
"""Pixels of the picture along each side of a pixel of what is kept of a cell."""

CELL_PX = CROP_PX * REDUCTION // CELL_REDUCTION
"""Side of what is kept of a cell: what `network_input.cell_crop` shows, at twice its resolution."""

INPUT_PX = 128
"""Side of the network's input."""

FILLED = 0.69
"""Diameter of the disc as large as the cell, over the side of the input."""

C_NMC_UM_PER_PX = 0.068
"""Side of a pixel of C-NMC on the glass, micrometres; not stated there, and assumed, so that its normal precursors
measure about 12 micrometres."""

_INSIDE = (SEEN - 0.5) / 255
_LEVELS = 255 / 256  # so that black has a density

_GIVEN_DENSITY = (1.346, 2.184, 1.198)
_GIVEN_SPREAD = (0.247, 0.280, 0.237)
_SMEAR_DENSITY = (0.90, 1.45, 0.45)
_SMEAR_SPREAD = (0.35, 0.65, 0.17)
"""Optical densities of red, green and blue, natural logarithm: mean of the cells' means and of their standard
deviations, of 300 cells of C-NMC, and about those of the lymphocytes of pbc, tecom and cellavision."""

_NORMALISED = 1.7
"""Square of the mean density of blue, over the standard deviation of that of green, from which a cell has C-NMC's look.
Of its 5,956 cells the least has 2.0; of 1,832 white cells of six other laboratories the greatest has 1.2, and of 682 of
their red cells and platelets 1.4."""

_NUCLEUS = 0.3
"""Share of a cell that is taken for its nucleus: less than any takes up, so that cytoplasm is never part of it."""
_NUCLEUS_DENSITY = (1.05, 1.75, 0.48)
"""Optical densities of red, green and blue: about those of the nuclei of pbc, tecom and cellavision."""
_LEAST_DENSITY = 0.05


def cell_pixels(picture: UInt8[np.ndarray, "450 450 3"]) -> UInt8[np.ndarray, "192 192 3"]:
    """Cut out the middle of a picture of a cell on black, and take the mean of each 2 x 2 pixels."""
    first = (len(picture) - CELL_PX * CELL_REDUCTION) // 2
    last = first + CELL_PX * CELL_REDUCTION
    return np.asarray(Image.fromarray(picture[first:last, first:last]).reduce(CELL_REDUCTION))


def coarse_crop(cell: UInt8[np.ndarray, "192 192 3"]) -> UInt8[np.ndarray, "96 96 3"]:
    """Return the crop of `network_input.cell_crop`, up to rounding, of what is kept of a cell."""
    return np.asarray(Image.fromarray(cell).reduce(REDUCTION // CELL_REDUCTION))


def inside(colours: Float[Tensor, "batch 3 rows columns"]) -> Bool[Tensor, "batch 1 rows columns"]:
    """Return which pixels are of the cell, of colours of 0 to 1, black around it."""
    return colours.amax(dim=1, keepdim=True) > _INSIDE


def is_stain_normalised(colours: Float[Tensor, "batch 3 rows columns"]) -> Bool[Tensor, " batch"]:
    """Return whether cells have the look of C-NMC's stain normalisation: dark in every colour, of little contrast."""
    density, cell = _density(colours), inside(colours).to(colours.dtype)
    area = cell.sum(dim=(1, 2, 3)).clamp(min=1)

    def mean(values: Float[Tensor, "batch rows columns"]) -> Float[Tensor, " batch"]:
        return (values * cell[:, 0]).sum(dim=(1, 2)) / area

    green, blue = density[:, 1], density[:, 2]
    off = green - mean(green)[:, None, None]
    return mean(blue) ** 2 > _NORMALISED * mean(off**2).sqrt()


def like_a_smear(colours: Float[Tensor, "batch 3 rows columns"]) -> Float[Tensor, "batch 3 rows columns"]:
    """Show cells of C-NMC in the density and contrast of other laboratories' cells.

    C-NMC's stain normalisation left its cells far darker than those of any smear, and with half the contrast: by that
    alone a network would know them. The map is linear in optical density, and the same for all cells.

    Parameters
    ----------
    colours : Tensor of shape (batch, 3, rows, columns), float32
        0 to 1, black around the cell.

    Returns
    -------
    Tensor of the same shape
    """
    given, smear, given_spread, smear_spread = (
        torch.tensor(values, device=colours.device).view(1, 3, 1, 1)
        for values in (_GIVEN_DENSITY, _SMEAR_DENSITY, _GIVEN_SPREAD, _SMEAR_SPREAD)
    )
    moved = (_density(colours) - given) * (smear_spread / given_spread) + smear
    red, green, blue = moved.unbind(dim=1)
    # The dyes of a blood smear absorb green the most: what is left of the glass around a cell would come out green.
    moved = torch.stack([red, torch.maximum(red, green), blue], dim=1)
    return (-moved).exp().clamp(SEEN / 255, 1.0) * inside(colours)


def as_smear(
    colours: Float[Tensor, "batch 3 rows columns"], given: Bool[Tensor, " batch"], diameter_um: Float[Tensor, " batch"]
) -> tuple[Float[Tensor, "batch 3 rows columns"], Float[Tensor, " batch"], Bool[Tensor, " batch"]]:
    """Show cells as those of a smear, and tell which of them are at home.

    Parameters
    ----------
    colours : Tensor of shape (batch, 3, rows, columns), float32
        0 to 1, black around the cell, as `cell_pixels` keeps them.
    given : Tensor of shape (batch,), bool
        Whether the picture came as C-NMC's do: of their size, and cut out on black by somebody else.
    diameter_um : Tensor of shape (batch,)
        NaN where it is not known.

    Returns
    -------
    colours : Tensor of the same shape
        Cells with C-NMC's look by `like_a_smear`, the others unchanged.
    diameter_um : Tensor of shape (batch,)
        Of cells at home, by C-NMC's scale.
    at_home : Tensor of shape (batch,), bool
        Whether the picture came as C-NMC's do and has their look.
    """
    normalised = is_stain_normalised(colours)
    at_home = given & normalised
    shown = torch.where(normalised[:, None, None, None], like_a_smear(colours), colours)
    by_scale = frames_of(colours)[1] * (CELL_REDUCTION * C_NMC_UM_PER_PX)
    return shown, torch.where(at_home, by_scale, diameter_um), at_home


def frames_of(
    colours: Float[Tensor, "batch 3 rows columns"],
) -> tuple[Float[Tensor, "batch 2"], Float[Tensor, " batch"]]:
    """Measure where cells lie.

    Parameters
    ----------
    colours : Tensor of shape (batch, 3, rows, columns), float32
        0 to 1, black around the cell.

    Returns
    -------
    middles : Tensor of shape (batch, 2)
        Row and column of the middle of each cell's box, pixels.
    diameters : Tensor of shape (batch,)
        Of the disc as large as each cell, pixels; 0 if there is none.
    """
    cell = inside(colours)[:, 0].to(colours.dtype)
    middles: list[Tensor] = []
    for along in (cell.amax(dim=2), cell.amax(dim=1)):
        first, after = along.argmax(dim=1), along.shape[1] - along.flip(1).argmax(dim=1)
        middles.append((first + after).to(colours.dtype) / 2)
    return torch.stack(middles, dim=1), 2 * (cell.sum(dim=(1, 2)) / math.pi).sqrt()


def at_one_size(
    colours: Float[Tensor, "batch 3 rows columns"],
) -> tuple[Float[Tensor, "batch 3 128 128"], Float[Tensor, " batch"]]:
    """Show each cell so large that it fills the input as every other does.

    Parameters
    ----------
    colours : Tensor of shape (batch, 3, side, side), float32
        0 to 1, black around the cell.

    Returns
    -------
    shown : Tensor of shape (batch, 3, 128, 128)
        The middle of the cell's box in its middle, black around it.
    diameters : Tensor of shape (batch,)
        Of the disc as large as each cell, in pixels of `colours`; 0 if there is none.
    """
    middles, diameters = frames_of(colours)
    half = diameters.clamp(min=1) / FILLED / colours.shape[-1]
    steps = (torch.arange(INPUT_PX, device=colours.device, dtype=colours.dtype) * 2 + 1) / INPUT_PX - 1
    off = middles * 2 / colours.shape[-1] - 1
    rows, columns = (half[:, None] * steps + off[:, axis, None] for axis in (0, 1))
    grid = torch.stack([columns[:, None, :].expand(-1, INPUT_PX, -1), rows[:, :, None].expand(-1, -1, INPUT_PX)], dim=3)
    return functional.grid_sample(colours, grid, align_corners=False), diameters


def by_nucleus(colours: Float[Tensor, "batch 3 rows columns"]) -> Float[Tensor, "batch 3 rows columns"]:
    """Show cells so stained and lit that their nuclei look alike.

    Every white cell carries a standard of its stain: its nucleus. In each colour the optical density is scaled so that
    the densest `_NUCLEUS` of the cell has that of `_NUCLEUS_DENSITY`. What differs between laboratories is gone, and
    what makes a kind is left: shape, texture, and the cytoplasm's colour beside the nucleus'.

    Parameters
    ----------
    colours : Tensor of shape (batch, 3, rows, columns), float32
        0 to 1, black around the cell.

    Returns
    -------
    Tensor of the same shape
    """
    density, cell = _density(colours), inside(colours)
    # Every second row and column tells the quantile as well.
    every = torch.where(cell, density.mean(dim=1, keepdim=True), -1.0)[:, :, ::2, ::2].flatten(1)
    ordered = every.sort(dim=1, descending=True).values
    place = ((every >= 0).sum(dim=1) * _NUCLEUS).long()
    least = ordered.gather(1, place[:, None])[:, :, None, None]
    nucleus = (cell & (density.mean(dim=1, keepdim=True) >= least)).to(colours.dtype)
    area = nucleus.sum(dim=(2, 3)).clamp(min=1)
    found = ((density * nucleus).sum(dim=(2, 3)) / area).clamp(min=_LEAST_DENSITY)
    gain = torch.tensor(_NUCLEUS_DENSITY, device=colours.device) / found
    return (-density * gain[:, :, None, None]).exp().clamp(1 / 255, 1.0) * cell


def _density(colours: Float[Tensor, "batch 3 rows columns"]) -> Float[Tensor, "batch 3 rows columns"]:
    """Return the optical density, natural logarithm."""
    return -(colours * _LEVELS + 1 / 256).log()
