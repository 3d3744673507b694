"""The plastic segmenter: what its neurons see, who decides, and what its files hold."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from leukospike.errors import WeightsError
from leukospike.segmentation.light import Light, estimate_light
from leukospike.segmentation.looks import ScaleFrom
from leukospike.segmentation.plastic import (
    CHANNELS,
    NEURONS_PER_CLASS,
    READ,
    PlasticSegmenter,
    default_plastic,
    input_latency,
    load_plastic,
    read_classes,
    resized_classes,
    save_plastic,
    seen_at,
)
from leukospike.segmentation.scale import PixelSize
from leukospike.spikes import BINS
from leukospike.storage.weights import read_weights, write_weights


def segmenter(seed: int = 0) -> PlasticSegmenter:
    return PlasticSegmenter(generator=torch.Generator().manual_seed(seed))


def noise(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def classes_of(network: PlasticSegmenter, pixels: np.ndarray) -> np.ndarray:
    return read_classes(network, pixels, Light.unknown(pixels.shape[:2])).classes


def test_input_and_its_partner_are_opposite():
    pixels = np.zeros((1, 3, 3), np.uint8)
    pixels[0, :, 0] = (0, 51, 255)
    latency = input_latency(pixels)
    assert latency.shape == (1, CHANNELS, 1, 3)
    assert latency[0, 0, 0].tolist() == [0, 3, 15]
    assert bool((latency[:, :6] + latency[:, 6:] == BINS).all())


def test_window_passes_on_its_first_spike():
    latency = torch.full((1, 1, 5, 4), 9, dtype=torch.uint8)
    latency[0, 0, 1, 2] = 3
    latency[0, 0, 4, 0] = 5  # in windows that reach beyond the map
    expected = [[9, 9, 3, 3], [9, 9, 3, 3], [9, 9, 9, 9], [5, 5, 9, 9], [5, 5, 9, 9]]
    assert seen_at(latency, 2)[0, 0].tolist() == expected


def test_class_neurons_see_each_feature_and_its_partner():
    latency = input_latency(noise((20, 33)))
    read = segmenter()(latency)
    assert read.shape == (1, READ, 20, 33)
    features, partners = read[:, : READ // 2].int(), read[:, READ // 2 :].int()
    assert len(features.unique()) > 3
    assert torch.equal(partners, BINS - 1 - features.clamp(max=BINS - 1))


def test_earliest_class_neuron_wins():
    network = segmenter()
    network.readout.weight.zero_()
    # The middle class hears of the first half alone, the last class of the second.
    network.readout.weight[NEURONS_PER_CLASS, : READ // 2] = 1
    network.readout.weight[-1, READ // 2 :] = 1
    read = torch.full((1, READ, 1, 3), 9, dtype=torch.uint8)
    read[:, : READ // 2, :, 0] = 2
    read[:, READ // 2 :, :, 1] = 2
    read[..., 2] = BINS
    assert network.winners(read).flatten().tolist() == [1, 2, 0]


@pytest.mark.parametrize("shape", [(120, 120), (17, 33), (333, 500), (1, 1), (3, 400)])
def test_class_map_has_the_size_of_the_image(shape):
    found = classes_of(segmenter(), noise(shape))
    assert found.shape == shape
    assert found.dtype == np.uint8
    assert found.max() <= 2


def test_light_and_pixel_size_are_of_no_matter_and_nothing_else_is_known():
    pixels = (noise((90, 120)) // 2 * np.linspace(0.5, 1, 120)[None, :, None]).astype(np.uint8)
    reading = read_classes(segmenter(), pixels, estimate_light(pixels), PixelSize(0.3, "given"))
    np.testing.assert_array_equal(reading.classes, classes_of(segmenter(), pixels))
    assert (reading.scale, reading.scale_from) == (1.0, ScaleFrom.OWN)
    assert (reading.red_cells, reading.even, reading.shares) == (None, None, None)


def test_resized_classes_go_by_what_most_are_of():
    assert resized_classes(np.array([[2, 2], [2, 0]], np.uint8), 1, 1).tolist() == [[2]]
    halves = np.repeat(np.array([[0, 2]], np.uint8), 2, axis=0)
    assert resized_classes(halves, 4, 4).tolist() == [[0, 0, 2, 2]] * 4


def test_save_and_load(tmp_path: Path):
    network = segmenter()
    save_plastic(network, tmp_path / "weights.safetensors")
    loaded = load_plastic(tmp_path / "weights.safetensors")
    np.testing.assert_array_equal(*(classes_of(one, noise((40, 40))) for one in (network, loaded)))
    assert (tmp_path / "weights.safetensors").stat().st_size < 100_000


def test_shipped_network_parts_a_drawn_cell():
    rows, columns = np.mgrid[:240, :240]
    distance = np.hypot(rows - 120, columns - 120)
    classes = (distance < 80).astype(np.uint8) + (distance < 50)
    pixels = np.array([[225, 215, 220], [175, 170, 210], [100, 50, 140]], np.uint8)[classes]
    found = classes_of(default_plastic(), pixels)
    assert ((found == 2) == (classes == 2)).mean() > 0.9
    assert (found == 0)[classes == 0].mean() > 0.9


def test_refuses_a_missing_file(tmp_path: Path):
    with pytest.raises(WeightsError, match="must be a file"):
        load_plastic(tmp_path / "weights.safetensors")


@pytest.mark.parametrize(
    ("value", "message"), [(1.5, r"from 0 to 1, got other values in readout\.weight"), (float("nan"), "finite")]
)
def test_refuses_impossible_weights(tmp_path: Path, value, message):
    network = segmenter()
    network.readout.weight[0, 0] = value
    save_plastic(network, tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError, match=message):
        load_plastic(tmp_path / "weights.safetensors")


@pytest.mark.parametrize(
    ("name", "value"), [("bins", 63), ("scales", [1, 4, 8]), ("classes", ["rest", "nucleus", "cytoplasm"])]
)
def test_refuses_other_settings(tmp_path: Path, name: str, value: object):
    path = tmp_path / "weights.safetensors"
    save_plastic(segmenter(), path)
    settings = read_weights(path, form="leukospike-plastic-segmenter-1", where="", give="", use="").settings
    write_weights(path, segmenter().state_dict(), settings | {name: value})
    with pytest.raises(WeightsError, match=rf"invalid part \({name} of {re.escape(str(value))}\)"):
        load_plastic(path)


def test_refuses_whole_numbers(tmp_path: Path):
    path = tmp_path / "weights.safetensors"
    save_plastic(segmenter(), path)
    settings = read_weights(path, form="leukospike-plastic-segmenter-1", where="", give="", use="").settings
    write_weights(path, {name: tensor.long() for name, tensor in segmenter().state_dict().items()}, settings)
    with pytest.raises(WeightsError, match="load_plastic: weights must be float32, got int64 in "):
        load_plastic(path)


def test_refuses_another_form_and_missing_parts(tmp_path: Path):
    path = tmp_path / "weights.safetensors"
    write_weights(path, {}, {"format": "another"})
    with pytest.raises(WeightsError, match="have the format leukospike-plastic-segmenter-1, got another"):
        load_plastic(path)
    write_weights(path, {}, {"format": "leukospike-plastic-segmenter-1"})
    with pytest.raises(WeightsError, match="invalid part"):
        load_plastic(path)
