"""Ways to score cells, each fitted on the cells that it is given and on nothing else."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from scipy.special import expit, logit
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from leukospike.classification.appearance import SHAPES, SPREADS
from leukospike.classification.appearance_learning import AppearanceTraining, appearances, train_appearance
from leukospike.classification.augmentation import augmented
from leukospike.classification.cells import LabelledCells, drawing_odds
from leukospike.classification.classifier import ensemble
from leukospike.classification.learning import ClassifierTraining, train_classifier
from leukospike.classification.network import Input, colours_of
from research.classification.data import Cohort

SHAPE = slice(0, len(SHAPES))
SPREAD = slice(0, len(SHAPES) + 9 * len(SPREADS))
ALL = slice(None)

Fit = Callable[[Cohort, np.ndarray, np.ndarray, int], np.ndarray]
"""Cohort, places to train on, places to score, seed: the log odds of the scored, uncalibrated."""


@dataclass(frozen=True)
class Method:
    """One row."""

    fit: Fit | None
    about: str
    slow: bool = False
    members: tuple[str, ...] = ()
    """Where it fits nothing: methods whose log odds it takes the mean of."""


class _Learner(Protocol):
    """What scikit-learn's classifiers share."""

    def fit(self, measures: np.ndarray, labels: np.ndarray, /, sample_weight: np.ndarray) -> object:
        """Learn to tell the labels."""
        ...

    def decision_function(self, measures: np.ndarray, /) -> np.ndarray:
        """Return log odds, or distances from the border."""
        ...


