"""EfficientNet-Lite0 as measures: what it says of maps that can be worked out, and whose weights it takes."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from leukospike.classification.lite_network import (
    FEATURES,
    MEASURED,
    STAGES,
    LiteNetwork,
    folded,
    weights_from_package,
)

PLACES = {stage: 2 * sum(STAGES[before][4] for before in MEASURED if before < stage) for stage in MEASURED}


@pytest.fixture
def network() -> LiteNetwork:
    """Make a network of which every number was drawn, those of the normalisations too."""
    generator = torch.Generator().manual_seed(0)
    network = LiteNetwork().eval().requires_grad_(requires_grad=False)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.normal_(0, (2 / module.weight[0].numel()) ** 0.5, generator=generator)
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.7, 1.3),
                (module.bias, -0.2, 0.5),
                (module.running_mean, -0.3, 0.3),
                (module.running_var, 0.5, 1.5),
            ):
                tensor.uniform_(low, high, generator=generator)
    return network


def _cells(n: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    cell = torch.zeros(n, 1, 128, 128)
    cell[:, :, 20:100, 30:111] = 1
    return torch.rand((n, 3, 128, 128), generator=generator) * cell, cell


def test_folding_changes_nothing_but_the_work(network: LiteNetwork):
    quick = folded(network)
    colours, cell = _cells()
    torch.testing.assert_close(quick(colours, cell), network(colours, cell), rtol=1e-3, atol=1e-4)
    assert not [module for module in quick.modules() if isinstance(module, nn.BatchNorm2d)]
    assert [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def test_a_constant_map_has_its_value_and_no_spread(network: LiteNetwork):
    for parameter in network.parameters():
        parameter.zero_()
    for tensor in network.buffers():
        tensor.zero_()
    for stage in MEASURED:
        last = network.stages[stage][-1].layers[-1]
        last.bias.copy_(torch.arange(STAGES[stage][4]) / 10.0 + stage)
    found = network(*_cells(1))[0]
    for stage in MEASURED:
        n, first = STAGES[stage][4], PLACES[stage]
        torch.testing.assert_close(found[first : first + n], torch.arange(n) / 10.0 + stage)
        torch.testing.assert_close(found[first + n : first + 2 * n], torch.zeros(n), rtol=0, atol=1e-4)


@pytest.mark.parametrize("stage", MEASURED)
def test_measures_are_the_mean_and_spread_of_the_maps_over_the_cell(network: LiteNetwork, stage: int):
    maps: list[Tensor] = []
    network.stages[stage].register_forward_hook(lambda _module, _given, out: maps.append(out))
    colours, cell = _cells()
    found = network(colours, cell)
    share = functional.avg_pool2d(cell, 128 // maps[0].shape[2])
    assert set(share.unique().tolist()) > {0.0, 1.0}
    n, first = STAGES[stage][4], PLACES[stage]
    for number in range(len(cell)):
        weights = share[number, 0].flatten() / share[number].sum()
        values = maps[0][number].flatten(1)
        mean = values @ weights
        spread = (((values - mean[:, None]) ** 2) @ weights).sqrt()
        torch.testing.assert_close(found[number, first : first + n], mean, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found[number, first + n : first + 2 * n], spread, rtol=1e-4, atol=1e-4)


def test_nothing_gives_numbers_too(network: LiteNetwork):
    found = network(torch.zeros(1, 3, 128, 128), torch.zeros(1, 1, 128, 128))
    assert found.shape == (1, FEATURES)
    assert not found.any()


def test_weights_of_the_package_are_taken_in_order(network: LiteNetwork):
    own = network.state_dict()
    package = {f"their.{place}": tensor for place, tensor in enumerate(own.values())}
    taken = weights_from_package(package | {"their.classifier": torch.zeros(1000)}, network)
    assert list(taken) == list(own)
    assert all(torch.equal(taken[name], tensor) for name, tensor in own.items())


def test_other_weights_are_refused(network: LiteNetwork):
    package = {f"their.{place}": tensor for place, tensor in enumerate(network.state_dict().values())}
    swapped = dict(reversed(package.items()))
    for others in ({}, swapped, dict(list(package.items())[:-1]), package | {"their.0": torch.zeros(3)}):
        with pytest.raises(ValueError, match="tensors must be those of EfficientNet-Lite0"):
            weights_from_package(others, network)
