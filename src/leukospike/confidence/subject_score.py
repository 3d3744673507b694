r"""From the calls on one subject's cells to the subject: number and share of blasts, and probability of leukemia.

Of n cells, k are called leukemic. The rate of calls varies between subjects: among a subject's blasts it is
:math:`\theta_1 \sim \mathrm{Beta}(s m_1, s(1 - m_1))`, among its normal cells
:math:`\theta_0 \sim \mathrm{Beta}(s m_0, s(1 - m_0))`. Hence k is beta-binomial [1]_, and the calls on two cells of a
subject have a correlation of 1 / (s + 1): the uncertainty about a subject's rate remains however many cells there are.
Two means and one precision are fitted to out-of-fold subjects. With one precision for both, the likelihood ratio rises
with k.

Two results follow. The posterior weighs "all cells are blasts" against "none is", as in data where every cell of a
leukemic subject is labelled a blast. The number of blasts has a uniform prior from 0 to n and is corrected for wrong
calls, as by Rogan and Gladen [2]_.

References
----------
.. [1] Skellam, Journal of the Royal Statistical Society B 10(2):257-261, 1948.
.. [2] Rogan, Gladen, American Journal of Epidemiology 107(1):71-76, 1978, doi 10.1093/oxfordjournals.aje.a112510.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.special import betaln, expit, gammaln, logit, softmax

from leukospike.confidence.calibration import CLOSEST, check_prevalence, shift_prevalence
from leukospike.confidence.stored import read_number
from leukospike.confidence.subjects import check_cells, check_columns, check_probabilities, left_out
from leukospike.errors import ConfigError, DataError, WeightsError
from leukospike.evaluation.estimates import Interval
from leukospike.evaluation.metrics import CONFIDENCE, per_subject

EVEN = 0.5
"""Prevalence if nothing is known of it: leukemia is as likely as not."""
RATES, PRECISIONS = (0.01, 0.99), (0.1, 1000.0)
"""Bounds of the search; if subjects happen to agree, the likelihood has no maximum within them."""
_MOST_CELLS = 400
"""Larger numbers are scaled down to this one: more cells add nothing beside the variation between subjects."""


class Pooling(StrEnum):
    """How to pool a subject's cells into one number."""

    BETA_BINOMIAL = "beta_binomial"
    """Calls and their variation between subjects; used by `score_subjects`."""
    MEAN_PROBABILITY = "mean_probability"
    MEAN_LOGIT = "mean_logit"
    ATTENTION = "attention"
    """Mean probability weighted by the softmax of the log odds, which the most suspicious cells dominate."""
    TOP_SHARE = "top_share"
    """Mean probability of the most suspicious tenth of the cells, at least one."""


@dataclass(frozen=True)
class SubjectModel:
    """How often normal cells and blasts are called, and how far that varies between subjects."""

    threshold: float
    """A cell with this calibrated probability or a higher one is called leukemic."""
    rate_normal: float
    """Mean share of calls among the normal cells of a subject."""
    rate_leukemic: float
    """Mean share of calls among the blasts of a subject; above `rate_normal`."""
    precision: float
    """s: 1 / (s + 1) is the correlation of the calls on two cells of a subject."""

    def posterior(self, n_called: int | Sequence[int], n_cells: int, *, prevalence: float = EVEN) -> float:
        """Return the probability that a subject is leukemic.

        Parameters
        ----------
        n_called : int or sequence of int
            Number of cells called leukemic; several numbers if the same cells were judged in several equally likely
            ways.
        n_cells : int
            Number of all cells. With none, the answer is the prevalence.
        prevalence : float
            Prevalence of leukemia among those examined, between 0 and 1.

        Returns
        -------
        float
            0 to 1, rising with `n_called` and with `prevalence`. For several ways the likelihoods are averaged, so
            many calls in one way and few in another say little.

        Raises
        ------
        DataError
            If a number of cells is negative or not whole, `n_called` exceeds `n_cells`, or `n_called` is empty.
        ConfigError
            If the prevalence is not between 0 and 1.
        """
        called = _checked_counts("SubjectModel.posterior", n_called, n_cells)[:, None]
        rates = np.array([[self.rate_normal, self.rate_leukemic]])
        likelihoods = np.logaddexp.reduce(_log_beta_binomial(called, np.array(n_cells), rates, self.precision))
        even = expit(np.diff(likelihoods))
        return float(shift_prevalence(even, EVEN, prevalence)[0])

    def stored(self) -> dict[str, float]:
        """Return the numbers for a weights file."""
        return asdict(self)

    @classmethod
    def from_stored(cls, stored: Mapping[str, Any]) -> "SubjectModel":
        """Load the numbers that `stored` returned.

        Raises
        ------
        WeightsError
            If a number is missing or impossible.
        """
        where = "SubjectModel"
        model = cls(
            threshold=read_number(where, stored, "threshold", 0, 1),
            rate_normal=read_number(where, stored, "rate_normal", *RATES),
            rate_leukemic=read_number(where, stored, "rate_leukemic", *RATES),
            precision=read_number(where, stored, "precision", *PRECISIONS),
        )
        if model.rate_leukemic <= model.rate_normal:
            msg = f"rate_leukemic must be above rate_normal ({model.rate_normal})"
            raise WeightsError(msg, where=where, got=model.rate_leukemic, advice="Fit it again.")
        return model


