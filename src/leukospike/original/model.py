"""Everything fitted in one fold, in one file without pickle: normalisation, components and network."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from leukospike.images import MIN_SIDE, PLAUSIBLE_UM_PER_PX
from leukospike.images.framing import Framing
from leukospike.learning.chance import undrawn
from leukospike.original.components import FittedComponents
from leukospike.original.network import ResidualNetwork
from leukospike.original.preprocessing import BLUR_KERNELS, Normalisation
from leukospike.storage.weights import read_weights, write_weights, wrong_part

_FORMAT = "leukospike-model-1"
_BATCH = 128
_LONGEST_SHOWN_PX = 4096  # largest side of the square in which a cell of a field is drawn
_LARGEST_SHARE = 1.1  # a cell that fills its picture measures a little over 1


@dataclass(frozen=True)
class FittedModel:
    """From spike maps to probabilities, with all the fitted parts this needs."""

    image_size: int
    """Side of the spike maps, pixels."""
    blur_window: int
    """Side of the blur's kernel used for the maps, pixels."""
    hidden_units: int | None
    normalisation: Normalisation
    components: FittedComponents
    network: ResidualNetwork
    framing: Framing | None = None
    """How the training images frame their cells; None in weights of version 0.1.0, which did not store it."""

    def coordinates(self, maps: Float[np.ndarray, "n rows columns"]) -> Float[np.ndarray, "n components"]:
        """Normalise spike maps and project them onto the components."""
        return self.components.project(self.normalisation.apply(maps))

    def reconstructions(self, maps: Float[np.ndarray, "n rows columns"]) -> Float[np.ndarray, "n rows columns"]:
        """Return what the network sees of spike maps, in their units of 0 to 1 before normalisation."""
        seen = self.components.reconstruct(self.coordinates(maps))
        return seen * np.float32(self.normalisation.std) + np.float32(self.normalisation.mean)

    def probabilities(self, maps: Float[np.ndarray, "n rows columns"]) -> Float[np.ndarray, " n"]:
        """Return the probability that each cell is leukemic.

        Parameters
        ----------
        maps : ndarray of shape (n, image_size, image_size), float32
            Blurred first waves, as returned by `preprocessing.spike_map`.

        Returns
        -------
        ndarray of shape (n,), float32, 0 to 1
        """
        return network_probabilities(self.network, self.components, self.coordinates(maps))


def network_probabilities(
    network: ResidualNetwork, components: FittedComponents, coordinates: Float[np.ndarray, "n components"]
) -> Float[np.ndarray, " n"]:
    """Rebuild images from their coordinates, batch by batch, and return the network's probabilities."""
    device = next(network.parameters()).device
    network.eval()
    answers = [np.zeros(0, np.float32)]
    with torch.inference_mode():
        for first in range(0, len(coordinates), _BATCH):
            images = components.reconstruct(coordinates[first : first + _BATCH])[:, None]
            answers.append(network.probabilities(torch.from_numpy(images).to(device)).cpu().numpy())
    return np.concatenate(answers)


def save_model(model: FittedModel, path: Path) -> None:
    """Write a model to `path` atomically, as a safetensors file whose header holds the settings as JSON."""
    tensors = {f"network.{name}": tensor for name, tensor in model.network.state_dict().items()}
    tensors["components.mean"] = torch.from_numpy(model.components.mean)
    tensors["components.basis"] = torch.from_numpy(model.components.basis)
    tensors["components.explained_variance_ratio"] = torch.from_numpy(model.components.explained_variance_ratio)
    settings = {
        "format": _FORMAT,
        "image_size": model.image_size,
        "blur_window": model.blur_window,
        "hidden_units": model.hidden_units,
        "mean": model.normalisation.mean,
        "std": model.normalisation.std,
        "framing": None if model.framing is None else asdict(model.framing),
    }
    write_weights(path, tensors, settings)


