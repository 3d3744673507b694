"""Model of one fold on cells cut out, in one file: any of the backbones."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from scipy.special import expit
from torch import nn

from leukospike.classification.appearance_learning import appearances
from leukospike.classification.appearance_network import AppearanceNetwork
from leukospike.classification.classifier import ensemble, require_alike
from leukospike.classification.network import CellNetwork, colours_of
from leukospike.classification.timm_network import TimmNetwork
from leukospike.confidence.stored import read_count
from leukospike.errors import LeukospikeError
from leukospike.learning.chance import undrawn
from leukospike.settings import APPEARANCE, CONVOLUTIONAL, timm_name
from leukospike.storage.weights import read_weights, write_weights, wrong_part

KIND = "leukospike-cells-"
"""Prefix of the format of these files, in all versions."""

_FORMAT = f"{KIND}3"

CellBackbone = AppearanceNetwork | CellNetwork | TimmNetwork

_BATCH = 64
_MOST_NETWORKS = 100


@dataclass(frozen=True)
class CellModel:
    """From crops to probabilities."""

    backbone: str
    """As `settings.RunConfig` has it."""
    networks: tuple[CellBackbone, ...]
    """Their mean log odds decide."""

    def probabilities(self, crops: UInt8[np.ndarray, "n rows columns 3"]) -> Float[np.ndarray, " n"]:
        """Return the probability that each cell is leukemic, uncalibrated.

        Parameters
        ----------
        crops : ndarray of shape (n, rows, columns, 3), uint8
            As `network_input.cell_crop` makes them, of the training cells' size and stain.

        Returns
        -------
        ndarray of shape (n,), float64, 0 to 1
        """
        if self.sees_measures:
            return self.probabilities_of(appearances(crops))
        device = next(self.networks[0].parameters()).device
        odds = [np.zeros(0)]
        with torch.inference_mode():
            for first in range(0, len(crops), _BATCH):
                colours = colours_of(torch.from_numpy(crops[first : first + _BATCH])).to(device)
                scores = torch.stack([network.scores(colours) for network in self.networks]).mean(dim=0)
                odds.append(scores.double().cpu().numpy())
        return expit(np.concatenate(odds))

    @property
    def sees_measures(self) -> bool:
        """Whether the networks use the features `appearances`, which are computed once for several models."""
        return isinstance(self.networks[0], AppearanceNetwork)

    def probabilities_of(self, measures: Float[np.ndarray, "n appearances"]) -> Float[np.ndarray, " n"]:
        """Return the probability of each cell by its measures; only of networks that see those."""
        networks = [network for network in self.networks if isinstance(network, AppearanceNetwork)]
        return expit(ensemble(networks, measures)[0])


def save_cell_model(model: CellModel, path: Path) -> None:
    """Write a model to `path`, whole or not at all; a safetensors file whose header holds the settings as JSON."""
    tensors = {
        f"network.{number}.{name}": tensor
        for number, network in enumerate(model.networks)
        for name, tensor in network.state_dict().items()
    }
    settings = {
        "format": _FORMAT,
        "backbone": model.backbone,
        "networks": len(model.networks),
    }
    write_weights(path, tensors, settings)


def load_cell_model(path: Path) -> CellModel:
    """Read a model written by `save_cell_model`; nothing is downloaded.

    Raises
    ------
    ConfigError
        If it needs timm, which is not installed.
    WeightsError
        If the file is missing, not safetensors, from another program, incomplete, or holds an invalid value.
    """
    where = "load_cell_model"
    stored = read_weights(
        path,
        form=_FORMAT,
        where=where,
        give="Pass a run folder or one of its weights/*.safetensors files.",
        use="Train again, or use weights written by train or reproduce of this version.",
    )
    settings = stored.settings
    try:
        networks: list[CellBackbone] = []
        for number in range(read_count(where, settings, "networks", 1, _MOST_NETWORKS)):
            start = f"network.{number}."
            weights = {
                name.removeprefix(start): tensor for name, tensor in stored.tensors.items() if name.startswith(start)
            }
            _check_shapes(settings["backbone"], weights)
            with undrawn():
                network = _new(settings["backbone"])
            network.load_state_dict(weights)
            _check(network)
            networks.append(network.eval().requires_grad_(requires_grad=False))
        if len(stored.tensors) != sum(len(network.state_dict()) for network in networks):
            msg = f"{len(stored.tensors)} tensors for {len(networks)} networks"
            raise ValueError(msg)
        if measured := [network for network in networks if isinstance(network, AppearanceNetwork)]:
            require_alike(measured)
        return CellModel(settings["backbone"], tuple(networks))
    except LeukospikeError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise wrong_part(where, path, error) from error


def _new(backbone: Any) -> CellBackbone:  # noqa: ANN401 - as the file has it
    """Make a network for weights to be read into."""
    if backbone == APPEARANCE:
        return AppearanceNetwork()
    if backbone == CONVOLUTIONAL:
        return CellNetwork()
    if isinstance(backbone, str) and (name := timm_name(backbone)):
        return TimmNetwork(name)
    msg = f"a backbone of {backbone}"
    raise ValueError(msg)


def _check_shapes(backbone: Any, weights: Mapping[str, torch.Tensor]) -> None:  # noqa: ANN401 - as the file has it
    """Refuse weights of another network before it is created: a small file may name one of gigabytes."""
    with torch.device("meta"):
        wanted = {name: tensor.shape for name, tensor in _new(backbone).state_dict().items()}
    if {name: tensor.shape for name, tensor in weights.items()} != wanted:
        msg = f"layers that differ from those of {backbone}"
        raise ValueError(msg)


def _check(network: nn.Module) -> None:
    """Refuse spreads and variances that cannot be divisors."""
    for name, tensor in network.named_buffers():
        if (name.endswith("running_var") and bool((tensor < 0).any())) or (
            name == "spread" and bool((tensor <= 0).any())
        ):
            msg = f"{name} of {float(tensor.min())}"
            raise ValueError(msg)
