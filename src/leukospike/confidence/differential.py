"""The differential count: how many of a subject's white cells are of each kind, with the uncertainty of counting."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from leukospike.errors import ConfigError, DataError
from leukospike.evaluation.estimates import NO_INTERVAL, Interval
from leukospike.evaluation.metrics import CONFIDENCE

TARGET = 100
"""Number of cells that laboratories usually count."""


@dataclass(frozen=True)
class KindShare:
    """How many cells are of one kind."""

    kind: str
    count: int
    share: float
    """0 to 1; NaN without any cells."""
    interval: Interval
    """95 % interval of the share; NaN without any cells."""

    @property
    def percentage(self) -> float:
        """The share in percent."""
        return 100 * self.share


@dataclass(frozen=True)
class Differential:
    """A differential count."""

    kinds: tuple[KindShare, ...]
    """In the order asked for, with those that were not found."""
    n_counted: int
    target: int
    """Number of cells that should be counted."""

    @property
    def is_complete(self) -> bool:
        """Whether as many cells were counted as should be."""
        return self.n_counted >= self.target

    def __getitem__(self, kind: str) -> KindShare:
        """Return one kind's.

        Raises
        ------
        KeyError
            If the kind is not among them.
        """
        found = {one.kind: one for one in self.kinds}
        return found[kind]


def differential(kinds: Sequence[str], *, order: Sequence[str], target: int = TARGET) -> Differential:
    """Count cells by kind.

    The interval of each kind is Wilson's [1]_: on average over shares, it contains the true one 95 times in 100, also
    with few cells, and it has a length where no cell or every cell is of the kind. The tables of Rümke [2]_, which
    laboratories use, have the exact limits, which contain it more often and are wider by up to one percentage point at
    100 cells. The interval is about the cells that happened to be counted, of all that were there; mistakes of the
    classifier, and cells that lie unevenly on the slide, add to it. Each kind's holds by itself, not all together.

    Parameters
    ----------
    kinds : sequence of str
        The kind of each cell that is to be counted; leave out those that are no white cells.
    order : sequence of str
        All kinds that can occur, each once.
    target : int
        Number of cells that should be counted, at least 1.

    Returns
    -------
    Differential

    Raises
    ------
    DataError
        If a cell is of a kind that is not in `order`.
    ConfigError
        If `order` is empty or holds a kind twice, or the target is not a whole number of at least 1.

    References
    ----------
    .. [1] Wilson, Journal of the American Statistical Association 22(158):209-212, 1927, doi
       10.1080/01621459.1927.10502953; recommended by Brown, Cai, DasGupta, Statistical Science 16(2):101-133, 2001, doi
       10.1214/ss/1009213286.
    .. [2] Rümke, Imprecision of ratio-derived differential leukocyte counts, Blood Cells 11(2):311-314, 1985.

    Examples
    --------
    >>> found = differential(["lymphocyte"] * 3 + ["monocyte"], order=["monocyte", "lymphocyte", "basophil"])
    >>> [(one.kind, one.count, one.percentage) for one in found.kinds]
    [('monocyte', 1, 25.0), ('lymphocyte', 3, 75.0), ('basophil', 0, 0.0)]
    >>> found.is_complete
    False
    """
    where = "differential"
    if not order or len(set(order)) < len(order):
        msg = "order must name each kind once"
        raise ConfigError(msg, where=where, got=list(order), advice="Pass the kinds that can occur.")
    if not target >= 1 or target % 1:
        msg = "target must be a whole number, at least 1"
        raise ConfigError(msg, where=where, got=target, advice="Omit it to use the usual number.")
    counts = Counter(kinds)
    unknown = sorted(set(counts) - set(order))
    if unknown:
        msg = f"kinds must be among {', '.join(order)}"
        raise DataError(msg, where=where, got=", ".join(unknown), advice="Leave out cells that are not counted.")
    n = len(kinds)
    return Differential(
        kinds=tuple(
            KindShare(kind, counts[kind], counts[kind] / n if n else float("nan"), _wilson(counts[kind], n))
            for kind in order
        ),
        n_counted=n,
        target=target,
    )


def _wilson(count: int, n: int) -> Interval:
    """Return Wilson's interval of the share; NaN without cells."""
    if n == 0:
        return NO_INTERVAL
    z = float(ndtri((1 + CONFIDENCE) / 2))
    share, whole = count / n, 1 + z**2 / n
    middle = (share + z**2 / (2 * n)) / whole
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / whole
    # At the ends the limit is exactly 0 or 1, but for rounding.
    low = 0.0 if count == 0 else float(middle - half)
    high = 1.0 if count == n else float(middle + half)
    return Interval(low, high)
