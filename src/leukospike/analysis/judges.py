"""The second stage: judging cells. A judge is immutable and can be used by several callers at once.

A judge consists of the networks of a run, of the original system or another, or of the package's classifier. Each cell
is judged as it is, whatever other cells there are. Cells are read image by image, so that only a few pictures are in
memory at once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from leukospike.analysis.reading import CellSize, CellsOfImage, CellView
from leukospike.classification.appearance_learning import appearances
from leukospike.classification.cell_model import KIND, CellModel, load_cell_model
from leukospike.classification.classifier import (
    ERROR_RATE,
    FORMAT,
    Classifier,
    Judgement,
    default_classifier,
    read_classifier,
)
from leukospike.classification.export import OnnxJudge
from leukospike.classification.kind_input import cell_pixels
from leukospike.classification.kinds import KINDS
from leukospike.classification.network_input import CROP_PX, cell_crop, seen
from leukospike.confidence import SubjectModel
from leukospike.errors import WeightsError
from leukospike.experiments.folder import MODEL, model_files
from leukospike.images import luma
from leukospike.images.framing import C_NMC_FRAMING, Framing
from leukospike.original.model import FittedModel, load_model
from leukospike.original.preprocessing import spike_map
from leukospike.segmentation.scale import agreed_pixel_sizes
from leukospike.settings import Runtime, choice
from leukospike.storage.digests import digest_of
from leukospike.storage.weights import form_of

_BATCH = 64


@dataclass(frozen=True)
class Judgements:
    """Results for cells, in their order."""

    probability: Float[np.ndarray, " n"]
    """Of being leukemic, 0 to 1; NaN for blank pictures."""
    outlier: Bool[np.ndarray, " n"]
    """Whether a cell is unlike all training cells."""
    kinds: Float[np.ndarray, "n kinds"] | None = None
    """Probability of each of `kinds.KINDS`; None if the judge tells no kinds, like the next two."""
    sets: tuple[str, ...] | None = None
    """Kinds that cannot be ruled out."""
    distance: Float[np.ndarray, " n"] | None = None
    """Distance from the training cells."""
    n_as_given: int = 0
    """Number of cells whose picture came in C-NMC's form."""


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
    """Input of the networks of a run on cells that are cut out: a small square colour picture."""

    framing = C_NMC_FRAMING
    cuts_out = True

    def see(self, shown: UInt8[np.ndarray, "rows columns 3"]) -> UInt8[np.ndarray, "96 96 3"]:
        """Crop the middle of the picture and reduce it."""
        return cell_crop(shown)

    def is_blank(self, seen: UInt8[np.ndarray, "96 96 3"]) -> bool:
        """Whether all is black."""
        return not _shows_something(seen)


@dataclass(frozen=True)
class FineView:
    """Input of the package's classifier: the same at twice the resolution."""

    framing = C_NMC_FRAMING
    cuts_out = True

    def see(self, shown: UInt8[np.ndarray, "rows columns 3"]) -> UInt8[np.ndarray, "192 192 3"]:
        """Crop the middle of the picture and reduce it."""
        return cell_pixels(shown)

    def is_blank(self, seen: UInt8[np.ndarray, "192 192 3"]) -> bool:
        """Whether all is black."""
        return not _shows_something(seen)


def _shows_something(crop: UInt8[np.ndarray, "rows columns 3"]) -> bool:
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
        probability = np.concatenate([np.zeros(0), *probabilities])
        return Judgements(probability, np.zeros(len(probability), bool))


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
        """Return the mean probability of the folds."""
        chunks = _in_batches(_all_seen(images), _BATCH)
        if self.models[0].sees_measures:
            measured = [appearances(crops) for crops in chunks]
            by_chunk = [[model.probabilities_of(measures) for model in self.models] for measures in measured]
        else:
            by_chunk = [[model.probabilities(crops) for model in self.models] for crops in chunks]
        probability = np.concatenate([np.zeros(0), *(np.mean(found, axis=0) for found in by_chunk)])
        return Judgements(probability, np.zeros(len(probability), bool))

    @property
    def _n_networks(self) -> int:
        """Count the networks of all folds."""
        return sum(len(model.networks) for model in self.models)


