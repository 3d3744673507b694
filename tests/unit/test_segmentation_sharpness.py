"""Edges are as wide as their blur, in pixels of the image, and measured only where it may be."""

import numpy as np
import pytest
from scipy import ndimage

from leukospike.segmentation.percentiles import percentile, percentiles
from leukospike.segmentation.sharpness import edges_of
from leukospike.smears import CellKind, draw_field, subject_style

FIELD = draw_field([CellKind.LYMPHOBLAST], subject_style(np.random.default_rng(0)), np.random.default_rng(0)).pixels


@pytest.mark.parametrize("sigma", [3.0, 6.0, 12.0])
def test_edge_of_a_blurred_step_has_the_width_of_the_blur(sigma: float):
    step = np.zeros((200, 200, 3), np.float32)
    step[:, 101:] = 200  # steepest at an even column: every second is looked at
    width = edges_of(ndimage.gaussian_filter(step, (sigma, sigma, 0)).astype(np.uint8)).width_px
    # The slope of a step blurred to s is its height / (s sqrt(2 pi)); the measurement blurs by another pixel.
    assert width == pytest.approx(np.sqrt(2 * np.pi * (sigma**2 + 1)), rel=0.05)


def test_edges_are_measured_in_pixels_of_the_image_and_whatever_the_contrast():
    blurred = ndimage.gaussian_filter(FIELD.astype(np.float32), (6, 6, 0)).astype(np.uint8)
    width = edges_of(blurred).width_px
    assert edges_of(blurred // 2).width_px == pytest.approx(width, rel=0.05)
    double = np.kron(blurred, np.ones((2, 2, 1), np.uint8))
    assert edges_of(double).width_px == pytest.approx(2 * width, rel=0.05)


@pytest.mark.parametrize("left", [0, 60])
def test_edges_are_those_of_their_definition(left: int):
    pixels = FIELD[:300, :200]
    usable = np.ones((300, 200), dtype=bool)
    usable[:, :left] = False
    green = ndimage.gaussian_filter(pixels[:, :, 1].astype(np.float64), 1.0)
    inside = np.ones((300, 200), dtype=bool)
    inside[:, : left + 3 if left else 0] = False
    down, along = green[1:, :-1] - green[:-1, :-1], green[:-1, 1:] - green[:-1, :-1]
    slope, inner = np.hypot(down, along), inside[:-1, :-1]
    sparse = inner[::2, ::2]
    low, high = np.percentile(green[::2, ::2][inside[::2, ::2]], [1, 99])
    some = slope[::2, ::2][sparse]
    steepest = np.percentile(some, 99.5)
    angle = np.arctan2(along, down)[::2, ::2][sparse]
    level = green[:-1, :-1][::2, ::2][sparse]
    dark, light = some[(level < (low + high) / 2) & (level > 4)], some[level >= (low + high) / 2]
    expected = (
        (high - low) / steepest,
        slope[inner].mean() / (high - low),
        slope[inner].mean() / steepest,
        np.abs(np.sum(some * np.exp(2j * angle))) / some.sum(),
        np.mean(dark < 0.0015 * (high - low)),
        np.mean(light < 0.0005 * (high - low)),
    )
    np.testing.assert_allclose(edges_of(pixels, usable=usable if left else None), expected, rtol=1e-3, atol=1e-3)


def test_nothing_to_see_has_no_edges():
    for edges in (edges_of(np.full((50, 40, 3), 7, np.uint8)), edges_of(FIELD, usable=np.zeros(FIELD.shape[:2], bool))):
        assert (edges.width_px, edges.slope) == (float("inf"), 0.0)


def test_percentiles_with_zeros_are_those_of_all_values():
    values = np.random.default_rng(0).random((30, 41)).astype(np.float32)
    for n_zeros in (0, 1, 12, 1000, 100_000):
        found = percentiles(values, (0.5, 1, 50, 99, 99.5), n_zeros=n_zeros)
        expected = np.percentile(np.append(values.ravel(), np.zeros(n_zeros, np.float32)), (0.5, 1, 50, 99, 99.5))
        assert found == pytest.approx(expected.tolist(), abs=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3, 100, 1001, 40_000])
def test_percentiles_are_exactly_those_of_numpy(count: int):
    rng = np.random.default_rng(count)
    for values in (rng.normal(size=count), rng.integers(0, 256, count)):
        values = values.astype(np.float32)
        for shares in ((1, 50, 99), (99.5,), (0, 100)):
            assert percentiles(values, shares) == tuple(np.percentile(values, shares).tolist())
            for share in shares:
                assert percentile(values, share) == np.percentile(values, share)