@dataclass(frozen=True)
class BlastCount:
    """How many of a subject's cells are blasts."""

    n_cells: int
    expected: float
    interval: Interval
    """Shortest interval with 95 % of the posterior, in cells; it may begin at 0 or end at `n_cells`."""

    @property
    def share(self) -> float:
        """Expected share of blasts, 0 to 1; NaN without cells."""
        return self.expected / self.n_cells if self.n_cells else float("nan")

    @property
    def share_interval(self) -> Interval:
        """The interval as shares; NaN without cells."""
        if not self.n_cells:
            return Interval(float("nan"), float("nan"))
        return Interval(self.interval.low / self.n_cells, self.interval.high / self.n_cells)


@dataclass(frozen=True)
class SubjectScore:
    """The result for one subject."""

    subject: str
    n_called: int
    """Number of cells whose mean probability over all ways of judging is at least the threshold."""
    blasts: BlastCount
    posterior: float
    """Probability of leukemia at the given prevalence."""


@dataclass(frozen=True)
class PoolingFigures:
    """Performance of a pooling on subjects that nothing was fitted on."""

    roc_auc: float
    brier: float
    log_loss: float


def fit_subject_model(
    probabilities: Float[np.ndarray, " n"],
    labels: Int[np.ndarray, " n"],
    subjects: np.ndarray,
    *,
    threshold: float,
) -> SubjectModel:
    """Fit the two beta-binomials by maximum likelihood.

    Parameters
    ----------
    probabilities, labels, subjects : ndarray of shape (n,)
        Calibrated probabilities of cells of subjects that the network has not seen. A subject is leukemic if any of its
        cells is.
    threshold : float
        Probability from which a cell is called leukemic, 0 to 1.

    Returns
    -------
    SubjectModel

    Raises
    ------
    DataError
        If a class has fewer than two subjects, a probability is impossible, or normal subjects are called at least as
        often as leukemic ones.
    ConfigError
        If the threshold is not from 0 to 1.
    """
    from scipy.optimize import minimize  # slow to load, and only fitting needs it

    where = "fit_subject_model"
    check_cells(where, probabilities, labels, subjects)
    _check_threshold(where, threshold)
    truth, called, cells, _ = _counts(probabilities, labels, subjects, threshold)
    fewest = int(np.bincount(truth, minlength=2).min())
    if fewest < 2:
        msg = "each class must have at least 2 subjects"
        raise DataError(msg, where=where, got=fewest, advice="Add subjects.")

    def loss(parameters: np.ndarray) -> float:
        rates = expit(parameters[:2])[truth]
        return -float(np.sum(_log_beta_binomial(called, cells, rates, float(np.exp(parameters[2])))))

    share = called / cells
    start = logit(np.clip([share[truth == label].mean() for label in (0, 1)], 0.02, 0.98))
    bounds = [tuple(logit(RATES)), tuple(logit(RATES)), tuple(np.log(PRECISIONS))]
    fitted = minimize(loss, np.append(start, np.log(10.0)), method="L-BFGS-B", bounds=bounds).x
    # A value found at a bound may lie a rounding error outside it.
    normal, leukemic = (float(rate) for rate in np.clip(expit(fitted[:2]), *RATES))
    if normal >= leukemic:
        msg = "leukemic subjects must be called more often than normal ones"
        raise DataError(msg, where=where, got=f"{leukemic:.3f} and {normal:.3f}", advice="Check labels and scores.")
    precision = float(np.clip(np.exp(fitted[2]), *PRECISIONS))
    return SubjectModel(threshold, normal, leukemic, precision)