@dataclass(frozen=True)
class PackageJudge:
    """The package's classifier: kinds, calibrated, with prediction sets and outliers."""

    classifier: Classifier = field(repr=False)
    name: str = "leukospike"
    onnx: OnnxJudge | None = field(default=None, repr=False)
    """Judges in the classifier's place: the graph that `classification.export` writes."""
    view = FineView()
    framing_from = "model"

    @property
    def facts(self) -> JudgeFacts:
        """The classifier, with its card."""
        return JudgeFacts(
            self.name,
            1 + len(self.classifier.measures),
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
        """Judge each cell, at its size where the pixel size of its image is known."""
        cells = [cell for image in images for cell in image.cells]
        given = np.array([cell.size is None for cell in cells], bool)
        if not cells:
            return _judgements([], given)
        diameters = diameters_um([cell.size for cell in cells])
        judge = self.classifier if self.onnx is None else self.onnx
        judged: list[Judgement] = []
        first = 0
        for pixels in _in_batches(_all_seen(images), _BATCH):
            part = slice(first, first + len(pixels))
            judged.append(judge.judge(pixels, given=given[part], diameter_um=diameters[part]))
            first += len(pixels)
        return _judgements(judged, given)


def _judgements(judged: Sequence[Judgement], given: Bool[np.ndarray, " n"]) -> Judgements:
    """Put the judgements of batches together."""
    none = np.zeros(0)
    return Judgements(
        np.concatenate([none, *(each.probability for each in judged)]),
        np.concatenate([none.astype(bool), *(each.outlier for each in judged)]),
        np.concatenate([np.zeros((0, len(KINDS))), *(each.kinds for each in judged)]),
        tuple(
            ", ".join(kind for kind, stays in zip(KINDS, own, strict=True) if stays)
            for each in judged
            for own in each.sets.tolist()
        ),
        np.concatenate([none, *(each.distance for each in judged)]),
        int(np.count_nonzero(given)),
    )


def load_classifier(source: str | Path | None = None, *, runtime: Runtime | str = Runtime.TORCH) -> Judge:
    """Load a classifier of cells, for `analysis.analyze_images` and for the facts it states of itself.

    Parameters
    ----------
    source : str or Path, optional
        Run folder, whose models (one per fold) are averaged, one weights file, or a refined classifier, as a folder or
        as its file. Default: the package's classifier.
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
    ('leukospike', 4)
    """
    computed_by = choice(Runtime, runtime, name="runtime", where="load_classifier")
    if source is None:
        classifier = default_classifier()
        return PackageJudge(classifier, onnx=OnnxJudge(classifier) if computed_by is Runtime.ONNX else None)
    name = Path(source).resolve().name
    if (own := classifier_file(Path(source))) is not None:
        return PackageJudge(read_classifier(own), name=name)
    paths = model_files(Path(source))
    if (form_of(paths[0]) or "").startswith(KIND):
        return CropRunJudge(tuple(load_cell_model(path) for path in paths), name)
    return SpikeRunJudge(tuple(load_model(path) for path in paths), name)


def classifier_file(source: Path) -> Path | None:
    """Return the file of a classifier like the package's, given by itself or by its folder; None if there is none."""
    path = source / MODEL if source.is_dir() else source
    return path if path.is_file() and form_of(path) == FORMAT else None


def diameters_um(sizes: Sequence[CellSize | None]) -> Float[np.ndarray, " n"]:
    """Return the diameters of cells in micrometres, by the pixel size that images of one source agree on; else NaN."""
    diameters = np.full(len(sizes), np.nan)
    sized = [(place, size) for place, size in enumerate(sizes) if size is not None and size.diameter_px > 0]
    agreed = agreed_pixel_sizes([size.pixel_size for _, size in sized], [size.frame for _, size in sized])
    for (place, size), pixel_size in zip(sized, agreed, strict=True):
        if pixel_size is not None:
            diameters[place] = size.diameter_px * pixel_size.um_per_px
    return diameters


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
