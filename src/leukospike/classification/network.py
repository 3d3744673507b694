"""A small residual network on the colours of a cell, with features pooled only inside the cell."""

from enum import StrEnum

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from leukospike.classification.network_input import SEEN

WIDTH = 24
"""Channels of the first stage; each later one has twice as many as the one before."""

STAGES = 4

EMBEDDING = WIDTH * 2 ** (STAGES - 1)
"""Numbers that describe a cell before the decision."""


class Input(StrEnum):
    """Input channels of a pixel; the mask of the cell is always added."""

    COLOUR = "colour"
    """Red, green and blue."""
    DENSITY = "density"
    """Optical density of each."""
    DARKNESS = "darkness"
    """Mean optical density: no colour."""
    RANK = "rank"
    """Latency of rank-order coding: the share of the cell's pixels that are darker."""


_CHANNELS = {Input.COLOUR: 3, Input.DENSITY: 3, Input.DARKNESS: 1, Input.RANK: 1}
_INSIDE = (SEEN - 0.5) / 255
_MEAN, _SPREAD = 0.3, 0.3  # of the colours of C-NMC's crops, black included
_DARKEST = 1 / 256
_SIDES = 4
_MEAN_LOG_AREA, _AREA_GAIN = -1.7, 3.0  # about C-NMC's mean log of a cell's share of its crop, and one over its spread


