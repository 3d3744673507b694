"""Images of any size to class maps: side by side, where a cell on black is, or tile by tile."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from leukospike.framing import content_window
from leukospike.segmentation.input_spikes import (
    FIELD_HALVINGS,
    at_working_size,
    input_spikes,
    ranks_of,
    scaled,
    spikes_by_rank,
    working_scale,
)
from leukospike.segmentation.network import CHANNELS, LEAST_ON_BLACK_PX, SpikingSegmenter, reach_of
from leukospike.segmentation.tiles import class_map_in_tiles
from leukospike.segmentation.windows import Window

LONGEST_WHOLE_PX = 4096
"""An image of more rows or columns is computed tile by tile, so that memory does not grow with it."""

_ALIGN_PX = 2 ** (len(CHANNELS) + FIELD_HALVINGS)  # by which an image can be shifted and all layers shift with it
_OVERLAP_PX = 6 * _ALIGN_PX  # more than the network sees: 184 pixels of the working size on either side
_TILE_PX = 16 * _ALIGN_PX
_BATCH = 8
_MARGIN = 2  # such places around a cell on black: cells were found one pixel outside at most
_EVERY = 4  # places at which a window begins; half of what its sides are multiples of
_MOST_ON_BLACK = 0.7  # share of an image to which the window around a cell on black is worth while


def class_maps(
    network: SpikingSegmenter, images: Sequence[UInt8[np.ndarray, "_ _ 3"]]
) -> list[UInt8[np.ndarray, "_ _"]]:
    """Give every pixel of each image its class.

    Parameters
    ----------
    network : SpikingSegmenter
        Folded.
    images : sequence of ndarray of shape (rows, columns, 3)
        RGB, uint8, 0-255; neighbours of the same working size are computed together. A cell cut out on black, 0, 0, 0,
        is computed where it is, and there is rest elsewhere: on C-NMC no cell was found further than a pixel outside.
        An image longer than `LONGEST_WHOLE_PX` is computed piece by piece. Neither changes anything but single pixels,
        of pieces 8 in a million as measured, where a potential lies so close between two spike times that rounding
        decides; but of an image in pieces whose sides are odd, the last pixels are repeated once.

    Returns
    -------
    list of ndarray of shape (rows, columns)
        uint8: 0 rest, 1 cytoplasm, 2 nucleus; where two class neurons spike together, the lower number.
    """
    maps: list[UInt8[np.ndarray, "_ _"]] = []
    with torch.inference_mode():
        while len(maps) < len(images):
            first = len(maps)
            if max(images[first].shape) > LONGEST_WHOLE_PX:
                maps.append(_in_tiles(network, images[first]))
                continue
            if (window := _window_on_black(images[first])) is not None:
                maps.append(_on_black(network, images[first], window))
                continue
            end = first + 1
            small = [at_working_size(images[first])]
            while end < len(images) and len(small) < _BATCH:
                another = at_working_size(images[end])
                if another.shape != small[0].shape or _window_on_black(images[end]) is not None:
                    break
                small.append(another)
                end += 1
            spikes = torch.from_numpy(np.stack([input_spikes(image) for image in small]))
            spikes = spikes.contiguous(memory_format=torch.channels_last)
            potentials = network(spikes)
            del spikes
            for potential, image in zip(potentials, images[first:end], strict=True):
                maps.append(_winners(potential, image.shape[0], image.shape[1]))
    return maps


def _window_on_black(image: UInt8[np.ndarray, "rows columns 3"]) -> Window | None:
    """Give where an image is not black, in places of half its working size, with a margin.

    None where that saves little, and for an image that is enlarged, or that its working size does not divide.
    """
    scale = working_scale(*image.shape[:2])
    px = round(1 / scale)
    if scale > 1 or min(image.shape[:2]) < LEAST_ON_BLACK_PX * px or any(side % px for side in image.shape[:2]):
        return None
    shown = content_window(image)
    if not shown[0].stop:
        return None
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


def _on_black(
    network: SpikingSegmenter, image: UInt8[np.ndarray, "rows columns 3"], window: Window
) -> UInt8[np.ndarray, "rows columns"]:
    """Compute the class map of a cell cut out on black where the cell is: elsewhere there is rest."""
    rows, columns = image.shape[:2]
    scale = round(1 / working_scale(rows, columns))
    shape = (rows // scale, columns // scale)
    reach = reach_of(window, shape)
    part = image[scale * reach.top : scale * reach.bottom, scale * reach.left : scale * reach.right]
    small = scaled(part, 1 / scale)
    ranks = ranks_of(small, n_black=shape[0] * shape[1] - small.shape[0] * small.shape[1])
    spikes, black = (
        torch.from_numpy(spikes_by_rank(pixels, ranks))[None].contiguous(memory_format=torch.channels_last)
        for pixels in (small, np.zeros((1, 1, 3), np.uint8))
    )
    [potential] = network.potentials_on_black(spikes, black[:, :, 0, 0], window, shape)
    found = np.zeros((rows, columns), np.uint8)
    top, left = 2 * scale * window.top, 2 * scale * window.left
    shown = found[top : 2 * scale * window.bottom, left : 2 * scale * window.right]
    shown[...] = _winners(potential, *shown.shape)
    return found


def _in_tiles(
    network: SpikingSegmenter, image: UInt8[np.ndarray, "rows columns 3"]
) -> UInt8[np.ndarray, "rows columns"]:
    """Compute the class map of a large image from overlapping tiles, with the ranks of the whole image."""
    rows, columns = image.shape[:2]
    # Filled up to whole pixels of the working size: else tiles and image would be scaled by a little more or less.
    block = 2**FIELD_HALVINGS
    if rows % block or columns % block:
        image = np.pad(image, ((0, -rows % block), (0, -columns % block), (0, 0)), mode="edge")
    ranks = ranks_of(scaled(image, 1 / block))

    def tile_map(pixels: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width"]:
        spikes = torch.from_numpy(spikes_by_rank(scaled(pixels, 1 / block), ranks))[None]
        potentials = network(spikes.contiguous(memory_format=torch.channels_last))
        return _winners(potentials[0], pixels.shape[0], pixels.shape[1])

    tiled = class_map_in_tiles(tile_map, image, tile=_TILE_PX, overlap=_OVERLAP_PX, align=_ALIGN_PX)
    return tiled[:rows, :columns]


def _winners(potential: Float[Tensor, "classes r c"], rows: int, columns: int) -> UInt8[np.ndarray, "rows columns"]:
    """Bring the potentials to the image's size and give the class that spikes first."""
    height, width = potential.shape[1:]
    if (height, width) == (rows, columns):
        return _first(potential)
    factor = rows // height
    if (rows, columns) != (factor * height, factor * width):
        return _first(_resized(potential, rows, columns))
    # Between four places of rest there is only rest, whatever their weights: no need to look there.
    found = np.zeros((rows, columns), np.uint8)
    cells = _first(potential)
    used_rows, used_columns = np.flatnonzero(cells.any(axis=1)), np.flatnonzero(cells.any(axis=0))
    if not used_rows.size:
        return found
    top, left = max(used_rows[0] - 1, 0), max(used_columns[0] - 1, 0)
    part = potential[:, top : used_rows[-1] + 2, left : used_columns[-1] + 2]
    part_rows, part_columns = factor * part.shape[1], factor * part.shape[2]
    window = np.s_[factor * top : factor * top + part_rows, factor * left : factor * left + part_columns]
    found[window] = _first(_resized(part, part_rows, part_columns))
    return found


def _resized(potential: Float[Tensor, "classes r c"], rows: int, columns: int) -> Float[Tensor, "classes rows columns"]:
    """Interpolate between places."""
    return functional.interpolate(potential[None], (rows, columns), mode="bilinear", align_corners=False)[0]


def _first(potential: Float[Tensor, "classes rows columns"]) -> UInt8[np.ndarray, "rows columns"]:
    """Give the class whose neuron has the highest potential, the lower number among equals."""
    rest, cytoplasm, nucleus = potential
    # Three comparisons in bytes: measured, several times as fast as argmax, which writes 64-bit indices.
    cell = cytoplasm > rest
    return torch.where(nucleus > torch.maximum(rest, cytoplasm), 2, cell.view(torch.uint8)).to(torch.uint8).numpy()
