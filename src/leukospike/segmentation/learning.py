"""Train the spiking segmenter by surrogate gradients, on images whose pixels have a class."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from leukospike.averaging import running_mean
from leukospike.errors import ConfigError, DataError
from leukospike.progress import Progress, silent
from leukospike.segmentation.examples import (
    CELL,
    UNKNOWN,
    LabelledImage,
    labelled_at_working_size,
    training_example,
)
from leukospike.segmentation.input_spikes import INPUTS, input_spikes
from leukospike.segmentation.network import SpikingLayer, SpikingSegmenter

_LONGEST_MEAN = 0.995  # share of themselves that running means of the weights keep at the most
_DICE_SMOOTHING_PX = 30.0
_RISING = 0.05  # share of the training in which the learning rate rises
_OTHERS_RATE = 0.2  # learning rate of what is no kernel, in that of the kernels


@dataclass(frozen=True, kw_only=True)
class SegmenterTraining:
    """How the segmenter is trained."""

    iterations: int = 6000
    batch_size: int = 8
    crop_px: int = 192
    """Side of what is cut out of an image, at working size."""
    learning_rate: float = 0.01
    """The highest, of the kernels; it rises over the first twentieth and then falls to 0."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        for name, low in (
            ("iterations", 10),
            ("batch_size", 1),
            ("crop_px", 64),
            ("learning_rate", 1e-12),
            ("seed", 0),
        ):
            if not getattr(self, name) >= low:
                msg = f"SegmenterTraining: {name} must be at least {low:g}, got {getattr(self, name)}. Raise it."
                raise ConfigError(msg)


def train_segmenter(
    images: Sequence[LabelledImage],
    shares: Mapping[str, float],
    config: SegmenterTraining,
    *,
    inputs: Sequence[int] = range(INPUTS),
    progress: Progress = silent,
) -> SpikingSegmenter:
    """Train a segmenter on crops of the images, changed as other laboratories would change them.

    Cross-entropy of each pixel and the Dice losses of nucleus and cell. The layers' kernels are moved by Muon [1]_,
    which takes from a gradient its directions and gives all of them the same length: measured, in 1,200 steps that
    goes further than AdamW in 4,000. The rest is moved by AdamW. The network given back is the running mean of the
    weights. Convolutions are computed in bfloat16.

    Parameters
    ----------
    images : sequence of LabelledImage
    shares : mapping of str to float
        How often an image of each group is drawn; every group of `images` must have its share.
    config : SegmenterTraining
    inputs : sequence of int
        Input channels that the network may use, as `input_spikes` numbers them; for ablations.
    progress : Progress

    Returns
    -------
    SpikingSegmenter
        Folded.

    Raises
    ------
    DataError
        If the groups of the images are not those of `shares`.

    References
    ----------
    .. [1] K. Jordan et al., Muon: an optimizer for hidden layers in neural networks (2024); `torch.optim.Muon`.
    """
    unused = sorted(set(range(INPUTS)) - set(inputs))
    groups = sorted({image.group for image in images})
    if groups != sorted(shares):
        wanted, given = ", ".join(groups), ", ".join(sorted(shares))
        msg = f"train_segmenter: shares must name the groups {wanted}, got {given}. Correct the shares."
        raise DataError(msg)
    by_group = {name: [labelled_at_working_size(image) for image in images if image.group == name] for name in groups}
    odds = np.array([shares[name] for name in groups]) / sum(shares.values())

    def batch(number: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng((config.seed, number))
        crops: list[tuple[np.ndarray, np.ndarray]] = []
        for name in rng.choice(groups, config.batch_size, p=odds):
            crops.append(training_example(by_group[name], config.crop_px, rng))
        spikes = torch.from_numpy(np.stack([input_spikes(pixels) for pixels, _ in crops]))
        spikes[:, unused] = 0
        labels = torch.from_numpy(np.stack([classes for _, classes in crops]).astype(np.int64))
        return spikes.contiguous(memory_format=torch.channels_last), labels

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)  # layers draw their first weights from the global generator only
        network = SpikingSegmenter(folded=False)
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    network.train()
    averaged = AveragedModel(network, multi_avg_fn=running_mean(_LONGEST_MEAN), use_buffers=True)
    optimisers = _optimisers(network, config.learning_rate)
    rates = [LambdaLR(one, lambda step: _rate(step, config.iterations)) for one in optimisers]
    with ThreadPoolExecutor(1) as ahead:
        following = ahead.submit(batch, 0)
        for number in range(config.iterations):
            spikes, labels = following.result()
            following = ahead.submit(batch, number + 1)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                potentials = network(spikes)
            loss = segmentation_loss(potentials.float(), labels)
            network.zero_grad()
            loss.backward()
            for optimiser, rate in zip(optimisers, rates, strict=True):
                optimiser.step()
                rate.step()
            averaged.update_parameters(network)
            progress("train segmenter", number + 1, config.iterations)
        following.cancel()
    trained = averaged.module
    if not isinstance(trained, SpikingSegmenter):
        raise TypeError(type(trained))
    trained.stem.integrate.weight.data[:, unused] = 0
    return trained.eval().fold()


