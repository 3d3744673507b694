"""Quality flags of an image, with the measured values and advice.

Cells are segmented whatever the flags say, except in a blank image, which has none. Whether an image is a smear at all
is decided by the fitted `likeness`. Each threshold here lies between the values measured on real smears (BCCD, Tecom,
CellaVision, PBC, Raabin, Chula and C-NMC's cells on black, also a quarter brighter or darker, at gamma 0.7 to 1.4, with
the hue turned by 10 degrees, slightly blurred, and at half and double size) and those on the same images degraded.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Bool, UInt8
from scipy import ndimage
from skimage.filters import threshold_otsu

from leukospike.images.framing import BLACK, CUT_OUT
from leukospike.segmentation.instances import NUCLEUS, ClassMap, connected, window_of
from leukospike.segmentation.likeness import MIN_LIKENESS, likeness_of, measured
from leukospike.segmentation.percentiles import percentiles
from leukospike.segmentation.sharpness import Edges, but_black, edges_of, reduced, reduced_usable, step_of

_SIDE = 256  # longest side of the copy on which colours are measured, pixels
_SPOT = 5  # side of the smallest spot that a cell could be, pixels of the copy
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)

MIN_CONTRAST = 0.1
"""Lower contrast means blank: no cell is so faint. Real smears: 0.22 and more; an empty, unevenly lit field: 0.09."""
MIN_LIGHT, MIN_LIGHT_CUT_OUT = 60.0, 20.0
"""Lower values mean underexposed, grey levels. Real smears: 124 and 45 or more, a quarter darker 93 and 34."""
MAX_DARKEST, WHITE = 200.0, 235.0
"""Overexposed: darkest value above the first in light above the second, grey levels, so that even nuclei would be
nearly white. Real smears in that much light: up to 153, a quarter brighter 189."""
MAX_DARKEST_CLIPPED, MAX_CLIPPED = 125.0, 0.5
"""Also overexposed: darkest value above the first with more than the second share clipped, so that even nuclei are
pale. Real smears: 111."""
DARK_BACKGROUND, MIN_BACKGROUND, MAX_GREEN = 0.35, 0.5, 0.05
"""Inverted: a background darker than the first, or darker than the second with more green than the third, in an image
whose negative looks like a smear. Real smears: 0.41 and more, and their negatives do not look like smears. Inverted: up
to 0.49, and 0.07 or more green where above 0.35."""
MIN_COLOUR = 10.0
"""Lower values mean grey and not a smear, grey levels. Real smears: 23 and more."""
MIN_STAINED = 0.3
"""A cell cut out on black with a lower value is not a cell. Real cells: 1. A photograph of a retina: 0.02."""
MAX_RESTLESSNESS = 0.37
"""Higher values, unless caused by blur, mean noise and not a smear. Real smears: up to 0.36, all but Chula's up to
0.26; noise: median 0.38."""
MAX_ONE_WAY = 0.27
"""Higher values mean out of focus: motion blur, or stripes. Real smears: up to 0.23; moved by a fourteenth of a field's
width: median 0.31."""
MIN_RED_OVER_BLUE, CLIPPED = -0.5, 253
"""Values below the first mean not a smear, but swapped red and blue. Real smears: -0.45 and more, but -0.65 where the
red of the light is clipped; from the second value on nothing can be concluded. Swapped: median -1.20 in BCCD, -0.62 in
PBC, -0.18 in Tecom."""
MAX_EDGE_OF_CELL, MAX_RESTLESS_EDGE = 0.2, 0.04
"""Higher values of either mean out of focus; the second is for the width times the restlessness. Blur widens edges and
leaves nothing plain between them. Blurred by 12 of BCCD's pixels: median 0.23 and 0.058; by 7: 0.17 and 0.042, like the
worst of 977 real images."""
MIN_CELL = 0.055
"""If the largest component is below this share of the longest side, it is a speck and does not show the scale."""
MAX_EDGE_OF_IMAGE = 0.12
"""Higher values mean out of focus if no cell shows the scale. Real smears: up to 0.08."""


class Quality(StrEnum):
    """Possible problems with an image."""

    BLANK = "blank"
    INVERTED = "inverted"
    OVEREXPOSED = "overexposed"
    UNDEREXPOSED = "underexposed"
    OUT_OF_FOCUS = "out_of_focus"
    NOT_A_SMEAR = "not_a_smear"


@dataclass(frozen=True)
class Advice:
    """One possible problem with an image, and the measurement behind it.

    Examples
    --------
    >>> print(Advice(Quality.OUT_OF_FOCUS, "edge width of a cell", 0.2413, 0.2))
    out_of_focus (edge width of a cell 0.241, at most 0.2)
    """

    quality: Quality
    measure: str
    """Name of the measure."""
    value: float
    limit: float
    """Limit of the value."""

    def __str__(self) -> str:
        """Format the advice for one cell of a table."""
        if np.isinf(self.value):
            return f"{self.quality} ({self.measure}: there is no edge)"
        bound = "at most" if self.value > self.limit else "at least"
        return f"{self.quality} ({self.measure} {self.value:.3g}, {bound} {self.limit:g})"


@dataclass(frozen=True)
class Appearance:
    """Measures of exposure, taken on a small copy of an image."""

    contrast: float
    """How much darker the darkest spot that could be a cell is than the brightest, 0-1."""
    darkest: float
    """1st percentile of luma, 0-255."""
    brightest: float
    """99th percentile of luma, 0-255."""
    background: float
    """Position of the median luma between the two, 0-1: near 1 if most of the image is bright, as on a smear."""
    cut_out: bool
    """Whether a fifth or more of the image is black, as around a cell segmented by a program."""
    white: float
    """Share of pixels in which each channel is 250 or more."""
    green: float
    """Share of pixels in which green exceeds red and blue by more than 6."""
    colour: float
    """99th percentile of the range over red, green and blue, 0-255."""
    background_colour: tuple[float, ...]
    """Red, green and blue, 0-255: the median of the pixels brighter in green than Otsu's threshold, or white around a
    cut-out cell."""

    @property
    def has_dark_background(self) -> bool:
        """Whether the background is dark and cells bright, as in a negative, and not black around a cut-out cell."""
        is_dark = self.background < MIN_BACKGROUND and self.green > MAX_GREEN
        return not self.cut_out and (is_dark or self.background < DARK_BACKGROUND)


def quality_of(
    pixels: UInt8[np.ndarray, "rows columns 3"],
    class_map: UInt8[np.ndarray, "rows columns"] | None = None,
    *,
    usable: Bool[np.ndarray, "rows columns"] | None = None,
    light: tuple[float, float, float] | None = None,
) -> tuple[Advice, ...]:
    """List the possible problems of an image; empty for a good one.

    Parameters
    ----------
    pixels : ndarray of shape (rows, columns, 3)
        RGB, uint8, 0-255, preferably corrected to even white light.
    class_map : ndarray of shape (rows, columns), optional
        uint8: 0 rest, 1 cytoplasm, 2 nucleus. Edges are compared with the size of the largest cell in it; without it,
        or if it shows only a speck, with the size of the image, which only reveals severe blur. The colour of its
        nuclei shows whether red and blue are swapped.
    usable : ndarray of shape (rows, columns), optional
        Where the slide is visible; the rest is ignored. Everywhere by default.
    light : tuple of three float, optional
        Red, green and blue of the light before correction, 0-255, by which exposure is judged. By default the pixels
        are assumed to be uncorrected, and exposure is judged by the brightest of them.

    Returns
    -------
    tuple of Advice
        In the order of `Quality`, at most one of each; blank stands alone, as nothing else can be measured.
    """
    if usable is not None and usable.all():
        usable = None
    seen = appearance_of(pixels, usable=usable)
    if seen.contrast < MIN_CONTRAST:
        return (Advice(Quality.BLANK, "contrast", seen.contrast, MIN_CONTRAST),)
    edges = edges_of(pixels, usable=usable)
    cell_px = 0.0 if class_map is None else _largest_diameter_px(class_map)
    found = {
        advice.quality: advice
        for advice in (
            _strangeness(pixels, class_map, seen, edges, usable, seen.background_colour if light is None else light),
            _exposure(seen, light),
            _blur(edges, max(pixels.shape[:2]), cell_px),
        )
        if advice is not None
    }
    return tuple(found[quality] for quality in Quality if quality in found)


def appearance_of(
    pixels: UInt8[np.ndarray, "rows columns 3"], *, usable: Bool[np.ndarray, "rows columns"] | None = None
) -> Appearance:
    """Measure light and exposure on a copy of at most 256 pixels a side.

    Parameters
    ----------
    pixels : ndarray of shape (rows, columns, 3)
        RGB, uint8, 0-255.
    usable : ndarray of shape (rows, columns), optional
        Part of the image to measure; all of it by default.

    Returns
    -------
    Appearance
        With contrast 0 if nothing is usable.
    """
    step = step_of(pixels, _SIDE)
    copy = reduced(but_black(pixels, step) if usable is None else pixels, step)
    n_pixels = -(-pixels.shape[0] // step) * -(-pixels.shape[1] // step)
    n_black = n_pixels - copy.shape[0] * copy.shape[1]
    small = copy.astype(np.float32)
    # Plane by plane: in NumPy a maximum over three adjacent values takes thirty times as long (measured).
    red, green, blue = np.ascontiguousarray(small.transpose(2, 0, 1))
    # Not a matrix product: NumPy splits one of this size over threads, which then wait for those of other images.
    luma = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
    spots = ndimage.uniform_filter(luma, _SPOT)
    if usable is not None:
        inside = reduced_usable(usable, step)
        whole_spots = np.asarray(ndimage.minimum_filter(inside, _SPOT), dtype=bool)
        if not whole_spots.any():
            return _NOTHING_SEEN
        spots = spots[whole_spots]
        red, green, blue, luma = red[inside], green[inside], blue[inside], luma[inside]
        n_pixels = luma.size
    darkest, middle, brightest = percentiles(luma, (1, 50, 99), n_zeros=n_black)
    faintest = 0.0 if n_black else float(spots.min())
    [brightest_spot] = percentiles(spots, (99,), n_zeros=n_black)
    lower, higher = np.minimum(red, blue), np.maximum(red, blue)
    largest, smallest = np.maximum(higher, green), np.minimum(lower, green)
    black = largest <= BLACK
    [colour] = percentiles(largest - smallest, (99,), n_zeros=n_black)
    cut_out = (int(np.count_nonzero(black)) + n_black) / n_pixels > CUT_OUT
    background = (255.0, 255.0, 255.0)
    if not cut_out and green.min() < green.max():
        is_light = green > threshold_otsu(green)
        background = tuple(max(float(np.median(band[is_light])), 1.0) for band in (red, green, blue))
    return Appearance(
        contrast=(brightest_spot - faintest) / max(brightest_spot, 1.0),
        darkest=darkest,
        brightest=brightest,
        background=(middle - darkest) / max(brightest - darkest, 1.0),
        cut_out=cut_out,
        white=int(np.count_nonzero(smallest >= 250)) / n_pixels,
        green=int(np.count_nonzero(green > higher + 6)) / n_pixels,
        colour=colour,
        background_colour=background,
    )


_NOTHING_SEEN = Appearance(
    contrast=0.0,
    darkest=0.0,
    brightest=0.0,
    background=0.0,
    cut_out=False,
    white=0.0,
    green=0.0,
    colour=0.0,
    background_colour=(255.0, 255.0, 255.0),
)


def _strangeness(
    pixels: UInt8[np.ndarray, "rows columns 3"],
    class_map: ClassMap | None,
    seen: Appearance,
    edges: Edges,
    usable: Bool[np.ndarray, "rows columns"] | None,
    light: tuple[float, ...],
) -> Advice | None:
    """Return advice if an image does not look like a smear, or looks like the negative of one."""
    found = measured(pixels, edges, usable=usable)
    likeness = likeness_of(found)
    if seen.has_dark_background:
        negative = 255 - pixels
        of_negative = likeness_of(measured(negative, edges_of(negative, usable=usable), usable=usable))
        if of_negative >= max(likeness, MIN_LIKENESS):
            limit = DARK_BACKGROUND if seen.background < DARK_BACKGROUND else MIN_BACKGROUND
            return Advice(Quality.INVERTED, "brightness of the background", seen.background, limit)
    if found is None or likeness < MIN_LIKENESS:
        return Advice(Quality.NOT_A_SMEAR, "likeness to a smear", likeness, MIN_LIKENESS)
    if seen.colour < MIN_COLOUR:
        return Advice(Quality.NOT_A_SMEAR, "colour", seen.colour, MIN_COLOUR)
    if seen.cut_out and found.measures.stained < MIN_STAINED:
        return Advice(Quality.NOT_A_SMEAR, "share stained", found.measures.stained, MIN_STAINED)
    if edges.restlessness > MAX_RESTLESSNESS:
        return Advice(Quality.NOT_A_SMEAR, "restlessness", edges.restlessness, MAX_RESTLESSNESS)
    # The image's own background is used, since corrected light has one colour.
    if class_map is not None and light[0] < CLIPPED:
        red_over_blue = _red_over_blue(pixels, class_map, seen.background_colour)
        if red_over_blue < MIN_RED_OVER_BLUE:
            return Advice(Quality.NOT_A_SMEAR, "red over blue in nuclei", red_over_blue, MIN_RED_OVER_BLUE)
    return None


def _exposure(seen: Appearance, light: tuple[float, float, float] | None) -> Advice | None:
    """Return advice if there was too much or too little light."""
    level = seen.brightest if light is None else float(_LUMA @ np.array(light, dtype=np.float32))
    least = MIN_LIGHT_CUT_OUT if seen.cut_out else MIN_LIGHT
    if level < least:
        return Advice(Quality.UNDEREXPOSED, "light", level, least)
    is_clipped = seen.white > MAX_CLIPPED if light is None else min(light) >= CLIPPED
    for applies, most in ((is_clipped, MAX_DARKEST_CLIPPED), (level > WHITE, MAX_DARKEST)):
        if applies and seen.darkest > most:
            return Advice(Quality.OVEREXPOSED, "darkest", seen.darkest, most)
    return None


def _blur(edges: Edges, side_px: int, cell_px: float) -> Advice | None:
    """Return advice if edges are wide for the image or its largest cell, or steep in one direction only."""
    measured = [
        ("slopes of one direction", edges.one_way, MAX_ONE_WAY),
        ("edge width of the longest side", edges.width_px / side_px, MAX_EDGE_OF_IMAGE),
    ]
    if cell_px >= MIN_CELL * side_px:
        width = edges.width_px / cell_px
        measured += [
            ("edge width of a cell", width, MAX_EDGE_OF_CELL),
            ("edge width of a cell times restlessness", width * edges.restlessness, MAX_RESTLESS_EDGE),
        ]
    for measure, value, limit in measured:
        if value > limit:
            return Advice(Quality.OUT_OF_FOCUS, measure, value, limit)
    return None


def _red_over_blue(pixels: UInt8[np.ndarray, "rows columns 3"], class_map: ClassMap, light: tuple[float, ...]) -> float:
    """Return the nuclei's excess absorbance in red over blue, relative to their mean absorbance; 0 without nuclei."""
    step = max(1, max(class_map.shape) // _SIDE)
    nuclei = pixels[::step, ::step][class_map[::step, ::step] == NUCLEUS]
    if not nuclei.size:
        return 0.0
    red, green, blue = -np.log10(np.maximum(nuclei, 1) / np.array(light)).mean(axis=0)
    return float((red - blue) / max((red + green + blue) / 3, 1e-3))


def _largest_diameter_px(class_map: ClassMap) -> float:
    """Return the diameter of a disc with the area of the largest component."""
    step = max(1, max(class_map.shape) // _SIDE)
    cells = class_map[::step, ::step] > 0
    labels, n_components = connected(cells[window_of(cells)])
    largest = np.count_nonzero(cells) if n_components == 1 else np.bincount(labels.ravel())[1:].max(initial=0)
    return 2 * step * float(np.sqrt(largest / np.pi))
