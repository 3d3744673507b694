"""Evidence that an object is a white cell, and its probability.

The network classifies each pixel by its appearance; a smudge, a clump of platelets or a stain can look like a piece of
a white cell. As a whole it does not: its nucleus is no denser than red cells, its outline is blurred or ragged, it is
smaller than a red cell, or there is no smear around it. These measures are combined by a small network fitted to
objects in labelled fields, found by segmenters that had not seen these fields.
"""

import math
from dataclasses import dataclass
from functools import cache, reduce
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy import ndimage
from torch import nn

from leukospike.learning.chance import undrawn
from leukospike.segmentation.class_maps import Reading
from leukospike.segmentation.instances import Box, Instances, touches_border
from leukospike.segmentation.light import EMPTY
from leukospike.segmentation.network import CLASSES, likeliest
from leukospike.segmentation.percentiles import percentile
from leukospike.segmentation.scale import WORKING_RED_CELL_PX
from leukospike.storage.weights import fill, write_weights

MEASURES = (
    "white",  # mean of how likely its pixels are of a white cell, as log odds
    "white_least",  # that of its tenth least likely pixel
    "nucleus",  # mean of how likely its nucleus is one, as log odds
    "around",  # mean of how likely what is just around it is of a white cell, as log odds
    "diameter",  # natural logarithm of its diameter in red cells' diameters, or working ones
    "nucleus_share",  # of its area
    "roundness",  # area over that of the ellipse of the same second moments
    "elongation",  # longer over shorter axis of that ellipse, natural logarithm
    "red_density",  # of its nucleus: optical density of red light, less that of the field's red cells
    "green_density",
    "blue_density",
    "cytoplasm_green_density",  # likewise, of its cytoplasm, or of all of it where there is none
    "texture",  # standard deviation of the density of green in the nucleus, over its mean
    "edge",  # mean change of green across its outline, in optical density
    "border",  # whether the image's border touches it
    "cut_out",  # whether it was shown on black
    "red_cells",  # share of the image that red cells cover
    "white_cells",  # share of the image that white cells cover
    "unsure",  # share of the image of which the network is not sure
    "empty",  # share of the image that is as bright as an empty place
)
"""Measures of each object, in this order."""

_LEAST_SHARE = 1e-3
_RING_PX = 3
_SURE = 0.8  # from here on the network is sure of a pixel
_EMPTY_LEAST = 205  # grey level of the darkest colour of an empty place
_HIDDEN = 16
_FORMAT = "leukospike-evidence-1"
_SETTINGS = {"format": _FORMAT, "measures": list(MEASURES), "hidden": _HIDDEN}


class _Size(NamedTuple):
    """How large things are where an image was read."""

    red_cell_px: float
    of_working: float
    """Its scale, over that at which red cells have their working size."""


@dataclass(frozen=True)
class _Field:
    """What is measured once for all objects of an image."""

    red_density: Float[np.ndarray, "3"]
    shares: tuple[float, float, float, float]


_DENSITY = -np.log10((np.arange(256, dtype=np.float32) + 1) / (EMPTY + 1))  # of each grey level


def evidence_of(reading: Reading, instances: Instances, *, cut_out: bool) -> Float[np.ndarray, "cells measures"]:
    """Measure the evidence that each object is a white cell.

    Parameters
    ----------
    reading : Reading
        With the image at its working size.
    instances : Instances
    cut_out : bool
        Whether the image is of a cell cut out on black.

    Returns
    -------
    ndarray of shape (cells, measures), float32
        `MEASURES` of each object, in its order.

    Raises
    ------
    ValueError
        If the reading has no image at its working size.
    """
    if reading.even is None or reading.shares is None:
        msg = (
            "evidence_of: reading must hold the image at its working size, got one without it. Use the spiking network."
        )
        raise ValueError(msg)
    if not instances.boxes:
        return np.zeros((0, len(MEASURES)), np.float32)
    field = _field(reading.even, reading.shares)
    read_at = reading.even.shape[0] / reading.classes.shape[0]
    size = _Size(_red_cell_px(reading, read_at), read_at / reading.scale)
    rows = [
        _measured(number, box, instances, reading.even, reading.shares, field, size, cut_out=cut_out)
        for number, box in enumerate(instances.boxes, start=1)
    ]
    return np.array(rows, np.float32)


