"""Cells as other laboratories might show them: turned, a little nearer, in other dyes and light, less sharp.

What makes a classifier travel is that colours change more in training than between any two laboratories.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from leukospike.classification.kind_input import FILLED, INPUT_PX

_EACH = (0.7, 1.3)  # times the density of each colour
_ALL = (0.5, 1.4)  # times that of all
_MIXING = 0.06  # how much each colour's density takes from another
_VEIL = 0.08  # density added everywhere
_GAMMA = (0.85, 1.2)
_SCALE = 0.1
_SHIFT = 0.04  # of the side
_BLURRED, _BLUR_PX = 0.35, (0.4, 1.6)
_PARED = 0.3  # share of the cells whose outline loses a pixel
_NOISE = 0.02
_DARKEST = 1 / 256
_INSIDE = 4.5 / 255


def as_elsewhere(
    cells: Float[Tensor, "batch 3 rows columns"],
    middles: Float[Tensor, "batch 2"],
    diameters: Float[Tensor, " batch"],
    *,
    strength: float,
    generator: torch.Generator,
) -> Float[Tensor, "batch 3 128 128"]:
    """Show each cell at one size, changed at random.

    Parameters
    ----------
    cells : Tensor of shape (batch, 3, rows, columns), float32
        Colours of 0 to 1, black around the cell, rows and columns alike.
    middles : Tensor of shape (batch, 2)
        Row and column of the middle of each cell's box, pixels.
    diameters : Tensor of shape (batch,)
        Of the disc as large as each cell, pixels.
    strength : float
        Of the changes in stain and light; 0 for none.
    generator : torch.Generator
        On the device of `cells`.

    Returns
    -------
    Tensor of shape (batch, 3, 128, 128)
        0 to 1; outside the cell 0.
    """
    n, side, device = len(cells), cells.shape[-1], cells.device

    def uniform(*shape: int, low: float, high: float) -> Tensor:
        return torch.rand(shape, generator=generator, device=device) * (high - low) + low

    turn, scale = uniform(n, low=-math.pi, high=math.pi), 1 + uniform(n, low=-_SCALE, high=_SCALE)
    half = diameters / FILLED / side * scale
    mirror = torch.where(uniform(n, low=0, high=1) < 0.5, 1.0, -1.0)
    along, across = turn.cos() * half, turn.sin() * half
    row, column = (((middles[:, axis] * 2 - side) / side) + uniform(n, low=-_SHIFT, high=_SHIFT) for axis in (0, 1))
    theta = torch.stack(
        [
            torch.stack([along * mirror, -across, column], dim=1),
            torch.stack([across * mirror, along, row], dim=1),
        ],
        dim=1,
    )
    grid = functional.affine_grid(theta, [n, 3, INPUT_PX, INPUT_PX], align_corners=False)
    colours = functional.grid_sample(cells, grid, align_corners=False)
    inside = (colours.amax(dim=1, keepdim=True) > _INSIDE).float()
    pared = (uniform(n, low=0, high=1) < _PARED)[:, None, None, None]
    inside = torch.where(pared, 1 - functional.max_pool2d(1 - inside, 3, 1, 1), inside)
    sigma = float(uniform(1, low=_BLUR_PX[0], high=_BLUR_PX[1]))
    colours = _blurred(colours, inside, uniform(n, low=0, high=1), sigma)
    mixing = (
        torch.eye(3, device=device) + torch.randn((n, 3, 3), generator=generator, device=device) * _MIXING * strength
    )
    amount = uniform(n, 1, 1, low=_ALL[0], high=_ALL[1]) ** strength
    each = uniform(n, 3, 1, low=_EACH[0], high=_EACH[1]) ** strength
    veil = uniform(n, 3, 1, low=-_VEIL / 2, high=_VEIL) * strength
    bend = uniform(n, 1, 1, low=_GAMMA[0], high=_GAMMA[1]) ** strength
    density = -(colours * (1 - _DARKEST) + _DARKEST).log().flatten(2)
    density = torch.baddbmm(veil, mixing * amount * each, density.clamp(min=1e-4) ** bend)
    changed = (-density).exp().view_as(colours)
    noise = torch.randn(changed.shape, generator=generator, device=device)
    changed = changed + noise * _NOISE * strength * uniform(n, 1, 1, 1, low=0, high=1)
    return changed.clamp(1 / 255, 1) * inside


def _blurred(colours: Tensor, inside: Tensor, chance: Tensor, sigma: float) -> Tensor:
    """Blur some of the cells, each pixel by those of the cell alone."""
    chosen = (chance < _BLURRED).nonzero()[:, 0]
    if not len(chosen):
        return colours
    steps = torch.arange(-3, 4, dtype=torch.float32, device=colours.device)
    weights = (-(steps**2) / (2 * sigma**2)).exp()
    kernel = (torch.outer(weights, weights) / weights.sum() ** 2).expand(4, 1, 7, 7)
    both = torch.cat([colours * inside, inside], dim=1)[chosen]
    blurred = functional.conv2d(both, kernel, padding=3, groups=4)
    colours = colours.clone()
    colours[chosen] = blurred[:, :3] / blurred[:, 3:].clamp(min=0.1)
    return colours
