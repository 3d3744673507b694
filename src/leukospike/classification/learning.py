"""Train the classifier: cells drawn so that classes and subjects weigh alike, changed in look, weights averaged."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from leukospike.averaging import running_mean
from leukospike.classification.augmentation import augmented
from leukospike.classification.cells import LabelledCells, drawing_odds
from leukospike.classification.network import CellNetwork, Input, Norm, colours_of
from leukospike.errors import ConfigError, WeightsError
from leukospike.files import written_whole
from leukospike.progress import Progress, silent

_RISING = 50  # steps in which the learning rate rises
_LONGEST_MEAN = 0.998  # share of themselves that running means of the weights keep at the most
_SMOOTHING = 0.05  # of the labels: one cell in so many may be of the other kind, in leukemic subjects above all


@dataclass(frozen=True, kw_only=True)
class ClassifierTraining:
    """How the classifier is trained; all but the first four are there to be left out one by one."""

    epochs: int = 8
    """As many cells are drawn in one as there are."""
    batch_size: int = 64
    learning_rate: float = 0.002
    """AdamW's highest; it rises over 50 steps and falls to 0 along a cosine."""
    seed: int = 0
    inputs: tuple[Input, ...] = (Input.COLOUR,)
    norm: Norm = Norm.BATCH
    augmentation: float = 2.0
    """How much stain and light are changed; 0 leaves them."""
    balanced: bool = True
    """True: classes are drawn alike, and within each its subjects. False: cells are."""
    averaged: bool = True
    """Whether the network is the running mean of the weights."""
    excitation: bool = False
    """Whether blocks weigh their channels."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        limits = {
            "epochs": 1,
            "batch_size": 2,
            "learning_rate": 1e-12,
            "seed": 0,
            "augmentation": 0,
            "risk_variance": 0,
        }
        for name, low in limits.items():
            if not getattr(self, name) >= low:
                msg = f"ClassifierTraining: {name} must be at least {low:g}, got {getattr(self, name)}. Raise it."
                raise ConfigError(msg)


def train_classifier(
    cells: LabelledCells,
    config: ClassifierTraining,
    *,
    start: CellNetwork | None = None,
    checkpoint: Path | None = None,
    progress: Progress = silent,
) -> CellNetwork:
    """Train one network.

    Cross-entropy on smoothed labels; AdamW, weight decay 0.05; convolutions in bfloat16.

    Parameters
    ----------
    cells : LabelledCells
        Nothing is validated on: these are all that the network learns from.
    config : ClassifierTraining
    start : CellNetwork or None
        Whose weights to start from, of the same settings (`pretraining`); None: from such as are drawn by the seed.
    checkpoint : Path or None
        Where the state is kept after each epoch (safetensors). If the file exists, training goes on from it.
    progress : Progress
        Told after each batch.

    Returns
    -------
    CellNetwork
        In evaluation mode.

    Raises
    ------
    DataError
        If the cells are of one class.
    WeightsError
        If the loss is no longer finite, or `checkpoint` is of other settings.
    """
    cells.require_both_classes("train_classifier")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)  # layers and dropout draw from the global generator only
        network = CellNetwork(inputs=config.inputs, norm=config.norm, excitation=config.excitation)
        if start is not None:
            network.load_state_dict(start.state_dict())
        return _trained(network, cells, config, checkpoint, progress)


def _trained(
    network: CellNetwork,
    cells: LabelledCells,
    config: ClassifierTraining,
    checkpoint: Path | None,
    progress: Progress,
) -> CellNetwork:
    """Do all epochs that the checkpoint has not."""
    averaged = AveragedModel(network, multi_avg_fn=running_mean(_LONGEST_MEAN), use_buffers=True)
    adam = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=0.05)
    n_steps = -(-len(cells.labels) // config.batch_size)
    total = config.epochs * n_steps
    done = 0
    if checkpoint is not None and checkpoint.exists():
        done = _restore(checkpoint, config, network, averaged, adam)
    odds = drawing_odds(cells, balanced=config.balanced)
    for epoch in range(done, config.epochs):
        # By seed and epoch alone, so that a resumed training sees the same cells.
        rng = np.random.default_rng((config.seed, epoch))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        torch.manual_seed(int(rng.integers(2**62)))
        network.train()
        loss = torch.zeros(())
        for step in range(n_steps):
            for group in adam.param_groups:
                group["lr"] = config.learning_rate * _rate(epoch * n_steps + step, total)
            places = rng.choice(len(odds), config.batch_size, p=odds)
            colours = colours_of(torch.from_numpy(cells.crops[np.sort(places)]))
            colours = augmented(colours, strength=config.augmentation, generator=generator)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = network(colours)
            labels = torch.from_numpy(cells.labels[np.sort(places)])
            loss = functional.cross_entropy(logits.float(), labels, label_smoothing=_SMOOTHING)
            network.zero_grad()
            loss.backward()
            adam.step()
            averaged.update_parameters(network)
            progress("train classifier", epoch * n_steps + step + 1, total)
        if not bool(torch.isfinite(loss)):
            msg = (
                f"train_classifier: loss must be finite, got {float(loss)} in epoch {epoch + 1}."
                " Lower the learning rate."
            )
            raise WeightsError(msg)
        if checkpoint is not None:
            _keep(checkpoint, config, epoch + 1, network, averaged, adam)
    trained = averaged.module if config.averaged else network
    if not isinstance(trained, CellNetwork):
        raise TypeError(type(trained))
    return trained.eval().requires_grad_(requires_grad=False)


def _rate(step: int, total: int) -> float:
    """Give the learning rate at a step, in the highest."""
    return min((step + 1) / _RISING, 1) * 0.5 * (1 + math.cos(math.pi * step / total))


def _keep(
    path: Path,
    config: ClassifierTraining,
    epochs: int,
    network: nn.Module,
    averaged: nn.Module,
    adam: torch.optim.Optimizer,
) -> None:
    """Write weights, their running means and Adam's moments to one file."""
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    tensors |= {f"averaged.{name}": tensor for name, tensor in averaged.state_dict().items()}
    for index, parameter in enumerate(network.parameters()):
        tensors |= {f"adam.{index}.{name}": tensor for name, tensor in adam.state[parameter].items()}
    kept = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    with written_whole(path) as part:
        # Not with save_file, whose error for a full disk is not the system's.
        part.write_bytes(save(kept, metadata={"state": json.dumps({"config": asdict(config), "epochs": epochs})}))


def _restore(
    path: Path,
    config: ClassifierTraining,
    network: nn.Module,
    averaged: nn.Module,
    adam: torch.optim.Optimizer,
) -> int:
    """Take up the state that `_keep` wrote, and give the number of epochs that were done."""
    where = "train_classifier"
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads(file.metadata()["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        msg = f"{where}: checkpoint must be readable, got {path.name} ({error}). Remove it to train this fold anew."
        raise WeightsError(msg) from error
    if state["config"] != json.loads(json.dumps(asdict(config))):
        msg = f"{where}: checkpoint must be of the same settings, got {path.name} of others. Remove it."
        raise WeightsError(msg)

    def part(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

    network.load_state_dict(part("network."))
    averaged.load_state_dict(part("averaged."))
    for index, parameter in enumerate(network.parameters()):
        moments = part(f"adam.{index}.")
        adam.state[parameter] = {
            name: tensor
            if name == "step"
            else tensor.contiguous(memory_format=torch.channels_last if tensor.dim() == 4 else torch.contiguous_format)
            for name, tensor in moments.items()
        }
    return int(state["epochs"])
