"""Adjustment of cells of another laboratory to the size and stain of the training cells, for all cells of one source.

What a laboratory's camera, lens and dyes do, they do to all its cells. What makes a blast, makes it larger and bluer
than its neighbours. So the cells of a source are moved together: their median diameter and their mean colours become
those of the training cells, and what sets one cell apart from the others of its source stays.

The mean size of cells depends on the share of blasts, which is unknown beforehand. So they are moved once for each of
`SHARES`, and what is said of them is said over all of these.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from scipy.ndimage import binary_erosion

from leukospike.classification.network_input import CROP_PX, SEEN, seen
from leukospike.confidence.stored import read_number

MOST_DENSITY = 5.6
"""Optical density of black, natural logarithm, and a little over."""

SHARES = (0.0, 0.5, 1.0)
"""Shares of blasts among a source's cells that are thought of, one as likely as another."""

_LARGEST_ZOOM = 2.0
_RIM_PX = 2  # where cells end differently, cut out by one program or another
_LEAST_VARIANCE = 1e-4


@dataclass(frozen=True)
class SourceLook:
    """How the cells of a source look together."""

    diameter: float
    """Median diameter of the disc as large as a cell; pixels of the crop."""
    mean: tuple[float, float, float]
    """Optical density of red, green and blue, natural logarithm: mean of the cells' means."""
    covariance: tuple[tuple[float, float, float], ...]
    """Mean of the covariances within cells, three rows."""


@dataclass(frozen=True)
class Reference:
    """How the training cells look, each class by itself."""

    normal: SourceLook
    leukemic: SourceLook

    def look(self, share: float) -> SourceLook:
        """Return how training cells look of which a share, 0 to 1, is leukemic; its diameter is between the medians."""

        def between(normal: Any, leukemic: Any) -> list[Any]:  # noqa: ANN401 - a number, three, or three rows
            return ((1 - share) * np.array(normal) + share * np.array(leukemic)).tolist()

        normal, leukemic = self.normal, self.leukemic
        red, green, blue = between(normal.mean, leukemic.mean)
        first, second, third = (tuple(row) for row in between(normal.covariance, leukemic.covariance))
        diameter = (1 - share) * normal.diameter + share * leukemic.diameter
        return SourceLook(diameter, (red, green, blue), (first, second, third))

    def stored(self) -> dict[str, object]:
        """Return the numbers for the header of a weights file."""
        return asdict(self)

    @classmethod
    def from_stored(cls, where: str, stored: Mapping[str, Any]) -> "Reference":
        """Read what `stored` gave.

        Raises
        ------
        WeightsError
            If a number is missing or impossible.
        ValueError
            If a covariance is none.
        """
        return cls(_read_look(where, stored["normal"]), _read_look(where, stored["leukemic"]))


def reference_of(crops: UInt8[np.ndarray, "n rows columns 3"], labels: Int64[np.ndarray, " n"]) -> Reference:
    """Measure the look of training cells.

    Parameters
    ----------
    crops : ndarray of shape (n, rows, columns, 3), uint8
    labels : ndarray of shape (n,), int64
        1 leukemic, 0 normal; of both there are cells.

    Returns
    -------
    Reference
    """
    return Reference(look_of(crops[labels == 0]), look_of(crops[labels == 1]))


@dataclass(frozen=True)
class CropLook:
    """How one cell looks."""

    diameter: float
    """Of the disc as large as the cell; pixels of the crop."""
    mean: Float[np.ndarray, "3"]
    """Optical density of red, green and blue, natural logarithm: the mean inside the cell, off its rim."""
    covariance: Float[np.ndarray, "3 3"] | None
    """Of the densities; None of a cell that is nothing but rim, whose `mean` is then of all its pixels."""
    n_pixels: int
    """That `mean` is of; 0 if there are none."""


def look_of_crop(crop: UInt8[np.ndarray, "rows columns 3"]) -> CropLook:
    """Measure the look of one cell.

    Parameters
    ----------
    crop : ndarray of shape (rows, columns, 3), uint8
        Black around a cell.

    Returns
    -------
    CropLook
    """
    inside = seen(crop)
    inner = np.asarray(binary_erosion(inside, iterations=_RIM_PX), dtype=bool)
    if np.count_nonzero(inner) > 1:
        densities = _density(crop[inner])
        return CropLook(diameter_of(crop), densities.mean(axis=0), np.cov(densities.T), len(densities))
    densities = _density(crop[inside])
    mean = densities.mean(axis=0) if len(densities) else np.zeros(3)
    return CropLook(diameter_of(crop), mean, None, len(densities))


def common_look(looks: Sequence[CropLook]) -> SourceLook:
    """Put the looks of a source's cells together.

    Parameters
    ----------
    looks : sequence of CropLook
        At least one, of which at least one has a pixel.

    Returns
    -------
    SourceLook
        Of the cells that are more than rim; if all of them are rim, as thin rings are, their colours are of all pixels,
        and do not spread.
    """
    whole = [look for look in looks if look.covariance is not None]
    if whole:
        mean = np.mean([look.mean for look in whole], axis=0)
        covariance = np.mean([look.covariance for look in whole if look.covariance is not None], axis=0)
    else:
        mean = np.average([look.mean for look in looks], axis=0, weights=[look.n_pixels for look in looks])
        covariance = np.zeros((3, 3))
    red, green, blue = mean.tolist()
    rows = tuple((first, second, third) for first, second, third in covariance.tolist())
    return SourceLook(float(np.median([look.diameter for look in whole or looks])), (red, green, blue), rows)


