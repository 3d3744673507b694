"""Fit one network on one fold with Adam, cross-entropy, and a learning rate that falls when validation stalls."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics.functional.classification import binary_auroc

from leukospike.errors import ConfigError, WeightsError
from leukospike.jobs import Progress, silent
from leukospike.learning.history import EpochRecord
from leukospike.original.components import FittedComponents
from leukospike.original.network import ResidualNetwork
from leukospike.storage.checkpoints import read_checkpoint, write_checkpoint


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a network is trained; the defaults are those of the original."""

    epochs: int = 10
    """Passes over the training images."""
    batch_size: int = 32
    learning_rate: float = 1e-3
    """Initial learning rate of Adam."""
    hidden_units: int | None = None
    """Width of the hidden layer of one published variant; None for no such layer."""
    seed: int = 0
    """Seed of the initial weights and of the order of the images."""

    def __post_init__(self) -> None:
        """Raise an error for impossible values."""
        for name, low in (("epochs", 1), ("batch_size", 2), ("learning_rate", 1e-12), ("hidden_units", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and not value >= low:
                rule = f"{name} must be at least {low:g}"
                raise ConfigError(rule, where="TrainingConfig", got=value, advice="Use a larger value.")


PLATEAU_EPOCHS = 5
PLATEAU_FACTOR = 0.3
SMALLEST_LEARNING_RATE = 1e-6


@dataclass(frozen=True)
class ProjectedCells:
    """Cells as coordinates in a basis of principal components: 500 numbers instead of 10,000 pixels."""

    coordinates: Float[np.ndarray, "n components"]
    labels: Int[np.ndarray, " n"]
    """1 leukemic, 0 normal."""


@dataclass(frozen=True)
class Training:
    """A trained network and the history of its training."""

    network: ResidualNetwork
    history: tuple[EpochRecord, ...]


def train_network(
    train: ProjectedCells,
    validation: ProjectedCells,
    components: FittedComponents,
    config: TrainingConfig,
    *,
    checkpoint: Path | None = None,
    progress: Progress = silent,
    device: torch.device | None = None,
) -> Training:
    """Train a network on images rebuilt from their components.

    Parameters
    ----------
    train, validation : ProjectedCells
        The weights are fitted to `train`. The learning rate is multiplied by 0.3 after 5 epochs without a better
        accuracy on `validation`, down to 1e-6; without validation cells it is constant.
    components : FittedComponents
        Rebuilds the square images, batch by batch.
    config : TrainingConfig
    checkpoint : Path or None
        File in which the state is kept after each epoch (safetensors). If it exists, training continues from it and
        ends with the same weights as without the interruption.
    progress : Progress
        Called after each batch.
    device : torch.device or None
        Device to train on; None for a GPU if there is one.

    Returns
    -------
    Training
        With the weights after the last epoch, as in the original.

    Raises
    ------
    WeightsError
        If the loss is no longer finite, or `checkpoint` does not belong to this training.
    """
    if device is None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    state = _State.begun(config, components, checkpoint, device)
    n_batches = -(-len(train.labels) // config.batch_size)

    def told(batch: int) -> None:
        progress("train", len(state.history) * n_batches + batch, config.epochs * n_batches)

    while (epoch := len(state.history)) < config.epochs:
        # From seed and epoch alone, so that a resumed run has the same order.
        order = np.random.default_rng((config.seed, epoch)).permutation(len(train.labels))
        loss, accuracy = _learn(state, _batches(train, components, order, config.batch_size, device), told)
        if not np.isfinite(loss):
            rule, got = "loss must be finite", f"{loss} in epoch {epoch + 1}"
            raise WeightsError(rule, where="train_network", got=got, advice="Lower the learning rate.")
        in_order = np.arange(len(validation.labels))
        val = _validate(state.network, _batches(validation, components, in_order, config.batch_size, device))
        rate = state.adam.param_groups[0]["lr"]
        state.history.append(EpochRecord(epoch + 1, loss, accuracy, val.loss, val.accuracy, val.auc, rate))
        if val.accuracy is not None:
            state.plateau.step(val.accuracy)
        if checkpoint is not None:
            state.keep(checkpoint, config)
    return Training(state.network.cpu().eval(), tuple(state.history))


@dataclass(frozen=True)
class _State:
    """The state that a training changes, and resumes from after an interruption."""

    network: ResidualNetwork
    adam: torch.optim.Adam
    plateau: ReduceLROnPlateau
    history: list[EpochRecord]

    @classmethod
    def begun(
        cls, config: TrainingConfig, components: FittedComponents, checkpoint: Path | None, device: torch.device
    ) -> "_State":
        """Return the state at the start, or that of the checkpoint if there is one."""
        network = ResidualNetwork(
            image_size=round(len(components.mean) ** 0.5),
            hidden_units=config.hidden_units,
            generator=torch.Generator().manual_seed(config.seed),
        ).to(device)
        adam = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
        plateau = ReduceLROnPlateau(
            adam,
            mode="max",
            factor=PLATEAU_FACTOR,
            patience=PLATEAU_EPOCHS - 1,  # torch ignores this many epochs and acts after one more
            min_lr=SMALLEST_LEARNING_RATE,
        )
        if checkpoint is None or not checkpoint.exists():
            return cls(network, adam, plateau, [])
        kept = read_checkpoint(checkpoint, asdict(config), where="train_network")
        try:
            network.load_state_dict(kept.weights("network"))
        except RuntimeError as error:
            rule, got = "checkpoint must be for the same image size", f"{checkpoint.name} for another"
            raise WeightsError(rule, where="train_network", got=got, advice="Remove it.") from error
        kept.restore_moments(adam)
        for group in adam.param_groups:
            group["lr"] = kept.state["plateau"]["lr"]
        plateau.best = kept.state["plateau"]["best"]
        plateau.num_bad_epochs = int(kept.state["plateau"]["num_bad_epochs"])
        return cls(network, adam, plateau, [EpochRecord(**record) for record in kept.state["history"]])

    def keep(self, path: Path, config: TrainingConfig) -> None:
        """Write weights, Adam's moments, the schedule and the history to one file."""
        state = {
            "config": asdict(config),
            "history": [asdict(record) for record in self.history],
            "plateau": {
                "lr": self.adam.param_groups[0]["lr"],
                "best": float(self.plateau.best),
                "num_bad_epochs": self.plateau.num_bad_epochs,
            },
        }
        write_checkpoint(path, {"network": self.network}, self.adam, state)


class _Validation(NamedTuple):
    """Figures on the validation cells; None if there are no cells, or only one class."""

    loss: float | None
    accuracy: float | None
    auc: float | None


def _batches(
    cells: ProjectedCells, components: FittedComponents, order: np.ndarray, size: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield rebuilt images with their labels, batch by batch, in the given order."""
    for first in range(0, len(order), size):
        places = order[first : first + size]
        images = components.reconstruct(cells.coordinates[places])
        yield torch.from_numpy(images[:, None]).to(device), torch.from_numpy(cells.labels[places]).to(device)


def _learn(state: _State, batches: Iterator[tuple[Tensor, Tensor]], told: Callable[[int], None]) -> tuple[float, float]:
    """Update the weights with each batch in turn; return the mean loss and the accuracy during the updates."""
    state.network.train()
    total, right, n = 0.0, 0, 0
    for number, (images, labels) in enumerate(batches, start=1):
        logits = state.network(images)
        loss = functional.cross_entropy(logits, labels)
        state.adam.zero_grad()
        loss.backward()
        state.adam.step()
        total += float(loss.detach()) * len(labels)
        right += int((logits.detach().argmax(1) == labels).sum())
        n += len(labels)
        told(number)
    return total / n, _share(right, n)


@torch.inference_mode()
def _validate(network: ResidualNetwork, batches: Iterator[tuple[Tensor, Tensor]]) -> _Validation:
    """Evaluate the network on cells that it does not learn from."""
    network.eval()
    total, right = 0.0, 0
    probabilities: list[Tensor] = []
    truths: list[Tensor] = []
    for images, labels in batches:
        logits = network(images)
        total += float(functional.cross_entropy(logits, labels)) * len(labels)
        right += int((logits.argmax(1) == labels).sum())
        probabilities.append(logits.softmax(1)[:, 1])
        truths.append(labels)
    if not truths:
        return _Validation(None, None, None)
    labels = torch.cat(truths)
    both = len(labels.unique()) == 2
    auc = float(binary_auroc(torch.cat(probabilities), labels)) if both else None
    return _Validation(total / len(labels), _share(right, len(labels)), auc)


def _share(right: int, n: int) -> float:
    """Return a share rounded to float32, as histories have always stored it."""
    return float(np.float32(right) / np.float32(n))
