"""What a step of spikes has no answer for is refused in words, by each step that could meet it."""

import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch

from leukospike.errors import ConfigError, ExportError, ImageError, LeukospikeError
from leukospike.spikes import (
    RewardRates,
    Spikes,
    SpikingConv2d,
    StdpRates,
    difference_of_gaussians_bank,
    edge_responses,
    feature_inhibition,
    from_wave,
    gabor_bank,
    gabor_kernel,
    k_winners,
    kept_features,
    lateral_inhibition,
    opponent_channels,
    optical_density,
    pointwise_inhibition,
    pool_intensity,
    pool_latency,
    rank_order_latency,
    reward_modulated_stdp,
    spot_responses,
    stain_channels,
    stdp,
    to_wave,
    winner_times,
)
from leukospike.spikes.mozafari import MozafariClassifier
from leukospike.spikes.plots import plot_features, reconstruct_features
from leukospike.spikes.storage import export_nir, load_layer, save_layer

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
        ({"weight": WEIGHT[0]}, "weight must be floating point, of shape .feature, channel, row, column., got float32"),
        ({"weight": WEIGHT.long()}, "weight must be floating point, .*, got int64 of shape"),
        ({"padding": -1}, "padding must be at least 0, got -1"),
        ({"padding": math.nan}, "padding must be a whole number, got nan"),
        ({"winners": WINNERS[0]}, r"winners must be whole numbers of shape \(1, k, 3\)"),
        ({"winners": WINNERS.float()}, "winners must be whole numbers"),
        ({"winners": WINNERS.repeat(2, 1, 1)}, "winners must be whole numbers"),
        ({"winners": WINNERS.tolist()}, "winners must be whole numbers of shape .*, got list"),
        ({"times": TIMES * math.nan}, "times must be whole numbers"),
        (
            {"times": TIMES.repeat(1, 2)},
            r"times must be whole numbers, one for each winner, \(1, 1\), got uint8 of shape \(1, 2\)",
        ),
    ],
)
@pytest.mark.parametrize("rewarded", [False, True])
def test_learning_refuses_what_does_not_fit(rewarded: bool, change: dict[str, object], message: str) -> None:
    given = {"weight": WEIGHT, "latency": LATENCY, "winners": WINNERS, "times": TIMES, **change}
    with pytest.raises(LeukospikeError, match=message):
        reward_modulated_stdp(**given, reinforcement=[1]) if rewarded else stdp(**given, rates=StdpRates())


@pytest.mark.parametrize("winner", [[4, 0, 0], [0, -1, 0]])
def test_winners_beyond_the_map_have_no_times(winner: list[int]) -> None:
    with pytest.raises(ConfigError, match=r"winner_times: winners must lie on a map of \(4, 8, 8\), got \[[04], "):
        winner_times(LATENCY, torch.tensor([[winner]]))


def test_winners_of_any_whole_type_have_times() -> None:
    assert winner_times(LATENCY, WINNERS.int()).tolist() == [[0]]


