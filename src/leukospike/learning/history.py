"""What is noted of a training, epoch by epoch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch did; validation figures are None where there are no validation cells or one class only."""

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    val_auc: float | None
    learning_rate: float
