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
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from leukospike.framing import content_window
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

LEAST_MARGIN = 2
"""Places of half the working size by which stem and finest layer together look around."""

LEAST_ON_BLACK_PX = 40
"""Least side at its working size of an image of which only a part is computed."""

_MOST_DOUBLINGS = 2
_ALIGN_PX = 2 ** (len(CHANNELS) + FIELD_HALVINGS)  # by which an image can be shifted and all layers shift with it
_OVERLAP_PX = 6 * _ALIGN_PX  # more than the network sees: 184 pixels of the working size on either side
_TILE_PX = 16 * _ALIGN_PX
_FORMAT = "leukospike-segmenter-1"
_SETTINGS = {"format": _FORMAT, "steps": STEPS, "channels": list(CHANNELS), "classes": list(CLASSES)}
_HIDDEN = 16
_BATCH = 8
_PLAIN = 17  # least places of half the size of an image of one colour that has its border on all sides, and a middle
_MARGIN = 2  # such places around a cell on black: cells were found one pixel outside at most
_EVERY = 4  # places at which a window begins; half of what its sides are multiples of
_MOST_ON_BLACK = 0.7  # share of an image to which the window around a cell on black is worth while
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
        """Give the layer's spikes as activations, 0 (silent) to 1 (first step), multiples of 1 / STEPS."""
        potential = self.norm(self.integrate(spikes))
        if torch.is_grad_enabled():
            return _Fire.apply(potential)  # pyright: ignore[reportReturnType] - torch does not say what apply gives
        return potential.clamp_(0, 1).mul_(STEPS).round_().div_(STEPS)


class Window(NamedTuple):
    """Places of a map of features: rows from `top` to before `bottom`, columns likewise."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def rows(self) -> slice:
        """To index with."""
        return slice(self.top, self.bottom)

    @property
    def columns(self) -> slice:
        """To index with."""
        return slice(self.left, self.right)

    def grown(self, by: int, rows: int, columns: int) -> "Window":
        """Take in what is around it, as far as a map of so many rows and columns has it."""
        return Window(
            max(self.top - by, 0), min(self.bottom + by, rows), max(self.left - by, 0), min(self.right + by, columns)
        )

    def of(self, features: Tensor, place: "Window") -> Tensor:
        """Cut this out of features that are those of another window."""
        rows, columns = (
            slice(self.top - place.top, self.bottom - place.top),
            slice(self.left - place.left, self.right - place.left),
        )
        return features[..., rows, columns]

    def doubled(self, rows: int | None = None, columns: int | None = None) -> "Window":
        """Give the same place in a map of twice the size, or of so many rows and columns: twice, or one less."""
        bottom, right = 2 * self.bottom, 2 * self.right
        return Window(
            2 * self.top,
            bottom if rows is None else min(bottom, rows),
            2 * self.left,
            right if columns is None else min(right, columns),
        )

    def halved(self) -> "Window":
        """Give the place in a map of half the size that has all of it."""
        return Window(self.top // 2, -(-self.bottom // 2), self.left // 2, -(-self.right // 2))


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
        """Give the potentials in a window of an image that is of one colour everywhere else, as `forward` does.

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
        finest = _laid(window.of(self._finest(spikes), first), window, plain, kept_at, sizes[0])
        half = _laid(changed.of(self._half(finest), seen), changed, plain_half, seen_half, sizes[1])
        pooled = _halved(quarter.doubled(*sizes[1]).of(half, seen_half))
        wholes = [Window(0, height, 0, width) for height, width in sizes]
        pooled = _laid(pooled, quarter, _halved(plain_half), wholes[2], sizes[2])
        kept = self._downwards([finest, half], pooled)
        potentials = self._upwards(kept, [kept_at, seen_half, *wholes[2:]], sizes, window)
        return potentials[..., : shape[0] - 2 * window.top, : shape[1] - 2 * window.left]

    def _finest(self, spikes: Float[Tensor, "batch inputs rows columns"]) -> Float[Tensor, "batch finest r c"]:
        """Give the features of half the size."""
        rows, columns = spikes.shape[-2:]
        # The stem takes pixels by twos. Deeper, what is left over at the end stands for itself: filling the image up to
        # what all layers can halve would be a third more work for a cell of 450 pixels.
        return self.down[0](self.stem(functional.pad(spikes, (0, columns % 2, 0, rows % 2), mode="replicate")))

    def _half(self, finest: Float[Tensor, "batch finest rows columns"]) -> Float[Tensor, "batch half r c"]:
        """Give the features of half the finest's size."""
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
        """Give the potentials in a window of the finest features; `kept`, parts of maps of `sizes`, is used up."""
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
        """Give the same network without batch norm, ready for use: each norm folded into weights and current."""
        folded = SpikingSegmenter(folded=True)
        layers = dict(self.named_modules())
        for name, layer in folded.named_modules():
            if isinstance(layer, SpikingLayer):
                own: Any = layers[name]
                layer.integrate = torch.nn.utils.fuse_conv_bn_eval(own.integrate.eval(), own.norm.eval())
        folded.classes.load_state_dict(self.classes.state_dict())
        return folded.eval().requires_grad_(requires_grad=False)


