"""Train the spiking segmenter by surrogate gradients, on images whose pixels have a class."""

import io
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from leukospike.errors import ConfigError, DataError
from leukospike.progress import Progress, silent
from leukospike.segmentation.network import (
    CLASSES,
    INPUTS,
    SpikingLayer,
    SpikingSegmenter,
    at_working_size,
    input_spikes,
    working_scale,
)

CELL = len(CLASSES)
"""Label of a pixel that is of a cell, whether cytoplasm or nucleus."""

UNKNOWN = 255
"""Label of a pixel that nothing is known of; it teaches nothing."""

_MARGIN_PX = 60  # beyond an image, so that turned crops do not end at once
_LONGEST_MEAN = 0.995
_DICE_SMOOTHING_PX = 30.0
_RISING = 0.05  # share of the training in which the learning rate rises
_OTHERS_RATE = 0.2  # learning rate of what is no kernel, in that of the kernels
_PIECED = 0.3  # share of crops pieced together of four: most images show one cell, and fields show several
_CUT_OUT = 0.12  # share of the cells whose every pixel is known that are shown on black, as C-NMC's are


@dataclass(frozen=True)
class LabelledImage:
    """An image and what each pixel of it is."""

    group: str
    """Where it comes from; groups are drawn in given shares."""
    pixels: UInt8[np.ndarray, "rows columns 3"]
    """RGB, 0-255."""
    classes: UInt8[np.ndarray, "rows columns"]
    """0 rest, 1 cytoplasm, 2 nucleus, `CELL` or `UNKNOWN`."""


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
    by_group = {name: [_at_working_size(image) for image in images if image.group == name] for name in groups}
    odds = np.array([shares[name] for name in groups]) / sum(shares.values())

    def batch(number: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng((config.seed, number))
        crops: list[tuple[np.ndarray, np.ndarray]] = []
        for name in rng.choice(groups, config.batch_size, p=odds):
            crops.append(_example(by_group[name], config.crop_px, rng))
        spikes = torch.from_numpy(np.stack([input_spikes(pixels) for pixels, _ in crops]))
        spikes[:, unused] = 0
        labels = torch.from_numpy(np.stack([classes for _, classes in crops]).astype(np.int64))
        return spikes.contiguous(memory_format=torch.channels_last), labels

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)  # layers draw their first weights from the global generator only
        network = SpikingSegmenter(folded=False)
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    network.train()
    averaged = AveragedModel(network, multi_avg_fn=_average, use_buffers=True)
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


@torch.no_grad()
def _average(
    means: tuple[Tensor, ...] | list[Tensor], current: tuple[Tensor, ...] | list[Tensor], count: Tensor | int
) -> None:
    """Move the running means on; the first weights, which are drawn, are soon forgotten."""
    kept = min(_LONGEST_MEAN, (1 + int(count)) / (10 + int(count)))
    for mean, value in zip(means, current, strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - kept)


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


def _at_working_size(image: LabelledImage) -> LabelledImage:
    """Halve an image and its labels as often as for use; what is doubled for use, is so by the crops."""
    scale = working_scale(*image.classes.shape)
    if scale >= 1:
        return image
    pixels = at_working_size(image.pixels)
    size = (pixels.shape[1], pixels.shape[0])
    values = np.unique(image.classes)
    shares = [
        np.asarray(Image.fromarray((image.classes == value).astype(np.uint8) * 255).resize(size, Image.Resampling.BOX))
        for value in values
    ]
    return LabelledImage(image.group, pixels, values[np.argmax(shares, axis=0)])


def _example(
    images: Sequence[LabelledImage], side: int, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "side side 3"], UInt8[np.ndarray, "side side"]]:
    """Give a crop of one image, or of four that meet in a point somewhere about its middle, with its look changed."""
    shown = [images[place] for place in rng.integers(len(images), size=4 if rng.random() < _PIECED else 1)]
    crops = [_crop(image, side, rng) for image in shown]
    pixels, classes = (part.copy() for part in crops[0])
    row, column = (int(side * share) for share in rng.uniform(0.3, 0.7, 2))
    quarters = (np.s_[:row, column:], np.s_[row:, :column], np.s_[row:, column:])
    for quarter, (other_pixels, other_classes) in zip(quarters, crops[1:], strict=False):
        pixels[quarter], classes[quarter] = other_pixels[quarter], other_classes[quarter]
    changed = _changed_look(pixels, rng)
    if all(_can_be_cut_out(image) for image in shown) and rng.random() < _CUT_OUT:
        return _cut_out(changed, classes)
    return changed, classes


