"""The second stage: scoring cells. A judge is immutable and can be used by several callers at once.

A judge consists of the networks of a run, of the original system or another, or of the package's classifier. Judges
that use cells cut out on black adjust the cells of another laboratory to look like their training cells. This is done
for all cells of one call together, and therefore takes a few passes; cells are read image by image, so that only a few
pictures are in memory at once.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from leukospike.analysis.reading import CellSize, CellsOfImage, CellView, ReadCell
from leukospike.classification.appearance_learning import appearances
from leukospike.classification.cell_model import KIND, CellModel, load_cell_model
from leukospike.classification.classifier import ERROR_RATE, Classifier, default_classifier
from leukospike.classification.export import OnnxJudge
from leukospike.classification.network_input import CROP_PX, cell_crop, seen
from leukospike.classification.source import (
    SHARES,
    CropLook,
    Reference,
    SourceLook,
    common_look,
    diameter_of,
    look_of_crop,
    matched,
    zoomed,
)
from leukospike.confidence import EVEN, SubjectModel
from leukospike.errors import WeightsError
from leukospike.experiments.folder import model_files
from leukospike.images import luma
from leukospike.images.framing import C_NMC_FRAMING, Framing
from leukospike.original.model import FittedModel, load_model
from leukospike.original.preprocessing import spike_map
from leukospike.segmentation.scale import agreed_pixel_sizes
from leukospike.settings import Runtime, choice
from leukospike.storage.digests import digest_of
from leukospike.storage.weights import form_of

FEWEST_MATCHED = 20
"""Number of cells of a source below which their common look is hardly known."""

_BATCH = 64
_CROPS_AT_ONCE = 4 * _BATCH
_SETS = ("", "normal", "leukemic", "normal leukemic")


@dataclass(frozen=True)
class SourceMove:
    """How the cells of another laboratory were adjusted to the training cells."""

    relative_diameters: Float[np.ndarray, " n"]
    """Diameter of each cell relative to the median cell of its source; NaN if a cell was scored unchanged."""
    source: SourceLook
    """Of the moved cells together, once they are brought to size."""
    target: SourceLook

    def apply(self, crop: UInt8[np.ndarray, "rows columns 3"], place: int) -> UInt8[np.ndarray, "rows columns 3"]:
        """Return the crop of the cell at a position as it was scored."""
        relative = self.relative_diameters[place]
        if np.isnan(relative):
            return crop
        return matched(_sized(crop, relative, self.target)[None], self.source, self.target)[0]


@dataclass(frozen=True)
class Judgements:
    """Results for cells, in their order."""

    ways: Float[np.ndarray, "ways n"]
    """Probability of being leukemic, 0 to 1, under each assumption, all equally likely; NaN for blank pictures."""
    outlier: Bool[np.ndarray, " n"]
    """Whether a cell is unlike all training cells."""
    sets: tuple[str, ...] | None = None
    """Labels that cannot be ruled out; None if the judge returns no sets."""
    distance: Float[np.ndarray, " n"] | None = None
    """Distance from the training cells; None if the judge measures none."""
    move: SourceMove | None = None
    """How cells were adjusted to the training cells, assuming that half of them are blasts; None if none were."""
    n_as_given: int = 0
    """Number of cells scored unchanged because they already look like the training cells."""
    n_moved: int = 0
    """Number of cells that were cut out and adjusted to the training cells."""
    knows_some_pixel_sizes: bool = False
    """Whether the pixel size is known for only some of the adjusted cells."""

    @property
    def probability(self) -> Float[np.ndarray, " n"]:
        """Mean over the assumptions."""
        return self.ways.mean(axis=0)


@dataclass(frozen=True)
class JudgeFacts:
    """Identity of the model behind a judge."""

    name: str
    networks: int
    image_size: int
    """Side of the pictures that the networks see, pixels."""
    digest: str
    """Of all weights."""
    backbone: str | None = None
    """None for the original system and for the package's classifier."""
    folds: int | None = None
    """Folds of the run; None for the package's classifier."""
    card: Mapping[str, Any] | None = None
    """Model card of the package's classifier; None for the networks of a run, like the next two."""
    error_rate: float | None = None
    """Share of cells of new subjects whose set may miss the label."""
    outlier_distance: float | None = None

    def to_json(self) -> dict[str, object]:
        """Return the facts as JSON data, without fields that are None."""
        order = ("name", "backbone", "folds", "networks", "image_size", "digest", "card", "error_rate")
        told = {name: getattr(self, name) for name in (*order, "outlier_distance")}
        return {name: value for name, value in told.items() if value is not None}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "JudgeFacts":
        """Read the output of `to_json`; older folders lack some fields."""
        return cls(
            name=str(content.get("name", "")),
            networks=int(content.get("networks", 0)),
            image_size=int(content.get("image_size", 0)),
            digest=str(content.get("digest", "")),
            backbone=content.get("backbone"),
            folds=content.get("folds"),
            card=content.get("card"),
            error_rate=content.get("error_rate"),
            outlier_distance=content.get("outlier_distance"),
        )


