"""From intensity to first-spike latency, by rank or by value, and the original's full encoding of a grey image.

Where the original simulator keeps a wave of T x C x H x W numbers, one byte per pixel is kept here: the spike time.
`latency_map` returns a second byte: the orientation that spikes.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Shaped, UInt8
from torch import Tensor

from leukospike.errors import ConfigError, ImageError
from leukospike.spikes.gabor import RADIUS_PX, ROWS_AT_ONCE, edge_responses_by_rows
from leukospike.spikes.maps import check_grey, check_pixels, check_responses, check_unit_range, check_whole
from leukospike.spikes.ties import original_order

BINS = 15
"""Number of spike times of the original; at time 0 the strongest fifteenth of the responses spike."""

SILENT = 15
"""Latency of a pixel that never spikes."""

MOST_BINS = 255
"""Latencies are one byte, and one value is reserved for silence."""

# Pixels per strip, chosen so that the responses of a strip stay in the cache. Measured: a whole field in one piece
# takes four times as long and ten times the memory; with smaller strips the cost of each call dominates.
_STRIP_PIXELS = 2**17


@dataclass(frozen=True)
class LatencyMap:
    """When each pixel spikes for the first time, and for which orientation."""

    latency: UInt8[Tensor, "batch rows columns"]
    """0 (first) to 14; 15 is silent."""
    winner: UInt8[Tensor, "batch rows columns"]
    """Orientation that survives the inhibition, 0 to 3; meaningless where `latency` is 15."""


def latency_map(images: Float[Tensor, "batch 1 rows columns"]) -> LatencyMap:
    """Return the first-spike latency of every pixel of each image.

    Gabor responses are computed, and at each pixel only the strongest orientation survives (among equals the lower
    index). The n non-zero responses of an image are then sorted, strongest first, and divided into 15 bins of n // 15;
    the bin is the spike time. The n mod 15 left over never spike.

    Equal responses on both sides of a bin's border are assigned as in the original simulator, in the order of an
    unstable sort over (orientation, row, column). That sort is repeated for the images that need it (see
    `spikes.ties`). An image with fewer than 15 responses is silent, and so is a blank one, whatever its grey. A flat
    part of an image that is not blank is silent only where it is black: the kernels sum to 0 only up to rounding, and
    the remainder, 1e-7 of the grey value, counts as a response, as in the original.

    Parameters
    ----------
    images : Tensor of shape (batch, 1, rows, columns)
        Grey values, 0 to 1; computed in float32 whatever their precision. Each image is encoded by itself, so a batch
        gives the same result as its images one by one.

    Returns
    -------
    LatencyMap
        Two maps of shape (batch, rows - 4, columns - 4), uint8, on the device of `images`.

    Raises
    ------
    ImageError
        If `images` is not a tensor of grey images, one is smaller than 5 x 5, or a value is outside 0..1 or not
        finite.

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
    images = _checked(images, "latency_map")
    strength, winner = _inhibited(images)
    values = strength.flatten(1)
    per_bin = torch.count_nonzero(values, dim=1) // BINS * ~_blank(images)
    latency = _dealt_out(
        values,
        per_bin,
        BINS,
        lambda index, borders: torch.from_numpy(
            original_order(strength[index].cpu().numpy(), winner[index].cpu().numpy(), borders)
        ),
    ).view_as(winner)
    return LatencyMap(latency, winner)


def first_wave(images: Float[Tensor, "batch 1 rows columns"]) -> UInt8[Tensor, "batch r c"]:
    """Return the pixels that spike first, those of latency 0 in `latency_map`, without sorting the rest.

    Parameters
    ----------
    images : Tensor of shape (batch, 1, rows, columns)
        Grey values, 0 to 1, as for `latency_map`.

    Returns
    -------
    Tensor of shape (batch, rows - 4, columns - 4), uint8, 0 or 1
        The original's "segmentation": the strongest fifteenth of the edges. A blank image has no spike.

    Raises
    ------
    ImageError
        If `images` is not a tensor of grey images, one is smaller than 5 x 5, or a value is outside 0..1 or not
        finite.
    """
    images = _checked(images, "first_wave")
    count, _, rows, columns = images.shape
    waves = torch.empty((count, rows - 2 * RADIUS_PX, columns - 2 * RADIUS_PX), dtype=torch.uint8, device=images.device)
    for index in range(count):
        waves[index] = _first_wave_of(images[index : index + 1])[0]
    return waves


