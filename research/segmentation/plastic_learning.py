"""Train the plastic segmenter: features by STDP, without labels, then class neurons by reward and punishment."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import Image
from torch import Tensor

from leukospike.errors import ConfigError, DataError
from leukospike.jobs import Progress, silent
from leukospike.segmentation.network import CLASSES
from leukospike.segmentation.plastic import (
    NEURONS_PER_CLASS,
    SCALES,
    PlasticSegmenter,
    input_latency,
    seen_at,
)
from leukospike.segmentation.rank_spikes import at_working_size
from leukospike.spikes import SpikingConv2d, k_winners
from leukospike.spikes.plasticity import (
    Reinforcement,
    RewardRates,
    StdpRates,
    reward_modulated_stdp,
    stdp,
    winner_times,
)
from research.segmentation.examples import CELL, RED_CELL, REST, UNKNOWN, LabelledImage

FEATURE_RATES = StdpRates(causal=0.02, acausal=-0.015)
"""Of the features."""

CLASS_RATES = RewardRates(
    reward=StdpRates(causal=0.05, acausal=-0.05), punishment=StdpRates(causal=-0.02, acausal=0.01)
)
"""Of the class neurons, before they are adapted to how often an epoch was right, and fade."""

REST_SHARE = 0.6
"""Of the labelled pixels that are drawn; the other classes share what is left. The most varied needs most examples."""

_CROP_PX = 24
_CROPS = 16
_WINNERS = 8
_RADIUS = 3
_PIXELS = 128


@dataclass(frozen=True, kw_only=True)
class PlasticTraining:
    """How the plastic segmenter is trained."""

    feature_steps: int = 120
    """Steps of STDP at each scale, on 16 crops each, of which up to 8 features learn."""
    pixels_per_image: int = 200
    """Labelled pixels that are drawn of each image, once."""
    epochs: int = 6
    """Passes of the class neurons over these pixels."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        for name, low in (("feature_steps", 1), ("pixels_per_image", 10), ("epochs", 1), ("seed", 0)):
            if not getattr(self, name) >= low:
                rule = f"{name} must be at least {low}"
                raise ConfigError(rule, where="PlasticTraining", got=getattr(self, name), advice="Raise it.")


def train_plastic(
    images: Sequence[LabelledImage], config: PlasticTraining, *, progress: Progress = silent
) -> PlasticSegmenter:
    """Train a segmenter by spike times alone.

    The features see crops of all images and no label. Each crop lets up to eight of them learn, the earliest first,
    each of which then keeps the others from its neighbourhood. The class neurons then see single pixels, drawn by
    class: the earliest of all decides, is rewarded if it is of the pixel's class, and punished if not. Reward is scaled
    by the share of wrong decisions in the epoch before, punishment by the share of right ones, and both fade evenly,
    since each neuron otherwise ends on the looks of the last few pixels.

    Parameters
    ----------
    images : sequence of LabelledImage
        Their groups are of no matter; a pixel labelled `CELL` rewards cytoplasm and nucleus alike.
    config : PlasticTraining
    progress : Progress

    Returns
    -------
    PlasticSegmenter

    Raises
    ------
    DataError
        If there are no images, or no labelled pixels.
    """
    if not any(bool((image.labels != UNKNOWN).any()) for image in images):
        rule, got = "images must hold labelled pixels", f"{len(images)} without"
        raise DataError(rule, where="train_plastic", got=got, advice="Give images with classes.")
    chance = torch.Generator().manual_seed(config.seed)
    network = PlasticSegmenter(generator=chance)
    latencies = [input_latency(at_working_size(image.pixels)) for image in images]
    for number, (layer, scale) in enumerate(zip(network.feature_layers(), SCALES, strict=True)):
        _learn_features(layer, [seen_at(one, scale) for one in latencies], config.feature_steps, chance)
        progress("learn features", number + 1, len(SCALES))
    read: list[Tensor] = []
    labels: list[Tensor] = []
    for number, (image, latency) in enumerate(zip(images, latencies, strict=True)):
        size = (latency.shape[-1], latency.shape[-2])
        classes = np.asarray(Image.fromarray(image.labels).resize(size, Image.Resampling.NEAREST))
        classes = np.where(np.isin(classes, (RED_CELL, REST)), 0, classes).astype(np.uint8)
        places = _drawn_pixels(classes, config.pixels_per_image, np.random.default_rng((config.seed, number)))
        read.append(network(latency)[0].flatten(1)[:, places].T)
        labels.append(torch.from_numpy(classes.reshape(-1)[places].astype(np.int64)))
    _learn_classes(network.readout, torch.cat(read), torch.cat(labels), config.epochs, chance, progress)
    return network