def _learner(make: Callable[[int], _Learner], columns: slice = ALL) -> Fit:
    """Fit a learner of scikit-learn on standardised measures, classes and subjects weighted as they are drawn."""

    def fit(cohort: Cohort, train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
        cells = cohort.part(train)
        weights = drawing_odds(cells, balanced=True) * len(train)
        scaler = StandardScaler().fit(cohort.appearances[train][:, columns])
        learner = make(seed)
        standardised = np.asarray(scaler.transform(cohort.appearances[:, columns]))
        learner.fit(standardised[train], cells.labels, sample_weight=weights)
        return learner.decision_function(standardised[test])

    return fit


def _appearance(config: AppearanceTraining, *, strength: float = 0.0) -> Fit:
    """Train the networks that ship, on cells as they are or, beside those, on changed ones."""

    def fit(cohort: Cohort, train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
        cells, known = cohort.part(train), cohort.appearances[train]
        if strength:
            generator = torch.Generator().manual_seed(seed)
            parts = [
                (
                    augmented(
                        colours_of(torch.from_numpy(cells.crops[at : at + 256])), strength=strength, generator=generator
                    )
                )
                for at in range(0, len(train), 256)
            ]
            changed = (torch.cat(parts) * 255).round().byte().permute(0, 2, 3, 1).numpy()
            known = np.concatenate([known, appearances(changed)])
            cells = LabelledCells(
                np.concatenate([cells.crops, changed]), np.tile(cells.labels, 2), [*cells.subjects, *cells.subjects]
            )
        networks = train_appearance(cells, replace(config, seed=seed), known=known)
        return ensemble(networks, cohort.appearances[test])[0]

    return fit


def _with_share(cohort: Cohort, train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """Add to each cell's log odds those of the share of blasts among all cells of its subject.

    The share is found by expectation maximisation (doi 10.1162/089976602753284446), from a half; one blast and one
    normal cell more are counted than there are, so that it is never 0 or 1.
    """
    scores, groups = _appearance(AppearanceTraining())(cohort, train, test, seed), cohort.groups[test]
    for group in np.unique(groups):
        cells = groups == group
        share = 0.5
        for _ in range(_STEPS):
            share = (expit(scores[cells] + logit(share)).sum() + 1) / (cells.sum() + 2)
        scores[cells] += logit(share)
    return scores


def _convolutional(config: ClassifierTraining, *, turned: bool = True) -> Fit:
    """Train a convolutional network, and look at each cell from four sides or from one."""

    def fit(cohort: Cohort, train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
        network = train_classifier(cohort.part(train), replace(config, seed=seed)).network

        def scores(colours: torch.Tensor) -> torch.Tensor:
            return network.scores(colours) if turned else network(colours).diff(dim=1)[:, 0]

        return _batched(scores, cohort.cells.crops[test]).astype(np.float64)

    return fit


def _batched(give: Callable[[torch.Tensor], torch.Tensor], crops: np.ndarray) -> np.ndarray:
    """Return what there is to say of each cell, a few at a time."""
    with torch.inference_mode():
        parts = [give(colours_of(torch.from_numpy(crops[at : at + 128]))) for at in range(0, len(crops), 128)]
    return torch.cat(parts).numpy()


def _boosting(seed: int) -> HistGradientBoostingClassifier:
    """Make shallow boosted trees."""
    return HistGradientBoostingClassifier(
        max_iter=200, learning_rate=0.05, max_leaf_nodes=6, min_samples_leaf=40, max_features=0.3, random_state=seed
    )


_KERNEL = _learner(lambda _: SVC(C=3, gamma=0.008))  # pyright: ignore[reportArgumentType] - its stubs know no number
_STEPS = 100  # of expectation maximisation, which has long settled by then
_CONVOLUTIONAL = ClassifierTraining()
_UNCHANGED = replace(_CONVOLUTIONAL, augmentation=0.0)

METHODS = {
    "shape": Method(_learner(lambda _: LogisticRegression(C=0.03, max_iter=2000), SHAPE), "logistic, shape alone"),
    "shape-and-colour": Method(
        _learner(lambda _: LogisticRegression(C=0.03, max_iter=2000), SPREAD), "logistic, shape and spread of colours"
    ),
    "logistic": Method(_learner(lambda _: LogisticRegression(C=0.03, max_iter=2000)), "logistic, all measures"),
    "boosting": Method(_learner(_boosting), "boosted trees, all measures"),
    "kernel": Method(_KERNEL, "support vectors, radial, all measures"),
    "one-network": Method(_appearance(AppearanceTraining(networks=1)), "one network, all measures"),
    "appearance": Method(_appearance(AppearanceTraining()), "three networks, all measures: what ships"),
    "appearance-shorter": Method(_appearance(AppearanceTraining(epochs=8)), "the same, 8 epochs"),
    "appearance-unbalanced": Method(_appearance(AppearanceTraining(balanced=False)), "the same, cells drawn alike"),
    "appearance-changed": Method(
        _appearance(AppearanceTraining(), strength=0.3), "the same, a changed copy of each cell beside it"
    ),
    "appearance-with-share": Method(_with_share, "three networks, and the share of blasts among the subject's cells"),
    "appearance-and-kernel": Method(None, "mean of both", members=("appearance", "kernel")),
    "convolutional": Method(_convolutional(_CONVOLUTIONAL), "residual network on colour", slow=True),
    "convolutional-unchanged": Method(_convolutional(_UNCHANGED), "the same, stain and light unchanged", slow=True),
    "convolutional-density": Method(
        _convolutional(replace(_UNCHANGED, inputs=(Input.DENSITY,))), "the same, optical densities", slow=True
    ),
    "convolutional-darkness": Method(
        _convolutional(replace(_UNCHANGED, inputs=(Input.DARKNESS,))), "the same, darkness alone", slow=True
    ),
    "convolutional-one-side": Method(
        _convolutional(_UNCHANGED, turned=False), "the same, each cell seen from one side alone", slow=True
    ),
    "convolutional-rank": Method(
        _convolutional(replace(_CONVOLUTIONAL, inputs=(Input.RANK,))), "the same, rank-order latency alone", slow=True
    ),
    "convolutional-colour-and-rank": Method(
        _convolutional(replace(_CONVOLUTIONAL, inputs=(Input.COLOUR, Input.RANK))),
        "the same, colour and rank-order latency",
        slow=True,
    ),
    "appearance-and-convolutional": Method(None, "mean of both", slow=True, members=("appearance", "convolutional")),
}
"""By the name for `--method`; quick ones first."""
