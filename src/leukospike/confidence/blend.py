"""One calibrated probability from several scores, each the log odds of one opinion."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit

from leukospike.confidence.calibration import CLOSEST, MAX_OFFSET, MAX_SLOPE
from leukospike.confidence.stored import read_number
from leukospike.confidence.subjects import check_columns
from leukospike.errors import DataError, WeightsError


@dataclass(frozen=True)
class Blend:
    r"""A logistic regression on log odds: :math:`\sigma(\sum_i w_i x_i + b)`."""

    weights: tuple[float, ...]
    """Of each score, at least 0: an opinion counts for what it says or not at all."""
    offset: float
    prevalence: float
    """Share of the first class for which the probabilities hold."""

    def apply(self, scores: Float[np.ndarray, "n opinions"]) -> Float[np.ndarray, " n"]:
        """Return calibrated probabilities, 0 to 1.

        Parameters
        ----------
        scores : ndarray of shape (n, opinions)
            Log odds, natural logarithm.

        Raises
        ------
        DataError
            If there is another number of opinions than was fitted on.
        """
        if scores.ndim != 2 or scores.shape[1] != len(self.weights):
            msg = f"scores must have {len(self.weights)} columns"
            raise DataError(msg, where="Blend.apply", got=scores.shape, advice="Pass the scores fitted on.")
        return expit(scores.astype(np.float64) @ np.array(self.weights) + self.offset)

    def stored(self) -> dict[str, Any]:
        """Return the numbers for a weights file."""
        return {"weights": list(self.weights), "offset": self.offset, "prevalence": self.prevalence}

    @classmethod
    def from_stored(cls, stored: Mapping[str, Any], *, n_scores: int) -> "Blend":
        """Load the numbers that `stored` returned, for a number of opinions.

        Raises
        ------
        WeightsError
            If a number is missing or impossible.
        """
        where, given = "Blend", stored.get("weights")
        if not isinstance(given, list) or len(given) != n_scores:
            msg = f"weights must be a list of {n_scores} numbers"
            raise WeightsError(msg, where=where, got=f"{given!r}"[:80], advice="Fit it again.")
        named = {str(place): weight for place, weight in enumerate(given)}
        return cls(
            weights=tuple(read_number(where, named, name, 0, MAX_SLOPE) for name in named),
            offset=read_number(where, stored, "offset", -MAX_OFFSET, MAX_OFFSET),
            prevalence=read_number(where, stored, "prevalence", CLOSEST, 1 - CLOSEST),
        )


def fit_blend(
    scores: Float[np.ndarray, "n opinions"],
    labels: Int[np.ndarray, " n"],
    weights: Float[np.ndarray, " n"],
    *,
    prevalence: float,
) -> Blend:
    """Fit by weighted maximum likelihood, the classes weighing as stated.

    Parameters
    ----------
    scores : ndarray of shape (n, opinions)
        Log odds of cells of subjects that nothing behind the scores has seen.
    labels : ndarray of shape (n,)
        1 or 0.
    weights : ndarray of shape (n,)
        Of each cell within its class, at least 0.
    prevalence : float
        What all cells of class 1 weigh together.

    Returns
    -------
    Blend

    Raises
    ------
    DataError
        If a class is absent, lengths differ, or a score is not finite.
    """
    from scipy.optimize import minimize  # slow to load, and only fitting needs it

    where = "fit_blend"
    check_columns(where, labels=labels, weights=weights, scores=scores[:, 0])
    if set(np.unique(labels)) != {0, 1}:
        msg = "labels must be 0 and 1, both of them"
        raise DataError(msg, where=where, got=np.unique(labels).tolist(), advice="Add cells of the missing class.")
    if not np.isfinite(scores).all():
        msg = "scores must be finite"
        raise DataError(msg, where=where, got="NaN or infinity", advice="Leave out cells without a score.")
    mass = weights.astype(np.float64).copy()
    for label, share in ((1, prevalence), (0, 1 - prevalence)):
        mass[labels == label] *= share / mass[labels == label].sum()
    signs = np.where(labels == 1, -1.0, 1.0)
    opinions = scores.astype(np.float64)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        margins = signs * (opinions @ parameters[:-1] + parameters[-1])
        slopes = mass * signs * expit(margins)
        return float(mass @ np.logaddexp(0, margins)), np.append(slopes @ opinions, slopes.sum())

    n_opinions = scores.shape[1]
    start = np.append(np.full(n_opinions, 1 / n_opinions), 0.0)
    bounds = [(0.0, MAX_SLOPE)] * n_opinions + [(-MAX_OFFSET, MAX_OFFSET)]
    fitted = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return Blend(tuple(float(weight) for weight in fitted[:-1]), float(fitted[-1]), prevalence)
