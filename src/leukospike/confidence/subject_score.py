r"""From the calls on one subject's cells to the subject: how many blasts, what share, and how likely leukemia.

Of n cells, k are called leukemic. The rate of calls differs from subject to subject: among the blasts of one it is
:math:`\theta_1 \sim \mathrm{Beta}(s m_1, s(1 - m_1))`, among the normal cells of one
:math:`\theta_0 \sim \mathrm{Beta}(s m_0, s(1 - m_0))`. So k is beta-binomial [1]_, and the calls on two cells of a
subject are correlated by 1 / (s + 1): however many cells there are, what is not known of this subject's rate remains.
Two means and one precision are fitted to out-of-fold subjects. One precision for both makes the likelihood ratio rise
with k.

Two answers follow. The posterior weighs "all cells are blasts" against "none is", as in data where each cell of a
leukemic subject is labelled a blast. The number of blasts takes every number from 0 to n for equally likely beforehand,
and corrects for wrong calls, as Rogan and Gladen [2]_ do.

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
"""Prevalence without any knowledge of it: leukemia is as likely as not."""
RATES, PRECISIONS = (0.01, 0.99), (0.1, 1000.0)
"""Ends of the search; where subjects agree by chance, the likelihood has no maximum within."""
_MOST_CELLS = 400
"""More are scaled down to so many: what they would add is nothing beside what differs between subjects."""


class Pooling(StrEnum):
    """How to make one number of a subject's cells."""

    BETA_BINOMIAL = "beta_binomial"
    """Calls, and how they vary between subjects: what `score_subjects` uses."""
    MEAN_PROBABILITY = "mean_probability"
    MEAN_LOGIT = "mean_logit"
    ATTENTION = "attention"
    """Mean probability weighted by the softmax of the log odds: ruled by the most suspicious cells."""
    TOP_SHARE = "top_share"
    """Mean probability of the most suspicious tenth, of one cell at least."""


@dataclass(frozen=True)
class SubjectModel:
    """How often cells are called, among normal cells and among blasts, and how far that differs between subjects."""

    threshold: float
    """A cell is called leukemic from this calibrated probability on."""
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
            Cells called leukemic; several, if the same cells were judged in several ways, one as likely as another.
        n_cells : int
            All cells. Without, the answer is the prevalence.
        prevalence : float
            Of leukemia among those examined, between 0 and 1.

        Returns
        -------
        float
            0 to 1, rising with `n_called` and with `prevalence`. Of several, the likelihoods are averaged: many calls
            in one way and few in another tell little.

        Raises
        ------
        DataError
            If a number of cells is negative or not whole, more are called than there are, or `n_called` is empty.
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
        """Read what `stored` gave.

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
    """The shortest that holds 95 % of the posterior, in cells; it may begin at 0 or end at `n_cells`."""

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
    """What a subject's cells say of it."""

    subject: str
    n_called: int
    """Cells whose mean probability over all ways of judging is the threshold's or more."""
    blasts: BlastCount
    posterior: float
    """Probability of leukemia at the prevalence that was given."""


@dataclass(frozen=True)
class PoolingFigures:
    """How a pooling did on subjects that nothing was fitted on."""

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
        Calibrated probabilities of cells of subjects that the network has not seen; a subject is leukemic if one of its
        cells is.
    threshold : float
        From which a cell is called leukemic, 0 to 1.

    Returns
    -------
    SubjectModel

    Raises
    ------
    DataError
        If a class has fewer than two subjects, a probability is impossible, or normal subjects are called no less than
        leukemic ones.
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
    # What is found at a bound may fall a rounding error outside it.
    normal, leukemic = (float(rate) for rate in np.clip(expit(fitted[:2]), *RATES))
    if normal >= leukemic:
        msg = "leukemic subjects must be called more than normal ones"
        raise DataError(msg, where=where, got=f"{leukemic:.3f} and {normal:.3f}", advice="Check labels and scores.")
    precision = float(np.clip(np.exp(fitted[2]), *PRECISIONS))
    return SubjectModel(threshold, normal, leukemic, precision)


