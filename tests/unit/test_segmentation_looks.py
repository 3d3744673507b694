"""Looks at an image and their votes for a scale, on drawn discs whose size is known."""

from collections.abc import Callable

import numpy as np
import pytest

from leukospike.segmentation.looks import Look, ScaleFrom, found_scale
from leukospike.segmentation.scale import WORKING_RED_CELL_PX

RED, NUCLEUS = 3, 2
SHAPE = (480, 640)

Disc = tuple[float, float, float]


def _look(red: list[Disc], white: list[Disc] | None = None, *, scale: float = 1.0) -> Look:
    """Return a look in which the network is sure of discs of (row, column, diameter)."""
    shares = np.zeros((4, *SHAPE), np.float16)
    for number, discs in ((RED, red), (NUCLEUS, white or [])):
        for row, column, diameter in discs:
            shares[number] = np.maximum(shares[number], _disc(row, column, diameter))
    shares[0] = 1 - shares[1:].max(axis=0)
    return Look(np.full((*SHAPE, 3), 235, np.uint8), shares, scale)


def _disc(row: float, column: float, diameter: float) -> np.ndarray:
    rows, columns = np.indices(SHAPE)
    return np.hypot(rows - row, columns - column) <= diameter / 2


def _apart(diameter: float, step: int = 100) -> list[Disc]:
    return [(row, column, diameter) for row in range(70, 440, step) for column in range(70, 600, step)]


def _clump(diameter: float) -> list[Disc]:
    """Return rows of discs that overlap by an eighth of their diameter and reach the borders."""
    step = round(diameter * 0.875)
    return [(row, column, diameter) for row in range(60, 430, round(1.2 * diameter)) for column in range(0, 640, step)]


# --- what a look says ---


@pytest.mark.parametrize("diameter", [25, 50, 80])
def test_red_cells_that_lie_alone_vote_for_the_scale_that_makes_them_work(diameter: int):
    look = _look(_apart(diameter), scale=0.5)
    assert look.red_px == pytest.approx([diameter] * len(_apart(diameter)), rel=0.03)
    assert look.red_cells == pytest.approx(2 * look.red_px)
    assert {vote.by for vote in look.votes} == {ScaleFrom.RED_CELLS}
    surest = max(look.votes, key=lambda vote: vote.weight)
    assert np.exp(surest.scale) == pytest.approx(0.5 * WORKING_RED_CELL_PX / diameter, rel=0.03)


@pytest.mark.parametrize("diameter", [30, 50, 80])
def test_red_cells_in_a_clump_vote_by_their_middles(diameter: int):
    look = _look(_clump(diameter))
    assert {vote.by for vote in look.votes} == {ScaleFrom.RED_CELLS}
    for vote in look.votes:
        assert np.exp(vote.scale) == pytest.approx(WORKING_RED_CELL_PX / diameter, rel=0.2)


def test_cells_that_lie_alone_speak_louder_than_their_widths():
    by_round, by_width = _look(_apart(50)[:6]).votes
    assert by_round.weight > 10 * by_width.weight


def test_white_cells_vote_with_a_wide_spread():
    look = _look([], [(240.0, 320.0, 85.0), (100.0, 100.0, 85.0)])
    [vote] = look.votes
    assert vote.by is ScaleFrom.WHITE_CELLS
    assert np.exp(vote.scale) == pytest.approx(1.0, rel=0.1)
    assert vote.spread > 2 * min(vote.spread for vote in _look(_apart(50)).votes)


def test_an_empty_look_has_no_vote():
    look = _look([])
    assert look.votes == ()
    assert not look.is_enough
    assert len(look.red_px) == 0


def test_enough_red_cells_need_no_other_look():
    assert _look(_apart(50)).is_enough
    assert not _look(_apart(50)[:7]).is_enough  # too few
    assert not _look(_apart(15)).is_enough  # too small to be sure that they are cells


def test_whole_red_cells_say_whether_a_scale_is_the_working_one():
    look = _look(_apart(35), scale=0.7)  # a large field, read at seven tenths of its working size
    assert look.fits(1.0)
    assert not look.fits(0.7)
    assert not _look(_apart(35)[:2], scale=0.7).fits(1.0)  # two tell nothing


# --- what looks say together ---


def _seen(true_px: float, discs: Callable[[float], list[Disc]], white: float | None = None) -> Callable[[float], Look]:
    """Return what looks at an image see whose red cells are so large; too small or too large ones are not known."""

    def look(scale: float) -> Look:
        seen_px = true_px * scale
        red = discs(seen_px) if 20 <= seen_px <= 150 else []
        return _look(red, None if white is None else [(240.0, 320.0, white * scale)], scale=scale)

    return look


@pytest.mark.parametrize("true_px", [30.0, 60.0, 120.0])
@pytest.mark.parametrize("discs", [_apart, _clump])
def test_scale_of_red_cells_is_found(true_px: float, discs: Callable[[float], list[Disc]]):
    scale, told, last = found_scale(_seen(true_px, discs), [0.5, 1.0, 2.0])
    assert told is ScaleFrom.RED_CELLS
    assert scale == pytest.approx(WORKING_RED_CELL_PX / true_px, rel=0.2)
    assert last is not None


def test_first_look_that_is_enough_ends_the_search():
    asked: list[float] = []

    def look(scale: float) -> Look:
        asked.append(scale)
        return _seen(60.0, _apart)(scale)

    found_scale(look, [1.0, 0.5, 2.0])
    assert asked == [1.0]


def test_scales_out_of_range_are_not_looked_at():
    asked: list[float] = []

    def look(scale: float) -> Look:
        asked.append(scale)
        return _look([], scale=scale)

    scale, told, last = found_scale(look, [0.01, 0.5, 9.0])
    assert asked == [0.5]
    assert (scale, told) == (1.0, ScaleFrom.NOTHING)
    assert last is not None
    assert found_scale(look, [0.01]) == (1.0, ScaleFrom.NOTHING, None)


def test_white_cells_tell_the_scale_where_no_red_cell_is_seen():
    scale, told, _ = found_scale(_seen(1000.0, _apart, white=170.0), [0.25, 0.5, 1.0])
    assert told is ScaleFrom.WHITE_CELLS
    assert scale == pytest.approx(0.5, rel=0.15)
