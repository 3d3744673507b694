"""Training of the network for kinds: the measures of cells as they are and as elsewhere, and a softmax regression.

The network for photographs is not trained: on cells of so few laboratories it learned these, and told those of another
worse (docs, results). So a training takes minutes, nearly all of them for the measures, which are computed once.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from torch.nn import functional

from leukospike.classification.kind_input import at_one_size, frames_of
from leukospike.classification.kind_network import AXES, KindNetwork, size_of
from leukospike.classification.kinds import KINDS, MATURE, CellKind
from leukospike.classification.lite_network import FEATURES, folded
from leukospike.classification.network import colours_of
from leukospike.classification.stain_augmentation import as_elsewhere
from leukospike.errors import ConfigError, DataError
from leukospike.jobs import Progress, silent
from leukospike.learning.chance import undrawn
from leukospike.side_by_side import one_core_each

SOME_MATURE = -1
"""In place of a kind: one of `kinds.MATURE`, nobody has said which, as the white cells of a healthy person are."""

SMOOTHING = 0.05
"""Share of each label that is spread over all kinds."""

_BATCH = 8  # measured: what is computed of so few cells stays in the cache of one core
_SIZE_UNKNOWN = 0.5  # share of the views whose diameter is kept back
_SIZE_NOISE = 0.08  # standard deviation of the logarithm of the others'
_LARGEST = 3.0  # standard deviation along the first axis
_STEPS = 50
_NEVER = -30.0  # logit of a kind that was not learned


@dataclass(frozen=True, kw_only=True)
class KindTraining:
    """Training settings."""

    views: int = 6
    """Number of ways in which each cell is shown, besides as it is."""
    augmentation: float = 1.0
    """How much stain and light are changed; 0 leaves them."""
    penalty: float = 0.001
    """Times the sum of the squared weights."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        for name, low in {"views": 0, "augmentation": 0, "penalty": 0, "seed": 0}.items():
            if not getattr(self, name) >= low:
                rule = f"{name} must be at least {low:g}"
                raise ConfigError(rule, where="KindTraining", got=getattr(self, name), advice="Raise it.")


@dataclass(frozen=True)
class Views:
    """What the network for photographs measures of cells, each shown as it is and in some other ways."""

    features: Float32[np.ndarray, "views features"]
    """Of all cells as they are, in their order, and then of the others."""
    owner: Int64[np.ndarray, " views"]
    """The cell that each view shows."""

    def of(self, places: Int64[np.ndarray, " m"]) -> Int64[np.ndarray, " n"]:
        """Return which views show some cells."""
        return np.flatnonzero(np.isin(self.owner, places))


def weights_of(
    kinds: Int64[np.ndarray, " n"], laboratories: np.ndarray, subjects: np.ndarray
) -> Float[np.ndarray, " n"]:
    """Return what each cell weighs in training.

    Laboratories that have lymphoblasts make up one half, so that the question of the blast weighs as much as that of
    the kind, and all others the other half. Within a half laboratories weigh alike, in each of them its kinds do, and
    in those each subject by the square root of its number of cells.

    Returns
    -------
    ndarray of shape (n,), float64
        Their sum is 1.
    """
    blasts = np.unique(laboratories[kinds == CellKind.LYMPHOBLAST.place])
    half = np.isin(laboratories, blasts).astype(np.int64)
    subject = _numbered(laboratories, subjects)
    weights = 1 / np.sqrt(np.bincount(subject)[subject])
    for level in (_numbered(laboratories, kinds), _numbered(laboratories), half):
        weights /= np.bincount(level, weights)[level]
    return weights / weights.sum()


def _numbered(*columns: np.ndarray) -> Int64[np.ndarray, " n"]:
    """Return the number of each row's combination of values."""
    rows = [repr(row) for row in zip(*(column.tolist() for column in columns), strict=True)]
    return np.unique(rows, return_inverse=True)[1].astype(np.int64)


def views_of(
    pixels: UInt8[np.ndarray, "n rows columns 3"],
    network: KindNetwork,
    config: KindTraining,
    *,
    progress: Progress = silent,
) -> Views:
    """Show each cell as it is and, changed, in `config.views` other ways, and measure it.

    The result depends on the seed and on nothing else, such as the number of threads.
    """
    n = len(pixels)
    jobs = [(view, first) for view in range(config.views + 1) for first in range(0, n, _BATCH)]
    features = np.empty((n * (config.views + 1), FEATURES), np.float32)
    quick = folded(network)

    @torch.inference_mode()
    def measure(job: tuple[int, int]) -> None:
        view, first = job
        colours = colours_of(torch.from_numpy(pixels[first : first + _BATCH]))
        if view == 0:
            shown = at_one_size(colours)[0]
        else:
            chance = np.random.default_rng((config.seed, view, first)).integers(2**62)
            generator = torch.Generator().manual_seed(int(chance))
            shown = as_elsewhere(colours, *frames_of(colours), strength=config.augmentation, generator=generator)
        at = view * n + first
        features[at : at + len(colours)] = quick.features(shown).numpy()

    with one_core_each() as pool:
        for done, _ in enumerate(pool.map(measure, jobs), start=1):
            progress("measure cells", done, len(jobs))
    return Views(features, np.tile(np.arange(n), config.views + 1))


