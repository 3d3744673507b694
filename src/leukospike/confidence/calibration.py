"""Calibrated probabilities: a logistic calibration on cells of subjects that the network has not seen."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit, logit

from leukospike.confidence.stored import read_number
from leukospike.confidence.subjects import check_cells, check_probabilities, left_out
from leukospike.errors import ConfigError

CLOSEST = 1e-6
"""Probabilities are clipped to this distance from 0 and 1: a float32 softmax returns 1 for what is only very likely."""
MAX_SLOPE, MAX_OFFSET = 20.0, 50.0
"""Bounds of the search; classes that a threshold separates without error would drive both to infinity."""


@dataclass(frozen=True)
class Calibration:
    r"""A mapping of a network's probabilities: :math:`\sigma(a\,\mathrm{logit}\,p + b)`."""

    slope: float
    """a, at least 0; below 1 for an overconfident network."""
    offset: float
    """b."""
    prevalence: float
    """Share of leukemic cells for which the probabilities hold."""

    def apply(
        self, probabilities: Float[np.ndarray, " n"], *, prevalence: float | None = None
    ) -> Float[np.ndarray, " n"]:
        """Calibrate probabilities.

        Parameters
        ----------
        probabilities : ndarray of shape (n,), 0 to 1
            The network's probabilities of being leukemic.
        prevalence : float, optional
            Expected share of leukemic cells, between 0 and 1; as fitted by default.

        Returns
        -------
        ndarray of shape (n,), float64, 0 to 1
            In the order of `probabilities`.

        Raises
        ------
        DataError
            If a probability is NaN or outside 0 to 1.
        ConfigError
            If the prevalence is not between 0 and 1.
        """
        check_probabilities("Calibration.apply", probabilities)
        calibrated = expit(self.slope * _logits(probabilities) + self.offset)
        return calibrated if prevalence is None else shift_prevalence(calibrated, self.prevalence, prevalence)

    def stored(self) -> dict[str, float]:
        """Return the numbers for a weights file."""
        return asdict(self)

    @classmethod
    def from_stored(cls, stored: Mapping[str, Any]) -> "Calibration":
        """Load the numbers that `stored` returned.

        Raises
        ------
        WeightsError
            If a number is missing or impossible.
        """
        where = "Calibration"
        return cls(
            slope=read_number(where, stored, "slope", 0, MAX_SLOPE),
            offset=read_number(where, stored, "offset", -MAX_OFFSET, MAX_OFFSET),
            prevalence=read_number(where, stored, "prevalence", CLOSEST, 1 - CLOSEST),
        )


def fit_calibration(
    probabilities: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"], *, prevalence: float
) -> Calibration:
    r"""Fit slope and offset on the logits by weighted maximum likelihood [1]_.

    The cells of a class have equal weights, and the leukemic cells together weigh `prevalence`, whatever their number.
    Three departures from [1]_ come from trials on out-of-fold scores of C-NMC (docs, on confidence). The prevalence is
    stated, not estimated: leaving a subject out changes the share of its class in the rest, and so shifts its
    probabilities away from its label. Subjects do not have equal weights: of nine normal subjects, the one that the
    network classifies as leukemic has 46 cells; with a ninth of the normal weight it distorts the fit for all. Targets
    are not drawn towards 1/2, which made the error larger.

    Parameters
    ----------
    probabilities : ndarray of shape (n,), 0 to 1
        From networks, for cells of subjects that these have not seen.
    labels : ndarray of shape (n,), int
        1 leukemic, 0 normal.
    prevalence : float
        Share of leukemic cells for which the calibrated probabilities are to hold, between 0 and 1. For figures on a
        data set, use its own share.

    Returns
    -------
    Calibration
        The slope is 0 if the scores rank the cells no better than chance.

    Raises
    ------
    DataError
        If a class is absent or a probability is impossible.
    ConfigError
        If the prevalence is not between 0 and 1.

    References
    ----------
    .. [1] Platt, Probabilistic outputs for support vector machines, Advances in Large Margin Classifiers, 1999; on
       logits of networks: Guo et al., ICML 2017, arXiv 1706.04599.
    """
    from scipy.optimize import minimize  # slow to load, and only fitting needs it

    check_cells("fit_calibration", probabilities, labels, labels)
    check_prevalence("fit_calibration", prevalence)
    scores, truth = _logits(probabilities), labels.astype(np.float64)
    weights = np.where(labels == 1, prevalence / truth.sum(), (1 - prevalence) / (1 - truth).sum())

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        z = parameters[0] * scores + parameters[1]
        residual = weights * (expit(z) - truth)
        return float(np.sum(weights * (np.logaddexp(0, z) - truth * z))), np.array([residual @ scores, residual.sum()])

    bounds = [(0.0, MAX_SLOPE), (-MAX_OFFSET, MAX_OFFSET)]
    fitted = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-14})
    slope, offset = (float(value) for value in fitted.x)
    return Calibration(slope, offset, prevalence)


