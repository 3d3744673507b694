r"""The decision of the network for kinds, continued on cells of one laboratory.

Only the decision is refitted: what the network measures of a cell stays, and so do its principal axes. With the shipped
weights :math:`W_0` and n cells of weights :math:`m_i` that sum to 1, the refined ones minimise

.. math:: -\sum_i m_i \log p_W(y_i \mid x_i) + \frac{\lambda}{n} \lVert W - W_0 \rVert^2,

the mode of the posterior with a Gaussian prior about the shipped weights. So few cells change little. Weights of kinds
that are not among the cells do not change at all.

The strength :math:`\lambda` of the prior is chosen by cross-validation, and an infinite one, which keeps the shipped
decision, is among the choices. `refine_nested` does that on some of the cells only, so that the whole procedure can be
tested on the others.
"""

import copy
import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from scipy.special import log_softmax, logsumexp

from leukospike.classification.classifier import ERROR_RATE, Confidence, with_blasts
from leukospike.classification.kind_learning import SMOOTHING, Views, weights_of
from leukospike.classification.kind_network import KindNetwork, size_of
from leukospike.classification.kinds import KINDS, CellKind
from leukospike.confidence import EVEN, MahalanobisDistance
from leukospike.confidence.blend import fit_blend
from leukospike.confidence.kind_sets import FEWEST, KindThresholds, fit_kind_thresholds
from leukospike.errors import SplitError

STRENGTHS = (math.inf, 30.0, 3.0, 0.3, 0.03)
"""Of the prior, the strongest first. The shipped decision was itself learned with a penalty that equals about 0.4 for
400 cells."""

FEWEST_GROUPS = 3
"""Groups of subjects below which nothing can be both chosen and tested."""

_BLAST = CellKind.LYMPHOBLAST.place
_STEPS = 300


@dataclass(frozen=True)
class Decision:
    """Weights of the softmax regression."""

    weight: Float[np.ndarray, "kinds inputs"]
    bias: Float[np.ndarray, " kinds"]

    @classmethod
    def of(cls, network: KindNetwork) -> "Decision":
        """Return that of a network."""
        layer = network.decision
        return cls(*(tensor.detach().double().numpy().copy() for tensor in (layer.weight, layer.bias)))

    def logits(self, inputs: Float[np.ndarray, "n inputs"]) -> Float[np.ndarray, "n kinds"]:
        """Return the logits of cells by their inputs."""
        return inputs @ self.weight.T + self.bias

    def in_network(self, network: KindNetwork) -> KindNetwork:
        """Return a copy of a network that decides so."""
        own = copy.deepcopy(network)
        with torch.no_grad():
            own.decision.weight.copy_(torch.from_numpy(self.weight))
            own.decision.bias.copy_(torch.from_numpy(self.bias))
        return own.eval().requires_grad_(requires_grad=False)