RATES = {"causal": 0.1, "acausal": -0.1}
MAPS, WAVE = LATENCY / 255, torch.zeros(1, 15, 1, 1, 1)
GREY, SPIKES = torch.zeros(1, 1, 8, 8), Spikes(LATENCY, LATENCY.float())
KERNELS = torch.ones(4, 1, 3, 3)
ONE_KERNEL = r"must be \(kernels, 1, row, column\), got"
LAYER = partial(SpikingConv2d, 1, 2, threshold=1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: stain_channels(torch.zeros(1, 3, 4, 4), [[1, 2, 3], [1, 2]]),
            "stains must be .* three finite numbers",
        ),
        (lambda: stain_channels(torch.zeros(1, 3, 4, 4), [[1, math.nan, 3]]), "stains must be .* three finite numbers"),
        (lambda: gabor_kernel(math.nan), "gabor_kernel: orientation_deg must be finite, got nan"),
        (lambda: gabor_bank(4, [0, math.inf]), "gabor_kernel: orientation_deg must be finite, got inf"),
        (lambda: gabor_kernel(0, window=math.nan), "window must be a whole number, got nan"),
        (lambda: gabor_bank(4, np.zeros(0)), "gabor_bank: orientations_deg must name at least one angle"),
        (lambda: difference_of_gaussians_bank(math.nan), "radius_px must be a whole number, got nan"),
        (
            lambda: difference_of_gaussians_bank(3, [(1, math.inf)]),
            "scales_px must be pairs of a positive centre and a w",
        ),
        (
            lambda: difference_of_gaussians_bank(3, [(1e200, 2e200)]),
            "scales_px must be pairs of a positive centre and a",
        ),
        (
            lambda: difference_of_gaussians_bank(3, [(math.nan, 1)]),
            "scales_px must be pairs of a positive centre and a",
        ),
        (
            lambda: difference_of_gaussians_bank(3, [(1, 2, 3)]),
            "scales_px must be pairs of a positive centre and a wider",
        ),
        (
            lambda: difference_of_gaussians_bank(3, [(1e-200, 1)]),
            "scales_px must make kernels that differ from pixel to",
        ),
        *(
            (lambda step=step, bank=bank: step(GREY, bank), f"{step.__name__}: {message}")
            for step in (edge_responses, spot_responses)
            for bank, message in (
                (KERNELS[0], f"bank {ONE_KERNEL} float32 of shape"),
                (KERNELS.numpy(), f"bank {ONE_KERNEL} ndarray"),
                (KERNELS[:0], f"bank {ONE_KERNEL} float32 of shape"),
                (KERNELS * math.nan, "bank must be finite"),
            )
        ),
        (lambda: spot_responses(GREY, KERNELS[..., :2]), "bank must have kernels of odd sides, got 3 x 2"),
        (
            lambda: spot_responses(GREY[..., :0], KERNELS),
            "spot_responses: images must have at least one pixel, got shape",
        ),
        (lambda: lateral_inhibition(MAPS[..., :0]), "lateral_inhibition: intensity must have at least one pixel"),
        (
            lambda: pointwise_inhibition(Spikes(LATENCY[:, :0], MAPS[:, :0])),
            "pointwise_inhibition: spikes must have at least one pixel",
        ),
        (lambda: feature_inhibition(SPIKES, [True] * 4), "inhibited must be one row of Booleans, got list"),
        (lambda: Spikes(LATENCY, None), "Spikes: potential must be a tensor, got NoneType"),
        (
            lambda: Spikes(LATENCY, LATENCY),
            "Spikes: potential must be floating point, got uint8. Convert whole numbers",
        ),
        (lambda: from_wave(WAVE * math.nan), "from_wave: wave must not contain NaN, got NaN"),
        (lambda: k_winners(SPIKES, math.nan), "k_winners: k must be a whole number, got nan"),
        (lambda: k_winners(SPIKES, 1, 0.5), "k_winners: radius must be a whole number, got 0.5"),
        *((lambda bins=bins: to_wave(LATENCY, bins), "bins must be a whole number") for bins in (math.nan, 2.5, True)),
        (lambda: pool_latency(LATENCY, 2.5), "pool_latency: kernel must be a whole number, got 2.5"),
        (lambda: pool_intensity(MAPS, 2, math.nan), "pool_intensity: stride must be a whole number, got nan"),
        (lambda: pool_intensity(MAPS, 2, 1, 0.5), "pool_intensity: padding must be a whole number, got 0.5"),
        (lambda: LAYER(math.nan), "SpikingConv2d: kernel_size must be a whole number, got nan"),
        (lambda: LAYER((3, 3, 3)), r"kernel_size must be one number, or rows and columns, got \(3, 3, 3\)"),
        (lambda: LAYER(3, padding=0.5), "SpikingConv2d: padding must be a whole number, got 0.5"),
        *(
            (
                lambda name=name, value=value: StdpRates(**{**RATES, name: value}),
                "StdpRates: causal and acausal must be finite",
            )
            for name in RATES
            for value in (math.nan, math.inf)
        ),
        (
            lambda: RewardRates().adapted(right=math.nan, wrong=0, total=1),
            "right and wrong must be at least 0 and together",
        ),
        (lambda: kept_features(-1, dropout=0.5, generator=torch.Generator()), "n_features must be at least 0, got -1"),
        (lambda: winner_times(LATENCY.float(), WINNERS), "winner_times: spikes must be uint8, got float32"),
        (
            lambda: reconstruct_features(WEIGHT[0], stride=1),
            "reconstruct_features: weight must be floating point, of shape",
        ),
        (
            lambda: reconstruct_features(WEIGHT[..., :0], stride=1),
            "reconstruct_features: weight must be floating point, of",
        ),
        (lambda: reconstruct_features(WEIGHT, KERNELS[:, 0], stride=1), f"reconstruct_features: kernels {ONE_KERNEL}"),
        (
            lambda: reconstruct_features(WEIGHT, KERNELS * math.nan, stride=1),
            "reconstruct_features: kernels must be finite",
        ),
        (
            lambda: reconstruct_features(WEIGHT, stride=1.5),
            "reconstruct_features: stride must be a whole number, got 1.5",
        ),
        (lambda: plot_features(WEIGHT[0], stride=1), "plot_features: weight must be floating point, of shape"),
        (
            lambda: plot_features(WEIGHT, stride=1, columns=math.nan),
            "plot_features: columns must be a whole number, got nan",
        ),
    ],
)
def test_settings_and_maps_without_an_answer_are_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(LeukospikeError, match=message):
        call()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"features_per_class": math.nan}, "features_per_class must be a whole number, got nan"),
        ({"kernel_px": 0}, "kernel_px must be at least 1, got 0. Use a number of pixels"),
        ({"pool_px": math.nan}, "pool_px must be a whole number, got nan"),
        ({"pool_stride_px": 0}, "pool_stride_px must be at least 1, got 0"),
        ({"epochs": 1.5}, "epochs must be a whole number, got 1.5"),
        ({"random_state": -1}, "random_state must be at least 0, got -1"),
        ({"device": "bogus"}, "device must be available to torch on this machine, got bogus"),
        ({}, r"y must be a vector of text, integers or Booleans, got object of shape \(4,\)"),
    ],
)
def test_the_network_refuses_settings_and_labels(settings: dict[str, object], message: str) -> None:
    images = np.random.default_rng(0).random((4, 24, 24))
    labels = [0, 1, 0, 1] if settings else [[0], [1, 1], [0], [1]]
    with pytest.raises(LeukospikeError, match=f"MozafariClassifier: {message}"):
        MozafariClassifier(**{"kernel_px": 3, "epochs": 1, **settings}).fit(images, labels)


@pytest.mark.parametrize("size", [(5,), (5, 5, 5), ()])
def test_nir_has_an_input_of_rows_and_columns(tmp_path: Path, size: tuple[int, ...]) -> None:
    pytest.importorskip("nir")
    with pytest.raises(ExportError, match="export_nir: input_size must be"):
        export_nir(LAYER(3), tmp_path / "layer.nir", input_size=size)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_precision_is_encoded_and_inhibited(dtype: torch.dtype) -> None:
    maps = torch.rand(1, 4, 9, 9, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    same = maps.to(dtype)  # what bfloat16 holds, float16 may round
    latency = rank_order_latency(same)
    assert torch.equal(latency, rank_order_latency(same.float()))
    found, expected = (pointwise_inhibition(Spikes(latency, potential)) for potential in (same, same.float()))
    assert torch.equal(found.latency, expected.latency)
    assert torch.equal(found.potential.float(), expected.potential)
    assert spot_responses(same[:, :1], KERNELS).dtype == dtype


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