def load_model(path: Path) -> FittedModel:
    """Load a model that `save_model` wrote.

    Parameters
    ----------
    path : Path
        A `.safetensors` file.

    Returns
    -------
    FittedModel
        With the network in evaluation mode.

    Raises
    ------
    WeightsError
        If the file is missing, not safetensors, from another program, incomplete, or contains a value that is not
        float32, not finite or impossible.
    """
    where = "load_model"
    stored = read_weights(
        path,
        form=_FORMAT,
        where=where,
        give="Pass a run folder or one of its weights/*.safetensors files.",
        use="Use weights written by leukospike train or reproduce.",
    )
    settings, tensors = stored.settings, stored.tensors
    try:
        _check_settings(settings)
        with undrawn():
            network = ResidualNetwork(image_size=settings["image_size"], hidden_units=settings["hidden_units"])
        network.load_state_dict(
            {name.removeprefix("network."): tensor for name, tensor in tensors.items() if name.startswith("network.")}
        )
        model = FittedModel(
            image_size=settings["image_size"],
            blur_window=settings["blur_window"],
            hidden_units=settings["hidden_units"],
            normalisation=Normalisation(settings["mean"], settings["std"]),
            components=FittedComponents(
                mean=tensors["components.mean"].numpy(),
                basis=tensors["components.basis"].numpy(),
                explained_variance_ratio=tensors["components.explained_variance_ratio"].numpy(),
            ),
            network=network.eval(),
            framing=None if (framing := settings.get("framing")) is None else Framing(**framing),
        )
        _check_fitted(model)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise wrong_part(where, path, error) from error
    return model


def _check_settings(settings: dict[str, Any]) -> None:
    """Raise an error for settings of the wrong type, some of which would pass as numbers until the first image."""
    whole, number = (int,), (int, float)
    kinds = {"image_size": whole, "blur_window": whole, "mean": number, "std": number}
    if settings["hidden_units"] is not None:
        kinds["hidden_units"] = whole
    _check_kinds(settings, kinds)
    if (framing := settings.get("framing")) is not None:
        kinds = {"side_px": whole, "cell_share": number, "on_black": (bool,), "um_per_px": (*number, type(None))}
        _check_kinds(framing, kinds)


def _check_kinds(settings: dict[str, Any], kinds: dict[str, tuple[type, ...]]) -> None:
    """Raise an error for a setting of another type; a bool is not an int here."""
    for name, types in kinds.items():
        if type(settings[name]) not in types:
            msg = f"{name} of {settings[name]}"
            raise TypeError(msg)


def _check_fitted(model: FittedModel) -> None:
    """Raise an error for parts that do not fit each other, which would fail at the first image or give nonsense."""
    mean, basis, pixels = model.components.mean, model.components.basis, model.image_size**2
    if mean.shape != (pixels,) or basis.ndim != 2 or basis.shape[1] != pixels:
        msg = f"components of shape {basis.shape} for {pixels} pixels"
        raise ValueError(msg)
    if {mean.dtype, basis.dtype} != {np.dtype(np.float32)}:
        msg = f"components of type {basis.dtype}"
        raise ValueError(msg)
    if model.blur_window not in BLUR_KERNELS:
        msg = f"a blur window of {model.blur_window}"
        raise ValueError(msg)
    # Maps are from 0 to 1; JSON may contain whole numbers that no float can hold.
    if not (0 <= model.normalisation.mean <= 1 and 0 < model.normalisation.std <= 1):
        msg = f"a standard deviation of {model.normalisation.std} about a mean of {model.normalisation.mean}"
        raise ValueError(msg)
    if model.framing is not None and not _plausible(model.framing):
        msg = f"cells shown as {model.framing}"
        raise ValueError(msg)
    for name, tensor in model.network.named_buffers():
        if name.endswith("running_var") and bool((tensor < 0).any()):
            msg = f"a negative variance in {name}"
            raise ValueError(msg)


def _plausible(framing: Framing) -> bool:
    """Return whether pictures can frame their cells like this."""
    finest, coarsest = PLAUSIBLE_UM_PER_PX
    return (
        MIN_SIDE <= framing.side_px <= _LONGEST_SHOWN_PX
        and 0 < framing.cell_share <= _LARGEST_SHARE
        and (framing.um_per_px is None or finest <= framing.um_per_px <= coarsest)
    )