def count_blasts(model: SubjectModel, n_called: int | Sequence[int], n_cells: int) -> BlastCount:
    r"""Return the posterior of the number of blasts B among a subject's cells.

    .. math:: P(B \mid k) \propto P(k \mid B) = \sum_j \mathrm{BB}(j; B, m_1, s)\,\mathrm{BB}(k - j; n - B, m_0, s)

    with a uniform prior on B from 0 to n, and with the two rates of a subject independent; data in which no subject has
    both kinds of cells cannot confirm or refute the latter. Above 400 cells, n and k are scaled down to 400.

    Parameters
    ----------
    model : SubjectModel
    n_called : int or sequence of int
        Number of cells called leukemic; several numbers if the same cells were judged in several ways, in which case
        P(k | B) is the mean over them.
    n_cells : int
        Number of all cells.

    Returns
    -------
    BlastCount
        0 of 0 if there are no cells.

    Raises
    ------
    DataError
        As for `SubjectModel.posterior`.
    """
    ways = _checked_counts("count_blasts", n_called, n_cells)
    if n_cells == 0:
        return BlastCount(0, 0.0, Interval(0.0, 0.0))
    n = min(n_cells, _MOST_CELLS)
    scale = n_cells / n
    likelihoods = np.stack([_log_likelihoods(model, round(k / scale), n) for k in ways.tolist()])
    posterior = softmax(np.logaddexp.reduce(likelihoods))
    low, high = _shortest(posterior, CONFIDENCE)
    expected = float(posterior @ np.arange(n + 1))
    return BlastCount(n_cells, expected * scale, Interval(low * scale, high * scale))


def _log_likelihoods(model: SubjectModel, k: int, n: int) -> Float[np.ndarray, " blasts"]:
    """Return log P(k | B) for k called among n cells and B = 0 to n."""
    # One row for each number of blasts, and one column for each number of them that is called.
    blasts, called = np.arange(n + 1)[:, None], np.arange(k + 1)[None, :]
    possible = (called <= blasts) & (k - called <= n - blasts)
    # Impossible combinations must not reach the logarithms.
    hits, others = np.where(possible, called, 0), np.where(possible, k - called, 0)
    terms = _log_beta_binomial(hits, blasts, model.rate_leukemic, model.precision) + _log_beta_binomial(
        others, n - blasts, model.rate_normal, model.precision
    )
    return np.logaddexp.reduce(np.where(possible, terms, -np.inf), axis=1)