def rank_order_latency(
    intensity: Float[Tensor, "batch channels rows columns"], bins: int = BINS
) -> UInt8[Tensor, "batch channels rows columns"]:
    """Return spike times by rank-order coding: stronger responses spike earlier.

    The n non-zero responses of an image, over all channels, are sorted, strongest first, and divided into bins of
    n // bins; the bin is the spike time. The n mod bins left over never spike, and with fewer responses than bins none
    does. Changes that preserve the order, such as brightness, contrast and gamma, change no latency.

    Equal responses on both sides of a bin's border are assigned in the order of the original simulator, that of an
    unstable sort over (channel, row, column).

    Parameters
    ----------
    intensity : Tensor of shape (batch, channels, rows, columns), float
        Finite and not negative; 0 means no response. Each image is encoded by itself.
    bins : int
        Number of time steps, 1 to 255.

    Returns
    -------
    Tensor of the shape of `intensity`, uint8
        0 (first) to bins - 1; bins is silent.

    Raises
    ------
    ConfigError
        If `bins` is not a whole number from 1 to 255.
    ImageError
        If `intensity` is not a tensor of this shape, or a response is negative or not finite.

    References
    ----------
    .. [1] Thorpe and Gautrais, Rank Order Coding, Computational Neuroscience: Trends in Research, 1998, 113-118,
       doi 10.1007/978-1-4615-4831-7_19.

    Examples
    --------
    >>> import torch
    >>> rank_order_latency(torch.tensor([[[[0.1, 0.9, 0.0, 0.4, 0.3]]]]), bins=2)
    tensor([[[[1, 0, 2, 0, 1]]]], dtype=torch.uint8)
    """
    values = _checked_intensity(intensity, bins, "rank_order_latency").flatten(1)
    per_bin = torch.count_nonzero(values, dim=1) // bins

    def places_in_order(index: int, borders: list[int]) -> Tensor:
        # Always on the CPU, where the order among equals is that of the C++ library's introsort.
        return values[index].cpu().sort(descending=True).indices[: borders[-1]]

    return _dealt_out(values, per_bin, bins, places_in_order).view_as(intensity)


def value_latency(
    intensity: Float[Tensor, "batch channels rows columns"], bins: int = BINS
) -> UInt8[Tensor, "batch channels rows columns"]:
    r"""Return spike times that fall linearly with the response: 0 for the image's strongest.

    The time is :math:`\lfloor (1 - x / x_\mathrm{max}) \, T \rfloor` for T time steps. Responses of 0 are silent.
    Unlike ranks, these times show how much stronger one response is than another.

    Parameters
    ----------
    intensity : Tensor of shape (batch, channels, rows, columns), float
        Finite and not negative; 0 means no response. Each image is encoded by itself.
    bins : int
        Number of time steps, 1 to 255.

    Returns
    -------
    Tensor of the shape of `intensity`, uint8
        0 (first) to bins - 1; bins is silent.

    Raises
    ------
    ConfigError
        If `bins` is not a whole number from 1 to 255.
    ImageError
        If `intensity` is not a tensor of this shape, or a response is negative or not finite.

    Examples
    --------
    >>> import torch
    >>> value_latency(torch.tensor([[[[2.0, 1.9, 1.0, 0.0]]]]), bins=4)
    tensor([[[[0, 0, 2, 4]]]], dtype=torch.uint8)
    """
    values = _checked_intensity(intensity, bins, "value_latency").double()
    strongest = values.flatten(1).amax(dim=1).view(-1, 1, 1, 1)
    # Rounding must not turn a whole number of steps into the one before, so the division comes last.
    time = ((strongest - values) * bins / strongest).floor().clamp(max=bins - 1)
    return torch.where(values > 0, time, bins).to(torch.uint8)


def check_bins(bins: int, where: str) -> None:
    """Raise an error unless a byte can hold this number of time steps."""
    if not 1 <= check_whole(bins, where, "bins") <= MOST_BINS:
        msg = f"bins must be from 1 to {MOST_BINS}"
        raise ConfigError(msg, where=where, got=bins, advice="Use fewer time steps; the original has 15.")


