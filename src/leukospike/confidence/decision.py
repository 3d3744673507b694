"""What follows for a subject, in one word with the reason: leukemic, normal, not enough cells, or unfamiliar cells."""

from dataclasses import dataclass
from enum import StrEnum

from leukospike.errors import ConfigError, DataError
from leukospike.plurals import number_of

FEWEST_COUNTED = 20
"""With fewer counted cells nothing is decided. If a fifth of the cells are blasts, 20 cells hold at least one in 99 of
100 cases, and 10 cells in 89."""
CERTAIN = 0.9
"""Probability of leukemia, or of none, from which a subject is decided."""


class Outcome(StrEnum):
    """What is decided on a subject."""

    LEUKEMIC = "leukemic"
    NORMAL = "normal"
    NOT_ENOUGH = "not enough"
    """Too few cells, or cells that leave it open."""
    UNFAMILIAR = "unfamiliar"
    """Most cells are unlike all that the classifier was trained on."""


@dataclass(frozen=True)
class Decision:
    """What is decided on a subject, and why."""

    decision: Outcome
    reason: str
    """One sentence, with the numbers."""


def decide(
    posterior: float,
    *,
    n_counted: int,
    n_found: int,
    n_unfamiliar: int,
    n_found_in_all: int,
    n_unfamiliar_in_all: int,
    certain: float = CERTAIN,
) -> Decision:
    """Decide on a subject; the first of these rules that applies.

    1. If more than half of the subject's white cells are unfamiliar: "unfamiliar".
    2. If more than half of all white cells of the call are: "unfamiliar". A stain or camera that the classifier does
       not know shows in all subjects of a laboratory, and in some of them by chance in fewer than half of the cells.
    3. If fewer than `FEWEST_COUNTED` cells are counted: "not enough".
    4. If the posterior is at least `certain`: "leukemic"; if it is at most 1 - `certain`: "normal".
    5. Otherwise: "not enough".

    Parameters
    ----------
    posterior : float
        Probability of leukemia, 0 to 1, as by `SubjectModel.posterior`.
    n_counted : int
        Number of the subject's cells that the posterior rests on.
    n_found : int
        Number of white cells found in the subject's images, whether counted or not.
    n_unfamiliar : int
        How many of these are flagged as unlike all training cells.
    n_found_in_all, n_unfamiliar_in_all : int
        The same for all subjects of the call, which come from one laboratory.
    certain : float
        0.5 to 1.

    Returns
    -------
    Decision

    Raises
    ------
    DataError
        If the posterior is not from 0 to 1, or a number of cells is negative, not whole or larger than the number that
        it is part of.
    ConfigError
        If `certain` is not from 0.5 to 1.

    Examples
    --------
    >>> decide(0.97, n_counted=8, n_found=9, n_unfamiliar=1, n_found_in_all=9, n_unfamiliar_in_all=1)
    Decision(decision=<Outcome.NOT_ENOUGH: 'not enough'>, reason='8 cells counted; at least 20 are needed.')
    """
    _check(posterior, certain)
    _check_part("n_counted", n_counted, "n_found", n_found)
    _check_part("n_unfamiliar", n_unfamiliar, "n_found", n_found)
    _check_part("n_found", n_found, "n_found_in_all", n_found_in_all)
    _check_part("n_unfamiliar", n_unfamiliar, "n_unfamiliar_in_all", n_unfamiliar_in_all)
    _check_part("n_unfamiliar_in_all", n_unfamiliar_in_all, "n_found_in_all", n_found_in_all)
    if 2 * n_unfamiliar > n_found:
        cells = number_of(n_found, "cell")
        return Decision(Outcome.UNFAMILIAR, f"{n_unfamiliar} of {cells} found are unlike all training cells.")
    if 2 * n_unfamiliar_in_all > n_found_in_all:
        cells = number_of(n_found_in_all, "cell")
        return Decision(
            Outcome.UNFAMILIAR,
            f"{n_unfamiliar_in_all} of {cells} found in all images are unlike all training cells.",
        )
    if n_counted < FEWEST_COUNTED:
        cells = number_of(n_counted, "cell")
        return Decision(Outcome.NOT_ENOUGH, f"{cells} counted; at least {FEWEST_COUNTED} are needed.")
    low, high = round(1 - certain, 12), certain  # 1 - 0.9 is a little less than 0.1
    shown = f"The probability of leukemia is {_shown(posterior, low, high)}"
    if posterior >= high:
        return Decision(Outcome.LEUKEMIC, f"{shown}, at least {high:g}.")
    if posterior <= low:
        return Decision(Outcome.NORMAL, f"{shown}, at most {low:g}.")
    return Decision(Outcome.NOT_ENOUGH, f"{shown}, between {low:g} and {high:g}: the cells leave it open.")


def _shown(posterior: float, low: float, high: float) -> str:
    """Write a probability with as few digits as leave it on its side of the limits, and off 0 and 1."""
    for digits in range(2, 7):
        rounded = round(posterior, digits)
        if rounded == posterior or rounded not in {0.0, low, high, 1.0}:
            return f"{rounded:.{digits}f}"
    return f"{posterior:.9g}"


def _check(posterior: float, certain: float) -> None:
    """Raise an error unless both are possible probabilities; NaN is not."""
    if not 0 <= posterior <= 1:
        msg = "posterior must be from 0 to 1"
        raise DataError(msg, where="decide", got=posterior, advice="Leave out subjects without one.")
    if not 0.5 <= certain <= 1:
        msg = "certain must be from 0.5 to 1"
        raise ConfigError(msg, where="decide", got=certain, advice="Use a probability, such as 0.9.")


def _check_part(name: str, number: int, of: str, n: int) -> None:
    """Raise an error unless `number` can be part of `n`."""
    if not 0 <= number <= n or number % 1 or n % 1:
        msg = f"{name} must be a whole number from 0 to {of} ({n})"
        raise DataError(msg, where="decide", got=number, advice="Count the cells again.")
