"""S layers: integrate-and-fire neurons with shared weights, from latencies to first spikes."""

import torch
from jaxtyping import Float32, UInt8
from torch import Generator, Tensor, nn
from torch.nn.functional import conv2d, pad

from leukospike.errors import ConfigError, ImageError
from leukospike.spikes.encoding import BINS
from leukospike.spikes.waves import Spikes, check_bins


class SpikingConv2d(nn.Module):
    r"""Integrate-and-fire neurons that share weights as a convolution does, and spike at most once.

    At time t the potential of a neuron is the sum of the weights of all inputs of its window that have spiked at or
    before t; it fires at the first t at which that is above the threshold. Weights may be negative: the potential may
    then fall again, and the first crossing counts. Without a threshold (None: infinite, as the last layer of
    Mozafari 2018 has it) neurons wait for the last time step and spike there if their potential is not 0.

    Sums are of float32 weights in float64, which is exact, whatever the order of the additions, while all weights but
    zeros are within 2**-16 to 1 in size: no rounding decides who fires.

    Parameters
    ----------
    in_channels, out_channels : int
        Number of input and of output features.
    kernel_size : int or (int, int)
        Side of the window, or rows and columns, pixels.
    threshold : float or None
        What the potential must exceed; None for infinite.
    bins : int
        Number of time steps, 1 to 255.
    padding : int
        Silent inputs around the map, pixels.
    weight_mean, weight_std : float
        Of the normal distribution that the initial weights are drawn from.
    generator : torch.Generator or None
        Source of the initial weights; torch's global one if None.

    Attributes
    ----------
    weight : Tensor of shape (out_channels, in_channels, kernel_rows, kernel_columns), float32
        Without gradient; changed in place by the learning rules.

    Raises
    ------
    ConfigError
        If a size is not positive, `bins` is not from 1 to 255, or `threshold` is negative or not finite.

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
        sides = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        for name, value, least in (
            ("in_channels", in_channels, 1),
            ("out_channels", out_channels, 1),
            ("kernel_size", min(sides), 1),
            ("padding", padding, 0),
        ):
            if value < least:
                msg = f"SpikingConv2d: {name} must be at least {least}, got {value}. Count in pixels or features."
                raise ConfigError(msg)
        if threshold is not None and not 0 <= threshold < torch.inf:
            msg = (
                f"SpikingConv2d: threshold must be at least 0 and finite, or None, got {threshold}."
                " Give None for neurons that wait for the last time step."
            )
            raise ConfigError(msg)
        check_bins(bins, "SpikingConv2d")
        self.threshold = threshold
        self.bins = bins
        self.padding = padding
        weight = torch.empty(out_channels, in_channels, *sides).normal_(weight_mean, weight_std, generator=generator)
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, latency: UInt8[Tensor, "batch channels rows columns"]) -> Spikes:
        """Give each neuron's first spike.

        Parameters
        ----------
        latency : Tensor of shape (batch, in_channels, rows, columns), uint8
            0 to bins - 1; bins (and above) is silent.

        Returns
        -------
        Spikes
            Of shape (batch, out_channels, r, c), ``r = rows + 2 * padding - kernel_rows + 1`` and c likewise.

        Raises
        ------
        ImageError
            If the channels are not `in_channels`, or the padded map is smaller than the window.
        """
        self._check(latency)
        return first_spikes(latency, self.weight, threshold=self.threshold, bins=self.bins, padding=self.padding)

    def _check(self, latency: Tensor) -> None:
        """Refuse maps that do not fit the weights."""
        channels, *sides = self.weight.shape[1:]
        if latency.shape[1] != channels:
            msg = (
                f"SpikingConv2d: latency must have {channels} channels, got {latency.shape[1]}."
                " Give the layer the map that its in_channels was set for."
            )
            raise ImageError(msg)
        padded = [side + 2 * self.padding for side in latency.shape[-2:]]
        if padded[0] < sides[0] or padded[1] < sides[1]:
            msg = (
                f"SpikingConv2d: latency must be at least {sides[0]} x {sides[1]} with its padding,"
                f" got {padded[0]} x {padded[1]}. Take a smaller kernel or more padding."
            )
            raise ImageError(msg)


def first_spikes(
    latency: UInt8[Tensor, "batch channels rows columns"],
    weight: Float32[Tensor, "out_channels channels kernel_rows kernel_columns"],
    *,
    threshold: float | None,
    bins: int,
    padding: int,
) -> Spikes:
    """Integrate and fire, in plain PyTorch on any device: the definition that faster ways are tested against."""
    padded = pad(latency, (padding,) * 4, value=bins)
    weights = weight.double()
    if threshold is None:
        potential = conv2d((padded < bins).double(), weights).float()
        return Spikes(torch.where(potential == 0, bins, bins - 1).to(torch.uint8), potential, bins)
    sides = [have - need + 1 for have, need in zip(padded.shape[-2:], weight.shape[-2:], strict=True)]
    shape = (len(latency), len(weight), *sides)
    rising = torch.zeros(shape, dtype=torch.float64, device=latency.device)
    first = torch.full(shape, bins, dtype=torch.uint8, device=latency.device)
    potential = torch.zeros(shape, device=latency.device)
    for time in range(bins):
        rising += conv2d((padded == time).double(), weights)
        fires = (rising > threshold) & (first == bins)
        first[fires] = time
        potential = torch.where(fires, rising.float(), potential)
    return Spikes(first, potential, bins)
