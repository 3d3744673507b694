"""Classification of the pixels of an image, at the scale of its red cells, as a whole or in tiles.

The network recognises cells at one scale, within a factor of two. An image is therefore examined at a few sizes,
`looks`, and then resized to the scale on which they agree. A cell cut out on black shows its size by itself.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8

from leukospike.images.framing import content_window
from leukospike.segmentation.input_spikes import BY_VALUE, input_spikes, scaled
from leukospike.segmentation.light import Light
from leukospike.segmentation.looks import (
    LARGE_PX,
    LOOK_PX,
    LOOKS_AT_LARGE_PX,
    LOOKS_PX,
    SCALES,
    Look,
    ScaleFrom,
    found_scale,
)
from leukospike.segmentation.network import CHANNELS, CLASSES, LEAST_ON_BLACK_PX, SpikingSegmenter, likeliest, reach_of
from leukospike.segmentation.regions import any_in_blocks, connected
from leukospike.segmentation.scale import WORKING_RED_CELL_PX, PixelSize, disagree
from leukospike.segmentation.windows import Window

MOST_WORKING_PX = 24_000_000
"""An image is not enlarged to more pixels than this, so that memory and time stay bounded."""

MOST_WORKING_AT_ONCE_PX = 1_000_000
"""A field of more pixels at its working size is read at fewer, but at no less than `LEAST_OF_WORKING` of its sides."""

LEAST_OF_WORKING = 0.7
"""Red cells of 35 pixels are known about as well as those of 50. Measured in folds, recall falls by .05 in crowded
fields and Dice by .02, precision rises; small images, which take little time, are therefore read at 50."""

LONGEST_WHOLE_PX = 2048
"""What is longer at its working size is computed piece by piece, so that memory does not grow with it."""

_NEAR = 1.15  # a look within this factor of the working scale is as good as one at it
_CUT_OUT_CELL_PX = 101.0  # diameter of a cell on black at its working size: C-NMC's, halved
_TOO_SMALL = 1.4  # what has to be enlarged by more is, though only a part of the image need be computed
_ALIGN_PX = 2 ** len(CHANNELS)  # by which an image can be shifted and all layers shift with it
_OVERLAP_PX = 6 * _ALIGN_PX  # more than the network sees: 184 pixels on either side
_TILE_PX = 32 * _ALIGN_PX
_MARGIN = 2  # places of half the working size around a cell on black: cells were found one pixel outside at most
_EVERY = 4  # places at which a window begins; half of what its sides are multiples of
_MOST_ON_BLACK = 0.7  # share of an image to which the window around a cell on black is worth while
_BAND = 256  # rows that are brought to the image's size at once


@dataclass(frozen=True)
class Reading:
    """Output of a segmenter for each pixel of an image."""

    classes: UInt8[np.ndarray, "rows columns"]
    """0 rest, 1 cytoplasm, 2 nucleus, at the image's size."""
    scale: float = 1.0
    """At which red cells have their working size. A large field was read at a little less: `even` tells."""
    scale_from: ScaleFrom = ScaleFrom.OWN
    red_cells: Float[np.ndarray, " cells"] | None = None
    """Diameters of whole, round red cells of one size, pixels of the image; None where the segmenter knows none."""
    even: UInt8[np.ndarray, "working_rows working_columns 3"] | None = None
    """The image in even light at its working size."""
    shares: Float[np.ndarray, "classes working_rows working_columns"] | None = None
    """How likely each pixel is rest, cytoplasm, nucleus or red cell, as the potentials say, 0-1, float16; adds up to
    1."""


Segmenter = Callable[[UInt8[np.ndarray, "rows columns 3"], Light, PixelSize | None], Reading]
"""From an image, its light and the pixel size that is given or stored, if any, to a reading; callable from several
threads."""


