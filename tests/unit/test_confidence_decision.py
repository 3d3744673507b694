"""What is decided on a subject: each rule, its order and its borders."""

import re

import pytest

from leukospike.confidence import CERTAIN, FEWEST_COUNTED, Decision, Outcome, decide
from leukospike.errors import ConfigError, DataError

KNOWN = {"n_counted": 40, "n_found": 50, "n_unfamiliar": 5, "n_found_in_all": 100, "n_unfamiliar_in_all": 10}
_OPEN = "The probability of leukemia is {}, between 0.1 and 0.9: the cells leave it open."


def _decided(posterior: float = 0.97, **numbers: float) -> Decision:
    return decide(posterior, **{**KNOWN, **numbers})


@pytest.mark.parametrize(
    ("posterior", "outcome", "reason"),
    [
        (1.0, Outcome.LEUKEMIC, "The probability of leukemia is 1.00, at least 0.9."),
        (0.97, Outcome.LEUKEMIC, "The probability of leukemia is 0.97, at least 0.9."),
        (0.9, Outcome.LEUKEMIC, "The probability of leukemia is 0.90, at least 0.9."),
        (0.8999, Outcome.NOT_ENOUGH, _OPEN.format("0.8999")),
        (0.5, Outcome.NOT_ENOUGH, _OPEN.format("0.50")),
        (0.1001, Outcome.NOT_ENOUGH, _OPEN.format("0.1001")),
        (0.1, Outcome.NORMAL, "The probability of leukemia is 0.10, at most 0.1."),
        (0.0004, Outcome.NORMAL, "The probability of leukemia is 0.0004, at most 0.1."),
        (1e-9, Outcome.NORMAL, "The probability of leukemia is 1e-09, at most 0.1."),
    ],
)
def test_posterior_decides_beyond_the_limits(posterior, outcome, reason):
    assert _decided(posterior) == Decision(outcome, reason)


def test_how_certain_is_asked_for():
    assert _decided(0.97, certain=0.99).decision is Outcome.NOT_ENOUGH
    assert _decided(0.04, certain=0.95).decision is Outcome.NORMAL
    assert _decided(0.5, certain=0.5).decision is Outcome.LEUKEMIC
    assert _decided(0.49, certain=0.5).decision is Outcome.NORMAL
    assert CERTAIN == 0.9


@pytest.mark.parametrize(
    ("n", "reason"),
    [
        (0, "0 cells counted; at least 20 are needed."),
        (1, "1 cell counted; at least 20 are needed."),
        (19, "19 cells counted; at least 20 are needed."),
    ],
)
def test_few_cells_decide_nothing(n, reason):
    assert _decided(n_counted=n) == Decision(Outcome.NOT_ENOUGH, reason)
    assert _decided(0.001, n_counted=n).decision is Outcome.NOT_ENOUGH


def test_as_many_cells_as_needed_are_enough():
    assert _decided(n_counted=FEWEST_COUNTED).decision is Outcome.LEUKEMIC


def test_nothing_found_is_not_enough():
    nothing = dict.fromkeys(KNOWN, 0)
    assert _decided(0.5, **nothing) == Decision(Outcome.NOT_ENOUGH, "0 cells counted; at least 20 are needed.")


def test_unfamiliar_cells_come_first():
    found = _decided(n_counted=24, n_unfamiliar=26, n_unfamiliar_in_all=26)
    assert found == Decision(Outcome.UNFAMILIAR, "26 of 50 cells found are unlike all training cells.")
    # Before too few cells, too.
    assert _decided(n_counted=3, n_unfamiliar=26, n_unfamiliar_in_all=26).decision is Outcome.UNFAMILIAR
    # Half of them is not more than half.
    assert _decided(n_counted=25, n_unfamiliar=25, n_unfamiliar_in_all=25).decision is Outcome.LEUKEMIC


def test_an_unfamiliar_laboratory_is_so_for_all_its_subjects():
    found = _decided(n_unfamiliar_in_all=51)
    assert found == Decision(Outcome.UNFAMILIAR, "51 of 100 cells found in all images are unlike all training cells.")
    assert _decided(n_counted=3, n_unfamiliar_in_all=51).decision is Outcome.UNFAMILIAR
    assert _decided(n_unfamiliar_in_all=50).decision is Outcome.LEUKEMIC


@pytest.mark.parametrize("outcome", list(Outcome))
def test_outcomes_are_words(outcome):
    assert str(outcome) in {"leukemic", "normal", "not enough", "unfamiliar"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_counted": 51}, "n_counted must be a whole number from 0 to n_found (50), got 51"),
        ({"n_counted": -1}, "n_counted must be a whole number from 0 to n_found (50), got -1"),
        ({"n_unfamiliar": 51}, "n_unfamiliar must be a whole number from 0 to n_found (50), got 51"),
        ({"n_found_in_all": 49}, "n_found must be a whole number from 0 to n_found_in_all (49), got 50"),
        ({"n_unfamiliar_in_all": 4}, "n_unfamiliar must be a whole number from 0 to n_unfamiliar_in_all (4), got 5"),
        ({"n_unfamiliar_in_all": 101}, "n_unfamiliar_in_all must be a whole number from 0 to n_found_in_all (100)"),
    ],
)
def test_impossible_numbers_are_refused(change, message):
    with pytest.raises(DataError, match=re.escape(f"decide: {message}")):
        _decided(**change)


@pytest.mark.parametrize("posterior", [-0.1, 1.1, float("nan")])
def test_what_is_no_posterior_is_refused(posterior):
    with pytest.raises(DataError, match=r"decide: posterior must be from 0 to 1, got"):
        _decided(posterior)


@pytest.mark.parametrize("certain", [0.4, 1.1, float("nan")])
def test_what_is_no_certainty_is_refused(certain):
    with pytest.raises(ConfigError, match=r"decide: certain must be from 0\.5 to 1, got"):
        _decided(certain=certain)
