"""S layers: integrate-and-fire neurons with shared weights, from latencies to first spikes."""

from collections.abc import Sequence
from math import isfinite

import torch
from jaxtyping import Float32, UInt8
from torch import Generator, Tensor, nn
from torch.nn.functional import conv2d, pad

from leukospike.errors import ConfigError, ImageError
from leukospike.spikes.encoding import BINS, check_bins
from leukospike.spikes.fast_way import compiled_twin
from leukospike.spikes.maps import check_count, check_latency
from leukospike.spikes.waves import Spikes


class SpikingConv2d(nn.Module):
    r"""Integrate-and-fire neurons that share weights like a convolution and spike at most once.

    At time t the potential of a neuron is the sum of the weights of all inputs in its window that have spiked at or
    before t. The neuron fires at the first t at which its potential is above the threshold. With negative weights the
    potential may fall again; the first crossing counts. Without a threshold (None, that is, infinite, as in the last
    layer of Mozafari 2018) neurons wait for the last time step and spike then if their potential is not 0.

    Weights are rounded to 2**-52 of the largest possible potential, and potentials are their exact sums in float64. The
    order of additions therefore never decides which neuron fires: a CPU, a GPU and the compiled code give the same
    bits. `potential` is then rounded to float32.

    Parameters
    ----------
    in_channels, out_channels : int
        Number of input and output features.
    kernel_size : int or (int, int)
        Side of the window, or its rows and columns, pixels.
    threshold : float or None
        Value that the potential must exceed; None for infinite.
    bins : int
        Number of time steps, 1 to 255.
    padding : int
        Width of the border of silent inputs around the map, pixels; less than the kernel's side.
    weight_mean, weight_std : float
        Mean and standard deviation of the normal distribution that the initial weights are drawn from.
    generator : torch.Generator or None
        Source of the initial weights; torch's global generator if None.

    Attributes
    ----------
    weight : Tensor of shape (out_channels, in_channels, kernel_rows, kernel_columns), float32
        Without gradient; changed in place by the learning rules.

    Raises
    ------
    ConfigError
        If a size is not a positive whole number, `padding` is not less than the kernel's side, `bins` is not a whole
        number from 1 to 255, `threshold` is negative or not finite, or the weights' distribution is impossible.

    References
    ----------
    .. [1] Mozafari et al., First-Spike-Based Visual Categorization Using Reward-Modulated STDP, 2018,
       doi 10.1109/TNNLS.2018.2826721, section II-B.

    Examples
    --------
    >>> import torch
    >>> layer = SpikingConv2d(1, 1, 2, threshold=2.0, weight_mean=0.75, weight_std=0.0)
    >>> spikes = layer(torch.tensor([[[[0, 4], [9, 15]]]], dtype=torch.uint8))
    >>> spikes.latency.item(), spikes.potential.item()
    (9, 2.25)
    """

    weight: Float32[Tensor, "out_channels in_channels kernel_rows kernel_columns"]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        threshold: float | None,
        bins: int = BINS,
        padding: int = 0,
        weight_mean: float = 0.8,
        weight_std: float = 0.05,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        sides = kernel_size if isinstance(kernel_size, Sequence) else (kernel_size, kernel_size)
        if len(sides) != 2:
            msg = "kernel_size must be one number, or rows and columns"
            raise ConfigError(msg, where="SpikingConv2d", got=kernel_size, advice="Use a number of pixels.")
        for name, value, least in (
            ("in_channels", in_channels, 1),
            ("out_channels", out_channels, 1),
            ("kernel_size", sides[0], 1),
            ("kernel_size", sides[1], 1),
            ("padding", padding, 0),
        ):
            check_count(value, "SpikingConv2d", name, least=least, advice="Use a number of pixels or features.")
        if padding >= min(sides):
            msg = f"padding must be below the kernel's side ({min(sides)})"
            raise ConfigError(
                msg, where="SpikingConv2d", got=padding, advice="Lower it: each window must overlap the map."
            )
        if threshold is not None and not 0 <= threshold < torch.inf:
            msg = "threshold must be at least 0 and finite, or None"
            raise ConfigError(
                msg,
                where="SpikingConv2d",
                got=threshold,
                advice="Pass None for neurons that wait for the last time step.",
            )
        if not (isfinite(weight_mean) and 0 <= weight_std < torch.inf):
            msg = "weight_mean must be finite, and weight_std finite and at least 0"
            got = f"{weight_mean} and {weight_std}"
            raise ConfigError(msg, where="SpikingConv2d", got=got, advice="Omit them to use the original's values.")
        check_bins(bins, "SpikingConv2d")
        self.threshold = threshold
        self.bins = bins
        self.padding = padding
        weight = torch.empty(out_channels, in_channels, *sides).normal_(weight_mean, weight_std, generator=generator)
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, latency: UInt8[Tensor, "batch channels rows columns"]) -> Spikes:
        """Return each neuron's first spike.

        Parameters
        ----------
        latency : Tensor of shape (batch, in_channels, rows, columns), uint8
            0 to bins - 1; values of bins and above are silent.

        Returns
        -------
        Spikes
            Of shape (batch, out_channels, r, c), ``r = rows + 2 * padding - kernel_rows + 1`` and c likewise.

        Raises
        ------
        ImageError
            If `latency` is not a tensor of this shape and type, its channels are not `in_channels`, or the padded map
            is smaller than the window.
        """
        first, potential = self._first_spikes(latency, with_potential=True)
        return Spikes(first, potential, self.bins)

    def latency(self, latency: UInt8[Tensor, "batch channels rows columns"]) -> UInt8[Tensor, "batch out_channels r c"]:
        """Return each neuron's spike time as `forward` does, without the potential, in a fifth of the memory.

        Parameters
        ----------
        latency : Tensor of shape (batch, in_channels, rows, columns), uint8
            0 to bins - 1; values of bins and above are silent.

        Returns
        -------
        Tensor of shape (batch, out_channels, r, c), uint8
            0 to bins - 1; bins is silent.

        Raises
        ------
        ImageError
            If `latency` is not a tensor of this shape and type, its channels are not `in_channels`, or the padded map
            is smaller than the window.
        """
        return self._first_spikes(latency, with_potential=False)[0]

    def _first_spikes(self, latency: Tensor, *, with_potential: bool) -> tuple[Tensor, Tensor]:
        """Use compiled code on a CPU where numba is installed, and PyTorch otherwise; the results are the same."""
        self.check_input(latency)
        weight = self.weight.float()  # the model may be in another precision
        if latency.device.type == "cpu" and (compiled := compiled_twin("compiled")):
            return compiled.integrate_and_fire(
                latency,
                weight,
                threshold=self.threshold,
                bins=self.bins,
                padding=self.padding,
                with_potential=with_potential,
            )
        return integrate_and_fire(
            latency, on_a_grid(weight), threshold=self.threshold, bins=self.bins, padding=self.padding
        )

    def check_input(self, latency: Tensor) -> None:
        """Raise an error unless the maps fit the weights."""
        check_latency(latency, "SpikingConv2d")
        channels, *sides = self.weight.shape[1:]
        if latency.shape[1] != channels:
            msg = f"latency must have {channels} channels"
            raise ImageError(
                msg,
                where="SpikingConv2d",
                got=latency.shape[1],
                advice="Pass a map with as many channels as the layer's in_channels.",
            )
        padded = [side + 2 * self.padding for side in latency.shape[-2:]]
        if padded[0] < sides[0] or padded[1] < sides[1]:
            msg = f"latency must be at least {sides[0]} x {sides[1]}, padding included"
            raise ImageError(
                msg,
                where="SpikingConv2d",
                got=f"{padded[0]} x {padded[1]}",
                advice="Use a smaller kernel or more padding.",
            )