def read_classes(
    network: SpikingSegmenter,
    pixels: UInt8[np.ndarray, "rows columns 3"],
    light: Light,
    pixel_size: PixelSize | None = None,
    *,
    most_px: int = MOST_WORKING_AT_ONCE_PX,
) -> Reading:
    """Classify every pixel of an image.

    Parameters
    ----------
    network : SpikingSegmenter
        Folded.
    pixels : ndarray of shape (rows, columns, 3)
        RGB, uint8, 0-255, as the camera gave it.
    light : Light
        Of the image; it is read in even light.
    pixel_size : PixelSize, optional
        Given or stored. Where it contradicts the red cells that are seen by it, what they show counts.
    most_px : int
        Of more pixels at its working size, an image is read at fewer, see `LEAST_OF_WORKING`.

    Returns
    -------
    Reading
    """
    with torch.inference_mode():
        if light.cut_out:
            return _on_black(network, pixels)
        scale, scale_from, look = _found_look(network, pixels, light, pixel_size, most_px)
        classes = _brought_to_size(look.shares, pixels.shape[0], pixels.shape[1])
        return Reading(classes, scale, scale_from, look.red_cells, look.even, look.shares)


def _found_look(
    network: SpikingSegmenter,
    pixels: UInt8[np.ndarray, "rows columns 3"],
    light: Light,
    pixel_size: PixelSize | None,
    most_px: int,
) -> tuple[float, ScaleFrom, Look]:
    """Find the scale at which red cells have their working size, and examine the image there or slightly smaller."""

    def whole_at(scale: float) -> Look:
        return _whole(network, pixels, light, _least_read(scale, pixels, most_px))

    longest = max(pixels.shape[:2])
    stated, look = None, None
    if pixel_size is not None:
        stated = _bounded(WORKING_RED_CELL_PX / pixel_size.red_cell_px, pixels)
        look = whole_at(stated)
        if look.is_enough and look.fits(stated):
            return stated, ScaleFrom.STATED, look
    sides = LOOKS_AT_LARGE_PX if longest >= LARGE_PX else LOOKS_PX
    scale, told, last = found_scale(
        lambda scale: _look_at(network, pixels, light, scale), [side / longest for side in sides]
    )
    # A few round bits that fit the size that is stated are no proof of it: at a wrong scale, specks are such.
    is_contradicted = told is ScaleFrom.RED_CELLS and stated is not None and disagree(stated, scale)
    if stated is not None and look is not None and not is_contradicted:
        return stated, ScaleFrom.STATED, look
    if told is ScaleFrom.NOTHING:
        scale = _bounded(min(1.0, LOOK_PX / longest), pixels)
        return scale, told, whole_at(scale)
    if last is not None and _is_near(last.scale, scale, pixels, most_px) and _is_whole(last, pixels):
        return scale, told, last
    scale = _bounded(scale, pixels)
    whole = whole_at(scale)
    if whole.is_enough and not whole.fits(scale):
        scale = _bounded(WORKING_RED_CELL_PX / float(np.median(whole.red_cells)), pixels)
        whole = whole_at(scale)
    return scale, told, whole


def _whole(network: SpikingSegmenter, pixels: UInt8[np.ndarray, "rows columns 3"], light: Light, scale: float) -> Look:
    """Look at a whole image."""
    even = _even(pixels, light, scale)
    return Look(even, _shares(network, even), scale)


def _least_read(scale: float, pixels: UInt8[np.ndarray, "rows columns 3"], most_px: int) -> float:
    """Return the least scale at which an image is read whose red cells have their working size at another."""
    of_scale = float(np.sqrt(most_px / (pixels.shape[0] * pixels.shape[1]))) / scale
    return scale * min(max(of_scale, LEAST_OF_WORKING), 1.0)


def _is_near(looked_at: float, scale: float, pixels: UInt8[np.ndarray, "rows columns 3"], most_px: int) -> bool:
    """Return whether a look is as good as one at the scale found."""
    return _least_read(scale, pixels, most_px) / _NEAR <= looked_at <= scale * _NEAR


