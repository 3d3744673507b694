"""What holds of integrate-and-fire layers whatever the map, the weights and the sizes."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from leukospike.spikes import SpikingConv2d, pointwise_inhibition
from leukospike.spikes.convolution import integrate_and_fire, on_a_grid

compiled = pytest.importorskip("leukospike.spikes.compiled", reason="numba is not installed")


@dataclass(frozen=True)
class Case:
    """One layer's input and settings."""

    latency: Tensor
    weight: Tensor
    threshold: float | None
    bins: int
    padding: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw maps blank, sparse or full, and weights of many values or of two, whose sums meet the threshold."""
    chance = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    bins = draw(st.sampled_from([1, 2, 15, 255]))
    kernel = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    padding = draw(st.integers(0, min(kernel) - 1))
    batch, channels, features = draw(st.integers(0, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 19))
    rows = draw(st.integers(max(kernel[0] - 2 * padding, 1), 40))
    columns = draw(st.integers(max(kernel[1] - 2 * padding, 1), 40))
    latency = torch.randint(0, bins, (batch, channels, rows, columns), generator=chance, dtype=torch.uint8)
    silent = torch.rand(latency.shape, generator=chance) < draw(st.sampled_from([0.0, 0.75, 1.0]))
    latency[silent] = draw(st.sampled_from([bins, 255]))
    weight = torch.normal(draw(st.sampled_from([0.0, 0.8])), 0.5, (features, channels, *kernel), generator=chance)
    weight *= draw(st.sampled_from([1.0, 1e-6, 1e6]))
    if draw(st.booleans()):
        weight = weight.sign() / 4
    if draw(st.booleans()):
        weight = weight.abs()  # potentials only rise
    threshold = draw(st.sampled_from([None, 0.0, 0.75, 3.0, 1e-6, 1e6]))
    return Case(latency, weight, threshold, bins, padding)


def plain(case: Case) -> tuple[Tensor, Tensor]:
    weight = on_a_grid(case.weight)
    return integrate_and_fire(case.latency, weight, threshold=case.threshold, bins=case.bins, padding=case.padding)


def layer_of(case: Case) -> SpikingConv2d:
    features, channels, *kernel = case.weight.shape
    layer = SpikingConv2d(
        channels, features, (kernel[0], kernel[1]), threshold=case.threshold, bins=case.bins, padding=case.padding
    )
    layer.weight.copy_(case.weight)
    return layer


@settings(deadline=None)
@given(cases())
def test_the_compiled_way_gives_the_plain_ones_bits(case):
    latency, potential = plain(case)
    spikes = layer_of(case)(case.latency)
    assert torch.equal(spikes.latency, latency)
    assert torch.equal(spikes.potential, potential)
    assert torch.equal(layer_of(case).latency(case.latency), latency)


@settings(deadline=None, max_examples=30)
@given(cases(), st.integers(1, 7))
def test_bands_and_threads_change_nothing(case, rows):
    expected = layer_of(case)(case.latency)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "_BAND_ROWS", rows)
        patch.setattr(torch, "get_num_threads", lambda: 3)
        spikes = layer_of(case)(case.latency)
    assert torch.equal(spikes.latency, expected.latency)
    assert torch.equal(spikes.potential, expected.potential)


@settings(deadline=None)
@given(cases())
def test_the_first_crossing_by_definition(case):
    # Potentials from scratch at every time step, by sums over the window's inputs in an order of their own.
    latency, potential = plain(case)
    padded = torch.nn.functional.pad(case.latency, (case.padding,) * 4, value=case.bins)
    rows, columns = case.weight.shape[-2:]
    windows = padded.unfold(2, rows, 1).unfold(3, columns, 1).permute(0, 2, 3, 1, 4, 5).flatten(3).flip(-1)
    weights = on_a_grid(case.weight).double().flatten(1).flip(-1)
    expected = torch.full_like(latency, case.bins)
    rising = torch.zeros(latency.shape, dtype=torch.float64)
    for time in [case.bins - 1] if case.threshold is None else range(case.bins):
        now = ((windows <= time).double() @ weights.T).permute(0, 3, 1, 2)
        fires = ((now != 0) if case.threshold is None else (now > case.threshold)) & (expected == case.bins)
        expected[fires] = time
        rising[fires] = now[fires]
    assert torch.equal(latency, expected)
    assert torch.equal(potential, rising.float())


@settings(deadline=None)
@given(cases())
def test_a_batch_gives_what_its_images_give_one_by_one(case):
    layer = layer_of(case)
    together = layer(case.latency)
    for index, image in enumerate(case.latency.split(1) if len(case.latency) else []):
        alone = layer(image)
        assert torch.equal(together.latency[index], alone.latency[0])
        assert torch.equal(together.potential[index], alone.potential[0])


@settings(deadline=None)
@given(cases())
def test_one_feature_a_position_survives(case):
    spikes = layer_of(case)(case.latency)
    kept = pointwise_inhibition(spikes)
    fired = kept.latency < case.bins
    assert torch.equal(fired.sum(dim=1), (spikes.latency.amin(dim=1) < case.bins).long())
    assert torch.equal(kept.latency.amin(dim=1), spikes.latency.amin(dim=1))
    assert torch.equal(kept.potential[fired], spikes.potential[fired])
    assert not kept.potential[~fired].any()


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-20, 1e-5, 1.0, 1e5]))
def test_the_grid_moves_no_weight_by_more_than_a_rounding_of_the_sum(seed, scale):
    weight = torch.normal(0.0, scale, (3, 2, 4, 4), generator=torch.Generator().manual_seed(seed))
    moved = (on_a_grid(weight).double() - weight.double()).abs().max()
    assert moved <= weight.double().abs().sum(dim=(1, 2, 3)).max() * 2**-52


@given(st.integers(0, 2**32 - 1), st.integers(-40, 33), st.booleans())
def test_the_compiled_way_puts_weights_on_the_same_grid(seed, exponent, rises):
    weight = torch.normal(0.0, 1.0, (11, 2, 3, 4), generator=torch.Generator().manual_seed(seed)) * 10.0**exponent
    weight = weight.abs() if rises else weight
    table = torch.empty(25, 16, dtype=torch.float64)
    assert compiled._lay_out(weight.numpy(), table.numpy()) == bool((weight >= 0).all())
    assert torch.equal(table[:-1, :11], on_a_grid(weight).permute(2, 3, 1, 0).reshape(-1, 11).double())
    assert not table[-1].any()
    assert not table[:, 11:].any()


def test_without_numba_the_plain_way_is_taken(monkeypatch):
    monkeypatch.setattr("leukospike.spikes.fast_way.find_spec", lambda _: None)
    monkeypatch.setattr(compiled, "integrate_and_fire", None)
    layer = SpikingConv2d(1, 1, 1, threshold=0.5, weight_mean=1.0, weight_std=0.0)
    assert layer(torch.tensor([[[[4]]]], dtype=torch.uint8)).latency.item() == 4
