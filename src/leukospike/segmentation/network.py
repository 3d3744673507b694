"""A spiking network that classifies every pixel by the class neuron that spikes first.

Every signal in it is the latency of one spike, of `STEPS` times (`STEPS` itself: silent). A layer has two phases. While
it integrates, an input spike of latency l drives the neuron with its weight from step l on, and a constant current from
the start, so that after all steps the potential is

    V = sum_j w_j (STEPS - l_j) + STEPS b.

Then it fires: the threshold falls evenly from STEPS to 0, and the neuron spikes when it meets V; what is over the
threshold spikes at once, what is at most 0 never. With activations a = (STEPS - l) / STEPS both phases together are a
convolution, a clamp to 0..1 and a rounding to 1 / STEPS. So they are computed, and the tests hold that against the
steps one by one. The code is that of Stanojevic et al. 2024 (doi 10.1038/s41467-024-51110-5), with latencies that are
whole numbers.
"""

from functools import cache
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from leukospike.learning.chance import undrawn
from leukospike.segmentation.input_spikes import INPUTS
from leukospike.segmentation.windows import Window, laid
from leukospike.storage.weights import fill, write_weights

STEPS = 63
"""Spike times between layers; a latency of so many steps is silence."""

CHANNELS = (16, 24, 32, 48, 64)
"""Features at half, a quarter, ... of the working size."""

CLASSES = ("rest", "cytoplasm", "nucleus", "red cell")
"""What a pixel can be, by the number that stands for it in a class map."""

LEAST_MARGIN = 2
"""Places of half the working size by which stem and finest layer together look around."""

LEAST_ON_BLACK_PX = 40
"""Least side at its working size of an image of which only a part is computed."""

_FORMAT = "leukospike-segmenter-2"
_SETTINGS = {"format": _FORMAT, "steps": STEPS, "channels": list(CHANNELS), "classes": list(CLASSES)}
_HIDDEN = 16
_PLAIN = 17  # least places of half the size of an image of one colour that has its border on all sides, and a middle
_LAYERS_AT_FINEST = 3  # on the way up


class _Fire(torch.autograd.Function):
    """From potentials to spikes; the surrogate gradient is 1 between silence and the first step, else 0."""

    @staticmethod
    def forward(ctx: Any, potential: Tensor) -> Tensor:  # noqa: ANN401 - torch's context has no type
        """Clamp to 0..1 and round to whole steps."""
        ctx.save_for_backward(potential)
        return potential.clamp(0, 1).mul_(STEPS).round_().div_(STEPS)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401
        """Let through what could still move a spike."""
        (potential,) = ctx.saved_tensors
        return gradients[0] * ((potential > 0) & (potential < 1))


class SpikingLayer(nn.Module):
    """Integrate and fire: a convolution over spikes, then one spike a neuron, the earlier the higher the potential.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride : int
    folded : bool
        False: with the batch norm that training needs. True: with that folded into weights and current.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel_size: int = 3, stride: int = 1, folded: bool
    ) -> None:
        super().__init__()
        padding = (kernel_size - 1) // 2
        self.integrate = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=folded)
        self.norm = nn.Identity() if folded else nn.BatchNorm2d(out_channels)
        if isinstance(self.norm, nn.BatchNorm2d):
            # Potentials begin between silence and the first step, where the surrogate gradient passes.
            nn.init.constant_(self.norm.weight, 0.35)
            nn.init.constant_(self.norm.bias, 0.2)

    def forward(self, spikes: Float[Tensor, "batch in rows columns"]) -> Float[Tensor, "batch out r c"]:
        """Return the layer's spikes as activations, 0 (silent) to 1 (first step), multiples of 1 / STEPS."""
        potential = self.norm(self.integrate(spikes))
        if torch.is_grad_enabled():
            return _Fire.apply(potential)  # pyright: ignore[reportReturnType] - torch does not say what apply gives
        return potential.clamp_(0, 1).mul_(STEPS).round_().div_(STEPS)


