"""What a step of spikes has no answer for is refused in words, by each step that could meet it."""

import math
import sys
from collections.abc import Callable
from pathlib import Path

import jaxtyping
import pytest
import torch

from leukospike.errors import ConfigError, ImageError, LeukospikeError
from leukospike.spikes import (
    RewardRates,
    Spikes,
    SpikingConv2d,
    StdpRates,
    edge_responses,
    feature_inhibition,
    lateral_inhibition,
    opponent_channels,
    optical_density,
    pool_intensity,
    reward_modulated_stdp,
    spot_responses,
    stain_channels,
    stdp,
    winner_times,
)
from leukospike.spikes.storage import load_layer, save_layer

WEIGHT = torch.full((2, 4, 3, 3), 0.5)
LATENCY = torch.zeros(1, 4, 8, 8, dtype=torch.uint8)
WINNERS, TIMES = torch.zeros(1, 1, 3, dtype=torch.int64), torch.zeros(1, 1, dtype=torch.uint8)


@pytest.fixture(autouse=True)
def _without_type_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.parametrize("step", [opponent_channels, optical_density, stain_channels])
@pytest.mark.parametrize("value", [1.5, 255.0, -0.1, math.nan])
def test_colours_outside_of_0_to_1_are_refused(step: Callable[..., object], value: float) -> None:
    with pytest.raises(ImageError, match=rf"{step.__name__}: images must hold values from 0 to 1"):
        step(torch.full((1, 3, 4, 4), value))


@pytest.mark.parametrize("step", [lateral_inhibition, lambda maps: pool_intensity(maps, 2)])
@pytest.mark.parametrize("value", [-1.0, math.inf, math.nan])
def test_impossible_responses_are_refused(step: Callable[..., object], value: float) -> None:
    with pytest.raises(ImageError, match="intensity must be finite and not negative"):
        step(torch.full((1, 1, 4, 4), value))


@pytest.mark.parametrize("step", [edge_responses, lambda images: spot_responses(images, torch.ones(1, 1, 3, 3))])
def test_whole_numbers_are_no_images(step: Callable[..., object]) -> None:
    with pytest.raises(ImageError, match="images must be floating point, got uint8"):
        step(torch.zeros(1, 1, 9, 9, dtype=torch.uint8))


def test_edges_of_images_smaller_than_the_kernels_are_refused() -> None:
    with pytest.raises(ImageError, match="images must be at least 5 x 5 pixels, got 4 x 9"):
        edge_responses(torch.zeros(1, 1, 4, 9))


@pytest.mark.parametrize("value", [2, 0.5, math.nan, True, False])
def test_only_reward_punishment_or_nothing_follows_on_a_decision(value: float) -> None:
    with pytest.raises(ConfigError, match="reinforcement must be 1, -1 or 0"):
        reward_modulated_stdp(WEIGHT, LATENCY, WINNERS, TIMES, [value])


def test_each_reinforcement_has_its_rates() -> None:
    rates = RewardRates()
    assert [rates.of(value) for value in (1, -1, 0)] == [rates.reward, rates.punishment, None]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latency": LATENCY[:, :1]}, "latency must have 4 channels, got 1"),
        ({"weight": WEIGHT[0]}, "weight must be .feature, channel, row, column., got 3 dimensions"),
        ({"padding": -1}, "padding must be at least 0, got -1"),
        ({"winners": WINNERS[0]}, r"winners must be whole numbers of shape \(1, k, 3\)"),
        ({"winners": WINNERS.float()}, "winners must be whole numbers"),
        ({"winners": WINNERS.repeat(2, 1, 1)}, "winners must be whole numbers"),
        ({"times": TIMES.repeat(1, 2)}, r"times must be one for each winner, \(1, 1\), got shape \(1, 2\)"),
    ],
)
@pytest.mark.parametrize("rewarded", [False, True])
def test_learning_refuses_what_does_not_fit(rewarded: bool, change: dict[str, object], message: str) -> None:
    given = {"weight": WEIGHT, "latency": LATENCY, "winners": WINNERS, "times": TIMES, **change}
    with pytest.raises(LeukospikeError, match=message):
        reward_modulated_stdp(**given, reinforcement=[1]) if rewarded else stdp(**given, rates=StdpRates())


def test_winners_beyond_the_map_have_no_times() -> None:
    with pytest.raises(ConfigError, match=r"winner_times: winners must lie on a map of \(4, 8, 8\), got \[4, 0, 0\]"):
        winner_times(LATENCY, torch.tensor([[[4, 0, 0]]]))


def test_spikes_of_two_shapes_are_refused() -> None:
    with pytest.raises(ImageError, match="potential must have the shape of latency"):
        Spikes(LATENCY, torch.zeros(1, 4, 8, 7))


def test_features_are_silenced_by_booleans_alone() -> None:
    with pytest.raises(ConfigError, match="inhibited must be one row of Booleans, got float32"):
        feature_inhibition(Spikes(LATENCY, torch.ones(1, 4, 8, 8)), torch.zeros(4))


@pytest.mark.parametrize("option", [{"weight_std": -0.1}, {"weight_mean": math.nan}])
def test_impossible_initial_weights_are_refused(option: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="weight_mean must be finite, and weight_std finite and at least 0"):
        SpikingConv2d(1, 2, 3, threshold=1.0, **option)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_layer_of_another_precision_spikes_and_is_read_back(tmp_path: Path, dtype: torch.dtype) -> None:
    layer = SpikingConv2d(1, 2, 3, threshold=2.0, generator=torch.Generator().manual_seed(0)).to(dtype)
    save_layer(layer, tmp_path / "layer.safetensors")
    inputs = torch.arange(81, dtype=torch.uint8).view(1, 1, 9, 9) % 16
    assert torch.equal(load_layer(tmp_path / "layer.safetensors")(inputs).potential, layer(inputs).potential)


def test_responses_with_a_gradient_are_inhibited() -> None:
    maps = torch.rand(1, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    assert torch.equal(lateral_inhibition(maps.clone().requires_grad_()), lateral_inhibition(maps))


def test_edges_are_found_in_double_precision() -> None:
    assert edge_responses(torch.rand(1, 1, 9, 9, dtype=torch.float64)).dtype == torch.float64


def test_numba_without_a_place_for_its_cache_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    caching = pytest.importorskip("numba.core.caching")
    maps = torch.rand(1, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    expected = lateral_inhibition(maps)
    monkeypatch.delitem(sys.modules, "leukospike.spikes.compiled_inhibition", raising=False)
    for kind in (caching.CacheImpl, *caching.CacheImpl.__subclasses__()):
        monkeypatch.setattr(kind, "_locator_classes", [])
    assert torch.equal(lateral_inhibition(maps), expected)
    assert "leukospike.spikes.compiled_inhibition" not in sys.modules
