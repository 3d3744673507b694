"""Everything that one fold fitted, in one file: normalisation, components and network, without pickle."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from leukospike.components import FittedComponents
from leukospike.network import ResidualNetwork
from leukospike.preprocessing import BLUR_KERNELS, Normalisation
from leukospike.weights import read_weights, write_weights, wrong_part

_FORMAT = "leukospike-model-1"
_BATCH = 128


@dataclass(frozen=True)
class FittedModel:
    """From spike maps to probabilities, with everything that had to be fitted for it."""

    image_size: int
    """Side of the spike maps, pixels."""
    blur_window: int
    """Side of the blur's kernel that they were made with, pixels."""
    hidden_units: int | None
    normalisation: Normalisation
    components: FittedComponents
    network: ResidualNetwork

    def coordinates(self, maps: Float[np.ndarray, "n rows columns"]) -> Float[np.ndarray, "n components"]:
        """Normalise spike maps and project them on the components."""
        return self.components.project(self.normalisation.apply(maps))

    def reconstructions(self, maps: Float[np.ndarray, "n rows columns"]) -> Float[np.ndarray, "n rows columns"]:
        """Give what the network sees of spike maps, in their own units of 0 to 1 before normalisation."""
        seen = self.components.reconstruct(self.coordinates(maps))
        return seen * np.float32(self.normalisation.std) + np.float32(self.normalisation.mean)

    def probabilities(self, maps: Float[np.ndarray, "n rows columns"]) -> Float[np.ndarray, " n"]:
        """Give the probability that each cell is leukemic.

        Parameters
        ----------
        maps : ndarray of shape (n, image_size, image_size), float32
            Blurred first waves, as `preprocessing.spike_map` makes them.

        Returns
        -------
        ndarray of shape (n,), float32, 0 to 1
        """
        return network_probabilities(self.network, self.components, self.coordinates(maps))


def network_probabilities(
    network: ResidualNetwork, components: FittedComponents, coordinates: Float[np.ndarray, "n components"]
) -> Float[np.ndarray, " n"]:
    """Rebuild images from their coordinates, batch by batch, and ask the network for their probabilities."""
    device = next(network.parameters()).device
    network.eval()
    answers = [np.zeros(0, np.float32)]
    with torch.inference_mode():
        for first in range(0, len(coordinates), _BATCH):
            images = components.reconstruct(coordinates[first : first + _BATCH])[:, None]
            answers.append(network.probabilities(torch.from_numpy(images).to(device)).cpu().numpy())
    return np.concatenate(answers)


def save_model(model: FittedModel, path: Path) -> None:
    """Write a model to `path`, whole or not at all; a safetensors file whose header holds the settings as JSON."""
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
    }
    write_weights(path, tensors, settings)


def load_model(path: Path) -> FittedModel:
    """Read a model that `save_model` wrote.

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
        If the file is missing, not safetensors, of another program, incomplete, or holds a value that is not finite.
    """
    where = "load_model"
    stored = read_weights(
        path,
        form=_FORMAT,
        where=where,
        give="Give a run folder or one of its weights/*.safetensors.",
        use="Use weights that leukospike train or reproduce wrote.",
    )
    settings, tensors = stored.settings, stored.tensors
    try:
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
        )
        _check_fitted(model)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise wrong_part(where, path, error) from error
    return model


def _check_fitted(model: FittedModel) -> None:
    """Refuse parts that do not fit each other, which would fail with the first image or give nonsense."""
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
    if not (np.isfinite(model.normalisation.mean) and 0 < model.normalisation.std < np.inf):
        msg = f"a standard deviation of {model.normalisation.std}"
        raise ValueError(msg)