def _learn_features(
    layer: SpikingConv2d, maps: Sequence[UInt8[Tensor, "1 channels _ _"]], steps: int, chance: torch.Generator
) -> None:
    """Change one layer by STDP on crops of the maps."""
    side = min(_CROP_PX, *(min(one.shape[-2:]) for one in maps))
    radius = min(_RADIUS, side // 4)
    for _ in range(steps):
        crops: list[Tensor] = []
        for place in torch.randint(len(maps), (_CROPS,), generator=chance).tolist():
            top, left = (
                int(torch.randint(length - side + 1, (), generator=chance)) for length in maps[place].shape[-2:]
            )
            crops.append(maps[place][..., top : top + side, left : left + side])
        batch = torch.cat(crops)
        spikes = layer(batch)
        winners = k_winners(spikes, _WINNERS, radius)
        times = winner_times(spikes.latency, winners)
        layer.weight.copy_(stdp(layer.weight, batch, winners, times, rates=FEATURE_RATES))


def _drawn_pixels(
    classes: UInt8[np.ndarray, "rows columns"], count: int, rng: np.random.Generator
) -> Int64[np.ndarray, " drawn"]:
    """Draw places of labelled pixels, `REST_SHARE` of them rest, the others evenly of the classes that are there."""
    rest = round(count * REST_SHARE)
    others = [number for number in (*range(1, len(CLASSES)), CELL) if bool((classes == number).any())]
    wanted = {0: rest} | {number: (count - rest) // len(others) for number in others}
    drawn = [
        rng.choice(places, many)
        for number, many in wanted.items()
        if len(places := np.flatnonzero(classes == number)) and many
    ]
    return np.concatenate([np.zeros(0, np.int64), *drawn])


def _learn_classes(
    readout: SpikingConv2d,
    read: UInt8[Tensor, "pixels read"],
    labels: Int64[Tensor, " pixels"],
    epochs: int,
    chance: torch.Generator,
    progress: Progress,
) -> None:
    """Reward and punish the class neurons, a pixel after the other; winners are found for some pixels at a time."""
    rates = CLASS_RATES
    for epoch in range(epochs):
        right = wrong = 0
        for chosen in torch.randperm(len(read), generator=chance).split(_PIXELS):
            pixels = read[chosen][:, :, None, None]
            spikes = readout(pixels)
            winners = k_winners(spikes, 1)
            neuron = winners[:, 0, 0]
            decided, answers = neuron >= 0, neuron // NEURONS_PER_CLASS
            is_right = decided & ((answers == labels[chosen]) | ((labels[chosen] == CELL) & (answers > 0)))
            reinforcement = torch.where(is_right, int(Reinforcement.REWARD), int(Reinforcement.PUNISHMENT))
            times = winner_times(spikes.latency, winners)
            changed = reward_modulated_stdp(readout.weight, pixels, winners, times, reinforcement.tolist(), rates=rates)
            readout.weight.copy_(changed)
            right += int(is_right.sum())
            wrong += int((decided & ~is_right).sum())
        adapted = CLASS_RATES.adapted(right=right, wrong=wrong, total=len(read))
        rates = _faded(adapted, 1 - (epoch + 1) / epochs)
        progress("learn classes", epoch + 1, epochs)


def _faded(rates: RewardRates, share: float) -> RewardRates:
    """Keep a share of all rates."""
    reward, punishment = (
        StdpRates(causal=each.causal * share, acausal=each.acausal * share) for each in (rates.reward, rates.punishment)
    )
    return RewardRates(reward=reward, punishment=punishment)
