"""What can be said of a cell in numbers: its shape, how its colours are spread, and how much of it has which colour.

Sizes and coarse colours carry over from subject to subject; fine texture, measured, does not: it tells focus and camera.
So everything here is of the whole cell, or of its colours with their places forgotten.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

SHAPES = ("log_area", "diameter", "major_axis", "minor_axis", "axis_ratio", "compactness", "outline", "form_factor")
"""Shape measures: lengths in pixels of the crop; `compactness` is the area over the product of the axes, `outline` the
number of pixels along it, `form_factor` the area over its square."""

SPREADS = ("red", "green", "blue", "red less green", "green less blue", "mean")
"""Optical densities whose spread is described, by mean, standard deviation, skewness, kurtosis and `QUANTILES`."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

APPEARANCES = len(SHAPES) + len(SPREADS) * (4 + len(QUANTILES))
"""Numbers that `shape_and_colour` gives."""

_INSIDE = 4.5 / 255
_DARKEST = 1 / 256
_FADE = 0.01  # squared density over which a colour fades into the next


def shape_and_colour(colours: Float[Tensor, "batch 3 rows columns"]) -> Float[Tensor, "batch appearances"]:
    """Describe each cell's shape and the spread of its colours.

    Parameters
    ----------
    colours : Tensor of shape (batch, 3, rows, columns), float32
        0 to 1, black around the cell.

    Returns
    -------
    Tensor of shape (batch, `APPEARANCES`), float32
        The measures of `SHAPES`, then for each statistic those of `SPREADS`. Colours are of the pixels two or more from
        the outline. A crop without a cell gives zeros.
    """
    inside = (colours.amax(dim=1, keepdim=True) > _INSIDE).to(colours.dtype)
    inner = 1 - functional.max_pool2d(1 - inside, 5, stride=1, padding=2)
    red, green, blue = (_density(colours) * inside).unbind(dim=1)
    densities = torch.stack([red, green, blue, red - green, green - blue, (red + green + blue) / 3], dim=1)
    described = torch.cat([_shape(inside), *_moments(densities, inner), *_quantiles(densities, inner)], dim=1)
    return described * (inner.amax(dim=(1, 2, 3)) > 0)[:, None]


def colour_shares(
    colours: Float[Tensor, "batch 3 rows columns"], prototypes: Float[Tensor, "colours 3"]
) -> Float[Tensor, "batch colours"]:
    """Give the square root of the share of each cell that has about one of several colours: a bag of colours.

    Parameters
    ----------
    colours : Tensor of shape (batch, 3, rows, columns), float32
        0 to 1, black around the cell; rows and columns even.
    prototypes : Tensor of shape (colours, 3)
        Optical densities.

    Returns
    -------
    Tensor of shape (batch, colours), float32, 0 to 1
        Square roots, by which sums of small shares count as in Hellinger's distance. A pixel, mean of 2 x 2, goes to the
        prototypes near it by a softmax.
    """
    density, whole = block_densities(colours)
    places = density.flatten(2).transpose(1, 2)
    distance = (
        (places**2).sum(dim=2, keepdim=True) - 2 * places @ prototypes.T + (prototypes**2).sum(dim=1)[None, None]
    )
    belongs = (-distance / _FADE).softmax(dim=2) * whole.flatten(1)[:, :, None]
    return (belongs.sum(dim=1) / whole.flatten(1).sum(dim=1, keepdim=True).clamp(min=1)).sqrt()


def block_densities(
    colours: Float[Tensor, "batch 3 rows columns"],
) -> tuple[Float[Tensor, "batch 3 r c"], Float[Tensor, "batch r c"]]:
    """Give the optical density of the mean of each 2 x 2 pixels, and 1 where all four are of the cell."""
    inside = (colours.amax(dim=1, keepdim=True) > _INSIDE).to(colours.dtype)
    whole = (functional.avg_pool2d(inside, 2) > 0.99).to(colours.dtype)  # noqa: PLR2004 - but for rounding
    return _density(functional.avg_pool2d(colours, 2)), whole[:, 0]


def _density(colours: Tensor) -> Tensor:
    """Give the optical density, natural logarithm."""
    return -(colours * 255 / 256 + _DARKEST).log()


def _shape(inside: Float[Tensor, "batch 1 rows columns"]) -> Float[Tensor, "batch shapes"]:
    """Give the measures of `SHAPES`; axes as of the ellipse with the same second moments."""
    cell = inside[:, 0]
    area = cell.sum(dim=(1, 2)).clamp(min=1)
    rows = torch.arange(cell.shape[1], dtype=cell.dtype)[None, :, None]
    columns = torch.arange(cell.shape[2], dtype=cell.dtype)[None, None]

    def mean(values: Tensor) -> Tensor:
        return (cell * values).sum(dim=(1, 2)) / area

    row, column = rows - mean(rows)[:, None, None], columns - mean(columns)[:, None, None]
    half = (mean(row**2) + mean(column**2)) / 2
    apart = (((mean(row**2) - mean(column**2)) / 2) ** 2 + mean(row * column) ** 2 + 1e-12).sqrt()
    major, minor = 4 * (half + apart + 1e-6).sqrt(), 4 * (half - apart).clamp(min=1e-6).sqrt()
    shrunk = 1 - functional.max_pool2d(1 - inside, 3, stride=1, padding=1)
    outline = (inside - shrunk).sum(dim=(1, 2, 3)).clamp(min=1)
    diameter = 2 * (area / math.pi).sqrt()
    return torch.stack(
        [area.log(), diameter, major, minor, minor / major, area / (major * minor), outline, area / outline**2], dim=1
    )


def _moments(values: Float[Tensor, "batch n rows columns"], weights: Tensor) -> list[Float[Tensor, "batch n"]]:
    """Give mean, standard deviation, skewness and kurtosis over the weighted pixels."""
    total = weights.sum(dim=(2, 3)).clamp(min=1)
    mean = (values * weights).sum(dim=(2, 3)) / total
    off = (values - mean[:, :, None, None]) * weights
    spread = ((off**2).sum(dim=(2, 3)) / total + 1e-8).sqrt()
    return [mean, spread, *((off**power).sum(dim=(2, 3)) / total / spread**power for power in (3, 4))]


def _quantiles(values: Float[Tensor, "batch n rows columns"], weights: Tensor) -> list[Float[Tensor, "batch n"]]:
    """Give `QUANTILES` over the pixels of weight 1, each the next value from below."""
    most = torch.full_like(values, 1e4)
    ordered = torch.where(weights > 0, values, most).flatten(2).sort(dim=2).values
    count = weights.flatten(1).sum(dim=1)
    places = [(count * share).long()[:, None, None].expand(-1, values.shape[1], 1) for share in QUANTILES]
    return [ordered.gather(2, place)[:, :, 0] for place in places]