@runtime_checkable
class Judge(Protocol):
    """Scores the probability that cells are leukemic."""

    @property
    def view(self) -> CellView:
        """What it stores of a cell, and how cells must be shown."""
        ...

    @property
    def framing_from(self) -> str:
        """Source of the framing: "model", or "C-NMC" if the model does not record it."""
        ...

    @property
    def facts(self) -> JudgeFacts:
        """Identity of the model."""
        ...

    @property
    def subject_model(self) -> SubjectModel | None:
        """Model of the probability of leukemia by numbers of calls; None if not fitted."""
        ...

    def judge(self, images: Sequence[CellsOfImage]) -> Judgements:
        """Score the cells of images, which must come from one laboratory."""
        ...


@dataclass(frozen=True)
class SpikeView:
    """Input of the original system's networks: the map of a cell's first spikes."""

    framing: Framing
    size: int
    """Side of the maps, pixels."""
    window: int
    """Side of the blur's kernel, pixels."""
    cuts_out = False

    def see(self, shown: UInt8[np.ndarray, "rows columns 3"]) -> Float[np.ndarray, "size size"]:
        """Compute the spikes of a cell."""
        return spike_map(luma(shown), size=self.size, window=self.window)

    def is_blank(self, seen: Float[np.ndarray, "size size"]) -> bool:
        """Whether no pixel spikes."""
        return not seen.any()


@dataclass(frozen=True)
class CropView:
    """Input of networks on cells that are cut out: a small square colour picture."""

    framing = C_NMC_FRAMING
    cuts_out = True

    def see(self, shown: UInt8[np.ndarray, "rows columns 3"]) -> UInt8[np.ndarray, "96 96 3"]:
        """Crop the middle of the picture and reduce it."""
        return cell_crop(shown)

    def is_blank(self, seen: UInt8[np.ndarray, "96 96 3"]) -> bool:
        """Whether all is black."""
        return not _shows_something(seen)


def _shows_something(crop: UInt8[np.ndarray, "96 96 3"]) -> bool:
    """Tell whether there is a cell in a crop."""
    return bool(seen(crop).any())