def fit_kinds(
    views: Views,
    kinds: Int64[np.ndarray, " n"],
    weights: Float[np.ndarray, " n"],
    diameter_um: Float32[np.ndarray, " n"],
    places: Int64[np.ndarray, " m"],
    config: KindTraining,
    *,
    body: KindNetwork,
) -> KindNetwork:
    """Fit principal axes and decision on some of the cells.

    Multinomial logistic regression with smoothed labels and a penalty on the squared weights, by L-BFGS. Of a cell that
    may be of several kinds, their probability together counts.

    Parameters
    ----------
    views : Views
        Of all cells.
    kinds, diameter_um : ndarray of shape (n,)
        Of all cells.
    weights : ndarray of shape (n,)
        Of all cells; those of `places` count.
    places : ndarray of shape (m,)
        The cells to fit on; nothing is fitted on any other.
    config : KindTraining
    body : KindNetwork
        Whose network for photographs to take.

    Returns
    -------
    KindNetwork
        In evaluation mode.

    Raises
    ------
    DataError
        If the cells are of one kind.
    """
    if len(np.unique(kinds[places])) < 2:
        msg = "cells must be of at least two kinds"
        raise DataError(msg, where="fit_kinds", got="one", advice="Add cells of another kind.")
    own = views.of(places)
    owner = views.owner[own]
    mass = weights[owner] / weights[owner].sum()
    features = views.features[own].astype(np.float64)
    centre = mass @ features
    spread = np.sqrt(mass @ (features - centre) ** 2).clip(1e-6)
    standard = (features - centre) / spread
    variances, axes = np.linalg.eigh(standard.T @ (standard * mass[:, None]))
    axes = axes[:, ::-1][:, :AXES] * (_LARGEST / np.sqrt(variances[-1]))
    rng = np.random.default_rng((config.seed, 1))
    sizes = torch.from_numpy(told_diameters(diameter_um[owner], rng))
    inputs = torch.cat([torch.from_numpy((standard @ axes).astype(np.float32)), size_of(sizes)[:, None]], dim=1)
    possible, mass_of = torch.from_numpy(_possible(kinds[owner])), torch.from_numpy(mass.astype(np.float32))
    with undrawn():
        network = KindNetwork()
    network.load_state_dict(body.state_dict())
    network.centre, network.axes = (
        torch.from_numpy(array.astype(np.float32)) for array in (centre, axes / spread[:, None])
    )
    decision = network.decision
    with torch.no_grad():
        for parameter in decision.parameters():
            parameter.zero_()
    # A kind that is not among the cells keeps its weights of 0, and a logit by which it is never called.
    absent = torch.tensor([kind not in set(kinds[places].tolist()) for kind in range(len(KINDS))])
    optimiser = torch.optim.LBFGS(decision.parameters(), max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        logits = decision(inputs).masked_fill(absent, _NEVER)
        each = logits.logsumexp(dim=1) - logits.masked_fill(~possible, -torch.inf).logsumexp(dim=1)
        even = -functional.log_softmax(logits[:, ~absent], dim=1).mean(dim=1)
        value = (((1 - SMOOTHING) * each + SMOOTHING * even) * mass_of).sum()
        value = value + config.penalty * (decision.weight**2).sum()
        value.backward()
        return value

    optimiser.step(loss)  # pyright: ignore[reportArgumentType] - it returns what it is asked for
    with torch.no_grad():
        decision.bias[absent] = _NEVER
    return network.eval().requires_grad_(requires_grad=False)


def _possible(kinds: Int64[np.ndarray, " n"]) -> Bool[np.ndarray, "n kinds"]:
    """Return which kinds each cell may be of."""
    possible = kinds[:, None] == np.arange(len(KINDS))
    possible[kinds == SOME_MATURE] = np.isin(np.arange(len(KINDS)), [kind.place for kind in MATURE])
    return possible


def told_diameters(diameter_um: Float32[np.ndarray, " n"], rng: np.random.Generator) -> Float32[np.ndarray, " n"]:
    """Return diameters as they may be measured elsewhere: some not at all, the others roughly."""
    measured = diameter_um * np.exp(rng.normal(0, _SIZE_NOISE, len(diameter_um)))
    return np.where(rng.random(len(diameter_um)) < _SIZE_UNKNOWN, np.nan, measured).astype(np.float32)
