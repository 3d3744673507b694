"""The 31-layer network, layer by layer."""

import math

import pytest
import torch
from torch import nn

from leukospike.errors import ConfigError
from leukospike.original.network import ResidualBlock, ResidualNetwork
from leukospike.settings import SMALLEST_SIZE_PX


def _network(image_size: int = 24, **options) -> ResidualNetwork:
    return ResidualNetwork(image_size=image_size, generator=torch.Generator().manual_seed(0), **options).eval()


def _images(n: int, size: int, channels: int = 1) -> torch.Tensor:
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(1))


def test_has_31_convolutions_each_with_batch_norm():
    modules = list(_network().modules())
    assert sum(isinstance(module, nn.Conv2d) for module in modules) == 31
    assert sum(isinstance(module, nn.BatchNorm2d) for module in modules) == 31


@pytest.mark.parametrize(
    ("size", "sides", "features"),
    [(100, [50, 24, 24, 12, 6, 3], 3 * 3 * 256), (224, [112, 55, 55, 28, 14, 7], 7 * 7 * 256)],
)
def test_shape_after_each_stage(size, sides, features):
    network = _network(size)
    shapes: list[tuple[int, ...]] = []
    # Convolution and pooling of the stem, the last block of each stage, the average-pool.
    watched = [network.stem[0], network.stem[3], *(network.stages[last] for last in (2, 5, 8)), network.head[0]]
    for module in watched:
        module.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output.shape)))
    with torch.inference_mode():
        assert network(_images(2, size)).shape == (2, 2)
    assert shapes == [
        (2, channels, side, side) for channels, side in zip((64, 64, 64, 128, 256, 256), sides, strict=True)
    ]
    assert network.head[-1].in_features == features


def test_each_stage_is_one_projecting_and_two_identity_blocks():
    blocks = list(_network().stages)
    assert all(isinstance(block, ResidualBlock) for block in blocks)
    strides = [
        None if isinstance(block.shortcut, nn.Identity) else (block.residual[0].stride, block.shortcut[0].stride)
        for block in blocks
    ]
    same, half = ((1, 1), (1, 1)), ((2, 2), (2, 2))
    assert strides == [same, None, None, half, None, None, half, None, None]
    channels = [
        tuple(module.out_channels for module in block.residual if isinstance(module, nn.Conv2d)) for block in blocks
    ]
    assert channels == [(32, 32, 64)] * 3 + [(64, 64, 128)] * 3 + [(64, 64, 256)] * 3


def test_identity_block_adds_its_input():
    block = ResidualBlock(64, (32, 32, 64), stride=None).eval()
    nn.init.zeros_(block.residual[-1].weight)
    images = torch.randn(2, 64, 5, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(block(images), images.relu())


@pytest.mark.parametrize(("size", "units", "features"), [(100, 500, 2304), (224, 1200, 12544)])
def test_hidden_variant(size, units, features):
    network = _network(size, hidden_units=units)
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    assert [(module.in_features, module.out_features) for module in linear] == [(features, units), (units, 2)]
    with torch.inference_mode():
        assert network(_images(1, size)).shape == (1, 2)


def test_takes_three_channels_and_not_two():
    assert _network(in_channels=3)(_images(2, 24, channels=3)).shape == (2, 2)
    with pytest.raises(ConfigError, match=r"in_channels must be 1 or 3, got 2\. Use grey or RGB images\."):
        _network(in_channels=2)


def test_smallest_image_is_the_smallest_that_works():
    assert _network(SMALLEST_SIZE_PX)(_images(1, SMALLEST_SIZE_PX)).shape == (1, 2)
    message = rf"image_size must be at least {SMALLEST_SIZE_PX}, got {SMALLEST_SIZE_PX - 1}\."
    with pytest.raises(ConfigError, match=message):
        _network(SMALLEST_SIZE_PX - 1)
    stem_and_stages = nn.Sequential(*_network().stem, *_network().stages)
    assert stem_and_stages(_images(1, SMALLEST_SIZE_PX - 1)).shape[-2:] == (1, 1)  # too little for a pool of 2


def test_channels_last_gives_what_the_default_layout_gives():
    network, images = _network(48), _images(3, 48)
    stem = network.stem[0].weight
    wide = network.stages[0].residual[3].weight
    assert wide.is_contiguous(memory_format=torch.channels_last)
    assert stem.is_contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        last = network(images)
        network.to(memory_format=torch.contiguous_format)
        assert network.stages[0].residual[3].weight.is_contiguous()
        default = network.head(network.stages(network.stem(images)))
    torch.testing.assert_close(last, default, rtol=1e-4, atol=1e-5)


def test_initial_weights_fill_the_glorot_range():
    for module in _network(100, hidden_units=500).modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = module.weight.detach()
            receptive = math.prod(weight.shape[2:])
            fan_in, fan_out = weight.shape[1] * receptive, weight.shape[0] * receptive
            bound = math.sqrt(6 / (fan_in + fan_out))
            assert 0.95 * bound < float(weight.abs().max()) <= bound * (1 + 1e-6)
            assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=0.1)
            assert module.bias is None or not module.bias.any()


def test_same_generator_same_weights_whatever_the_global_one():
    def weights(seed: int) -> torch.Tensor:
        network = ResidualNetwork(image_size=24, generator=torch.Generator().manual_seed(seed))
        return torch.cat([parameter.flatten() for parameter in network.parameters()])

    first = weights(3)
    torch.rand(1)
    assert torch.equal(first, weights(3))
    assert not torch.equal(first, weights(4))


def test_probability_is_the_softmax_of_the_second_logit():
    network, images = _network(), _images(4, 24)
    with torch.inference_mode():
        logits = network(images)
        probabilities = network.probabilities(images)
    torch.testing.assert_close(probabilities, torch.sigmoid(logits[:, 1] - logits[:, 0]))


def test_image_gets_the_same_answer_in_any_batch():
    network, images = _network(), _images(5, 24)
    with torch.inference_mode():
        together = network(images)
        apart = torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)
