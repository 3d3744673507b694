"""Who spikes first is the same found alone or from the whole map, compiled or not, and whatever the batch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor

from leukospike.spikes import SpikingConv2d
from leukospike.spikes.decision import decide, decide_by_map


@st.composite
def cases(draw: st.DrawFn) -> tuple[SpikingConv2d, Tensor]:
    """Draw a layer, also of few different weights (many ties) or with negative ones, and latencies."""
    chance = Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    channels, features, bins = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 16))
    kernel = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    padding = draw(st.integers(0, min(kernel) - 1))
    threshold = draw(st.sampled_from([None, 0.0, 0.5, 2.0, 7.0]))
    layer = SpikingConv2d(
        channels,
        features,
        kernel,
        threshold=threshold,
        bins=bins,
        padding=padding,
        weight_mean=draw(st.sampled_from([0.0, 0.8])),
        weight_std=draw(st.sampled_from([0.05, 0.5])),
        generator=chance,
    )
    if draw(st.booleans()):
        layer.weight.copy_((layer.weight * 2).round() / 2)
    shape = draw(st.integers(1, 3)), channels, kernel[0] + draw(st.integers(0, 5)), kernel[1] + draw(st.integers(0, 5))
    latency = torch.randint(bins + 1, shape, generator=chance, dtype=torch.uint8)
    return layer, latency.where(torch.rand(shape, generator=chance) < draw(st.sampled_from([0.1, 1.0])), bins)


@settings(deadline=None)
@given(cases())
def test_alone_compiled_gives_what_the_plain_map_gives(case):
    layer, latency = case
    found = decide(layer, latency)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("leukospike.spikes.fast_way.find_spec", lambda _: None)
        expected = decide_by_map(layer, latency)
    assert torch.equal(found.winners, expected.winners)
    assert torch.equal(found.times, expected.times)


@settings(deadline=None)
@given(cases())
def test_a_batch_gives_what_its_images_give_one_by_one(case):
    layer, latency = case
    found = decide(layer, latency)
    for index, image in enumerate(latency.split(1)):
        alone = decide(layer, image)
        assert torch.equal(found.winners[index], alone.winners[0])
        assert torch.equal(found.times[index], alone.times[0])
