"""Whether an image can be read at all: a bad one gets a flag and no cells.

Each threshold stands between what was measured on real smears (BCCD, Tecom, CellaVision, PBC and C-NMC's cells on
black, also a quarter brighter or darker, at gamma 0.7 to 1.4, hue turned by 10 degrees, blurred a little, and at half
and double size) and on the same images spoiled, and on photographs.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from scipy import ndimage
from skimage.filters import threshold_otsu

from leukospike.framing import content_window
from leukospike.segmentation.instances import NUCLEUS, ClassMap, connected, window_of

_SIDE = 256  # longest side of the copy on which colours are measured, pixels
_FOCUS_SIDE = 640  # ... and edges, which a smaller copy would sharpen
_BLACK = 4  # grey levels up to which a pixel is black
_CUT_OUT = 0.2  # share of black from which the image is a cell cut out on black; other smears have none
_MARGIN = 6  # blocks of a copy, more than the blur of edges reaches
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)

MIN_CONTRAST = 0.15
"""Below, blank. Real: 0.21 and more; an empty, unevenly lit field: 0.1."""
MIN_BRIGHTEST, MIN_BRIGHTEST_CUT_OUT = 60.0, 20.0
"""Below, underexposed, grey levels. Real: 175 and 45 or more, a quarter darker 130 and 34."""
MAX_DARKEST = 200.0
"""Above, overexposed, grey levels: what should be nuclei is nearly white. Real: up to 153, a quarter brighter 189."""
MAX_WHITE, MAX_DARKEST_ON_WHITE = 0.5, 125.0
"""Above both, overexposed too: over half is clipped and even nuclei are pale. Real, where so much is clipped: 111."""
MIN_STAIN = 0.2
"""Below, not a smear. Real: 0.31 and more. Photographs: up to 0.16, grey ones 0."""
MIN_MAGENTA = 0.3
"""Below, not a smear. Real: 0.44 and more. A photograph of a retina, whose stain is 0.32: 0.02."""
DARK_BACKGROUND, MIN_BACKGROUND, MAX_GREEN = 0.35, 0.5, 0.05
"""Inverted: a background darker than the first, or darker than the second with more green than the third. Real: 0.45
and more, and what is below 0.5 has no green. Inverted: up to 0.49, and 0.07 or more green where above 0.35."""
MAX_SLOPE = 0.08
"""Above, not a smear but noise or fine texture. Real: up to 0.058, at half size; noise and grass: 0.10 and more."""
MAX_RESTLESSNESS = 0.33
"""Above, and where it is not blur, not a smear. Real: up to 0.30, at half size 0.31; smoothed noise: median 0.38."""
MAX_ONE_WAY = 0.27
"""Above, out of focus: moved, or stripes. Real: up to 0.23; moved by a fourteenth of a field's width: median 0.31."""
MIN_TEXTURE = 0.002
"""Below, not a smear but flat shapes. Real: 0.004 and more; drawings: 0."""
MIN_RED_OVER_BLUE, CLIPPED = -0.5, 253
"""Below the first, not a smear: red and blue are swapped. Real: -0.45 and more, but -0.65 where the background's red
is clipped; from the second on it cannot be told. Swapped: median -1.20 in BCCD, -0.62 in PBC, -0.18 in Tecom."""
MAX_EDGE_OF_CELL, MAX_RESTLESS_EDGE = 0.2, 0.04
"""Above either, the second for the width times the restlessness, out of focus: blur widens edges and leaves nothing
plain between them. Blurred by 12 of BCCD's pixels: median 0.23 and 0.058; by 7: 0.17 and 0.042, as the one worst of 977
real images, which is lost."""
MIN_CELL = 0.055
"""Below, of the longest side, the largest component is a speck and tells no scale."""
MAX_EDGE_OF_IMAGE = 0.12
"""Above, out of focus, where no cell tells the scale. Real: up to 0.08."""


class Quality(StrEnum):
    """What is wrong with an image."""

    BLANK = "blank"
    INVERTED = "inverted"
    OVEREXPOSED = "overexposed"
    UNDEREXPOSED = "underexposed"
    OUT_OF_FOCUS = "out_of_focus"
    NOT_A_SMEAR = "not_a_smear"