def _first_wave_of(image: Float[Tensor, "1 1 rows columns"]) -> UInt8[Tensor, "1 r c"]:
    """Select the strongest fifteenth of one image's responses."""
    strength = _strongest(image)
    count = int(torch.count_nonzero(strength)) // BINS
    if count == 0 or bool(_blank(image)):
        return torch.zeros_like(strength, dtype=torch.uint8)
    wave = (strength >= _largest(strength.flatten(), count)).view(torch.uint8)
    if int(torch.count_nonzero(wave)) > count:  # ties at the border
        strength, winner = _inhibited(image)
        order = original_order(strength[0].cpu().numpy(), winner[0].cpu().numpy(), [count])
        wave.zero_().view(-1)[torch.from_numpy(order).to(wave.device)] = 1
    return wave


def _checked(images: Float[Tensor, "batch 1 rows columns"], where: str) -> Float[Tensor, "batch 1 rows columns"]:
    """Raise an error for images that cannot be encoded; return the others as detached float32."""
    check_grey(images, where)
    rows, columns = images.shape[-2:]
    smallest = 2 * RADIUS_PX + 1
    if rows < smallest or columns < smallest:
        msg = f"images must be at least {smallest} x {smallest} pixels"
        raise ImageError(msg, where=where, got=f"{rows} x {columns}", advice="Leave out smaller images.")
    images = images.detach().float()
    check_unit_range(images, where)
    return images


def _checked_intensity(
    intensity: Float[Tensor, "batch channels rows columns"], bins: int, where: str
) -> Float[Tensor, "batch channels rows columns"]:
    """Raise an error for responses that cannot be encoded; return the others detached."""
    check_bins(bins, where)
    check_responses(intensity, where)
    check_pixels(intensity, where, "intensity")
    # NumPy, which sorts them, does not support bfloat16.
    return intensity.detach().float() if intensity.dtype == torch.bfloat16 else intensity.detach()


def _blank(images: Float[Tensor, "batch 1 rows columns"]) -> Bool[Tensor, " batch"]:
    """Return which images have one grey throughout; their responses are only rounding errors."""
    values = images.flatten(1)
    return values.amin(dim=1) == values.amax(dim=1)


def _strongest(images: Float[Tensor, "batch 1 rows columns"]) -> Float[Tensor, "batch r c"]:
    """Keep only the strongest orientation's response at each pixel."""
    rows, columns = (side - 2 * RADIUS_PX for side in images.shape[-2:])
    strength = images.new_empty((len(images), rows, columns))
    for part, responses in _responses_in_strips(images):
        _weave(responses.amax(dim=2), strength[part])
    return strength


def _inhibited(
    images: Float[Tensor, "batch 1 rows columns"],
) -> tuple[Float[Tensor, "batch r c"], UInt8[Tensor, "batch r c"]]:
    """Keep only the strongest orientation at each pixel: its response and its index."""
    rows, columns = (side - 2 * RADIUS_PX for side in images.shape[-2:])
    strength = images.new_empty((len(images), rows, columns))
    winner = torch.empty_like(strength, dtype=torch.uint8)
    for part, responses in _responses_in_strips(images):
        # Compared pair by pair, in bits: measured, four times as fast as a maximum that returns 64-bit indices.
        pairs = responses.unflatten(2, (2, 2))
        upper_of_pair = pairs[:, :, :, 1] > pairs[:, :, :, 0]
        best_of_pair = torch.maximum(pairs[:, :, :, 0], pairs[:, :, :, 1])
        upper_pair = best_of_pair[:, :, 1] > best_of_pair[:, :, 0]
        odd = (upper_of_pair[:, :, 1] & upper_pair) | (upper_of_pair[:, :, 0] & ~upper_pair)
        _weave(torch.maximum(best_of_pair[:, :, 0], best_of_pair[:, :, 1]), strength[part])
        _weave(upper_pair.view(torch.uint8) * 2 + odd.view(torch.uint8), winner[part])
    return strength, winner


