"""What the report shows of an explained cell: three pictures, and text."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import colormaps
from PIL import Image
from scipy.ndimage import gaussian_filter

from leukospike.classification.explanation import Explanation
from leukospike.classification.morphology import MEASURES, Place
from leukospike.report.figures import LEUKEMIC, NORMAL, SILENT
from leukospike.report.words import probability

_SIDE_PX = 192
_SMOOTH_PX = 2.0  # of the picture: single pixels of a map tell more of the network's sampling than of the cell
_MOST = 0.995  # share of the pixels of all maps that the colours are not yet full for
_STRONGEST = 0.85  # share of colour in a pixel where it is full, so that the cell still shows
_DIGITS = {"diameter_px": 0, "contrast": 3, "clumping": 4}


@dataclass(frozen=True)
class ShownKind:
    """One kind that the cell may be of."""

    name: str
    probability: str


@dataclass(frozen=True)
class ShownNeighbour:
    """One similar training cell."""

    image: str
    subject: str
    kind: str
    laboratory: str
    similarity: str


@dataclass(frozen=True)
class ShownPlace:
    """One measure and where it lies."""

    meaning: str
    value: str
    words: str


@dataclass(frozen=True)
class ExplainedCell:
    """One cell on the page."""

    image: str
    cell: int
    """Number in its field; 0 where the image shows a single cell."""
    probability: str
    decision: str
    flags: str
    """Of the cell, as in cells.csv."""
    at_home: bool
    """Whether sizes and colours are compared with C-NMC's cells."""
    picture: UInt8[np.ndarray, "192 192 3"]
    overlay: UInt8[np.ndarray, "192 192 3"]
    spike_times: UInt8[np.ndarray, "192 192 3"]
    kinds: list[ShownKind]
    neighbours: list[ShownNeighbour]
    places: list[ShownPlace]


def explained_cells(
    explanations: Sequence[Explanation], *, threshold: float, flags: Mapping[tuple[str, int], str], fields: Set[str]
) -> list[ExplainedCell]:
    """Prepare what the page lays out.

    Parameters
    ----------
    explanations : sequence of Explanation
    threshold : float
        Probability from which a cell is called leukemic.
    flags : mapping
        Of cells, by image and number.
    fields : set of str
        Images that are whole fields: only a cell of those is told by its number.

    Returns
    -------
    list of ExplainedCell
        In the same order; the colours of all maps mean the same.
    """
    smooth = [smoothed(cell.attribution, cell.picture) for cell in explanations]
    full = full_colour(smooth)
    return [
        ExplainedCell(
            image=cell.image,
            cell=cell.number if cell.image in fields else 0,
            probability=probability(cell.probability),
            decision="leukemic" if cell.probability >= threshold else "normal",
            flags=flags.get((cell.image, cell.number), ""),
            at_home=cell.at_home,
            picture=enlarged(cell.picture),
            overlay=overlay(cell.picture, its_map, full=full),
            spike_times=spike_time_colours(cell.latency),
            kinds=[ShownKind(kind.kind, probability(kind.probability)) for kind in cell.kinds],
            neighbours=[
                ShownNeighbour(
                    neighbour.image,
                    neighbour.subject,
                    neighbour.kind,
                    neighbour.laboratory,
                    f"{neighbour.similarity:.2f}",
                )
                for neighbour in cell.neighbours
            ],
            places=[_place(place) for place in cell.places],
        )
        for cell, its_map in zip(explanations, smooth, strict=True)
    ]


def smoothed(
    attribution: Float[np.ndarray, "rows columns"], picture: UInt8[np.ndarray, "rows columns 3"]
) -> Float[np.ndarray, "rows columns"]:
    """Spread each pixel's share over its neighbours within the cell; the sum stays what it is but for the rim's."""
    return gaussian_filter(attribution, _SMOOTH_PX) * picture.any(axis=2)


def full_colour(maps: Sequence[Float[np.ndarray, "rows columns"]]) -> float:
    """Return the share in log odds that gets the full colour: one for all maps, so that faint ones look faint."""
    values = np.abs(np.concatenate([values[values != 0] for values in maps])) if maps else np.zeros(0)
    return float(np.quantile(values, _MOST)) if len(values) else 1.0


def overlay(
    picture: UInt8[np.ndarray, "rows columns 3"], smooth: Float[np.ndarray, "rows columns"], *, full: float
) -> UInt8[np.ndarray, "192 192 3"]:
    """Lay a map over the cell in grey: vermilion towards a lymphoblast, blue away from it.

    Parameters
    ----------
    picture : ndarray of shape (rows, columns, 3)
        RGB, uint8, 0-255.
    smooth : ndarray of shape (rows, columns)
        Of `smoothed`.
    full : float
        Of `full_colour`, positive.

    Returns
    -------
    ndarray of shape (192, 192, 3)
        RGB, uint8.
    """
    grey = picture.mean(axis=2, keepdims=True).repeat(3, axis=2)
    towards = np.where(smooth[:, :, None] > 0, _rgb(LEUKEMIC), _rgb(NORMAL))
    strength = np.clip(np.abs(smooth) / full, 0, 1)[:, :, None] * _STRONGEST
    return enlarged(np.rint(grey * (1 - strength) + towards * strength).astype(np.uint8))


def spike_time_colours(latency: UInt8[np.ndarray, "rows columns"]) -> UInt8[np.ndarray, "192 192 3"]:
    """Colour spike times as the other figures do: dark early, light late, white never."""
    colours = np.ones((SILENT + 1, 3))
    colours[:SILENT] = colormaps["viridis"](np.linspace(0.0, 0.9, SILENT))[:, :3]
    drawn = np.rint(colours[np.minimum(latency, SILENT)] * 255).astype(np.uint8)
    return enlarged(drawn, Image.Resampling.NEAREST)


def enlarged(
    pixels: UInt8[np.ndarray, "rows columns 3"], way: Image.Resampling = Image.Resampling.BICUBIC
) -> UInt8[np.ndarray, "192 192 3"]:
    """Resize a picture to the size that it has on the page."""
    return np.asarray(Image.fromarray(pixels).resize((_SIDE_PX, _SIDE_PX), way))


def _place(place: Place) -> ShownPlace:
    """Write one measure."""
    return ShownPlace(MEASURES[place.measure], f"{place.value:.{_DIGITS.get(place.measure, 2)}f}", place.words)


def _rgb(colour: str) -> tuple[int, ...]:
    """Read #rrggbb."""
    return tuple(bytes.fromhex(colour[1:]))