def cross_fitted_probabilities(
    probabilities: Float[np.ndarray, " n"],
    labels: Int[np.ndarray, " n"],
    subjects: np.ndarray,
    folds: np.ndarray,
    *,
    prevalence: float,
) -> Float[np.ndarray, " n"]:
    """Calibrate each fold on the other folds' subjects, so that error and Brier score of the result are unbiased.

    Parameters
    ----------
    probabilities, labels, subjects, folds : ndarray of shape (n,)
        Out-of-fold probabilities, and as in `subjects.left_out`.
    prevalence : float
        As in `fit_calibration`; the same for all folds.

    Returns
    -------
    ndarray of shape (n,), float64, 0 to 1

    Raises
    ------
    DataError, ConfigError, SplitError
        As for `fit_calibration` and `left_out`.
    """
    check_cells("cross_fitted_probabilities", probabilities, labels, subjects)
    calibrated = np.empty(len(probabilities))
    for rest, held in left_out(subjects, folds):
        calibration = fit_calibration(probabilities[rest], labels[rest], prevalence=prevalence)
        calibrated[held] = calibration.apply(probabilities[held])
    return calibrated


def shift_prevalence(probabilities: Float[np.ndarray, "*n"], before: float, after: float) -> Float[np.ndarray, "*n"]:
    r"""Convert probabilities from one prevalence to another by Bayes' rule [1]_, equation 4.

    The odds are multiplied by the ratio of the prevalences' odds. This is correct if only the share of the classes
    changes and each class looks as before. For cells the prevalence is the share of blasts among white cells; for
    subjects it is that of leukemia among those examined.

    Parameters
    ----------
    probabilities : ndarray of shape (\*n), 0 to 1
        Calibrated at the prevalence `before`.
    before, after : float
        Between 0 and 1.

    Returns
    -------
    ndarray of shape (\*n), 0 to 1

    Raises
    ------
    DataError
        If a probability is NaN or outside 0 to 1.
    ConfigError
        If a prevalence is not between 0 and 1.

    References
    ----------
    .. [1] Saerens, Latinne, Decaestecker, Neural Computation 14(1):21-41, 2002, doi 10.1162/089976602753284446.

    Examples
    --------
    >>> shift_prevalence(np.array([0.5, 0.9]), 0.5, 0.1).round(3).tolist()
    [0.1, 0.5]
    """
    check_probabilities("shift_prevalence", probabilities.ravel())
    for prevalence in (before, after):
        check_prevalence("shift_prevalence", prevalence)
    leukemic = probabilities * (after / before)
    return leukemic / (leukemic + (1 - probabilities) * ((1 - after) / (1 - before)))


def check_prevalence(where: str, prevalence: float) -> None:
    """Raise an error unless the prevalence is between 0 and 1, with some room at both ends.

    Raises
    ------
    ConfigError
        If it is not.
    """
    if not CLOSEST <= prevalence <= 1 - CLOSEST:
        msg = f"prevalence must be from {CLOSEST:g} to {1 - CLOSEST:g}"
        raise ConfigError(msg, where=where, got=f"{prevalence:g}", advice="Use a share, not a percentage.")


def _logits(probabilities: np.ndarray) -> Float[np.ndarray, " n"]:
    """Return the log odds, finite."""
    return logit(np.clip(probabilities.astype(np.float64), CLOSEST, 1 - CLOSEST))
