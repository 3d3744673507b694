"""PCA against linear algebra."""

import numpy as np
import pytest

from leukospike.errors import ConfigError, DataError
from leukospike.original.components import FittedComponents, fit_components


def _images(n: int, side: int, *, rank: int, seed: int = 0) -> np.ndarray:
    """Give images that lie, but for a common mean, in a space of `rank` dimensions, of falling variance."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(side * side, rank)))[0].T
    scale = 10 * 0.6 ** np.arange(rank)
    flat = rng.normal(size=(n, rank)) * scale @ basis + rng.normal(size=side * side)
    return flat.reshape(n, side, side).astype(np.float32)


def _fit(images: np.ndarray, n_components: int) -> FittedComponents:
    return fit_components(images.copy(), n_components=n_components, seed=0)


def test_images_of_known_rank_are_rebuilt_exactly():
    images = _images(40, 9, rank=5)
    components = _fit(images, 5)
    coordinates = components.project(images)
    assert coordinates.shape == (40, 5)
    assert coordinates.dtype == np.float32
    rebuilt = components.reconstruct(coordinates)
    assert rebuilt.dtype == np.float32
    np.testing.assert_allclose(rebuilt, images, atol=1e-4)


def test_fewer_components_than_the_rank_leave_what_numpy_leaves():
    images = _images(40, 9, rank=8)
    components = _fit(images, 3)
    error = np.square(components.reconstruct(components.project(images)) - images).sum()
    flat = images.reshape(40, -1).astype(np.float64)
    singular = np.linalg.svd(flat - flat.mean(axis=0), compute_uv=False)
    assert error == pytest.approx(np.square(singular[3:]).sum(), rel=1e-3)


def test_basis_is_orthonormal_and_ordered():
    components = _fit(_images(60, 9, rank=12), 10)
    np.testing.assert_allclose(components.basis @ components.basis.T, np.eye(10), atol=1e-5)
    assert (np.diff(components.explained_variance_ratio) <= 0).all()


def test_explained_variance_is_that_of_numpy():
    images = _images(60, 9, rank=12)
    flat = images.reshape(60, -1).astype(np.float64)
    variance = np.square(np.linalg.svd(flat - flat.mean(axis=0), compute_uv=False))
    components = _fit(images, 6)
    np.testing.assert_allclose(components.explained_variance_ratio, variance[:6] / variance.sum(), rtol=1e-4)
    np.testing.assert_allclose(components.mean, flat.mean(axis=0), atol=1e-5)


def test_as_many_components_as_images_explain_everything_by_construction():
    images = np.random.default_rng(0).normal(size=(12, 9, 9)).astype(np.float32)
    components = _fit(images, 12)
    assert components.explained_variance_ratio.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(components.reconstruct(components.project(images)), images, atol=1e-4)


def test_fit_overwrites_its_input_as_documented():
    images = _images(20, 9, rank=5)
    given = images.copy()
    fit_components(given, n_components=5, seed=0)
    assert not np.array_equal(given, images)
    assert "**Overwritten**" in str(fit_components.__doc__)


def test_applying_changes_neither_basis_nor_images():
    train, test = _images(30, 9, rank=6), _images(10, 9, rank=6, seed=1)
    components = _fit(train, 6)
    before = (components.mean.copy(), components.basis.copy(), test.copy())
    components.reconstruct(components.project(test))
    for array, kept in zip((components.mean, components.basis, test), before, strict=True):
        np.testing.assert_array_equal(array, kept)


def test_same_seed_same_basis():
    images = _images(30, 9, rank=20)
    first, again = _fit(images, 6), _fit(images, 6)
    np.testing.assert_array_equal(first.basis, again.basis)


@pytest.mark.parametrize(("n", "side", "asked", "most"), [(5, 9, 6, 5), (30, 4, 17, 16), (5, 9, 0, 5)])
def test_impossible_number_of_components_is_refused(n, side, asked, most):
    message = rf"n_components must be from 1 to {most} for {n} images of {side * side} pixels, got {asked}\."
    with pytest.raises(ConfigError, match=message):
        _fit(_images(n, side, rank=3), asked)


@pytest.mark.parametrize("n", [1, 7])
def test_images_without_variance_are_refused(n: int):
    alike = np.repeat(np.random.default_rng(0).normal(size=(1, 9, 9)).astype(np.float32), n, axis=0)
    with pytest.raises(
        DataError, match=rf"the spike maps of the images must differ, got no variation among {n}\. Check"
    ):
        _fit(alike, 1)
