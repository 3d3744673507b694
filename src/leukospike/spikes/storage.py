"""Spiking layers and networks in files: safetensors with a JSON header, and NIR for other simulators and hardware."""

from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from leukospike.errors import ConfigError, ExportError
from leukospike.spikes.convolution import SpikingConv2d
from leukospike.spikes.gabor import ORIENTATIONS_DEG
from leukospike.spikes.maps import check_whole
from leukospike.spikes.mozafari import EpochResult, MozafariClassifier
from leukospike.spikes.plasticity import RewardRates, StdpRates
from leukospike.storage.files import written_whole
from leukospike.storage.weights import read_weights, write_weights, wrong_part

_LAYER_FORMAT = "leukospike-spiking-layer-1"
_CLASSIFIER_FORMAT = "leukospike-mozafari-1"


def save_layer(layer: SpikingConv2d, path: str | Path) -> None:
    """Write a layer to `path` atomically.

    Parameters
    ----------
    layer : SpikingConv2d
        On any device; weights are written as float32, which the layer computes with.
    path : str or Path
        A `.safetensors` file; an existing one is replaced.
    """
    settings = {"format": _LAYER_FORMAT, "threshold": layer.threshold, "bins": layer.bins, "padding": layer.padding}
    write_weights(Path(path), {"weight": layer.weight.float()}, settings)