def _is_whole(look: Look, pixels: UInt8[np.ndarray, "rows columns 3"]) -> bool:
    """Return whether a look shows all of an image."""
    return look.even.shape[:2] == tuple(max(int(length * look.scale + 0.5), 1) for length in pixels.shape[:2])


def _bounded(scale: float, pixels: UInt8[np.ndarray, "rows columns 3"]) -> float:
    """Limit a scale to what can be computed."""
    most = float(np.sqrt(MOST_WORKING_PX / (pixels.shape[0] * pixels.shape[1])))
    return float(min(max(scale, SCALES[0]), SCALES[1], most))


def _look_at(
    network: SpikingSegmenter, pixels: UInt8[np.ndarray, "rows columns 3"], light: Light, scale: float
) -> Look:
    """Look at an image, or at its middle where all is too much."""
    most = round(LOOK_PX / scale)
    top, left = (max(0, (length - most) // 2) for length in pixels.shape[:2])
    part = pixels[top : top + most, left : left + most]
    even = _even(part, light, scale, top=top, left=left)
    return Look(even, _shares(network, even), scale)


def _even(
    pixels: UInt8[np.ndarray, "rows columns 3"], light: Light, scale: float, *, top: int = 0, left: int = 0
) -> UInt8[np.ndarray, "r c 3"]:
    """Resize an image to a scale, and correct its light there, where it has fewer pixels."""
    if scale < 1:
        small = scaled(pixels, scale)
        return light.correct(small, top=top, left=left, step=pixels.shape[0] / small.shape[0])
    return scaled(light.correct(pixels, top=top, left=left), scale)


def _shares(
    network: SpikingSegmenter, even: UInt8[np.ndarray, "rows columns 3"]
) -> Float[np.ndarray, "classes rows columns"]:
    """Return how likely each pixel is of each class; of a large image, piece by piece."""
    rows, columns = even.shape[:2]
    if max(rows, columns) <= LONGEST_WHOLE_PX:
        return _shares_of(network, even)
    shares = np.empty((len(CLASSES), rows, columns), np.float16)
    for top, left in _tiles(rows, columns):
        first_row, first_column = max(0, top - _OVERLAP_PX), max(0, left - _OVERLAP_PX)
        seen = even[first_row : top + _TILE_PX + _OVERLAP_PX, first_column : left + _TILE_PX + _OVERLAP_PX]
        found = _shares_of(network, seen)
        own = shares[:, top : top + _TILE_PX, left : left + _TILE_PX]
        row, column = top - first_row, left - first_column
        own[...] = found[:, row : row + own.shape[1], column : column + own.shape[2]]
    return shares


def _tiles(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """Return the first row and column of each piece."""
    for top in range(0, rows, _TILE_PX):
        for left in range(0, columns, _TILE_PX):
            yield top, left


def _shares_of(
    network: SpikingSegmenter, even: UInt8[np.ndarray, "rows columns 3"]
) -> Float[np.ndarray, "classes rows columns"]:
    """Return how likely each pixel is of each class."""
    spikes = torch.from_numpy(input_spikes(even))[None].contiguous(memory_format=torch.channels_last)
    return torch.softmax(network(spikes)[0], dim=0).half().numpy()


def _brought_to_size(
    shares: Float[np.ndarray, "classes r c"], rows: int, columns: int
) -> UInt8[np.ndarray, "rows columns"]:
    """Return the likeliest class of each pixel of the image: where there is a white cell, interpolated between places.

    Only the surroundings of white cells are brought to the image's size; the remainder is rest.
    """
    classes = likeliest(shares)
    white = (classes == 1) | (classes == 2)
    if white.shape == (rows, columns):
        return np.where(white, classes, 0).astype(np.uint8)
    found = np.zeros((rows, columns), np.uint8)
    places = _Places(np.ascontiguousarray(shares), classes, _differs(classes))
    factors = rows / white.shape[0], columns / white.shape[1]
    for window in _windows_around(white):
        top, left = (max(0, int((part.start - 1) * factor)) for part, factor in zip(window, factors, strict=True))
        bottom, right = (
            min(length, int((part.stop + 1) * factor) + 1)
            for part, factor, length in zip(window, factors, (rows, columns), strict=True)
        )
        for first in range(top, bottom, _BAND):
            last = min(first + _BAND, bottom)
            part = _classes_between(places, np.arange(first, last), np.arange(left, right), factors)
            found[first:last, left:right] = np.where(part == CLASSES.index("red cell"), 0, part)
    return found


def _windows_around(white: Bool[np.ndarray, "r c"]) -> list[tuple[slice, slice]]:
    """Return windows that hold all white cells; those of one block of many overlap."""
    from scipy import ndimage

    blocks = ndimage.maximum_filter(any_in_blocks(white, 8), size=3)
    labels, _ = connected(np.asarray(blocks), corners=True)
    return [
        (
            slice(rows.start * 8, min(rows.stop * 8, white.shape[0])),
            slice(columns.start * 8, min(columns.stop * 8, white.shape[1])),
        )
        for rows, columns in ndimage.find_objects(labels)
    ]


class _Places(NamedTuple):
    """What is known at the working size."""

    shares: Float[np.ndarray, "classes r c"]
    classes: UInt8[np.ndarray, "r c"]
    """The likeliest."""
    differs: Bool[np.ndarray, "r c"]
    """Whether a place's class is another than that of the next place below, beside, or both."""


def _differs(classes: UInt8[np.ndarray, "r c"]) -> Bool[np.ndarray, "r c"]:
    """Return `_Places.differs`."""
    differs = np.zeros(classes.shape, bool)
    differs[:-1] |= classes[:-1] != classes[1:]
    differs[:, :-1] |= classes[:, :-1] != classes[:, 1:]
    differs[:-1, :-1] |= classes[:-1, :-1] != classes[1:, 1:]
    return differs


def _classes_between(
    places: _Places,
    rows: Int[np.ndarray, " rows"],
    columns: Int[np.ndarray, " columns"],
    factors: tuple[float, float],
) -> UInt8[np.ndarray, "rows columns"]:
    """Return the likeliest class by shares that are interpolated between places, evenly.

    Among four places of one class it is that class, the likeliest at all of them. Shares are interpolated only where
    they differ: measured, in a twentieth of the window around a cell, which takes a third of the time.
    """
    (low, of_lower), (left, of_right) = (
        _places_before(pixels, factor, length)
        for pixels, factor, length in zip((rows, columns), factors, places.classes.shape, strict=True)
    )
    found = places.classes.take(low, axis=0).take(left, axis=1)
    differ = np.flatnonzero(places.differs.take(low, axis=0).take(left, axis=1))
    row, column = np.divmod(differ, columns.size)
    between = _shares_between(places.shares, (low[row], of_lower[row]), (left[column], of_right[column]))
    found.reshape(-1)[differ] = likeliest(between[:, None])[0]
    return found


def _shares_between(
    shares: Float[np.ndarray, "classes r c"],
    rows: tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]],
    columns: tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]],
) -> Float[np.ndarray, "classes n"]:
    """Interpolate shares at some pixels: by the place before each along rows and columns, and how much of the next."""
    (upper, of_lower), (left, of_right) = rows, columns
    n_rows, n_columns = shares.shape[1:]
    lower, right = np.minimum(upper + 1, n_rows - 1), np.minimum(left + 1, n_columns - 1)
    flat, across, down = shares.reshape(len(shares), -1), torch.from_numpy(of_right), torch.from_numpy(of_lower)

    def between(row: Int[np.ndarray, " n"]) -> torch.Tensor:
        before, after = (flat.take(row * n_columns + column, axis=1).astype(np.float32) for column in (left, right))
        return torch.lerp(torch.from_numpy(before), torch.from_numpy(after), across)

    return torch.lerp(between(upper), between(lower), down).numpy()


