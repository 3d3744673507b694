"""What is measured of a cell, against other programs' measures of the same."""

import itertools

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from skimage.draw import ellipse
from skimage.measure import regionprops

from leukospike.classification import appearance_learning
from leukospike.classification.appearance import APPEARANCES, QUANTILES, RINGS, SHAPES, SPREADS, appearance_of


def _cell(seed: int = 0, *, angle: float = 0.4, semi: tuple[int, int] = (22, 30)) -> np.ndarray:
    """Draw a cell with structure, RGB, uint8, black around it."""
    rng = np.random.default_rng(seed)
    inside = np.zeros((96, 96), bool)
    inside[ellipse(46, 50, *semi, shape=inside.shape, rotation=angle)] = True
    noise = np.stack([ndimage.gaussian_filter(rng.normal(size=(96, 96)), 3) for _ in range(3)], axis=2)
    values = np.clip(np.array([120, 60, 150]) + 300 * noise, 5, 255)
    return np.where(inside[:, :, None], values, 0).astype(np.uint8)


def _measures(*cells: np.ndarray) -> np.ndarray:
    colours = torch.from_numpy(np.stack(cells)).permute(0, 3, 1, 2).float() / 255
    return appearance_of(colours).numpy()


def _density(cell: np.ndarray) -> np.ndarray:
    return -np.log(cell / 255 * (1 - 1 / 256) + 1 / 256)


def _inner(cell: np.ndarray) -> np.ndarray:
    """Give the pixels whose whole 5 x 5 neighbourhood is of the cell."""
    return ndimage.minimum_filter((cell.max(axis=2) >= 5).astype(int), 5, mode="constant", cval=1) == 1


def test_shape_is_that_of_another_program():
    cell = _cell()
    region = regionprops((cell.max(axis=2) > 0).astype(int))[0]
    found = dict(zip(SHAPES, _measures(cell)[0], strict=False))
    assert found["log_area"] == pytest.approx(np.log(region.area), abs=1e-5)
    assert found["diameter"] == pytest.approx(region.equivalent_diameter_area, rel=1e-5)
    assert found["major_axis"] == pytest.approx(region.axis_major_length, rel=0.01)
    assert found["minor_axis"] == pytest.approx(region.axis_minor_length, rel=0.01)
    assert found["form_factor"] == pytest.approx(region.area / found["outline"] ** 2, rel=1e-5)
    mask = cell.max(axis=2) > 0
    assert found["outline"] == np.count_nonzero(mask & ~ndimage.binary_erosion(mask, np.ones((3, 3))))


def test_moments_of_the_colours_are_those_of_another_program():
    cell = _cell(1)
    density = _density(cell)[_inner(cell)]
    red, green, blue = density.T
    values = np.stack([red, green, blue, red - green, green - blue, density.mean(axis=1)])
    first = len(SHAPES)
    found = _measures(cell)[0, first : first + 4 * len(SPREADS)].reshape(4, -1)
    expected = [values.mean(1), values.std(1), stats.skew(values, axis=1), stats.kurtosis(values, axis=1, fisher=False)]
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)


def test_quantiles_are_those_of_sorted_values():
    cell = _cell(2)
    density, inner = _density(cell)[::2, ::2], _inner(cell)[::2, ::2]
    ordered = np.sort(density[inner], axis=0)
    first = len(SHAPES) + 4 * len(SPREADS)
    found = _measures(cell)[0, first : first + len(SPREADS) * len(QUANTILES)].reshape(len(QUANTILES), -1)
    for share, row in zip(QUANTILES, found, strict=True):
        np.testing.assert_allclose(row[:3], ordered[int(share * len(ordered))], atol=1e-4)


