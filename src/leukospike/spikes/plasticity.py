"""Learning from spike times: STDP, and STDP modulated by reward and punishment (Mozafari 2018).

A single comparison of latencies shows whether a synapse's input spiked no later than its neuron; no wave is built.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from math import isfinite

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor
from torch.nn.functional import pad

from leukospike.errors import ConfigError, ImageError
from leukospike.spikes.maps import check_count, check_latency, check_weight, described

_NEVER = 255  # a latency later than any


@dataclass(frozen=True, kw_only=True)
class StdpRates:
    """How much one spike changes its neuron's synapses, per unit of w (1 - w)."""

    causal: float = 0.004
    """For synapses whose input spiked no later than the neuron."""
    acausal: float = -0.003
    """For all others: their input spiked later, or never."""

    def __post_init__(self) -> None:
        """Raise an error unless both rates are finite."""
        if not (isfinite(self.causal) and isfinite(self.acausal)):
            msg = "causal and acausal must be finite"
            got = f"{self.causal} and {self.acausal}"
            raise ConfigError(msg, where="StdpRates", got=got, advice="Omit them to use the original's rates.")


class Reinforcement(IntEnum):
    """What follows a decision."""

    PUNISHMENT = -1
    NOTHING = 0
    REWARD = 1


@dataclass(frozen=True, kw_only=True)
class RewardRates:
    """Rates of reward-modulated STDP: a right decision strengthens what led to it, a wrong one weakens it."""

    reward: StdpRates = field(default_factory=StdpRates)
    punishment: StdpRates = field(default_factory=lambda: StdpRates(causal=-0.004, acausal=0.0005))

    def adapted(self, *, right: int, wrong: int, total: int) -> "RewardRates":
        r"""Scale reward by the share of wrong answers, and punishment by the share of right ones.

        :math:`a_r \gets a_r N_{miss} / N` and :math:`a_p \gets a_p N_{hit} / N`. The network thus learns less from what
        is common: one that is mostly right is not trained further on what it knows [1]_.

        Parameters
        ----------
        right, wrong : int
            Answers of the last epoch, at least 0.
        total : int
            Images shown in it, at least 1; more than `right + wrong` if some got no answer.

        Returns
        -------
        RewardRates

        Raises
        ------
        ConfigError
            If a count of answers is negative, or there are more answers than images.

        References
        ----------
        .. [1] Mozafari et al., First-Spike-Based Visual Categorization Using Reward-Modulated STDP, 2018,
           doi 10.1109/TNNLS.2018.2826721, on reward-modulated STDP.

        Examples
        --------
        >>> RewardRates().adapted(right=3, wrong=1, total=4).reward.causal
        0.001
        """
        # Written so that NaN is refused.
        if not (right >= 0 and wrong >= 0 and total >= 1 and right + wrong <= total):
            msg = f"right and wrong must be at least 0 and together at most total ({total})"
            raise ConfigError(
                msg, where="RewardRates.adapted", got=f"{right} and {wrong}", advice="Count each image once."
            )
        return RewardRates(
            reward=_scaled(self.reward, wrong / total), punishment=_scaled(self.punishment, right / total)
        )

    def of(self, reinforcement: int) -> StdpRates | None:
        """Return the rates for a value of `Reinforcement`, or None if nothing is learned."""
        known = not isinstance(reinforcement, bool) and reinforcement in tuple(Reinforcement)
        if not known:  # False might mean wrong or nothing
            msg = "reinforcement must be 1, -1 or 0"
            advice = "Use a value of Reinforcement: REWARD, PUNISHMENT or NOTHING."
            raise ConfigError(msg, where="RewardRates.of", got=reinforcement, advice=advice)
        if reinforcement == Reinforcement.NOTHING:
            return None
        return self.reward if reinforcement == Reinforcement.REWARD else self.punishment