@dataclass(frozen=True)
class SpikeRunJudge:
    """The original system's networks of a run, one per fold: the mean of their probabilities, uncalibrated."""

    models: tuple[FittedModel, ...] = field(repr=False)
    name: str
    """Of the run."""
    subject_model = None

    def __post_init__(self) -> None:
        """Refuse networks with different inputs."""
        if len({(model.image_size, model.blur_window) for model in self.models}) > 1:
            msg = "models must share one image size"
            raise WeightsError(
                msg, where="analyze", got=f"several in {self.name}", advice="Pass a single weights file."
            )

    @property
    def view(self) -> SpikeView:
        """What the networks see."""
        first = self.models[0]
        return SpikeView(first.framing or C_NMC_FRAMING, first.image_size, first.blur_window)

    @property
    def framing_from(self) -> str:
        """Source of the framing."""
        return "model" if self.models[0].framing else "C-NMC"

    @property
    def facts(self) -> JudgeFacts:
        """The run, its networks and their digest."""
        tensors: list[torch.Tensor] = []
        for model in self.models:
            tensors += [torch.from_numpy(model.components.basis), *model.network.state_dict().values()]
        n = len(self.models)
        return JudgeFacts(self.name, n, self.models[0].image_size, digest_of(tensors), folds=n)

    def judge(self, images: Sequence[CellsOfImage]) -> Judgements:
        """Return the mean probability of the networks."""
        probabilities = [
            np.mean([model.probabilities(maps) for model in self.models], axis=0)
            for maps in _in_batches(_all_seen(images), _BATCH)
        ]
        ways = np.concatenate([np.zeros(0), *probabilities])[None]
        return Judgements(ways, np.zeros(ways.shape[1], bool))


@dataclass(frozen=True)
class CropRunJudge:
    """The networks of a run on cells cut out: the mean of the folds' probabilities, uncalibrated."""

    models: tuple[CellModel, ...] = field(repr=False)
    name: str
    """Of the run."""
    view = CropView()
    framing_from = "model"
    subject_model = None

    def __post_init__(self) -> None:
        """Refuse networks of several kinds."""
        if len({model.backbone for model in self.models}) > 1:
            msg = "models must share one backbone"
            raise WeightsError(
                msg, where="analyze", got=f"several in {self.name}", advice="Pass a single weights file."
            )

    @property
    def facts(self) -> JudgeFacts:
        """The run, its backbone and networks, and their digest."""
        tensors = [
            tensor for model in self.models for network in model.networks for tensor in network.state_dict().values()
        ]
        return JudgeFacts(
            self.name,
            self._n_networks,
            CROP_PX,
            digest_of(tensors),
            backbone=self.models[0].backbone,
            folds=len(self.models),
        )

    def judge(self, images: Sequence[CellsOfImage]) -> Judgements:
        """Adjust the cells of another laboratory to the training cells, and return the probabilities."""
        judged = _judged_in_ways(images, self.models[0].reference, self._probabilities, 1)
        return Judgements(judged.values[:, :, 0], np.zeros(judged.values.shape[1], bool), **judged.about)

    def _probabilities(self, batches: Iterable[UInt8[np.ndarray, "n 96 96 3"]]) -> Float[np.ndarray, "m 1"]:
        """Return the mean probability of each crop."""
        if self.models[0].sees_measures:
            measures = np.concatenate([appearances(crops) for crops in batches])
            return np.mean([model.probabilities_of(measures) for model in self.models], axis=0)[:, None]
        means = [np.mean([model.probabilities(crops) for model in self.models], axis=0) for crops in batches]
        return np.concatenate(means)[:, None]

    @property
    def _n_networks(self) -> int:
        """Count the networks of all folds."""
        return sum(len(model.networks) for model in self.models)


