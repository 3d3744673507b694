"""Explanations of what a cell is taken for, and the files that hold them."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from leukospike.classification.appearance_learning import appearances
from leukospike.classification.attribution import attribution
from leukospike.classification.classifier import Classifier, as_shown, default_classifier
from leukospike.classification.kind_input import INPUT_PX, at_one_size, coarse_crop
from leukospike.classification.kinds import KINDS
from leukospike.classification.morphology import COMPARABLE, MorphologyReference, Place, morphology
from leukospike.classification.neighbours import Neighbour, TrainingIndex
from leukospike.classification.network import colours_of
from leukospike.classification.network_input import SEEN
from leukospike.errors import RunError, WeightsError
from leukospike.images import luma
from leukospike.spikes import SILENT, latency_map
from leukospike.storage.files import write_text, written_whole
from leukospike.storage.weights import read_weights, write_weights, wrong_part

JSON_NAME = "explanations.json"
NPZ_NAME = "explanations.npz"

MOST_KINDS, LEAST_SHARE = 3, 0.01
"""Number of kinds named at most, and the probability below which none is."""

_FORMAT = "leukospike-training-cells-2"


@dataclass(frozen=True)
class CellToExplain:
    """One cell, as it was scored."""

    image: str
    number: int
    """Number in its image, as in the tables, from 1; 0 if no segmenter has numbered it."""
    probability: float
    """That the tables give; kept, not used."""
    pixels: UInt8[np.ndarray, "192 192 3"]
    """As `kind_input.cell_pixels` makes them."""
    given: bool
    """As of `Classifier.judge`, like the next one."""
    diameter_um: float
    segmented: Mapping[str, float]
    """Measurements of the segmenter; may be empty."""


@dataclass(frozen=True)
class LikelyKind:
    """One kind that a cell may be of."""

    kind: str
    probability: float


@dataclass(frozen=True)
class Explanation:
    """Explanation of one cell."""

    image: str
    number: int
    probability: float
    kinds: tuple[LikelyKind, ...]
    """Likeliest first; at most `MOST_KINDS`, each of at least `LEAST_SHARE`."""
    at_home: bool
    """Whether the picture came as C-NMC's do and looks like them."""
    neighbours: tuple[Neighbour, ...]
    """Most similar first."""
    places: tuple[Place, ...]
    """Only of `morphology.COMPARABLE` measures unless the cell is at home."""
    picture: UInt8[np.ndarray, "128 128 3"]
    """The cell at the size, and not in the colours, in which the network sees it."""
    attribution: Float[np.ndarray, "128 128"]
    """Log odds of each pixel: above 0 towards a lymphoblast; float32."""
    latency: UInt8[np.ndarray, "128 128"]
    """Of `spike_times`."""


