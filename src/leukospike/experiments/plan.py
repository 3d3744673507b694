"""Plan of a run: which records are trained and tested, and in which folds; impossible requests are refused here.

`plan_run` uses only the records, before any image is opened. `folds_of` splits the readable images according to the
protocol.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from leukospike.datasets import DataSet
from leukospike.errors import DataError, LeukospikeError, SplitError
from leukospike.experiments.results import JoinedSubjects
from leukospike.experiments.splits import Fold, image_folds, subject_folds
from leukospike.experiments.systems import Items
from leukospike.settings import Protocol, RunConfig

_WHERE = "plan_run"


@dataclass(frozen=True)
class Plan:
    """Settings and records of a run."""

    config: RunConfig
    dataset: DataSet
    """The selected records."""
    n_given: int
    """Number of records before selection."""

    @property
    def joined(self) -> JoinedSubjects | None:
        """Which subjects count as one; None if none were joined."""
        sets = self.dataset.joined
        if sets is None:
            return None
        digest = hashlib.sha256(json.dumps(sets).encode()).hexdigest()
        return JoinedSubjects(digest, sum(map(len, sets)), len(sets))


def plan_run(dataset: DataSet, config: RunConfig) -> Plan:
    """Select the records, and refuse those that the protocol cannot split.

    Parameters
    ----------
    dataset : DataSet
        The preliminary test set of C-NMC, which is kept apart, and records without a label are left out.
    config : RunConfig
        With `max_cells`, random records are taken from each subject and class in turn, so that none is left out.

    Returns
    -------
    Plan

    Raises
    ------
    DataError
        If labels are missing or of one class only.
    SplitError
        If the honest protocol is requested but subjects are unknown or too few.
    """
    given = _training_part(dataset)
    plan = Plan(config, _chosen(given, config), len(given.records))
    with _naming_max_cells(plan):
        _check_splittable(plan.dataset, config)
    return plan


def folds_of(items: Items, config: RunConfig, *, validates: bool) -> list[Fold]:
    """Split items by the protocol; if one part is held out, return only that fold.

    Parameters
    ----------
    items : Items
        Readable images, followed by their augmented copies.
    config : RunConfig
    validates : bool
        False: there is no validation; validation items are used for training, but test items are not.

    Returns
    -------
    list of Fold

    Raises
    ------
    SplitError
        If there are too few readable images.
    """
    if config.protocol is Protocol.PAPER:
        folds = image_folds(len(items.labels), n_folds=config.n_folds, seed=config.seed)
        folds = folds[:1] if config.hold_out else folds
    else:
        folds = _folds_of_images(items, config)
    if validates:
        return folds
    return [_without_validation(fold, config.protocol) for fold in folds]


def _folds_of_images(items: Items, config: RunConfig) -> list[Fold]:
    """Split the images themselves; their copies follow them into the training part."""
    originals = items.copy == 0
    n = int(originals.sum())
    # Split by image, each is its own group, regardless of subject and duplicates.
    alone = [str(place) for place in range(n)]
    by_subject = config.protocol is Protocol.HONEST
    folds = subject_folds(
        items.labels[originals].tolist(),
        items.subjects[originals].tolist() if by_subject else alone,
        items.digests if by_subject else alone,
        n_folds=config.n_folds,
        seed=config.seed,
    )
    if config.hold_out:
        folds = _held_out(folds, items.labels[originals])
    copies = int(items.copy.max(initial=0))
    return [
        replace(fold, train=np.concatenate([fold.train + copy * n for copy in range(1 + copies)])) for fold in folds
    ]


def _without_validation(fold: Fold, protocol: Protocol) -> Fold:
    """Train on the validation items too; under `paper` those are the test items."""
    nobody = fold.validation[:0]
    if protocol is Protocol.PAPER:
        return replace(fold, validation=nobody)
    return replace(fold, train=np.concatenate([fold.train, fold.validation]), validation=nobody)


def _held_out(folds: Sequence[Fold], labels: np.ndarray) -> list[Fold]:
    """Return the first fold that can be tested: one with both classes in its test part."""
    for fold in folds:
        if len(np.unique(labels[fold.test])) == 2:
            return [fold]
    rule, got = "the held-out part must hold both classes", f"a single class in each of {len(folds)} parts"
    raise SplitError(rule, where=_WHERE, got=got, advice="Lower `n_folds` or add subjects of the rarer class.")


def _training_part(dataset: DataSet) -> DataSet:
    """Leave out C-NMC's test sets: the final one has no labels, and the preliminary one is kept apart for testing."""
    if not dataset.layout.startswith("c-nmc"):
        return dataset
    records = tuple(record for record in dataset.records if record.partition != "preliminary")
    return replace(dataset, records=records or dataset.records).labelled()


def _chosen(dataset: DataSet, config: RunConfig) -> DataSet:
    """Take at most `max_cells` images, at random from each subject and class in turn."""
    if config.max_cells is None or config.max_cells >= len(dataset.records):
        return dataset
    rng = np.random.default_rng(config.seed)
    turn: Counter[tuple[str | None, int | None]] = Counter()
    ranked: list[tuple[int, int]] = []
    for place in rng.permutation(len(dataset.records)):
        record = dataset.records[place]
        owner = (record.subject, record.label)
        ranked.append((turn[owner], int(place)))
        turn[owner] += 1
    ranked.sort(key=lambda pair: pair[0])  # stable: the random order decides within a turn
    places = sorted(place for _, place in ranked[: config.max_cells])
    return replace(dataset, records=tuple(dataset.records[place] for place in places))


def _check_splittable(dataset: DataSet, config: RunConfig) -> None:
    """Refuse impossible splits before any image is opened; identical images may join subjects later."""
    dataset.require_labels(_WHERE)
    if config.protocol is Protocol.PAPER:
        return
    labels = [int(record.label or 0) for record in dataset.records]
    images = [record.image for record in dataset.records]
    subjects = images
    if config.protocol is Protocol.HONEST:
        dataset.require_subjects(_WHERE)
        subjects = [str(record.subject) for record in dataset.records]
    folds = subject_folds(labels, subjects, images, n_folds=config.n_folds, seed=config.seed)
    if config.hold_out:
        _held_out(folds, np.array(labels))


@contextmanager
def _naming_max_cells(plan: Plan) -> Generator[None]:
    """If cells were left out on request, add to an error that there may be too few of them."""
    try:
        yield
    except (DataError, SplitError) as error:
        if len(plan.dataset.records) == plan.n_given:
            raise
        raise _with_advice(
            error, f"Or raise `max_cells`, which limited the images to {len(plan.dataset.records)} of {plan.n_given}."
        ) from error


def _with_advice(error: LeukospikeError, more: str) -> LeukospikeError:
    """Return the same error with further advice."""
    advice = f"{error.advice} {more}".strip()
    return type(error)(error.rule.rstrip("."), where=error.where, got=error.got, advice=advice)
