r"""How much an image resembles a stained smear: a logistic regression on measures of its colours and shapes.

With :math:`z_i` the `i`-th measure minus its centre, over its spread on smears, clipped to -3 to 3, the likeness is

.. math:: 1 / (1 + \exp(b + \sum_i u_i z_i + v_i z_i^2))

The squares are needed because a picture can be unusual in both directions: too plain or too restless. Centres, spreads,
`u`, `v` and `b` are in `likeness.json`, which `research.segmentation.fit_quality` computes from real smears of seven
laboratories and from drawn pictures of many kinds.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage
from skimage.filters import threshold_otsu

from leukospike.images.framing import BLACK, CUT_OUT, content_window
from leukospike.segmentation.percentiles import percentile, percentiles
from leukospike.segmentation.sharpness import Edges, but_black, reduced, reduced_usable, step_of

MIN_LIKENESS = 0.5
"""Images with a lower likeness are not a smear."""

FITTED = "likeness.json"
"""Name of the file with the fitted values."""

_SIDE = 192  # longest side of the copy on which all but edges is measured, pixels; averages out camera noise
_PLAIN = 0.04  # largest optical density of an empty place
_MOST = 0.02  # optical density by which green may fall short of the most absorbed colour and still count as such
_LEAST_ABSORBED = 0.001
_FURTHEST = 3.0  # measures are clipped to this many spreads from the centre
_LEAST_PIXELS = 20  # of the copy; fewer show nothing
_NEIGHBOURS = 400  # pixels in a row that are compared with their neighbours


class Measures(NamedTuple):
    """Measures behind the likeness; slopes and spreads are natural logarithms, since they range over decades.

    Absorbance is the optical density relative to the background, the median colour of the pixels brighter in green than
    Otsu's threshold; the other pixels are the cells. An image of a cell cut out on black is all cell, with a white
    background.
    """

    contrast: float
    """Range of green over its brightest, 0-1."""
    density: float
    """Mean absorbance of the cells, logarithm."""
    stain: float
    """Excess of the cells' absorbance in green over red and blue, relative to their absorbance."""
    stained: float
    """Share of the cells' pixels that absorb green most, within 0.02, as with both eosin and azure."""
    stain_spread: float
    """Mean deviation of `stain` from that of a single stain, over the absorbance, logarithm."""
    dark_stain: float
    """As `stain`, in the darkest tenth of the cells: nuclei."""
    dark_red_over_blue: float
    """Excess of the absorbance in red over blue in the darkest tenth, relative to its absorbance.

    It is not measured on all cells, since red cells are pink in one laboratory and grey-blue in another.
    """
    plain: float
    """Share that absorbs nothing: empty glass."""
    outline: float
    """Pixels of the outline of the cells over all pixels."""
    slope: float
    """Mean slope per pixel over the range of green, logarithm."""
    restlessness: float
    """Mean slope over the steepest, logarithm."""
    steepness: float
    """Steepest slope over the range of green, logarithm."""
    grain: float
    """Median slope of the background over the range of green, logarithm."""
    coarseness: float
    """Mean slope after smoothing over the mean slope."""
    equal: float
    """Share of the cells' pixels that equal their neighbour in the image itself; high in a drawing."""
    edge_slope: float
    """`Edges.slope`, logarithm."""
    edge_restlessness: float
    """`Edges.restlessness`, logarithm."""
    flat_dark: float
    """`Edges.flat_dark`."""
    flat_light: float
    """`Edges.flat_light`."""


NEED_BACKGROUND = frozenset(
    (
        "contrast",
        "plain",
        "outline",
        "slope",
        "steepness",
        "grain",
        "coarseness",
        "edge_slope",
        "edge_restlessness",
        "flat_light",
    )
)
"""Measures that say nothing about a cell cut out on black, whose sharpest edge is the cut; they are neutral there."""


@dataclass(frozen=True)
class Likeness:
    """The fitted regression."""

    centre: Float[np.ndarray, " measures"]
    spread: Float[np.ndarray, " measures"]
    linear: Float[np.ndarray, " measures"]
    square: Float[np.ndarray, " measures"]
    intercept: float

    def of(self, measures: Measures, *, cut_out: bool) -> float:
        """Return the likeness to a smear, 0-1.

        Parameters
        ----------
        measures : Measures
        cut_out : bool
            Whether the measures are of a cell cut out on black.

        Returns
        -------
        float
        """
        z = standardised(np.array([measures]), self.centre, self.spread, np.array([cut_out]))[0]
        odds_against = float(self.linear @ z + self.square @ z**2) + self.intercept
        return 1 / (1 + float(np.exp(np.clip(odds_against, -50, 50))))


