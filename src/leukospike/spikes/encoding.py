"""From a grey image to first-spike latencies: pointwise inhibition, then intensity to latency.

What the original simulator keeps as a wave of T x C x H x W numbers is held here as two maps of one byte a pixel: when
a pixel spikes, and which orientation does.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from leukospike.errors import ImageError
from leukospike.spikes.gabor import RADIUS_PX, edge_responses

BINS = 15
"""Spike times of the original: 0 is the strongest fifteenth of the responses."""

SILENT = 15
"""Latency of a pixel that never spikes."""

# Strips of about so many pixels: measured, a whole field in one piece takes twice the time and five times the memory,
# and smaller strips lose to the cost of each call.
_STRIP_PIXELS = 2**19


@dataclass(frozen=True)
class LatencyMap:
    """When each pixel spikes for the first time, and for which orientation."""

    latency: UInt8[Tensor, "batch rows columns"]
    """0 (first) to 14; 15 is silent."""
    winner: UInt8[Tensor, "batch rows columns"]
    """Orientation that survives the inhibition, 0 to 3; without meaning where `latency` is 15."""


def latency_map(images: Float[Tensor, "batch 1 rows columns"]) -> LatencyMap:
    """Give the first-spike latency of every pixel of each image.

    Gabor responses, then at each pixel only the strongest orientation survives (the lower index among equals), then
    all n non-zero responses of an image are sorted, strongest first, and dealt out to 15 bins of n // 15: the bin is
    the spike time. The n mod 15 left over never spike.

    Equal responses on both sides of a bin's border are dealt out as the original simulator does, whose order is that of
    an unstable sort over (orientation, row, column); it is repeated with the same sort, for the images that need it.
    A black image, or one with fewer than 15 responses, is silent. A flat part of another grey is not: the kernels sum
    to 0 only to rounding, and what is left, 1e-7 of the grey value, counts as a response, as in the original.

    Parameters
    ----------
    images : Tensor of shape (batch, 1, rows, columns)
        Grey values, 0 to 1; computed in float32 whatever the precision they come in. Each image is encoded by itself:
        a batch gives what its images give one by one.

    Returns
    -------
    LatencyMap
        Two maps of shape (batch, rows - 4, columns - 4), uint8, on the device of `images`.

    Raises
    ------
    ImageError
        If an image is smaller than 5 x 5, or a value is outside 0..1 or not finite.

    References
    ----------
    .. [1] Mozafari et al., SpykeTorch, Frontiers in Neuroscience 13:625, 2019, doi 10.3389/fnins.2019.00625.

    Examples
    --------
    >>> import torch
    >>> blank = latency_map(torch.zeros(1, 1, 9, 9))
    >>> blank.latency.shape, int(blank.latency.min())
    (torch.Size([1, 5, 5]), 15)
    """
    strength, winner = _inhibited(_checked(images, "latency_map"))
    ranked = _sorted_descending(strength.flatten(1))
    per_bin = torch.count_nonzero(strength.flatten(1), dim=1) // BINS
    ends = (torch.arange(1, BINS + 1, device=images.device) * per_bin[:, None]).clamp(min=1)
    weakest = ranked.gather(1, ends - 1)  # of each bin
    # Each bin whose weakest response is above a pixel's delays that pixel by one step.
    earlier = torch.searchsorted(weakest.flip(1), strength.flatten(1), right=True, out_int32=True)
    latency = (BINS - earlier).to(torch.uint8).view_as(winner)
    latency[per_bin == 0] = SILENT
    beyond = ranked.gather(1, ends.clamp(max=ranked.shape[1] - 1))
    tied = ((weakest == beyond) & (ends < ranked.shape[1])).any(dim=1) & (per_bin > 0)
    for index in tied.nonzero().flatten().tolist():
        order = _original_order(strength[index], winner[index])
        times = torch.arange(BINS, dtype=torch.uint8, device=images.device).repeat_interleave(int(per_bin[index]))
        latency[index] = SILENT
        latency[index].view(-1)[order[: len(times)]] = times
    return LatencyMap(latency, winner)


def first_wave(images: Float[Tensor, "batch 1 rows columns"]) -> UInt8[Tensor, "batch r c"]:
    """Give the pixels that spike first: where `latency_map` has latency 0, without sorting the rest.

    Parameters
    ----------
    images : Tensor of shape (batch, 1, rows, columns)
        Grey values, 0 to 1, as for `latency_map`.

    Returns
    -------
    Tensor of shape (batch, rows - 4, columns - 4), uint8, 0 or 1
        The original's "segmentation": the strongest fifteenth of the edges. A black image gives no spike.

    Raises
    ------
    ImageError
        If an image is smaller than 5 x 5, or a value is outside 0..1 or not finite.
    """
    images = _checked(images, "first_wave")
    count, _, rows, columns = images.shape
    waves = torch.empty((count, rows - 2 * RADIUS_PX, columns - 2 * RADIUS_PX), dtype=torch.uint8, device=images.device)
    for index in range(count):
        waves[index] = _first_wave_of(images[index : index + 1])[0]
    return waves


def _first_wave_of(image: Float[Tensor, "1 1 rows columns"]) -> UInt8[Tensor, "1 r c"]:
    """Select the strongest fifteenth of one image's responses."""
    strength = torch.cat([edge_responses(strip).amax(1) for strip in _strips(image)], dim=1)
    count = int(torch.count_nonzero(strength)) // BINS
    if count == 0:
        return torch.zeros_like(strength, dtype=torch.uint8)
    wave = (strength >= _largest(strength.flatten(), count)).to(torch.uint8)
    if int(wave.sum(dtype=torch.int64)) > count:  # equals at the border
        strength, winner = _inhibited(image)
        wave.zero_().view(-1)[_original_order(strength[0], winner[0])[:count]] = 1
    return wave


