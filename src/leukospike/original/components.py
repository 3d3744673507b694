"""PCA: the network sees images rebuilt from their first components."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from leukospike.errors import ConfigError, DataError


@dataclass(frozen=True)
class FittedComponents:
    """A basis fitted to training images; applying it to other images does not change it."""

    mean: Float[np.ndarray, " pixels"]
    """Mean training image, flattened, float32."""
    basis: Float[np.ndarray, "components pixels"]
    """Orthonormal rows, float32, with the largest variance first."""
    explained_variance_ratio: Float[np.ndarray, " components"]
    """Share of the training images' variance along each row of `basis`, 0 to 1."""

    def project(self, images: Float[np.ndarray, "n rows columns"]) -> Float[np.ndarray, "n components"]:
        """Return the coordinates of each image in the basis, float32."""
        return (images.reshape(len(images), -1) - self.mean) @ self.basis.T

    def reconstruct(self, coordinates: Float[np.ndarray, "n components"]) -> Float[np.ndarray, "n rows columns"]:
        """Return the square images with these coordinates, float32."""
        side = round(len(self.mean) ** 0.5)
        return (coordinates @ self.basis + self.mean).reshape(-1, side, side)


def fit_components(images: Float[np.ndarray, "n rows columns"], *, n_components: int, seed: int) -> FittedComponents:
    """Fit a PCA to flattened square images by randomised singular value decomposition.

    Parameters
    ----------
    images : ndarray of shape (n, rows, columns), float32
        Normalised training images. **Overwritten** by the fit, since a second copy of 10,661 images would take 0.4 GB.
    n_components : int
        At most n and at most rows * columns. The original uses 500 for C-NMC and 1,200 for ALL-IDB.
    seed : int
        Seed of the random projection.

    Returns
    -------
    FittedComponents

    Raises
    ------
    ConfigError
        If there are fewer images or pixels than components.
    DataError
        If the images do not differ, which leaves no variance to explain.

    References
    ----------
    .. [1] Halko, Martinsson, Tropp, Finding structure with randomness, SIAM Review 53(2), 2011,
       doi 10.1137/090771806.
    """
    flat = images.reshape(len(images), -1)
    if not 1 <= n_components <= min(flat.shape):
        msg = f"n_components must be from 1 to {min(flat.shape)} for {flat.shape[0]} images of {flat.shape[1]} pixels"
        raise ConfigError(
            msg, where="fit_components", got=n_components, advice="Request fewer components or use more images."
        )
    if all(np.array_equal(image, flat[0]) for image in flat):  # usually ends at the second image
        msg = "the spike maps of the images must differ"
        raise DataError(
            msg,
            where="fit_components",
            got=f"no variation among {len(flat)}",
            advice="Check that each image shows one whole cell in focus.",
        )
    from sklearn.decomposition import PCA  # slow to load, and only fitting needs it

    pca = PCA(n_components, svd_solver="randomized", copy=False, random_state=seed).fit(flat)
    return FittedComponents(
        mean=pca.mean_.astype(np.float32),
        basis=np.ascontiguousarray(pca.components_, dtype=np.float32),
        explained_variance_ratio=pca.explained_variance_ratio_.astype(np.float32),
    )
