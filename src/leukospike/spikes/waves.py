"""Spikes as first-spike latencies and potentials, and as the cumulative waves of other simulators."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from leukospike.errors import ImageError
from leukospike.spikes.encoding import BINS, check_bins
from leukospike.spikes.maps import check_floating, check_latency, check_maps


@dataclass(frozen=True)
class Spikes:
    """When each neuron of a layer spikes for the first time, and how far its potential had risen by then."""

    latency: UInt8[Tensor, "batch channels rows columns"]
    """0 (first) to `bins` - 1; `bins` is silent."""
    potential: Float32[Tensor, "batch channels rows columns"]
    """Membrane potential at the first spike; 0 where silent."""
    bins: int = BINS
    """Number of time steps."""

    def __post_init__(self) -> None:
        """Raise an error unless latencies and potentials are valid and belong together."""
        check_latency(self.latency, "Spikes")
        check_bins(self.bins, "Spikes")
        potential = check_maps(self.potential, "Spikes", "potential")
        check_floating(potential, "Spikes", "potential", advice="Convert whole numbers: potential.float().")
        if self.potential.shape != self.latency.shape:
            msg = f"potential must have the shape of latency, {tuple(self.latency.shape)}"
            got = tuple(self.potential.shape)
            raise ImageError(msg, where="Spikes", got=got, advice="Pass one potential for each neuron.")


def check_spikes(spikes: object, where: str) -> None:
    """Raise an error for bare latencies, and for anything else that is not `Spikes`."""
    if not isinstance(spikes, Spikes):
        msg = "spikes must be Spikes"
        raise ImageError(
            msg,
            where=where,
            got=type(spikes).__name__,
            advice="Pass the output of a layer, or Spikes(latency, potential, bins).",
        )


def to_wave(
    latency: UInt8[Tensor, "batch channels rows columns"], bins: int = BINS
) -> Float32[Tensor, "batch bins channels rows columns"]:
    """Return which neurons have spiked by each time step, as in simulators of dense waves.

    For plotting, and for moving from such a simulator. The wave takes 4 * `bins` times the memory of `latency`.

    Parameters
    ----------
    latency : Tensor of shape (batch, channels, rows, columns), uint8
        0 to `bins` - 1; `bins` is silent.
    bins : int
        Number of time steps, 1 to 255.

    Returns
    -------
    Tensor of shape (batch, bins, channels, rows, columns), float32, 0 or 1

    Raises
    ------
    ConfigError
        If `bins` is not a whole number from 1 to 255.
    ImageError
        If `latency` is not a tensor of this shape and type.

    Examples
    --------
    >>> import torch
    >>> latency = torch.tensor([[[[0, 2, 3]]]], dtype=torch.uint8)
    >>> to_wave(latency, bins=3).view(3, 3)
    tensor([[1., 0., 0.],
            [1., 0., 0.],
            [1., 1., 0.]])
    """
    check_bins(bins, "to_wave")
    check_latency(latency, "to_wave")
    times = torch.arange(bins, dtype=torch.uint8, device=latency.device)
    return (latency[:, None] <= times.view(-1, 1, 1, 1)).float()


def from_wave(
    wave: Float[Tensor, "batch bins channels rows columns"],
) -> UInt8[Tensor, "batch channels rows columns"]:
    """Return the latencies of a cumulative wave: `bins` minus the number of time steps at which a neuron has spiked.

    A wave that holds the potential from the spike on, and 0 before, works as well: a neuron that is not 0 has spiked.

    Parameters
    ----------
    wave : Tensor of shape (batch, bins, channels, rows, columns), any float type
        A neuron that has spiked stays non-zero to the end.

    Returns
    -------
    Tensor of shape (batch, channels, rows, columns), uint8, 0 to bins

    Raises
    ------
    ImageError
        If `wave` is not a tensor of this shape, contains NaN, or a neuron that has spiked is 0 again later.
    ConfigError
        If there are no time steps or more than 255.

    Examples
    --------
    >>> import torch
    >>> from_wave(torch.tensor([[0.0, 1.0], [1.0, 1.0]]).view(1, 2, 1, 1, 2))
    tensor([[[[1, 0]]]], dtype=torch.uint8)
    """
    check_maps(wave, "from_wave", "wave", axes=("batch", "time", "channel", "row", "column"))
    bins = wave.shape[1]
    check_bins(bins, "from_wave")
    if bool(wave.isnan().any()):
        msg = "wave must not contain NaN"
        raise ImageError(msg, where="from_wave", got="NaN", advice="Check the step that made it.")
    spiked = wave != 0
    if bool((spiked[:, :-1] & ~spiked[:, 1:]).any()):
        msg = "wave must stay above 0 once a neuron has spiked"
        raise ImageError(
            msg,
            where="from_wave",
            got="one that returns to 0",
            advice="Take the running maximum over time first: torch.cummax(wave, dim=1).values.",
        )
    return (bins - spiked.sum(dim=1)).to(torch.uint8)
