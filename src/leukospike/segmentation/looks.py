"""Scale at which an image is read: it is examined at a few sizes, each of which votes for a scale.

The network tells red cells from white ones while red cells are about 20 to 150 pixels across. Where they are smaller or
larger, it takes bits of cells for cells, and these fill little of the look. So each look votes by what it sees for the
scale at which red cells would have their working size, with the area that they fill: by whole, round red cells; by how
wide what is red is at its middles, as far as these agree; and by white cells, less exactly. Looks at one image agree
where they are right.

The weights of the votes were chosen on one half of the images of six laboratories and held against the other, each
read by a network that had not seen it: the loss there fell by a third. Over both halves, wrong scales (by 1.45 or more)
fell from 10 to 1 in a hundred of bccd's fields, and from 9 to 3 of chula's where chula was left out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from leukospike.segmentation.network import CLASSES, likeliest
from leukospike.segmentation.red_cells import largest_group, round_diameters, same_size, usual_width, widths_in_clumps
from leukospike.segmentation.regions import Region
from leukospike.segmentation.scale import WORKING_RED_CELL_PX, disagree

SCALES = (1 / 8, 4.5)
"""Least and greatest scale at which an image is looked at: red cells of 11 to 400 pixels across."""

LOOKS_PX, LOOKS_AT_LARGE_PX = (320, 640, 1280, 160), (1280, 640, 320, 160)
"""Longest sides at which an image is looked at, in this order; a large one is mostly a field of many small cells."""

LARGE_PX = 1920
"""Longest side of a large image."""

LOOK_PX = 1280
"""Of what is larger than this at a scale, its middle is looked at."""

_ENOUGH, _ENOUGH_SHARE, _ENOUGH_SEEN = 8, 0.03, (25.0, 105.0)  # so many red cells of such size need no other look
_AGREED, _LEAST_AGREED = 0.7, 0.005  # share of the votes, and weight, on which two looks may end the search
_LEAST_VOTES = 3e-4  # weight of all votes for a scale, below which nothing was seen
_LEAST_ROUND = 0.004  # share of a look that round red cells fill, if they are to tell their size
_LEAST_WHITE = 0.002  # share of a look that is surely white, if white cells are to
_WIDTH_PX = 44.0  # of red cells in clumps at the working scale: less than their diameter, since they overlap
_WHITE_CELL_PX = 85.0  # usual width of a white cell at the working scale
_FEW = 1  # red cells that count a quarter of what many do
_LEAST_TOLD = 3  # whole red cells that tell whether a scale is right
_FAR = 0.65  # standard deviation of a look's worth about the working size, natural logarithm
_BY_ROUND, _BY_WIDTH, _BY_WHITE = (1.0, 0.15), (0.02, 0.2), (0.05, 0.4)  # weight, and standard deviation of the vote


class ScaleFrom(StrEnum):
    """How the scale of an image was determined."""

    RED_CELLS = "red cells"
    WHITE_CELLS = "white cells"
    STATED = "stated"
    CUT_OUT = "cut out"
    NOTHING = "nothing"
    """No cell was found at any scale; the image is read at its own size."""
    OWN = "own"
    """The segmenter handles scale itself."""


class Vote(NamedTuple):
    """Vote of a look for a scale."""

    scale: float
    """Natural logarithm."""
    weight: float
    spread: float
    """Standard deviation of the logarithm."""
    by: ScaleFrom


@dataclass(frozen=True)
class Look:
    """An image, or its middle, at one scale, and the output of the network."""

    even: UInt8[np.ndarray, "rows columns 3"]
    """In even light."""
    shares: Float[np.ndarray, "classes rows columns"]
    """How likely each pixel is of each class, 0-1."""
    scale: float

    @cached_property
    def red_px(self) -> Float[np.ndarray, " cells"]:
        """Diameters of whole, round red cells of one size, pixels of this look."""
        return same_size(round_diameters(self._red))

    @cached_property
    def votes(self) -> tuple[Vote, ...]:
        """What it says of the scale."""
        votes: list[Vote] = []
        filled = _area(self.red_px, self.shares)
        if len(self.red_px) and filled >= _LEAST_ROUND:
            # One or two may be clumps that happen to be round.
            certain = (len(self.red_px) / (len(self.red_px) + _FEW)) ** 2
            red_px = float(np.median(self.red_px))
            votes += _vote(red_px, WORKING_RED_CELL_PX, self.scale, filled * certain, _BY_ROUND)
            if self.is_enough:
                return tuple(votes)
        red = self._red
        widths, agreeing = largest_group(widths_in_clumps(red))
        if len(widths):
            filled = float(red.mean()) * agreeing**2
            votes += _vote(float(np.median(widths)), _WIDTH_PX, self.scale, filled, _BY_WIDTH)
        white_share, white_px = _white_cells(self.likeliest, self.shares)
        if white_share >= _LEAST_WHITE:
            votes += _vote(white_px, _WHITE_CELL_PX, self.scale, white_share, _BY_WHITE, ScaleFrom.WHITE_CELLS)
        return tuple(votes)

    @cached_property
    def likeliest(self) -> UInt8[np.ndarray, "rows columns"]:
        """Class of each pixel."""
        return likeliest(self.shares)

    @property
    def _red(self) -> Region:
        """Where red cells are."""
        return self.likeliest == CLASSES.index("red cell")

    @property
    def red_cells(self) -> Float[np.ndarray, " cells"]:
        """The same, pixels of the image."""
        return self.red_px / self.scale

    @property
    def is_enough(self) -> bool:
        """Whether the red cells need no other look."""
        if len(self.red_px) < _ENOUGH:
            return False
        low, high = _ENOUGH_SEEN
        return low <= float(np.median(self.red_px)) <= high and _area(self.red_px, self.shares) >= _ENOUGH_SHARE

    def fits(self, scale: float) -> bool:
        """Return whether enough whole red cells say that a scale is about the working one."""
        if len(self.red_px) < _LEAST_TOLD:
            return False
        return not disagree(float(np.median(self.red_cells)), WORKING_RED_CELL_PX / scale)


def found_scale(look: Callable[[float], Look], scales: Sequence[float]) -> tuple[float, ScaleFrom, Look | None]:
    """Examine an image until its looks agree on a scale.

    Parameters
    ----------
    look : callable
        Looks at the image at a scale.
    scales : sequence of float
        In the order in which they are looked at; those outside `SCALES` are not.

    Returns
    -------
    scale : float
        1 where nothing was seen.
    scale_from : ScaleFrom
        Red cells, white cells or nothing.
    look : Look or None
        The last of the looks.
    """
    votes: list[Vote] = []
    last: Look | None = None
    for number, scale in enumerate(scale for scale in scales if SCALES[0] <= scale <= SCALES[1]):
        last = look(scale)
        votes += last.votes
        if last.is_enough and not number:
            break
        if number and votes:
            agreed = max(_support(votes, vote.scale) for vote in votes)
            if agreed >= max(_AGREED * sum(vote.weight for vote in votes), _LEAST_AGREED):
                break
    if not votes:
        return 1.0, ScaleFrom.NOTHING, last
    places = [float(place) for place in np.linspace(np.log(SCALES[0]), np.log(SCALES[1]), 200)]
    best = max(places, key=lambda place: _support(votes, place))
    if _support(votes, best) < _LEAST_VOTES:
        return 1.0, ScaleFrom.NOTHING, last
    pulls = np.array([_pull(vote, best) / vote.spread**2 for vote in votes])
    scale = float(np.exp(pulls @ [vote.scale for vote in votes] / pulls.sum()))
    by = [
        sum(_pull(vote, best) for vote in votes if vote.by is told)
        for told in (ScaleFrom.RED_CELLS, ScaleFrom.WHITE_CELLS)
    ]
    return scale, ScaleFrom.RED_CELLS if by[0] >= by[1] else ScaleFrom.WHITE_CELLS, last


def _vote(
    seen_px: float,
    working_px: float,
    scale: float,
    share: float,
    kind: tuple[float, float],
    by: ScaleFrom = ScaleFrom.RED_CELLS,
) -> list[Vote]:
    """Vote for the scale at which what is seen would have its working size; none where nothing is seen."""
    if seen_px <= 0:
        return []
    near = float(np.exp(-((np.log(seen_px / working_px) / _FAR) ** 2) / 2))
    weight, spread = kind
    return [Vote(float(np.log(scale * working_px / seen_px)), weight * share * near, spread, by)]


def _pull(vote: Vote, place: float) -> float:
    """Return how much a vote speaks for a scale."""
    return vote.weight * float(np.exp(-(((vote.scale - place) / vote.spread) ** 2) / 2))


def _support(votes: Sequence[Vote], place: float) -> float:
    """Return how much all votes speak for a scale."""
    return sum(_pull(vote, place) for vote in votes)


def _area(red_px: Float[np.ndarray, " cells"], shares: Float[np.ndarray, "classes rows columns"]) -> float:
    """Return the share of a look that discs of these diameters fill."""
    return float((red_px**2).sum()) * np.pi / 4 / (shares.shape[1] * shares.shape[2])


def _white_cells(
    classes: UInt8[np.ndarray, "rows columns"], shares: Float[np.ndarray, "classes rows columns"]
) -> tuple[float, float]:
    """Return the share of a look that is surely white, and the usual width of what is white, also in clumps."""
    white = (classes == 1) | (classes == 2)
    if not white.any():
        return 0.0, 0.0
    sure = float((2 * (shares[1][white].astype(np.float32) + shares[2][white]) - 1).sum()) / white.size
    return max(sure, 0.0), usual_width(white)
