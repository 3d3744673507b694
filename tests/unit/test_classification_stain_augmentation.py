"""Cells as elsewhere: what changes, what does not, and that chance is an argument."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from leukospike.classification.kind_input import FILLED, INPUT_PX, frames_of
from leukospike.classification.stain_augmentation import as_elsewhere

COLOUR = torch.tensor([0.55, 0.3, 0.6])


def _cells(n: int = 12) -> Tensor:
    """Draw even discs of several sizes and places."""
    rows, columns = torch.meshgrid(*[torch.arange(192) + 0.5] * 2, indexing="ij")
    discs = [torch.hypot(rows - 80 - 2 * place, columns - 90) < 35 + 2 * place for place in range(n)]
    return torch.stack(discs)[:, None] * COLOUR.view(1, 3, 1, 1)


def _changed(cells: Tensor, *, strength: float = 1.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return as_elsewhere(cells, *frames_of(cells), strength=strength, generator=generator)


def _inner(shown: Tensor) -> Tensor:
    """Return which pixels are far from the outline."""
    outside = (shown.amax(dim=1, keepdim=True) == 0).float()
    return functional.max_pool2d(outside, 31, 1, 15)[:, 0] == 0


@pytest.mark.parametrize("seed", range(4))
def test_no_strength_leaves_the_colours(seed: int):
    shown = _changed(_cells(), strength=0, seed=seed)
    inner = _inner(shown)
    assert inner.flatten(1).any(dim=1).all()
    colours = shown.permute(0, 2, 3, 1)[inner]
    torch.testing.assert_close(colours, COLOUR.expand_as(colours), rtol=0, atol=0.01)


def test_strength_changes_the_colours_of_each_cell_in_its_own_way():
    shown = _changed(_cells())
    means = torch.stack([one[:, inner].mean(dim=1) for one, inner in zip(shown, _inner(shown), strict=True)])
    assert ((means - COLOUR).abs().amax(dim=1) > 0.02).float().mean() > 0.5
    assert len(means.unique(dim=0)) == len(means)


@pytest.mark.parametrize("strength", [0.0, 1.0, 2.0])
def test_outside_stays_black_and_inside_does_not_become_it(strength: float):
    shown = _changed(_cells(), strength=strength)
    inside = shown.amax(dim=1) > 0
    assert not inside[:, :4, :4].any()
    assert (shown.amin(dim=1)[inside] >= 1 / 255).all()
    assert shown.max() <= 1


def test_cells_are_shown_about_as_large_as_by_the_classifier():
    inside = _changed(_cells()).amax(dim=1) > 0
    diameters = 2 * (inside.flatten(1).sum(dim=1) / torch.pi).sqrt() / INPUT_PX
    assert ((diameters / FILLED - 1).abs() < 0.15).all()
    assert diameters.std() > 0.01


def test_the_result_follows_the_generator_alone():
    cells = _cells()
    before = cells.clone()
    first, again, other = (_changed(cells, seed=seed) for seed in (3, 3, 4))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.allclose(first, other, atol=0.01)
    torch.testing.assert_close(cells, before, rtol=0, atol=0)