def _crop(
    image: LabelledImage, side: int, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "side side 3"], UInt8[np.ndarray, "side side"]]:
    """Cut a square out of an image, turned, mirrored and scaled."""
    rows, columns = image.classes.shape
    doubled = max(working_scale(rows, columns), 1.0)
    scale = doubled * math.exp(np.clip(rng.normal(0, 0.28), -0.8, 0.6))
    stretch = math.exp(rng.normal(0, 0.06))
    angle = rng.uniform(-math.pi, math.pi) if rng.random() < 0.5 else 0.0
    mirror = rng.choice((-1, 1))
    row, column = _centre(image.classes, side / scale, rng)
    along, across = math.cos(angle) / scale, math.sin(angle) / scale
    to_source = np.array(
        [
            [along * mirror * stretch, -across / stretch, column + _MARGIN_PX],
            [across * mirror * stretch, along / stretch, row + _MARGIN_PX],
        ]
    )
    to_source[:, 2] -= to_source[:, :2].sum(axis=1) * side / 2
    affine = tuple(to_source.ravel().tolist())
    mode = "reflect" if rng.random() < 0.5 and min(rows, columns) > _MARGIN_PX else "edge"
    margins = ((_MARGIN_PX, _MARGIN_PX), (_MARGIN_PX, _MARGIN_PX))
    pixels = np.pad(image.pixels, (*margins, (0, 0)), mode=mode)
    background = tuple(np.median(image.pixels[::10, ::10].reshape(-1, 3), axis=0).astype(int).tolist())
    crop = Image.fromarray(pixels).transform(
        (side, side), Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC, fillcolor=background
    )
    labels = Image.fromarray(np.pad(image.classes, margins, constant_values=UNKNOWN)).transform(
        (side, side), Image.Transform.AFFINE, affine, Image.Resampling.NEAREST, fillcolor=UNKNOWN
    )
    return np.asarray(crop), np.asarray(labels)


def _can_be_cut_out(image: LabelledImage) -> bool:
    """Tell whether what is no cell is known of every pixel, and there is a nucleus."""
    return not (image.classes >= CELL).any() and bool((image.classes == 2).any())


def _cut_out(
    pixels: UInt8[np.ndarray, "side side 3"], classes: UInt8[np.ndarray, "side side"]
) -> tuple[UInt8[np.ndarray, "side side 3"], UInt8[np.ndarray, "side side"]]:
    """Blacken what is no cell: nobody drew the nuclei of cells on black, so they are learned from others' cells."""
    known = np.where(classes == UNKNOWN, 0, classes).astype(np.uint8)
    return np.where(known[..., None] > 0, pixels, 0).astype(np.uint8), known


def _centre(classes: UInt8[np.ndarray, "rows columns"], side: float, rng: np.random.Generator) -> tuple[float, float]:
    """Draw the centre of a crop of `side` source pixels: near a cell, three times in four."""
    rows, columns = np.nonzero((classes > 0) & (classes != UNKNOWN))
    if len(rows) and rng.random() < 0.75:
        place = rng.integers(len(rows))
        spread = side / 8
        centre = (rows[place] + rng.normal(0, spread), columns[place] + rng.normal(0, spread))
    else:
        centre = (rng.uniform(0, classes.shape[0]), rng.uniform(0, classes.shape[1]))

    def inside(value: float, length: int) -> float:
        return length / 2 if length <= side else min(max(value, side / 2), length - side / 2)

    return inside(centre[0], classes.shape[0]), inside(centre[1], classes.shape[1])


def _changed_look(
    pixels: UInt8[np.ndarray, "side side 3"], rng: np.random.Generator
) -> UInt8[np.ndarray, "side side 3"]:
    """Change focus, exposure, colour, noise and compression, each now and then; leave one image in four as it is."""
    if rng.random() < 0.25:
        return pixels
    look = pixels.astype(np.float32) / 255
    if rng.random() < 0.35:
        blur = rng.uniform(0.3, 1.8)
        look = gaussian_filter(look, (blur, blur, 0))
    if rng.random() < 0.6:
        look = np.clip(look, 1e-4, 1) ** math.exp(rng.uniform(-0.45, 0.45))
    if rng.random() < 0.6:
        look = look * rng.uniform(0.7, 1.3)
    if rng.random() < 0.5:
        look = look @ _hue_rotation(rng.uniform(-18, 18)).T
    if rng.random() < 0.4:
        grey = look.mean(axis=2, keepdims=True)
        look = grey + (look - grey) * rng.uniform(0.5, 1.5)
    if rng.random() < 0.4:
        look = look * rng.uniform(0.88, 1.12, 3)
    if rng.random() < 0.3:
        look = look + rng.normal(0, rng.uniform(0.005, 0.04), look.shape)
    changed = (np.clip(look, 0, 1) * 255 + 0.5).astype(np.uint8)
    if rng.random() < 0.3:
        file = io.BytesIO()
        Image.fromarray(changed).save(file, "JPEG", quality=int(rng.integers(30, 90)))
        changed = np.asarray(Image.open(file))
    return changed


def _hue_rotation(degrees: float) -> Float[np.ndarray, "3 3"]:
    """Turn colours about the grey axis."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    mean, swap = (1 - cosine) / 3, sine / math.sqrt(3)
    return np.array(
        [
            [cosine + mean, mean - swap, mean + swap],
            [mean + swap, cosine + mean, mean - swap],
            [mean - swap, mean + swap, cosine + mean],
        ],
        np.float32,
    )