class _Muon(torch.optim.Muon):
    """`torch.optim.Muon`, which knows matrices only, for kernels: one row an output channel, in the kernel's memory."""

    def __init__(self, kernels: Sequence[Tensor], learning_rate: float) -> None:
        self._kernels = kernels
        self._matrices = [nn.Parameter(_as_matrix(kernel.data)) for kernel in kernels]
        super().__init__(self._matrices, lr=learning_rate, momentum=0.9)

    def step(self, closure: None = None) -> None:
        """Move each kernel by its gradient."""
        for kernel, matrix in zip(self._kernels, self._matrices, strict=True):
            matrix.grad = None if kernel.grad is None else _as_matrix(kernel.grad)
        super().step(closure)


def _as_matrix(
    kernel: Float[Tensor, "out in height width"],
) -> Float[Tensor, "out inputs"]:
    """Flatten a kernel without copying it, as channels last lays it out."""
    return kernel.permute(0, 2, 3, 1).flatten(1)


def _optimisers(network: SpikingSegmenter, learning_rate: float) -> tuple[torch.optim.Optimizer, ...]:
    """Move kernels by Muon; norms, currents and the class neurons by AdamW."""
    kernels = [layer.integrate.weight for layer in network.modules() if isinstance(layer, SpikingLayer)]
    chosen = {id(kernel) for kernel in kernels}
    others = [weight for weight in network.parameters() if id(weight) not in chosen]
    adam = torch.optim.AdamW(others, lr=_OTHERS_RATE * learning_rate, weight_decay=1e-4)
    return _Muon(kernels, learning_rate), adam


def _rate(step: int, iterations: int) -> float:
    """Give the learning rate at a step, in the highest: it rises, then falls, evenly."""
    return min((step + 1) / (_RISING * iterations), 1 - step / iterations)


def segmentation_loss(
    potentials: Float[Tensor, "batch classes rows columns"], labels: Int64[Tensor, "batch rows columns"]
) -> Float[Tensor, ""]:
    """Give the mean cross-entropy of the known pixels, plus half of each image's Dice loss of cell and of nucleus.

    A pixel labelled `CELL` asks only that it be cytoplasm or nucleus; images with such labels
    have no say on the nucleus.
    """
    log_shares = functional.log_softmax(potentials, dim=1)
    log_cell = torch.logsumexp(log_shares[:, 1:], dim=1)
    known = labels != UNKNOWN
    exact = known & (labels != CELL)
    entropy = -log_shares.gather(1, torch.where(exact, labels, 0)[:, None])[:, 0]
    entropy = torch.where(labels == CELL, -log_cell, entropy) * known
    loss = entropy.sum() / known.sum().clamp(min=1)
    shares = log_shares.exp() * known[:, None]
    loss = loss + 0.5 * _dice_loss(shares[:, 1] + shares[:, 2], known & (labels > 0))
    parted = (labels != CELL).flatten(1).all(dim=1)
    if bool(parted.any()):
        loss = loss + 0.5 * _dice_loss(shares[parted, 2], labels[parted] == 2)
    return loss


def _dice_loss(shares: Float[Tensor, "n rows columns"], truth: Tensor) -> Float[Tensor, ""]:
    """Give 1 - Dice, mean over images, smoothed so that an image without the class counts little."""
    truth = truth.float()
    both, sum_of_both = (shares * truth).flatten(1).sum(1), (shares + truth).flatten(1).sum(1)
    return (1 - (2 * both + _DICE_SMOOTHING_PX) / (sum_of_both + _DICE_SMOOTHING_PX)).mean()