def test_rings_and_structure_are_those_of_a_plain_computation():
    cell = _cell(3)
    inside, density = cell.max(axis=2) > 0, _density(cell)
    places = np.argwhere(inside)
    off = places - places.mean(axis=0)
    covariance = off.T @ off / len(off) + 1e-3 * np.eye(2)
    radius = np.sqrt(np.einsum("ni,ij,nj->n", off, np.linalg.inv(covariance), off) / 4)
    first = len(SHAPES) + len(SPREADS) * (4 + len(QUANTILES))
    found = _measures(cell)[0, first:]
    for ring in range(RINGS):
        within = (radius >= ring / RINGS) & (radius < (ring + 1) / RINGS)
        values = density[tuple(places[within].T)]
        np.testing.assert_allclose(found[6 * ring : 6 * ring + 3], values.mean(axis=0), rtol=1e-3)
        if ring < RINGS - 1:
            np.testing.assert_allclose(found[6 * ring + 3 : 6 * ring + 6], values.std(axis=0), rtol=5e-3)
    inner = _inner(cell)
    filled = np.where(inside[:, :, None], density, density[inner].mean(axis=0))
    halved = filled.reshape(48, 2, 48, 2, 3).mean(axis=(1, 3))
    whole = inner.reshape(48, 2, 48, 2).all(axis=(1, 3))
    blurred = [
        ndimage.gaussian_filter(halved, (s, s, 0), mode="nearest", radius=(*[int(np.ceil(3 * s))] * 2, 0))
        for s in (0.9, 1.8, 3.6)
    ]
    structure = found[6 * RINGS - 3 :].reshape(2, 3, 3)
    for band, (fine, coarse) in zip(structure, itertools.pairwise(blurred), strict=True):
        values = (fine - coarse)[whole]
        np.testing.assert_allclose(band[0], values.std(axis=0), rtol=5e-3)
        np.testing.assert_allclose(band[1], stats.skew(values), atol=5e-3)


def test_a_turned_or_mirrored_cell_measures_the_same():
    cell = _cell(4)
    upright, turned, mirrored = _measures(cell, np.rot90(cell).copy(), cell[:, ::-1].copy())
    quantiles = slice(len(SHAPES) + 4 * len(SPREADS), len(SHAPES) + len(SPREADS) * (4 + len(QUANTILES)))
    for other in (turned, mirrored):
        # Quantiles look at every second row and column, which are others then.
        np.testing.assert_allclose(np.delete(other, quantiles), np.delete(upright, quantiles), rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(other[quantiles], upright[quantiles], atol=0.1)


def _frame(value: int) -> np.ndarray:
    return np.full((96, 96, 3), value, np.uint8)


def _dot() -> np.ndarray:
    cell = _frame(0)
    cell[40, 40] = 200
    return cell


@pytest.mark.parametrize(
    "cell",
    [_frame(0), _frame(255), _frame(7), _dot(), _cell(5, semi=(3, 40))],
    ids=["black", "white", "dark", "dot", "thin"],
)
def test_odd_pictures_give_finite_numbers(cell: np.ndarray):
    assert np.isfinite(_measures(cell)).all()
    assert _measures(cell).shape == (1, APPEARANCES)


def test_nothing_gives_zeros():
    assert not _measures(_frame(0)).any()


def test_black_that_is_left_out_changes_nothing():
    cells = [_cell(seed, angle=seed / 7, semi=(8 + 3 * seed, 10 + 2 * seed)) for seed in range(12)]
    cells += [np.zeros((96, 96, 3), np.uint8), np.roll(cells[2], 30, axis=1), np.full((96, 96, 3), 90, np.uint8)]
    sides = appearance_learning._sides(np.stack(cells))
    assert sides[0] < sides[5] < sides[-1] == 96
    found = appearance_learning.appearances(np.stack(cells))
    np.testing.assert_allclose(found, _measures(*cells), rtol=1e-4, atol=1e-4)


def test_side_holds_the_cell_and_what_is_looked_at_around_it():
    crop = np.zeros((1, 96, 96, 3), np.uint8)
    assert appearance_learning._sides(crop) == 8
    crop[0, 48, 70] = 1  # 22 pixels from the middle, itself, and 4 around
    assert appearance_learning._sides(crop) == 56
    crop[0, 95, 48] = 1
    assert appearance_learning._sides(crop) == 96