def reach_of(window: Window, shape: tuple[int, int]) -> Window:
    """Give the part of an image at its working size that `SpikingSegmenter.potentials_on_black` is to be given.

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
    """Give rows and columns of the features of each level."""
    sizes = [(-(-rows // 2), -(-columns // 2))]
    for _ in CHANNELS[1:]:
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    return sizes


def _halved(features: Float[Tensor, "batch channels rows columns"]) -> Float[Tensor, "batch channels r c"]:
    """Pass on the first spike of each 2 x 2."""
    return functional.max_pool2d(features, 2, ceil_mode=True)


def _laid(
    features: Tensor, window: Window, plain: Tensor, place: Window, size: tuple[int, int]
) -> Float[Tensor, "batch channels r c"]:
    """Lay features of a window on those of a plain image, stretched to a size, and cut out a place."""
    rows, columns = (_stretched(length, n_plain) for length, n_plain in zip(size, plain.shape[-2:], strict=True))
    laid = plain[..., rows[place.top : place.bottom], :][..., columns[place.left : place.right]]
    window.of(laid, place).copy_(features)
    return laid.contiguous(memory_format=torch.channels_last)


def _stretched(length: int, n_plain: int) -> Int64[Tensor, " length"]:
    """Repeat what is in the middle of a plain map's side so that it gets another length: give the place of each."""
    places, middle = torch.arange(length), n_plain // 2
    from_end = (places - length + n_plain).clamp(min=middle)
    return torch.where(places < length // 2, places.clamp(max=middle), from_end)


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


def _ranks(pixels: UInt8[np.ndarray, "rows columns 3"], *, n_black: int = 0) -> Float[np.ndarray, "3 256"]:
    """Give the rank of each value that a channel can have, among pixels and so many that are black."""
    ranks = np.empty((3, 256), np.float32)
    for channel in range(3):
        counts = np.bincount(pixels[..., channel].reshape(-1), minlength=256)
        counts[0] += n_black
        ranks[channel] = (np.cumsum(counts) - counts / 2) / (pixels.size // 3 + n_black)
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
        RGB, uint8, 0-255; neighbours of the same working size are computed together. A cell cut out on black, 0, 0, 0,
        is computed where it is, and there is rest elsewhere: on C-NMC no cell was found further than a pixel outside.
        An image longer than `LONGEST_WHOLE_PX` is computed piece by piece. Neither changes anything but single pixels,
        of pieces 8 in a million as measured, where a potential lies so close between two spike times that rounding
        decides; but of an image in pieces whose sides are odd, the last pixels are repeated once.

    Returns
    -------
    list of ndarray of shape (rows, columns)
        uint8: 0 rest, 1 cytoplasm, 2 nucleus; where two class neurons spike together, the lower number.
    """
    maps: list[UInt8[np.ndarray, "_ _"]] = []
    with torch.inference_mode():
        while len(maps) < len(images):
            first = len(maps)
            if max(images[first].shape) > LONGEST_WHOLE_PX:
                maps.append(_in_tiles(network, images[first]))
                continue
            if (window := _window_on_black(images[first])) is not None:
                maps.append(_on_black(network, images[first], window))
                continue
            end = first + 1
            small = [at_working_size(images[first])]
            while end < len(images) and len(small) < _BATCH:
                another = at_working_size(images[end])
                if another.shape != small[0].shape or _window_on_black(images[end]) is not None:
                    break
                small.append(another)
                end += 1
            spikes = torch.from_numpy(np.stack([input_spikes(image) for image in small]))
            spikes = spikes.contiguous(memory_format=torch.channels_last)
            potentials = network(spikes)
            del spikes
            for potential, image in zip(potentials, images[first:end], strict=True):
                maps.append(_winners(potential, image.shape[0], image.shape[1]))
    return maps


def _window_on_black(image: UInt8[np.ndarray, "rows columns 3"]) -> Window | None:
    """Give where an image is not black, in places of half its working size, with a margin.

    None where that saves little, and for an image that is enlarged, or that its working size does not divide.
    """
    scale = working_scale(*image.shape[:2])
    px = round(1 / scale)
    if scale > 1 or min(image.shape[:2]) < LEAST_ON_BLACK_PX * px or any(side % px for side in image.shape[:2]):
        return None
    shown = content_window(image)
    if not shown[0].stop:
        return None
    lengths = [-(-side // (2 * px)) for side in image.shape[:2]]
    starts = [max(part.start // (2 * px) - _MARGIN, 0) // _EVERY * _EVERY for part in shown]
    ends = [min(-(-part.stop // (2 * px)) + _MARGIN, length) for part, length in zip(shown, lengths, strict=True)]
    # Squares of few sizes: measured, a convolution of a size that is new takes half as long again.
    side = max(-(-(end - start) // (2 * _EVERY)) * 2 * _EVERY for start, end in zip(starts, ends, strict=True))
    (top, bottom), (left, right) = (
        (start, min(max(start + side, end), length)) for start, end, length in zip(starts, ends, lengths, strict=True)
    )
    saves = (bottom - top) * (right - left) < _MOST_ON_BLACK * lengths[0] * lengths[1]
    return Window(top, bottom, left, right) if saves else None


def _on_black(
    network: SpikingSegmenter, image: UInt8[np.ndarray, "rows columns 3"], window: Window
) -> UInt8[np.ndarray, "rows columns"]:
    """Compute the class map of a cell cut out on black where the cell is: elsewhere there is rest."""
    rows, columns = image.shape[:2]
    scale = round(1 / working_scale(rows, columns))
    shape = (rows // scale, columns // scale)
    reach = reach_of(window, shape)
    part = image[scale * reach.top : scale * reach.bottom, scale * reach.left : scale * reach.right]
    small = _scaled(part, 1 / scale)
    ranks = _ranks(small, n_black=shape[0] * shape[1] - small.shape[0] * small.shape[1])
    spikes, black = (
        torch.from_numpy(_spikes_by_rank(pixels, ranks))[None].contiguous(memory_format=torch.channels_last)
        for pixels in (small, np.zeros((1, 1, 3), np.uint8))
    )
    [potential] = network.potentials_on_black(spikes, black[:, :, 0, 0], window, shape)
    found = np.zeros((rows, columns), np.uint8)
    top, left = 2 * scale * window.top, 2 * scale * window.left
    shown = found[top : 2 * scale * window.bottom, left : 2 * scale * window.right]
    shown[...] = _winners(potential, *shown.shape)
    return found


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
