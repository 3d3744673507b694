"""The likeness to a smear is the regression that is written down, on measures that can be checked by hand."""

import numpy as np
import pytest
from skimage.filters import threshold_otsu

from leukospike.segmentation.likeness import (
    NEED_BACKGROUND,
    Likeness,
    Measures,
    likeness_of,
    measured,
    shipped_likeness,
)
from leukospike.segmentation.sharpness import edges_of
from leukospike.smears import CellKind, draw_field, subject_style

RNG = np.random.default_rng(3)
FIELD = draw_field([CellKind.LYMPHOBLAST, CellKind.LYMPHOCYTE], subject_style(RNG), RNG)
PIXELS = FIELD.pixels[:150, :180]
OF_EDGES = {"edge_slope", "edge_restlessness", "flat_dark", "flat_light"}


def _measured(pixels: np.ndarray, usable: np.ndarray | None = None) -> tuple[Measures, bool]:
    found = measured(pixels, edges_of(pixels, usable=usable), usable=usable)
    assert found is not None
    return found.measures, found.cut_out


def test_measures_are_those_of_their_definition():
    found, cut_out = _measured(PIXELS)
    values = PIXELS.astype(np.float64)
    green = values[:, :, 1]
    low, high = np.percentile(green, [1, 99])
    cells = green <= threshold_otsu(PIXELS[:, :, 1])
    absorbed = -np.log10(np.maximum(values, 1) / np.median(values[~cells], axis=0))
    inside = absorbed[cells]
    mean = inside.mean()
    stain = inside[:, 1] - (inside[:, 0] + inside[:, 2]) / 2
    dark = inside.mean(axis=1) >= np.percentile(inside.mean(axis=1), 90)
    down, along = green[1:, :-1] - green[:-1, :-1], green[:-1, 1:] - green[:-1, :-1]
    slope = np.hypot(down, along)
    expected = {
        "contrast": (high - low) / high,
        "density": np.log(mean),
        "stain": stain.mean() / mean,
        "stained": (inside[:, 1] >= np.maximum(inside[:, 0], inside[:, 2]) - 0.02).mean(),
        "stain_spread": np.log(np.abs(stain - stain.mean() / mean * inside.mean(axis=1)).mean() / mean + 0.01),
        "dark_stain": stain[dark].mean() / inside[dark].mean(),
        "dark_red_over_blue": (inside[:, 0] - inside[:, 2])[dark].mean() / inside[dark].mean(),
        "plain": (np.abs(absorbed).max(axis=2) < 0.04).mean(),
        "outline": ((cells[1:] != cells[:-1]).sum() + (cells[:, 1:] != cells[:, :-1]).sum()) / cells.size,
        "slope": np.log(slope.mean() / (high - low) + 1e-3),
        "restlessness": np.log(slope.mean() / np.percentile(slope, 99) + 1e-3),
        "steepness": np.log(np.percentile(slope, 99) / (high - low) + 1e-3),
        "grain": np.log(np.median(slope[~cells[:-1, :-1]]) / (high - low) + 1e-3),
        "equal": (np.diff(green, axis=1) == 0)[cells[:, 1:]].mean(),
    }
    for name, value in expected.items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-3, abs=1e-5), name
    assert not cut_out


def test_likeness_is_the_logistic_function_of_measures_and_squares():
    count = len(Measures._fields)
    model = Likeness(np.full(count, 1.0), np.full(count, 2.0), np.full(count, 0.1), np.full(count, -0.2), 0.5)
    ones = Measures(*[2.0] * count)  # pyright: ignore[reportCallIssue]
    odds = 0.5 + count * (0.1 * 0.5 - 0.2 * 0.25)
    assert model.of(ones, cut_out=False) == pytest.approx(1 / (1 + np.exp(odds)))
    far = Measures(*[1e9] * count)  # pyright: ignore[reportCallIssue]
    assert model.of(far, cut_out=False) == pytest.approx(1 / (1 + np.exp(0.5 + count * (0.3 - 1.8)))), (
        "no further than 3"
    )
    heard = count - len(NEED_BACKGROUND)
    assert model.of(far, cut_out=True) == pytest.approx(1 / (1 + np.exp(0.5 + heard * (0.3 - 1.8))))


def test_what_ships_is_of_these_measures():
    assert set(Measures._fields) >= NEED_BACKGROUND
    fitted = shipped_likeness()
    for values in (fitted.centre, fitted.spread, fitted.linear, fitted.square):
        assert values.shape == (len(Measures._fields),)
    assert (fitted.spread > 0).all()


def test_black_around_a_cell_changes_nothing():
    cell = np.where(FIELD.mask[..., None] > 0, FIELD.pixels, 0).astype(np.uint8)
    found, cut_out = _measured(cell)
    more, _ = _measured(np.pad(cell, ((20, 70), (40, 0), (0, 0))))
    assert cut_out
    for name in set(Measures._fields) - OF_EDGES:
        assert getattr(found, name) == pytest.approx(getattr(more, name)), name


def test_light_alone_changes_no_colour():
    half = (PIXELS // 2).astype(np.uint8)
    for name in ("stain", "dark_stain", "dark_red_over_blue", "density"):
        assert getattr(_measured(half)[0], name) == pytest.approx(getattr(_measured(PIXELS)[0], name), abs=0.05), name


def test_what_is_beside_the_slide_is_not_measured():
    usable = np.zeros(PIXELS.shape[:2], dtype=bool)
    usable[20:130, 30:150] = True
    changed = np.where(usable[..., None], PIXELS, np.uint8(255))
    found, _ = _measured(PIXELS, usable)
    for name, value in _measured(changed, usable)[0]._asdict().items():
        # Smoothing looks a little beyond, and the share of equal pixels is of the whole picture.
        if name not in {"coarseness", "equal"}:
            assert value == pytest.approx(getattr(found, name), rel=1e-3, abs=2e-3), name
    assert measured(PIXELS, edges_of(PIXELS), usable=np.zeros_like(usable)) is None
    assert likeness_of(None) == 0.0