def score_subjects(
    model: SubjectModel, probabilities: Float[np.ndarray, "*ways n"], subjects: np.ndarray, *, prevalence: float = EVEN
) -> list[SubjectScore]:
    """Score every subject.

    Parameters
    ----------
    model : SubjectModel
    probabilities : ndarray of shape (n,) or (ways, n)
        Calibrated like those that the model was fitted on, at the same prevalence of cells. Leave out flagged cells.
        One row per way if the same cells were judged in several equally likely ways.
    subjects : ndarray of shape (n,)
    prevalence : float
        Prevalence of leukemia among those examined.

    Returns
    -------
    list of SubjectScore
        In the order of the subjects' names.

    Raises
    ------
    DataError
        If a probability is NaN or outside 0 to 1, a cell has none, or a subject is missing.
    ConfigError
        If the prevalence is not between 0 and 1.
    """
    where = "score_subjects"
    ways = np.atleast_2d(probabilities)
    if ways.ndim > 2 or len(ways) == 0:
        msg = "probabilities must be of shape (cells,) or (ways, cells), with at least one way"
        raise DataError(msg, where=where, got=f"shape {probabilities.shape}", advice="Pass one value per cell.")
    check_probabilities(where, ways.ravel())
    check_prevalence(where, prevalence)
    if len(subjects) == ways.shape[1] == 0:
        return []
    check_columns(where, probabilities=ways[0], subjects=subjects)
    scores: list[SubjectScore] = []
    for name in np.unique(subjects):
        own = ways[:, subjects == name]
        called, n_cells = np.count_nonzero(own >= model.threshold, axis=1).tolist(), own.shape[1]
        scores.append(
            SubjectScore(
                subject=str(name),
                n_called=int(np.count_nonzero(own.mean(axis=0) >= model.threshold)),
                blasts=count_blasts(model, called, n_cells),
                posterior=model.posterior(called, n_cells, prevalence=prevalence),
            )
        )
    return scores


def compare_poolings(
    probabilities: Float[np.ndarray, " n"],
    labels: Int[np.ndarray, " n"],
    subjects: np.ndarray,
    *,
    threshold: float,
    prevalence: float,
) -> dict[Pooling, PoolingFigures]:
    """Compare the beta-binomial with simpler poolings, leaving out one subject at a time.

    The simpler poolings become posteriors by linear discriminant analysis of the log odds of the pooled value.

    Parameters
    ----------
    probabilities, labels, subjects : ndarray of shape (n,)
        As in `fit_subject_model`.
    threshold : float
        Probability from which a cell is called leukemic, 0 to 1.
    prevalence : float
        Prevalence for all posteriors; the share of leukemic subjects here gives the fairest Brier score and log loss.

    Returns
    -------
    dict of PoolingFigures
        By subject.

    Raises
    ------
    DataError, ConfigError
        As for `fit_subject_model` and `SubjectModel.posterior`; each class needs three subjects, and in at least one
        class they must differ.
    """
    from sklearn import metrics  # slow to load, as above
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    check_cells("compare_poolings", probabilities, labels, subjects)
    _check_threshold("compare_poolings", threshold)
    check_prevalence("compare_poolings", prevalence)
    truth, called, cells, names = _counts(probabilities, labels, subjects, threshold)
    pooled = {
        pooling: logit(np.clip(pool(probabilities, subjects, pooling), CLOSEST, 1 - CLOSEST))[:, None]
        for pooling in Pooling
        if pooling is not Pooling.BETA_BINOMIAL
    }
    posteriors = {pooling: np.empty(len(names)) for pooling in Pooling}
    for place, (rest, _) in enumerate(left_out(subjects, subjects)):
        model = fit_subject_model(probabilities[rest], labels[rest], subjects[rest], threshold=threshold)
        posteriors[Pooling.BETA_BINOMIAL][place] = model.posterior(
            int(called[place]), int(cells[place]), prevalence=prevalence
        )
        others = np.arange(len(names)) != place
        for pooling, values in pooled.items():
            if all(len(np.unique(values[others & (truth == label)])) == 1 for label in (0, 1)):
                msg = "subjects of a class must differ in their probabilities"
                raise DataError(msg, where="compare_poolings", got="all alike", advice="Check the scores.")
            discriminant = LinearDiscriminantAnalysis(priors=np.array([1 - prevalence, prevalence]))
            discriminant.fit(values[others], truth[others])
            posteriors[pooling][place] = discriminant.predict_proba(values[[place]])[0, 1]
    return {
        pooling: PoolingFigures(
            roc_auc=float(metrics.roc_auc_score(truth, values)),
            brier=float(metrics.brier_score_loss(truth, values)),
            log_loss=float(metrics.log_loss(truth, values)),
        )
        for pooling, values in posteriors.items()
    }


