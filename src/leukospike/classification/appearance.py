"""Numerical features of a cell: its shape, and the distribution and arrangement of its colours.

Size, colour and coarse structure generalise across subjects; fine texture was found not to, since it reflects focus and
camera. Nothing here therefore uses neighbouring pixels.
"""

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from leukospike.classification.network_input import SEEN

SHAPES = ("log_area", "diameter", "major_axis", "minor_axis", "axis_ratio", "compactness", "outline", "form_factor")
"""Shape measures: lengths in pixels of the crop; `compactness` is the area over the product of the axes, `outline` the
number of pixels along it, `form_factor` the area over its square."""

SPREADS = ("red", "green", "blue", "red less green", "green less blue", "mean")
"""Optical densities whose spread is described, by mean, standard deviation, skewness, kurtosis and `QUANTILES`."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

RINGS = 5
"""Elliptic rings of equal width from the cell's centre to its outline, described by mean and spread of density; the
outermost by the mean only."""

COARSE = (0.9, 1.8, 3.6)
"""Standard deviations of the blurs between which structure is measured, in pixels of the halved crop: a tenth of a
cell's diameter and a fifth."""

APPEARANCES = len(SHAPES) + len(SPREADS) * (4 + len(QUANTILES)) + 3 * (2 * RINGS - 1) + 3 * 3 * (len(COARSE) - 1)
"""Number of features returned by `appearance_of`."""

_INSIDE = (SEEN - 0.5) / 255
_DARKEST = 1 / 256


def appearance_of(colours: Float[Tensor, "batch 3 rows columns"]) -> Float[Tensor, "batch appearances"]:
    """Compute the shape and colour features of each cell.

    Parameters
    ----------
    colours : Tensor of shape (batch, 3, rows, columns), float32
        0 to 1, black around the cell.

    Returns
    -------
    Tensor of shape (batch, `APPEARANCES`), float32
        The measures of `SHAPES`, then for each statistic those of `SPREADS`. Colours are of the pixels two or more from
        the outline. A crop without a cell yields zeros.
    """
    inside = (colours.amax(dim=1, keepdim=True) > _INSIDE).to(colours.dtype)
    inner = 1 - functional.max_pool2d(1 - inside, 5, stride=1, padding=2)
    plain = density(colours) * inside
    red, green, blue = plain.unbind(dim=1)
    densities = torch.stack([red, green, blue, red - green, green - blue, (red + green + blue) / 3], dim=1)
    shape, radius = _shape(inside)
    moments = _moments(densities, inner)
    described = [shape, *moments, *_quantiles(densities, inner)]
    for ring in range(RINGS):
        within = (radius >= ring / RINGS) & (radius < (ring + 1) / RINGS)
        # Only the mean of the outermost ring: the spread of its pixels depends on who cut out the cell.
        described += _moments(plain, inside * within)[: 2 if ring < RINGS - 1 else 1]
    described += _structure(plain, inside, inner, moments[0][:, :3])
    return torch.cat(described, dim=1) * (inner.amax(dim=(1, 2, 3)) > 0)[:, None]


def density(colours: Float[Tensor, "batch 3 rows columns"]) -> Float[Tensor, "batch 3 rows columns"]:
    """Return the optical density of colours of 0 to 1, natural logarithm, at most 5.5."""
    return -(colours * (1 - _DARKEST) + _DARKEST).log()


