"""Outlines and textures against their mathematics."""

import numpy as np
import pytest

from leukospike.smears.shapes import Cleft, coverage, outline, segment_depth, square_grid, texture


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("radius_um", [0.7, 3.65, 8.0])
def test_disc_has_the_area_of_a_circle(radius_um, rng):
    grid = square_grid(9, 12)
    disc = coverage(outline(grid, radius_um, rng=rng, centre_um=(0.31, -0.17)).depth_um, 12)
    assert disc.sum() / 12**2 == pytest.approx(np.pi * radius_um**2, rel=2e-3)


@pytest.mark.parametrize("apart_um", [0.5, 3.0, 5.0])
def test_overlap_of_two_discs_is_the_lens(apart_um, rng):
    r = 3.0
    grid = square_grid(7, 16)
    left = outline(grid, r, rng=rng, centre_um=(0.0, -apart_um / 2)).depth_um
    right = outline(grid, r, rng=rng, centre_um=(0.0, apart_um / 2)).depth_um
    lens = 2 * r**2 * np.arccos(apart_um / (2 * r)) - apart_um / 2 * np.sqrt(4 * r**2 - apart_um**2)
    assert coverage(np.minimum(left, right), 16).sum() / 16**2 == pytest.approx(lens, rel=5e-3)


def test_depth_of_a_disc_is_the_distance_to_its_line(rng):
    grid = square_grid(5, 10)
    disc = outline(grid, 3.0, rng=rng)
    distance = np.hypot(grid.rows_um, grid.columns_um)
    np.testing.assert_allclose(disc.depth_um, 3.0 - distance, atol=1e-5)
    np.testing.assert_allclose(disc.fraction, distance / 3.0, atol=1e-5)


def test_cleft_reaches_as_deep_as_asked(rng):
    grid = square_grid(5, 20)
    # Angle 0 points along the columns to the right.
    notched = outline(grid, 4.0, rng=rng, clefts=(Cleft(angle=0.0, depth=0.3, width=0.2),))
    middle = grid.shape[0] // 2
    inside = notched.fraction[middle] <= 1
    assert grid.columns_um[middle][inside].max() == pytest.approx(4.0 * 0.7, abs=1 / 20)
    assert grid.columns_um[middle][inside].min() == pytest.approx(-4.0, abs=1 / 20)


def test_wobble_is_the_root_mean_square_of_the_radius(rng):
    grid = square_grid(12, 20)
    line = outline(grid, 8.0, rng=rng, wobble=0.05)
    on_line = np.abs(line.fraction - 1) < 0.005
    radius = np.hypot(grid.rows_um, grid.columns_um)[on_line]
    assert np.std(radius / 8.0) == pytest.approx(0.05, rel=0.1)


def test_band_is_as_wide_as_asked():
    grid = square_grid(5, 20)
    depth = segment_depth(grid, (0.0, -3.0), (0.0, 3.0), 0.4)
    assert coverage(depth, 20).sum() / 20**2 == pytest.approx(6 * 0.8 + np.pi * 0.4**2, rel=0.01)


@pytest.mark.parametrize("scale_px", [0.8, 2.0, 5.0])
def test_texture_is_standardised_and_as_coarse_as_asked(scale_px, rng):
    noise = texture((400, 400), scale_px, rng=rng)
    assert noise.dtype == np.float32
    assert noise.mean() == pytest.approx(0, abs=0.1)
    assert noise.std() == pytest.approx(1, abs=0.1)
    # The autocorrelation of Gaussian-filtered white noise is exp(-(lag / 2s)^2).
    lag = round(2 * scale_px)
    correlation = np.mean(noise[:, lag:] * noise[:, :-lag]) / noise.var()
    assert correlation == pytest.approx(np.exp(-((lag / (2 * scale_px)) ** 2)), abs=0.06)