def standardised(
    measures: Float[np.ndarray, "images measures"],
    centre: Float[np.ndarray, " measures"],
    spread: Float[np.ndarray, " measures"],
    cut_out: Bool[np.ndarray, " images"],
) -> Float[np.ndarray, "images measures"]:
    """Standardise measures to a common scale from -3 to 3, with 0 for usual values and for measures that say nothing.

    Parameters
    ----------
    measures : ndarray of shape (images, measures)
        In the order of `Measures`.
    centre, spread : ndarray of shape (measures,)
    cut_out : ndarray of shape (images,)
        Which images are of a cell cut out on black.

    Returns
    -------
    ndarray of shape (images, measures)
    """
    z = np.clip((measures - centre) / spread, -_FURTHEST, _FURTHEST)
    silent = np.array([name in NEED_BACKGROUND for name in Measures._fields])
    z[cut_out[:, None] & silent] = 0
    return z


@cache
def shipped_likeness() -> Likeness:
    """Load the fitted regression.

    Returns
    -------
    Likeness

    Raises
    ------
    ValueError
        If the file holds other measures.
    """
    fitted = json.loads((resources.files("leukospike.segmentation") / FITTED).read_text(encoding="utf-8"))
    if tuple(fitted["measures"]) != Measures._fields:
        msg = f"shipped_likeness: {FITTED} must hold {', '.join(Measures._fields)}. Fit it again."
        raise ValueError(msg)
    columns = {name: np.array([row[name] for row in fitted["measures"].values()]) for name in fitted["columns"]}
    return Likeness(**columns, intercept=float(fitted["intercept"]))


@dataclass(frozen=True)
class Measured:
    """The measures of one image."""

    measures: Measures
    cut_out: bool
    """Whether the image is a cell cut out on black."""


def likeness_of(found: Measured | None) -> float:
    """Return how much an image resembles a stained smear, by the regression that ships with the package.

    Parameters
    ----------
    found : Measured, or None
        From `measured`.

    Returns
    -------
    float
        0-1; 0 if hardly anything is usable.
    """
    return 0.0 if found is None else shipped_likeness().of(found.measures, cut_out=found.cut_out)


def measured(
    pixels: UInt8[np.ndarray, "rows columns 3"],
    edges: Edges,
    *,
    usable: Bool[np.ndarray, "rows columns"] | None = None,
) -> Measured | None:
    """Measure an image.

    Parameters
    ----------
    pixels : ndarray of shape (rows, columns, 3)
        RGB, uint8, 0-255, preferably corrected to even white light.
    edges : Edges
        From `edges_of`, for the same pixels.
    usable : ndarray of shape (rows, columns), optional
        Where the slide is visible; everywhere by default.

    Returns
    -------
    Measured, or None
        None if hardly anything is usable.
    """
    cut_out = usable is None and _lit_share(pixels) < 1 - CUT_OUT
    if cut_out:
        pixels = np.ascontiguousarray(pixels[content_window(pixels)])
        if min(pixels.shape[:2]) < 2:
            return None
    step = step_of(pixels, _SIDE)
    copy = reduced(pixels, step)
    if cut_out:
        inside = _but_rim(_is_lit(copy))
    else:
        inside = np.ones(copy.shape[:2], dtype=bool) if usable is None else reduced_usable(usable, step)
    if np.count_nonzero(inside) < _LEAST_PIXELS:
        return None
    red, green, blue = np.ascontiguousarray(copy.transpose(2, 0, 1)).astype(np.float32)
    low, high = percentiles(green[inside], (1, 99))
    threshold = float(threshold_otsu(copy[:, :, 1][inside])) if low < high else low
    dark = inside & (green <= threshold)
    light = inside & ~dark
    contrast = max(high - low, 1.0)
    cells = inside if cut_out else dark
    background = (
        (255.0, 255.0, 255.0)
        if cut_out or not light.any()
        else tuple(max(float(np.median(band[light])), 1.0) for band in (red, green, blue))
    )
    absorbed = [-np.log10(np.maximum(band, 1) / of) for band, of in zip((red, green, blue), background, strict=True)]
    colour = _colour(*(band[cells] for band in absorbed))
    plain = np.maximum(np.maximum(abs(absorbed[0]), abs(absorbed[1])), abs(absorbed[2])) < _PLAIN
    crossings = [
        np.count_nonzero((dark[1:] != dark[:-1]) & inside[1:] & inside[:-1]),
        np.count_nonzero((dark[:, 1:] != dark[:, :-1]) & inside[:, 1:] & inside[:, :-1]),
    ]
    whole = inside[:-1, :-1] & inside[1:, :-1] & inside[:-1, 1:]
    here = green[:-1, :-1]
    down, along = green[1:, :-1] - here, green[:-1, 1:] - here
    slope = np.sqrt(down * down + along * along)
    mean = float(slope[whole].mean()) if whole.any() else 0.0
    steepest = max(float(percentile(slope[whole], 99)), 1e-3) if whole.any() else 1e-3
    grain = coarseness = 0.0
    if not cut_out:  # where they say nothing; they take as long as a third of the others (measured)
        background_slope = slope[whole & light[:-1, :-1]]
        grain = float(np.median(background_slope)) / contrast if background_slope.size else 0.0
        coarseness = _smoothed_slope(green, inside) / max(mean, 1e-6)
    measures = Measures(
        contrast=contrast / max(high, 1.0),
        **colour,
        plain=float(plain[inside].mean()),
        outline=float(sum(crossings)) / np.count_nonzero(inside),
        slope=_log(mean / contrast),
        restlessness=_log(mean / steepest),
        steepness=_log(steepest / contrast),
        grain=_log(grain),
        coarseness=coarseness,
        equal=_equal(pixels[:, :, 1], threshold),
        edge_slope=_log(edges.slope),
        edge_restlessness=_log(edges.restlessness),
        flat_dark=edges.flat_dark,
        flat_light=edges.flat_light,
    )
    return Measured(measures, cut_out)


