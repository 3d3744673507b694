"""Training cells, and how often each is sampled."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64, UInt8

from leukospike.errors import DataError


@dataclass(frozen=True)
class LabelledCells:
    """Training cells."""

    crops: UInt8[np.ndarray, "n rows columns 3"]
    """As `network_input.cell_crop` makes them."""
    labels: Int64[np.ndarray, " n"]
    """1 leukemic, 0 normal."""
    subjects: Sequence[str]
    """Subject of each cell; subjects whose images overlap count as one."""

    def require_both_classes(self, where: str) -> None:
        """Raise an error unless both classes are present.

        Raises
        ------
        DataError
            If the cells are of one class.
        """
        if len(np.unique(self.labels)) != 2:
            msg = "labels must include both classes"
            raise DataError(
                msg, where=where, got=f"only {self.labels[:1].tolist()}", advice="Add cells of the missing class."
            )


def drawing_odds(cells: LabelledCells, *, balanced: bool) -> Float[np.ndarray, " n"]:
    """Return the sampling probability of each cell.

    Parameters
    ----------
    cells : LabelledCells
    balanced : bool
        True: both classes equally; within a class, each subject in proportion to the square root of its number of
        cells, a compromise between equal weight for subjects and equal weight for cells.

    Returns
    -------
    ndarray of shape (n,), float64
        Their sum is 1.
    """
    odds = np.ones(len(cells.labels))
    if balanced:
        subjects = np.unique(np.asarray(cells.subjects), return_inverse=True)[1]
        odds /= np.sqrt(np.bincount(subjects)[subjects])
        for label in (0, 1):
            odds[cells.labels == label] /= odds[cells.labels == label].sum()
    return odds / odds.sum()
