"""What the network for kinds is shown of a cell, on drawn cells whose measures are known."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from leukospike.classification.kind_input import (
    _GIVEN_DENSITY,
    _GIVEN_SPREAD,
    _NUCLEUS_DENSITY,
    _SMEAR_DENSITY,
    _SMEAR_SPREAD,
    CELL_PX,
    FILLED,
    INPUT_PX,
    at_one_size,
    by_nucleus,
    cell_pixels,
    coarse_crop,
    frames_of,
    is_stain_normalised,
    like_a_smear,
)
from leukospike.classification.network_input import cell_crop

DARK, DARKER = (1.2, 2.0, 1.1), (1.5, 2.4, 1.3)
PALE, DENSE = (0.3, 0.4, 0.2), (1.2, 2.0, 0.6)


def _colour(density: tuple[float, ...]) -> Tensor:
    return (((-torch.tensor(density)).exp() - 1 / 256) * 256 / 255).clamp(min=0)


def _disc(
    radius: float,
    *,
    middle: tuple[float, float] = (96.0, 96.0),
    rim: tuple[float, ...] = PALE,
    nucleus: tuple[float, ...] = DENSE,
) -> Tensor:
    """Draw a cell with a nucleus of half its area, of shape (3, 192, 192)."""
    rows, columns = torch.meshgrid(*[torch.arange(CELL_PX) + 0.5] * 2, indexing="ij")
    away = torch.hypot(rows - middle[0], columns - middle[1])
    cell = torch.where(away < radius * math.sqrt(0.5), _colour(nucleus)[:, None, None], _colour(rim)[:, None, None])
    return torch.where(away < radius, cell, 0.0)


def _shown_diameter(shown: Tensor) -> float:
    return 2 * math.sqrt(float((shown.amax(dim=0) > 0.1).sum()) / math.pi)


def test_what_is_kept_is_the_mean_of_the_middle():
    picture = np.random.default_rng(0).integers(0, 256, (450, 450, 3), dtype=np.uint8)
    blocks = picture[33:417, 33:417].reshape(192, 2, 192, 2, 3).astype(np.float64)
    kept = cell_pixels(picture)
    np.testing.assert_array_equal(kept, np.floor(blocks.mean(axis=(1, 3)) + 0.5))
    assert np.abs(coarse_crop(kept).astype(int) - cell_crop(picture)).max() <= 1


@pytest.mark.parametrize("radius", [20, 40, 60])
def test_a_cell_of_any_size_fills_as_much(radius: float):
    shown, diameters = at_one_size(_disc(radius)[None])
    assert float(diameters[0]) == pytest.approx(2 * radius, rel=0.01)
    assert _shown_diameter(shown[0]) == pytest.approx(FILLED * INPUT_PX, rel=0.03)


def test_a_cell_anywhere_is_shown_in_the_middle():
    shown = at_one_size(torch.stack([_disc(30), _disc(30, middle=(70, 130)), _disc(30, middle=(120, 50))]))[0]
    torch.testing.assert_close(shown[1:], shown[:1].expand(2, -1, -1, -1), rtol=0, atol=1e-3)
    torch.testing.assert_close(shown, shown.flip(2), rtol=0, atol=1e-3)


def test_no_cell_is_shown_black_with_no_diameter():
    shown, diameters = at_one_size(torch.zeros(2, 3, CELL_PX, CELL_PX))
    assert not shown.any()
    assert diameters.tolist() == [0, 0]


def test_frames_are_those_of_rectangles():
    colours = torch.zeros(2, 3, 40, 80)
    colours[0, 1, 10:30, 40:70] = 0.5
    colours[1, :, 0:3, 79:80] = 1.0
    middles, diameters = frames_of(colours)
    assert middles.tolist() == [[20, 55], [1.5, 79.5]]
    assert diameters.tolist() == pytest.approx([2 * math.sqrt(600 / math.pi), 2 * math.sqrt(3 / math.pi)])


def test_the_nucleus_becomes_as_dense_as_the_standard():
    shown = by_nucleus(_disc(60, nucleus=(0.7, 1.9, 0.8))[None])
    nucleus = -(shown[0, :, 96, 96]).log()
    torch.testing.assert_close(nucleus, torch.tensor(_NUCLEUS_DENSITY), rtol=0, atol=0.01)


def test_cells_of_c_nmc_come_out_with_the_density_and_contrast_of_smears():
    denser = tuple(np.add(_GIVEN_DENSITY, _GIVEN_SPREAD).tolist())
    shown = like_a_smear(_disc(60, rim=_GIVEN_DENSITY, nucleus=denser)[None])[0]
    rim, nucleus = (-(shown[:, 96, column]).log() for column in (96 + 52, 96))
    torch.testing.assert_close(rim, torch.tensor(_SMEAR_DENSITY), rtol=0, atol=0.01)
    torch.testing.assert_close(nucleus, torch.tensor(_SMEAR_DENSITY) + torch.tensor(_SMEAR_SPREAD), rtol=0, atol=0.01)


@pytest.mark.parametrize("show", [like_a_smear, by_nucleus])
def test_black_stays_black_and_the_cell_does_not_become_it(show):
    cells = torch.stack([_disc(50), _disc(40, rim=DARK, nucleus=DARKER), torch.zeros(3, CELL_PX, CELL_PX)])
    shown = show(cells)
    outside = cells.amax(dim=1) == 0
    assert (shown.amax(dim=1)[outside] == 0).all()
    assert (shown.amin(dim=1)[~outside] >= 1 / 255).all()
    assert shown.max() <= 1


def test_only_dark_cells_of_little_contrast_look_stain_normalised():
    cells = [
        _disc(50, rim=DARK, nucleus=DARKER),
        _disc(50),
        _disc(50, rim=PALE, nucleus=DARKER),
        _disc(50, rim=DENSE, nucleus=(1.4, 2.6, 0.7)),
        torch.zeros(3, CELL_PX, CELL_PX),
    ]
    assert is_stain_normalised(torch.stack(cells)).tolist() == [True, False, False, False, False]


def test_a_batch_is_what_its_cells_are_one_by_one():
    cells = torch.stack([_disc(50), _disc(30, middle=(60, 120), rim=DARK, nucleus=DARKER), _disc(70)])
    for show in (lambda colours: at_one_size(colours)[0], by_nucleus, like_a_smear, is_stain_normalised):
        alone = torch.cat([show(cell[None]) for cell in cells])
        torch.testing.assert_close(show(cells), alone, rtol=1e-5, atol=1e-6)