def integrate_and_fire(
    latency: UInt8[Tensor, "batch channels rows columns"],
    weight: Float32[Tensor, "out_channels channels kernel_rows kernel_columns"],
    *,
    threshold: float | None,
    bins: int,
    padding: int,
) -> tuple[UInt8[Tensor, "batch out_channels r c"], Float32[Tensor, "batch out_channels r c"]]:
    """Return latency and potential in plain PyTorch, on any device; the compiled code is tested against this."""
    padded = pad(latency, (padding,) * 4, value=bins)
    sides = [have - need + 1 for have, need in zip(padded.shape[-2:], weight.shape[-2:], strict=True)]
    shape = (len(latency), len(weight), *sides)
    rising = torch.zeros(shape, dtype=torch.float64, device=latency.device)
    first = torch.full(shape, bins, dtype=torch.uint8, device=latency.device)
    potential = torch.zeros(shape, device=latency.device)
    for time in range(bins):
        rising += conv2d((padded == time).double(), weight.double())
        if threshold is not None:
            fires = (rising > threshold) & (first == bins)
            first[fires] = time
            potential = torch.where(fires, rising.float(), potential)
            if bool((first < bins).all()):
                break
    if threshold is None:
        first[rising != 0] = bins - 1
        potential = rising.float()
    return first, potential


def on_a_grid(
    weight: Float32[Tensor, "out_channels channels kernel_rows kernel_columns"],
) -> Float32[Tensor, "out_channels channels kernel_rows kernel_columns"]:
    """Round weights to multiples of 2**-52 of the largest possible potential, so that all their sums are exact.

    Potentials, and which neurons fire, then depend neither on the order of additions nor on the device. The rounding is
    that of any sum in float64; float32 weights of usual size are on the grid already.
    """
    largest = weight.abs().sum(dim=(1, 2, 3), dtype=torch.float64).amax()
    per_unit = torch.ldexp(torch.ones_like(largest), 52 - torch.frexp(largest).exponent)
    return weight.double().mul_(per_unit).round_().div_(per_unit).float()
