"""Morphological measures, compared with the lymphoblasts and the normal precursors of C-NMC."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float

from leukospike.classification.appearance import APPEARANCES, COARSE, SHAPES, SPREADS
from leukospike.classification.network_input import REDUCTION
from leukospike.errors import DataError, WeightsError

MEASURES = {
    "diameter_px": "diameter of the disc of equal area, in pixels at the scale of C-NMC",
    "nc_ratio": "ratio of nucleus area to cell area",
    "circularity": "circularity of the cell, 1 for a disc",
    "axis_ratio": "ratio of short to long axis",
    "density": "mean optical density, log10",
    "contrast": "standard deviation of the optical density within the cell, log10",
    "clumping": "standard deviation at the scale of a tenth of the cell's diameter, log10",
}
"""Descriptions of the measures."""

LEVELS = (0, 0.01, 0.02, *(share / 20 for share in range(1, 20)), 0.98, 0.99, 1)
"""Shares of the cells of a class that its quantiles are at or above: twentieths, and closer at the ends, where values
lie far apart."""

COMPARABLE = ("nc_ratio", "circularity", "axis_ratio")
"""Measures that depend on neither scale nor stain: those by which any cell can be compared with C-NMC's."""

_FROM_SEGMENTER = ("nc_ratio", "circularity")  # these depend on neither scale nor stain
_FIRST_COLOUR = len(SHAPES)
_MEAN = SPREADS.index("mean")
_CLUMPS = slice(APPEARANCES - 9 * (len(COARSE) - 1), APPEARANCES - 9 * (len(COARSE) - 1) + 3)  # of red, green, blue
_DIGITS = 6


@dataclass(frozen=True)
class Place:
    """One value, compared with C-NMC's cells."""

    measure: str
    value: float
    precursors: float
    """Share of the normal precursors that it is larger than, 0 to 1, read between `LEVELS`."""
    lymphoblasts: float
    """The same of the lymphoblasts."""

    @property
    def words(self) -> str:
        """Describe the place in words."""
        return (
            f"larger than {_share(self.lymphoblasts)} of the lymphoblasts and {_share(self.precursors)} of the normal"
            " precursors of C-NMC"
        )


@dataclass(frozen=True)
class MorphologyReference:
    """Quantiles of each measure in each class."""

    precursors: dict[str, tuple[float, ...]]
    """By measure, one at each of `LEVELS`."""
    lymphoblasts: dict[str, tuple[float, ...]]

    @classmethod
    def fit(cls, measured: Sequence[Mapping[str, float]], labels: Sequence[int]) -> "MorphologyReference":
        """Compute the quantiles over the training cells.

        Parameters
        ----------
        measured : sequence of mapping of str to float
            Of `morphology`; a measure that a cell lacks does not count there.
        labels : sequence of int
            1 lymphoblast, 0 normal precursor.

        Returns
        -------
        MorphologyReference
            With the measures present in both classes.

        Raises
        ------
        DataError
            If there is no such measure, or labels are more or fewer than cells.
        """
        if len(measured) != len(labels):
            msg = "there must be one label per cell"
            raise DataError(
                msg,
                where="MorphologyReference",
                got=f"{len(labels)} for {len(measured)}",
                advice="Pass one label per cell.",
            )
        classes: list[dict[str, tuple[float, ...]]] = [{}, {}]
        for name in MEASURES:
            for label in (0, 1):
                own = [cell[name] for cell, its in zip(measured, labels, strict=True) if its == label and name in cell]
                if own:
                    classes[label][name] = tuple(round(value, _DIGITS) for value in np.quantile(own, LEVELS).tolist())
        common = [name for name in MEASURES if name in classes[0] and name in classes[1]]
        if not common:
            msg = "cells must include both classes"
            raise DataError(
                msg,
                where="MorphologyReference",
                got=f"{len(labels)} of at most one class",
                advice="Add cells of the missing class.",
            )
        precursors, lymphoblasts = ({name: quantiles[name] for name in common} for quantiles in classes)
        return cls(precursors, lymphoblasts)

    def places(self, measured: Mapping[str, float]) -> list[Place]:
        """Compare the measures of a cell with the reference; missing ones are left out."""
        return [
            Place(name, value, *(_share_below(value, each[name]) for each in (self.precursors, self.lymphoblasts)))
            for name, value in measured.items()
            if name in self.precursors
        ]

    def to_json(self) -> str:
        """Return it as JSON text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "MorphologyReference":
        """Read the output of `to_json`.

        Raises
        ------
        WeightsError
            If it is something else.
        """
        try:
            told = json.loads(text)
            precursors, lymphoblasts = (
                {str(name): tuple(float(value) for value in values) for name, values in told[key].items()}
                for key in ("precursors", "lymphoblasts")
            )
            rows = [*precursors.values(), *lymphoblasts.values()]
            if precursors.keys() != lymphoblasts.keys() or any(
                len(row) != len(LEVELS) or sorted(row) != list(row) for row in rows
            ):
                msg = "not quantiles"
                raise ValueError(msg)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            msg = "text must be the output of to_json"
            raise WeightsError(
                msg, where="MorphologyReference", got=f"something else ({error})", advice="Create it again."
            ) from error
        return cls(precursors, lymphoblasts)


def morphology(appearance: Float[np.ndarray, " appearances"], segmented: Mapping[str, float]) -> dict[str, float]:
    """Return the common morphological measures, from the input of the networks and the segmentation.

    Parameters
    ----------
    appearance : ndarray of shape (appearances,), float32
        Of `appearance_of`: of a crop, in which all cells have one scale and one stain.
    segmented : mapping of str to float
        The cell's row of `CELL_COLUMNS`, or as much of it as there is; taken are the ratios, which depend on neither.

    Returns
    -------
    dict of str to float
        In the order of `MEASURES`; missing measures are left out, all of them without a cell.
    """
    if not appearance.any():
        return {}
    spread = _FIRST_COLOUR + len(SPREADS)
    found = {name: float(segmented[name]) for name in _FROM_SEGMENTER if name in segmented}
    found |= {
        "diameter_px": float(appearance[SHAPES.index("diameter")]) * REDUCTION,
        "axis_ratio": float(appearance[SHAPES.index("axis_ratio")]),
        "density": float(appearance[_FIRST_COLOUR + _MEAN]) / math.log(10),
        "contrast": float(appearance[spread + _MEAN]) / math.log(10),
        "clumping": float(appearance[_CLUMPS].mean()) / math.log(10),
    }
    return {name: round(found[name], _DIGITS) for name in MEASURES if math.isfinite(found.get(name, math.nan))}


def _share_below(value: float, quantiles: Sequence[float]) -> float:
    """Read the share of cells below a value between the quantiles; among equal ones, half of those count."""
    first, after = (int(np.searchsorted(quantiles, value, side)) for side in ("left", "right"))
    if first < after:
        return (LEVELS[first] + LEVELS[after - 1]) / 2
    return float(np.interp(value, quantiles[max(first - 1, 0) : first + 1], LEVELS[max(first - 1, 0) : first + 1]))


def _share(share: float) -> str:
    """Format a share in whole percent; "all" or "none" beyond all training cells."""
    if share in {0, 1}:
        return "all" if share else "none"
    return f"{min(max(round(100 * share), 1), 99)} %"
