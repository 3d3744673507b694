r"""From the calls on one subject's cells to the subject: number and share of blasts, and probability of leukemia.

Of n cells, k are called leukemic. The rate of calls varies between subjects: among a subject's blasts it is
:math:`\theta_1 \sim \mathrm{Beta}(s m_1, s(1 - m_1))`, among its other cells
:math:`\theta_0 \sim \mathrm{Beta}(s m_0, s(1 - m_0))`. Hence the number of calls on cells of one sort is beta-binomial
(BB) [1]_, and those on two of them have a correlation of 1 / (s + 1): the uncertainty about a subject's rate remains
however many cells there are. With B blasts among the n cells, and the two rates of a subject independent,

.. math:: P(k \mid B) = \sum_j \mathrm{BB}(j; B, m_1, s)\,\mathrm{BB}(k - j; n - B, m_0, s).

Mature cells (lymphocytes, monocytes, granulocytes) are called less often than normal precursors of lymphocytes, which
resemble blasts. A subject's :math:`m_0` is therefore a mean of the rates of the two, weighted by their shares among its
cells that are not called. Three calls beside 97 mature cells are what a healthy person shows; three beside two
precursors are not.

Two results follow. The number of blasts has a uniform prior from 0 to n and is corrected for wrong calls, as by Rogan
and Gladen [2]_. The probability of leukemia weighs "a share f of the cells are blasts", with f uniform from
`LEAST_SHARE` to 1, against "none is":

.. math:: \frac{P(k \mid \text{leukemia})}{P(k \mid \text{none})} = \frac{\sum_B w_B P(k \mid B)}{P(k \mid 0)}, \qquad
   w_B = \frac{1}{1 - a} \int_a^1 \binom{n}{B} f^B (1 - f)^{n - B} \, df

with a the least share. The shares between none and the least one belong to neither: the ratio says nothing of a subject
with few blasts, such as one in treatment.

References
----------
.. [1] Skellam, Journal of the Royal Statistical Society B 10(2):257-261, 1948.
.. [2] Rogan, Gladen, American Journal of Epidemiology 107(1):71-76, 1978, doi 10.1093/oxfordjournals.aje.a112510.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import bdtr, betaln, expit, gammaln, logit, softmax

from leukospike.confidence.calibration import CLOSEST, check_prevalence, shift_prevalence
from leukospike.confidence.stored import read_number
from leukospike.confidence.subjects import check_cells, check_columns, check_probabilities, equal_weights, left_out
from leukospike.errors import ConfigError, DataError, WeightsError
from leukospike.evaluation.estimates import Interval
from leukospike.evaluation.metrics import CONFIDENCE, per_subject

EVEN = 0.5
"""Prevalence if nothing is known of it: leukemia is as likely as not."""
LEAST_SHARE = 0.2
"""Least share of blasts in leukemia. The WHO classification (Borowitz et al., B-lymphoblastic leukaemia/lymphoma, not
otherwise specified, in: WHO Classification of Tumours of Haematopoietic and Lymphoid Tissues, revised 4th edition,
IARC, 2017) knows no agreed limit for lymphoblastic leukemia, but advises against the diagnosis below 20 % of the
marrow's cells, and mentions 25 % as the limit of many treatment protocols. Here it is a share of the cells counted,
which are white cells and often of the blood, so it is a working assumption and no criterion.
"""
RATES, PRECISIONS = (0.01, 0.99), (1.0, 1000.0)
"""Bounds of the search; if subjects happen to agree, the likelihood has no maximum within them. With a precision below
1, a subject's cells of one sort would be called all or not at all. Hardly any share of blasts but 1 would then explain
calls on all cells, and these would say little for leukemia."""
_HIGHEST_LEAST_SHARE = 0.99
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


@dataclass(frozen=True, kw_only=True)
class SubjectModel:
    """How often cells of three sorts are called, and how far that varies between subjects."""

    threshold: float
    """A cell with this calibrated probability or a higher one is called leukemic."""
    rate_mature: float
    """Mean share of calls among the mature cells of a subject; below `rate_leukemic`."""
    rate_normal: float
    """Mean share of calls among the normal precursors of lymphocytes of a subject; below `rate_leukemic`."""
    rate_leukemic: float
    """Mean share of calls among the blasts of a subject."""
    precision: float
    """s: 1 / (s + 1) is the correlation of the calls on two cells of one sort of a subject."""
    least_share: float = LEAST_SHARE
    """Least share of blasts among a leukemic subject's cells."""

    def false_rate(self, n_called: int, n_cells: int, *, n_mature: int = 0) -> float:
        """Return the expected share of calls among a subject's cells that are no blasts.

        Only cells that are not called tell which sorts of cells these are.

        Parameters
        ----------
        n_called : int
            Number of cells called leukemic.
        n_cells : int
            Number of all cells.
        n_mature : int
            Number of mature ones among the cells not called.

        Returns
        -------
        float
            `rate_normal` if all cells are called.

        Raises
        ------
        DataError
            If a number of cells is negative, not whole or larger than the number that it is part of.
        """
        _check_counts("SubjectModel.false_rate", n_called, n_cells, n_mature)
        n_uncalled = n_cells - n_called
        mature = n_mature / n_uncalled if n_uncalled else 0.0
        return mature * self.rate_mature + (1 - mature) * self.rate_normal

    def posterior(self, n_called: int, n_cells: int, *, n_mature: int = 0, prevalence: float = EVEN) -> float:
        """Return the probability that a subject is leukemic, as opposed to without any blast.

        Where the likelihood ratio falls as calls are added, which happens only if the rates of subjects differ widely,
        it is lowered to its least value from `n_called` on, so that more calls never count for less.

        Parameters
        ----------
        n_called, n_cells, n_mature : int
            As in `false_rate`. Without cells, the answer is the prevalence. Above 400 cells, numbers are scaled down to
            400.
        prevalence : float
            Prevalence of leukemia among those examined, between 0 and 1.

        Returns
        -------
        float
            0 to 1, rising with `n_called` for a given false rate, and with `prevalence`.

        Raises
        ------
        DataError
            As for `false_rate`.
        ConfigError
            If the prevalence is not between 0 and 1.
        """
        _check_counts("SubjectModel.posterior", n_called, n_cells, n_mature)
        k, n = _scaled(n_called, n_cells)
        ratios = _log_ratios(self, n, self.false_rate(n_called, n_cells, n_mature=n_mature))
        even = expit(ratios[k:].min(keepdims=True))
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
            rate_mature=read_number(where, stored, "rate_mature", *RATES),
            rate_normal=read_number(where, stored, "rate_normal", *RATES),
            rate_leukemic=read_number(where, stored, "rate_leukemic", *RATES),
            precision=read_number(where, stored, "precision", *PRECISIONS),
            least_share=read_number(where, stored, "least_share", 0, _HIGHEST_LEAST_SHARE),
        )
        for name in ("rate_normal", "rate_mature"):
            if model.rate_leukemic <= getattr(model, name):
                msg = f"rate_leukemic must be above {name} ({getattr(model, name)})"
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
    """Number of cells whose probability is at least the threshold."""
    n_mature: int
    """Number of mature ones among the other cells."""
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
    mature_probabilities: Float[np.ndarray, " m"] | None = None,
    mature_groups: np.ndarray | None = None,
) -> SubjectModel:
    """Fit the beta-binomials of precursors and blasts by maximum likelihood, and the mean rate of mature cells.

    Data sets of mature cells seldom name subjects, so that the variation between these is unknown, and that of the
    others is assumed.

    Parameters
    ----------
    probabilities, labels, subjects : ndarray of shape (n,)
        Calibrated probabilities of precursors and blasts of subjects that the network has not seen. A subject is
        leukemic if any of its cells is.
    threshold : float
        Probability from which a cell is called leukemic, 0 to 1.
    mature_probabilities, mature_groups : ndarray of shape (m,), optional
        The same for mature cells that the network has not seen, with the group of each: one laboratory's cells of one
        kind, say. Groups weigh alike. Without them, `rate_mature` is `rate_normal`.

    Returns
    -------
    SubjectModel

    Raises
    ------
    DataError
        If a class has fewer than two subjects, a probability is impossible, only one of the arrays on mature cells is
        given, or normal subjects or mature cells are called at least as often as leukemic subjects.
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
    mature = _rate_mature(where, mature_probabilities, mature_groups, threshold)
    if mature is not None and mature >= leukemic:
        msg = "leukemic subjects must be called more often than mature cells"
        raise DataError(msg, where=where, got=f"{leukemic:.3f} and {mature:.3f}", advice="Check the kinds of cells.")
    return SubjectModel(
        threshold=threshold,
        rate_mature=normal if mature is None else mature,
        rate_normal=normal,
        rate_leukemic=leukemic,
        precision=float(np.clip(np.exp(fitted[2]), *PRECISIONS)),
    )


def _rate_mature(
    where: str, probabilities: np.ndarray | None, groups: np.ndarray | None, threshold: float
) -> float | None:
    """Return the mean share of calls over groups of mature cells; None without such cells."""
    if probabilities is None and groups is None:
        return None
    if probabilities is None or groups is None:
        msg = "mature_probabilities and mature_groups must be given together"
        raise DataError(msg, where=where, got="one of them", advice="Pass both, or neither.")
    check_columns(where, mature_probabilities=probabilities, mature_groups=groups)
    check_probabilities(where, probabilities)
    weights = equal_weights(groups)
    return float(np.clip(np.average(probabilities >= threshold, weights=weights), *RATES))


def count_blasts(model: SubjectModel, n_called: int, n_cells: int, *, n_mature: int = 0) -> BlastCount:
    """Return the posterior of the number of blasts among a subject's cells.

    The prior is uniform from 0 to all. That the two rates of a subject are independent can be neither confirmed nor
    refuted by data in which no subject has both sorts of cells. Above 400 cells, numbers are scaled down to 400.

    Parameters
    ----------
    model : SubjectModel
    n_called, n_cells, n_mature : int
        As in `SubjectModel.false_rate`.

    Returns
    -------
    BlastCount
        0 of 0 if there are no cells.

    Raises
    ------
    DataError
        As for `SubjectModel.false_rate`.
    """
    _check_counts("count_blasts", n_called, n_cells, n_mature)
    if n_cells == 0:
        return BlastCount(0, 0.0, Interval(0.0, 0.0))
    k, n = _scaled(n_called, n_cells)
    scale = n_cells / n
    false_rate = model.false_rate(n_called, n_cells, n_mature=n_mature)
    posterior = softmax(_log_likelihoods(model, n, false_rate)[:, k])
    low, high = _shortest(posterior, CONFIDENCE)
    expected = float(posterior @ np.arange(n + 1))
    return BlastCount(n_cells, expected * scale, Interval(low * scale, high * scale))


def _log_ratios(model: SubjectModel, n: int, false_rate: float) -> Float[np.ndarray, " calls"]:
    """Return the log likelihood ratio of leukemia for 0 to n called among n cells."""
    likelihoods = _log_likelihoods(model, n, false_rate)
    # The integral of the binomial from the least share to 1 is a binomial sum: of n + 1 draws, at most B succeed.
    with np.errstate(divide="ignore"):  # a number of blasts that is next to impossible
        weights = np.log(bdtr(np.arange(n + 1.0), n + 1, model.least_share) / ((n + 1) * (1 - model.least_share)))
    leukemia = np.logaddexp.reduce(likelihoods + weights[:, None], axis=0)
    return leukemia - _log_beta_binomial(np.arange(n + 1), np.array(n), false_rate, model.precision)


def _log_likelihoods(model: SubjectModel, n: int, false_rate: float) -> Float[np.ndarray, "blasts calls"]:
    """Return log P(k | B) for B = 0 to n (rows) and k = 0 to n (columns); -inf where it is less than e^-700."""
    rows: list[np.ndarray] = []
    for blasts in range(n + 1):
        hits, others = (
            _log_beta_binomial(np.arange(size + 1), np.array(size), rate, model.precision)
            for size, rate in ((blasts, model.rate_leukemic), (n - blasts, false_rate))
        )
        # The largest become 1, so that none but the negligible vanish.
        largest = hits.max(), others.max()
        together = np.convolve(np.exp(hits - largest[0]), np.exp(others - largest[1]))
        with np.errstate(divide="ignore"):
            rows.append(np.log(together) + sum(largest))
    return np.stack(rows)


def score_subjects(
    model: SubjectModel,
    probabilities: Float[np.ndarray, " n"],
    subjects: np.ndarray,
    *,
    mature: Bool[np.ndarray, " n"],
    prevalence: float = EVEN,
) -> list[SubjectScore]:
    """Score every subject.

    Parameters
    ----------
    model : SubjectModel
    probabilities : ndarray of shape (n,)
        Calibrated like those that the model was fitted on, at the same prevalence of cells. Leave out flagged cells,
        and those that are no white cells.
    subjects : ndarray of shape (n,)
    mature : ndarray of shape (n,), bool
        Whether the kind given to the cell is a mature one; of no account for a cell that is called leukemic.
    prevalence : float
        Prevalence of leukemia among those examined.

    Returns
    -------
    list of SubjectScore
        In the order of the subjects' names.

    Raises
    ------
    DataError
        If a probability is NaN or outside 0 to 1, lengths differ, a subject is missing, or `mature` is not Boolean.
    ConfigError
        If the prevalence is not between 0 and 1.
    """
    where = "score_subjects"
    check_probabilities(where, probabilities)
    check_prevalence(where, prevalence)
    if mature.dtype != np.bool_:
        msg = "mature must be Booleans"
        raise DataError(msg, where=where, got=mature.dtype, advice="Pass True or False for every cell.")
    if len(probabilities) == len(subjects) == len(mature) == 0:
        return []
    check_columns(where, probabilities=probabilities, mature=mature, subjects=subjects)
    called = probabilities >= model.threshold
    scores: list[SubjectScore] = []
    for name in np.unique(subjects):
        own = subjects == name
        n_called, n_cells = int(np.count_nonzero(called & own)), int(np.count_nonzero(own))
        n_mature = int(np.count_nonzero(mature & ~called & own))
        scores.append(
            SubjectScore(
                subject=str(name),
                n_called=n_called,
                n_mature=n_mature,
                blasts=count_blasts(model, n_called, n_cells, n_mature=n_mature),
                posterior=model.posterior(n_called, n_cells, n_mature=n_mature, prevalence=prevalence),
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


def _check_counts(where: str, n_called: int, n_cells: int, n_mature: int) -> None:
    """Raise an error for impossible numbers of cells."""
    if not n_cells >= 0 or n_cells % 1:
        msg = "n_cells must be a whole number, at least 0"
        raise DataError(msg, where=where, got=n_cells, advice="Count the cells of one subject.")
    if not 0 <= n_called <= n_cells or n_called % 1:
        msg = f"n_called must be a whole number from 0 to n_cells ({n_cells})"
        raise DataError(msg, where=where, got=n_called, advice="Count the cells of one subject.")
    if not 0 <= n_mature <= n_cells - n_called or n_mature % 1:
        msg = f"n_mature must be a whole number from 0 to the number of cells not called ({n_cells - n_called})"
        raise DataError(msg, where=where, got=n_mature, advice="Leave out mature cells that are called leukemic.")


def _scaled(n_called: int, n_cells: int) -> tuple[int, int]:
    """Return the numbers of cells called and of all cells, scaled down to `_MOST_CELLS` if there are more."""
    n = min(n_cells, _MOST_CELLS)
    return (round(n_called * n / n_cells) if n_cells else 0), n


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