@dataclass(frozen=True)
class PackageJudge:
    """The package's classifier: calibrated, with prediction sets and outliers."""

    classifier: Classifier = field(repr=False)
    onnx: OnnxJudge | None = None
    """Replaces the classifier's networks: the graph written by `classification.export`."""
    view = CropView()
    framing_from = "model"

    @property
    def facts(self) -> JudgeFacts:
        """The classifier, with its card."""
        return JudgeFacts(
            "leukospike",
            len(self.classifier.networks),
            C_NMC_FRAMING.side_px,
            self.classifier.digest(),
            card=dict(self.classifier.card),
            error_rate=ERROR_RATE,
            outlier_distance=self.classifier.confidence.outlier_distance,
        )

    @property
    def subject_model(self) -> SubjectModel:
        """Model of the probability of leukemia by numbers of calls."""
        return self.classifier.confidence.subjects

    def judge(self, images: Sequence[CellsOfImage]) -> Judgements:
        """Adjust the cells of another laboratory to the training cells, and score all."""
        judged, confidence = (
            _judged_in_ways(images, self.classifier.reference, self._judged, 2),
            self.classifier.confidence,
        )
        ways, distance = judged.values[:, :, 0], judged.values[:, :, 1].mean(axis=0)
        possible = confidence.conformal.sets(ways.mean(axis=0))
        sets = tuple(_SETS[normal + 2 * leukemic] for normal, leukemic in possible.tolist())
        return Judgements(ways, distance > confidence.outlier_distance, sets, distance, **judged.about)

    def _judged(self, batches: Iterable[UInt8[np.ndarray, "n 96 96 3"]]) -> Float[np.ndarray, "m 2"]:
        """Return probability and distance of each crop."""
        if self.onnx is not None:
            judged = [self.onnx.judge(crops) for crops in batches]
            return np.concatenate([np.stack([each.probability, each.distance], axis=1) for each in judged])
        measures = np.concatenate([appearances(crops) for crops in batches])
        judgement = self.classifier.judge_appearances(measures)
        return np.stack([judgement.probability, judgement.distance], axis=1)


def load_classifier(source: str | Path | None = None, *, runtime: Runtime | str = Runtime.TORCH) -> Judge:
    """Load a classifier of cells, for `analysis.analyze_images` and for the facts it states of itself.

    Parameters
    ----------
    source : str or Path, optional
        Run folder, whose models (one per fold) are averaged, or one weights file. Default: the package's classifier.
    runtime : Runtime or str
        What computes the classifier of the package.

    Returns
    -------
    Judge

    Raises
    ------
    ConfigError
        If `runtime` is unknown, or a model needs timm, which is not installed.
    ExportError
        If onnxruntime is requested but not installed.
    WeightsError
        If there is no model, or one is unusable.

    Examples
    --------
    >>> import leukospike as ls
    >>> classifier = ls.load_classifier()
    >>> classifier.facts.name, classifier.facts.networks
    ('leukospike', 3)
    """
    chosen = choice(Runtime, runtime, name="runtime", where="load_classifier")
    if source is None:
        classifier = default_classifier()
        return PackageJudge(classifier, OnnxJudge(classifier) if chosen is Runtime.ONNX else None)
    paths, name = model_files(Path(source)), Path(source).resolve().name
    if (form_of(paths[0]) or "").startswith(KIND):
        return CropRunJudge(tuple(load_cell_model(path) for path in paths), name)
    return SpikeRunJudge(tuple(load_model(path) for path in paths), name)


@dataclass(frozen=True)
class _InWays:
    """Outputs of a function for all cells, under each assumption, and how the cells were adjusted."""

    values: Float[np.ndarray, "ways n k"]
    about: dict[str, Any]
    """The corresponding fields of `Judgements`."""


def _judged_in_ways(
    images: Sequence[CellsOfImage],
    reference: Reference,
    judge: Callable[[Iterable[UInt8[np.ndarray, "n 96 96 3"]]], Float[np.ndarray, "m k"]],
    n_columns: int,
) -> _InWays:
    """Score all cells; those of another laboratory are adjusted to the training cells, once per share in `SHARES`."""
    cells = [cell for image in images for cell in image.cells]
    n_given = sum(cell.size is None for cell in cells)
    n_moved = sum(cell.size is not None and cell.size.diameter_px > 0 for cell in cells)
    about: dict[str, Any] = {"n_as_given": n_given, "n_moved": n_moved}
    if not cells:
        return _InWays(np.zeros((1, 0, n_columns)), about)
    relative, about["knows_some_pixel_sizes"] = _relative_diameters(cells)
    there = ~np.isnan(relative)
    if not there.any():
        return _InWays(judge(_in_batches(_all_seen(images), _CROPS_AT_ONCE))[None], about)
    ways: list[Float[np.ndarray, "n k"]] = []
    for share in SHARES:
        target = reference.look(share)
        source = _look_together(images, relative, target)
        # Cells that need no adjustment look the same under every assumption, and are scored once.
        crops = _moved_crops(images, relative, source, target, others=not ways)
        judged = judge(_in_batches(crops, _CROPS_AT_ONCE))
        if ways:
            everything = ways[0].copy()
            everything[there] = judged
            ways.append(everything)
        else:
            ways.append(judged)
        if share == EVEN:
            about["move"] = SourceMove(relative, source, target)
    return _InWays(np.stack(ways), about)


