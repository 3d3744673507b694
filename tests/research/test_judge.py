"""The judge on drawn fields: what is predicted, by whom, and how it is counted."""

import numpy as np
import pytest

from research.segmentation.data import AnnotatedImage, folds
from research.segmentation.judge import DRAWN_FINELY, Method, figures, judge
from research.segmentation.shifts import SHIFTS
from research.segmentation.table import METHODS, POOLED, box_rows, dice_rows, shift_rows, summarised

RED = (230, 150, 150)


def disc(row: float, column: float, radius: float, side: int = 96) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side]
    return np.hypot(rows - row, columns - column) < radius


def drawn(set: str, group: int, *, boxed: bool = True) -> AnnotatedImage:  # noqa: A002
    """Draw one white cell in a noisy field, somewhere else for each group."""
    chance = np.random.default_rng(group)
    row, column = chance.uniform(35, 60, 2)
    mask = np.zeros((96, 96), np.uint8)
    mask[disc(row, column, 24)] = 128
    mask[disc(row, column, 14)] = 255
    colours = np.array([(250, 235, 200), (190, 150, 200), (90, 40, 130)])
    pixels = colours[np.searchsorted([0, 128, 255], mask)] + chance.normal(0, 4, (96, 96, 3))
    rows, columns = np.nonzero(mask)
    box = [[rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]]
    boxes = np.array(box if set == "bccd" and boxed else [], np.int64).reshape(-1, 4)
    if set == "c-nmc":
        pixels[mask == 0] = 0
        mask[mask > 0] = 128
    return AnnotatedImage(set, str(group), np.clip(pixels, 0, 255).astype(np.uint8), mask, boxes, "", group)


@pytest.fixture(scope="module")
def images() -> list[AnnotatedImage]:
    return [drawn(name, group) for name in ("tecom", "cellavision", "bccd", "c-nmc") for group in range(4)]


def remember(images):
    """Fit by keeping the drawn masks, and answer with that of an image seen, else with nothing."""
    seen = {image.pixels.tobytes(): image.mask for image in images}
    return lambda pixels: seen.get(pixels.tobytes(), np.zeros(pixels.shape[:2], np.uint8))


def test_no_image_is_predicted_by_what_was_fitted_on_it(images):
    judged = judge(Method(remember), images, folds(images, n_folds=4), shifts=())
    assert len(judged) == len(images)
    assert all(one.mask.cell_dice == 0 for one in judged)


def test_the_drawn_mask_scores_one_everywhere(images):
    judged = judge(Method(lambda _: remember(images)), images, folds(images, n_folds=4), shifts=())
    for name in ("tecom", "cellavision", "bccd"):
        of_set = figures([one for one in judged if one.set == name])
        assert of_set.nucleus_dice.value == of_set.cell_iou.value == of_set.nucleus_dice.low == 1
    fields = figures([one for one in judged if one.set == "bccd"])
    assert (fields.recall.value, fields.precision.value, fields.false_per_field.value) == (1, 1, 0)


def test_a_set_without_boxes_has_no_recall(images):
    judged = judge(Method(lambda _: remember(images)), images, folds(images, n_folds=4), shifts=())
    of_set = figures([one for one in judged if one.set == "tecom"])
    assert np.isnan([of_set.recall.value, of_set.precision.value, of_set.false_per_field.value]).all()


def test_a_cell_that_is_drawn_but_not_boxed_is_false_but_not_invented():
    fields = [drawn("bccd", group, boxed=group > 0) for group in range(4)]
    of_set = figures(judge(Method(lambda _: remember(fields)), fields, folds(fields, n_folds=4)))
    assert of_set.recall.value == 1
    assert of_set.precision.value == 3 / 4
    assert of_set.false_per_field.value == 1 / 4
    assert of_set.invented_per_field.value == 0


def test_a_method_fitted_per_set_sees_only_that_set(images):
    seen: list[set[str]] = []

    def fit(images):
        seen.append({image.set for image in images})
        return remember(images)

    judged = judge(Method(fit, per_set=True), images, folds(images, n_folds=4), shifts=())
    assert seen == [{"cellavision"}, {"tecom"}] * 4
    assert {one.set for one in judged} == {"tecom", "cellavision"}


def test_shifts_change_the_image_and_its_truth_where_masks_are_fine(images):
    shapes: list[tuple[int, int]] = []

    def predict(pixels):
        shapes.append(pixels.shape[:2])
        return np.zeros(pixels.shape[:2], np.uint8)

    judged = judge(Method(lambda _: predict), images, folds(images, n_folds=4))
    assert len(judged) == 8 * (1 + len(SHIFTS)) + 8
    assert shapes.count((48, 48)) == shapes.count((192, 192)) == 8
    assert {one.set for one in judged if one.shift != "none"} == set(DRAWN_FINELY)


@pytest.mark.parametrize(
    "wrong", [np.zeros((96, 95), np.uint8), np.zeros((96, 96), np.int64), np.full((96, 96), 1, np.uint8)]
)
def test_a_mask_of_another_kind_is_refused(images, wrong):
    with pytest.raises(ValueError, match=r"a mask must be uint8 \(96, 96\) of 0, 128 and 255, got"):
        judge(Method(lambda _: lambda _: wrong), images, folds(images, n_folds=4), shifts=())


def test_the_tables_hold_every_method_and_shift(images):
    judged = judge(METHODS["otsu-green"], images, folds(images, n_folds=4))
    results = {"otsu-green": summarised(judged)}
    assert results["otsu-green"][POOLED]["none"].images == 8
    (row,) = dice_rows(results)
    assert row["nucleus, pooled"].startswith(f"{results['otsu-green'][POOLED]['none'].nucleus_dice.value:.3f} (")
    assert box_rows(results)[0]["method"] == "otsu-green"
    assert [row["shift"] for row in shift_rows(results)] == [shift.name for shift in SHIFTS]