def _responses_in_strips(images: Tensor) -> Iterator[tuple[tuple[slice, slice], Tensor]]:
    """Yield the responses of strips of rows, several rows at once, each with the part of the images that it covers."""
    count, _, rows, columns = images.shape
    # On a CPU as many images at a time as fill a strip; on a GPU all images.
    group = max(_STRIP_PIXELS // (rows * columns), 1) if images.device.type == "cpu" else max(count, 1)
    height = ROWS_AT_ONCE * max(_STRIP_PIXELS // columns // ROWS_AT_ONCE, 1)
    rows -= 2 * RADIUS_PX
    for first, top in product(range(0, count, group), range(0, rows, height)):
        below = min(top + height, rows)
        strip = images[first : first + group, :, top : below + 2 * RADIUS_PX]
        yield (slice(first, first + group), slice(top, below)), edge_responses_by_rows(strip)


def _weave(by_rows: Shaped[Tensor, "batch at_once some_r c"], into: Shaped[Tensor, "batch r c"]) -> None:
    """Interleave rows that were computed at once."""
    at_once = by_rows.shape[1]
    for row in range(at_once):
        own = into[:, row::at_once]
        own[:] = by_rows[:, row, : own.shape[1]]


def _sorted(values: Float[Tensor, "batch n"]) -> Float[Tensor, "batch n"]:
    """Sort each row; on a CPU NumPy's vectorised sort is ten times as fast as torch's (measured)."""
    if values.device.type == "cpu":
        return torch.from_numpy(np.sort(values.numpy(), axis=1))
    return values.sort(dim=1).values


def _largest(values: Float[Tensor, " n"], k: int) -> Tensor:
    """Return the k-th largest of non-negative values by selection instead of sorting."""
    if values.device.type != "cpu":
        return values.topk(k, sorted=False).values.min()
    # Narrowed down by the upper 16 bits first, which have the order of the values: NumPy's selection alone takes 30
    # times as long where half of the values are zero (measured).
    parts = [values[first : first + _STRIP_PIXELS].numpy() for first in range(0, len(values), _STRIP_PIXELS)]
    counts = np.zeros(2**15, np.int64)
    for part in parts:
        counts += np.bincount(part.view(np.uint32) >> 16, minlength=len(counts))
    from_here_up = counts[::-1].cumsum()[::-1]
    prefix = int(np.count_nonzero(from_here_up >= k)) - 1
    rest = np.concatenate([part[part.view(np.uint32) >> 16 == prefix] for part in parts])
    place = int(from_here_up[prefix]) - k
    return torch.from_numpy(np.partition(rest, place))[place]


def _count_above(values: Float[Tensor, "batch n"], borders: Float[Tensor, "batch bins"]) -> UInt8[Tensor, "batch n"]:
    """Count, for each value, the borders above it."""
    if values.device.type != "cpu":
        below_or_equal = torch.searchsorted(borders.flip(1), values, right=True, out_int32=True)
        return (borders.shape[1] - below_or_equal).to(torch.uint8)
    # Comparing with each border in NumPy is ten times as fast as a binary search, and five times as fast as comparing
    # in torch (measured).
    count = np.zeros(values.shape, np.uint8)
    for row, its_values, its_borders in zip(count, values.numpy(), borders.numpy(), strict=True):
        for border in its_borders:
            row += its_values < border
    return torch.from_numpy(count)


def _dealt_out(
    values: Float[Tensor, "batch n"],
    per_bin: Int64[Tensor, " batch"],
    bins: int,
    places_in_order: Callable[[int, list[int]], Tensor],
) -> UInt8[Tensor, "batch n"]:
    """Divide each image's strongest responses into bins of `per_bin`, with ties at a border in the order given.

    `places_in_order` takes an image's index and the ranks of the borders, and returns the places up to the last border,
    strongest first; between two borders the order does not matter.
    """
    ranked = _sorted(values)
    ends = (torch.arange(1, bins + 1, device=values.device) * per_bin[:, None]).clamp(min=1)
    weakest = ranked.gather(1, ranked.shape[1] - ends)  # of each bin
    beyond = ranked.gather(1, (ranked.shape[1] - 1 - ends).clamp(min=0))
    latency = _count_above(values, weakest)
    latency[per_bin == 0] = bins
    tied = ((weakest == beyond) & (ends < ranked.shape[1])).any(dim=1) & (per_bin > 0)
    times = torch.arange(bins, dtype=torch.uint8, device=values.device)

    def deal_out(index: int) -> None:
        count = int(per_bin[index])
        latency[index] = bins
        places = places_in_order(index, [count * (time + 1) for time in range(bins)])
        latency[index][places.to(values.device).long()] = times.repeat_interleave(count)

    indices = tied.nonzero().flatten().tolist()
    if len(indices) == 1 or torch.get_num_threads() == 1:  # starting threads would not pay
        for index in indices:
            deal_out(index)
    else:
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            list(pool.map(deal_out, indices))
    return latency
