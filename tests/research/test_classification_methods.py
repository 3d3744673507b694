"""Methods of classification see nothing of the cells that they are to score."""

import numpy as np
import pytest

from leukospike.classification.appearance_learning import appearances
from leukospike.classification.cells import LabelledCells
from leukospike.classification.network_input import CROP_PX
from research.classification import methods
from research.classification.data import Cohort

N, HELD = 80, np.arange(60, 80)
REST = np.arange(60)


def discs(seed: int) -> np.ndarray:
    """Draw cells, every second one larger."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:CROP_PX, :CROP_PX] - CROP_PX / 2
    crops = np.zeros((N, CROP_PX, CROP_PX, 3), np.uint8)
    for place, crop in enumerate(crops):
        inside = rows**2 + columns**2 < rng.normal(20 + 4 * (place % 2), 3) ** 2
        crop[inside] = np.clip(np.array([110, 50, 140]) + rng.normal(0, 25, (inside.sum(), 3)), 8, 255)
    return crops


def cohort_of(crops: np.ndarray) -> Cohort:
    """Give cells of twenty subjects."""
    subjects = [f"{place % 2}{place // 8}" for place in range(N)]
    cells = LabelledCells(crops, np.arange(N) % 2, subjects)
    return Cohort(tuple(map(str, range(N))), cells, np.asarray(subjects), appearances(crops))


def test_the_share_of_a_subject_moves_its_cells_together(monkeypatch: pytest.MonkeyPatch):
    cohort, held = cohort_of(discs(0)), np.array([0, 2, 8, 10])  # of two subjects, two cells each
    scores = np.array([1.0, 2.0, -2.0, -1.0])
    monkeypatch.setattr(methods, "_appearance", lambda _: lambda *_: scores.copy())
    moved = methods._with_share(cohort, REST, held, 0) - scores
    assert moved[0] == moved[1] == pytest.approx(-moved[2])
    assert moved[2] == moved[3]
    # Where it has settled, the share is the mean of the cells' probabilities, one of each kind counted beside them.
    share = 1 / (1 + np.exp(-moved[0]))
    chances = 1 / (1 + np.exp(-(scores[:2] + moved[0])))
    assert share == pytest.approx((chances.sum() + 1) / 4)
