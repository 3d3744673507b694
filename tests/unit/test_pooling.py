"""Pooling: windows by hand, silence around the map, and windows that are refused."""

import pytest
import torch

from leukospike.errors import ConfigError
from leukospike.spikes import pool_intensity, pool_latency


def test_the_first_spike_of_each_window_counts():
    latency = torch.tensor([[5, 15, 15, 15], [15, 2, 15, 0], [15, 15, 9, 15]], dtype=torch.uint8)[None, None]
    assert pool_latency(latency, 2).tolist() == [[[[2, 0]]]]
    assert pool_latency(latency, 2, stride=1).tolist() == [[[[2, 2, 0], [2, 2, 0]]]]


def test_a_silent_window_is_silent_whatever_the_padding():
    assert pool_latency(torch.full((1, 2, 5, 5), 7, dtype=torch.uint8), 3, 2, 1).unique().tolist() == [7]


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 1, 1), (5, 4, 2), (7, 6, 3)])
def test_pooling_of_latencies_is_the_wave_of_pooled_waves(kernel, stride, padding):
    latency = torch.randint(0, 16, (2, 3, 21, 18), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    by_intensity = 15 - pool_intensity(15.0 - latency.float(), kernel, stride, padding)
    assert torch.equal(pool_latency(latency, kernel, stride, padding).float(), by_intensity)


@pytest.mark.parametrize("pool", [pool_latency, pool_intensity])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "message"),
    [
        (0, 1, 0, r"kernel must be from 1 to the padded map's side \(4\), got 0\. Use a smaller kernel\."),
        (5, 1, 0, r"kernel must be from 1 to the padded map's side \(4\), got 5\."),
        (2, 0, 0, r"stride must be at least 1, got 0\. Omit it"),
        (2, 1, 2, r"padding must be from 0 to half the kernel \(1\), got 2\. Lower it"),
    ],
)
def test_impossible_windows_are_refused(pool, kernel, stride, padding, message):
    maps = torch.zeros(1, 1, 4, 9)
    with pytest.raises(ConfigError, match=message):
        pool(maps if pool is pool_intensity else maps.byte(), kernel, stride, padding)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: torch.cuda.is_available() is false")
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, None, 0), (5, 4, 2)])
def test_a_gpu_pools_as_the_cpu(kernel, stride, padding):
    chance = torch.Generator().manual_seed(0)
    latency = torch.randint(0, 16, (3, 4, 40, 33), generator=chance).byte()
    intensity = torch.rand(3, 4, 40, 33, generator=chance)
    assert torch.equal(
        pool_latency(latency.cuda(), kernel, stride, padding).cpu(), pool_latency(latency, kernel, stride, padding)
    )
    assert torch.equal(
        pool_intensity(intensity.cuda(), kernel, stride, padding).cpu(),
        pool_intensity(intensity, kernel, stride, padding),
    )
