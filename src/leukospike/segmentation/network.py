"""A spiking network that gives every pixel a class: the class neuron that spikes first.

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

import math
from collections.abc import Sequence
from functools import cache
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from leukospike.segmentation.tiles import class_map_in_tiles
from leukospike.weights import check_settings, read_weights, write_weights, wrong_part

STEPS = 63
"""Spike times between layers; a latency of so many steps is silence."""

CHANNELS = (16, 24, 32, 48, 64)
"""Features at half, a quarter, ... of the working size."""

CLASSES = ("rest", "cytoplasm", "nucleus")
"""What a pixel can be, by the number that stands for it in a class map."""

MASK_VALUES = np.array([0, 128, 255], np.uint8)
"""Grey values that stand for the classes in a mask that is written."""

INPUTS = 6
"""Spike channels of a pixel: darkness and rank of red, green and blue."""

WORKING_PX = 360
"""An image of a cell is halved or doubled until its longer side is at most this, and more than half of it."""

MOST_HALVINGS = 2
"""An image is halved so often at the most."""

FIELD_HALVINGS = 1
"""What even that does not bring to its working size is a whole field, of many cells, and halved so often.

Halved twice, its cells can be smaller than any that the network has learned from: measured, on sixteen bccd fields side
by side Dice of the cell is .954 halved once and .915 halved twice, and on drawn ones with cells of 80 pixels it fails.
"""

LONGEST_WHOLE_PX = 4096
"""An image of more rows or columns is computed tile by tile, so that memory does not grow with it."""

_MOST_DOUBLINGS = 2
_ALIGN_PX = 2 ** (len(CHANNELS) + FIELD_HALVINGS)  # by which an image can be shifted and all layers shift with it
_OVERLAP_PX = 6 * _ALIGN_PX  # more than the network sees: 184 pixels of the working size on either side
_TILE_PX = 16 * _ALIGN_PX
_FORMAT = "leukospike-segmenter-1"
_SETTINGS = {"format": _FORMAT, "steps": STEPS, "channels": list(CHANNELS), "classes": list(CLASSES)}
_HIDDEN = 16
_BATCH = 8


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
        """Give the layer's spikes as activations, 0 (silent) to 1 (first step), multiples of 1 / STEPS."""
        potential = self.norm(self.integrate(spikes))
        if torch.is_grad_enabled():
            return _Fire.apply(potential)  # pyright: ignore[reportReturnType] - torch does not say what apply gives
        return potential.clamp_(0, 1).mul_(STEPS).round_().div_(STEPS)


