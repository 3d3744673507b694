"""The decision about the shipped weights: its prior, its folds, its calibration."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from leukospike.classification.classifier import Confidence, default_classifier
from leukospike.classification.kind_input import cell_pixels
from leukospike.classification.kind_learning import KindTraining
from leukospike.classification.kind_refinement import (
    Decision,
    KnownCells,
    Refined,
    distance_with,
    kind_folds,
    recalibrated,
    refine,
    refine_nested,
    shares_of,
)
from leukospike.classification.kinds import KINDS, CellKind
from leukospike.confidence import MahalanobisDistance
from leukospike.confidence.kind_sets import FEWEST
from leukospike.datasets import Record
from leukospike.errors import SplitError
from leukospike.refinement.cells import OwnCells, known_cells
from leukospike.refinement.labels import LabelledCell
from leukospike.smears import CellKind as DrawnKind
from leukospike.smears import draw_cell, subject_style

BLAST, LYMPHOCYTE, MONOCYTE = (kind.place for kind in (CellKind.LYMPHOBLAST, CellKind.LYMPHOCYTE, CellKind.MONOCYTE))


def cells_of(n: int = 90, *, seed: int = 0, shift: float = 2.0) -> KnownCells:
    """Draw cells of nine subjects and three kinds, each kind by itself along an axis, and shown once more."""
    rng = np.random.default_rng(seed)
    kinds = np.array([BLAST, LYMPHOCYTE, MONOCYTE])[np.arange(n) % 3]
    inputs = rng.normal(size=(n, 4))
    inputs[np.arange(n), np.arange(n) % 3] += shift
    views = np.concatenate([inputs, inputs + rng.normal(0, 0.1, inputs.shape)])
    return KnownCells(views, np.tile(np.arange(n), 2), kinds, rng.permutation(n) % 9)


def shipped_of(seed: int = 1) -> Decision:
    rng = np.random.default_rng(seed)
    return Decision(rng.normal(size=(len(KINDS), 4)), rng.normal(size=len(KINDS)))


@pytest.fixture(scope="module")
def confidence() -> Confidence:
    return default_classifier().confidence


def test_an_infinite_prior_leaves_the_shipped_weights_and_a_strong_one_nearly():
    cells, shipped = cells_of(), shipped_of()
    places = np.arange(len(cells.kinds))
    kept = refine(shipped, cells, places, strength=math.inf, start=shipped)
    assert kept is shipped
    strong = refine(shipped, cells, places, strength=1e9, start=shipped)
    np.testing.assert_allclose(strong.weight, shipped.weight, atol=1e-6)
    np.testing.assert_allclose(strong.bias, shipped.bias, atol=1e-6)


def test_the_weaker_the_prior_the_farther_and_the_better_on_the_cells_themselves():
    cells, shipped = cells_of(), shipped_of()
    places = np.arange(len(cells.kinds))
    off, right = [], []
    for strength in (1000.0, 10.0, 0.1):
        found = refine(shipped, cells, places, strength=strength, start=shipped)
        off.append(np.linalg.norm(found.weight - shipped.weight))
        right.append(np.mean(found.logits(cells.as_they_are).argmax(axis=1) == cells.kinds))
    assert off == sorted(off)
    assert right[-1] > 0.8 > right[0]


def test_the_minimum_is_that_of_the_stated_sum():
    cells, shipped = cells_of(), shipped_of()
    places = np.arange(0, len(cells.kinds), 2)
    found = refine(shipped, cells, places, strength=3.0, start=shipped)

    def loss(decision: Decision) -> float:
        seen = np.isin(cells.owner, places)
        owner = cells.owner[seen]
        mass = cells.weights(places)[np.searchsorted(places, owner)]
        logs = log_softmax(decision.logits(cells.inputs[seen]), axis=1)
        each = 0.95 * logs[np.arange(len(owner)), cells.kinds[owner]] + 0.05 * logs.mean(axis=1)
        off = sum(
            ((one - other) ** 2).sum()
            for one, other in ((decision.weight, shipped.weight), (decision.bias, shipped.bias))
        )
        return -(mass @ each) / mass.sum() + 3.0 / len(places) * off

    least = loss(found)
    for row in (BLAST, MONOCYTE):
        for step in (-1e-2, 1e-2):
            weight = found.weight.copy()
            weight[row, 1] += step
            assert loss(replace(found, weight=weight)) > least


def test_kinds_that_are_not_there_stay_as_they_are():
    cells, shipped = cells_of(), shipped_of()
    found = refine(shipped, cells, np.arange(len(cells.kinds)), strength=0.1, start=shipped)
    absent = [kind for kind in range(len(KINDS)) if kind not in (BLAST, LYMPHOCYTE, MONOCYTE)]
    np.testing.assert_array_equal(found.weight[absent], shipped.weight[absent])
    np.testing.assert_array_equal(found.bias[absent], shipped.bias[absent])
    assert (found.weight[BLAST] != shipped.weight[BLAST]).all()


def test_the_strength_is_chosen_by_subjects_left_out():
    cells = cells_of()
    places = np.arange(len(cells.kinds))
    assert refine_nested(shipped_of(), cells, places, n_folds=3, seed=0).strength < math.inf
    # What the cells themselves teach cannot be bettered where labels mean nothing.
    learned = refine(shipped_of(), cells, places, strength=0.03, start=shipped_of())
    rng = np.random.default_rng(3)
    meaningless = replace(cells, kinds=rng.permutation(cells.kinds))
    odds = np.full(len(KINDS), -30.0)
    odds[np.unique(cells.kinds)] = 0.0
    even = Decision(np.zeros_like(learned.weight), odds)
    assert refine_nested(even, meaningless, places, n_folds=3, seed=0).strength == math.inf


@pytest.mark.parametrize("seed", range(5))
def test_folds_hold_whole_groups_and_some_of_each_kind(seed: int):
    rng = np.random.default_rng(seed)
    groups = rng.integers(12, size=200)
    kinds = rng.integers(3, size=200)
    held = kind_folds(kinds, groups, n_folds=4, seed=seed)
    assert sorted(np.concatenate(held).tolist()) == list(range(200))
    assert sum(len(set(groups[part].tolist())) for part in held) == len(set(groups.tolist()))
    assert all(set(kinds[part].tolist()) == {0, 1, 2} for part in held)


def test_every_fold_has_a_group_even_if_one_is_large():
    held = kind_folds(np.zeros(13, np.int64), np.array([0] * 10 + [1, 2, 3]), n_folds=4, seed=0)
    assert sorted(map(len, held)) == [1, 1, 1, 10]
    with pytest.raises(
        SplitError, match=r"`n_folds` must be from 2 to the number of independent subjects \(4\), got 5"
    ):
        kind_folds(np.zeros(4, np.int64), np.arange(4), n_folds=5, seed=0)


def test_a_decision_goes_into_a_network_and_back():
    network = default_classifier().network
    shipped = Decision.of(network)
    moved = replace(shipped, weight=shipped.weight + 0.5)
    np.testing.assert_allclose(Decision.of(moved.in_network(network)).weight, moved.weight, atol=1e-6)
    np.testing.assert_array_equal(Decision.of(network).weight, shipped.weight)


def test_calibration_is_of_the_cells_where_there_are_enough(confidence: Confidence):
    cells = cells_of()
    places = np.arange(len(cells.kinds))
    found = refine_nested(shipped_of(), cells, places, n_folds=3, seed=0)
    nothing = np.full(len(places), np.nan)
    own = recalibrated(confidence, cells, places, found, nothing)
    assert own.blasts_by_own
    assert set(own.sets_by_own) == {CellKind.LYMPHOBLAST, CellKind.LYMPHOCYTE, CellKind.MONOCYTE}
    assert own.confidence.elsewhere != confidence.elsewhere
    assert own.confidence.sets.least[CellKind.PLATELET.place] == confidence.sets.least[CellKind.PLATELET.place]
    assert (own.confidence.at_home, own.confidence.subjects) == (confidence.at_home, confidence.subjects)
    shares = shares_of(own.confidence, found.held_out, nothing)
    stays = own.confidence.sets.sets(shares)[places, cells.kinds]
    assert all(stays[cells.kinds == kind].mean() >= 0.9 for kind in (BLAST, LYMPHOCYTE, MONOCYTE))

    few = np.concatenate([np.flatnonzero(cells.kinds == BLAST)[: FEWEST - 1], np.flatnonzero(cells.kinds == MONOCYTE)])
    part = Refined(found.decision, found.strength, found.held_out[few])
    kept = recalibrated(confidence, cells, few, part, nothing)
    assert not kept.blasts_by_own
    assert kept.confidence.elsewhere == confidence.elsewhere
    assert kept.sets_by_own == (CellKind.MONOCYTE,)


def test_cells_told_apart_without_an_error_are_not_called_certain(confidence: Confidence):
    cells = cells_of()
    places = np.arange(len(cells.kinds))
    logits = np.zeros((len(places), len(KINDS)))
    logits[places, cells.kinds] = 5.0
    own = recalibrated(confidence, cells, places, Refined(shipped_of(), 1.0, logits), np.full(len(places), np.nan))
    shares = shares_of(own.confidence, logits, np.full(len(places), np.nan))
    assert shares[cells.kinds == BLAST, BLAST].max() == pytest.approx(1 - 1 / 32, abs=0.02)


def test_cells_of_own_kinds_are_near():
    cells = cells_of(shift=30.0)
    before = MahalanobisDistance(np.zeros((2, 3), np.float32), np.eye(3, dtype=np.float32))
    after = distance_with(before, cells)
    assert len(after.means) == 2 + 3
    axes = cells.as_they_are[:, :-1]
    assert after.distances(axes).max() < 6 < before.distances(axes).min()


def test_shares_are_those_of_the_classifier():
    classifier = default_classifier()
    rng = np.random.default_rng(0)
    drawn = [
        draw_cell(kind, subject_style(rng), rng, size_px=450).pixels
        for kind in (DrawnKind.LYMPHOBLAST, DrawnKind.LYMPHOCYTE)
    ]
    pixels = np.stack([cell_pixels(cell) for cell in drawn])
    labelled = tuple(
        LabelledCell(Record(path=Path(str(n)), image=str(n), label=None, subject=None), kind, str(n), math.nan)
        for n, kind in enumerate((CellKind.LYMPHOBLAST, CellKind.LYMPHOCYTE))
    )
    own = OwnCells(
        labelled, pixels, np.array([True, False]), np.array([np.nan, 9.0], np.float32), np.arange(2), (), generated=True
    )
    cells, second = known_cells(own, classifier, KindTraining(views=1))
    assert cells.inputs.shape == (4, 101)
    shares = shares_of(classifier.confidence, Decision.of(classifier.network).logits(cells.as_they_are), second)
    judged = classifier.judge(pixels, given=own.given, diameter_um=own.diameter_um)
    np.testing.assert_allclose(shares, judged.kinds, atol=2e-3)
    assert torch.is_grad_enabled()
