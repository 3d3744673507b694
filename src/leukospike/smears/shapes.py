"""Outlines and textures, the geometry of every drawn cell; lengths are in micrometres."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import ndimage

_ANGLES = 1024  # steps of an outline's table; at 10 µm radius one step is 0.06 µm, under a pixel


@dataclass(frozen=True)
class Grid:
    """Pixel centres of a square picture, as offsets from its centre.

    Attributes
    ----------
    rows_um, columns_um : ndarray of shape (rows, columns), float32
        Micrometres downwards and rightwards from the centre.
    px_per_um : float
        Scale, pixels per micrometre.
    """

    rows_um: Float[np.ndarray, "rows columns"]
    columns_um: Float[np.ndarray, "rows columns"]
    px_per_um: float

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.rows_um.shape
        return rows, columns


@dataclass(frozen=True)
class Outline:
    """A closed line around a centre, evaluated at every pixel.

    Attributes
    ----------
    depth_um : ndarray of shape (rows, columns), float32
        Distance to the line, positive inside; exact for a circle, otherwise to first order in the slope.
    fraction : ndarray of shape (rows, columns), float32
        Distance from the centre over the line's radius in that direction: 0 at the centre, 1 on the line.
    """

    depth_um: Float[np.ndarray, "rows columns"]
    fraction: Float[np.ndarray, "rows columns"]


@dataclass(frozen=True, kw_only=True)
class Cleft:
    """A notch in an outline.

    Attributes
    ----------
    angle : float
        Direction from the centre, radians.
    depth : float
        Share of the radius missing at the notch, 0..1.
    width : float
        Standard deviation of the notch's angular profile, radians.
    """

    angle: float
    depth: float
    width: float


def square_grid(half_um: float, px_per_um: float) -> Grid:
    """Return the smallest grid with a pixel at its centre that extends `half_um` to every side."""
    half_px = int(np.ceil(half_um * px_per_um))
    steps = np.arange(-half_px, half_px + 1, dtype=np.float32) / np.float32(px_per_um)
    rows_um, columns_um = np.meshgrid(steps, steps, indexing="ij")
    return Grid(rows_um, columns_um, px_per_um)


def outline(
    grid: Grid,
    radius_um: float,
    *,
    rng: np.random.Generator,
    centre_um: tuple[float, float] = (0.0, 0.0),
    elongation: float = 0.0,
    wobble: float = 0.0,
    clefts: tuple[Cleft, ...] = (),
) -> Outline:
    r"""Draw a closed, nearly circular line.

    In polar coordinates around the centre the line is
    :math:`r(\theta) = r_0 \, (1 + e \cos 2(\theta - \theta_0) + \sum_{k=3}^{8} w_k \cos(k\theta + \varphi_k))`
    with random phases and :math:`w_k` falling as :math:`k^{-3/2}`, minus the clefts. The depth is the radial distance
    divided by :math:`\sqrt{1 + (r'/r)^2}`, so that edges are equally sharp on slopes.

    Parameters
    ----------
    grid : Grid
        Grid to draw on.
    radius_um : float
        Mean radius :math:`r_0`, micrometres.
    rng : numpy.random.Generator
        Random number generator for phases and amplitudes.
    centre_um : tuple of float
        Row and column of the centre, micrometres.
    elongation : float
        :math:`e`; 0 for no long axis.
    wobble : float
        Root mean square of the other harmonics, as a share of the radius; 0 for a circle.
    clefts : tuple of Cleft
        Notches.

    Returns
    -------
    Outline
    """
    theta = np.linspace(0, 2 * np.pi, _ANGLES, endpoint=False)
    k = np.arange(3, 9)
    amplitude = rng.normal(size=k.size) * k**-1.5
    amplitude *= wobble * np.sqrt(2) / np.linalg.norm(amplitude)
    phase = rng.uniform(0, 2 * np.pi, size=k.size + 1)
    relative = 1 + elongation * np.cos(2 * theta + phase[0])
    relative += amplitude @ np.cos(np.outer(k, theta) + phase[1:, None])
    for cleft in clefts:
        turn = np.angle(np.exp(1j * (theta - cleft.angle)))
        relative *= 1 - cleft.depth * np.exp(-0.5 * (turn / cleft.width) ** 2)
    radius = (radius_um * relative).astype(np.float32)
    slope = (np.roll(radius, -1) - np.roll(radius, 1)) / np.float32(4 * np.pi / _ANGLES) / radius
    steepness = np.sqrt(1 + slope**2)

    rows = grid.rows_um - np.float32(centre_um[0])
    columns = grid.columns_um - np.float32(centre_um[1])
    from_centre = np.hypot(rows, columns)
    step = np.rint(np.arctan2(rows, columns) * np.float32(_ANGLES / (2 * np.pi))).astype(np.int32) % _ANGLES
    there = radius[step]
    return Outline((there - from_centre) / steepness[step], from_centre / there)


def coverage(depth_um: Float[np.ndarray, "rows columns"], px_per_um: float) -> Float[np.ndarray, "rows columns"]:
    """Return the share of each pixel inside a line, 0..1: an edge one pixel wide."""
    return np.clip(depth_um * np.float32(px_per_um) + np.float32(0.5), 0, 1)


def segment_depth(
    grid: Grid, start_um: tuple[float, float], end_um: tuple[float, float], half_width_um: float
) -> Float[np.ndarray, "rows columns"]:
    """Return the depth, micrometres, inside a straight band with round ends, the bridge between two nuclear lobes."""
    rows, columns = grid.rows_um - np.float32(start_um[0]), grid.columns_um - np.float32(start_um[1])
    along = np.asarray(end_um, dtype=np.float32) - np.asarray(start_um, dtype=np.float32)
    reached = np.clip((rows * along[0] + columns * along[1]) / np.dot(along, along), 0, 1)
    return np.float32(half_width_um) - np.hypot(rows - reached * along[0], columns - reached * along[1])


def texture(shape: tuple[int, int], scale_px: float, *, rng: np.random.Generator) -> Float[np.ndarray, "rows columns"]:
    r"""Draw smooth noise with mean 0 and standard deviation near 1.

    White noise filtered by a Gaussian of standard deviation :math:`s` pixels has variance
    :math:`1/(4 \pi s^2)`, which is divided out if the Gaussian is wide enough for this to hold.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    scale_px : float
        Standard deviation of the Gaussian, pixels; grains become about four times as wide.
    rng : numpy.random.Generator
        Random number generator for the noise.

    Returns
    -------
    ndarray of shape (rows, columns), float32
    """
    noise = rng.standard_normal(shape, dtype=np.float32)
    smooth = ndimage.gaussian_filter(noise, scale_px, mode="wrap", truncate=2.5)
    return smooth * np.float32(max(1.0, 2 * np.sqrt(np.pi) * scale_px))