def count_blasts(model: SubjectModel, n_called: int | Sequence[int], n_cells: int) -> BlastCount:
    r"""Return the posterior of the number of blasts B among a subject's cells.

    .. math:: P(B \mid k) \propto P(k \mid B) = \sum_j \mathrm{BB}(j; B, m_1, s)\,\mathrm{BB}(k - j; n - B, m_0, s)

    with every B from 0 to n equally likely beforehand, and the two rates of a subject independent, on which data where
    no subject has both kinds of cells are silent. Above 400 cells, n and k are scaled down to 400.

    Parameters
    ----------
    model : SubjectModel
    n_called : int or sequence of int
        Cells called leukemic; several, if the same cells were judged in several ways: P(k | B) is the mean over them.
    n_cells : int
        All cells.

    Returns
    -------
    BlastCount
        Without cells, 0 of 0.

    Raises
    ------
    DataError
        As `SubjectModel.posterior` does.
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
    """Return log P(k | B) of k called among n cells, for B = 0 to n."""
    # Every number of blasts, a row each, and every number of them that is called, a column each.
    blasts, called = np.arange(n + 1)[:, None], np.arange(k + 1)[None, :]
    possible = (called <= blasts) & (k - called <= n - blasts)
    # What is impossible must not reach the logarithms.
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
        Calibrated as those that the model was fitted on, at the same prevalence of cells. Leave out flagged cells. A
        row each, if the same cells were judged in several ways, one as likely as another.
    subjects : ndarray of shape (n,)
    prevalence : float
        Of leukemia among those examined.

    Returns
    -------
    list of SubjectScore
        In the order of the subjects' names.

    Raises
    ------
    DataError
        If a probability is NaN or outside 0 and 1, there is none for a cell, or a subject is missing.
    ConfigError
        If the prevalence is not between 0 and 1.
    """
    where = "score_subjects"
    ways = np.atleast_2d(probabilities)
    if ways.ndim > 2 or len(ways) == 0:
        msg = "probabilities must be of shape (cells,) or (ways, cells), of one way at least"
        raise DataError(msg, where=where, got=f"shape {probabilities.shape}", advice="Give one value a cell.")
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
    """Hold the beta-binomial against simpler poolings, one subject left out at a time.

    The others are turned into posteriors by linear discriminant analysis of the log odds of the pooled value.

    Parameters
    ----------
    probabilities, labels, subjects : ndarray of shape (n,)
        As in `fit_subject_model`.
    threshold : float
        From which a cell is called leukemic, 0 to 1.
    prevalence : float
        For all posteriors; the share of leukemic subjects here gives the fairest Brier score and log loss.

    Returns
    -------
    dict of PoolingFigures
        By subject.

    Raises
    ------
    DataError, ConfigError
        As `fit_subject_model` and `SubjectModel.posterior` do; each class needs three subjects, and those of one class
        or the other must differ.
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
    """Make one value, 0 to 1, of each subject's probabilities, in the order of the subjects' names.

    Raises
    ------
    DataError
        If a probability is NaN or outside 0 and 1, there is no cell, lengths differ, or a subject is missing.
    ConfigError
        If the pooling is unknown, or `Pooling.BETA_BINOMIAL`, which takes a fitted model.
    """
    check_columns("pool", probabilities=probabilities, subjects=subjects)
    check_probabilities("pool", probabilities)
    by_subject = [probabilities[subjects == name].astype(np.float64) for name in np.unique(subjects)]
    return np.array([_pool(values, pooling) for values in by_subject])


def _pool(values: np.ndarray, pooling: Pooling) -> float:
    """Make one value of one subject's probabilities."""
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
    """Refuse a threshold that is no probability."""
    if not 0 <= threshold <= 1:
        msg = "threshold must be from 0 to 1"
        raise ConfigError(msg, where=where, got=threshold, advice="Give a probability, as 0.5.")


def _checked_counts(where: str, n_called: int | Sequence[int], n_cells: int) -> Int[np.ndarray, " ways"]:
    """Return how many cells each way calls, and refuse numbers that cannot be."""
    called = np.atleast_1d(n_called)
    possible = (called >= 0) & (called <= n_cells) & (called == np.rint(called))
    if called.ndim != 1 or called.size == 0 or n_cells % 1 != 0 or not possible.all():
        msg = f"n_called must be whole numbers from 0 to n_cells ({n_cells}), one at least"
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
    """Return first and last place of the shortest run that holds at least `mass`, the likeliest of equally short."""
    before = np.append(0.0, np.cumsum(posterior))
    # For each first place, the first end at which enough lies between; past the end where there is none.
    ends = np.searchsorted(before, before[:-1] + mass - 1e-12)
    firsts = np.flatnonzero(ends < len(before))
    lengths = ends[firsts] - firsts
    held = before[ends[firsts]] - before[firsts]
    best = min(range(len(firsts)), key=lambda place: (lengths[place], -held[place]))
    return int(firsts[best]), int(ends[firsts[best]] - 1)