@dataclass(frozen=True)
class Appearance:
    """What is measured on a small copy of an image to tell its quality."""

    darkest: float
    """1st percentile of luma, 0-255."""
    brightest: float
    """99th percentile of luma, 0-255."""
    background: float
    """Where the median luma lies between the two, 0-1: near 1 if most is bright, as on a smear."""
    cut_out: bool
    """Whether a fifth or more is black, as around a cell cut out by a program."""
    white: float
    """Share of pixels in which each channel is 250 or more."""
    green: float
    """Share of pixels in which green exceeds red and blue by more than 6."""
    stain: float
    """By how much the cells absorb green more than red and blue, over their mean absorbance; 0 if they are grey."""
    magenta: float
    """Share of the cells' pixels that absorb green most, within 0.02 of optical density."""
    light: tuple[float, ...]
    """Red, green and blue of the background, 0-255."""

    @property
    def contrast(self) -> float:
        """Range of luma over its brightest, 0-1."""
        return (self.brightest - self.darkest) / max(self.brightest, 1.0)

    @property
    def is_overexposed(self) -> bool:
        """Whether even the darkest, which should be nuclei, is pale."""
        return self.darkest > MAX_DARKEST or (self.white > MAX_WHITE and self.darkest > MAX_DARKEST_ON_WHITE)

    @property
    def is_underexposed(self) -> bool:
        """Whether even the brightest is dark."""
        return self.brightest < (MIN_BRIGHTEST_CUT_OUT if self.cut_out else MIN_BRIGHTEST)

    @property
    def has_dark_background(self) -> bool:
        """Whether most is dark and the cells are bright, as in a negative, and not black around a cell cut out."""
        is_dark = self.background < MIN_BACKGROUND and self.green > MAX_GREEN
        return not self.cut_out and (is_dark or self.background < DARK_BACKGROUND)

    @property
    def is_stained(self) -> bool:
        """Whether the colours are those of a stained smear: eosin and azure both absorb green most."""
        return self.stain >= MIN_STAIN and self.magenta >= MIN_MAGENTA


class Edges(NamedTuple):
    """How sharp an image is, and how restless."""

    width_px: float
    """Of the sharpest edges, in pixels of the image itself: the range of green over its steepest slope."""
    slope: float
    """The mean slope per pixel of the copy, over the range."""
    restlessness: float
    """The mean slope over the steepest, 0-1: small where edges part plain areas, 0.38 for noise of whatever grain."""
    one_way: float
    """How far the slopes agree in direction, 0-1: 0 around round cells, 1 for stripes."""
    texture: float
    """The median slope per pixel of the copy over the range, where it is dark but not black."""


def quality_of(
    pixels: UInt8[np.ndarray, "rows columns 3"], class_map: UInt8[np.ndarray, "rows columns"] | None = None
) -> tuple[Quality, ...]:
    """List what is wrong with an image; nothing is wrong with a usable one.

    A grey smear counts as none: without its stain it cannot be told from a photograph.

    Parameters
    ----------
    pixels : ndarray of shape (rows, columns, 3)
        RGB, uint8, 0-255.
    class_map : ndarray of shape (rows, columns), optional
        uint8: 0 rest, 1 cytoplasm, 2 nucleus. Edges are held against the size of the largest cell in it; without it,
        or where it shows but a speck, against the size of the image, which only tells severe blur. The colour of its
        nuclei tells whether red and blue are swapped.

    Returns
    -------
    tuple of Quality
        In the order of the enumeration; blank alone where there is nothing else to measure.
    """
    seen = appearance_of(pixels)
    if seen.contrast < MIN_CONTRAST:
        return (Quality.BLANK,)
    flags: set[Quality] = set()
    edges = edges_of(pixels)
    if seen.is_overexposed:
        flags.add(Quality.OVEREXPOSED)
    elif seen.is_underexposed:
        flags.add(Quality.UNDEREXPOSED)
    elif edges.slope > MAX_SLOPE:
        flags.add(Quality.NOT_A_SMEAR)
    elif not seen.is_stained:
        negative = appearance_of(255 - pixels)
        is_smear = negative.is_stained and not negative.has_dark_background
        flags.add(Quality.INVERTED if is_smear else Quality.NOT_A_SMEAR)
    elif seen.has_dark_background:
        flags.add(Quality.INVERTED)
    elif edges.texture < MIN_TEXTURE or (class_map is not None and _is_swapped(pixels, class_map, seen.light)):
        flags.add(Quality.NOT_A_SMEAR)
    if _is_blurred(edges, max(pixels.shape[:2]), 0.0 if class_map is None else _largest_diameter_px(class_map)):
        flags.add(Quality.OUT_OF_FOCUS)
    elif not flags and edges.restlessness > MAX_RESTLESSNESS:
        flags.add(Quality.NOT_A_SMEAR)
    return tuple(flag for flag in Quality if flag in flags)


