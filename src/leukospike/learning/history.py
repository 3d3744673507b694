"""The record of a training, epoch by epoch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EpochRecord:
    """Figures of one epoch; those of validation are None without validation cells or with only one class."""

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    val_auc: float | None
    learning_rate: float