def look_of(crops: UInt8[np.ndarray, "n rows columns 3"]) -> SourceLook:
    """Measure the look of a source's cells.

    Parameters
    ----------
    crops : ndarray of shape (n, rows, columns, 3), uint8
        At one scale, black around the cell; at least one with a cell.

    Returns
    -------
    SourceLook
    """
    return common_look([look_of_crop(crop) for crop in crops])


def _read_look(where: str, stored: Mapping[str, Any]) -> SourceLook:
    """Read one look from a header."""
    covariance = tuple(_three(where, row, MOST_DENSITY**2) for row in stored["covariance"])
    rows = np.array(covariance)
    if rows.shape != (3, 3) or not np.allclose(rows, rows.T) or min(np.linalg.eigvalsh(rows)) <= 0:
        msg = f"a covariance of {covariance}"
        raise ValueError(msg)
    diameter = read_number(where, stored, "diameter", 1, CROP_PX)
    return SourceLook(diameter, _three(where, stored["mean"], MOST_DENSITY), covariance)


def _three(where: str, values: Sequence[Any], high: float) -> tuple[float, float, float]:
    """Read three numbers, one a colour."""
    red, green, blue = (read_number(where, {"look": value}, "look", -high, high) for value in values)
    return red, green, blue


def diameter_of(crop: UInt8[np.ndarray, "rows columns 3"]) -> float:
    """Return the diameter of the disc as large as the cell, pixels of the crop."""
    return 2 * math.sqrt(np.count_nonzero(seen(crop)) / math.pi)


def brought(
    crops: UInt8[np.ndarray, "n rows columns 3"], diameters: Float[np.ndarray, " n"], look: SourceLook
) -> UInt8[np.ndarray, "n rows columns 3"]:
    """Bring the cells of a source to the size and the colours of another.

    Parameters
    ----------
    crops : ndarray of shape (n, rows, columns, 3), uint8
        Each shows a cell, at any scale.
    diameters : ndarray of shape (n,)
        Of the cells, in those of their median cell.
    look : SourceLook
        Target look of the cells together.

    Returns
    -------
    ndarray of the same shape as `crops`, uint8
    """
    sized = [
        zoomed(crop, look.diameter * diameter / diameter_of(crop))
        for crop, diameter in zip(crops, diameters, strict=True)
    ]
    return matched(np.stack(sized), look_of(np.stack(sized)), look)


def matched(
    crops: UInt8[np.ndarray, "n rows columns 3"], look: SourceLook, reference: SourceLook
) -> UInt8[np.ndarray, "n rows columns 3"]:
    """Move the cells of a source to another look.

    The linear map of densities that gives the mean and covariance of the other look and moves colours least [1]_.

    Parameters
    ----------
    crops : ndarray of shape (n, rows, columns, 3), uint8
    look : SourceLook
        Of these, or of the source they are from.
    reference : SourceLook
        Of the training cells.

    Returns
    -------
    ndarray of the same shape, uint8
        Inside the cell at least 5 in the brightest colour, so that black means outside and nothing else.

    References
    ----------
    .. [1] Pitie, Kokaram, The linear Monge-Kantorovitch linear colour mapping for example-based colour transfer, CVMP
       2007, doi 10.1049/cp:20070055, equation 5.
    """
    from_covariance = np.array(look.covariance) + _LEAST_VARIANCE * np.eye(3)
    root = _root(from_covariance)
    back = np.linalg.inv(root)
    mapping = back @ _root(root @ np.array(reference.covariance) @ root) @ back
    moved = np.empty_like(crops)
    for place, crop in enumerate(crops):
        inside = seen(crop)
        densities = (_density(crop[inside]) - np.array(look.mean)) @ mapping + np.array(reference.mean)
        values = np.clip(256 * np.exp(-densities) - 1, SEEN, 255)
        moved[place] = 0
        moved[place][inside] = np.floor(values + 0.5)
    return moved


def zoomed(crop: UInt8[np.ndarray, "rows columns 3"], factor: float) -> UInt8[np.ndarray, "rows columns 3"]:
    """Scale a crop about its middle; what lies outside afterwards is lost, and black comes in."""
    factor = min(max(factor, 1 / _LARGEST_ZOOM), _LARGEST_ZOOM)
    shift = (1 - 1 / factor) * crop.shape[0] / 2
    affine = (1 / factor, 0.0, shift, 0.0, 1 / factor, shift)
    size = (crop.shape[1], crop.shape[0])
    image = Image.fromarray(crop)
    scaled = image.transform(size, Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)
    inside = Image.fromarray(seen(crop).astype(np.uint8) * 255)
    shown = np.asarray(inside.transform(size, Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)) >= 128
    return np.where(shown[:, :, None], np.maximum(np.asarray(scaled), SEEN), 0).astype(np.uint8)


def _root(matrix: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    """Return the symmetric square root of a covariance."""
    variances, axes = np.linalg.eigh(matrix)
    return (axes * np.sqrt(variances.clip(0))) @ axes.T


def _density(values: UInt8[np.ndarray, "pixels 3"]) -> Float[np.ndarray, "pixels 3"]:
    """Return the optical density, natural logarithm."""
    return -np.log((values.astype(np.float64) + 1) / 256)