class SpikingSegmenter(nn.Module):
    """From input spikes to the potentials of three class neurons a pixel.

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
        """Give the class neurons' potentials; the highest meets the falling threshold first.

        Parameters
        ----------
        spikes : Tensor of shape (batch, 6, rows, columns), float32, 0 to 1
            As `input_spikes` gives them.

        Returns
        -------
        Tensor of shape (batch, 3, rows, columns), float32
        """
        rows, columns = spikes.shape[-2:]
        # The stem takes pixels by twos. Deeper, what is left over at the end stands for itself: filling the image up to
        # what all layers can halve would be a third more work for a cell of 450 pixels.
        features = self.stem(functional.pad(spikes, (0, columns % 2, 0, rows % 2), mode="replicate"))
        kept: list[Tensor] = []
        for level, layer in enumerate(self.down):
            features = layer(features if level == 0 else functional.max_pool2d(features, 2, ceil_mode=True))
            if level >= 2:
                features = self.deep[level - 2](features)
            kept.append(features)
        features = kept.pop()
        for layer in reversed(self.up):
            # What has been used is let go: of a whole field, each of these maps is tens of megabytes.
            own = kept.pop()
            height, width = own.shape[-2:]
            passed_on = functional.interpolate(features, scale_factor=2.0, mode="nearest")[..., :height, :width]
            joined = torch.cat([own, passed_on], dim=1)
            del own, passed_on, features
            features = layer(joined)
            del joined
        return functional.pixel_shuffle(self.classes(self.last(features)), 2)[..., :rows, :columns]

    def fold(self) -> "SpikingSegmenter":
        """Give the same network without batch norm, ready for use: each norm folded into weights and current."""
        folded = SpikingSegmenter(folded=True)
        layers = dict(self.named_modules())
        for name, layer in folded.named_modules():
            if isinstance(layer, SpikingLayer):
                own: Any = layers[name]
                layer.integrate = torch.nn.utils.fuse_conv_bn_eval(own.integrate.eval(), own.norm.eval())
        folded.classes.load_state_dict(self.classes.state_dict())
        return folded.eval().requires_grad_(requires_grad=False)


def input_spikes(pixels: UInt8[np.ndarray, "rows columns 3"]) -> Float[np.ndarray, "6 rows columns"]:
    """Code each colour channel twice: the darker, and the higher in rank, the earlier the spike.

    Darkness is 1 - value / 255. Rank is the share of the image's pixels that are darker, half of the equal ones
    counted in; any change of brightness or gamma that keeps the order of the values keeps the ranks.

    Parameters
    ----------
    pixels : ndarray of shape (rows, columns, 3)
        RGB, uint8, 0-255.

    Returns
    -------
    ndarray of shape (6, rows, columns), float32, 0 to 1
        Darkness of red, green, blue, then their ranks, as activations: 1 spikes at once, 0 never.
    """
    return _spikes_by_rank(pixels, _ranks(pixels))


def _ranks(pixels: UInt8[np.ndarray, "rows columns 3"]) -> Float[np.ndarray, "3 256"]:
    """Give the rank of each value that a channel can have."""
    ranks = np.empty((3, 256), np.float32)
    for channel in range(3):
        counts = np.bincount(pixels[..., channel].reshape(-1), minlength=256)
        ranks[channel] = (np.cumsum(counts) - counts / 2) / (pixels.size // 3)
    return ranks


def _spikes_by_rank(
    pixels: UInt8[np.ndarray, "rows columns 3"], ranks: Float[np.ndarray, "3 256"]
) -> Float[np.ndarray, "inputs rows columns"]:
    """Look up darkness and rank of each pixel."""
    spikes = np.empty((INPUTS, *pixels.shape[:2]), np.float32)
    darkness = 1 - np.arange(256, dtype=np.float32) / 255
    for channel in range(3):
        values = pixels[..., channel]
        spikes[channel], spikes[3 + channel] = darkness[values], ranks[channel][values]
    return spikes


def working_scale(rows: int, columns: int) -> float:
    """Give the power of two that brings an image to its working size: 1/4 to 4.

    Examples
    --------
    >>> working_scale(450, 450), working_scale(120, 120), working_scale(1944, 2592)
    (0.5, 2.0, 0.5)
    """
    halvings = math.ceil(math.log2(max(rows, columns) / WORKING_PX))
    return 2.0 ** -(FIELD_HALVINGS if halvings > MOST_HALVINGS else max(halvings, -_MOST_DOUBLINGS))


def at_working_size(pixels: UInt8[np.ndarray, "rows columns 3"]) -> UInt8[np.ndarray, "r c 3"]:
    """Halve (mean of the pixels) or double (bicubic) an image until it has its working size."""
    rows, columns = pixels.shape[:2]
    return _scaled(pixels, working_scale(rows, columns))


def _scaled(pixels: UInt8[np.ndarray, "rows columns 3"], scale: float) -> UInt8[np.ndarray, "r c 3"]:
    """Bring an image to a scale."""
    rows, columns = pixels.shape[:2]
    if scale == 1:
        return pixels
    size = (max(round(columns * scale), 1), max(round(rows * scale), 1))
    method = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(pixels).resize(size, method))


def class_maps(
    network: SpikingSegmenter, images: Sequence[UInt8[np.ndarray, "_ _ 3"]]
) -> list[UInt8[np.ndarray, "_ _"]]:
    """Give every pixel of each image its class.

    Parameters
    ----------
    network : SpikingSegmenter
        Folded.
    images : sequence of ndarray of shape (rows, columns, 3)
        RGB, uint8, 0-255; neighbours of the same working size are computed together, and one that is longer than
        `LONGEST_WHOLE_PX` piece by piece. If its sides are even, that changes nothing but single pixels, 8 in
        a million as measured, where a potential lies so close between two spike times that rounding decides; else the
        last pixels are repeated once.

    Returns
    -------
    list of ndarray of shape (rows, columns)
        uint8: 0 rest, 1 cytoplasm, 2 nucleus; where two class neurons spike together, the lower number.
    """
    maps: list[UInt8[np.ndarray, "_ _"]] = []
    small = [at_working_size(image) for image in images]
    with torch.inference_mode():
        while len(maps) < len(images):
            first = len(maps)
            if max(images[first].shape) > LONGEST_WHOLE_PX:
                maps.append(_in_tiles(network, images[first]))
                continue
            end = first + 1
            while end < len(images) and end - first < _BATCH and small[end].shape == small[first].shape:
                end += 1
            spikes = torch.from_numpy(np.stack([input_spikes(image) for image in small[first:end]]))
            spikes = spikes.contiguous(memory_format=torch.channels_last)
            potentials = network(spikes)
            del spikes
            for potential, image in zip(potentials, images[first:end], strict=True):
                maps.append(_winners(potential, image.shape[0], image.shape[1]))
    return maps


def _in_tiles(
    network: SpikingSegmenter, image: UInt8[np.ndarray, "rows columns 3"]
) -> UInt8[np.ndarray, "rows columns"]:
    """Compute the class map of a large image from overlapping tiles, with the ranks of the whole image."""
    rows, columns = image.shape[:2]
    # Filled up to whole pixels of the working size: else tiles and image would be scaled by a little more or less.
    block = 2**FIELD_HALVINGS
    if rows % block or columns % block:
        image = np.pad(image, ((0, -rows % block), (0, -columns % block), (0, 0)), mode="edge")
    ranks = _ranks(_scaled(image, 1 / block))

    def tile_map(pixels: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width"]:
        spikes = torch.from_numpy(_spikes_by_rank(_scaled(pixels, 1 / block), ranks))[None]
        potentials = network(spikes.contiguous(memory_format=torch.channels_last))
        return _winners(potentials[0], pixels.shape[0], pixels.shape[1])

    tiled = class_map_in_tiles(tile_map, image, tile=_TILE_PX, overlap=_OVERLAP_PX, align=_ALIGN_PX)
    return tiled[:rows, :columns]


def _winners(potential: Float[Tensor, "classes r c"], rows: int, columns: int) -> UInt8[np.ndarray, "rows columns"]:
    """Bring the potentials to the image's size and give the class that spikes first."""
    height, width = potential.shape[1:]
    if (height, width) == (rows, columns):
        return _first(potential)
    factor = rows // height
    if (rows, columns) != (factor * height, factor * width):
        return _first(_resized(potential, rows, columns))
    # Between four places of rest there is only rest, whatever their weights: no need to look there.
    found = np.zeros((rows, columns), np.uint8)
    cells = _first(potential)
    used_rows, used_columns = np.flatnonzero(cells.any(axis=1)), np.flatnonzero(cells.any(axis=0))
    if not used_rows.size:
        return found
    top, left = max(used_rows[0] - 1, 0), max(used_columns[0] - 1, 0)
    part = potential[:, top : used_rows[-1] + 2, left : used_columns[-1] + 2]
    part_rows, part_columns = factor * part.shape[1], factor * part.shape[2]
    window = np.s_[factor * top : factor * top + part_rows, factor * left : factor * left + part_columns]
    found[window] = _first(_resized(part, part_rows, part_columns))
    return found


