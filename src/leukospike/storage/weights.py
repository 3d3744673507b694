"""Weights in safetensors files with settings as JSON in the header: written atomically, checked on reading.

`write_tensors` and `read_tensors` are the only access to such files, also for checkpoints.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from leukospike.errors import WeightsError
from leukospike.storage.files import written_whole

_SETTINGS = "leukospike"  # name in the header
_COUNTER = "num_batches_tracked"  # of a batch norm, an int64; other types come from other programs


@dataclass(frozen=True)
class StoredWeights:
    """What a file holds."""

    settings: dict[str, Any]
    tensors: dict[str, Tensor]


def write_weights(path: Path, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> None:
    """Write tensors and settings to `path` atomically.

    Parameters
    ----------
    path : Path
        Path of the file; its folder is created if missing.
    tensors : mapping of str to Tensor
        On any device.
    settings : mapping of str to what JSON can say
        With the key "format", by which `read_weights` recognises the file.
    """
    write_tensors(path, tensors, {_SETTINGS: settings})


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Mapping[str, Any]]) -> None:
    """Write tensors, and a named header entry, to `path` atomically."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with written_whole(path) as part:
        # Not with save_file, whose error for a full disk is not that of the system.
        part.write_bytes(save(contiguous, metadata={name: json.dumps(dict(said)) for name, said in header.items()}))


def read_tensors(path: Path, name: str) -> StoredWeights:
    """Read all tensors of a file, and a named header entry; an empty dict if missing.

    Raises
    ------
    ValueError
        If the file is not a readable safetensors file, or its header no JSON object.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
            return StoredWeights(_said(file.metadata(), name), tensors)
    except (SafetensorError, OSError, RecursionError) as error:  # the last for a header nested too deep
        raise ValueError(error) from error


def _said(metadata: Mapping[str, str] | None, name: str) -> dict[str, Any]:
    """Read a named header entry."""
    said = json.loads((metadata or {}).get(name, "{}"))
    if not isinstance(said, dict):
        msg = f"a header of type {type(said).__name__}"
        raise TypeError(msg)
    return cast("dict[str, Any]", said)


def read_weights(
    path: Path,
    *,
    form: str,
    where: str,
    give: str,
    use: str,
    kinds: Collection[torch.dtype] = (torch.float32,),
) -> StoredWeights:
    """Read a file written by `write_weights`, and refuse all others.

    Parameters
    ----------
    path : Path
        A `.safetensors` file.
    form : str
        The required "format".
    where : str
        Name of the caller, for errors.
    give, use : str
        Advice for a missing file, and for a file of another format: a sentence each.
    kinds : collection of torch.dtype
        Allowed dtypes.

    Returns
    -------
    StoredWeights
        All tensors are finite; the caller must check that they fit together.

    Raises
    ------
    WeightsError
        If the file is missing, not safetensors, of another form, or holds a value of another type or not finite.
    """
    if not path.is_file():
        rule = "weights must be a file"
        raise WeightsError(rule, where=where, got=path, advice=give)
    try:
        stored = read_tensors(path, _SETTINGS)
    except (ValueError, TypeError) as error:
        rule, got = "weights must be a readable safetensors file", f"{path.name} ({error})"
        raise WeightsError(rule, where=where, got=got, advice="Copy or train it again.") from error
    if (written_as := stored.settings.get("format")) != form:
        rule = f"weights must have the format {form}"
        raise WeightsError(rule, where=where, got=f"{written_as} in {path.name}", advice=use)
    for name, tensor in stored.tensors.items():
        counts = name.endswith(_COUNTER) and tensor.dtype == torch.int64
        if tensor.dtype not in kinds and not counts:
            rule = f"weights must be {' or '.join(map(_name, kinds))}"
            got = f"{_name(tensor.dtype)} in {name} of {path.name}"
            raise WeightsError(rule, where=where, got=got, advice="Use the file as it was written.")
    broken = [name for name, tensor in stored.tensors.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        rule, got = "weights must be finite", f"NaN or infinity in {broken[0]} of {path.name}"
        raise WeightsError(rule, where=where, got=got, advice="Train again.")
    return stored


def form_of(path: Path) -> str | None:
    """Return the "format" of a weights file; None if unreadable, which `read_weights` will explain."""
    try:
        with safe_open(path, framework="pt") as file:
            form = _said(file.metadata(), _SETTINGS).get("format")
    except (SafetensorError, OSError, ValueError, TypeError, RecursionError):
        return None
    return form if isinstance(form, str) else None


def _name(kind: torch.dtype) -> str:
    """Name a type of numbers."""
    return str(kind).removeprefix("torch.")


def check_settings(where: str, path: Path, stored: StoredWeights, own: Mapping[str, Any]) -> None:
    """Refuse weights fitted with other settings than those of the network, which would give nonsense.

    Parameters
    ----------
    where : str
        Who asks.
    path : Path
        The file, for the message.
    stored : StoredWeights
    own : mapping of str to what JSON gives back
        Required settings: lists, not tuples.

    Raises
    ------
    WeightsError
        If a setting is missing or differs.
    """
    for name, value in own.items():
        if (found := stored.settings.get(name)) != value:
            raise wrong_part(where, path, ValueError(f"{name} of {found}"))


def fill(network: nn.Module, path: Path, settings: Mapping[str, Any], *, where: str, give: str, use: str) -> None:
    """Load weights from a file into the matching network, and refuse those of another.

    Parameters
    ----------
    network : Module
        Its weights are changed.
    path : Path
        A `.safetensors` file that `write_weights` wrote.
    settings : mapping of str to what JSON gives back
        Required settings, including "format".
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
    """Build the error for a file whose parts are missing or do not fit together."""
    reason = " ".join(str(error).split())[:160]
    rule, got = "weights must hold a complete model", f"{path.name} with an invalid part ({reason})"
    return WeightsError(rule, where=where, got=got, advice="Train again.")
