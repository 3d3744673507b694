"""Training checkpoints in one safetensors file: weights, Adam's moments, and other state."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from leukospike.errors import WeightsError
from leukospike.storage.weights import read_tensors, write_tensors

_STATE = "state"  # name in the header


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds."""

    state: dict[str, Any]
    """With the key "config", the settings of the training."""
    tensors: dict[str, Tensor]

    def weights(self, name: str) -> dict[str, Tensor]:
        """Return the state of one of the networks."""
        start = f"{name}."
        return {key.removeprefix(start): tensor for key, tensor in self.tensors.items() if key.startswith(start)}

    def restore_moments(self, adam: torch.optim.Optimizer) -> None:
        """Restore an optimiser's moments in their original memory order: another order rounds differently."""
        for index, parameter in enumerate(_parameters(adam)):
            adam.state[parameter] = {
                name: tensor
                if name == "step"
                else tensor.to(parameter.device).contiguous(
                    memory_format=torch.channels_last if tensor.dim() == 4 else torch.contiguous_format
                )
                for name, tensor in self.weights(f"adam.{index}").items()
            }


def write_checkpoint(
    path: Path, networks: Mapping[str, nn.Module], adam: torch.optim.Optimizer, state: Mapping[str, Any]
) -> None:
    """Write a checkpoint atomically.

    Parameters
    ----------
    path : Path
    networks : mapping of str to Module
        On any device.
    adam : Optimizer
        It must have made a step.
    state : mapping of str to what JSON can say
        With the key "config".
    """
    tensors = {
        f"{name}.{key}": tensor for name, network in networks.items() for key, tensor in network.state_dict().items()
    }
    for index, parameter in enumerate(_parameters(adam)):
        tensors |= {f"adam.{index}.{name}": tensor for name, tensor in adam.state[parameter].items()}
    write_tensors(path, tensors, {_STATE: state})


def read_checkpoint(path: Path, config: Mapping[str, Any], *, where: str) -> Checkpoint:
    """Read a file written by `write_checkpoint`.

    Parameters
    ----------
    path : Path
    config : mapping of str to what JSON can say
        Settings of the training to continue.
    where : str
        Who asks, for errors.

    Raises
    ------
    WeightsError
        If the file cannot be read, or has other settings.
    """
    try:
        stored = read_tensors(path, _STATE)
        before = stored.settings["config"]
    except (KeyError, TypeError, ValueError) as error:
        rule, got = "checkpoint must be readable", f"{path.name} ({error})"
        raise WeightsError(rule, where=where, got=got, advice="Remove it to train this fold again.") from error
    if before != json.loads(json.dumps(dict(config))):
        rule, got = "checkpoint must have the same settings", f"{path.name} with other ones"
        raise WeightsError(rule, where=where, got=got, advice="Remove it.")
    return Checkpoint(stored.settings, stored.tensors)


def _parameters(adam: torch.optim.Optimizer) -> list[Tensor]:
    """Return the parameters of all groups, in their order."""
    return [parameter for group in adam.param_groups for parameter in group["params"]]
