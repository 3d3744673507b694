"""Fit one network on one fold: Adam, cross-entropy, a learning rate that falls when validation stops improving."""

import signal
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from lightning import LightningModule, Trainer
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC

from leukospike.errors import ConfigError, WeightsError
from leukospike.jobs import Progress, silent
from leukospike.learning.history import EpochRecord
from leukospike.original.components import FittedComponents
from leukospike.original.network import ResidualNetwork
from leukospike.storage.checkpoints import Checkpoint, read_checkpoint, write_checkpoint


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a network is trained; the defaults are the original's."""

    epochs: int = 10
    """Passes over the training images."""
    batch_size: int = 32
    learning_rate: float = 1e-3
    """Adam's, at the start."""
    hidden_units: int | None = None
    """Width of the hidden layer of one published variant; None: no such layer."""
    seed: int = 0
    """Of the initial weights and of the order of the images."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        for name, low in (("epochs", 1), ("batch_size", 2), ("learning_rate", 1e-12), ("hidden_units", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and not value >= low:
                msg = f"TrainingConfig: {name} must be at least {low:g}, got {value}. Change it."
                raise ConfigError(msg)


PLATEAU_EPOCHS = 5
PLATEAU_FACTOR = 0.3
SMALLEST_LEARNING_RATE = 1e-6


@dataclass(frozen=True)
class ProjectedCells:
    """Cells as coordinates in a basis of principal components: 500 numbers in place of 10,000 pixels."""

    coordinates: Float[np.ndarray, "n components"]
    labels: Int[np.ndarray, " n"]
    """1 leukemic, 0 normal."""


@dataclass(frozen=True)
class Training:
    """A trained network and how it came about."""

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
    accelerator: str = "auto",
) -> Training:
    """Train a network on images rebuilt from their components.

    Parameters
    ----------
    train, validation : ProjectedCells
        The weights follow `train`; the learning rate is multiplied by 0.3 after 5 epochs without a better accuracy on
        `validation`, not below 1e-6. With no validation cells it stays.
    components : FittedComponents
        Rebuilds the square images, batch by batch.
    config : TrainingConfig
    checkpoint : Path or None
        Where the state is kept after each epoch (safetensors). If the file exists, training goes on from it and ends
        with the same weights as without the interruption.
    progress : Progress
        Told after each batch.
    accelerator : str
        Lightning's name of the device: "auto", "cpu", "gpu".

    Returns
    -------
    Training
        With the weights after the last epoch, as the original has it.

    Raises
    ------
    WeightsError
        If the loss is no longer finite, or `checkpoint` does not fit this training.
    """
    side = round(len(components.mean) ** 0.5)
    generator = torch.Generator().manual_seed(config.seed)
    network = ResidualNetwork(image_size=side, hidden_units=config.hidden_units, generator=generator)
    module = _Classifier(network, train, validation, components, config, checkpoint, progress)
    remaining = config.epochs - len(module.history)
    if remaining > 0:
        trainer = Trainer(
            accelerator=accelerator,
            devices=1,
            max_epochs=remaining,
            num_sanity_val_steps=0,
            reload_dataloaders_every_n_epochs=1,
            limit_val_batches=0 if len(validation.labels) == 0 else None,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        on_interrupt = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(module)
        except SystemExit as stop:
            # Lightning turns an interruption into an exit, and then is deaf to the next.
            signal.signal(signal.SIGINT, on_interrupt or signal.SIG_DFL)
            raise KeyboardInterrupt from stop
    return Training(network.cpu().eval(), tuple(module.history))


class _Batches(IterableDataset[tuple[Tensor, Tensor]]):
    """Rebuilt images with their labels, batch by batch, in a given order."""

    def __init__(self, cells: ProjectedCells, components: FittedComponents, order: np.ndarray, size: int) -> None:
        self._cells, self._components, self._order, self._size = cells, components, order, size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for first in range(0, len(self._order), self._size):
            places = self._order[first : first + self._size]
            images = self._components.reconstruct(self._cells.coordinates[places])
            yield torch.from_numpy(images[:, None]), torch.from_numpy(self._cells.labels[places])


class _Classifier(LightningModule):
    """What Lightning needs to know of a training, and its state between epochs."""

    def __init__(
        self,
        network: ResidualNetwork,
        train: ProjectedCells,
        validation: ProjectedCells,
        components: FittedComponents,
        config: TrainingConfig,
        checkpoint: Path | None,
        progress: Progress,
    ) -> None:
        super().__init__()
        self.network = network
        self._cells, self._validation, self._components = train, validation, components
        self._config, self._checkpoint, self._progress = config, checkpoint, progress
        self.history: list[EpochRecord] = []
        self._resumed: Checkpoint | None = None
        self._train_accuracy, self._val_accuracy, self._val_auc = BinaryAccuracy(), BinaryAccuracy(), BinaryAUROC()
        self._train_loss, self._val_loss = 0.0, 0.0
        if checkpoint is not None and checkpoint.exists():
            self._restore(checkpoint)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make the optimiser and the schedule, in the state of the checkpoint if there is one."""
        self._adam = torch.optim.Adam(self.network.parameters(), lr=self._config.learning_rate)
        self._plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self._adam,
            mode="max",
            factor=PLATEAU_FACTOR,
            patience=PLATEAU_EPOCHS - 1,  # of these torch takes no notice; it acts after one more
            min_lr=SMALLEST_LEARNING_RATE,
        )
        if self._resumed is not None:
            self._resumed.restore_moments(self._adam)
            plateau = self._resumed.state["plateau"]
            for group in self._adam.param_groups:
                group["lr"] = plateau["lr"]
            self._plateau.best = plateau["best"]
            self._plateau.num_bad_epochs = int(plateau["num_bad_epochs"])
        return self._adam

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Shuffle anew for each epoch, by seed and epoch alone, so that a resumed run sees the same order."""
        epoch = len(self.history)
        order = np.random.default_rng((self._config.seed, epoch)).permutation(len(self._cells.labels))
        return self._loader(self._cells, order)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Give the validation images in their order."""
        return self._loader(self._validation, np.arange(len(self._validation.labels)))

    def _loader(self, cells: ProjectedCells, order: np.ndarray) -> DataLoader[tuple[Tensor, Tensor]]:
        """Wrap batches for Lightning; they come ready made, so that there is nothing to collate."""
        return DataLoader(_Batches(cells, self._components, order, self._config.batch_size), batch_size=None)

    def on_train_epoch_start(self) -> None:
        """Forget the last epoch's sums."""
        self._train_loss, self._val_loss = 0.0, 0.0
        for metric in (self._train_accuracy, self._val_accuracy, self._val_auc):
            metric.reset()

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        """Give the loss of one batch."""
        images, labels = batch
        logits = self.network(images)
        loss = functional.cross_entropy(logits, labels)
        self._train_loss += float(loss.detach()) * len(labels)
        self._train_accuracy.update(logits.detach().argmax(1), labels)
        n_batches = -(-len(self._cells.labels) // self._config.batch_size)
        epoch = len(self.history)
        self._progress("train", epoch * n_batches + index + 1, self._config.epochs * n_batches)
        return loss

    def validation_step(self, batch: list[Tensor]) -> None:
        """Add one batch to the validation figures."""
        images, labels = batch
        logits = self.network(images)
        self._val_loss += float(functional.cross_entropy(logits, labels)) * len(labels)
        self._val_accuracy.update(logits.argmax(1), labels)
        self._val_auc.update(logits.softmax(1)[:, 1], labels)

    def on_train_epoch_end(self) -> None:
        """Note the epoch, let the learning rate follow, and keep the state."""
        n_validation = len(self._validation.labels)
        both_classes = len(np.unique(self._validation.labels)) == 2
        record = EpochRecord(
            epoch=len(self.history) + 1,
            train_loss=self._train_loss / len(self._cells.labels),
            train_accuracy=float(self._train_accuracy.compute()),
            val_loss=self._val_loss / n_validation if n_validation else None,
            val_accuracy=float(self._val_accuracy.compute()) if n_validation else None,
            val_auc=float(self._val_auc.compute()) if both_classes else None,
            learning_rate=self._adam.param_groups[0]["lr"],
        )
        if not np.isfinite(record.train_loss):
            msg = (
                f"train_network: loss must be finite, got {record.train_loss} in epoch {record.epoch}."
                " Lower the learning rate."
            )
            raise WeightsError(msg)
        self.history.append(record)
        if record.val_accuracy is not None:
            self._plateau.step(record.val_accuracy)
        if self._checkpoint is not None:
            self._keep(self._checkpoint)

    def _keep(self, path: Path) -> None:
        """Write weights, Adam's moments, the schedule and the history to one file."""
        state = {
            "config": asdict(self._config),
            "history": [asdict(record) for record in self.history],
            "plateau": {
                "lr": self._adam.param_groups[0]["lr"],
                "best": float(self._plateau.best),
                "num_bad_epochs": self._plateau.num_bad_epochs,
            },
        }
        write_checkpoint(path, {"network": self.network}, self._adam, state)

    def _restore(self, path: Path) -> None:
        """Take up the state that `_keep` wrote."""
        kept = read_checkpoint(path, asdict(self._config), where="train_network")
        try:
            self.network.load_state_dict(kept.weights("network"))
        except RuntimeError as error:
            msg = f"train_network: checkpoint must be of the same size of image, got {path.name} of another. Remove it."
            raise WeightsError(msg) from error
        self._resumed = kept
        self.history = [EpochRecord(**record) for record in kept.state["history"]]
