"""Scores against scikit-learn, drawn discs, and closed forms."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score

from research.segmentation.scores import (
    component_boxes,
    dice,
    iou,
    mask_scores,
    match_boxes,
    mean,
    ratio,
)

NO_BOX = np.zeros((0, 4), np.int64)


def disc(row: float, column: float, radius: float, side: int = 200) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side]
    return np.hypot(rows - row, columns - column) < radius


@pytest.mark.parametrize("seed", range(5))
def test_dice_and_iou_are_scikit_learns_f1_and_jaccard(seed):
    truth, found = np.random.default_rng(seed).random((2, 17, 23)) < 0.3
    assert dice(truth, found) == pytest.approx(f1_score(truth.ravel(), found.ravel()), abs=1e-12)
    assert iou(truth, found) == pytest.approx(jaccard_score(truth.ravel(), found.ravel()), abs=1e-12)


def test_a_disc_within_a_disc_scores_by_its_area():
    # Radii 30 and 60: a quarter of the area, so IoU is 1/4 and Dice 2 * 1 / (1 + 4).
    small, large = disc(100, 100, 30), disc(100, 100, 60)
    assert iou(large, small) == pytest.approx(0.25, abs=0.005)
    assert dice(large, small) == pytest.approx(0.4, abs=0.005)


def test_an_empty_truth_wants_an_empty_mask():
    nothing, something = np.zeros((4, 4), bool), np.eye(4, dtype=bool)
    assert dice(nothing, nothing) == iou(nothing, nothing) == 1
    assert dice(nothing, something) == iou(nothing, something) == 0
    assert dice(something, nothing) == iou(something, nothing) == 0


def test_masks_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match=r"found must have the shape of truth \(4, 4\), got \(4, 5\)"):
        dice(np.zeros((4, 4), bool), np.zeros((4, 5), bool))


def test_the_whole_cell_is_nucleus_and_cytoplasm():
    truth = np.array([[255, 255, 128, 0]], np.uint8)
    found = np.array([[255, 128, 128, 128]], np.uint8)
    scores = mask_scores(truth, found)
    assert scores.nucleus_dice == pytest.approx(2 / 3)
    assert scores.nucleus_iou == pytest.approx(1 / 2)
    assert scores.cell_dice == pytest.approx(6 / 7)
    assert scores.cell_iou == pytest.approx(3 / 4)


def test_boxes_are_of_pieces_with_a_nucleus_and_of_a_size():
    mask = np.zeros((200, 200), np.uint8)
    mask[disc(50, 60, 20)] = 128
    mask[disc(50, 60, 10)] = 255
    mask[disc(150, 150, 20)] = 128  # no nucleus
    mask[disc(150, 50, 5)] = 255  # 80 pixels, under 1 in 200
    assert component_boxes(mask).tolist() == [[31, 41, 70, 80]]
    assert component_boxes(np.zeros_like(mask)).shape == (0, 4)


def test_a_box_matches_from_half_over_union():
    truth = np.array([[0, 0, 10, 10]])
    assert match_boxes(truth, np.array([[0, 0, 5, 10]])).found == 1  # exactly one half
    assert match_boxes(truth, np.array([[0, 0, 4, 10]])).found == 0


def test_each_box_is_matched_once():
    truth = np.array([[0, 0, 10, 10], [0, 20, 10, 30]])
    found = np.array([[0, 0, 10, 10], [0, 1, 10, 11], [50, 50, 60, 60]])
    matches = match_boxes(truth, found)
    assert (matches.found, matches.missed, matches.false) == (1, 1, 2)


def test_matching_gives_up_the_best_pair_where_two_good_ones_can_be_had():
    # The first found box agrees fully with the first drawn one, but is the only one that the second can have.
    truth = np.array([[0, 0, 10, 10], [0, 3, 10, 13]])
    found = np.array([[0, 0, 10, 10], [0, -3, 10, 7]])
    assert match_boxes(truth, found).found == 2


@pytest.mark.parametrize(("drawn", "found"), [(NO_BOX, NO_BOX), (np.array([[0, 0, 9, 9]]), NO_BOX)])
def test_no_boxes_are_counted_too(drawn, found):
    assert (lambda m: (m.found, m.missed, m.false))(match_boxes(drawn, found)) == (0, len(drawn), 0)
    assert (lambda m: (m.found, m.missed, m.false))(match_boxes(found, drawn)) == (0, 0, len(drawn))


def test_the_interval_of_a_mean_is_the_normal_one_where_there_are_many_images():
    values = np.random.default_rng(0).normal(0.9, 0.05, 2000)
    estimate = mean(values)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.low == pytest.approx(values.mean() - half, abs=half / 5)
    assert estimate.high == pytest.approx(values.mean() + half, abs=half / 5)
    assert mean(values) == estimate


def test_images_of_one_group_are_one_draw():
    values, groups = np.repeat([0.0, 1.0, 0.5, 0.7], 50), np.repeat([4, 2, 7, 0], 50)
    alone, together = mean(values), mean(values, groups=groups)
    assert together.value == alone.value
    assert together.high - together.low > 4 * (alone.high - alone.low)


def test_a_ratio_is_of_sums_and_not_a_mean_of_ratios():
    assert ratio([1, 3], [1, 9]).value == pytest.approx(0.4)
    assert np.isnan(ratio([0, 2], [0, 0]).value)
    assert ratio([0, 1], [0, 1]).low == 1  # half of the draws of two images have nothing to tell
