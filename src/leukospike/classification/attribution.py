"""Attribution of a decision to features and to pixels, by integrated gradients.

The networks decide by features of the cell, which are computed from its pixels. `decision_parts` divides the log odds
among the features, relative to the mean training cell: it shows how much is due to size, to colour, and so on.
`attribution` divides the effect of the cell's inner differences among its pixels, relative to the same cell with
reduced contrast.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from leukospike.classification.appearance import (
    APPEARANCES,
    COARSE,
    QUANTILES,
    RINGS,
    SHAPES,
    SPREADS,
)
from leukospike.classification.appearance_network import AppearanceNetwork
from leukospike.classification.network import colours_of
from leukospike.classification.network_input import SEEN
from leukospike.errors import WeightsError
from leukospike.side_by_side import one_core_each

CONTRAST = 0.1
"""Of the pale cell, in that of the cell. With none left, skewness would be 0 / 0; measured, a half finds less."""

STEPS = 8
"""Points on the way between two cells: measured, 32 give the same deletion curve, and a sum nearer by 0.001."""

_MEASURE_STEPS = 32
_BATCH = 16  # measured, 200 at once take 2.6 times as long, and 0.4 GB more
_SIZES = {"log_area", "diameter", "major_axis", "minor_axis", "outline"}
_GROUPS = (
    *("size" if name in _SIZES else "shape" for name in SHAPES),
    *(moment for moment in ("colour", "contrast", "contrast", "contrast") for _ in SPREADS),
    *("colour" for _ in QUANTILES for _ in SPREADS),
    *("layout" for _ in range(3 * (2 * RINGS - 1))),
    *("structure" for _ in range(3 * 3 * (len(COARSE) - 1))),
)
"""The aspect described by each feature, in the order of `appearance_of`."""


@dataclass(frozen=True)
class Parts:
    """Terms whose sum is the log odds of leukemic of one cell."""

    typical: float
    """Log odds of the mean training cell; the other terms are differences from it."""
    size: float
    """Area, diameter, axes, outline."""
    shape: float
    """Roundness, whatever the size."""
    colour: float
    """Mean and quantiles of the optical densities."""
    contrast: float
    """Spread and evenness of the densities."""
    layout: float
    """Densities from centre to rim."""
    structure: float
    """Clumps of a tenth to a fifth of the cell's diameter."""

    @property
    def log_odds(self) -> float:
        """The sum: the log odds of the cell, before calibration."""
        return self.typical + self.size + self.shape + self.colour + self.contrast + self.layout + self.structure


def decision_parts(networks: Sequence[AppearanceNetwork], crops: UInt8[np.ndarray, "n rows columns 3"]) -> list[Parts]:
    r"""Decompose the log odds of each cell, by integrated gradients [1]_ over the standardised features.

    :math:`a_i = z_i \int_0^1 \partial F(\alpha z) / \partial z_i \, d\alpha` for a cell of measures z, where 0 is the
    mean training cell and F the log odds of leukemic, the mean over the networks.

    Parameters
    ----------
    networks : sequence of AppearanceNetwork
        At least one, in evaluation mode, standardised alike.
    crops : ndarray of shape (n, rows, columns, 3)
        RGB, uint8, 0-255, black around the cell.

    Returns
    -------
    list of Parts
        One per cell. Correlated features share their effect: large cells have a long outline.

    Raises
    ------
    WeightsError
        If there is no network.

    References
    ----------
    .. [1] M. Sundararajan, A. Taly, Q. Yan, Axiomatic attribution for deep networks, ICML 2017, arXiv 1703.01365.
    """
    from captum.attr import IntegratedGradients

    _check(networks, "decision_parts")
    with torch.no_grad():
        embedding = networks[0].embed(colours_of(torch.from_numpy(crops)))
        typical = float(_decided(networks, torch.zeros(1, APPEARANCES)))
    with torch.enable_grad():
        # Requiring the gradient beforehand avoids captum's warning.
        shares = IntegratedGradients(partial(_decided, networks)).attribute(
            embedding.requires_grad_(), torch.zeros_like(embedding), n_steps=_MEASURE_STEPS
        )
    columns = {
        group: shares.detach()[:, [own == group for own in _GROUPS]].sum(dim=1).tolist() for group in set(_GROUPS)
    }
    return [
        Parts(typical=typical, **{group: values[cell] for group, values in columns.items()})
        for cell in range(len(crops))
    ]


