"""Measures in words and their place, against shapes drawn exactly and shares counted."""

import numpy as np
import pytest

from leukospike.classification.appearance_learning import appearances
from leukospike.classification.morphology import MEASURES, MorphologyReference, Place, morphology
from leukospike.errors import DataError, WeightsError


def _reference(precursors: np.ndarray, lymphoblasts: np.ndarray) -> MorphologyReference:
    measured = [{"density": float(value)} for value in [*precursors, *lymphoblasts]]
    return MorphologyReference.fit(measured, [0] * len(precursors) + [1] * len(lymphoblasts))


def test_measures_of_a_drawn_ellipse():
    rows, columns = np.mgrid[:96, :96] - 47.5
    crop = np.zeros((96, 96, 3), np.uint8)
    crop[(rows / 20) ** 2 + (columns / 30) ** 2 < 1] = 51  # a fifth of 255
    found = morphology(appearances(crop[None])[0], {"nc_ratio": 0.8, "circularity": float("nan"), "row": 3.0})
    assert list(found) == ["diameter_px", "nc_ratio", "axis_ratio", "density", "contrast", "clumping"]
    assert found["diameter_px"] == pytest.approx(4 * 2 * np.sqrt(20 * 30), rel=0.01)
    assert found["axis_ratio"] == pytest.approx(20 / 30, rel=0.01)
    assert found["density"] == pytest.approx(np.log10(5), rel=0.01)
    assert found["nc_ratio"] == 0.8
    assert found["contrast"] == pytest.approx(0, abs=1e-3)


def test_contrast_and_clumping_tell_coarse_from_fine():
    rows, columns = np.mgrid[:96, :96]
    disc = np.hypot(rows - 47.5, columns - 47.5) < 30
    found = {}
    for period in (4, 16):
        stripes = np.where(rows // (period // 2) % 2, 60, 120).astype(np.uint8)
        crop = np.where(disc, stripes, 0).astype(np.uint8)[..., None].repeat(3, axis=2)
        found[period] = morphology(appearances(crop[None])[0], {})
    density = -np.log10(np.array([60, 120]) / 255 * 255 / 256 + 1 / 256)
    for measured in found.values():
        assert measured["contrast"] == pytest.approx(abs(np.diff(density)[0]) / 2, rel=0.03)
    assert found[16]["clumping"] > 2 * found[4]["clumping"]


def test_without_a_cell_there_are_no_measures():
    assert morphology(appearances(np.zeros((1, 96, 96, 3), np.uint8))[0], {"nc_ratio": 0.5}) == {}


def test_a_place_is_the_share_of_cells_below():
    rng = np.random.default_rng(0)
    precursors, lymphoblasts = rng.normal(0, 1, 4000), rng.gamma(2, 1, 4000)
    reference = _reference(precursors, lymphoblasts)
    for value in (-1.3, 0.02, 0.7, 2.5):
        [place] = reference.places({"density": value})
        assert place.precursors == pytest.approx((precursors < value).mean(), abs=0.01)
        assert place.lymphoblasts == pytest.approx((lymphoblasts < value).mean(), abs=0.01)


def test_places_beyond_the_ends_and_among_equal_values():
    reference = _reference(np.r_[np.zeros(50), np.arange(1, 51)], np.arange(100))
    [below], [above], [tied] = (reference.places({"density": value}) for value in (-1, 1000, 0))
    assert (below.precursors, below.lymphoblasts) == (0, 0)
    assert (above.precursors, above.lymphoblasts) == (1, 1)
    assert tied.precursors == pytest.approx(0.225)  # equal quantiles up to nine twentieths, and half of those counts
    assert above.words == "larger than all of the lymphoblasts and all of the normal precursors of C-NMC"
    near, low = Place("density", 1, 0.9951, 0.834), Place("density", 1, 0.002, 0)
    assert near.words == "larger than 83 % of the lymphoblasts and 99 % of the normal precursors of C-NMC"
    assert low.words == "larger than none of the lymphoblasts and 1 % of the normal precursors of C-NMC"


def test_a_measure_must_be_known_in_both_classes():
    reference = MorphologyReference.fit([{"density": 1, "nc_ratio": 0.5}, {"density": 2}], [0, 1])
    assert list(reference.precursors) == ["density"]
    assert [place.measure for place in reference.places({"nc_ratio": 0.5, "density": 1.5})] == ["density"]
    with pytest.raises(DataError, match="cells must include both classes, got 2"):
        MorphologyReference.fit([{"density": 1}, {"density": 2}], [0, 0])
    with pytest.raises(DataError, match="there must be one label per cell, got 1 for 2"):
        MorphologyReference.fit([{"density": 1}, {"density": 2}], [0])


def test_it_comes_back_from_json_or_is_refused():
    reference = _reference(np.arange(30), np.arange(40))
    assert MorphologyReference.from_json(reference.to_json()) == reference
    for wrong in ("[]", "{", '{"precursors": {}}', '{"precursors": {"a": [1, 2]}, "lymphoblasts": {"a": [1, 2]}}'):
        with pytest.raises(WeightsError, match="MorphologyReference: text must be the output of to_json"):
            MorphologyReference.from_json(wrong)


def test_every_measure_has_words():
    assert set(MEASURES) >= set(morphology(appearances(np.full((1, 96, 96, 3), 90, np.uint8))[0], {"nc_ratio": 1}))
