"""Of a refinement, too, nothing is chosen or fitted by the subjects it is tested on."""

from dataclasses import replace

import numpy as np

from leukospike.classification.classifier import default_classifier
from leukospike.classification.kind_refinement import (
    Decision,
    KnownCells,
    kind_folds,
    recalibrated,
    refine_nested,
)
from leukospike.classification.kinds import KINDS
from leukospike.refinement.validation import cross_validate


def _cells(n: int = 80) -> KnownCells:
    rng = np.random.default_rng(0)
    kinds = np.array([0, 2])[np.arange(n) % 2]
    inputs = rng.normal(size=(n, 4)) + kinds[:, None] / 2
    views = np.concatenate([inputs, inputs + rng.normal(0, 0.2, inputs.shape)])
    return KnownCells(views, np.tile(np.arange(n), 2), kinds, np.arange(n) // 8)


def _shipped() -> Decision:
    rng = np.random.default_rng(1)
    return Decision(rng.normal(size=(len(KINDS), 4)), rng.normal(size=len(KINDS)))


def _changed(cells: KnownCells, held: np.ndarray) -> KnownCells:
    """Give held cells other inputs and kinds."""
    inputs, kinds = cells.inputs.copy(), cells.kinds.copy()
    own = np.isin(cells.owner, held)
    inputs[own] = np.random.default_rng(2).normal(3, 9, (int(own.sum()), 4))
    kinds[held] = 5
    return replace(cells, inputs=inputs, kinds=kinds)


def test_changing_held_out_subjects_leaves_every_fitted_value_bit_identical():
    cells, confidence = _cells(), default_classifier().confidence
    held = kind_folds(cells.kinds, cells.groups, n_folds=5, seed=0)[0]
    rest = np.delete(np.arange(80), held)
    fitted = []
    for one in (cells, _changed(cells, held)):
        second = np.full(80, np.nan)
        found = refine_nested(_shipped(), one, rest, n_folds=5, seed=0)
        fitted.append((found, recalibrated(confidence, one, rest, found, second)))
    (found, own), (other, other_own) = fitted
    assert found.decision.weight.tobytes() == other.decision.weight.tobytes()
    assert found.decision.bias.tobytes() == other.decision.bias.tobytes()
    assert found.strength == other.strength < np.inf
    assert found.held_out.tobytes() == other.held_out.tobytes()
    assert own == other_own


def test_a_cell_changes_nothing_said_of_the_others_of_its_fold():
    cells, confidence = _cells(), default_classifier().confidence
    second = np.full(80, np.nan)
    before = cross_validate(cells, second, _shipped(), confidence, n_folds=5, seed=0)
    first = int(np.flatnonzero(before.fold == 0)[0])
    inputs = cells.inputs.copy()
    inputs[cells.owner == first] += 5
    after = cross_validate(replace(cells, inputs=inputs), second, _shipped(), confidence, n_folds=5, seed=0)
    others = np.flatnonzero(before.fold == 0)[1:]
    assert before.refined[others].tobytes() == after.refined[others].tobytes()
    # Of the other folds' cells it does, so that this test can fail.
    assert (before.refined[before.fold == 1] != after.refined[before.fold == 1]).any()
