"""Waves: there and back, and waves that are none."""

import pytest
import torch

from leukospike.errors import ConfigError, ImageError
from leukospike.spikes import from_wave, to_wave


@pytest.mark.parametrize("bins", [1, 15, 255])
def test_a_wave_gives_its_latencies_back(bins):
    latency = torch.randint(0, bins + 1, (2, 3, 5, 4), generator=torch.Generator().manual_seed(0)).byte()
    wave = to_wave(latency, bins)
    assert wave.shape == (2, bins, 3, 5, 4)
    assert torch.equal(from_wave(wave), latency)
    assert torch.equal(from_wave(-2.5 * wave), latency)


def test_who_has_spiked_stays_so():
    assert to_wave(torch.tensor([[[[1]]]], dtype=torch.uint8), 4).flatten().tolist() == [0, 1, 1, 1]


def test_a_wave_that_falls_is_refused():
    with pytest.raises(ImageError, match=r"from_wave: wave must stay above 0 once .* Take the running maximum"):
        from_wave(torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1, 1))


@pytest.mark.parametrize("bins", [0, 256])
def test_impossible_numbers_of_steps_are_refused(bins):
    with pytest.raises(ConfigError, match=rf"to_wave: bins must be from 1 to 255, got {bins}\. Use fewer"):
        to_wave(torch.zeros(1, 1, 1, 1, dtype=torch.uint8), bins)
    with pytest.raises(ConfigError, match=rf"from_wave: bins must be from 1 to 255, got {bins}\. Use fewer"):
        from_wave(torch.zeros(1, bins, 1, 1, 1))