def _resized(potential: Float[Tensor, "classes r c"], rows: int, columns: int) -> Float[Tensor, "classes rows columns"]:
    """Interpolate between places."""
    return functional.interpolate(potential[None], (rows, columns), mode="bilinear", align_corners=False)[0]


def _first(potential: Float[Tensor, "classes rows columns"]) -> UInt8[np.ndarray, "rows columns"]:
    """Give the class whose neuron has the highest potential, the lower number among equals."""
    rest, cytoplasm, nucleus = potential
    # Three comparisons in bytes: measured, several times as fast as argmax, which writes 64-bit indices.
    cell = cytoplasm > rest
    return torch.where(nucleus > torch.maximum(rest, cytoplasm), 2, cell.view(torch.uint8)).to(torch.uint8).numpy()


def save_segmenter(network: SpikingSegmenter, path: Path) -> None:
    """Write a folded network to `path`, whole or not at all."""
    write_weights(path, network.state_dict(), _SETTINGS)


def load_segmenter(path: Path) -> SpikingSegmenter:
    """Read a network that `save_segmenter` wrote.

    Raises
    ------
    WeightsError
        If the file is missing, not safetensors, of another network or other settings, or holds a value that is not
        float32 or not finite.
    """
    where = "load_segmenter"
    stored = read_weights(path, form=_FORMAT, where=where, give="Install the package again.", use="Train a segmenter.")
    check_settings(where, path, stored, _SETTINGS)
    network = SpikingSegmenter(folded=True)
    try:
        network.load_state_dict(stored.tensors)
    except RuntimeError as error:
        raise wrong_part(where, path, error) from error
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return network.eval().requires_grad_(requires_grad=False)


@cache
def default_segmenter() -> SpikingSegmenter:
    """Give the network whose weights are part of the package."""
    with resources.as_file(resources.files("leukospike") / "segmentation" / "segmenter.safetensors") as path:
        return load_segmenter(path)