def _relative_diameters(cells: Sequence[ReadCell]) -> tuple[Float[np.ndarray, " cells"], bool]:
    """Return the diameters of cells relative to the median cell of their source, and whether pixel sizes are mixed.

    NaN for cells that need no adjustment, and for blank ones.
    """
    relative = np.full(len(cells), np.nan)
    places = [place for place, cell in enumerate(cells) if cell.size is not None and not cell.is_blank]
    sizes: list[CellSize] = [size for place in places if (size := cells[place].size) is not None]
    if not sizes:
        return relative, False
    agreed = agreed_pixel_sizes([size.pixel_size for size in sizes], [size.frame for size in sizes])
    um_per_px = [None if size is None else size.um_per_px for size in agreed]
    known = np.array([size is not None for size in um_per_px])
    diameters = np.array([size.diameter_px * (um or 1) for size, um in zip(sizes, um_per_px, strict=True)])
    for sort in (known, ~known):
        # Micrometres and pixels are treated separately, each with its own median.
        if sort.any():
            diameters[sort] /= np.median(diameters[sort])
    relative[places] = diameters
    return relative, bool(known.any() and not known.all())


def _sized(
    crop: UInt8[np.ndarray, "rows columns 3"], relative: float, target: SourceLook
) -> UInt8[np.ndarray, "rows columns 3"]:
    """Scale a cell to its size among the training cells."""
    return zoomed(crop, target.diameter * relative / diameter_of(crop))


def _look_together(
    images: Sequence[CellsOfImage], relative: Float[np.ndarray, " cells"], target: SourceLook
) -> SourceLook:
    """Measure the common look of cells after scaling."""
    looks: list[CropLook] = []
    first = 0
    for image in images:
        own = relative[first : first + len(image.cells)]
        first += len(image.cells)
        if np.isnan(own).all():
            continue
        looks += [
            look_of_crop(_sized(crop, size, target))
            for crop, size in zip(image.seen, own.tolist(), strict=True)
            if not np.isnan(size)
        ]
    return common_look(looks)


def _moved_crops(
    images: Sequence[CellsOfImage],
    relative: Float[np.ndarray, " cells"],
    source: SourceLook,
    target: SourceLook,
    *,
    others: bool,
) -> Iterator[UInt8[np.ndarray, "n 96 96 3"]]:
    """Yield the crops of each image, with those of another laboratory adjusted, and the others optionally."""
    first = 0
    for image in images:
        own = relative[first : first + len(image.cells)]
        first += len(image.cells)
        there = ~np.isnan(own)
        if not len(own) or not (others or there.any()):
            continue
        crops = np.array(image.seen)
        if there.any():
            sized = [_sized(crops[place], own[place], target) for place in np.flatnonzero(there)]
            crops[there] = matched(np.stack(sized), source, target)
        yield crops if others else crops[there]


def _all_seen(images: Sequence[CellsOfImage]) -> Iterator[np.ndarray]:
    """Yield the stored cells of each image that has any."""
    for image in images:
        if image.cells:
            yield image.seen


def _in_batches(chunks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Combine chunks into batches of one size; the last may be smaller."""
    waiting: list[np.ndarray] = []
    n_waiting = 0
    for chunk in chunks:
        waiting.append(chunk)
        n_waiting += len(chunk)
        while n_waiting >= size:
            together = np.concatenate(waiting)
            yield together[:size]
            waiting, n_waiting = [together[size:]], n_waiting - size
    if n_waiting:
        yield np.concatenate(waiting)
