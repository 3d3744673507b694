"""Augmentation: cells rotated, in other stain and light, out of focus, and cut out imprecisely.

Subjects differ most, and in what a network learns first, by the stain and light of their smear. Colours are therefore
changed by more than the difference between any two laboratories.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

_MIXING = 0.06  # how much each colour's density takes from another
_STRENGTH = 0.2  # of all densities together
_COLOUR_STRENGTH = 0.1  # of each colour's density
_VEIL = 0.06  # density added everywhere
_SCALE = 0.06  # of the cell's size, which is a feature and stays nearly what it is
_SHIFT = 0.03  # of the crop's side
_BLURRED = 0.3  # share of the cells
_BLUR_PX = (0.4, 1.3)
_PARED = 0.3  # share of the cells whose outline loses a pixel
_DARKEST = 1 / 256


def augmented(
    colours: Float[Tensor, "batch 3 rows columns"], *, strength: float, generator: torch.Generator
) -> Float[Tensor, "batch 3 rows columns"]:
    """Augment each cell at random.

    Parameters
    ----------
    colours : Tensor of shape (batch, 3, rows, columns), float32
        0 to 1, black around the cell.
    strength : float
        Strength of changes in stain and light; 0 for none.
    generator : torch.Generator

    Returns
    -------
    Tensor of the same shape
        0 to 1; outside the cell 0.
    """
    n = len(colours)

    def uniform(*shape: int, low: float, high: float) -> Tensor:
        return torch.rand(shape, generator=generator) * (high - low) + low

    colours = _blurred(colours, uniform(n, low=0, high=1), uniform(1, low=_BLUR_PX[0], high=_BLUR_PX[1]))
    turn, scale = uniform(n, low=-math.pi, high=math.pi), 1 + uniform(n, low=-_SCALE, high=_SCALE)
    mirror = torch.where(uniform(n, low=0, high=1) < 0.5, 1.0, -1.0)
    along, across = turn.cos() / scale, turn.sin() / scale
    rows = torch.stack([along * mirror, -across, uniform(n, low=-_SHIFT, high=_SHIFT)], dim=1)
    columns = torch.stack([across * mirror, along, uniform(n, low=-_SHIFT, high=_SHIFT)], dim=1)
    grid = functional.affine_grid(torch.stack([rows, columns], dim=1), list(colours.shape), align_corners=False)
    colours = functional.grid_sample(colours, grid, align_corners=False)
    inside = (colours.amax(dim=1, keepdim=True) > 0.02).float()
    pared = (uniform(n, low=0, high=1) < _PARED)[:, None, None, None]
    inside = torch.where(pared, 1 - functional.max_pool2d(1 - inside, 3, 1, 1), inside)
    mixing = torch.eye(3) + torch.randn((n, 3, 3), generator=generator) * _MIXING * strength
    amount = 1 + uniform(n, 1, 1, low=-_STRENGTH, high=_STRENGTH) * strength
    each = 1 + uniform(n, 3, 1, low=-_COLOUR_STRENGTH, high=_COLOUR_STRENGTH) * strength
    veil = uniform(n, 3, 1, low=-_VEIL, high=_VEIL) * strength
    density = torch.baddbmm(veil, mixing * amount * each, -(colours + _DARKEST).log().flatten(2))
    return (-density).exp().clamp(1 / 51, 1).view_as(colours) * inside


def _blurred(colours: Tensor, chance: Tensor, sigma: Tensor) -> Tensor:
    """Blur some of the cells."""
    chosen = (chance < _BLURRED).nonzero()[:, 0]
    if not len(chosen):
        return colours
    steps = torch.arange(-2, 3, dtype=torch.float32)
    weights = (-(steps**2) / (2 * sigma**2)).exp()
    kernel = torch.outer(weights, weights) / weights.sum() ** 2
    colours = colours.clone()
    colours[chosen] = functional.conv2d(colours[chosen], kernel.expand(3, 1, 5, 5), padding=2, groups=3)
    return colours
