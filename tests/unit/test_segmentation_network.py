"""The spiking segmenter against its own description: one spike a neuron, step by step."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d, interpolate

from leukospike.errors import WeightsError
from leukospike.segmentation import class_maps as class_maps_module
from leukospike.segmentation.class_maps import class_maps
from leukospike.segmentation.input_spikes import at_working_size, input_spikes, working_scale
from leukospike.segmentation.network import (
    CHANNELS,
    CLASSES,
    STEPS,
    SpikingLayer,
    SpikingSegmenter,
    load_segmenter,
    reach_of,
    save_segmenter,
)
from leukospike.weights import read_weights, write_weights


def segmenter(seed: int = 0) -> SpikingSegmenter:
    """Give a folded network of random weights whose layers neither fall silent nor saturate."""
    torch.manual_seed(seed)
    network = SpikingSegmenter(folded=False)
    network.train()
    with torch.no_grad():
        for _ in range(20):  # so that batch norm has seen something
            network(torch.rand(2, 6, 64, 64))
    return network.eval().fold()


def noise(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


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


def test_rank_survives_brightness_and_gamma_where_darkness_does_not():
    pixels = noise((30, 40)) // 8 * 4 + 8  # far enough apart that no two values fall together; none is clipped
    changed = np.round(1.25 * 255 * (pixels / 255) ** 0.7).astype(np.uint8)
    assert len(np.unique(changed)) == len(np.unique(pixels))
    before, after = input_spikes(pixels), input_spikes(changed)
    np.testing.assert_array_equal(before[3:], after[3:])
    assert np.abs(before[:3] - after[:3]).mean() > 0.05


def test_input_spikes_by_hand():
    pixels = np.zeros((1, 4, 3), np.uint8)
    pixels[0, :, 0] = (0, 51, 51, 255)
    spikes = input_spikes(pixels)
    np.testing.assert_allclose(spikes[0, 0], (1, 0.8, 0.8, 0), atol=1e-6)
    np.testing.assert_allclose(spikes[3, 0], (0.125, 0.5, 0.5, 0.875))


@pytest.mark.parametrize(
    ("shape", "scale"),
    [
        ((120, 120), 2),
        ((60, 60), 4),
        ((20, 20), 4),
        ((300, 300), 1),
        ((360, 10), 1),
        ((361, 10), 0.5),
        ((480, 640), 0.5),
        ((1440, 1080), 0.25),
        ((1944, 2592), 0.5),
        ((8000, 8000), 0.5),
    ],
)
def test_working_scale(shape, scale):
    assert working_scale(*shape) == scale


def test_half_and_double_size_come_to_the_same_working_size():
    for side in (120, 300, 450, 640):
        sizes = {at_working_size(noise((factor, factor))).shape for factor in (side // 2, side, side * 2)}
        assert len(sizes) == 1


@pytest.mark.parametrize("shape", [(16, 16), (17, 33), (120, 121), (333, 500), (1, 1), (3, 700)])
def test_class_map_has_the_size_of_the_image(shape):
    (found,) = class_maps(segmenter(), [noise(shape)])
    assert found.shape == shape
    assert found.dtype == np.uint8
    assert found.max() <= 2


def test_batch_equals_one_by_one():
    network = segmenter()
    images = [noise((100, 90), 1), noise((100, 90), 2), noise((64, 64), 3), noise((100, 90), 4)]
    together = class_maps(network, images)
    for image, found in zip(images, together, strict=True):
        (alone,) = class_maps(network, [image])
        assert (alone != found).mean() < 1e-3  # a sum may round otherwise where a potential lies between two steps


class _Given(SpikingSegmenter):
    """A network whose class neurons have the potentials that it is given."""

    def __init__(self, potential: torch.Tensor) -> None:
        super().__init__(folded=True)
        self._potential = potential

    def forward(self, spikes: torch.Tensor) -> torch.Tensor:
        assert spikes.shape[-2:] == self._potential.shape[-2:]
        return self._potential[None]


@pytest.mark.parametrize("shape", [(450, 400), (1000, 600), (363, 360), (200, 300), (100, 90)])
@pytest.mark.parametrize("window", [(0, 0, 0, 0), (10, 20, 12, 21), (0, 0, 30, 30), (25, 3, 60, 45), (0, 0, 999, 999)])
def test_classes_are_those_of_the_interpolated_potentials(shape, window):
    scale = working_scale(*shape)
    rows, columns = round(shape[0] * scale), round(shape[1] * scale)
    generator = torch.Generator().manual_seed(0)
    potential = torch.rand(3, rows, columns, generator=generator)
    top, left, bottom, right = window
    outside = torch.ones(rows, columns, dtype=torch.bool)
    outside[top:bottom, left:right] = False
    # Outside the window rest wins or draws: where two spike together, the lower number counts.
    potential[0] = torch.where(outside, potential.max(dim=0).values, potential[0] / 4)

    [found] = class_maps(_Given(potential), [noise(shape)])
    everywhere = interpolate(potential[None], shape, mode="bilinear", align_corners=False)[0]
    np.testing.assert_array_equal(found, everywhere.argmax(dim=0).numpy())
    assert found.any() == (right > left)


def _on_black(shape: tuple[int, int], box: tuple[int, int, int, int], seed: int = 0) -> np.ndarray:
    """Draw noise in an ellipse, of box (top, left, height, width), on black."""
    top, left, height, width = box
    row, column = np.ogrid[:height, :width]
    inside = np.hypot((row + 0.5) / height - 0.5, (column + 0.5) / width - 0.5) < 0.5
    pixels = np.zeros((*shape, 3), np.uint8)
    pixels[top : top + height, left : left + width][inside] = noise((height, width), seed)[inside]
    return pixels


ON_BLACK = [
    ((450, 450), (110, 130, 200, 190)),
    ((450, 450), (0, 130, 150, 210)),  # at the border
    ((450, 450), (250, 0, 200, 120)),
    ((450, 450), (243, 301, 207, 149)),
    ((446, 450), (201, 203, 31, 77)),
    ((225, 223), (60, 70, 100, 90)),  # not halved
    ((224, 301), (5, 190, 100, 111)),
    ((1000, 1000), (390, 410, 260, 255)),  # halved twice
]


@pytest.mark.parametrize(("shape", "box"), ON_BLACK)
def test_potentials_around_a_cell_on_black_are_those_of_the_whole_image(shape, box):
    network = segmenter().double()  # so that hardly any potential lies where rounding decides
    pixels = _on_black(shape, box)
    window = class_maps_module._window_on_black(pixels)
    assert window is not None
    small = at_working_size(pixels)
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


@pytest.mark.parametrize(("shape", "box"), ON_BLACK)
def test_class_map_of_a_cell_on_black_is_that_of_the_plain_way(shape, box, monkeypatch: pytest.MonkeyPatch):
    network, pixels = segmenter(1), _on_black(shape, box)
    [found] = class_maps(network, [pixels])
    window = class_maps_module._window_on_black(pixels)
    assert window is not None
    block = 2 * round(1 / working_scale(*shape))
    computed = np.zeros(shape, bool)
    computed[block * window.top : block * window.bottom, block * window.left : block * window.right] = True
    monkeypatch.setattr(class_maps_module, "_window_on_black", lambda _: None)
    [plain] = class_maps(network, [pixels])
    top, left, height, width = box
    near = np.zeros(shape, bool)
    near[max(top - 4, 0) : top + height + 4, max(left - 4, 0) : left + width + 4] = True
    assert np.unique(plain[near]).size > 1
    assert (found != plain)[near].mean() < 0.02  # what one rounding decides, a random network spreads
    assert not found[~computed].any()  # where there is no cell, nothing is computed


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((450, 450, 3), np.uint8),
        noise((450, 450)),
        _on_black((450, 450), (5, 5, 440, 440)),  # hardly anything to save
        _on_black((451, 450), (110, 130, 200, 190)),  # halved, it is no whole number of pixels
        _on_black((120, 120), (30, 30, 50, 50)),  # enlarged
        _on_black((20, 330), (5, 5, 10, 10)),  # too small for borders and middle
    ],
)
def test_other_images_are_computed_whole(pixels: np.ndarray):
    assert class_maps_module._window_on_black(pixels) is None


def test_no_images():
    assert class_maps(segmenter(), []) == []


def test_save_and_load(tmp_path: Path):
    network = segmenter()
    save_segmenter(network, tmp_path / "weights.safetensors")
    loaded = load_segmenter(tmp_path / "weights.safetensors")
    np.testing.assert_array_equal(*(class_maps(one, [noise((80, 80))])[0] for one in (network, loaded)))


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
    with pytest.raises(WeightsError, match="wrong part"):
        load_segmenter(tmp_path / "weights.safetensors")


@pytest.mark.parametrize(
    ("name", "value"), [("steps", 15), ("channels", [16, 24]), ("classes", ["rest", "nucleus", "cytoplasm"])]
)
def test_refuses_other_settings(tmp_path: Path, name: str, value: object):
    path = tmp_path / "weights.safetensors"
    settings = {"format": "leukospike-segmenter-1", "steps": 63, "channels": CHANNELS, "classes": CLASSES}
    write_weights(path, segmenter().state_dict(), settings | {name: value})
    with pytest.raises(WeightsError, match=rf"wrong part \({name} of {re.escape(str(value))}\)"):
        load_segmenter(path)
    write_weights(path, segmenter().state_dict(), {key: kept for key, kept in settings.items() if key != name})
    with pytest.raises(WeightsError, match=rf"wrong part \({name} of None\)"):
        load_segmenter(path)


def test_refuses_whole_numbers(tmp_path: Path):
    path = tmp_path / "weights.safetensors"
    save_segmenter(segmenter(), path)
    settings = read_weights(path, form="leukospike-segmenter-1", where="", give="", use="").settings
    write_weights(path, {name: tensor.long() for name, tensor in segmenter().state_dict().items()}, settings)
    with pytest.raises(WeightsError, match="load_segmenter: weights must be float32, got int64 in "):
        load_segmenter(path)


@pytest.mark.parametrize("shape", [(2048, 1536), (2051, 1537)])
def test_large_image_in_tiles_has_no_seams(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch):
    # Coarse grains, the left half dark: ranks taken tile by tile would not be those of the whole.
    grains = noise((shape[0] // 16 + 1, shape[1] // 16 + 1)).repeat(16, axis=0).repeat(16, axis=1)
    image = grains[: shape[0], : shape[1]].copy()
    image[:, : shape[1] // 2] //= 3
    network = segmenter()
    filled = np.pad(image, ((0, shape[0] % 2), (0, shape[1] % 2), (0, 0)), mode="edge")
    whole = class_maps(network, [filled])[0][: shape[0], : shape[1]]
    monkeypatch.setattr(class_maps_module, "LONGEST_WHOLE_PX", 1500)
    monkeypatch.setattr(class_maps_module, "_TILE_PX", 512)
    [tiled] = class_maps(network, [image])
    assert len(np.unique(whole)) > 1
    assert tiled.shape == shape
    assert np.mean(whole != tiled) <= 1e-4  # the last bits of sums may depend on the size of the tile
    monkeypatch.setattr(class_maps_module, "_OVERLAP_PX", 0)
    assert np.mean(whole != class_maps(network, [image])[0]) > 1e-3
