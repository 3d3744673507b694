"""The spiking segmenter against its own description: one spike a neuron, step by step."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d

from leukospike.errors import WeightsError
from leukospike.images.framing import content_window
from leukospike.segmentation import class_maps as class_maps_module
from leukospike.segmentation.input_spikes import HIGHEST_DENSITY, INPUTS, input_spikes, scaled
from leukospike.segmentation.light import EMPTY
from leukospike.segmentation.network import (
    CHANNELS,
    CLASSES,
    STEPS,
    SpikingLayer,
    SpikingSegmenter,
    likeliest,
    load_segmenter,
    reach_of,
    save_segmenter,
)
from leukospike.storage.weights import read_weights, write_weights
from tests.unit.random_network import noise, segmenter


def test_layer_is_what_integrating_and_firing_step_by_step_gives():
    torch.manual_seed(0)
    layer = SpikingLayer(3, 5, folded=True).double().eval()
    layer.integrate.weight.data.mul_(4)
    latency = torch.randint(0, STEPS + 1, (2, 3, 9, 8))
    weight, current = layer.integrate.weight.detach(), layer.integrate.bias.detach()[:, None, None]

    potential = torch.zeros(2, 5, 9, 8, dtype=torch.float64)
    for step in range(STEPS):
        flowing = (latency <= step).double()
        potential += conv2d(flowing, weight, padding=1) + current
    expected = torch.full(potential.shape, STEPS)
    for step in reversed(range(STEPS)):  # the earliest is written last
        # In the middle between this step's threshold and the next: rounding to the nearer.
        expected[potential >= STEPS - step - 0.5] = step

    with torch.no_grad():
        activation = layer((STEPS - latency).double() / STEPS)
    undecided = ((potential - potential.floor() - 0.5).abs() < 1e-9) & (potential > 0)
    assert not undecided.any()
    assert torch.equal(STEPS - (activation * STEPS).round().long(), expected)
    assert 0.2 < (expected == STEPS).float().mean() < 0.8  # neither all silent nor none


def test_every_layer_sends_whole_steps():
    seen: list[torch.Tensor] = []
    network = segmenter()
    for layer in network.modules():
        if isinstance(layer, SpikingLayer):
            layer.register_forward_hook(lambda _layer, _given, spikes: seen.append(spikes.detach() * STEPS))
    with torch.no_grad():
        network(torch.rand(1, 6, 40, 40))
    assert len(seen) == 14
    for steps in seen:
        torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-4)
        assert steps.min() >= 0
        assert steps.max() <= STEPS


def test_surrogate_gradient_passes_between_silence_and_the_first_step_only():
    layer = SpikingLayer(1, 1, kernel_size=1, folded=True)
    layer.integrate.weight.data.fill_(1)
    layer.integrate.bias.data.fill_(0)
    spikes = torch.tensor([-0.5, 0.25, 0.75, 1.5]).view(1, 1, 1, 4).requires_grad_()
    layer(spikes).sum().backward()
    assert spikes.grad is not None
    assert spikes.grad.flatten().tolist() == [0, 1, 1, 0]


def test_folding_changes_no_potential():
    torch.manual_seed(1)
    network = SpikingSegmenter(folded=False).double()
    network.train()
    with torch.no_grad():
        for _ in range(5):
            network(torch.rand(2, 6, 64, 64).double())
        network.eval()
        spikes = torch.rand(2, 6, 50, 70).double()
        torch.testing.assert_close(network.fold().double()(spikes), network(spikes), rtol=0, atol=1e-3)


def test_density_grows_evenly_with_the_stain_and_darkness_does_not():
    thickness = np.linspace(0, 1, 6)
    pixels = np.repeat(((EMPTY + 1) * 10 ** (-0.8 * thickness) - 1).round().astype(np.uint8)[None, :, None], 3, axis=2)
    spikes = input_spikes(pixels)
    assert spikes.shape == (INPUTS, 1, 6)
    for channel in range(3):
        np.testing.assert_allclose(spikes[3 + channel, 0], 0.8 * thickness / HIGHEST_DENSITY, atol=0.01)
        assert np.ptp(np.diff(spikes[channel, 0])) > 0.1


def test_input_spikes_by_hand():
    pixels = np.zeros((1, 4, 3), np.uint8)
    pixels[0, :, 0] = (0, 51, EMPTY, 255)
    spikes = input_spikes(pixels)
    np.testing.assert_allclose(spikes[0, 0], (1, 0.8, 1 - EMPTY / 255, 0), atol=1e-6)
    np.testing.assert_allclose(spikes[3, 0], (1, np.log10((EMPTY + 1) / 52) / HIGHEST_DENSITY, 0, 0), atol=1e-6)


def test_each_pixel_is_coded_by_itself():
    pixels = noise((20, 30))
    np.testing.assert_array_equal(input_spikes(pixels)[:, 5:9, 7:20], input_spikes(pixels[5:9, 7:20]))


@pytest.mark.parametrize(("scale", "shape"), [(0.5, (15, 20)), (2, (60, 80)), (0.334, (10, 13)), (0.001, (1, 1))])
def test_scaled_image_has_its_size_and_its_colours(scale: float, shape: tuple[int, int]):
    pixels = noise((30, 40))
    found = scaled(pixels, scale)
    assert found.shape[:2] == shape
    np.testing.assert_allclose(found.mean(axis=(0, 1)), pixels.mean(axis=(0, 1)), atol=3)
    assert scaled(pixels, 1) is pixels


def test_image_is_made_smaller_by_the_mean_of_its_pixels():
    pixels = noise((4, 6))
    wanted = pixels.reshape(2, 2, 3, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(scaled(pixels, 0.5), wanted, atol=1)  # rounded once each way


def _on_black(shape: tuple[int, int], box: tuple[int, int, int, int], seed: int = 0) -> np.ndarray:
    """Draw noise in an ellipse, of box (top, left, height, width), on black."""
    top, left, height, width = box
    row, column = np.ogrid[:height, :width]
    inside = np.hypot((row + 0.5) / height - 0.5, (column + 0.5) / width - 0.5) < 0.5
    pixels = np.zeros((*shape, 3), np.uint8)
    pixels[top : top + height, left : left + width][inside] = noise((height, width), seed)[inside]
    return pixels


def _working_px(pixels: np.ndarray) -> int:
    """Give by how much the class maps make a cell on black smaller."""
    sides = [part.stop - part.start for part in content_window(pixels)]
    return max(1, round(np.sqrt(np.prod(sides)) / 101))


ON_BLACK = [
    ((450, 450), (110, 130, 200, 190)),
    ((450, 450), (0, 130, 150, 210)),  # at the border
    ((450, 450), (250, 0, 200, 120)),
    ((450, 450), (243, 301, 207, 149)),
    ((446, 450), (201, 203, 31, 77)),
    ((225, 223), (60, 70, 100, 90)),  # as it is
    ((224, 301), (5, 190, 100, 111)),
    ((1000, 1000), (390, 410, 410, 405)),  # a quarter
]


@pytest.mark.parametrize(("shape", "box"), ON_BLACK)
def test_potentials_around_a_cell_on_black_are_those_of_the_whole_image(shape, box):
    network = segmenter().double()  # so that hardly any potential lies where rounding decides
    pixels = _on_black(shape, box)
    px = _working_px(pixels)
    window = class_maps_module._window_on_black(pixels, px)
    assert window is not None
    small = scaled(pixels, 1 / px)
    spikes = torch.from_numpy(input_spikes(small))[None].double()
    reach = reach_of(window, small.shape[:2])
    assert reach.bottom - reach.top < small.shape[0] or reach.right - reach.left < small.shape[1]
    with torch.inference_mode():
        expected = network(spikes)[..., 2 * window.top : 2 * window.bottom, 2 * window.left : 2 * window.right]
        part = spikes[..., reach.top : reach.bottom, reach.left : reach.right]
        black = np.argwhere(small.max(axis=2) == 0)[0]
        found = network.potentials_on_black(part, spikes[:, :, black[0], black[1]], window, small.shape[:2])
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_save_and_load(tmp_path: Path):
    network = segmenter()
    save_segmenter(network, tmp_path / "weights.safetensors")
    loaded = load_segmenter(tmp_path / "weights.safetensors")
    spikes = torch.from_numpy(input_spikes(noise((80, 80))))[None]
    with torch.inference_mode():
        torch.testing.assert_close(loaded(spikes), network(spikes), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "readable safetensors"), (b"no weights", "readable safetensors"), (None, "must be a file")],
)
def test_refuses_what_is_no_weights_file(tmp_path: Path, content, message):
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        load_segmenter(path)


def test_refuses_nan(tmp_path: Path):
    network = segmenter()
    network.classes.weight.data[0, 0, 0, 0] = float("nan")
    save_segmenter(network, tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError, match=r"finite, got NaN or infinity in classes\.weight"):
        load_segmenter(tmp_path / "weights.safetensors")


def test_refuses_another_network(tmp_path: Path):
    save_segmenter(SpikingSegmenter(folded=False), tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError, match="invalid part"):
        load_segmenter(tmp_path / "weights.safetensors")


@pytest.mark.parametrize(
    ("name", "value"), [("steps", 15), ("channels", [16, 24]), ("classes", ["rest", "cytoplasm", "nucleus"])]
)
def test_refuses_other_settings(tmp_path: Path, name: str, value: object):
    path = tmp_path / "weights.safetensors"
    settings = {"format": "leukospike-segmenter-2", "steps": 63, "channels": CHANNELS, "classes": CLASSES}
    write_weights(path, segmenter().state_dict(), settings | {name: value})
    with pytest.raises(WeightsError, match=rf"invalid part \({name} of {re.escape(str(value))}\)"):
        load_segmenter(path)
    write_weights(path, segmenter().state_dict(), {key: kept for key, kept in settings.items() if key != name})
    with pytest.raises(WeightsError, match=rf"invalid part \({name} of None\)"):
        load_segmenter(path)


def test_refuses_whole_numbers(tmp_path: Path):
    path = tmp_path / "weights.safetensors"
    save_segmenter(segmenter(), path)
    settings = read_weights(path, form="leukospike-segmenter-2", where="", give="", use="").settings
    write_weights(path, {name: tensor.long() for name, tensor in segmenter().state_dict().items()}, settings)
    with pytest.raises(WeightsError, match="load_segmenter: weights must be float32, got int64 in "):
        load_segmenter(path)


def test_refuses_the_form_of_three_classes(tmp_path: Path):
    path = tmp_path / "weights.safetensors"
    settings = {"format": "leukospike-segmenter-1", "steps": 63, "channels": CHANNELS, "classes": CLASSES[:3]}
    write_weights(path, segmenter().state_dict(), settings)
    with pytest.raises(WeightsError, match=r"leukospike-segmenter-2, got leukospike-segmenter-1"):
        load_segmenter(path)


@pytest.mark.parametrize("shape", [(16, 16), (17, 33), (120, 121), (1, 1), (3, 200)])
def test_each_pixel_has_the_potential_of_each_class(shape: tuple[int, int]):
    with torch.inference_mode():
        potentials = segmenter()(torch.from_numpy(input_spikes(noise(shape)))[None])
    assert potentials.shape == (1, len(CLASSES), *shape)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_likeliest_class_is_that_of_argmax_also_where_two_are_alike(dtype: type[np.floating]):
    shares = np.random.default_rng(0).integers(0, 4, (4, 60, 70)).astype(dtype) / 4  # few values: many are alike
    np.testing.assert_array_equal(likeliest(shares), shares.argmax(axis=0))
    np.testing.assert_array_equal(likeliest(shares[:, ::2, ::3]), shares[:, ::2, ::3].argmax(axis=0))
