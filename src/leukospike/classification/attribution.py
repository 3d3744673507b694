"""Attribution of a decision to pixels, by integrated gradients.

`attribution` divides the effect of a cell's inner differences on the log odds of a lymphoblast among its pixels,
relative to the same cell with reduced contrast.
"""

from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from leukospike.classification.kind_input import inside
from leukospike.classification.kind_network import KindNetwork
from leukospike.classification.kinds import CellKind
from leukospike.classification.lite_network import folded
from leukospike.side_by_side import one_core_each

CONTRAST = 0.1
"""Of the pale cell, in that of the cell. With none left, no pixel would be of the nucleus more than another."""

STEPS = 8
"""Points on the way between two cells: measured, 32 give about the same deletion curve, and a sum nearer by 0.2."""

_BLAST = CellKind.LYMPHOBLAST.place
_BATCH = 16


def attribution(
    network: KindNetwork, shown: Float[Tensor, "n 3 rows columns"], diameter_um: Float[Tensor, " n"]
) -> Float[np.ndarray, "n rows columns"]:
    r"""Attribute the effect of differences within a cell to its pixels, by integrated gradients [1]_.

    :math:`a_p = \sum_c (x_{pc} - b_{pc}) \int_0^1 \partial F(b + \alpha (x - b)) / \partial x_{pc} \, d\alpha` over
    the colours c, where F is `log_odds` and b the same cell in a tenth of its contrast about its mean colour (`pale`).
    Black is not a suitable baseline: size and shape would change along the path, in jumps without a gradient.

    Parameters
    ----------
    network : KindNetwork
        In evaluation mode.
    shown : Tensor of shape (n, 3, rows, columns), float32
        0 to 1, black around the cell: as `classifier.as_shown` shows them.
    diameter_um : Tensor of shape (n,)
        NaN where it is not known.

    Returns
    -------
    ndarray of shape (n, rows, columns), float32
        Log odds: above 0 towards a lymphoblast, below away from it, 0 outside the cell. Each map sums, up to the steps
        of the integral, to the log odds of the cell less those of the pale one.

    References
    ----------
    .. [1] M. Sundararajan, A. Taly, Q. Yan, Axiomatic attribution for deep networks, ICML 2017, arXiv 1703.01365.
    """
    from captum.attr import IntegratedGradients

    method = IntegratedGradients(partial(log_odds, folded(network)))

    def its_map(number: int) -> Tensor:
        colours, size = shown[number : number + 1], diameter_um[number : number + 1]
        cell = inside(colours)
        if not cell.any():
            return torch.zeros(colours.shape[2:])
        with torch.enable_grad():
            shares = method.attribute(
                colours.clone().requires_grad_(), pale(colours, CONTRAST), additional_forward_args=size, n_steps=STEPS
            )
        # What lies around the cell is the same in both; its gradient is of the outline's, which moves by jumps.
        return shares[0].detach().sum(dim=0) * cell[0, 0]

    maps = np.zeros((len(shown), *shown.shape[2:]), np.float32)
    with one_core_each() as pool:
        for own, found in zip(maps, pool.map(its_map, range(len(shown))), strict=True):
            own[...] = found.numpy()
    return maps


def deletion_curves(
    network: KindNetwork,
    shown: Float[Tensor, "n 3 rows columns"],
    diameter_um: Float[Tensor, " n"],
    orders: Float[np.ndarray, "n rows columns"],
    *,
    steps: int = 20,
) -> Float[np.ndarray, "n points"]:
    """Delete pixels, highest order first, and record the log odds [1]_.

    A deleted pixel gets the mean colour of its cell. If the order comes from a faithful map, the log odds of a
    lymphoblast fall quickly.

    Parameters
    ----------
    network : KindNetwork
        In evaluation mode.
    shown : Tensor of shape (n, 3, rows, columns), float32
        0 to 1, black around the cell.
    diameter_um : Tensor of shape (n,)
    orders : ndarray of shape (n, rows, columns)
        Order of the pixels; ignored outside the cell.
    steps : int
        Number of equal shares of the cell that are deleted in turn.

    Returns
    -------
    ndarray of shape (n, steps + 1), float32
        Log odds of the whole cell, then after each step; the last is that of the uniform cell.

    References
    ----------
    .. [1] V. Petsiuk, A. Das, K. Saenko, RISE, BMVC 2018, arXiv 1806.07421.
    """
    quick = folded(network)
    curves = np.empty((len(shown), steps + 1), np.float32)

    @torch.inference_mode()
    def follow(first: int) -> None:
        part = slice(first, first + _BATCH)
        colours = shown[part]
        cell = inside(colours)
        even = pale(colours, 0)
        ordered = torch.from_numpy(orders[part]).masked_fill(~cell[:, 0], -torch.inf).flatten(1)
        ranks = ordered.argsort(dim=1, descending=True, stable=True).argsort(dim=1).view_as(cell)
        areas = cell.sum(dim=(2, 3), keepdim=True)
        for step in range(steps + 1):
            left = torch.where(ranks < areas * step / steps, even, colours)
            curves[part, step] = log_odds(quick, left, diameter_um[part]).numpy()

    with one_core_each() as pool:
        for _ in pool.map(follow, range(0, len(shown), _BATCH)):
            pass
    return curves


def log_odds(
    network: KindNetwork, shown: Float[Tensor, "n 3 rows columns"], diameter_um: Float[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """Return the log odds of a lymphoblast against all else by the network, before calibration."""
    logits = network.decide(network.on_axes(network.features(shown)), diameter_um)
    others = torch.cat([logits[:, :_BLAST], logits[:, _BLAST + 1 :]], dim=1)
    return logits[:, _BLAST] - others.logsumexp(dim=1)


def pale(colours: Float[Tensor, "n 3 rows columns"], contrast: float) -> Float[Tensor, "n 3 rows columns"]:
    """Return cells with another contrast around their mean colour; size, shape and mean colour are unchanged."""
    cell = inside(colours)
    mean = (colours * cell).sum(dim=(2, 3), keepdim=True) / cell.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    return torch.where(cell, mean + contrast * (colours - mean), colours)