def _shape(
    inside: Float[Tensor, "batch 1 rows columns"],
) -> tuple[Float[Tensor, "batch shapes"], Float[Tensor, "batch 1 rows columns"]]:
    """Return the measures of `SHAPES`, and how far out each pixel lies: 1 on the ellipse of the same second moments."""
    cell = inside[:, 0]
    area = cell.sum(dim=(1, 2)).clamp(min=1)
    rows = torch.arange(cell.shape[1], dtype=cell.dtype)[None, :, None]
    columns = torch.arange(cell.shape[2], dtype=cell.dtype)[None, None]

    def mean(values: Tensor) -> Tensor:
        return (cell * values).sum(dim=(1, 2)) / area

    row, column = rows - mean(rows)[:, None, None], columns - mean(columns)[:, None, None]
    across, along, tilt = mean(row**2) + 1e-3, mean(column**2) + 1e-3, mean(row * column)
    half, apart = (across + along) / 2, (((across - along) / 2) ** 2 + tilt**2 + 1e-12).sqrt()
    major, minor = 4 * (half + apart).sqrt(), 4 * (half - apart).clamp(min=1e-6).sqrt()
    shrunk = 1 - functional.max_pool2d(1 - inside, 3, stride=1, padding=1)
    outline = (inside - shrunk).sum(dim=(1, 2, 3)).clamp(min=1)
    diameter = 2 * (area / math.pi).sqrt()
    measures = [area.log(), diameter, major, minor, minor / major, area / (major * minor), outline, area / outline**2]
    over = (across * along - tilt**2).clamp(min=1e-6)
    a, b, c = (value[:, None, None] for value in (along / over, across / over, tilt / over))
    radius = ((a * row**2 + b * column**2 - 2 * c * row * column) / 4).clamp(min=0).sqrt()
    return torch.stack(measures, dim=1), radius[:, None]


def _moments(values: Float[Tensor, "batch n rows columns"], weights: Tensor) -> list[Float[Tensor, "batch n"]]:
    """Return mean, standard deviation, skewness and kurtosis over the weighted pixels."""
    total = weights.sum(dim=(2, 3)).clamp(min=1)
    mean = (values * weights).sum(dim=(2, 3)) / total
    off = (values - mean[:, :, None, None]) * weights
    square = off * off  # measured, many times as fast as a power
    variance, third, fourth = (part.sum(dim=(2, 3)) / total for part in (square, square * off, square * square))
    spread = (variance + 1e-8).sqrt()
    return [mean, spread, third / spread**3, fourth / spread**4]


def _quantiles(values: Float[Tensor, "batch n rows columns"], weights: Tensor) -> list[Float[Tensor, "batch n"]]:
    """Return `QUANTILES` over the pixels of weight 1 in every second row and column, each the next value from below."""
    values, weights = values[:, :, ::2, ::2], weights[:, :, ::2, ::2]
    most = torch.full_like(values, 1e4)
    ordered = torch.where(weights > 0, values, most).flatten(2).sort(dim=2).values
    count = weights.flatten(1).sum(dim=1)
    places = [(count * share).long()[:, None, None].expand(-1, values.shape[1], 1) for share in QUANTILES]
    return [ordered.gather(2, place)[:, :, 0] for place in places]


def _structure(
    plain: Float[Tensor, "batch 3 rows columns"], inside: Tensor, inner: Tensor, mean: Float[Tensor, "batch 3"]
) -> list[Float[Tensor, "batch 3"]]:
    """Return spread, skewness and kurtosis of the density between two blurs, for each two neighbours of `COARSE`."""
    filled = functional.avg_pool2d(plain + (1 - inside) * mean[:, :, None, None], 2)
    weights = (functional.avg_pool2d(inner, 2) > 0.99).to(plain.dtype)
    blurred = [_blurred(filled, sigma) for sigma in COARSE]
    return [measure for fine, coarse in itertools.pairwise(blurred) for measure in _moments(fine - coarse, weights)[1:]]


def _blurred(images: Float[Tensor, "batch 3 rows columns"], sigma: float) -> Float[Tensor, "batch 3 rows columns"]:
    """Blur by a Gaussian cut at three standard deviations."""
    reach = math.ceil(3 * sigma)
    steps = torch.arange(-reach, reach + 1, dtype=images.dtype)
    weights = (-(steps**2) / (2 * sigma**2)).exp()
    weights = weights / weights.sum()
    images = functional.pad(images, (reach,) * 4, mode="replicate")
    images = functional.conv2d(images, weights.view(1, 1, -1, 1).expand(3, 1, -1, 1), groups=3)
    return functional.conv2d(images, weights.view(1, 1, 1, -1).expand(3, 1, 1, -1), groups=3)