class SpikingSegmenter(nn.Module):
    """From input spikes to the potentials of four class neurons a pixel.

    A pyramid of spiking layers: on the way down, the first spike of each 2 x 2 is passed on; on the way up, each spike
    is passed to 2 x 2 neurons and joins what was kept of that size.

    Parameters
    ----------
    folded : bool
        As for `SpikingLayer`.
    """

    def __init__(self, *, folded: bool) -> None:
        super().__init__()
        below = (CHANNELS[0], *CHANNELS[:-1])
        self.stem = SpikingLayer(INPUTS, CHANNELS[0], kernel_size=4, stride=2, folded=folded)
        self.down = nn.ModuleList(SpikingLayer(a, b, folded=folded) for a, b in zip(below, CHANNELS, strict=True))
        self.deep = nn.ModuleList(SpikingLayer(c, c, folded=folded) for c in CHANNELS[2:])
        self.up = nn.ModuleList(SpikingLayer(fine + coarse, fine, folded=folded) for fine, coarse in pairwise(CHANNELS))
        self.last = SpikingLayer(CHANNELS[0], _HIDDEN, folded=folded)
        # Four neurons of each class for the four pixels that a place of half the size stands for.
        self.classes = nn.Conv2d(_HIDDEN, 4 * len(CLASSES), 3, padding=1)

    def forward(
        self, spikes: Float[Tensor, "batch inputs rows columns"]
    ) -> Float[Tensor, "batch classes rows columns"]:
        """Return the class neurons' potentials; the highest meets the falling threshold first.

        Parameters
        ----------
        spikes : Tensor of shape (batch, 6, rows, columns), float32, 0 to 1
            As `input_spikes` gives them.

        Returns
        -------
        Tensor of shape (batch, 4, rows, columns), float32
        """
        rows, columns = spikes.shape[-2:]
        sizes = _sizes(rows, columns)
        kept = self._downwards([self._finest(spikes)])
        wholes = [Window(0, height, 0, width) for height, width in sizes]
        return self._upwards(kept, wholes, sizes, wholes[0])[..., :rows, :columns]

    def potentials_on_black(
        self,
        spikes: Float[Tensor, "batch inputs height width"],
        black: Float[Tensor, "batch inputs"],
        window: Window,
        shape: tuple[int, int],
    ) -> Float[Tensor, "batch classes r c"]:
        """Return the potentials in a window of an image that is of one colour everywhere else, as `forward` does.

        The two finest layers on the way down are computed where something else is in reach. Beyond, their features are
        those of the colour alone, at the image's border or inside, and are taken from a small image of the colour. All
        coarser layers see the whole image; the two finest on the way up, again, what the window needs.

        Parameters
        ----------
        spikes : Tensor of shape (batch, 6, height, width), float32
            The part of the image that `reach_of` says.
        black : Tensor of shape (batch, 6), float32
            Spikes of the colour.
        window : Window
            In places of half the working size, and what is of another colour in it, but for `LEAST_MARGIN` places on
            either side that are not at the image's border.
        shape : tuple of int
            Rows and columns of the image at its working size; at least `LEAST_ON_BLACK_PX`.

        Returns
        -------
        Tensor of shape (batch, 3, rows, columns), float32
            Of twice the window's sides, less the last row or column where the window reaches the end of an odd side.
        """
        sizes = _sizes(*shape)
        rows, columns = (_PLAIN + (size - _PLAIN) % 4 for size in sizes[0])
        colour = black[:, :, None, None].expand(-1, -1, 2 * rows, 2 * columns)
        plain = self._finest(colour.contiguous(memory_format=torch.channels_last))
        plain_half = self._half(plain)
        changed = window.halved().grown(1, *sizes[1])
        seen = changed.grown(1, *sizes[1])
        kept_at = seen.doubled(*sizes[0])
        seen_half = window.grown(_LAYERS_AT_FINEST, *sizes[0]).halved().grown(1, *sizes[1])
        quarter = changed.halved()

        first = window.grown(LEAST_MARGIN, *sizes[0])
        finest = laid(window.of(self._finest(spikes), first), window, plain, kept_at, sizes[0])
        half = laid(changed.of(self._half(finest), seen), changed, plain_half, seen_half, sizes[1])
        pooled = _halved(quarter.doubled(*sizes[1]).of(half, seen_half))
        wholes = [Window(0, height, 0, width) for height, width in sizes]
        pooled = laid(pooled, quarter, _halved(plain_half), wholes[2], sizes[2])
        kept = self._downwards([finest, half], pooled)
        potentials = self._upwards(kept, [kept_at, seen_half, *wholes[2:]], sizes, window)
        return potentials[..., : shape[0] - 2 * window.top, : shape[1] - 2 * window.left]

    def _finest(self, spikes: Float[Tensor, "batch inputs rows columns"]) -> Float[Tensor, "batch finest r c"]:
        """Return the features of half the size."""
        rows, columns = spikes.shape[-2:]
        # The stem takes pixels by twos. Deeper, what is left over at the end stands for itself: filling the image up to
        # what all layers can halve would be a third more work for a cell of 450 pixels.
        if rows % 2 or columns % 2:
            spikes = functional.pad(spikes, (0, columns % 2, 0, rows % 2), mode="replicate")
        return self.down[0](self.stem(spikes))

    def _half(self, finest: Float[Tensor, "batch finest rows columns"]) -> Float[Tensor, "batch half r c"]:
        """Return the features of half the finest's size."""
        return self.down[1](_halved(finest))

    def _downwards(self, kept: list[Tensor], pooled: Tensor | None = None) -> list[Tensor]:
        """Add the features of all coarser sizes to those of the first; `pooled` are the last's, halved."""
        for level in range(len(kept), len(self.down)):
            features = self.down[level](_halved(kept[-1]) if pooled is None else pooled)
            kept.append(self.deep[level - 2](features) if level >= 2 else features)
            pooled = None
        return kept

    def _upwards(
        self, kept: list[Tensor], kept_at: list[Window], sizes: list[tuple[int, int]], window: Window
    ) -> Float[Tensor, "batch classes r c"]:
        """Return the potentials in a window of the finest features; `kept`, parts of maps of `sizes`, is used up."""
        # From the edge of what a layer sees, wrong values grow inwards, one place a layer: it computes so much more.
        wanted = [window.grown(_LAYERS_AT_FINEST, *sizes[0])]
        for size in sizes[1:-1]:
            wanted.append(wanted[-1].halved().grown(1, *size))
        features, above = kept.pop(), kept_at[-1]
        for level in reversed(range(len(kept))):
            # What has been used is let go: of a whole field, each of these maps is tens of megabytes.
            own = wanted[level].of(kept.pop(), kept_at[level])
            passed_on = functional.interpolate(features, scale_factor=2.0, mode="nearest")
            joined = torch.cat([own, wanted[level].of(passed_on, above.doubled())], dim=1)
            del own, passed_on, features
            features, above = self.up[level](joined), wanted[level]
            del joined
        potentials = functional.pixel_shuffle(self.classes(self.last(features)), 2)
        return window.doubled().of(potentials, above.doubled())

    def fold(self) -> "SpikingSegmenter":
        """Return the same network without batch norm, ready for use: each norm folded into weights and current."""
        with undrawn():
            folded = SpikingSegmenter(folded=True)
        layers = dict(self.named_modules())
        for name, layer in folded.named_modules():
            if isinstance(layer, SpikingLayer):
                own: Any = layers[name]
                layer.integrate = torch.nn.utils.fuse_conv_bn_eval(own.integrate.eval(), own.norm.eval())
        folded.classes.load_state_dict(self.classes.state_dict())
        return folded.eval().requires_grad_(requires_grad=False)


