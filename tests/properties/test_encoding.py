"""What holds of the encoding whatever the image."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from leukospike.spikes import BINS, SILENT, encoding, first_wave, latency_map


@st.composite
def batches(draw: st.DrawFn) -> Tensor:
    """Draw batches of images: few grey levels (many equal responses) or many, black parts, patterns that repeat."""
    count, rows, columns = draw(st.integers(1, 4)), draw(st.integers(5, 40)), draw(st.integers(5, 40))
    chance = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    images = torch.rand((count, 1, rows, columns), generator=chance)
    levels = draw(st.sampled_from([2, 5, 256, 2**20]))
    images = (images * (levels - 1)).round() / (levels - 1)
    images *= torch.rand((count, 1, rows, 1), generator=chance) >= draw(st.sampled_from([0.0, 0.5, 1.0]))
    if draw(st.booleans()):
        images = images.maximum(images.flip(-1))
    return images


@settings(deadline=None)
@given(batches())
def test_a_batch_gives_what_its_images_give_one_by_one(images):
    together, waves = latency_map(images), first_wave(images)
    for index, image in enumerate(images.split(1)):
        alone = latency_map(image)
        assert torch.equal(together.latency[index], alone.latency[0])
        assert torch.equal(together.winner[index], alone.winner[0])
        assert torch.equal(waves[index], first_wave(image)[0])


@settings(deadline=None)
@given(batches())
def test_the_first_wave_is_latency_0(images):
    assert torch.equal(first_wave(images), (latency_map(images).latency == 0).to(torch.uint8))


@settings(deadline=None)
@given(batches())
def test_bins_are_equal_and_winners_are_orientations(images):
    spikes = latency_map(images)
    assert int(spikes.latency.max()) <= SILENT
    assert int(spikes.winner.max()) < 4
    for latency in spikes.latency:
        assert len(set(latency.flatten().bincount(minlength=16)[:BINS].tolist())) == 1


@settings(deadline=None)
@given(batches(), st.integers(1, 10))
def test_brightness_does_not_matter(images, halvings):
    # By powers of two, so that nothing is rounded.
    darker, spikes = latency_map(images / 2**halvings), latency_map(images)
    assert torch.equal(darker.latency, spikes.latency)
    assert torch.equal(darker.winner, spikes.winner)


@settings(deadline=None)
@given(batches(), st.integers(1, 500))
def test_strips_give_what_the_whole_gives(images, pixels):
    spikes, wave = latency_map(images), first_wave(images)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "_STRIP_PIXELS", pixels)
        in_strips = latency_map(images)
        assert torch.equal(in_strips.latency, spikes.latency)
        assert torch.equal(in_strips.winner, spikes.winner)
        assert torch.equal(first_wave(images), wave)
