"""C layers: pooling of intensities (the strongest counts) and of latencies (the first spike counts)."""

from functools import reduce

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import pad

from leukospike.errors import ConfigError
from leukospike.spikes.maps import check_count, check_latency, check_responses, check_whole


def pool_latency(
    latency: UInt8[Tensor, "batch channels rows columns"], kernel: int, stride: int | None = None, padding: int = 0
) -> UInt8[Tensor, "batch channels r c"]:
    """Return each window's first spike, the smallest latency.

    Parameters
    ----------
    latency : Tensor of shape (batch, channels, rows, columns), uint8
        A larger value is later; the largest is silent.
    kernel : int
        Side of the window, pixels.
    stride : int or None
        Step of the window, pixels; `kernel` if None.
    padding : int
        Silent pixels around the map, at most half of `kernel`.

    Returns
    -------
    Tensor of shape (batch, channels, r, c), uint8
        ``r = (rows + 2 * padding - kernel) // stride + 1``, and c likewise.

    Raises
    ------
    ConfigError
        If the window is impossible, or larger than the padded map.
    ImageError
        If `latency` is not a tensor of this shape and type.

    Examples
    --------
    >>> import torch
    >>> pool_latency(torch.tensor([[[[3, 15], [1, 7]]]], dtype=torch.uint8), 2)
    tensor([[[[1]]]], dtype=torch.uint8)
    """
    stride = kernel if stride is None else stride
    check_latency(latency, "pool_latency")
    _check(latency, "pool_latency", kernel, stride, padding)
    padded = pad(latency, (padding,) * 4, value=255)
    # Rows, then columns: a minimum of minima in bytes, where torch's pooling would need floats.
    return padded.unfold(2, kernel, stride).amin(-1).unfold(3, kernel, stride).amin(-1)


def pool_intensity(
    intensity: Float[Tensor, "batch channels rows columns"], kernel: int, stride: int | None = None, padding: int = 0
) -> Float[Tensor, "batch channels r c"]:
    """Return each window's strongest response.

    Parameters
    ----------
    intensity : Tensor of shape (batch, channels, rows, columns), float
        Not negative.
    kernel : int
        Side of the window, pixels.
    stride : int or None
        Step of the window, pixels; `kernel` if None.
    padding : int
        Pixels without response around the map, at most half of `kernel`.

    Returns
    -------
    Tensor of shape (batch, channels, r, c), of the type of `intensity`
        ``r = (rows + 2 * padding - kernel) // stride + 1``, and c likewise.

    Raises
    ------
    ConfigError
        If the window is impossible, or larger than the padded map.
    ImageError
        If `intensity` is not a tensor of this shape and type, or a response is negative or not finite.
    """
    stride = kernel if stride is None else stride
    check_responses(intensity, "pool_intensity")
    _check(intensity, "pool_intensity", kernel, stride, padding)
    # Rows, then columns: a maximum of maxima; measured, in half the time of torch's pooling.
    return _strongest(_strongest(pad(intensity, (padding,) * 4), 2, kernel, stride), 3, kernel, stride)


def _strongest(maps: Tensor, axis: int, kernel: int, stride: int) -> Tensor:
    """Return the maximum of each window along one axis, taking one element of all windows at a time."""
    last = (maps.shape[axis] - kernel) // stride * stride
    elements = (maps.movedim(axis, 0)[first : first + last + 1 : stride] for first in range(kernel))
    return reduce(torch.maximum, elements).movedim(0, axis)


def _check(maps: Tensor, where: str, kernel: int, stride: int, padding: int) -> None:
    """Raise an error for windows that do not fit."""
    smallest = min(maps.shape[-2:]) + 2 * check_whole(padding, where, "padding")
    if not 1 <= check_whole(kernel, where, "kernel") <= smallest:
        msg = f"kernel must be from 1 to the padded map's side ({smallest})"
        raise ConfigError(msg, where=where, got=kernel, advice="Use a smaller kernel.")
    check_count(stride, where, "stride", least=1, advice="Omit it to use the kernel's side.")
    if not 0 <= padding <= kernel // 2:
        msg = f"padding must be from 0 to half the kernel ({kernel // 2})"
        raise ConfigError(msg, where=where, got=padding, advice="Lower it: each window must overlap the map.")
