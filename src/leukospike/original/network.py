"""The original's 31-layer residual network."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from leukospike.errors import ConfigError
from leukospike.learning.chance import undrawn
from leukospike.settings import SMALLEST_SIZE_PX

STAGES = (((32, 32, 64), 1), ((64, 64, 128), 2), ((64, 64, 256), 2))
"""Channels of the three convolutions of a block, and the stride of the stage's first block."""


class ResidualBlock(nn.Module):
    """Convolutions 1x1, 3x3 and 1x1 added to a shortcut; the first 1x1 and the projection have the stride.

    Batch norm follows every convolution. ReLU follows every convolution except the last before the addition, and the
    addition itself. The convolutions have no bias, which batch norm would cancel.

    Parameters
    ----------
    in_channels : int
    channels : tuple of three int
    stride : int or None
        None makes an identity block, whose shortcut is its input. A number makes a convolutional block, whose shortcut
        is a 1x1 projection with that stride.
    """

    def __init__(self, in_channels: int, channels: tuple[int, int, int], *, stride: int | None) -> None:
        super().__init__()
        first, middle, last = channels
        self.residual = nn.Sequential(
            nn.Conv2d(in_channels, first, 1, stride=stride or 1, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(inplace=True),
            nn.Conv2d(first, middle, 3, padding=1, bias=False),
            nn.BatchNorm2d(middle),
            nn.ReLU(inplace=True),
            nn.Conv2d(middle, last, 1, bias=False),
            nn.BatchNorm2d(last),
        )
        self.shortcut = (
            nn.Identity()
            if stride is None
            else nn.Sequential(nn.Conv2d(in_channels, last, 1, stride=stride, bias=False), nn.BatchNorm2d(last))
        )

    def forward(self, images: Float[Tensor, "batch channels rows columns"]) -> Float[Tensor, "batch out r c"]:
        """Add the residual to the shortcut."""
        return torch.relu(self.residual(images) + self.shortcut(images))


class ResidualNetwork(nn.Module):
    """The 31-layer network, which maps images to the logits of (normal, leukemic).

    Zero-padding 3, convolution 7x7/2 with 64 channels, max-pool 3/2; three stages of one convolutional and two identity
    blocks each; average-pool 2; linear. There are 31 convolutions, with Glorot-uniform initial weights. Softmax is left
    to the loss and to `probabilities`.

    Parameters
    ----------
    image_size : int
        Side of the square input, pixels; at least 21.
    in_channels : int
        1 (the original) or 3.
    hidden_units : int or None
        Width of a hidden ReLU layer before the output; one published variant has 1,200 (ALL-IDB) or 500 (C-NMC).
    generator : torch.Generator or None
        Source of the initial weights; torch's global generator if None.

    Raises
    ------
    ConfigError
        If a size or number of channels is impossible.

    Examples
    --------
    >>> network = ResidualNetwork(image_size=100).eval()
    >>> network(torch.zeros(2, 1, 100, 100)).shape
    torch.Size([2, 2])
    """

    def __init__(
        self,
        *,
        image_size: int,
        in_channels: int = 1,
        hidden_units: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if image_size < SMALLEST_SIZE_PX:
            msg = f"image_size must be at least {SMALLEST_SIZE_PX}"
            raise ConfigError(msg, where="ResidualNetwork", got=image_size, advice="Use larger images.")
        if in_channels not in (1, 3):
            msg = "in_channels must be 1 or 3"
            raise ConfigError(msg, where="ResidualNetwork", got=in_channels, advice="Use grey or RGB images.")
        with undrawn():  # torch's own initial weights are replaced
            self.stem = nn.Sequential(
                nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False),
                nn.BatchNorm2d(64),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(3, stride=2),
            )
            blocks: list[nn.Module] = []
            width, side = 64, (image_size + 1) // 2
            side = (side - 3) // 2 + 1
            for channels, stride in STAGES:
                blocks.append(ResidualBlock(width, channels, stride=stride))
                width = channels[-1]
                blocks += [ResidualBlock(width, channels, stride=None) for _ in range(2)]
                side = (side - 1) // stride + 1
            self.stages = nn.Sequential(*blocks)
            features = width * (side // 2) ** 2
            hidden: list[nn.Module] = []
            if hidden_units is not None:
                hidden = [nn.Linear(features, hidden_units), nn.ReLU(inplace=True)]
                features = hidden_units
            self.head = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), *hidden, nn.Linear(features, 2))
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        # Channels last is faster on a CPU (by a third or more in make bench) and suits the tensor cores of a GPU.
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, images: Float[Tensor, "batch channels rows columns"]) -> Float[Tensor, "batch 2"]:
        """Return the logits of (normal, leukemic)."""
        images = images.contiguous(memory_format=torch.channels_last)
        return self.head(self.stages(self.stem(images)))

    def probabilities(self, images: Float[Tensor, "batch channels rows columns"]) -> Float[Tensor, " batch"]:
        """Return the probability that each cell is leukemic, 0 to 1: the softmax of the two logits."""
        return self(images).softmax(dim=1)[:, 1]