def stdp(
    weight: Float[Tensor, "features channels height width"],
    latency: UInt8[Tensor, "batch channels rows columns"],
    winners: Int64[Tensor, "batch k 3"],
    times: UInt8[Tensor, "batch k"],
    *,
    rates: StdpRates,
    padding: int = 0,
) -> Float[Tensor, "features channels height width"]:
    r"""Update the synapses of the winning neurons by spike-timing-dependent plasticity.

    A winner's feature changes by :math:`\Delta w = a\,w(1 - w)`, with the rate `causal` where the input spiked no later
    than the winner and `acausal` where it spiked later or never; the weights are then clipped to 0..1. Weights are
    shared, so the feature changes for the whole map.

    Winners are applied one after another, image by image and in order within an image, each to the weights left by the
    one before. For the same winners, the result for a batch equals that of its images one by one to the last bit,
    however they are divided into batches. Only the choice of winners depends on the batch: winners found together were
    found with the weights from before the batch.

    Parameters
    ----------
    weight : Tensor of shape (features, channels, height, width), float32, 0 to 1
        Before the step; not modified.
    latency : Tensor of shape (batch, channels, rows, columns), uint8
        When the inputs spike; the largest value of the coding means never.
    winners : Tensor of shape (batch, k, 3), int64
        Feature, row and column of each winner, as returned by `k_winners`; -1 where there is none.
    times : Tensor of shape (batch, k), uint8
        When each winner spikes, as returned by `winner_times`; meaningless where there is no winner.
    rates : StdpRates
        Both rates.
    padding : int
        The convolution's padding, whose inputs never spike.

    Returns
    -------
    Tensor of shape (features, channels, height, width), float32, 0 to 1

    Raises
    ------
    ConfigError
        If weights, winners or times are invalid or do not fit each other, or a winner lies outside the map that these
        weights make of these inputs.
    ImageError
        If `latency` is not a tensor of this shape and type, or its channels are not those of the weights.

    References
    ----------
    .. [1] Kheradpisheh et al., STDP-based spiking deep convolutional neural networks for object recognition, Neural
       Networks 99:56-67, 2018, doi 10.1016/j.neunet.2017.12.005.

    Examples
    --------
    >>> import torch
    >>> weight = torch.full((1, 1, 1, 2), 0.5)
    >>> inputs, times = torch.tensor([[[[3, 7]]]], dtype=torch.uint8), torch.tensor([[5]], dtype=torch.uint8)
    >>> stdp(weight, inputs, torch.tensor([[[0, 0, 0]]]), times, rates=StdpRates(causal=0.4, acausal=-0.2))
    tensor([[[[0.6000, 0.4500]]]])
    """
    check_latency(latency, "stdp")
    each = [rates] * len(latency)
    return _applied("stdp", weight, latency, winners, times, each, padding)


def reward_modulated_stdp(
    weight: Float[Tensor, "features channels height width"],
    latency: UInt8[Tensor, "batch channels rows columns"],
    winners: Int64[Tensor, "batch k 3"],
    times: UInt8[Tensor, "batch k"],
    reinforcement: Sequence[int],
    *,
    rates: RewardRates | None = None,
    padding: int = 0,
) -> Float[Tensor, "features channels height width"]:
    """Update the synapses of the neurons that decided, with reward or punishment for each decision.

    This is `stdp` with the rates of reward or punishment, image by image; what is said there of batches holds here too.

    Parameters
    ----------
    weight, latency, winners, times, padding
        As for `stdp`.
    reinforcement : sequence of int, of length batch
        Values of `Reinforcement`: 1 where the decision was right, -1 where it was wrong, 0 to learn nothing.
    rates : RewardRates, optional
        Rates of reward and punishment; those of the original by default.

    Returns
    -------
    Tensor of shape (features, channels, height, width), float32, 0 to 1

    Raises
    ------
    ConfigError
        As for `stdp`, or if `reinforcement` has another length.
    ImageError
        As for `stdp`.

    References
    ----------
    .. [1] Mozafari et al., First-Spike-Based Visual Categorization Using Reward-Modulated STDP, 2018,
       doi 10.1109/TNNLS.2018.2826721.
    """
    where = "reward_modulated_stdp"
    check_latency(latency, where)
    if len(reinforcement) != len(latency):
        msg = f"reinforcement must hold one value per image ({len(latency)})"
        raise ConfigError(msg, where=where, got=len(reinforcement), advice="Use 0 for an image without an answer.")
    chosen = rates or RewardRates()
    return _applied(where, weight, latency, winners, times, [chosen.of(value) for value in reinforcement], padding)


def winner_times(
    spikes: UInt8[Tensor, "batch features r c"], winners: Int64[Tensor, "batch k 3"]
) -> UInt8[Tensor, "batch k"]:
    """Return when the winners spike.

    Parameters
    ----------
    spikes : Tensor of shape (batch, features, r, c), uint8
        When the neurons spike: `Spikes.latency`.
    winners : Tensor of shape (batch, k, 3), int64
        Feature, row and column of each winner; -1 where there is none.

    Returns
    -------
    Tensor of shape (batch, k), uint8
        Meaningless where there is no winner.

    Raises
    ------
    ConfigError
        If `winners` does not belong to this number of images, or a winner lies outside the map.
    ImageError
        If `spikes` is not a tensor of this shape and type.
    """
    check_latency(spikes, "winner_times", "spikes")
    _check_winners("winner_times", winners, len(spikes))
    _, features, rows, columns = spikes.shape
    winners = winners.long()
    ends = winners.new_tensor([features, rows, columns])
    outside = (winners >= ends) | ((winners < 0) & (winners[..., :1] >= 0))
    if bool(outside.any()):
        msg = f"winners must lie on a map of {(features, rows, columns)}"
        got = winners[outside.any(dim=2)][0].tolist()
        raise ConfigError(
            msg, where="winner_times", got=got, advice="Pass the winners that k_winners found on this map."
        )
    feature, row, column = winners.clamp(min=0).unbind(dim=2)
    return spikes.flatten(1).gather(1, (feature * rows + row) * columns + column)