def likeliest(shares: Float[np.ndarray, "classes rows columns"]) -> UInt8[np.ndarray, "rows columns"]:
    """Return the class of which each pixel is likeliest, the first of those that are alike.

    Parameters
    ----------
    shares : ndarray of shape (4, rows, columns)
        How likely each pixel is of each class, at least 0.
    """
    # Two and two, and bytes of numbers that are not negative in their own order: measured, a sixth of argmax's time.
    rest, cytoplasm, nucleus, red_cell = shares.view(np.int16) if shares.dtype == np.float16 else shares
    is_second, is_fourth = cytoplasm > rest, red_cell > nucleus
    is_later = np.maximum(nucleus, red_cell) > np.maximum(rest, cytoplasm)
    return np.where(is_later, 2 + is_fourth.view(np.uint8), is_second.view(np.uint8))


def reach_of(window: Window, shape: tuple[int, int]) -> Window:
    """Return the part of an image at its working size that `SpikingSegmenter.potentials_on_black` is to be given.

    Parameters
    ----------
    window : Window
        In places of half the working size.
    shape : tuple of int
        Rows and columns of the image at its working size.

    Returns
    -------
    Window
        Pixels of the working size.
    """
    return window.grown(LEAST_MARGIN, *_sizes(*shape)[0]).doubled(*shape)


def _sizes(rows: int, columns: int) -> list[tuple[int, int]]:
    """Return rows and columns of the features of each level."""
    sizes = [(-(-rows // 2), -(-columns // 2))]
    for _ in CHANNELS[1:]:
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    return sizes


def _halved(features: Float[Tensor, "batch channels rows columns"]) -> Float[Tensor, "batch channels r c"]:
    """Pass on the first spike of each 2 x 2."""
    return functional.max_pool2d(features, 2, ceil_mode=True)


def save_segmenter(network: SpikingSegmenter, path: Path) -> None:
    """Write a folded network to `path` atomically."""
    write_weights(path, network.state_dict(), _SETTINGS)


def load_segmenter(path: Path) -> SpikingSegmenter:
    """Read a network written by `save_segmenter`.

    Raises
    ------
    WeightsError
        If the file is missing, not safetensors, of another network or other settings, or holds a value that is not
        float32 or not finite.
    """
    with undrawn():
        network = SpikingSegmenter(folded=True)
    fill(network, path, _SETTINGS, where="load_segmenter", give="Install the package again.", use="Train a segmenter.")
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return network.eval().requires_grad_(requires_grad=False)


@cache
def default_segmenter() -> SpikingSegmenter:
    """Return the network with the weights of the package."""
    with resources.as_file(resources.files("leukospike") / "segmentation" / "segmenter.safetensors") as path:
        return load_segmenter(path)