@dataclass(frozen=True)
class KnownCells:
    """Cells of known kind, each shown as it is and in some other ways."""

    inputs: Float[np.ndarray, "views inputs"]
    """Of the decision: of all cells as they are, in their order, and then of the others."""
    owner: Int64[np.ndarray, " views"]
    """The cell that each view shows."""
    kinds: Int64[np.ndarray, " n"]
    """Places in `kinds.KINDS`."""
    groups: np.ndarray
    """Subject of each cell; what shares images is one group."""

    @property
    def as_they_are(self) -> Float[np.ndarray, "n inputs"]:
        """The inputs of the cells as they are."""
        return self.inputs[: len(self.kinds)]

    def weights(self, places: Int64[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
        """Return what some cells weigh: kinds alike, and in each its subjects by the square root of their cells."""
        groups = self.groups[places]
        return weights_of(self.kinds[places], np.full(len(places), "own"), groups)


@dataclass(frozen=True)
class Refined:
    """A refined decision."""

    decision: Decision
    strength: float
    """Of the prior."""
    held_out: Float[np.ndarray, "m kinds"]
    """Logits of the cells refined on, each by a decision of this strength that has not seen its group."""


def inputs_of(
    network: KindNetwork, views: Views, sizes_um: Float32[np.ndarray, " views"]
) -> Float[np.ndarray, "views inputs"]:
    """Return the inputs of the decision.

    Parameters
    ----------
    network : KindNetwork
        For its axes.
    views : Views
    sizes_um : ndarray of shape (views,), float32
        Diameter that is told of each view's cell, micrometres; NaN where it is kept back.
    """
    with torch.inference_mode():
        axes = network.on_axes(torch.from_numpy(views.features))
        return torch.cat([axes, size_of(torch.from_numpy(sizes_um))[:, None]], dim=1).double().numpy()


def kind_folds(
    kinds: Int64[np.ndarray, " n"], groups: np.ndarray, *, n_folds: int, seed: int
) -> list[Int64[np.ndarray, " m"]]:
    """Return the cells held out in each fold: whole groups, the cells of each kind spread as evenly as these allow.

    Parameters
    ----------
    kinds, groups : ndarray of shape (n,)
    n_folds : int
        At least 2, at most the number of groups.
    seed : int

    Raises
    ------
    SplitError
        If there are too few groups.

    Examples
    --------
    >>> kind_folds(np.array([0, 0, 1, 1]), np.array(["A", "B", "C", "D"]), n_folds=2, seed=0)
    [array([1, 2]), array([0, 3])]
    """
    names, member = np.unique(groups, return_inverse=True)
    if not 2 <= n_folds <= len(names):
        rule = f"`n_folds` must be from 2 to the number of independent subjects ({len(names)})"
        raise SplitError(rule, where="kind_folds", got=n_folds, advice="Lower `n_folds` or add subjects.")
    present, kind = np.unique(kinds, return_inverse=True)
    shares = np.zeros((len(names), len(present)))
    np.add.at(shares, (member, kind), 1)
    shares /= shares.sum(axis=0)
    drawn = np.random.default_rng(seed).permutation(len(names))
    # The largest first; the order of those alike is drawn.
    order = drawn[np.argsort(-shares.sum(axis=1)[drawn], kind="stable")]
    held, sizes = np.zeros((n_folds, len(present))), np.zeros(n_folds, int)
    fold_of = np.empty(len(names), int)
    for group in order.tolist():
        # The fold that has least of what the group has; of those alike, the one with fewest groups.
        fold = min(range(n_folds), key=lambda one: (round(float(held[one] @ shares[group]), 12), sizes[one]))
        fold_of[group] = fold
        held[fold] += shares[group]
        sizes[fold] += 1
    return [np.flatnonzero(fold_of[member] == fold) for fold in range(n_folds)]


def refine(
    shipped: Decision, cells: KnownCells, places: Int64[np.ndarray, " m"], *, strength: float, start: Decision
) -> Decision:
    """Refit the decision on some of the cells.

    Parameters
    ----------
    shipped : Decision
        The middle of the prior.
    cells : KnownCells
    places : ndarray of shape (m,)
        The cells to fit on; nothing is fitted on any other.
    strength : float
        Of the prior, above 0; infinite: the shipped decision is returned.
    start : Decision
        Where the search begins; the minimum is the same from everywhere, up to the search's tolerance.

    Returns
    -------
    Decision
    """
    from scipy.optimize import minimize  # slow to load, and only fitting needs it

    if math.isinf(strength):
        return shipped
    seen = np.flatnonzero(np.isin(cells.owner, places))
    weights = np.zeros(len(cells.kinds))
    weights[places] = cells.weights(places)
    mass = weights[cells.owner[seen]]
    mass /= mass.sum()
    # A column of ones carries the bias.
    inputs = np.column_stack([cells.inputs[seen], np.ones(len(seen))])
    labels = cells.kinds[cells.owner[seen]]
    targets = np.full((len(seen), len(KINDS)), SMOOTHING / len(KINDS))
    targets[np.arange(len(seen)), labels] += 1 - SMOOTHING
    present = np.unique(labels)
    prior, first = (np.column_stack([one.weight, one.bias]) for one in (shipped, start))
    penalty = strength / len(places)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        whole = prior.copy()
        whole[present] = flat.reshape(len(present), -1)
        logs = log_softmax(inputs @ whole.T, axis=1)
        off = whole[present] - prior[present]
        slope = ((np.exp(logs) - targets) * mass[:, None])[:, present].T @ inputs + 2 * penalty * off
        return float(-(mass @ (targets * logs).sum(axis=1)) + penalty * (off**2).sum()), slope.ravel()

    found = minimize(loss, first[present].ravel(), jac=True, method="L-BFGS-B", options={"maxiter": _STEPS}).x
    whole = prior.copy()
    whole[present] = found.reshape(len(present), -1)
    return Decision(whole[:, :-1], whole[:, -1])


def refine_nested(
    shipped: Decision, cells: KnownCells, places: Int64[np.ndarray, " m"], *, n_folds: int, seed: int
) -> Refined:
    """Choose the strength of the prior by cross-validation on some of the cells, and refit the decision on them.

    Of strengths with the same mean log loss the strongest is chosen.

    Parameters
    ----------
    shipped : Decision
    cells : KnownCells
    places : ndarray of shape (m,)
        Nothing is chosen or fitted by any other cell.
    n_folds : int
        Folds at most; fewer if there are fewer groups.
    seed : int

    Returns
    -------
    Refined

    Raises
    ------
    SplitError
        If the cells are of one group.
    """
    groups = cells.groups[places]
    held = kind_folds(cells.kinds[places], groups, n_folds=min(n_folds, len(np.unique(groups))), seed=seed)
    weights, kinds = cells.weights(places), cells.kinds[places]
    starts = [shipped] * (len(held) + 1)
    best: Refined | None = None
    least = math.inf
    for strength in STRENGTHS:
        logits = np.empty((len(places), len(KINDS)))
        for number, part in enumerate(held):
            rest = np.delete(places, part)
            starts[number] = refine(shipped, cells, rest, strength=strength, start=starts[number])
            logits[part] = starts[number].logits(cells.as_they_are[places[part]])
        loss = -float(weights @ log_softmax(logits, axis=1)[np.arange(len(places)), kinds])
        if loss < least:
            starts[-1] = refine(shipped, cells, places, strength=strength, start=starts[-1])
            least, best = loss, Refined(starts[-1], strength, logits)
    assert best is not None, "a loss is finite"
    return best


def shares_of(
    confidence: Confidence, logits: Float[np.ndarray, "n kinds"], second: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "n kinds"]:
    """Return the probabilities of all kinds, as `Classifier.judge` has them.

    Parameters
    ----------
    confidence : Confidence
    logits : ndarray of shape (n, kinds)
    second : ndarray of shape (n,)
        Log odds of the second opinion; NaN for cells that get none.
    """
    kinds = log_softmax(logits, axis=1)
    odds = _odds(kinds)
    probability = confidence.elsewhere.apply(odds[:, None])
    at_home = np.isfinite(second)
    if at_home.any():
        probability[at_home] = confidence.at_home.apply(np.stack([odds[at_home], second[at_home]], axis=1))
    return with_blasts(kinds, probability)


@dataclass(frozen=True)
class Recalibrated:
    """What says how far to believe a refined decision."""

    confidence: Confidence
    blasts_by_own: bool
    """Whether the probability of a lymphoblast was calibrated on the cells; else it is calibrated as before."""
    sets_by_own: tuple[CellKind, ...]
    """Kinds whose thresholds are by the cells; those of the others are as before."""


def recalibrated(
    confidence: Confidence, cells: KnownCells, places: Int64[np.ndarray, " m"], refined: Refined, second: np.ndarray
) -> Recalibrated:
    """Calibrate on the cells refined on, by what had not seen their groups, as far as there are enough of them.

    The probability of a lymphoblast is calibrated anew if there are `FEWEST` lymphoblasts and as many others, each of
    two groups. Few cells can be told apart without an error, which would make the slope infinite; so each counts in
    part as the other class, as if one more of each had been seen [1]_.

    Parameters
    ----------
    confidence : Confidence
        What is kept where cells are too few.
    cells : KnownCells
    places : ndarray of shape (m,)
    refined : Refined
        On these cells.
    second : ndarray of shape (n,)
        Of all cells, as in `shares_of`; those with a second opinion do not count for the calibration elsewhere.

    Returns
    -------
    Recalibrated

    References
    ----------
    .. [1] Platt, Probabilistic outputs for support vector machines, in: Advances in Large Margin Classifiers, 1999.
    """
    kinds, groups = cells.kinds[places], cells.groups[places]
    elsewhere = ~np.isfinite(second[places])
    labels = (kinds == _BLAST).astype(np.int64)
    by_own = all(_suffice(groups[elsewhere & (labels == label)]) for label in (0, 1))
    if by_own:
        odds = _odds(log_softmax(refined.held_out[elsewhere], axis=1))
        own, weights = labels[elsewhere], cells.weights(places)[elsewhere]
        doubt = np.empty(len(own))
        for label in (0, 1):
            weights[own == label] /= weights[own == label].sum()
            doubt[own == label] = 1 / (np.count_nonzero(own == label) + 2)
        blend = fit_blend(
            np.tile(odds, 2)[:, None],
            np.concatenate([own, 1 - own]),
            np.concatenate([weights * (1 - doubt), weights * doubt]),
            prevalence=EVEN,
        )
        confidence = replace(confidence, elsewhere=blend)
    shares = shares_of(confidence, refined.held_out, second[places])
    found = fit_kind_thresholds(shares, kinds, np.full(len(kinds), "own"), alpha=ERROR_RATE)
    enough = tuple(kind for kind in KINDS if _suffice(groups[kinds == kind.place]))
    least = [
        own if kind in enough else before
        for kind, own, before in zip(KINDS, found.least, confidence.sets.least, strict=True)
    ]
    sets = KindThresholds(confidence.sets.alpha, tuple(least))
    return Recalibrated(replace(confidence, sets=sets), by_own, enough)


def distance_with(distance: MahalanobisDistance, cells: KnownCells) -> MahalanobisDistance:
    """Return the distance from the nearest kind as trained on, or as the cells show it where there are enough."""
    axes = cells.as_they_are[:, :-1]
    means = [
        axes[cells.kinds == kind.place].mean(axis=0)
        for kind in KINDS
        if _suffice(cells.groups[cells.kinds == kind.place])
    ]
    return replace(distance, means=np.concatenate([distance.means, *([np.stack(means)] if means else [])]).astype("f4"))


def _odds(kinds: Float[np.ndarray, "n kinds"]) -> Float[np.ndarray, " n"]:
    """Return the log odds of a lymphoblast by log probabilities."""
    return kinds[:, _BLAST] - logsumexp(np.delete(kinds, _BLAST, axis=1), axis=1)


def _suffice(groups: np.ndarray) -> bool:
    """Tell whether cells with these groups are enough to calibrate by."""
    return len(groups) >= FEWEST and len(np.unique(groups)) > 1
