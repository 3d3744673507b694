"""Fields larger than memory: the same result from overlapping tiles, without seams."""

from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8

from leukospike.errors import ConfigError


def class_map_in_tiles(
    class_map: Callable[[UInt8[np.ndarray, "height width 3"]], UInt8[np.ndarray, "height width"]],
    pixels: UInt8[np.ndarray, "rows columns 3"],
    *,
    tile: int,
    overlap: int,
    align: int = 1,
) -> UInt8[np.ndarray, "rows columns"]:
    """Apply a function of pixels tile by tile.

    Each tile is seen with `overlap` pixels of its surroundings, as far as the image has them, and only its own pixels
    are kept. The result is that of the whole image if the function looks no further than `overlap`, and
    tiles begin at multiples of its stride, `align`.

    Parameters
    ----------
    class_map : callable
        Pixels, uint8, (height, width, 3), to classes, uint8, (height, width), the same for the same surroundings.
    pixels : ndarray of shape (rows, columns, 3)
        RGB, uint8, 0-255.
    tile : int
        Side of a tile without its surroundings, pixels, a positive multiple of `align`. An image no larger than one
        tile is handed over as it is.
    overlap : int
        Pixels around a tile, at least the reach of the function, a multiple of `align`.
    align : int
        By how many pixels an image may be shifted so that the result only shifts: the stride of the function.

    Returns
    -------
    ndarray of shape (rows, columns)
        uint8.

    Raises
    ------
    ConfigError
        If `tile` or `overlap` is no such number.
    """
    if align < 1 or tile < align or tile % align:
        msg = f"class_map_in_tiles: tile must be a positive multiple of align ({align}), got {tile}. Round it up."
        raise ConfigError(msg)
    if overlap < 0 or overlap % align:
        msg = f"class_map_in_tiles: overlap must be a multiple of align ({align}), got {overlap}. Round it up."
        raise ConfigError(msg)
    rows, columns = pixels.shape[:2]
    if rows <= tile and columns <= tile:
        return class_map(pixels)
    result = np.empty((rows, columns), dtype=np.uint8)
    for top in range(0, rows, tile):
        for left in range(0, columns, tile):
            first_row, first_column = max(0, top - overlap), max(0, left - overlap)
            seen = class_map(pixels[first_row : top + tile + overlap, first_column : left + tile + overlap])
            own = result[top : top + tile, left : left + tile]
            row, column = top - first_row, left - first_column
            own[...] = seen[row : row + own.shape[0], column : column + own.shape[1]]
    return result
