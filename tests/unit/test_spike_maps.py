"""What is no stack of maps is refused in one line that says what to do: an array, a single image, a wave, colours."""

import re
from collections.abc import Callable
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch

from leukospike.errors import ImageError
from leukospike.spikes import (
    Reinforcement,
    Spikes,
    SpikingConv2d,
    StdpRates,
    decide,
    edge_responses,
    feature_inhibition,
    first_wave,
    from_wave,
    gabor_bank,
    k_winners,
    latency_map,
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
    value_latency,
    winner_times,
)
from leukospike.spikes.plots import plot_latency, plot_raster

LAYER = SpikingConv2d(4, 2, 3, threshold=1.0)
WINNERS, TIMES = torch.zeros(1, 1, 3, dtype=torch.int64), torch.zeros(1, 1, dtype=torch.uint8)
SPIKES = Spikes(torch.zeros(1, 4, 9, 9, dtype=torch.uint8), torch.ones(1, 4, 9, 9))

OF_LATENCY = {
    "SpikingConv2d": [LAYER, LAYER.latency, lambda latency: decide(LAYER, latency)],
    "Spikes": [lambda latency: Spikes(latency, SPIKES.potential)],
    "pool_latency": [lambda latency: pool_latency(latency, 2)],
    "to_wave": [to_wave],
    "stdp": [lambda latency: stdp(LAYER.weight, latency, WINNERS, TIMES, rates=StdpRates())],
    "reward_modulated_stdp": [
        lambda latency: reward_modulated_stdp(LAYER.weight, latency, WINNERS, TIMES, [Reinforcement.REWARD])
    ],
}
OF_INTENSITY = {
    "rank_order_latency": rank_order_latency,
    "value_latency": value_latency,
    "pool_intensity": lambda intensity: pool_intensity(intensity, 2),
    "lateral_inhibition": lateral_inhibition,
}
OF_GREY = {
    "latency_map": latency_map,
    "first_wave": first_wave,
    "edge_responses": edge_responses,
    "spot_responses": lambda images: spot_responses(images, gabor_bank()),
}
OF_COLOUR = {
    "opponent_channels": opponent_channels,
    "optical_density": optical_density,
    "stain_channels": stain_channels,
}
OF_SPIKES = {
    "pointwise_inhibition": pointwise_inhibition,
    "feature_inhibition": lambda spikes: feature_inhibition(spikes, torch.zeros(4, dtype=torch.bool)),
    "k_winners": lambda spikes: k_winners(spikes, 1),
}

Call = Callable[[Any], object]
each_of_latency = pytest.mark.parametrize(
    ("where", "call"), [(where, call) for where, calls in OF_LATENCY.items() for call in calls]
)


@pytest.fixture(autouse=True)
def as_for_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the checks of annotations, which users do not have and which would be first to refuse."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def refused(call: Call, argument: object, message: str) -> None:
    with pytest.raises(ImageError, match=f"^{re.escape(message)}$"):
        call(argument)


@each_of_latency
def test_one_image_without_its_batch_is_refused(where: str, call: Call):
    call(SPIKES.latency)
    refused(
        call,
        SPIKES.latency[0],
        f"{where}: latency must be (batch, channel, row, column), got 3 dimensions."
        " Add the missing axis: latency[None] for the batch, latency[:, None] for the channel.",
    )


@each_of_latency
def test_other_types_than_bytes_are_refused(where: str, call: Call):
    refused(
        call,
        SPIKES.latency.float(),
        f"{where}: latency must be uint8, got float32."
        " Use rank_order_latency or value_latency, or convert a wave with from_wave.",
    )


@each_of_latency
def test_spikes_in_place_of_their_latency_are_refused(where: str, call: Call):
    refused(call, SPIKES, f"{where}: latency must be a tensor, got Spikes. Pass its field latency.")


def test_a_wave_without_its_batch_is_not_called_one_that_falls():
    wave = to_wave(SPIKES.latency)
    assert torch.equal(from_wave(wave), SPIKES.latency)
    refused(
        from_wave,
        wave[0],
        "from_wave: wave must be (batch, time, channel, row, column), got 4 dimensions."
        " Add the missing axis: wave[None] for the batch, wave[:, :, None] for the channel.",
    )


@pytest.mark.parametrize(("where", "call"), OF_GREY.items())
def test_colours_are_refused_where_grey_is_due(where: str, call: Call):
    images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    call(images.mean(dim=1, keepdim=True))
    refused(
        call,
        images,
        f"{where}: images must be grey, with one channel: (batch, 1, row, column), got 3 channels."
        " Average the colours: images.mean(dim=1, keepdim=True).",
    )


@pytest.mark.parametrize(("where", "call"), OF_COLOUR.items())
def test_grey_is_refused_where_colours_are_due(where: str, call: Call):
    refused(
        call,
        torch.zeros(1, 1, 4, 4),
        f"{where}: images must be RGB: (batch, 3, row, column), got 1 channels."
        " Drop any alpha channel; grey images cannot be used here.",
    )


@pytest.mark.parametrize(("where", "call"), [*OF_GREY.items(), *OF_COLOUR.items(), *OF_INTENSITY.items()])
def test_arrays_are_refused(where: str, call: Call):
    name = "intensity" if where in OF_INTENSITY else "images"
    refused(
        call,
        np.zeros((1, 1, 16, 16), np.float32),
        f"{where}: {name} must be a tensor, got ndarray. Convert an array with torch.from_numpy.",
    )


@pytest.mark.parametrize(("where", "call"), OF_INTENSITY.items())
def test_maps_without_a_channel_are_refused(where: str, call: Call):
    call(torch.zeros(1, 1, 9, 9))
    refused(
        call,
        torch.zeros(1, 9, 9),
        f"{where}: intensity must be (batch, channel, row, column), got 3 dimensions."
        " Add the missing axis: intensity[None] for the batch, intensity[:, None] for the channel.",
    )


@pytest.mark.parametrize(("where", "call"), OF_SPIKES.items())
def test_latencies_in_place_of_spikes_are_refused(where: str, call: Call):
    call(SPIKES)
    refused(
        call,
        SPIKES.latency,
        f"{where}: spikes must be Spikes, got Tensor. Pass the output of a layer, or Spikes(latency, potential, bins).",
    )


def test_winner_times_wants_the_latency_alone():
    refused(
        lambda spikes: winner_times(spikes, WINNERS),
        SPIKES,
        "winner_times: spikes must be a tensor, got Spikes. Pass its field latency.",
    )


@pytest.mark.parametrize("plot", [plot_latency, plot_raster])
def test_a_plot_is_of_one_image(plot: Call):
    refused(
        plot,
        SPIKES.latency,
        f"{plot.__name__}: latency must be (channel, row, column), got 4 dimensions. Select one: latency[0].",
    )