def appearance_of(pixels: UInt8[np.ndarray, "rows columns 3"]) -> Appearance:
    r"""Measure colours and light on a copy of at most 256 pixels a side.

    Absorbance is :math:`-\log_{10}(I / I_0)` for each channel, with :math:`I_0` the median colour of the background:
    what is brighter in green than Otsu's threshold, or white where a cell is cut out on black.

    Parameters
    ----------
    pixels : ndarray of shape (rows, columns, 3)
        RGB, uint8, 0-255.

    Returns
    -------
    Appearance
    """
    step = _step(pixels, _SIDE)
    copy = _reduced(_but_black(pixels, step), step)
    n_pixels = -(-pixels.shape[0] // step) * -(-pixels.shape[1] // step)
    n_black = n_pixels - copy.shape[0] * copy.shape[1]
    small = copy.astype(np.float32)
    # Plane by plane: measured, the largest of three neighbours takes NumPy thirty times as long.
    red, green, blue = np.ascontiguousarray(small.transpose(2, 0, 1))
    # No product of matrices: NumPy splits one of this size over threads, which then wait for those of other images.
    luma = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
    darkest, middle, brightest = _percentiles(luma, (1, 50, 99), n_zeros=n_black)
    lower, higher = np.minimum(red, blue), np.maximum(red, blue)
    black = np.maximum(higher, green) <= _BLACK
    cut_out = (int(np.count_nonzero(black)) + n_black) / n_pixels > _CUT_OUT
    if cut_out:
        cells, background = ~black, np.full(3, 255, dtype=np.float32)
    elif green.min() == green.max():
        cells, background = np.zeros(green.shape, dtype=bool), np.full(3, 255, dtype=np.float32)
    else:
        cells = green <= threshold_otsu(green)
        background = np.maximum(np.median(small[~cells], axis=0), 1)
    by_value = -np.log10(np.maximum(np.arange(256, dtype=np.float32), 1)[:, None] / background)
    of_red, of_green, of_blue = (by_value[values, band] for band, values in enumerate(copy[cells].T))
    absorbed = float(np.mean(of_red + of_green + of_blue)) / 3 if of_red.size else 0.0
    magenta = of_green - (of_red + of_blue) / 2
    return Appearance(
        darkest=darkest,
        brightest=brightest,
        background=(middle - darkest) / max(brightest - darkest, 1.0),
        cut_out=cut_out,
        white=int(np.count_nonzero(np.minimum(lower, green) >= 250)) / n_pixels,
        green=int(np.count_nonzero(green > higher + 6)) / n_pixels,
        stain=float(magenta.mean()) / max(absorbed, 1e-3) if of_red.size else 0.0,
        magenta=float(np.mean(of_green >= np.maximum(of_red, of_blue) - 0.02)) if of_red.size else 0.0,
        light=tuple(background.tolist()),
    )


def edges_of(pixels: UInt8[np.ndarray, "rows columns 3"]) -> Edges:
    """Measure the edges in green after a Gaussian blur of 1 pixel, against noise, at no more than 640 pixels a side.

    Parameters
    ----------
    pixels : ndarray of shape (rows, columns, 3)
        RGB, uint8, 0-255.

    Returns
    -------
    Edges
        Neither brightness nor contrast changes them. Of an image of one colour: infinite width, slope 0.
    """
    step = _step(pixels, _FOCUS_SIDE)
    rows, columns = (-(-side // step) for side in pixels.shape[:2])
    small = _reduced(_but_black(pixels, step)[:, :, 1], step)
    green: Float[np.ndarray, "rows columns"] = ndimage.gaussian_filter(small.astype(np.float32), 1.0)
    here = green[:-1, :-1]
    down, along = green[1:, :-1] - here, green[:-1, 1:] - here
    # Measured, a third of the time of hypot, whose care for large numbers no grey level needs.
    slope = np.sqrt(down * down + along * along)
    every_second = green[::2, ::2]
    n_black = -(-rows // 2) * -(-columns // 2) - every_second.size
    low, high = _percentiles(every_second, (1, 99), n_zeros=n_black)
    sparse = slope[::2, ::2]
    [steepest] = _percentiles(sparse, (99.5,), n_zeros=(rows // 2) * (columns // 2) - sparse.size)
    if steepest == 0:
        return Edges(float("inf"), 0.0, 0.0, 0.0, 0.0)
    px, contrast = pixels.shape[0] / rows, max(high - low, 1.0)
    mean = float(slope.sum()) / ((rows - 1) * (columns - 1))
    light = here[::2, ::2]
    dark = sparse[(light < (low + high) / 2) & (light > _BLACK)]
    # Weighted by the slope, not its square, which one straight edge, as of a black margin, would rule.
    down, along = down[::2, ::2], along[::2, ::2]
    turn = (down + 1j * along) ** 2 / np.maximum(sparse, 1e-6)
    return Edges(
        width_px=px * (high - low) / steepest,
        slope=mean / contrast,
        restlessness=mean / steepest,
        one_way=float(abs(turn.sum()) / sparse.sum()),
        texture=float(np.median(dark)) / contrast if dark.size else float("inf"),
    )


def _is_blurred(edges: Edges, side_px: int, cell_px: float) -> bool:
    """Tell whether edges are wide for the image, or for its largest cell, or steep one way only."""
    if edges.one_way > MAX_ONE_WAY or edges.width_px > MAX_EDGE_OF_IMAGE * side_px:
        return True
    if cell_px < MIN_CELL * side_px:
        return False
    width = edges.width_px / cell_px
    return width > MAX_EDGE_OF_CELL or width * edges.restlessness > MAX_RESTLESS_EDGE


def _is_swapped(pixels: UInt8[np.ndarray, "rows columns 3"], class_map: ClassMap, light: tuple[float, ...]) -> bool:
    """Tell whether nuclei absorb blue more than red, which azure does not."""
    return light[0] < CLIPPED and _red_over_blue(pixels, class_map, light) < MIN_RED_OVER_BLUE


def _red_over_blue(pixels: UInt8[np.ndarray, "rows columns 3"], class_map: ClassMap, light: tuple[float, ...]) -> float:
    """Give by how much the nuclei absorb red more than blue, over their mean absorbance; 0 without nuclei."""
    step = max(1, max(class_map.shape) // _SIDE)
    nuclei = pixels[::step, ::step][class_map[::step, ::step] == NUCLEUS]
    if not nuclei.size:
        return 0.0
    red, green, blue = -np.log10(np.maximum(nuclei, 1) / light).mean(axis=0)
    return float((red - blue) / max((red + green + blue) / 3, 1e-3))


def _largest_diameter_px(class_map: ClassMap) -> float:
    """Give the diameter of the disc as large as the largest component."""
    step = max(1, max(class_map.shape) // _SIDE)
    cells = class_map[::step, ::step] > 0
    labels, n_components = connected(cells[window_of(cells)])
    largest = np.count_nonzero(cells) if n_components == 1 else np.bincount(labels.ravel())[1:].max(initial=0)
    return 2 * step * float(np.sqrt(largest / np.pi))


def _but_black(pixels: UInt8[np.ndarray, "rows columns 3"], step: int) -> UInt8[np.ndarray, "height width 3"]:
    """Leave out what is 0, 0, 0 around a cell cut out: in most such images, three quarters.

    It begins at an even number of blocks of `step` pixels, and blur leaves all black beyond it.
    """
    rows, columns = (
        slice(max(window.start // step - _MARGIN, 0) // 2 * 2 * step, (window.stop // step + 1 + _MARGIN) * step)
        for window in content_window(pixels)
    )
    part = pixels[rows, columns]
    return part if part.size < (1 - _CUT_OUT) * pixels.size else pixels


def _percentiles(values: Float[np.ndarray, "..."], shares: tuple[float, ...], *, n_zeros: int = 0) -> tuple[float, ...]:
    """Give percentiles of values of at least 0 and so many zeros, by linear interpolation as NumPy does."""
    if not n_zeros:
        return tuple(np.percentile(values, shares).tolist())
    # In their order, zeros come first.
    places = (values.size + n_zeros - 1) * np.array(shares) / 100 - n_zeros
    lower = np.floor(places).astype(np.int64)
    both = np.stack([lower, lower + 1])
    needed = both.clip(0, values.size - 1)
    ordered = np.partition(values, np.unique(needed), axis=None)
    low, high = np.where(both < 0, 0.0, ordered[needed])
    return tuple((low + (places - lower) * (high - low)).tolist())


def _step(pixels: UInt8[np.ndarray, "rows columns 3"], side: int) -> int:
    """Give the side of the blocks of which an image has at most `side` along its longest side."""
    return -(-max(pixels.shape[:2]) // side)


def _reduced(pixels: UInt8[np.ndarray, "..."], step: int) -> UInt8[np.ndarray, "..."]:
    """Average blocks of pixels."""
    return np.asarray(Image.fromarray(pixels).reduce(step)) if step > 1 else pixels