def attribution(
    networks: Sequence[AppearanceNetwork], crops: UInt8[np.ndarray, "n rows columns 3"]
) -> Float[np.ndarray, "n rows columns"]:
    r"""Attribute the effect of differences within a cell to its pixels, by integrated gradients.

    :math:`a_p = \sum_c (x_{pc} - b_{pc}) \int_0^1 \partial F(b + \alpha (x - b)) / \partial x_{pc} \, d\alpha` over
    the colours c, where b is the same cell in a tenth of its contrast about its mean colour (`pale`). Black is not a
    suitable baseline: size and shape would change along the path, in jumps without a gradient.

    Parameters
    ----------
    networks : sequence of AppearanceNetwork
        At least one, in evaluation mode, standardised alike.
    crops : ndarray of shape (n, rows, columns, 3)
        RGB, uint8, 0-255, black around the cell.

    Returns
    -------
    ndarray of shape (n, rows, columns), float32
        Log odds: above 0 towards leukemic, below towards normal, 0 outside the cell. Each map sums to the log odds of
        the cell less those of the pale one.

    Raises
    ------
    WeightsError
        If there is no network.
    """
    from captum.attr import IntegratedGradients

    _check(networks, "attribution")
    method = IntegratedGradients(partial(log_odds, networks))

    def its_map(crop: Tensor) -> Tensor:
        colours = colours_of(crop[None])
        inside = _inside(colours)
        if not inside.any():
            return torch.zeros(crop.shape[:2])
        with torch.enable_grad():
            shares = method.attribute(colours.requires_grad_(), pale(colours.detach(), CONTRAST), n_steps=STEPS)
        # What lies around the cell is the same in both; its gradient is of the outline's, which moves by jumps.
        return shares[0].detach().sum(dim=0) * inside[0, 0]

    maps = np.zeros(crops.shape[:3], np.float32)
    with one_core_each() as pool:
        for own, found in zip(maps, pool.map(its_map, torch.from_numpy(crops)), strict=True):
            own[...] = found.numpy()
    return maps


def deletion_curves(
    networks: Sequence[AppearanceNetwork],
    crops: UInt8[np.ndarray, "n rows columns 3"],
    orders: Float[np.ndarray, "n rows columns"],
    *,
    steps: int = 20,
) -> Float[np.ndarray, "n points"]:
    """Delete pixels, highest order first, and record the log odds [1]_.

    A deleted pixel gets the mean colour of its cell. If the order comes from a faithful map, the log odds of leukemic
    fall quickly.

    Parameters
    ----------
    networks : sequence of AppearanceNetwork
        At least one, in evaluation mode, standardised alike.
    crops : ndarray of shape (n, rows, columns, 3)
        RGB, uint8, 0-255, black around the cell.
    orders : ndarray of shape (n, rows, columns)
        Order of the pixels; ignored outside the cell.
    steps : int
        Number of equal shares of the cell that are deleted in turn.

    Returns
    -------
    ndarray of shape (n, steps + 1), float32
        Log odds of the whole cell, then after each step; the last is that of the uniform cell.

    Raises
    ------
    WeightsError
        If there is no network.

    References
    ----------
    .. [1] V. Petsiuk, A. Das, K. Saenko, RISE, BMVC 2018, arXiv 1806.07421.
    """
    _check(networks, "deletion_curves")
    parts: list[Tensor] = []
    for first in range(0, len(crops), _BATCH):
        colours = colours_of(torch.from_numpy(crops[first : first + _BATCH]))
        inside = _inside(colours)
        even = pale(colours, 0)
        ordered = torch.from_numpy(orders[first : first + _BATCH]).masked_fill(~inside[:, 0], -torch.inf).flatten(1)
        ranks = ordered.argsort(dim=1, descending=True, stable=True).argsort(dim=1).view_as(inside)
        areas = inside.sum(dim=(2, 3), keepdim=True)
        with torch.no_grad():
            curves = [
                log_odds(networks, torch.where(ranks < areas * step / steps, even, colours))
                for step in range(steps + 1)
            ]
        parts.append(torch.stack(curves, dim=1))
    return torch.cat(parts).numpy()


def log_odds(networks: Sequence[AppearanceNetwork], colours: Float[Tensor, "n 3 rows columns"]) -> Float[Tensor, " n"]:
    """Return the log odds of leukemic, before calibration: the mean over networks that were standardised alike."""
    return _decided(networks, networks[0].embed(colours))


def pale(colours: Float[Tensor, "n 3 rows columns"], contrast: float) -> Float[Tensor, "n 3 rows columns"]:
    """Return cells with another contrast around their mean colour; size, shape and mean colour are unchanged."""
    inside = _inside(colours)
    mean = (colours * inside).sum(dim=(2, 3), keepdim=True) / inside.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    return torch.where(inside, mean + contrast * (colours - mean), colours)


def _decided(networks: Sequence[AppearanceNetwork], embedding: Float[Tensor, "n appearances"]) -> Float[Tensor, " n"]:
    """Return the log odds of standardised measures."""
    logits = torch.stack([network.decide(embedding) for network in networks]).mean(dim=0)
    return logits[:, 1] - logits[:, 0]


def _inside(colours: Float[Tensor, "n 3 rows columns"]) -> Bool[Tensor, "n 1 rows columns"]:
    """Tell which pixels are of the cell."""
    return colours.amax(dim=1, keepdim=True) > (SEEN - 0.5) / 255


def _check(networks: Sequence[AppearanceNetwork], where: str) -> None:
    """Raise an error without networks."""
    if not networks:
        msg = "networks must be at least one"
        raise WeightsError(msg, where=where, got="none", advice="Load the model first.")