def _red_cell_px(reading: Reading, read_at: float) -> float:
    """Return how large red cells are where the image was read: as they were seen, or else as they should be."""
    if reading.red_cells is None or not len(reading.red_cells):
        return WORKING_RED_CELL_PX * read_at / reading.scale
    return float(np.median(reading.red_cells)) * read_at


def _field(even: np.ndarray, shares: Float[np.ndarray, "classes r c"]) -> _Field:
    """Measure an image once for all of its objects."""
    # Every second pixel tells as much of a whole image.
    even, shares = even[::2, ::2], shares[:, ::2, ::2].astype(np.float32)
    classes = likeliest(shares)
    red = classes == CLASSES.index("red cell")
    red_density = _DENSITY[np.median(even[red], axis=0).astype(np.uint8)] if red.any() else _DENSITY[[188, 150, 188]]
    parts = (
        float(red.mean()),
        float(((classes == 1) | (classes == 2)).mean()),
        float((reduce(np.maximum, shares) < _SURE).mean()),
        float((reduce(np.minimum, even.transpose(2, 0, 1)) >= _EMPTY_LEAST).mean()),
    )
    return _Field(red_density, parts)


def _log_odds(share: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Return log odds of a share that is kept from 0 and 1."""
    kept = share.clip(_LEAST_SHARE, 1 - _LEAST_SHARE)
    return np.log(kept / (1 - kept))


def _measured(
    number: int,
    box: Box,
    instances: Instances,
    even: np.ndarray,
    shares: Float[np.ndarray, "classes r c"],
    field: _Field,
    size: _Size,
    *,
    cut_out: bool,
) -> tuple[float, ...]:
    """Measure one object, at the working size."""
    height, width = instances.labels.shape
    working = even.shape[0], even.shape[1]
    factors = working[0] / height, working[1] / width
    window, cell = _at_working_size(number, box, instances, factors, working)
    own = shares[(slice(None), *window)].astype(np.float32)
    likely, nucleus_share = _log_odds(own[1] + own[2]), own[2]
    nucleus = cell & (nucleus_share > 0.5)
    core = nucleus if nucleus.any() else cell
    other = cell & ~nucleus if (cell & ~nucleus).any() else cell
    ring = _grown(cell, _RING_PX) & ~cell
    inside = likely[cell]
    green = _DENSITY[even[window][:, :, 1]]
    nucleus_density = _DENSITY[even[window][core]].mean(axis=0) - field.red_density
    rows, columns = np.nonzero(cell)
    major, minor = _axes(rows, columns)
    edge = cell & _grown(~cell, 1)
    in_core = green[core]
    return (
        float(inside.mean()),
        float(percentile(inside, 10)),
        float(_log_odds(nucleus_share[core]).mean()),
        float(likely[ring].mean()) if ring.any() else 0.0,
        math.log(2 * math.sqrt(cell.sum() / math.pi) / size.red_cell_px),
        float(nucleus.sum() / cell.sum()),
        float(cell.sum() / (4 * math.pi * major * minor)),
        math.log(major / minor),
        *nucleus_density.tolist(),
        float(green[other].mean() - field.red_density[1]),
        float(in_core.std() / max(float(in_core.mean()), 0.02)),
        size.of_working * float(_slope(green, edge).mean()) if edge.any() else 0.0,
        float(touches_border(box, (height, width))),
        float(cut_out),
        *field.shares,
    )


def _grown(region: np.ndarray, by: int) -> np.ndarray:
    """Grow a region by so many pixels along rows and columns, and by as many steps between them."""
    for _ in range(by):
        grown = region.copy()
        grown[1:] |= region[:-1]
        grown[:-1] |= region[1:]
        grown[:, 1:] |= region[:, :-1]
        grown[:, :-1] |= region[:, 1:]
        region = grown
    return region


def _slope(density: np.ndarray, places: np.ndarray) -> Float[np.ndarray, " places"]:
    """Return the change of a smoothed density at some pixels, per pixel."""
    smooth = np.pad(ndimage.gaussian_filter(density, 1.0), 1, mode="reflect", reflect_type="odd")
    rows, columns = np.nonzero(places)
    down = smooth[rows + 2, columns + 1] - smooth[rows, columns + 1]
    along = smooth[rows + 1, columns + 2] - smooth[rows + 1, columns]
    return np.hypot(down, along) / 2


def _at_working_size(
    number: int, box: Box, instances: Instances, factors: tuple[float, float], working: tuple[int, int]
) -> tuple[tuple[slice, slice], np.ndarray]:
    """Return the window around an object at the working size, and its pixels there, at least one."""
    margin = _RING_PX + 1
    starts = (box.top, box.left)
    ends = (box.top + box.height, box.left + box.width)
    rows, columns = (
        slice(max(0, int(start * factor) - margin), min(length, math.ceil(end * factor) + margin))
        for start, end, factor, length in zip(starts, ends, factors, working, strict=True)
    )
    full_rows, full_columns = (
        np.minimum(((np.arange(part.start, part.stop) + 0.5) / factor).astype(np.int64), length - 1)
        for part, factor, length in zip((rows, columns), factors, instances.labels.shape, strict=True)
    )
    cell = instances.labels[np.ix_(full_rows, full_columns)] == number
    if not cell.any():
        cell[cell.shape[0] // 2, cell.shape[1] // 2] = True
    return (rows, columns), cell


def _axes(rows: np.ndarray, columns: np.ndarray) -> tuple[float, float]:
    """Return the standard deviations along the axes of a shape; each pixel is a square."""
    down, along = rows - rows.mean(), columns - columns.mean()
    down2, along2, both = (down**2).mean() + 1 / 12, (along**2).mean() + 1 / 12, (down * along).mean()
    root = math.hypot((down2 - along2) / 2, both)
    middle = (down2 + along2) / 2
    return math.sqrt(middle + root), math.sqrt(max(middle - root, 1 / 144))


class EvidenceNetwork(nn.Module):
    """From the measures of an object to the log odds that it is a white cell.

    Attributes
    ----------
    middle, spread : Tensor of shape (measures,)
        Mean and standard deviation of each measure over the objects that it was fitted to.
    """

    middle: torch.Tensor
    spread: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("middle", torch.zeros(len(MEASURES)))
        self.register_buffer("spread", torch.ones(len(MEASURES)))
        self.hidden = nn.Linear(len(MEASURES), _HIDDEN)
        self.out = nn.Linear(_HIDDEN, 1)

    def forward(self, measures: torch.Tensor) -> torch.Tensor:
        """Return log odds, shape (cells,), of measures, shape (cells, measures)."""
        # Beyond four standard deviations nothing was fitted.
        usual = ((measures - self.middle) / self.spread).clamp(-4, 4)
        return self.out(torch.tanh(self.hidden(usual)))[:, 0]

    def confidence(self, measures: Float[np.ndarray, "cells measures"]) -> Float[np.ndarray, " cells"]:
        """Return the probability that each object is a white cell, 0-1."""
        with torch.inference_mode():
            return torch.sigmoid(self(torch.from_numpy(measures).float())).double().numpy()


@cache
def default_evidence() -> EvidenceNetwork:
    """Return the network with the weights of the package."""
    with resources.as_file(resources.files("leukospike") / "segmentation" / "evidence.safetensors") as path:
        return load_evidence(path)


def save_evidence(network: EvidenceNetwork, path: Path) -> None:
    """Write a network to `path` atomically."""
    write_weights(path, network.state_dict(), _SETTINGS)


def load_evidence(path: Path) -> EvidenceNetwork:
    """Read a network written by `save_evidence`.

    Raises
    ------
    WeightsError
        If the file is missing, not safetensors, of another network or other measures, or holds a value that is not
        float32 or not finite.
    """
    with undrawn():
        network = EvidenceNetwork()
    fill(network, path, _SETTINGS, where="load_evidence", give="Install the package again.", use="Fit it again.")
    return network.eval().requires_grad_(requires_grad=False)
