"""Train the convolutional network without labels: what it says of a cell should not follow how the cell is shown."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from leukospike.classification.augmentation import augmented
from leukospike.classification.network import EMBEDDING, CellNetwork, colours_of
from leukospike.errors import WeightsError
from leukospike.jobs import Progress, silent
from leukospike.learning.chance import drawing_from

STRENGTH = 0.5
"""How much stain and light differ between the two views of a cell: moderately, since they tell of its class."""

_BATCH = 128
_LEARNING_RATE = 0.002
_PROJECTED = 256  # numbers a cell in which the views are compared
_REDUNDANCY = 0.02  # weight of the correlation of each with each other one


@dataclass(frozen=True)
class Pretrained:
    """A network that has seen no label."""

    network: CellNetwork
    """Its decision is as it was drawn."""
    losses: tuple[float, ...]
    """Mean of each epoch."""


def pretrain(
    crops: UInt8[np.ndarray, "n rows columns 3"], *, epochs: int = 8, seed: int = 0, progress: Progress = silent
) -> Pretrained:
    """Train one network by Barlow Twins (doi 10.48550/arXiv.2103.03230).

    Each cell is shown twice, changed at random. Over the cells of a batch, each projected feature of the one view is
    to agree with itself in the other, and with no other feature.

    Parameters
    ----------
    crops : ndarray of shape (n, rows, columns, 3), uint8
        At least two; these are all that the network learns from.
    epochs : int
        Each shows all cells, but for fewer than a batch left over.
    seed : int
        Draws weights, order and views.
    progress : Progress
        Told after each epoch.

    Returns
    -------
    Pretrained
        In evaluation mode.

    Raises
    ------
    WeightsError
        If the loss is no longer finite.
    """
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    batch = min(_BATCH, len(crops))
    losses: list[float] = []
    with drawing_from(torch.Generator().manual_seed(int(rng.integers(2**62)))):
        network = CellNetwork()
        projector = nn.Sequential(
            nn.Linear(EMBEDDING, _PROJECTED), nn.BatchNorm1d(_PROJECTED), nn.ReLU(), nn.Linear(_PROJECTED, _PROJECTED)
        )
    learning = nn.ModuleList([network, projector])
    adam = torch.optim.AdamW(learning.parameters(), lr=_LEARNING_RATE, weight_decay=0.05)
    n_steps = len(crops) // batch
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(adam, epochs * n_steps)
    for epoch in range(epochs):
        total = 0.0
        for places in rng.permutation(len(crops))[: n_steps * batch].reshape(n_steps, batch):
            colours = colours_of(torch.from_numpy(crops[np.sort(places)]))
            views = [augmented(colours, strength=STRENGTH, generator=generator) for _ in range(2)]
            with torch.autocast("cpu", dtype=torch.bfloat16):
                first, second = (network.embed(view) for view in views)
            loss = twin_loss(projector(first), projector(second))
            adam.zero_grad()
            loss.backward()
            adam.step()
            rate.step()
            total += float(loss.detach())
        losses.append(total / n_steps)
        if not np.isfinite(total):
            rule, got = "loss must be finite", f"{total} in epoch {epoch + 1}"
            raise WeightsError(rule, where="pretrain", got=got, advice="Look at the crops.")
        progress("pretrain", epoch + 1, epochs)
    return Pretrained(network.eval().requires_grad_(requires_grad=False), tuple(losses))


def twin_loss(first: Float[Tensor, "batch features"], second: Float[Tensor, "batch features"]) -> Float[Tensor, ""]:
    """Measure how far the correlation of two views' features is from the identity; 0 where each agrees with itself.

    The mean over features of the squared distance from 1 on the diagonal and, weighted, from 0 off it.
    """
    n = len(first)
    one, other = ((view - view.mean(dim=0)) / (view.std(dim=0, correction=0) + 1e-5) for view in (first, second))
    correlation = one.T @ other / n
    squares = (correlation - torch.eye(first.shape[1])) ** 2
    own = squares.diagonal().sum()
    return (own + _REDUNDANCY * (squares.sum() - own)) / first.shape[1]
