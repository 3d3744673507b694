"""Cells unlike any that the network was trained on, to be flagged and left out of the subject's score.

The distance is one between embeddings, what the network's last layer before its answer gives. It is cut where a stated
share of the cells of left-out subjects lies above.
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
    """Anything that tells how far cells lie from those that it was fitted on."""

    def distances(self, embeddings: Float[np.ndarray, "n features"]) -> Float[np.ndarray, " n"]:
        """Return each cell's distance, 0 and more."""
        ...


@dataclass(frozen=True)
class MahalanobisDistance:
    """Distance from the nearer class, in standard deviations within classes."""

    means: Float[np.ndarray, "classes features"]
    """Mean embedding of each class, float32."""
    whitening: Float[np.ndarray, "features features"]
    """Turns differences into units of the standard deviation within classes, float32."""

    def distances(self, embeddings: Float[np.ndarray, "n features"]) -> Float[np.ndarray, " n"]:
        """Return each cell's distance from the nearer mean.

        Parameters
        ----------
        embeddings : ndarray of shape (n, features)

        Returns
        -------
        ndarray of shape (n,), float64, 0 and more

        Raises
        ------
        DataError
            If the embeddings are not of shape (n, features), finite, and as long as those fitted on.
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
        """Read what `stored` gave.

        Raises
        ------
        WeightsError
            If an array is missing, of a wrong shape or not finite.
        """
        where = "MahalanobisDistance"
        means = read_array(where, stored, "means", (None, None))
        features = means.shape[1]
        return cls(means, read_array(where, stored, "whitening", (features, features)))


def fit_mahalanobis(embeddings: Float[np.ndarray, "n features"], labels: Int[np.ndarray, " n"]) -> MahalanobisDistance:
    """Fit a mean a class and one covariance within classes [1]_, shrunk towards a sphere after Ledoit and Wolf [2]_.

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
        If the embeddings are not of shape (n, features) and finite, there is none, lengths differ, a label is missing,
        or cells of a class do not differ from each other.

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
        msg = "embeddings of a class must differ"
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
        Takes the places of the cells to fit on, and gives a fitted distance.
    embeddings : ndarray of shape (n, features)
        Of a network that has seen none of these subjects: those it has seen lie closer together than new ones will, and
        a threshold from them flags too many. Where each fold has its own network, fit and measure fold by fold, and
        give the distances of all folds to `flag_threshold`.
    subjects, folds : ndarray of shape (n,)
        As in `subjects.left_out`.

    Returns
    -------
    ndarray of shape (n,), float64

    Raises
    ------
    DataError, ConfigError, SplitError
        As `fit` and `left_out` do; DataError also if the embeddings are not of shape (n, features) and finite.
    """
    _check_embeddings("cross_fitted_distances", embeddings)
    check_columns("cross_fitted_distances", embeddings=embeddings[:, 0], subjects=subjects)
    far = np.empty(len(embeddings))
    for rest, held in left_out(subjects, folds):
        far[held] = fit(rest).distances(embeddings[held])
    return far


def flag_threshold(distances: Float[np.ndarray, " n"], subjects: np.ndarray, *, rate: float = FALSE_FLAGS) -> float:
    """Return the distance above which a share of the cells lies, on average over subjects.

    A plain quantile: unlike `conformal`, it adds nothing for the new subject, who on average may have more false flags
    than `rate`, by at most one over the number of subjects.

    Parameters
    ----------
    distances, subjects : ndarray of shape (n,)
        Of cells of subjects that were left out when the distances were fitted.
    rate : float
        Above 0, below 1.

    Returns
    -------
    float
        One of the distances; cells that lie farther are flagged.

    Raises
    ------
    ConfigError
        If the rate is impossible.
    DataError
        If there is no cell, lengths differ, a subject is missing, or a distance is not finite.
    """
    if not 0 < rate < 1:
        msg = "rate must lie between 0 and 1"
        raise ConfigError(msg, where="flag_threshold", got=rate, advice="Give the share of false flags, as 0.05.")
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
    """Refuse embeddings that are not a row a cell, not finite, or not of this length, if one is given."""
    if embeddings.ndim != 2 or embeddings.shape[1] == 0:
        msg = "embeddings must be of shape (cells, features)"
        raise DataError(msg, where=where, got=embeddings.shape, advice="Give a row a cell.")
    if n_features is not None and embeddings.shape[1] != n_features:
        msg = f"embeddings must have {n_features} features"
        raise DataError(msg, where=where, got=embeddings.shape[1], advice="Use the same network.")
    if not np.isfinite(embeddings).all():
        msg = "embeddings must be finite"
        raise DataError(msg, where=where, got="NaN or infinity", advice="Check the network.")
