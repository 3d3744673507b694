"""Train the spiking segmenter by surrogate gradients, on images whose pixels have a class."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from leukospike.errors import ConfigError, DataError
from leukospike.jobs import Progress, silent
from leukospike.learning.averaging import running_mean
from leukospike.learning.chance import drawing_from
from leukospike.segmentation.input_spikes import BY_VALUE, INPUTS
from leukospike.segmentation.network import SpikingLayer, SpikingSegmenter
from leukospike.segmentation.regions import connected, fill_holes, window_of
from research.segmentation.examples import CELL, MAY_BE, REST, UNKNOWN, Bank, LabelledImage, training_batch

_LONGEST_MEAN = 0.997  # share of themselves that running means of the weights keep at the most
_DICE_SMOOTHING_PX = 30.0
_RISING = 0.05  # share of the training in which the learning rate rises
_SURE = 0.8  # share of a class's potential from which a network's own drawing is believed
_AGREES = 0.7  # intersection over union of the boxes around a drawn cell and of the given one, from which it is
_OTHERS_RATE = 0.2  # learning rate of what is no kernel, in that of the kernels


@dataclass(frozen=True, kw_only=True)
class SegmenterTraining:
    """How the segmenter is trained."""

    iterations: int = 3000
    batch_size: int = 32
    crop_px: int = 192
    """Side of what is cut out of an image, at working size."""
    redrawn_at: tuple[float, ...] = (0.3, 0.6)
    """Shares of the training after which the network draws the cells that are only boxed."""
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
                rule = f"{name} must be at least {low:g}"
                raise ConfigError(rule, where="SegmenterTraining", got=getattr(self, name), advice="Raise it.")


def train_segmenter(
    images: Sequence[LabelledImage],
    shares: Mapping[str, float],
    config: SegmenterTraining,
    *,
    device: torch.device | None = None,
    inputs: Sequence[int] = range(INPUTS),
    progress: Progress = silent,
) -> SpikingSegmenter:
    """Train a segmenter on crops of the images, changed as other laboratories would change them.

    Cross-entropy of each pixel and the Dice losses of nucleus and white cell. The layers' kernels are moved by Muon
    [1]_, which takes from a gradient its directions and gives all of them the same length: measured, in 1,200 steps
    that goes further than AdamW in 4,000. The rest is moved by AdamW. The network given back is the running mean of
    the weights. Convolutions are computed in bfloat16.

    White cells that are only boxed are drawn by the network itself, as `drawn_by` says, at each of
    `config.redrawn_at`: it sees nothing but its own training images.

    Parameters
    ----------
    images : sequence of LabelledImage
    shares : mapping of str to float
        How often an image of each group is drawn; every group of `images` must have its share.
    config : SegmenterTraining
    device : torch.device, optional
        Where to train; the CPU if not given. Results of two devices differ, as their random numbers do.
    inputs : sequence of int
        Input channels that the network may use, as `input_spikes` numbers them; for ablations.
    progress : Progress

    Returns
    -------
    SpikingSegmenter
        Folded, on the CPU.

    Raises
    ------
    DataError
        If the groups of the images are not those of `shares`.

    References
    ----------
    .. [1] K. Jordan et al., Muon: an optimizer for hidden layers in neural networks (2024); `torch.optim.Muon`.
    """
    where = torch.device("cpu") if device is None else device
    unused = sorted(set(range(INPUTS)) - set(inputs))
    groups = sorted({image.group for image in images})
    if groups != sorted(shares):
        wanted, given = ", ".join(groups), ", ".join(sorted(shares))
        rule = f"shares must name the groups {wanted}"
        raise DataError(rule, where="train_segmenter", got=given, advice="Correct the shares.")
    by_group = {name: [image for image in images if image.group == name] for name in groups}
    banks = {name: Bank.of(own, where, seed=config.seed) for name, own in by_group.items()}
    odds = np.array([shares[name] for name in groups]) / sum(shares.values())
    redrawn_at = {round(share * config.iterations) for share in config.redrawn_at}
    rng = np.random.default_rng(config.seed)
    generator = torch.Generator(where).manual_seed(config.seed)

    with drawing_from(torch.Generator().manual_seed(config.seed)):
        network = SpikingSegmenter(folded=False)
    network.to(where, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    network.train()
    averaged = AveragedModel(network, multi_avg_fn=running_mean(_LONGEST_MEAN), use_buffers=True)
    optimisers = _optimisers(network, config.learning_rate)
    rates = [LambdaLR(one, lambda step: _rate(step, config.iterations)) for one in optimisers]
    for number in range(config.iterations):
        if number in redrawn_at:
            teacher = _folded(averaged, unused).to(where)
            for name, own in by_group.items():
                if any(len(image.boxed) or image.is_centred for image in own):
                    banks[name] = Bank.of([drawn_by(teacher, image) for image in own], where, seed=config.seed)
        counts = dict(zip(groups, rng.multinomial(config.batch_size, odds).tolist(), strict=True))
        with torch.no_grad():
            pixels, labels = training_batch(banks, counts, config.crop_px, rng, generator)
            spikes = _spikes(pixels)
            spikes[:, unused] = 0
        with torch.autocast(where.type, dtype=torch.bfloat16):
            potentials = network(spikes)
        loss = segmentation_loss(potentials.float(), labels)
        network.zero_grad()
        loss.backward()
        for optimiser, rate in zip(optimisers, rates, strict=True):
            optimiser.step()
            rate.step()
        averaged.update_parameters(network)
        progress("train segmenter", number + 1, config.iterations)
    return _folded(averaged, unused)


def _folded(averaged: AveragedModel, unused: Sequence[int]) -> SpikingSegmenter:
    """Fold a copy of the running mean, on the CPU."""
    trained = copy.deepcopy(averaged.module).cpu()
    if not isinstance(trained, SpikingSegmenter):
        raise TypeError(type(trained))
    trained.stem.integrate.weight.data[:, unused] = 0
    return trained.eval().fold()


def _spikes(pixels: Float[Tensor, "batch 3 rows columns"]) -> Float[Tensor, "batch 6 rows columns"]:
    """Code pixels as `input_spikes` does, where they are."""
    by_value = torch.from_numpy(BY_VALUE).to(pixels.device)
    values = pixels.long()
    spikes = torch.cat([by_value[0][values], by_value[1][values]], dim=1)
    return spikes.contiguous(memory_format=torch.channels_last)


def drawn_by(network: SpikingSegmenter, image: LabelledImage) -> LabelledImage:
    """Draw the white cells of an image that are boxed, or known to be in its middle, where the network is sure of them.

    A cell in the middle is taken over where the piece there does not reach the border, and is surely white on the mean.
    A boxed one is taken over where a piece of what the network takes for white cells fills a box: the box around it and
    the drawn one have an intersection over union of at least `_AGREES`. Pixels that the network is not sure of stay
    unknown. Of the rest, pixels keep their labels, but where not all cells are boxed, what looks like another cell
    becomes unknown.

    Parameters
    ----------
    network : SpikingSegmenter
        Folded.
    image : LabelledImage

    Returns
    -------
    LabelledImage
    """
    pixels = torch.from_numpy(image.pixels.copy()).permute(2, 0, 1)[None].float()
    device = next(network.parameters()).device
    with torch.inference_mode():
        shares = torch.softmax(network(_spikes(pixels.to(device)))[0].float(), dim=0).cpu().numpy()
    white = shares[1] + shares[2]
    likeliest = shares.argmax(axis=0)
    sure = np.where(shares.max(axis=0) >= _SURE, likeliest, np.where(white >= _SURE, CELL, UNKNOWN)).astype(np.uint8)
    # Two cells that touch are one piece, and fill neither's box: within its own box each is a piece.
    labels = image.labels.copy()
    boxed = np.zeros(labels.shape, bool)
    for top, left, bottom, right in image.boxed:
        inside = np.s_[top:bottom, left:right]
        boxed[inside] = True
        pieces, n_pieces = connected(white[inside] >= 0.5, corners=True)
        if not n_pieces:
            continue
        piece = fill_holes(pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:]))
        rows, columns = window_of(piece)
        filled = (rows.stop - rows.start) * (columns.stop - columns.start) / piece.size
        if filled < _AGREES:
            continue
        own = labels[inside]
        own[piece] = sure[inside][piece]
        around = ndimage.binary_dilation(piece, iterations=2) & ~piece
        own[~piece & (own == UNKNOWN)] = REST
        own[around & (white[inside] > 1 - _SURE)] = UNKNOWN
    if image.is_centred:
        pieces, _ = connected(white >= 0.5, corners=True)
        piece = pieces == (pieces[labels.shape[0] // 2, labels.shape[1] // 2] or -1)
        at_border = piece[0].any() or piece[-1].any() or piece[:, 0].any() or piece[:, -1].any()
        if piece.any() and not at_border and white[piece].mean() >= _SURE:
            piece = fill_holes(piece)
            labels[piece] = sure[piece]
            boxed |= ndimage.binary_dilation(piece, iterations=3)
            labels[ndimage.binary_dilation(piece, iterations=2) & ~piece] = UNKNOWN
            rest = ~boxed & (labels == UNKNOWN) & (white < 1 - _SURE)
            labels[rest] = REST
    if not image.is_complete:
        another = ndimage.binary_dilation(white >= 0.5, iterations=3) & ~boxed
        labels[another] = UNKNOWN
    return replace(image, labels=labels)


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
    """Compute the learning rate at a step, as a share of the highest: it rises, then falls, evenly."""
    return min((step + 1) / (_RISING * iterations), 1 - step / iterations)


def segmentation_loss(
    potentials: Float[Tensor, "batch classes rows columns"], labels: Int64[Tensor, "batch rows columns"]
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of the known pixels, plus half of each image's Dice loss of white cell and nucleus.

    A label asks only that a pixel be of one of the classes that it may have, `MAY_BE`. Dice counts the pixels of which
    the label says whether they are of a white cell, or of a nucleus; images without a drawn nucleus have no say on it.
    """
    log_shares = functional.log_softmax(potentials, dim=1)
    may_be = torch.tensor(MAY_BE, device=labels.device)[labels].permute(0, 3, 1, 2)
    entropy = -torch.logsumexp(log_shares.masked_fill(~may_be, float("-inf")), dim=1)
    known = labels != UNKNOWN
    loss = (entropy * known).sum() / known.sum().clamp(min=1)
    shares = log_shares.exp()
    white, nucleus = (labels == 1) | (labels == 2) | (labels == CELL), labels == 2
    loss = loss + 0.5 * _dice_loss((shares[:, 1] + shares[:, 2]) * known, white)
    parted = known & (labels != CELL)
    drawn = nucleus.flatten(1).any(dim=1)
    if bool(drawn.any()):
        loss = loss + 0.5 * _dice_loss((shares[:, 2] * parted)[drawn], nucleus[drawn])
    return loss


def _dice_loss(shares: Float[Tensor, "n rows columns"], truth: Bool[Tensor, "n rows columns"]) -> Float[Tensor, ""]:
    """Return 1 - Dice, mean over images, smoothed so that an image without the class counts little."""
    truth = truth.float()
    both, sum_of_both = (shares * truth).flatten(1).sum(1), (shares + truth).flatten(1).sum(1)
    return (1 - (2 * both + _DICE_SMOOTHING_PX) / (sum_of_both + _DICE_SMOOTHING_PX)).mean()