class CellNetwork(nn.Module):
    """Crops of cells to the logits of (normal, leukemic).

    A convolution and four residual blocks, each halving the image; the mean of each feature inside the cell; a linear
    decision on those, the log of the cell's area, and the mean input. So neither size nor colour has to pass through
    the convolutions, and these need not count the black around the cell.

    Parameters
    ----------
    inputs : tuple of Input
    dropout : float
        Share of the features left out of the decision in training, 0 to 1.

    Examples
    --------
    >>> network = CellNetwork().eval()
    >>> crops = torch.full((2, 96, 96, 3), 120, dtype=torch.uint8)
    >>> network(colours_of(crops)).shape, network.embed(colours_of(crops)).shape
    (torch.Size([2, 2]), torch.Size([2, 192]))
    """

    def __init__(
        self,
        *,
        inputs: tuple[Input, ...] = (Input.COLOUR,),
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.inputs = inputs
        self._n_told = sum(_CHANNELS[kind] for kind in inputs)
        self._dropout = dropout
        widths = [WIDTH * 2**stage for stage in range(STAGES)]
        stem = nn.Sequential(
            nn.Conv2d(self._n_told + 1, WIDTH, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU()
        )
        blocks = [_Block(before, width) for before, width in zip([WIDTH, *widths], widths, strict=False)]
        self.stages = nn.Sequential(stem, *blocks)
        self.decision = nn.Linear(EMBEDDING + 1 + self._n_told, 2)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, colours: Float[Tensor, "batch 3 rows columns"]) -> Float[Tensor, "batch 2"]:
        """Return the logits of (normal, leukemic) of cells whose colours are 0 to 1, black around them."""
        told = self._told(colours)
        features = functional.dropout(self._pooled(told), self._dropout, self.training)
        return self.decision(torch.cat([features, _about(told)], dim=1))

    def scores(self, colours: Float[Tensor, "batch 3 rows columns"]) -> Float[Tensor, " batch"]:
        """Return the log odds that each cell is leukemic: the mean over the cell seen from its four sides."""
        return scores_from_all_sides(self, colours)

    def embed(self, colours: Float[Tensor, "batch 3 rows columns"]) -> Float[Tensor, "batch features"]:
        """Return the features that the decision is made from, size and colour left out: `EMBEDDING` numbers a cell."""
        return self._pooled(self._told(colours))

    def _told(self, colours: Float[Tensor, "batch 3 rows columns"]) -> Float[Tensor, "batch told rows columns"]:
        """Turn colours into the inputs, then whether a pixel is of the cell."""
        inside = (colours.amax(dim=1, keepdim=True) > _INSIDE).to(colours.dtype)
        parts = [_INPUT[kind](colours, inside) for kind in self.inputs]
        return torch.cat([*parts, inside], dim=1).contiguous(memory_format=torch.channels_last)

    def _pooled(self, told: Float[Tensor, "batch told rows columns"]) -> Float[Tensor, "batch features"]:
        """Return the mean of each feature map inside the cell."""
        maps = self.stages(told).float()
        share = functional.adaptive_avg_pool2d(told[:, -1:].float(), maps.shape[2:])
        return (maps * share).sum(dim=(2, 3)) / (share.sum(dim=(2, 3)) + 1e-3)


def scores_from_all_sides(
    network: nn.Module, colours: Float[Tensor, "batch 3 rows columns"]
) -> Float[Tensor, " batch"]:
    """Return the mean log odds of cells seen from their four sides, by a network that gives logits."""
    logits = torch.stack([network(colours.rot90(turns, (2, 3))) for turns in range(_SIDES)]).mean(dim=0)
    return logits[:, 1] - logits[:, 0]


def colours_of(crops: UInt8[Tensor, "batch rows columns 3"]) -> Float[Tensor, "batch 3 rows columns"]:
    """Turn crops of 0 to 255 into colours of 0 to 1, channels first."""
    return crops.permute(0, 3, 1, 2).float() / 255


def pixels_of(colours: Float[Tensor, "batch 3 rows columns"]) -> UInt8[Tensor, "batch rows columns 3"]:
    """Turn colours of 0 to 1 back into crops of 0 to 255."""
    return (colours * 255).round().byte().permute(0, 2, 3, 1)


class _Block(nn.Module):
    """Two 3x3 convolutions, the first halving the image, added to its projected mean of 2 x 2."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, ceil_mode=True), nn.Conv2d(in_channels, out_channels, 1, bias=False)
        )

    def forward(self, images: Float[Tensor, "batch in rows columns"]) -> Float[Tensor, "batch out r c"]:
        """Add the residual to the shortcut."""
        return torch.relu(self.residual(images) + self.shortcut(images))


def _about(told: Float[Tensor, "batch told rows columns"]) -> Float[Tensor, "batch about"]:
    """Return the log of the cell's area, and its mean inputs."""
    inside = told[:, -1:].float()
    area = inside.mean(dim=(2, 3))
    mean = (told[:, :-1].float() * inside).sum(dim=(2, 3)) / (inside.sum(dim=(2, 3)) + 1)
    return torch.cat([((area + 0.01).log() - _MEAN_LOG_AREA) * _AREA_GAIN, mean], dim=1)


def _density(colours: Tensor, inside: Tensor) -> Tensor:
    """Return the optical density, natural logarithm, none outside the cell."""
    return -(colours + _DARKEST).log() * inside


def _rank(colours: Tensor, inside: Tensor) -> Tensor:
    """Return the share of the cell's pixels that are less dense, each equal one in some order."""
    dense = torch.where(inside > 0, _density(colours, inside).sum(dim=1, keepdim=True), -torch.inf).flatten(1)
    order = dense.argsort(dim=1).argsort(dim=1)
    outside = inside.numel() / len(inside) - inside.flatten(1).sum(dim=1, keepdim=True)
    share = (order - outside) / inside.flatten(1).sum(dim=1, keepdim=True).clamp(min=1)
    return share.view_as(inside) * inside


def _darkness(colours: Tensor, inside: Tensor) -> Tensor:
    """Return the mean optical density."""
    return _density(colours, inside).mean(dim=1, keepdim=True)


def _colour(colours: Tensor, inside: Tensor) -> Tensor:  # noqa: ARG001 - as the others are called
    """Return the colours, about their mean and over their spread."""
    return (colours - _MEAN) / _SPREAD


_INPUT = {Input.COLOUR: _colour, Input.DENSITY: _density, Input.DARKNESS: _darkness, Input.RANK: _rank}
