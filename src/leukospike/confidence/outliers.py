"""Cells unlike any that the network was trained on, which are flagged and left out of the subject's score.

The distance is measured between embeddings, the activations of the network's last hidden layer. The threshold is the
distance that a stated share of the cells of left-out subjects exceeds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, Int

from leukospike.confidence.stored import read_array
from leukospike.confidence.subjects import check_columns, equal_weights, left_out
from leukospike.errors import ConfigError, DataError

FALSE_FLAGS = 0.05
"""Share of the cells of new subjects that may be flagged."""


class Distance(Protocol):
    """Anything that measures how far cells lie from those that it was fitted on."""

    def distances(self, embeddings: Float[np.ndarray, "n features"]) -> Float[np.ndarray, " n"]:
        """Return each cell's distance, at least 0."""
        ...


@dataclass(frozen=True)
class MahalanobisDistance:
    """Distance from the nearer class, in standard deviations within classes."""

    means: Float[np.ndarray, "classes features"]
    """Mean embedding of each class, float32."""
    whitening: Float[np.ndarray, "features features"]
    """Matrix that scales differences to units of the standard deviation within classes, float32."""

    def distances(self, embeddings: Float[np.ndarray, "n features"]) -> Float[np.ndarray, " n"]:
        """Return each cell's distance from the nearer mean.

        Parameters
        ----------
        embeddings : ndarray of shape (n, features)

        Returns
        -------
        ndarray of shape (n,), float64, at least 0

        Raises
        ------
        DataError
            If the embeddings are not of shape (n, features), finite, and of the length of those fitted on.
        """
        _check_embeddings("MahalanobisDistance.distances", embeddings, self.means.shape[1])
        white = embeddings.astype(np.float64) @ self.whitening
        centres = self.means.astype(np.float64) @ self.whitening
        return np.min([np.linalg.norm(white - centre, axis=1) for centre in centres], axis=0)

    def stored(self) -> dict[str, np.ndarray]:
        """Return the arrays for a weights file."""
        return {"means": self.means, "whitening": self.whitening}

    @classmethod
    def from_stored(cls, stored: Mapping[str, Any]) -> "MahalanobisDistance":
        """Load the arrays that `stored` returned.

        Raises
        ------
        WeightsError
            If an array is missing, of the wrong shape or not finite.
        """
        where = "MahalanobisDistance"
        means = read_array(where, stored, "means", (None, None))
        features = means.shape[1]
        return cls(means, read_array(where, stored, "whitening", (features, features)))


def fit_mahalanobis(embeddings: Float[np.ndarray, "n features"], labels: Int[np.ndarray, " n"]) -> MahalanobisDistance:
    """Fit one mean per class and one covariance within classes [1]_, shrunk as by Ledoit and Wolf [2]_.

    Parameters
    ----------
    embeddings : ndarray of shape (n, features)
    labels : ndarray of shape (n,), int

    Returns
    -------
    MahalanobisDistance

    Raises
    ------
    DataError
        If the embeddings are not of shape (n, features) and finite, there are none, lengths differ, a label is missing,
        or the cells of each class are all alike.

    References
    ----------
    .. [1] Lee, Lee, Lee, Shin, A simple unified framework for detecting out-of-distribution samples and adversarial
       attacks, NeurIPS 2018, arXiv 1807.03888.
    .. [2] Ledoit, Wolf, Journal of Multivariate Analysis 88(2):365-411, 2004, doi 10.1016/S0047-259X(03)00096-4.
    """
    from sklearn.covariance import LedoitWolf  # slow to load, and only fitting needs it

    where = "fit_mahalanobis"
    _check_embeddings(where, embeddings)
    check_columns(where, embeddings=embeddings[:, 0], labels=labels)
    classes, member = np.unique(labels, return_inverse=True)
    cells = embeddings.astype(np.float64)
    means = np.array([cells[member == index].mean(axis=0) for index in range(len(classes))])
    covariance = LedoitWolf(assume_centered=True).fit(cells - means[member]).covariance_
    variances, axes = np.linalg.eigh(covariance)
    if variances[0] <= 0:
        msg = "embeddings within a class must differ"
        raise DataError(msg, where=where, got="all alike", advice="Check the network.")
    return MahalanobisDistance(means.astype(np.float32), (axes / np.sqrt(variances)).astype(np.float32))


