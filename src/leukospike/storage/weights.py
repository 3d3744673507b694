"""Weights in safetensors files whose header holds the settings as JSON: written whole, checked when read, no pickle."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from leukospike.errors import WeightsError
from leukospike.storage.files import written_whole

_COUNTER = "num_batches_tracked"  # of a batch norm, an int64; other types are of other programs


@dataclass(frozen=True)
class StoredWeights:
    """What a file holds."""

    settings: dict[str, Any]
    tensors: dict[str, Tensor]


def write_weights(path: Path, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> None:
    """Write tensors and settings to `path`, whole or not at all.

    Parameters
    ----------
    path : Path
        Where the file shall be; its folder is made if missing.
    tensors : mapping of str to Tensor
        On any device.
    settings : mapping of str to what JSON can say
        With the key "format", by which `read_weights` knows the file.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with written_whole(path) as part:
        # Not with save_file, whose error for a full disk is not the system's.
        part.write_bytes(save(contiguous, metadata={"leukospike": json.dumps(dict(settings))}))


def read_weights(
    path: Path,
    *,
    form: str,
    where: str,
    give: str,
    use: str,
    kinds: Collection[torch.dtype] = (torch.float32,),
) -> StoredWeights:
    """Read what `write_weights` wrote, and refuse all else.

    Parameters
    ----------
    path : Path
        A `.safetensors` file.
    form : str
        The "format" that it must be of.
    where : str
        Who asks; messages begin with it.
    give, use : str
        What to do next where there is no file, and where it is of another form: a sentence each.
    kinds : collection of torch.dtype
        Types of numbers that tensors may be of.

    Returns
    -------
    StoredWeights
        Every tensor finite; whether the parts fit each other is the caller's to check.

    Raises
    ------
    WeightsError
        If the file is missing, not safetensors, of another form, or holds a value of another type or not finite.
    """
    if not path.is_file():
        msg = f"{where}: weights must be a file, got {path}. {give}"
        raise WeightsError(msg)
    try:
        with safe_open(path, framework="pt") as file:
            settings = json.loads((file.metadata() or {}).get("leukospike", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError, RecursionError) as error:  # the last for a header nested too deep
        msg = (
            f"{where}: weights must be a readable safetensors file, got {path.name} ({error}). Copy or train it again."
        )
        raise WeightsError(msg) from error
    written_as = settings.get("format") if isinstance(settings, dict) else None
    if written_as != form:
        msg = f"{where}: weights must be of the form {form}, got {written_as} in {path.name}. {use}"
        raise WeightsError(msg)
    for name, tensor in tensors.items():
        counts = name.endswith(_COUNTER) and tensor.dtype == torch.int64
        if tensor.dtype not in kinds and not counts:
            kind, allowed = _name(tensor.dtype), " or ".join(map(_name, kinds))
            msg = (
                f"{where}: weights must be {allowed}, got {kind} in {name} of {path.name}."
                " Use them as they were written."
            )
            raise WeightsError(msg)
    broken = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        msg = f"{where}: weights must be finite, got NaN or infinity in {broken[0]} of {path.name}. Train again."
        raise WeightsError(msg)
    return StoredWeights(settings, tensors)


def form_of(path: Path) -> str | None:
    """Give the "format" of a weights file; None if it cannot be told, which `read_weights` will explain."""
    try:
        with safe_open(path, framework="pt") as file:
            settings = json.loads((file.metadata() or {}).get("leukospike", "{}"))
    except (SafetensorError, OSError, ValueError, RecursionError):
        return None
    form = settings.get("format") if isinstance(settings, dict) else None
    return form if isinstance(form, str) else None


def _name(kind: torch.dtype) -> str:
    """Name a type of numbers."""
    return str(kind).removeprefix("torch.")


def check_settings(where: str, path: Path, stored: StoredWeights, own: Mapping[str, Any]) -> None:
    """Refuse weights that were fitted with other settings than the network's own, which would give nonsense.

    Parameters
    ----------
    where : str
        Who asks.
    path : Path
        The file, for the message.
    stored : StoredWeights
    own : mapping of str to what JSON gives back
        What the file must say: lists, not tuples.

    Raises
    ------
    WeightsError
        If a setting is missing or another.
    """
    for name, value in own.items():
        if (found := stored.settings.get(name)) != value:
            raise wrong_part(where, path, ValueError(f"{name} of {found}"))


def fill(network: nn.Module, path: Path, settings: Mapping[str, Any], *, where: str, give: str, use: str) -> None:
    """Put the weights of a file into the network that they were written from, and refuse those of another.

    Parameters
    ----------
    network : Module
        Its weights are changed.
    path : Path
        A `.safetensors` file that `write_weights` wrote.
    settings : mapping of str to what JSON gives back
        What the file must say, its "format" among it.
    where, give, use : str
        As for `read_weights`.

    Raises
    ------
    WeightsError
        If the file is missing, not safetensors, of another form or other settings, holds a value that is not float32
        or not finite, or does not fit the network.
    """
    stored = read_weights(path, form=str(settings["format"]), where=where, give=give, use=use)
    check_settings(where, path, stored, settings)
    try:
        network.load_state_dict(stored.tensors)
    except RuntimeError as error:
        raise wrong_part(where, path, error) from error


def wrong_part(where: str, path: Path, error: Exception) -> WeightsError:
    """Give the error for a file whose parts are missing or do not fit each other."""
    reason = " ".join(str(error).split())[:160]
    return WeightsError(
        f"{where}: weights must hold a whole model, got {path.name} with a wrong part ({reason}). Train again."
    )