def load_layer(path: str | Path) -> SpikingConv2d:
    """Load a layer that `save_layer` wrote.

    Parameters
    ----------
    path : str or Path
        A `.safetensors` file.

    Returns
    -------
    SpikingConv2d
        On the CPU.

    Raises
    ------
    WeightsError
        If the file is missing, not safetensors, of another format, incomplete, or contains a value that is not finite.
    """
    where, path = "load_layer", Path(path)
    stored = read_weights(
        path,
        form=_LAYER_FORMAT,
        where=where,
        give="Pass a file written by save_layer.",
        use="Use a file written by save_layer.",
    )
    try:
        settings = stored.settings
        return _layer(stored.tensors["weight"], settings["threshold"], settings["bins"], settings["padding"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise wrong_part(where, path, error) from error


def save_mozafari(model: MozafariClassifier, path: str | Path) -> None:
    """Write a fitted classifier to `path` atomically, with everything needed to predict and to go on learning.

    Parameters
    ----------
    model : MozafariClassifier
        Fitted.
    path : str or Path
        A `.safetensors` file; an existing one is replaced.

    Raises
    ------
    ConfigError
        If the classifier is not fitted.
    """
    if not hasattr(model, "layer_"):
        msg = "model must be fitted"
        raise ConfigError(msg, where="save_mozafari", got="one without weights", advice="Call fit first.")
    # A parameter search sets NumPy's numbers, which JSON cannot store.
    parameters = {
        name: value.item() if isinstance(value, np.generic) else value for name, value in model.get_params().items()
    }
    settings = {
        "format": _CLASSIFIER_FORMAT,
        "parameters": parameters | {"rates": asdict(model.rates), "device": "cpu"},
        "classes": model.classes_.tolist(),
        "history": [asdict(result) for result in model.history_],
    }
    write_weights(Path(path), {"weight": model.layer_.weight}, settings)


def load_mozafari(path: str | Path) -> MozafariClassifier:
    """Load a classifier that `save_mozafari` wrote; `partial_fit` continues as if there had been no interruption.

    Parameters
    ----------
    path : str or Path
        A `.safetensors` file.

    Returns
    -------
    MozafariClassifier
        Fitted, on the CPU.

    Raises
    ------
    WeightsError
        If the file is missing, not safetensors, of another format, incomplete, or contains a value that is not finite.
    """
    where, path = "load_mozafari", Path(path)
    stored = read_weights(
        path,
        form=_CLASSIFIER_FORMAT,
        where=where,
        give="Pass a file written by save_mozafari.",
        use="Use a file written by save_mozafari.",
    )
    try:
        return _classifier(stored.settings, stored.tensors["weight"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise wrong_part(where, path, error) from error


def export_nir(layer: SpikingConv2d, path: str | Path, *, input_size: tuple[int, int]) -> None:
    r"""Write a layer as a graph of the Neuromorphic Intermediate Representation [1]_.

    The graph consists of input, `Conv2d`, `IF` and output. NIR's neurons may spike many times. The reset potential is
    therefore set so low that the inputs can never make up for it: each neuron spikes once, as here, and the first
    spikes come at the same times. Input spikes are events of unit charge.

    NIR cannot express latency coding, inhibition between neurons or the decision by the first spike, so the file does
    not contain them. The program that sends the input spikes and reads the output must provide them.

    Parameters
    ----------
    layer : SpikingConv2d
        With a threshold.
    path : str or Path
        A `.nir` file (HDF5); an existing one is replaced.
    input_size : (int, int)
        Rows and columns of the layer's input, which NIR requires.

    Raises
    ------
    ExportError
        If the package `nir` is missing, the layer has no threshold, its window is not square, or `input_size` is not
        rows and columns, or is smaller than the window.
    ConfigError
        If a side of the input is not a whole number.

    References
    ----------
    .. [1] Pedersen et al., Neuromorphic intermediate representation, Nature Communications 15:8122, 2024,
       doi 10.1038/s41467-024-52259-9.
    """
    where = "export_nir"
    if find_spec("nir") is None:
        msg = "the package nir must be installed"
        raise ExportError(msg, where=where, got="none", advice="In the clone, run: pip install -e '.[nir]'.")
    import nir

    if layer.threshold is None:
        msg = "threshold must be finite"
        raise ExportError(
            msg,
            where=where,
            got="None",
            advice="Set a threshold for the layer: NIR has no neurons that wait for the last time step.",
        )
    weight = layer.weight.detach().cpu().numpy()
    features, channels, height, width = weight.shape
    if height != width:
        # nir 1.0.8 computes the output of a Conv2d as if its window were square.
        msg = "the window must be square"
        raise ExportError(msg, where=where, got=f"{height} x {width}", advice="Pad it with weights of 0.")
    size = [check_whole(side, where, "input_size") + 2 * layer.padding - height + 1 for side in input_size]
    if len(size) != 2 or min(size) < 1:
        msg = f"input_size must be at least {height - 2 * layer.padding} x {height - 2 * layer.padding}"
        raise ExportError(
            msg,
            where=where,
            got=" x ".join(str(side) for side in input_size),
            advice="Pass the size of the layer's input maps.",
        )
    shape = (features, *size)
    # After a spike at most all positive weights can follow, and together they must not reach 0 again.
    spent = -np.clip(weight, 0, None).sum(axis=(1, 2, 3), dtype=np.float64)
    nodes: dict[str, nir.NIRNode] = {
        "input": nir.Input(input_type={"input": np.array([channels, *input_size])}),
        "convolution": nir.Conv2d(
            input_shape=input_size,
            weight=weight,
            stride=1,
            padding=layer.padding,
            dilation=1,
            groups=1,
            bias=np.zeros(features, np.float32),
        ),
        "neurons": nir.IF(
            r=np.ones(shape),
            v_threshold=np.full(shape, layer.threshold),
            v_reset=np.tile(spent[:, None, None], (1, *size)),
        ),
        "output": nir.Output(output_type={"output": np.array(shape)}),
    }
    edges = [("input", "convolution"), ("convolution", "neurons"), ("neurons", "output")]
    with written_whole(Path(path)) as part:
        nir.write(part, nir.NIRGraph(nodes=nodes, edges=edges))


def _layer(weight: Tensor, threshold: float | None, bins: int, padding: int) -> SpikingConv2d:
    """Build a layer around weights."""
    if weight.ndim != 4 or weight.dtype != torch.float32:
        msg = f"weights of type {weight.dtype} and shape {tuple(weight.shape)}"
        raise ValueError(msg)
    features, channels, height, width = weight.shape
    layer = SpikingConv2d(
        channels,
        features,
        (height, width),
        threshold=threshold,
        bins=bins,
        padding=padding,
        generator=Generator().manual_seed(0),
    )
    layer.weight.copy_(weight)
    return layer


def _classifier(settings: dict[str, Any], weight: Tensor) -> MozafariClassifier:
    """Build a classifier from its file's settings and weights; raise an error if they do not fit each other."""
    parameters, rates = settings["parameters"], settings["parameters"]["rates"]
    model = MozafariClassifier(
        **parameters
        | {"rates": RewardRates(reward=StdpRates(**rates["reward"]), punishment=StdpRates(**rates["punishment"]))}
    )
    classes, history = np.array(settings["classes"]), [EpochResult(**result) for result in settings["history"]]
    side = model.kernel_px
    expected = (len(classes) * model.features_per_class, len(ORIENTATIONS_DEG), side, side)
    if tuple(weight.shape) != expected or len(classes) < 2 or np.unique(classes).tolist() != classes.tolist():
        msg = f"weights of shape {tuple(weight.shape)} for {len(classes)} classes"
        raise ValueError(msg)
    model.classes_, model.history_ = classes, history
    model.layer_ = _layer(weight, model.threshold, model.bins, 0)
    return model