def _places_before(
    pixels: Int[np.ndarray, " n"], factor: float, length: int
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Return the place before each pixel, along an axis of so many, and how much the pixel takes of the next."""
    source = ((pixels + 0.5) / factor - 0.5).clip(0, length - 1)
    low = np.floor(source).astype(np.int64)
    return low, (source - low).astype(np.float32)


def _on_black(network: SpikingSegmenter, image: UInt8[np.ndarray, "rows columns 3"]) -> Reading:
    """Classify a cell cut out on black only where the cell is; the remainder is rest."""
    rows, columns = image.shape[:2]
    shown = content_window(image)
    height, width = (part.stop - part.start for part in shown)
    px = max(1, round(np.sqrt(height * width) / _CUT_OUT_CELL_PX))
    enlarged = _CUT_OUT_CELL_PX / np.sqrt(height * width)
    window = None if enlarged > _TOO_SMALL else _window_on_black(image, px)
    if window is None:
        scale = _bounded(float(enlarged) if enlarged > 1 else 1 / px, image)
        even = scaled(image, scale)
        shares = _shares(network, even)
        classes = _brought_to_size(shares, rows, columns)
        return Reading(classes, scale, ScaleFrom.CUT_OUT, np.zeros(0), even, shares)
    shape = (rows // px, columns // px)
    reach = reach_of(window, shape)
    part = image[px * reach.top : px * reach.bottom, px * reach.left : px * reach.right]
    small = scaled(part, 1 / px)
    spikes = torch.from_numpy(input_spikes(small))[None].contiguous(memory_format=torch.channels_last)
    black = torch.from_numpy(np.repeat(BY_VALUE[:, 0], 3))[None]
    [potential] = network.potentials_on_black(spikes, black, window, shape)
    found = torch.softmax(potential, dim=0).half().numpy()
    shares = np.zeros((len(CLASSES), *shape), np.float16)
    shares[0] = 1
    at = Window(2 * window.top, 2 * window.top + found.shape[1], 2 * window.left, 2 * window.left + found.shape[2])
    shares[:, at.rows, at.columns] = found
    even = np.zeros((*shape, 3), np.uint8)
    even[reach.rows, reach.columns] = small
    return Reading(_brought_to_size(shares, rows, columns), 1 / px, ScaleFrom.CUT_OUT, np.zeros(0), even, shares)


def _window_on_black(image: UInt8[np.ndarray, "rows columns 3"], px: int) -> Window | None:
    """Return where an image is not black, in places of half its working size, with a margin.

    None where that saves little, and for an image that its working size does not divide.
    """
    if min(image.shape[:2]) < LEAST_ON_BLACK_PX * px or any(side % px for side in image.shape[:2]):
        return None
    shown = content_window(image)
    lengths = [-(-side // (2 * px)) for side in image.shape[:2]]
    starts = [max(part.start // (2 * px) - _MARGIN, 0) // _EVERY * _EVERY for part in shown]
    ends = [min(-(-part.stop // (2 * px)) + _MARGIN, length) for part, length in zip(shown, lengths, strict=True)]
    # Squares of few sizes: measured, a convolution of a size that is new takes half as long again.
    side = max(-(-(end - start) // (2 * _EVERY)) * 2 * _EVERY for start, end in zip(starts, ends, strict=True))
    (top, bottom), (left, right) = (
        (start, min(max(start + side, end), length)) for start, end, length in zip(starts, ends, lengths, strict=True)
    )
    saves = (bottom - top) * (right - left) < _MOST_ON_BLACK * lengths[0] * lengths[1]
    return Window(top, bottom, left, right) if saves else None