def _checked(images: Float[Tensor, "batch 1 rows columns"], where: str) -> Float[Tensor, "batch 1 rows columns"]:
    """Refuse images that the encoding has no answer for; give the others as bare float32."""
    rows, columns = images.shape[-2:]
    smallest = 2 * RADIUS_PX + 1
    if rows < smallest or columns < smallest:
        msg = (
            f"{where}: images must be at least {smallest} x {smallest} pixels, got {rows} x {columns}."
            " Leave out smaller ones."
        )
        raise ImageError(msg)
    images = images.detach().float()
    if images.numel():
        low, high = (float(value) for value in torch.aminmax(images))
        if not (low >= 0 and high <= 1):  # written so that NaN is refused
            msg = f"{where}: images must hold values from 0 to 1, got {low:g} to {high:g}. Divide 8-bit values by 255."
            raise ImageError(msg)
    return images


def _strips(images: Tensor) -> list[Tensor]:
    """Cut images into strips of rows whose valid convolutions, one below the other, are that of the whole."""
    rows = images.shape[-2] - 2 * RADIUS_PX
    height = max(_STRIP_PIXELS // images.shape[-1], 1)
    return [images[..., top : min(top + height, rows) + 2 * RADIUS_PX, :] for top in range(0, rows, height)]


def _inhibited(
    images: Float[Tensor, "batch 1 rows columns"],
) -> tuple[Float[Tensor, "batch r c"], UInt8[Tensor, "batch r c"]]:
    """Keep, at each pixel, only the strongest orientation: its response and its index."""
    rows, columns = (side - 2 * RADIUS_PX for side in images.shape[-2:])
    strength = images.new_empty((len(images), rows, columns))
    winner = torch.zeros((len(images), rows, columns), dtype=torch.uint8, device=images.device)
    # One image at a time on a CPU, where the responses of a batch would not fit the cache; all at once on a GPU.
    group = 1 if images.device.type == "cpu" else max(len(images), 1)
    for first in range(0, len(images), group):
        part, top = slice(first, first + group), 0
        for strip in _strips(images[part]):
            responses = edge_responses(strip)
            below = top + responses.shape[-2]
            best, index = strength[part, top:below], winner[part, top:below]
            best.copy_(responses[:, 0])
            for orientation in range(1, responses.shape[1]):
                # A loop of comparisons: measured, ten times as fast as a maximum that returns 64-bit indices.
                index.masked_fill_(responses[:, orientation] > best, orientation)
                torch.maximum(best, responses[:, orientation], out=best)
            top = below
    return strength, winner


def _sorted_descending(values: Float[Tensor, "batch n"]) -> Float[Tensor, "batch n"]:
    """Sort each row; NumPy's vectorised sort of bare values is ten times as fast as torch's on a CPU (measured)."""
    if values.device.type == "cpu":
        return torch.from_numpy(np.sort(values.numpy(), axis=1)[:, ::-1].copy())
    return values.sort(dim=1, descending=True).values


def _largest(values: Float[Tensor, " n"], k: int) -> Tensor:
    """Give the k-th largest value, by selection in place of a sort."""
    if values.device.type == "cpu":
        place = len(values) - k
        return torch.from_numpy(np.partition(values.numpy(), place))[place]
    return values.topk(k, sorted=False).values.min()


def _original_order(strength: Float[Tensor, "r c"], winner: UInt8[Tensor, "r c"]) -> Tensor:
    """Give pixel indices in the original's order: all orientations, zeros included, through torch's unstable sort."""
    # On the CPU whatever the device: there the order among equals is that of the C++ library's introsort.
    responses = torch.zeros((4, strength.numel()))
    responses.scatter_(0, winner.cpu().to(torch.int64).view(1, -1), strength.cpu().view(1, -1))
    order = responses.view(-1).sort(descending=True).indices
    return (order % strength.numel()).to(strength.device)
