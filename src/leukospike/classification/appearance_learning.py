"""Training of the shipped classifier: seconds per network, since the features of a cell are computed once."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch.nn import functional
from torch.optim.lr_scheduler import CosineAnnealingLR

from leukospike.classification.appearance import APPEARANCES, appearance_of
from leukospike.classification.appearance_network import AppearanceNetwork
from leukospike.classification.cells import LabelledCells, drawing_odds
from leukospike.classification.network import colours_of
from leukospike.errors import ConfigError, WeightsError
from leukospike.jobs import Progress, silent
from leukospike.learning.chance import drawing_from
from leukospike.side_by_side import one_core_each

_BATCH = 16  # measured, twice as fast as 128: what is computed of so many stays in the cache
_AROUND = 4  # black pixels around a cell that `appearance_of` looks at
_SMOOTHING = 0.05  # smoothing of the labels: a few cells of a leukemic subject are normal


@dataclass(frozen=True, kw_only=True)
class AppearanceTraining:
    """How the networks are trained."""

    epochs: int = 16
    """Each epoch draws as many cells as there are."""
    batch_size: int = 64
    learning_rate: float = 0.003
    """Maximum for AdamW; falls to 0 along a cosine."""
    weight_decay: float = 0.05
    networks: int = 3
    """Number of networks, trained separately from different initial weights and in different order; their mean
    decides."""
    balanced: bool = True
    """Whether classes, and partly subjects, are sampled equally."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        limits = {"epochs": 1, "batch_size": 2, "learning_rate": 1e-12, "weight_decay": 0, "networks": 1, "seed": 0}
        for name, low in limits.items():
            if not getattr(self, name) >= low:
                rule = f"{name} must be at least {low:g}"
                raise ConfigError(rule, where="AppearanceTraining", got=getattr(self, name), advice="Raise it.")


def train_appearance(
    cells: LabelledCells,
    config: AppearanceTraining,
    *,
    known: Float[np.ndarray, "n appearances"] | None = None,
    progress: Progress = silent,
) -> tuple[AppearanceNetwork, ...]:
    """Train networks on the appearance of cells.

    Measures are standardised over the training cells. Cross-entropy on smoothed labels, AdamW. Cells are not augmented:
    on C-NMC this costs more than it gains, since colour is informative.

    Parameters
    ----------
    cells : LabelledCells
        Everything is fitted on these only.
    config : AppearanceTraining
    known : ndarray of shape (n, appearances), float32, optional
        Features of the cells, if already computed.
    progress : Progress
        Called after each epoch.

    Returns
    -------
    tuple of AppearanceNetwork
        In evaluation mode.

    Raises
    ------
    DataError
        If the cells are of one class.
    WeightsError
        If the loss is no longer finite.
    """
    cells.require_both_classes("train_appearance")
    measures = torch.from_numpy(appearances(cells.crops) if known is None else known)
    mean, spread = measures.mean(dim=0), measures.std(dim=0).clamp(min=1e-6)
    standardised, labels = (measures - mean) / spread, torch.from_numpy(cells.labels)
    odds = drawing_odds(cells, balanced=config.balanced)
    n_steps = -(-len(odds) // config.batch_size)
    networks: list[AppearanceNetwork] = []
    for number in range(config.networks):
        rng = np.random.default_rng((config.seed, number))
        chance = drawing_from(torch.Generator().manual_seed(int(rng.integers(2**62))))
        with chance:
            network = AppearanceNetwork()
        network.mean, network.spread = mean.clone(), spread.clone()
        adam = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        rate = CosineAnnealingLR(adam, config.epochs * n_steps)
        for epoch in range(config.epochs):
            for places in rng.choice(len(odds), (n_steps, config.batch_size), p=odds):
                with chance:
                    hidden = network.hidden(standardised[places])
                logits = network.decision(hidden)
                loss = functional.cross_entropy(logits, labels[places], label_smoothing=_SMOOTHING)
                adam.zero_grad()
                loss.backward()
                adam.step()
                rate.step()
            progress("train networks", number * config.epochs + epoch + 1, config.networks * config.epochs)
        if not all(bool(torch.isfinite(weight).all()) for weight in network.parameters()):
            rule, got = "weights must stay finite", "some that are not"
            raise WeightsError(rule, where="train_appearance", got=got, advice="Lower the learning rate.")
        networks.append(network.eval().requires_grad_(requires_grad=False))
    return tuple(networks)


def appearances(crops: UInt8[np.ndarray, "n rows columns 3"]) -> Float[np.ndarray, "n appearances"]:
    """Compute `appearance_of` up to rounding, using only the part of each crop that holds the cell."""
    sides = _sides(crops)
    found = np.empty((len(crops), APPEARANCES), np.float32)
    batches: list[tuple[int, Int64[np.ndarray, " batch"]]] = []
    for side in np.unique(sides).tolist():
        places = np.flatnonzero(sides == side)
        batches += [(side, places[at : at + _BATCH]) for at in range(0, len(places), _BATCH)]

    @torch.inference_mode()
    def measure(batch: tuple[int, Int64[np.ndarray, " batch"]]) -> None:
        side, places = batch
        top, left = (max((length - side) // 2, 0) for length in crops.shape[1:3])
        middles = crops[places, top : top + side, left : left + side]
        found[places] = appearance_of(colours_of(torch.from_numpy(middles))).numpy()

    with one_core_each() as pool:
        for _ in pool.map(measure, batches):
            pass
    return found


def _sides(crops: UInt8[np.ndarray, "n rows columns 3"]) -> Int64[np.ndarray, " n"]:
    """Return the side of the square in the middle of each crop that holds all there is, with black around it.

    It is a multiple of 8 less than the crop's, so that crops of one side can be computed together and rows and columns
    are taken by twos as those of the whole crop; or the crop's own.
    """
    seen = (crops[..., 0] | crops[..., 1] | crops[..., 2]) > 0  # measured, ten times as fast as the maximum
    reach = np.zeros(len(crops), np.int64)
    for axis in (1, 2):
        length = crops.shape[3 - axis]
        from_middle = np.abs(np.arange(length) - (length - 1) / 2) + 0.5
        reach = np.maximum(reach, (seen.any(axis=axis) * np.ceil(from_middle).astype(np.int64)).max(axis=1))
    longest = max(crops.shape[1:3])
    least = longest % 8 + 8
    return np.minimum(longest, least + -(-(2 * (reach + _AROUND) - least).clip(0) // 8) * 8)
