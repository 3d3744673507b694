"""Layers draw from a given generator what they would draw from the global one, which stays as it was."""

import threading

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from leukospike.learning.chance import drawing_from, undrawn


def _made() -> list[Tensor]:
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(5, 6))
    drawn = [
        nn.init.xavier_uniform_(torch.empty(4, 4)),
        nn.init.trunc_normal_(torch.empty(9)),
        torch.empty(3).normal_(),
    ]
    return [*layers.state_dict().values(), *drawn]


def _dropped() -> list[Tensor]:
    values = torch.linspace(-2, 2, 60).reshape(2, 3, 2, 5).to(memory_format=torch.channels_last).requires_grad_()
    dropped = functional.dropout(nn.Dropout(0.3)(values) * 1.0, 0.5, training=True)
    dropped.square().sum().backward()
    assert values.grad is not None
    return [dropped, values.grad, nn.Dropout(0.4, inplace=True)(values.detach().clone())]


@pytest.mark.parametrize("draw", [_made, _dropped])
def test_numbers_are_those_of_the_global_generator_seeded_alike(draw):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        expected = draw()
    before = torch.get_rng_state()
    with drawing_from(torch.Generator().manual_seed(5)):
        got = draw()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one, other) for one, other in zip(got, expected, strict=True))


@pytest.mark.parametrize(("p", "training"), [(0.0, True), (0.5, False)])
def test_without_dropout_nothing_is_drawn(p, training):
    generator = torch.Generator().manual_seed(1)
    before = generator.get_state()
    with drawing_from(generator):
        assert torch.equal(functional.dropout(torch.ones(4), p, training=training), torch.ones(4))
    assert torch.equal(generator.get_state(), before)


def test_a_generator_that_is_given_goes_before():
    with drawing_from(torch.Generator().manual_seed(1)):
        drawn = nn.init.uniform_(torch.empty(4), generator=torch.Generator().manual_seed(2))
    assert torch.equal(drawn, nn.init.uniform_(torch.empty(4), generator=torch.Generator().manual_seed(2)))


def test_other_threads_draw_as_before():
    seen: list[Tensor] = []
    thread = threading.Thread(target=lambda: seen.append(torch.empty(3).uniform_()))
    generator = torch.Generator().manual_seed(1)
    before = generator.get_state()
    with torch.random.fork_rng(devices=[]), drawing_from(generator):
        thread.start()
        thread.join()
    assert len(seen) == 1
    assert torch.equal(generator.get_state(), before)


def test_layers_to_be_filled_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    with undrawn():
        nn.Linear(3, 2)
    assert torch.equal(torch.get_rng_state(), before)