def kept_features(n_features: int, *, dropout: float, generator: torch.Generator) -> Bool[Tensor, " n_features"]:
    """Draw which features take part in an epoch; each is left out with the same probability.

    Parameters
    ----------
    n_features : int
        Number of features.
    dropout : float
        Probability of being left out, at least 0 and below 1.
    generator : torch.Generator
        Random number generator on the CPU.

    Returns
    -------
    Tensor of shape (n_features,), bool
        True if a feature takes part. All may be left out; nothing spikes in that epoch then.

    Raises
    ------
    ConfigError
        If `n_features` is not a whole number of at least 0, or `dropout` is outside its range.
    """
    check_count(n_features, "kept_features", "n_features", least=0, advice="Use the number of features of the layer.")
    if not 0 <= dropout < 1:
        msg = "dropout must be at least 0 and below 1"
        raise ConfigError(msg, where="kept_features", got=dropout, advice="Use 0 to keep all features.")
    return torch.rand(n_features, generator=generator) >= dropout


def _scaled(rates: StdpRates, factor: float) -> StdpRates:
    """Multiply both rates."""
    return StdpRates(causal=rates.causal * factor, acausal=rates.acausal * factor)


def _check_synapses(where: str, weight: Tensor, latency: Tensor, winners: Tensor, times: Tensor, padding: int) -> None:
    """Raise an error unless maps and winners fit these weights."""
    check_weight(weight, where)
    if latency.shape[1] != weight.shape[1]:
        msg = f"latency must have {weight.shape[1]} channels"
        raise ImageError(msg, where=where, got=latency.shape[1], advice="Pass the map that the layer was given.")
    check_count(padding, where, "padding", least=0, advice="Pass the padding of the layer.")
    _check_winners(where, winners, len(latency))
    if not _is_whole(times) or times.shape != winners.shape[:2]:
        msg = f"times must be whole numbers, one for each winner, {tuple(winners.shape[:2])}"
        raise ConfigError(msg, where=where, got=described(times), advice="Use winner_times.")


def _check_winners(where: str, winners: Tensor, batch: int) -> None:
    """Raise an error unless these are winners of this number of images."""
    if not _is_whole(winners) or winners.ndim != 3 or len(winners) != batch or winners.shape[2] != 3:
        msg = f"winners must be whole numbers of shape ({batch}, k, 3)"
        raise ConfigError(msg, where=where, got=described(winners), advice="Pass the winners that k_winners found.")


def _is_whole(numbers: object) -> bool:
    """Return whether this is a tensor of whole numbers."""
    is_tensor = isinstance(numbers, Tensor)
    return is_tensor and not (numbers.is_floating_point() or numbers.is_complex() or numbers.dtype == torch.bool)


def _applied(
    where: str,
    weight: Tensor,
    latency: Tensor,
    winners: Tensor,
    times: Tensor,
    rates: Sequence[StdpRates | None],
    padding: int,
) -> Tensor:
    """Apply the winners of each image in order, with that image's rates; None leaves the weights as they are."""
    _check_synapses(where, weight, latency, winners, times, padding)
    features, _, height, width = weight.shape
    if padding:
        latency = pad(latency, (padding,) * 4, value=_NEVER)
    places = (features, latency.shape[2] - height + 1, latency.shape[3] - width + 1)
    changed = weight.clone()
    for inputs, its_winners, its_times, its_rates in zip(latency, winners.tolist(), times.tolist(), rates, strict=True):
        if its_rates is None:
            continue
        for winner, time in zip(its_winners, its_times, strict=True):
            feature, row, column = winner
            if feature < 0:
                continue
            if any(not 0 <= place < end for place, end in zip(winner, places, strict=True)):
                msg = f"winners must lie on a map of {places}"
                raise ConfigError(
                    msg,
                    where=where,
                    got=winner,
                    advice="Pass the winners that k_winners found with these weights on these inputs.",
                )
            in_window = inputs[:, row : row + height, column : column + width]
            rate = torch.where(in_window <= time, its_rates.causal, its_rates.acausal)
            synapses = changed[feature]
            synapses.addcmul_(rate, synapses - synapses * synapses).clamp_(0, 1)
    return changed
