"""Integrate and fire, by hand; what is refused; tests/properties has the rest."""

import pytest
import torch

from leukospike.errors import ConfigError, ImageError
from leukospike.spikes import SpikingConv2d


def two_inputs(*weights: float, threshold: float | None) -> SpikingConv2d:
    layer = SpikingConv2d(2, 1, 1, threshold=threshold)
    layer.weight.copy_(torch.tensor(weights).view(1, 2, 1, 1))
    return layer


def spike(layer: SpikingConv2d, *times: int) -> tuple[int, float]:
    spikes = layer(torch.tensor(times, dtype=torch.uint8).view(1, 2, 1, 1))
    return int(spikes.latency), float(spikes.potential)


def test_a_neuron_fires_when_the_potential_is_above_the_threshold():
    assert spike(two_inputs(0.5, 0.25, threshold=0.6), 2, 7) == (7, 0.75)
    assert spike(two_inputs(0.5, 0.25, threshold=0.4), 2, 7) == (2, 0.5)


def test_at_the_threshold_it_does_not_fire():
    assert spike(two_inputs(0.5, 0.25, threshold=0.75), 2, 7) == (15, 0.0)


def test_inputs_of_one_time_step_count_together():
    assert spike(two_inputs(1.0, -0.75, threshold=0.5), 3, 3) == (15, 0.0)


def test_the_first_crossing_counts_though_the_potential_falls_again():
    assert spike(two_inputs(1.0, -0.75, threshold=0.5), 3, 4) == (3, 1.0)
    assert spike(two_inputs(1.0, -0.75, threshold=0.5), 4, 3) == (15, 0.0)


def test_without_threshold_it_waits_for_the_last_time_step():
    assert spike(two_inputs(1.0, -0.75, threshold=None), 3, 4) == (14, 0.25)
    assert spike(two_inputs(-1.0, 0.75, threshold=None), 3, 4) == (14, -0.25)
    assert spike(two_inputs(1.0, -1.0, threshold=None), 3, 4) == (15, 0.0)
    assert spike(two_inputs(1.0, 1.0, threshold=None), 15, 15) == (15, 0.0)


def test_no_rounding_decides_who_fires():
    # 0.1 in float32 ten times over: float32 sums give 1.0000001 in one order.
    layer = SpikingConv2d(10, 1, 1, threshold=1.0, weight_mean=0.1, weight_std=0.0)
    exact = 10 * float(torch.tensor(0.1))
    spikes = layer(torch.zeros(1, 10, 1, 1, dtype=torch.uint8))
    assert (int(spikes.latency) == 0) == (exact > 1)
    assert float(spikes.potential) == float(torch.tensor(exact))


def test_initial_weights_come_from_the_generator_and_have_no_gradient():
    layers = [SpikingConv2d(3, 4, (5, 7), threshold=9.0, generator=torch.Generator().manual_seed(7)) for _ in range(2)]
    assert torch.equal(layers[0].weight, layers[1].weight)
    assert layers[0].weight.shape == (4, 3, 5, 7)
    assert not layers[0].weight.requires_grad
    assert float(layers[0].weight.mean()) == pytest.approx(0.8, abs=0.02)
    assert float(layers[0].weight.std()) == pytest.approx(0.05, rel=0.2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"in_channels": 0}, r"in_channels must be at least 1, got 0\. Use a number"),
        ({"out_channels": -1}, r"out_channels must be at least 1, got -1\. Use a number"),
        ({"kernel_size": (3, 0)}, r"kernel_size must be at least 1, got 0\. Use a number"),
        ({"padding": -1}, r"padding must be at least 0, got -1\. Use a number"),
        ({"padding": 3}, r"padding must be below the kernel's side \(3\), got 3\. Lower it"),
        ({"threshold": -1.0}, r"threshold must be at least 0 and finite, or None, got -1\.0\. Pass None"),
        ({"threshold": float("inf")}, r"threshold must be at least 0 and finite, or None, got inf\. Pass None"),
        ({"threshold": float("nan")}, r"threshold must be at least 0 and finite, or None, got nan\. Pass None"),
        ({"bins": 256}, r"bins must be from 1 to 255, got 256\. Use fewer"),
    ],
)
def test_impossible_layers_are_refused(settings, message):
    usual = {"in_channels": 1, "out_channels": 1, "kernel_size": 3, "threshold": 1.0}
    with pytest.raises(ConfigError, match=f"SpikingConv2d: {message}"):
        SpikingConv2d(**{**usual, **settings})


def test_maps_that_do_not_fit_are_refused():
    layer = SpikingConv2d(2, 1, 5, threshold=1.0, padding=1)
    with pytest.raises(ImageError, match=r"SpikingConv2d: latency must have 2 channels, got 3\. Pass a map"):
        layer(torch.zeros(1, 3, 9, 9, dtype=torch.uint8))
    with pytest.raises(ImageError, match=r"at least 5 x 5, padding included, got 4 x 11\. Use a smaller"):
        layer(torch.zeros(1, 2, 2, 9, dtype=torch.uint8))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: torch.cuda.is_available() is false")
@pytest.mark.parametrize("threshold", [None, 3.0])
def test_a_gpu_gives_the_bits_of_the_cpu(threshold):
    layer = SpikingConv2d(4, 20, 7, threshold=threshold, padding=2, weight_mean=0.2, weight_std=0.5)
    latency = torch.randint(0, 17, (3, 4, 40, 33), generator=torch.Generator().manual_seed(0)).byte()
    here, there = layer(latency), layer.cuda()(latency.cuda())
    assert torch.equal(there.latency.cpu(), here.latency)
    assert torch.equal(there.potential.cpu(), here.potential)
