"""Training of the classifier: balanced sampling of classes and subjects, augmentation, averaged weights."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from leukospike.classification.augmentation import augmented
from leukospike.classification.cells import LabelledCells, drawing_odds
from leukospike.classification.network import CellNetwork, Input, colours_of
from leukospike.classification.timm_network import TimmNetwork
from leukospike.errors import ConfigError, WeightsError
from leukospike.jobs import Progress, silent
from leukospike.learning.averaging import running_mean
from leukospike.learning.chance import drawing_from
from leukospike.learning.history import EpochRecord
from leukospike.storage.checkpoints import read_checkpoint, write_checkpoint

_RISING = 50  # steps in which the learning rate rises, where there are ten times as many
_LONGEST_MEAN = 0.998  # share of themselves that running means of the weights keep at the most
_SMOOTHING = 0.05  # of the labels: one cell in so many may be of the other kind, in leukemic subjects above all


@dataclass(frozen=True, kw_only=True)
class ClassifierTraining:
    """Training settings."""

    epochs: int = 8
    """As many cells are drawn in one as there are."""
    batch_size: int = 64
    learning_rate: float = 0.002
    """AdamW's highest; it rises over 50 steps and falls to 0 along a cosine."""
    seed: int = 0
    inputs: tuple[Input, ...] = (Input.COLOUR,)
    augmentation: float = 2.0
    """How much stain and light are changed; 0 leaves them."""
    timm: str | None = None
    """Name of a network of the library timm that is trained instead of `CellNetwork`."""
    pretrained: bool = False
    """Whether it starts from the pretrained weights of the library."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        limits = {"epochs": 1, "batch_size": 2, "learning_rate": 1e-12, "seed": 0, "augmentation": 0}
        for name, low in limits.items():
            if not getattr(self, name) >= low:
                rule = f"{name} must be at least {low:g}"
                raise ConfigError(rule, where="ClassifierTraining", got=getattr(self, name), advice="Raise it.")


@dataclass(frozen=True)
class TrainedClassifier:
    """A trained network, in evaluation mode, with its history."""

    network: CellNetwork | TimmNetwork
    history: tuple[EpochRecord, ...]
    """Without validation; loss and accuracy are of the cells as they were drawn and changed."""


def train_classifier(
    cells: LabelledCells,
    config: ClassifierTraining,
    *,
    checkpoint: Path | None = None,
    progress: Progress = silent,
) -> TrainedClassifier:
    """Train one network.

    Cross-entropy on smoothed labels; AdamW, weight decay 0.05; convolutions in bfloat16. On a GPU where there is one.

    Parameters
    ----------
    cells : LabelledCells
        All are used for training; there is no validation.
    config : ClassifierTraining
    checkpoint : Path or None
        File for the state after each epoch (safetensors). If it exists, training continues from it.
    progress : Progress
        Called after each batch.

    Returns
    -------
    TrainedClassifier

    Raises
    ------
    ConfigError
        If timm is asked for and is not there, knows no such network, or has no weights for it.
    DataError
        If the cells are of one class.
    WeightsError
        If the loss is no longer finite, or `checkpoint` is of other settings.
    """
    cells.require_both_classes("train_classifier")
    resumed = checkpoint is not None and checkpoint.exists()
    with drawing_from(torch.Generator().manual_seed(config.seed)):
        network = _new(config, pretrained=config.pretrained and not resumed)
    return _trained(network, cells, config, checkpoint, progress)


def _trained(
    network: CellNetwork | TimmNetwork,
    cells: LabelledCells,
    config: ClassifierTraining,
    checkpoint: Path | None,
    progress: Progress,
) -> TrainedClassifier:
    """Run the remaining epochs."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device)
    averaged = AveragedModel(network, multi_avg_fn=running_mean(_LONGEST_MEAN), use_buffers=True)
    adam = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=0.05)
    n_steps = -(-len(cells.labels) // config.batch_size)
    total = config.epochs * n_steps
    history: list[EpochRecord] = []
    if checkpoint is not None and checkpoint.exists():
        kept = read_checkpoint(checkpoint, asdict(config), where="train_classifier")
        network.load_state_dict(kept.weights("network"))
        averaged.load_state_dict(kept.weights("averaged"))
        kept.restore_moments(adam)
        history = [EpochRecord(**record) for record in kept.state["history"]]
    odds = drawing_odds(cells, balanced=True)
    for epoch in range(len(history), config.epochs):
        # Depends only on seed and epoch, so that a resumed training sees the same cells.
        rng = np.random.default_rng((config.seed, epoch))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        left_out = torch.Generator(device).manual_seed(int(rng.integers(2**62)))
        network.train()
        losses, right = 0.0, 0
        for step in range(n_steps):
            for group in adam.param_groups:
                group["lr"] = config.learning_rate * _rate(epoch * n_steps + step, total)
            places = rng.choice(len(odds), config.batch_size, p=odds)
            colours = colours_of(torch.from_numpy(cells.crops[np.sort(places)]))
            colours = augmented(colours, strength=config.augmentation, generator=generator).to(device)
            with torch.autocast(device.type, dtype=torch.bfloat16), drawing_from(left_out):
                logits = network(colours)
            labels = torch.from_numpy(cells.labels[np.sort(places)]).to(device)
            loss = functional.cross_entropy(logits.float(), labels, label_smoothing=_SMOOTHING)
            network.zero_grad()
            loss.backward()
            adam.step()
            averaged.update_parameters(network)
            losses += float(loss.detach())
            right += int((logits.argmax(1) == labels).sum())
            progress("train", epoch * n_steps + step + 1, total)
        if not math.isfinite(losses):
            rule, got = "loss must be finite", f"{losses} in epoch {epoch + 1}"
            raise WeightsError(rule, where="train_classifier", got=got, advice="Lower the learning rate.")
        history.append(_record(epoch + 1, losses / n_steps, right / (n_steps * config.batch_size), config, n_steps))
        if checkpoint is not None:
            state = {"config": asdict(config), "history": [asdict(record) for record in history]}
            write_checkpoint(checkpoint, {"network": network, "averaged": averaged}, adam, state)
    trained = averaged.module
    if not isinstance(trained, CellNetwork | TimmNetwork):
        raise TypeError(type(trained))
    return TrainedClassifier(trained.cpu().eval().requires_grad_(requires_grad=False), tuple(history))


def _new(config: ClassifierTraining, *, pretrained: bool) -> CellNetwork | TimmNetwork:
    """Create the network."""
    if config.timm is None:
        return CellNetwork(inputs=config.inputs)
    return TimmNetwork(config.timm, pretrained=pretrained)


def _record(epoch: int, loss: float, accuracy: float, config: ClassifierTraining, n_steps: int) -> EpochRecord:
    """Record an epoch, with the learning rate at its middle."""
    rate = config.learning_rate * _rate(epoch * n_steps - n_steps // 2, config.epochs * n_steps)
    return EpochRecord(epoch, loss, accuracy, None, None, None, rate)


def _rate(step: int, total: int) -> float:
    """Compute the learning rate at a step, as a share of the highest."""
    return min((step + 1) / min(_RISING, max(total / 10, 1)), 1) * 0.5 * (1 + math.cos(math.pi * step / total))
