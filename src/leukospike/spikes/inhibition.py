"""Inhibition: between features at one position, between neighbours by strength, and of whole features."""

from collections.abc import Sequence
from math import isfinite

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn.functional import pad

from leukospike.errors import ConfigError
from leukospike.spikes.fast_way import compiled_twin
from leukospike.spikes.maps import check_pixels, check_responses, described
from leukospike.spikes.waves import Spikes, check_spikes

FACTORS = (0.15, 0.12, 0.10, 0.07, 0.05)
"""Factor that each weaker neighbour adds to a response, by distance from 1 to 5 pixels (Mozafari 2018)."""


def pointwise_inhibition(spikes: Spikes) -> Spikes:
    """Keep one feature at each position: the earliest, then the highest potential, then the lowest index.

    Parameters
    ----------
    spikes : Spikes
        Of shape (batch, channels, rows, columns).

    Returns
    -------
    Spikes
        Of the same shape; all other neurons are silent, with potential 0.

    Raises
    ------
    ImageError
        If `spikes` is not `Spikes`, or there are no neurons.

    Examples
    --------
    >>> import torch
    >>> latency = torch.tensor([4, 2, 2], dtype=torch.uint8).view(1, 3, 1, 1)
    >>> potential = torch.tensor([9.0, 5.0, 6.0]).view(1, 3, 1, 1)
    >>> pointwise_inhibition(Spikes(latency, potential)).latency.flatten()
    tensor([15, 15,  2], dtype=torch.uint8)
    """
    check_spikes(spikes, "pointwise_inhibition")
    check_pixels(spikes.latency, "pointwise_inhibition", "spikes")
    latency, potential = spikes.latency, spikes.potential.detach()
    on_cpu = latency.device.type == "cpu" and potential.dtype in (torch.float32, torch.float64)
    if on_cpu and (compiled := compiled_twin("compiled_inhibition")):
        kept, strength = compiled.pointwise_inhibition(latency, potential, spikes.bins)
        return Spikes(kept, strength, spikes.bins)
    earliest = latency.amin(dim=1, keepdim=True)
    strength = potential.masked_fill(latency != earliest, -torch.inf)
    winner = strength.argmax(dim=1, keepdim=True)  # the first among equals
    kept = torch.full_like(latency, spikes.bins).scatter_(1, winner, earliest)
    return Spikes(kept, torch.where(kept < spikes.bins, potential, 0), spikes.bins)


def lateral_inhibition(
    intensity: Float[Tensor, "batch channels rows columns"], factors: Sequence[float] = FACTORS
) -> Float[Tensor, "batch channels rows columns"]:
    r"""Raise each response by its weaker neighbours in the same channel, so that it spikes earlier than they do.

    A response becomes :math:`x (1 + \sum_d f_d n_d)`, where :math:`n_d` neighbours at distance :math:`d` (the larger of
    rows and columns) are weaker than :math:`x`; outside the map all are 0. Only the order of the responses matters
    afterwards, so this inhibits the neighbours as much as dividing their responses would.

    Parameters
    ----------
    intensity : Tensor of shape (batch, channels, rows, columns), float
        Not negative.
    factors : sequence of float
        :math:`f_1, f_2, \ldots`, one for each pixel of distance.

    Returns
    -------
    Tensor of the shape and type of `intensity`

    Raises
    ------
    ConfigError
        If a factor is not finite.
    ImageError
        If `intensity` is not a tensor of this shape and type, has no pixels, or a response is negative or not finite.

    References
    ----------
    .. [1] Mozafari et al., First-Spike-Based Visual Categorization Using Reward-Modulated STDP, 2018,
       doi 10.1109/TNNLS.2018.2826721.

    Examples
    --------
    >>> import torch
    >>> lateral_inhibition(torch.tensor([[[[1.0, 2.0]]]]), factors=[0.5])
    tensor([[[[ 4.5000, 10.0000]]]])
    """
    check_responses(intensity, "lateral_inhibition")
    check_pixels(intensity, "lateral_inhibition", "intensity")
    if not all(isfinite(factor) for factor in factors):
        msg = "factors must be finite"
        raise ConfigError(msg, where="lateral_inhibition", got=list(factors), advice="Omit them to use Mozafari's.")
    intensity = intensity.detach()
    reach = len(factors)
    rows, columns = intensity.shape[-2:]
    padded = pad(intensity, (reach,) * 4)
    on_cpu = intensity.device.type == "cpu" and intensity.dtype == torch.float32
    if on_cpu and (compiled := compiled_twin("compiled_inhibition")):
        return compiled.lateral_inhibition(intensity.contiguous(), padded, factors)
    gain, stronger = torch.zeros_like(intensity), torch.empty_like(intensity)
    # In a fixed order, row by row: in float32 the order of a sum decides its last bit, and the golden test pins it.
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            distance = max(abs(down), abs(right))
            if distance:
                neighbour = padded[..., reach + down :, reach + right :][..., :rows, :columns]
                # Compared into numbers instead of Booleans: measured, five times as fast to add.
                gain.add_(torch.gt(intensity, neighbour, out=stronger), alpha=factors[distance - 1])
    return intensity + intensity * gain


def feature_inhibition(spikes: Spikes, inhibited: Bool[Tensor, " channels"]) -> Spikes:
    """Silence whole features, at every position and in every image.

    Parameters
    ----------
    spikes : Spikes
        Of shape (batch, channels, rows, columns).
    inhibited : Tensor of shape (channels,), bool
        True for features to silence, as in feature dropout.

    Returns
    -------
    Spikes
        Of the same shape.

    Raises
    ------
    ConfigError
        If the entries are not Booleans, or not one for each channel.
    ImageError
        If `spikes` is not `Spikes`.
    """
    check_spikes(spikes, "feature_inhibition")
    _check_inhibited(inhibited, spikes.latency.shape[1])
    silenced = inhibited.view(-1, 1, 1)
    latency: UInt8[Tensor, "batch channels rows columns"] = spikes.latency.masked_fill(silenced, spikes.bins)
    return Spikes(latency, spikes.potential.masked_fill(silenced, 0), spikes.bins)


def _check_inhibited(inhibited: object, channels: int) -> None:
    """Raise an error unless there is one Boolean for each channel."""
    if not isinstance(inhibited, Tensor) or inhibited.dtype != torch.bool or inhibited.ndim != 1:
        msg = "inhibited must be one row of Booleans"
        advice = "Compare the numbers first: inhibited > 0."
        raise ConfigError(msg, where="feature_inhibition", got=described(inhibited), advice=advice)
    if len(inhibited) != channels:
        msg = f"inhibited must have one entry for each of {channels} channels"
        raise ConfigError(
            msg, where="feature_inhibition", got=len(inhibited), advice="Pass one Boolean for each feature."
        )
