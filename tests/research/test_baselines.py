"""The baselines find the cell where it is plain, and nothing where nothing is."""

import numpy as np
import pytest

from research.segmentation.baselines import (
    first_wave_otsu,
    fit_boosted_pixels,
    otsu_green,
    otsu_saturation,
)
from research.segmentation.data import AnnotatedImage
from research.segmentation.scores import mask_scores


def drawn(seed: int, *, set: str = "tecom", cell: bool = True) -> AnnotatedImage:  # noqa: A002
    chance = np.random.default_rng(seed)
    rows, columns = np.mgrid[:90, :100]
    distance = np.hypot(rows - chance.uniform(35, 55), columns - chance.uniform(40, 60))
    mask = np.select([distance < 15, distance < 28], [255, 128], 0).astype(np.uint8) * cell
    colours = np.array([(250, 240, 220), (200, 150, 205), (100, 40, 140)])
    pixels = colours[np.searchsorted([0, 128, 255], mask)] + chance.normal(0, 5, (90, 100, 3))
    return AnnotatedImage(set, str(seed), np.clip(pixels, 0, 255).astype(np.uint8), mask, np.zeros((0, 4), int), "")


@pytest.fixture(scope="module")
def boosted():
    return fit_boosted_pixels([drawn(seed) for seed in range(1, 5)])


@pytest.mark.parametrize("predict", [otsu_saturation, otsu_green])
def test_three_plain_classes_are_parted(predict):
    image = drawn(0)
    scores = mask_scores(image.mask, predict(image.pixels))
    assert scores.nucleus_dice > 0.98
    assert scores.cell_dice > 0.98


def test_boosted_pixels_learn_the_classes(boosted):
    image = drawn(0)
    scores = mask_scores(image.mask, boosted(image.pixels))
    assert scores.nucleus_dice > 0.98
    assert scores.cell_dice > 0.98


def test_boosted_pixels_see_no_mask_that_parts_no_nucleus(boosted):
    beside = fit_boosted_pixels([*(drawn(seed) for seed in range(1, 5)), drawn(9, set="c-nmc")])
    assert np.array_equal(beside(drawn(0).pixels), boosted(drawn(0).pixels))


def test_the_first_wave_marks_edges():
    image = drawn(0)
    found = first_wave_otsu(image.pixels)
    assert set(np.unique(found)) == {0, 255}
    assert found.shape == image.mask.shape
    # An edge map: it misses the inside of the cell.
    assert mask_scores(image.mask, found).cell_dice < 0.7


@pytest.mark.parametrize("predict", [otsu_saturation, otsu_green, first_wave_otsu])
def test_a_blank_image_has_no_cell(predict):
    found = predict(np.full((40, 50, 3), 200, np.uint8))
    assert found.shape == (40, 50)
    assert not found.any()


@pytest.mark.parametrize("predict", [otsu_saturation, otsu_green, first_wave_otsu])
def test_a_mask_is_uint8_and_does_not_touch_the_image(predict):
    image = drawn(0)
    before = image.pixels.copy()
    assert predict(image.pixels).dtype == np.uint8
    assert np.array_equal(image.pixels, before)