def _lit_share(pixels: UInt8[np.ndarray, "rows columns 3"]) -> float:
    """Return the share of the copy's pixels that are not black."""
    step = step_of(pixels, _SIDE)
    n_lit = int(np.count_nonzero(_is_lit(reduced(but_black(pixels, step), step))))
    return n_lit / (-(-pixels.shape[0] // step) * -(-pixels.shape[1] // step))


def _but_rim(region: Bool[np.ndarray, "rows columns"]) -> Bool[np.ndarray, "rows columns"]:
    """Return the pixels of a region that have no other pixel around them; beyond the image is none."""
    inner = region.copy()
    inner[1:] &= region[:-1]
    inner[:-1] &= region[1:]
    kept = inner.copy()
    kept[:, 1:] &= inner[:, :-1]
    kept[:, :-1] &= inner[:, 1:]
    return kept


def _is_lit(pixels: UInt8[np.ndarray, "rows columns 3"]) -> Bool[np.ndarray, "rows columns"]:
    """Return which pixels are not black."""
    # A tenth of the time of a maximum along the last axis (measured).
    return np.maximum(np.maximum(pixels[:, :, 0], pixels[:, :, 1]), pixels[:, :, 2]) > BLACK


def _log(value: float) -> float:
    """Return the natural logarithm of a value that may be 0."""
    return float(np.log(value + 1e-3))


def _colour(
    red: Float[np.ndarray, " cells"], green: Float[np.ndarray, " cells"], blue: Float[np.ndarray, " cells"]
) -> dict[str, float]:
    """Measure the colours of absorbance."""
    absorbed = (red + green + blue) / 3
    mean = max(float(absorbed.mean()), _LEAST_ABSORBED)
    stain = green - (red + blue) / 2
    of_one_stain = float(stain.mean()) / mean * absorbed
    darkest = absorbed >= percentile(absorbed, 90)
    of_dark = max(float(absorbed[darkest].mean()), _LEAST_ABSORBED)
    return {
        "density": float(np.log(mean)),
        "stain": float(stain.mean()) / mean,
        "stained": float(np.mean(green >= np.maximum(red, blue) - _MOST)),
        "stain_spread": float(np.log(np.abs(stain - of_one_stain).mean() / mean + 0.01)),
        "dark_stain": float(stain[darkest].mean()) / of_dark,
        "dark_red_over_blue": float((red - blue)[darkest].mean()) / of_dark,
    }


def _smoothed_slope(green: Float[np.ndarray, "height width"], inside: Bool[np.ndarray, "height width"]) -> float:
    """Return the mean slope per pixel, down and along, of the usable part after smoothing over five pixels."""
    smooth = ndimage.uniform_filter(green, 5)[::2, ::2]
    kept = inside[::2, ::2]
    slopes = [abs(np.diff(smooth, axis=0))[kept[1:]], abs(np.diff(smooth, axis=1))[kept[:, 1:]]]
    return sum(float(one.mean()) / 2 for one in slopes if one.size)


def _equal(green: UInt8[np.ndarray, "rows columns"], threshold: float) -> float:
    """Return the share of the cells' pixels that equal their left neighbour, in sampled rows; 1 if there are none."""
    rows = green[:: max(1, len(green) // _NEIGHBOURS * 2)]
    ours = (rows[:, 1:] <= threshold) & (rows[:, 1:] > BLACK)
    n_ours = np.count_nonzero(ours)
    return float(np.count_nonzero(ours & (rows[:, 1:] == rows[:, :-1]))) / n_ours if n_ours else 1.0