@dataclass(frozen=True)
class Explainer:
    """A classifier with information on its training cells."""

    classifier: Classifier
    index: TrainingIndex
    reference: MorphologyReference

    def explain(self, cells: Sequence[CellToExplain]) -> list[Explanation]:
        """Explain cells.

        Parameters
        ----------
        cells : sequence of CellToExplain

        Returns
        -------
        list of Explanation
            In their order.
        """
        if not cells:
            return []
        pixels = np.stack([cell.pixels for cell in cells])
        given = np.array([cell.given for cell in cells], bool)
        sizes = np.array([cell.diameter_um for cell in cells], np.float32)
        judged = self.classifier.judge(pixels, given=given, diameter_um=sizes)
        stacked = torch.from_numpy(pixels)
        shown, diameters, at_home = as_shown(stacked, torch.from_numpy(given), torch.from_numpy(sizes))
        maps = attribution(self.classifier.network, shown, diameters)
        sized = at_one_size(colours_of(stacked))[0]
        pictures = (sized * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        measures = appearances(np.stack([coarse_crop(cell) for cell in pixels]))
        return [
            Explanation(
                cell.image,
                cell.number,
                cell.probability,
                likely_kinds(judged.kinds[place]),
                is_home,
                tuple(self.index.nearest(judged.axes[place])),
                tuple(self._places(morphology(measures[place], cell.segmented), is_home=is_home)),
                pictures[place],
                maps[place],
                spike_times(pictures[place]),
            )
            for place, (cell, is_home) in enumerate(zip(cells, at_home.tolist(), strict=True))
        ]

    def _places(self, measured: Mapping[str, float], *, is_home: bool) -> list[Place]:
        """Compare what can be compared with C-NMC's cells: lengths and colours only of a cell that is like them."""
        return self.reference.places({name: value for name, value in measured.items() if is_home or name in COMPARABLE})


def likely_kinds(probabilities: Float[np.ndarray, " kinds"]) -> tuple[LikelyKind, ...]:
    """Return the likeliest kinds, likeliest first.

    Examples
    --------
    >>> likely_kinds(np.array([0.6, 0.005, 0.395, *[0.0] * 8]))
    (LikelyKind(kind='lymphoblast', probability=0.6), LikelyKind(kind='lymphocyte', probability=0.395))
    """
    order = np.argsort(-probabilities, kind="stable")[:MOST_KINDS].tolist()
    return tuple(
        LikelyKind(KINDS[place].value, float(probabilities[place]))
        for place in order
        if probabilities[place] >= LEAST_SHARE
    )


def save_explainer(explainer: Explainer, path: Path) -> None:
    """Write all but the classifier to `path`, whole or not at all: safetensors, with the rest in its header."""
    settings = {"format": _FORMAT, "classifier": explainer.classifier.digest()}
    settings |= {"index": explainer.index.settings(), "reference": explainer.reference.to_json()}
    write_weights(path, explainer.index.tensors(), settings)


def load_explainer(classifier: Classifier, path: Path) -> Explainer:
    """Read what `save_explainer` wrote.

    Raises
    ------
    WeightsError
        If the file is missing, is of another classifier or program, or holds a part that is missing or impossible.
    """
    where = "load_explainer"
    kinds = (torch.float32, torch.float16, torch.int8, torch.uint8)
    give, use = "Install the package again.", "Create the file again."
    stored = read_weights(path, form=_FORMAT, where=where, give=give, use=use, kinds=kinds)
    if stored.settings.get("classifier") != classifier.digest():
        msg = "file must belong to the same classifier"
        raise WeightsError(msg, where=where, got=f"{path.name} of another one", advice=use)
    try:
        index = TrainingIndex.stored(stored.tensors, stored.settings["index"])
        reference = MorphologyReference.from_json(stored.settings["reference"])
    except KeyError as error:
        raise wrong_part(where, path, error) from error
    return Explainer(classifier, index, reference)


@cache
def default_explainer() -> Explainer:
    """Return the explainer of the package's classifier."""
    with resources.as_file(resources.files("leukospike") / "classification" / "training_cells.safetensors") as path:
        return load_explainer(default_classifier(), path)


def chosen_cells(probability: Float[np.ndarray, " n"], n_chosen: int, *, threshold: float) -> list[int]:
    """Choose the cells to explain: those with the least and the most certain scores.

    Parameters
    ----------
    probability : ndarray of shape (n,)
        NaN for cells without one, which are not chosen.
    n_chosen : int
        Not negative.
    threshold : float
        Probability from which a cell is called leukemic.

    Returns
    -------
    list of int
        Their indices, highest probability first: half of them nearest to the threshold, the others highest and lowest;
        all cells if there are no more.

    Examples
    --------
    >>> chosen_cells(np.array([0.1, 0.9, 0.55, 0.45, 0.2, 0.99, np.nan]), 4, threshold=0.5)
    [5, 2, 3, 0]
    """
    order = np.argsort(-probability, kind="stable")
    order = order[np.isfinite(probability[order])]
    nearest = np.argsort(np.abs(probability[order] - threshold), kind="stable")
    middle = set(nearest[: -(-n_chosen // 2)].tolist())
    rest = [rank for rank in range(len(order)) if rank not in middle]
    n_rest = min(n_chosen // 2, len(rest))
    ends = {*rest[: -(-n_rest // 2)], *rest[len(rest) - n_rest // 2 :]}
    return [int(order[rank]) for rank in sorted(middle | ends)]


def spike_times(picture: UInt8[np.ndarray, "rows columns 3"]) -> UInt8[np.ndarray, "rows columns"]:
    """Return the spike time of each pixel in the original front end, which detects edges: `latency_map` of a cell.

    Parameters
    ----------
    picture : ndarray of shape (rows, columns, 3)
        RGB, uint8, 0-255, black around the cell.

    Returns
    -------
    ndarray of shape (rows, columns), uint8
        0 (first) to 14; 15 is silent, and outside the cell.
    """
    latency = latency_map(torch.from_numpy(luma(picture))[None, None]).latency[0].numpy()
    margin = (len(picture) - len(latency)) // 2
    whole = np.pad(latency, margin, constant_values=SILENT)
    return np.where(picture.max(axis=2) >= SEEN, whole, np.uint8(SILENT))


def write_explanations(folder: Path, explanations: Sequence[Explanation]) -> None:
    """Write explanations to `explanations.json`, and their pictures to `explanations.npz`.

    Parameters
    ----------
    folder : Path
        An existing folder; both files are replaced atomically.
    explanations : sequence of Explanation
        In display order.
    """
    side = (INPUT_PX, INPUT_PX)

    def stacked(arrays: Sequence[np.ndarray], shape: tuple[int, ...], kind: type) -> np.ndarray:
        return np.stack(arrays) if arrays else np.zeros((0, *shape), kind)

    with written_whole(folder / NPZ_NAME) as part:
        np.savez_compressed(
            part,
            images=np.array([cell.image for cell in explanations], dtype=str),
            cells=np.array([cell.number for cell in explanations], dtype=np.int64),
            pictures=stacked([cell.picture for cell in explanations], (*side, 3), np.uint8),
            attributions=stacked([cell.attribution for cell in explanations], side, np.float32),
            latencies=stacked([cell.latency for cell in explanations], side, np.uint8),
        )
    told = [
        {
            "image": cell.image,
            "cell": cell.number,
            "probability": cell.probability,
            "kinds": [asdict(kind) for kind in cell.kinds],
            "at_home": cell.at_home,
            "neighbours": [asdict(neighbour) for neighbour in cell.neighbours],
            "places": [asdict(place) for place in cell.places],
        }
        for cell in explanations
    ]
    write_text(folder / JSON_NAME, json.dumps(told, indent=1))


def read_explanations(folder: Path) -> tuple[Explanation, ...]:
    """Read the files written by `write_explanations`.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    tuple of Explanation
        Empty if neither file is there.

    Raises
    ------
    RunError
        If only one of the files is there, one cannot be read, or they are not of the same cells.
    """
    paths = [folder / JSON_NAME, folder / NPZ_NAME]
    if not any(path.exists() for path in paths):
        return ()
    try:
        told: list[dict[str, Any]] = json.loads(paths[0].read_text(encoding="utf-8"))
        with np.load(paths[1], allow_pickle=False) as arrays:
            names = list(zip(arrays["images"].tolist(), arrays["cells"].tolist(), strict=True))
            pictures = [arrays[name] for name in ("pictures", "attributions", "latencies")]
        if names != [(entry["image"], entry["cell"]) for entry in told]:
            msg = "the two files describe different cells"
            raise ValueError(msg)
        return tuple(
            Explanation(
                entry["image"],
                entry["cell"],
                float(entry["probability"]),
                tuple(LikelyKind(**kind) for kind in entry["kinds"]),
                bool(entry["at_home"]),
                tuple(Neighbour(**neighbour) for neighbour in entry["neighbours"]),
                tuple(Place(**place) for place in entry["places"]),
                *shown,
            )
            for entry, *shown in zip(told, *pictures, strict=True)
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())
        msg = f"{JSON_NAME} and {NPZ_NAME} must be as leukospike wrote them"
        raise RunError(
            msg, where="read_explanations", got=f"{folder} ({reason})", advice="Create the folder again."
        ) from error
