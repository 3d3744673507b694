"""Layers and classifiers come back from their files as they were; bad files and what NIR cannot say are refused."""

import json
import sys
from pathlib import Path

import nir
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor
from torch.nn.functional import conv2d

from leukospike.errors import ConfigError, ExportError, WeightsError
from leukospike.spikes import SpikingConv2d, to_wave
from leukospike.spikes.mozafari import MozafariClassifier
from leukospike.spikes.plasticity import RewardRates, StdpRates
from leukospike.spikes.storage import export_nir, load_layer, load_mozafari, save_layer, save_mozafari


def stripes(n: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Draw noise on stripes along rows or along columns."""
    images = np.random.default_rng(0).random((n, 24, 24), np.float32) / 10
    images[: n // 2, 6::8] += 0.9
    images[n // 2 :, :, 6::8] += 0.9
    return images, np.array(["across"] * (n // 2) + ["down"] * (n - n // 2))


def classifier() -> MozafariClassifier:
    rates = RewardRates(reward=StdpRates(causal=0.1, acausal=-0.07))
    return MozafariClassifier(
        features_per_class=3, kernel_px=3, threshold=2.0, pool_stride_px=2, epochs=2, rates=rates, random_state=4
    )


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_mozafari(classifier().fit(*stripes()), tmp_path / "stripes.safetensors")
    return tmp_path / "stripes.safetensors"


def rewrite(path: Path, *, drop: str = "", **settings: object) -> None:
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["leukospike"])
    tensors = {name: tensor for name, tensor in load_file(path).items() if name != drop}
    save_file(tensors, path, metadata={"leukospike": json.dumps(header | settings)})


@pytest.mark.parametrize("threshold", [3.25, None])
def test_a_layer_comes_back(tmp_path: Path, threshold: float | None):
    generator = Generator().manual_seed(0)
    layer = SpikingConv2d(2, 3, (2, 4), threshold=threshold, bins=7, padding=1, generator=generator)
    save_layer(layer, tmp_path / "layer.safetensors")
    loaded = load_layer(tmp_path / "layer.safetensors")
    assert torch.equal(loaded.weight, layer.weight)
    assert (loaded.threshold, loaded.bins, loaded.padding) == (threshold, 7, 1)


def test_paths_may_be_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    layer, model = SpikingConv2d(1, 1, 3, threshold=1.0), classifier().fit(*stripes())
    save_layer(layer, "layer.safetensors")
    assert torch.equal(load_layer("layer.safetensors").weight, layer.weight)
    save_mozafari(model, "stripes.safetensors")
    assert torch.equal(load_mozafari("stripes.safetensors").layer_.weight, model.layer_.weight)
    export_nir(layer, "layer.nir", input_size=(6, 8))
    np.testing.assert_array_equal(nir.read("layer.nir").nodes["convolution"].weight, layer.weight)
    with pytest.raises(WeightsError, match="load_layer: weights must be a file, got none"):
        load_layer("none")


def test_a_classifier_comes_back(saved: Path):
    images, labels = stripes()
    model, loaded = classifier().fit(images, labels), load_mozafari(saved)
    assert loaded.get_params() == model.get_params()
    assert loaded.history_ == model.history_
    assert loaded.classes_.tolist() == ["across", "down"]
    assert torch.equal(loaded.layer_.weight, model.layer_.weight)
    np.testing.assert_array_equal(loaded.predict(images), model.predict(images))


def test_a_loaded_classifier_learns_on_as_if_it_had_never_been_away(saved: Path):
    images, labels = stripes()
    uninterrupted = classifier().set_params(epochs=5).fit(images, labels)
    loaded = load_mozafari(saved)
    for _ in range(3):
        loaded.partial_fit(images, labels)
    assert torch.equal(loaded.layer_.weight, uninterrupted.layer_.weight)
    assert loaded.history_ == uninterrupted.history_


def test_parameters_of_a_search_are_stored(tmp_path: Path):
    model = classifier().set_params(kernel_px=np.int64(3), dropout=np.float64(0.25)).fit(*stripes())
    save_mozafari(model, tmp_path / "x.safetensors")
    assert load_mozafari(tmp_path / "x.safetensors").dropout == 0.25


def test_a_classifier_without_weights(tmp_path: Path):
    with pytest.raises(ConfigError, match="save_mozafari: model must be fitted, got one without weights"):
        save_mozafari(classifier(), tmp_path / "x.safetensors")


def test_files_of_another_form(saved: Path):
    with pytest.raises(WeightsError, match="load_layer: weights must have the format leukospike-spiking-layer-1, got"):
        load_layer(saved)


@pytest.mark.parametrize("load", [load_layer, load_mozafari])
def test_no_file(tmp_path: Path, load):
    with pytest.raises(WeightsError, match="weights must be a file, got"):
        load(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"classes": ["a"]}, "for 1 classes"),
        ({"classes": ["a", "b", "c"]}, "for 3 classes"),
        ({"classes": ["b", "a"]}, "for 2 classes"),
        ({"parameters": {}}, "'rates'"),
        ({"history": [{"epoch": 1}]}, "missing"),
    ],
)
def test_parts_that_do_not_fit(saved: Path, settings: dict[str, object], reason: str):
    rewrite(saved, **settings)
    expected = rf"load_mozafari: weights must hold a complete model, got stripes\.safetensors .*{reason}"
    with pytest.raises(WeightsError, match=expected):
        load_mozafari(saved)


def test_no_weights_in_the_file(saved: Path):
    rewrite(saved, drop="weight")
    with pytest.raises(WeightsError, match="with an invalid part"):
        load_mozafari(saved)


# --- NIR ---


def run_nir(path: Path, wave: Tensor) -> Tensor:
    """Interpret the graph by NIR's equations, time step by time step: how often each neuron has spiked by then."""
    nodes = nir.read(path).nodes
    conv, neurons = nodes["convolution"], nodes["neurons"]
    events = wave.diff(dim=0, prepend=torch.zeros_like(wave[:1])).double()
    weight = torch.from_numpy(conv.weight).double()
    current = conv2d(events, weight, torch.from_numpy(conv.bias).double(), *map(tuple, (conv.stride, conv.padding)))
    assert tuple(current.shape[1:]) == neurons.r.shape == tuple(nodes["output"].output_type["output"])
    potential, spikes = torch.zeros_like(current[0]), []
    for step in current:
        potential = potential + torch.from_numpy(neurons.r) * step
        fires = potential > torch.from_numpy(neurons.v_threshold)
        potential = torch.where(fires, torch.from_numpy(neurons.v_reset), potential)
        spikes.append(fires)
    return torch.stack(spikes).cumsum(dim=0)


@pytest.mark.parametrize(("mean", "threshold"), [(0.8, 4.0), (0.0, 0.1), (0.8, 0.0)])
def test_nir_neurons_spike_once_and_when_ours_do(tmp_path: Path, mean: float, threshold: float):
    chance = Generator().manual_seed(1)
    layer = SpikingConv2d(2, 5, 3, threshold=threshold, padding=1, weight_mean=mean, weight_std=0.3, generator=chance)
    latency = torch.randint(16, (1, 2, 6, 8), generator=chance, dtype=torch.uint8)
    export_nir(layer, tmp_path / "layer.nir", input_size=(6, 8))
    ours = to_wave(layer(latency).latency)[0]
    assert 0 < ours.mean() < 1
    assert torch.equal(run_nir(tmp_path / "layer.nir", to_wave(latency)[0]).float(), ours)


def test_nir_has_no_infinite_threshold(tmp_path: Path):
    layer = SpikingConv2d(1, 1, 3, threshold=None)
    with pytest.raises(ExportError, match="export_nir: threshold must be finite, got None"):
        export_nir(layer, tmp_path / "x.nir", input_size=(5, 5))
    assert not (tmp_path / "x.nir").exists()


def test_nir_takes_square_windows(tmp_path: Path):
    with pytest.raises(ExportError, match="export_nir: the window must be square, got 2 x 3"):
        export_nir(SpikingConv2d(1, 1, (2, 3), threshold=1.0), tmp_path / "x.nir", input_size=(5, 5))


def test_nir_input_smaller_than_the_window(tmp_path: Path):
    with pytest.raises(ExportError, match="export_nir: input_size must be at least 3 x 3, got 2 x 5"):
        export_nir(SpikingConv2d(1, 1, 3, threshold=1.0), tmp_path / "x.nir", input_size=(2, 5))


def test_nir_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("leukospike.spikes.storage.find_spec", lambda name: None if name == "nir" else sys)
    with pytest.raises(
        ExportError, match=r"the package nir must be installed, got none\. In the clone, run: pip install"
    ):
        export_nir(SpikingConv2d(1, 1, 3, threshold=1.0), tmp_path / "x.nir", input_size=(5, 5))