def pool(
    probabilities: Float[np.ndarray, " n"], subjects: np.ndarray, pooling: Pooling
) -> Float[np.ndarray, " subjects"]:
    """Pool each subject's probabilities into one value, 0 to 1, in the order of the subjects' names.

    Raises
    ------
    DataError
        If a probability is NaN or outside 0 to 1, there are no cells, lengths differ, or a subject is missing.
    ConfigError
        If the pooling is unknown, or is `Pooling.BETA_BINOMIAL`, which needs a fitted model.
    """
    check_columns("pool", probabilities=probabilities, subjects=subjects)
    check_probabilities("pool", probabilities)
    by_subject = [probabilities[subjects == name].astype(np.float64) for name in np.unique(subjects)]
    return np.array([_pool(values, pooling) for values in by_subject])


def _pool(values: np.ndarray, pooling: Pooling) -> float:
    """Pool one subject's probabilities into one value."""
    scores = logit(np.clip(values, CLOSEST, 1 - CLOSEST))
    match pooling:
        case Pooling.MEAN_PROBABILITY:
            return float(values.mean())
        case Pooling.MEAN_LOGIT:
            return float(expit(scores.mean()))
        case Pooling.ATTENTION:
            return float(softmax(scores) @ values)
        case Pooling.TOP_SHARE:
            return float(np.sort(values)[-max(1, len(values) // 10) :].mean())
        case _:
            names = ", ".join(one for one in Pooling if one is not Pooling.BETA_BINOMIAL)
            msg = f"pooling must be one of {names}"
            raise ConfigError(msg, where="pool", got=pooling, advice="For beta_binomial, use score_subjects.")


def _check_threshold(where: str, threshold: float) -> None:
    """Raise an error unless the threshold is a probability."""
    if not 0 <= threshold <= 1:
        msg = "threshold must be from 0 to 1"
        raise ConfigError(msg, where=where, got=threshold, advice="Use a probability, such as 0.5.")


def _checked_counts(where: str, n_called: int | Sequence[int], n_cells: int) -> Int[np.ndarray, " ways"]:
    """Return how many cells each way calls; raise an error for impossible numbers."""
    called = np.atleast_1d(n_called)
    possible = (called >= 0) & (called <= n_cells) & (called == np.rint(called))
    if called.ndim != 1 or called.size == 0 or n_cells % 1 != 0 or not possible.all():
        msg = f"n_called must be at least one whole number from 0 to n_cells ({n_cells})"
        raise DataError(msg, where=where, got=n_called, advice="Count the cells of one subject.")
    return called.astype(np.int64)


def _counts(
    probabilities: np.ndarray, labels: np.ndarray, subjects: np.ndarray, threshold: float
) -> tuple[Int[np.ndarray, " s"], Int[np.ndarray, " s"], Int[np.ndarray, " s"], np.ndarray]:
    """Return each subject's label, calls, cells and name."""
    truth, share, names = per_subject(labels, (probabilities >= threshold).astype(np.float64), subjects)
    cells = np.unique(subjects, return_counts=True)[1]
    return truth, np.rint(share * cells).astype(np.int64), cells.astype(np.int64), names


def _log_beta_binomial(
    k: np.ndarray, n: np.ndarray, rate: float | np.ndarray, precision: float
) -> Float[np.ndarray, "*s"]:
    """Return the log probability of k calls among n cells."""
    a, b = precision * np.asarray(rate), precision * (1 - np.asarray(rate))
    choose = gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)
    return choose + betaln(k + a, n - k + b) - betaln(a, b)


def _shortest(posterior: np.ndarray, mass: float) -> tuple[int, int]:
    """Return the first and last index of the shortest run with at least `mass`, the likeliest among equally short."""
    before = np.append(0.0, np.cumsum(posterior))
    # For each first index, the first end with enough mass between; past the end if there is none.
    ends = np.searchsorted(before, before[:-1] + mass - 1e-12)
    firsts = np.flatnonzero(ends < len(before))
    lengths = ends[firsts] - firsts
    held = before[ends[firsts]] - before[firsts]
    best = min(range(len(firsts)), key=lambda place: (lengths[place], -held[place]))
    return int(firsts[best]), int(ends[firsts[best]] - 1)