def cross_fitted_distances(
    fit: Callable[[np.ndarray], Distance],
    embeddings: Float[np.ndarray, "n features"],
    subjects: np.ndarray,
    folds: np.ndarray,
) -> Float[np.ndarray, " n"]:
    """Return the distances of each fold's cells from the other folds' subjects.

    Parameters
    ----------
    fit : callable
        Takes the indices of the cells to fit on and returns a fitted distance.
    embeddings : ndarray of shape (n, features)
        From a network that has seen none of these subjects. Cells of subjects it has seen lie closer together than new
        ones will, and a threshold from them flags too many. If each fold has its own network, fit and measure fold by
        fold, and pass the distances of all folds to `flag_threshold`.
    subjects, folds : ndarray of shape (n,)
        As in `subjects.left_out`.

    Returns
    -------
    ndarray of shape (n,), float64

    Raises
    ------
    DataError, ConfigError, SplitError
        As for `fit` and `left_out`; DataError also if the embeddings are not of shape (n, features) and finite.
    """
    _check_embeddings("cross_fitted_distances", embeddings)
    check_columns("cross_fitted_distances", embeddings=embeddings[:, 0], subjects=subjects)
    far = np.empty(len(embeddings))
    for rest, held in left_out(subjects, folds):
        far[held] = fit(rest).distances(embeddings[held])
    return far


def flag_threshold(distances: Float[np.ndarray, " n"], subjects: np.ndarray, *, rate: float = FALSE_FLAGS) -> float:
    """Return the distance that a given share of the cells exceeds, on average over subjects.

    This is a plain quantile. Unlike `conformal`, it adds nothing for the new subject, whose share of false flags may on
    average exceed `rate` by at most one over the number of subjects.

    Parameters
    ----------
    distances, subjects : ndarray of shape (n,)
        For cells of subjects that were left out when the distances were fitted.
    rate : float
        Above 0 and below 1.

    Returns
    -------
    float
        One of the distances; cells at larger distances are flagged.

    Raises
    ------
    ConfigError
        If the rate is impossible.
    DataError
        If there are no cells, lengths differ, a subject is missing, or a distance is not finite.
    """
    if not 0 < rate < 1:
        msg = "rate must be between 0 and 1"
        raise ConfigError(msg, where="flag_threshold", got=rate, advice="Use the share of false flags, such as 0.05.")
    check_columns("flag_threshold", distances=distances, subjects=subjects)
    finite = np.isfinite(distances)
    if not finite.all():
        msg = "distances must be finite"
        raise DataError(msg, where="flag_threshold", got=distances[~finite][0], advice="Check the embeddings.")
    order = np.argsort(distances)
    mass = np.cumsum(equal_weights(subjects)[order])
    place = int(np.searchsorted(mass, (1 - rate) * mass[-1] - 1e-9))
    return float(distances[order[place]])


def _check_embeddings(where: str, embeddings: np.ndarray, n_features: int | None = None) -> None:
    """Raise an error unless embeddings are finite, one row per cell, and of this length if one is given."""
    if embeddings.ndim != 2 or embeddings.shape[1] == 0:
        msg = "embeddings must be of shape (cells, features)"
        raise DataError(msg, where=where, got=embeddings.shape, advice="Pass one row per cell.")
    if n_features is not None and embeddings.shape[1] != n_features:
        msg = f"embeddings must have {n_features} features"
        raise DataError(msg, where=where, got=embeddings.shape[1], advice="Use the same network.")
    if not np.isfinite(embeddings).all():
        msg = "embeddings must be finite"
        raise DataError(msg, where=where, got="NaN or infinity", advice="Check the network.")
