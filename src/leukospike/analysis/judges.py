"""The second stage: what is said of cells. A judge is immutable; it can be asked by several callers at once.

A judge is the networks of a run, of the original system or another, or the classifier of the package. Those that see
cells cut out on black bring the cells of another laboratory to the look of their training cells, all of one call
together, and therefore pass over them a few times; cells are asked for image by image, so that the pictures of no more
than a few are held at once.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from leukospike.analysis.reading import CellSize, CellsOfImage, CellView, ReadCell
from leukospike.classification.appearance_learning import appearances
from leukospike.classification.cell_model import KIND, CellModel, load_cell_model
from leukospike.classification.classifier import ERROR_RATE, Classifier, default_classifier
from leukospike.classification.crops import CROP_PX, PICTURE, cell_crop, seen
from leukospike.classification.export import OnnxJudge
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
from leukospike.notices import Notice, Severity
from leukospike.original.model import FittedModel, load_model
from leukospike.original.preprocessing import spike_map
from leukospike.plurals import number_of
from leukospike.segmentation.scale import agreed_pixel_sizes
from leukospike.settings import Runtime
from leukospike.storage.digests import digest_of
from leukospike.storage.weights import form_of

FEWEST_MATCHED = 20
"""Cells of a source below which their common look is hardly known."""

_BATCH = 64
_CROPS_AT_ONCE = 4 * _BATCH
_SETS = ("", "normal", "leukemic", "normal leukemic")


@dataclass(frozen=True)
class SourceMove:
    """How the cells of another laboratory were brought to the look of the training cells."""

    relative_diameters: Float[np.ndarray, " n"]
    """Of all cells, in those of their source's median cell; NaN where a cell was judged as it came."""
    source: SourceLook
    """Of the moved cells together, once they are brought to size."""
    target: SourceLook

    def apply(self, crop: UInt8[np.ndarray, "rows columns 3"], place: int) -> UInt8[np.ndarray, "rows columns 3"]:
        """Return the crop of the cell at a place as it was judged."""
        relative = self.relative_diameters[place]
        if np.isnan(relative):
            return crop
        return matched(_sized(crop, relative, self.target)[None], self.source, self.target)[0]


@dataclass(frozen=True)
class Judgements:
    """What is said of cells, in their order."""

    ways: Float[np.ndarray, "ways n"]
    """Probability of being leukemic, 0 to 1, in each way in which the cells were judged, one as likely as another; NaN
    for what shows nothing."""
    outlier: Bool[np.ndarray, " n"]
    """Whether a cell is unlike all that the judge knows."""
    sets: tuple[str, ...] | None = None
    """Labels that cannot be ruled out; None where the judge gives no sets."""
    distance: Float[np.ndarray, " n"] | None = None
    """From the training cells; None where the judge measures none."""
    move: SourceMove | None = None
    """How cells were brought to the look of the training cells, as if half of them were blasts; None if none were."""
    n_as_given: int = 0
    """Cells judged as they came, being like the training cells' pictures already."""
    n_moved: int = 0
    """Cells that were cut out and brought to the look of the training cells."""
    knows_some_pixel_sizes: bool = False
    """Whether the pixel size is known of some of the cells that were moved, and not of others."""

    @property
    def probability(self) -> Float[np.ndarray, " n"]:
        """Mean over the ways."""
        return self.ways.mean(axis=0)


@dataclass(frozen=True)
class JudgeFacts:
    """Which model a judge is, for the record."""

    name: str
    networks: int
    image_size: int
    """Side of the pictures that the networks see, pixels."""
    digest: str
    """Of all weights."""
    backbone: str | None = None
    """None of the original system, and of the classifier of the package."""
    folds: int | None = None
    """Of the run; None of the classifier of the package."""
    card: Mapping[str, Any] | None = None
    """What there is to know of the classifier of the package; None of a run's networks, as the next two."""
    error_rate: float | None = None
    """Share of cells of new subjects whose set may miss their label."""
    outlier_distance: float | None = None

    def to_json(self) -> dict[str, object]:
        """Return the facts in terms of JSON; what is None is left out."""
        order = ("name", "backbone", "folds", "networks", "image_size", "digest", "card", "error_rate")
        told = {name: getattr(self, name) for name in (*order, "outlier_distance")}
        return {name: value for name, value in told.items() if value is not None}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "JudgeFacts":
        """Read what `to_json` returned; older folders say less."""
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
    """Says of cells how likely they are leukemic."""

    @property
    def view(self) -> CellView:
        """What it keeps of a cell, and how it wants cells shown."""
        ...

    @property
    def framing_from(self) -> str:
        """What says how it wants cells shown: "model", or "C-NMC" where the model does not."""
        ...

    @property
    def facts(self) -> JudgeFacts:
        """Which model it is."""
        ...

    @property
    def subject_model(self) -> SubjectModel | None:
        """How likely leukemia is, by the numbers of calls; None where that was not fitted."""
        ...

    def judge(self, images: Sequence[CellsOfImage]) -> Judgements:
        """Judge the cells of images, those of one laboratory together."""
        ...

    def notices(self, judgements: Judgements) -> list[Notice]:
        """Say what a reader of the results should know."""
        ...


@dataclass(frozen=True)
class SpikeView:
    """What the original system's networks see of a cell: the map of its first spikes."""

    framing: Framing
    size: int
    """Side of the maps, pixels."""
    window: int
    """Side of the blur's kernel, pixels."""
    cuts_out = False

    def see(self, shown: UInt8[np.ndarray, "rows columns 3"]) -> Float[np.ndarray, "size size"]:
        """Take a cell through the spikes."""
        return spike_map(luma(shown), size=self.size, window=self.window)

    def is_blank(self, seen: Float[np.ndarray, "size size"]) -> bool:
        """Whether no pixel spikes."""
        return not seen.any()


@dataclass(frozen=True)
class CropView:
    """What networks on cells cut out see of a cell: a small square of colour."""

    framing = PICTURE
    cuts_out = True

    def see(self, shown: UInt8[np.ndarray, "rows columns 3"]) -> UInt8[np.ndarray, "96 96 3"]:
        """Take the middle of the picture, smaller."""
        return cell_crop(shown)

    def is_blank(self, seen: UInt8[np.ndarray, "96 96 3"]) -> bool:
        """Whether all is black."""
        return not _shows_something(seen)


def _shows_something(crop: UInt8[np.ndarray, "96 96 3"]) -> bool:
    """Tell whether there is a cell in a crop."""
    return bool(seen(crop).any())


@dataclass(frozen=True)
class SpikeRunJudge:
    """The original system's networks of a run, one a fold: the mean of their probabilities, uncalibrated."""

    models: tuple[FittedModel, ...]
    name: str
    """Of the run."""
    subject_model = None

    def __post_init__(self) -> None:
        """Refuse networks that see different things."""
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
        """What says how cells are to be shown."""
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

    def notices(self, judgements: Judgements) -> list[Notice]:  # noqa: ARG002 - as of all judges
        """Say that nothing here is calibrated."""
        return _notices_of_run(len(self.models), len(self.models))


@dataclass(frozen=True)
class CropRunJudge:
    """The networks of a run on cells cut out: the mean of the folds' probabilities, uncalibrated."""

    models: tuple[CellModel, ...]
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
        """Bring the cells of another laboratory to the look of the training cells, and return the probabilities."""
        judged = _judged_in_ways(images, self.models[0].reference, self._probabilities, 1)
        return Judgements(judged.values[:, :, 0], np.zeros(judged.values.shape[1], bool), **judged.about)

    def _probabilities(self, batches: Iterable[UInt8[np.ndarray, "n 96 96 3"]]) -> Float[np.ndarray, "m 1"]:
        """Return the mean probability of each crop."""
        if self.models[0].sees_measures:
            measures = np.concatenate([appearances(crops) for crops in batches])
            return np.mean([model.probabilities_of(measures) for model in self.models], axis=0)[:, None]
        means = [np.mean([model.probabilities(crops) for model in self.models], axis=0) for crops in batches]
        return np.concatenate(means)[:, None]

    def notices(self, judgements: Judgements) -> list[Notice]:
        """Say that nothing here is calibrated, and how cells were brought to the form of the training cells."""
        return [*_notices_of_run(len(self.models), self._n_networks), *_notices_of_moved(judgements)]

    @property
    def _n_networks(self) -> int:
        """Count the networks of all folds."""
        return sum(len(model.networks) for model in self.models)


@dataclass(frozen=True)
class PackageJudge:
    """The classifier that is part of the package: calibrated, with sets and outliers."""

    classifier: Classifier
    onnx: OnnxJudge | None = None
    """Computes in place of the classifier's networks: the graph that `classification.export` writes."""
    view = CropView()
    framing_from = "model"

    @property
    def facts(self) -> JudgeFacts:
        """The classifier, with its card."""
        return JudgeFacts(
            "leukospike",
            len(self.classifier.networks),
            PICTURE.side_px,
            self.classifier.digest(),
            card=dict(self.classifier.card),
            error_rate=ERROR_RATE,
            outlier_distance=self.classifier.confidence.outlier_distance,
        )

    @property
    def subject_model(self) -> SubjectModel:
        """How likely leukemia is, by the numbers of calls."""
        return self.classifier.confidence.subjects

    def judge(self, images: Sequence[CellsOfImage]) -> Judgements:
        """Bring the cells of another laboratory to the look of the training cells, and judge all."""
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

    def notices(self, judgements: Judgements) -> list[Notice]:
        """Say which cells were judged as given, and how others were brought to the form of the training cells."""
        if not (n := judgements.n_as_given):
            return _notices_of_moved(judgements)
        return [
            Notice(
                "as_given",
                f"Scored as they are, because they already look like C-NMC's: {number_of(n, 'image')}. The classifier"
                " was trained on the training folds of C-NMC, so cells from those folds get overly optimistic scores.",
                values={"images": n},
            ),
            *_notices_of_moved(judgements),
        ]


def load_judge(source: Path | None = None, *, runtime: Runtime = Runtime.TORCH) -> Judge:
    """Load what judges cells.

    Parameters
    ----------
    source : Path, optional
        A run folder, whose models, one a fold, judge together, or one weights file. The classifier of the package
        unless given.
    runtime : Runtime
        What computes the classifier of the package.

    Returns
    -------
    Judge

    Raises
    ------
    ConfigError
        If a model is of timm, and that is not installed.
    ExportError
        If onnxruntime is asked for and is not installed.
    WeightsError
        If there is no model, or one is unusable.
    """
    if source is None:
        classifier = default_classifier()
        return PackageJudge(classifier, OnnxJudge(classifier) if runtime is Runtime.ONNX else None)
    paths, name = model_files(source), source.resolve().name
    if (form_of(paths[0]) or "").startswith(KIND):
        return CropRunJudge(tuple(load_cell_model(path) for path in paths), name)
    return SpikeRunJudge(tuple(load_model(path) for path in paths), name)


@dataclass(frozen=True)
class _InWays:
    """What a function says of all cells, in each way, and how they were brought to be seen."""

    values: Float[np.ndarray, "ways n k"]
    about: dict[str, Any]
    """The fields of `Judgements` that say so."""


def _judged_in_ways(
    images: Sequence[CellsOfImage],
    reference: Reference,
    judge: Callable[[Iterable[UInt8[np.ndarray, "n 96 96 3"]]], Float[np.ndarray, "m k"]],
    n_columns: int,
) -> _InWays:
    """Judge all cells: those of another laboratory brought to the look of the training cells, by `SHARES`."""
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
        # What came in the form of the training cells looks the same in every way, and is judged once.
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
    """Return the diameters of cells in those of their source's median cell, and whether pixel sizes are mixed.

    NaN for cells that came in the form of the training cells, or show nothing.
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
        # Micrometres among themselves and pixels among themselves: each has a median of its own.
        if sort.any():
            diameters[sort] /= np.median(diameters[sort])
    relative[places] = diameters
    return relative, bool(known.any() and not known.all())


def _sized(
    crop: UInt8[np.ndarray, "rows columns 3"], relative: float, target: SourceLook
) -> UInt8[np.ndarray, "rows columns 3"]:
    """Bring a cell to its size among the training cells."""
    return zoomed(crop, target.diameter * relative / diameter_of(crop))


def _look_together(
    images: Sequence[CellsOfImage], relative: Float[np.ndarray, " cells"], target: SourceLook
) -> SourceLook:
    """Measure how cells look together once they are brought to size."""
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
    """Yield the crops of each image, those of another laboratory moved; the others too, or not."""
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
    """Yield what was kept of the cells of each image that has some."""
    for image in images:
        if image.cells:
            yield image.seen


def _in_batches(chunks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Put chunks together to batches of one size; the last may be smaller."""
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


def _notices_of_moved(judgements: Judgements) -> list[Notice]:
    """Say how cells were brought to the form of the training cells."""
    n = judgements.n_moved
    if not n:
        return []
    notices = [
        Notice(
            "moved_together",
            f"{number_of(n, 'cell was', 'cells were')} cut out and adjusted as one batch to the size and colours of"
            " the training cells. The share of blasts is unknown, so this was done three times, as if none, half and"
            " all of them were blasts, and the probabilities were averaged. Score the cells of one laboratory at a"
            " time, from several subjects, both normal and leukemic: a batch of one kind of cell is corrected poorly."
            " The classifier does not know mature lymphocytes, monocytes and granulocytes: only some are flagged, and"
            " most of the others are called leukemic.",
            Severity.WARNING,
            {"cells": n},
        )
    ]
    if judgements.knows_some_pixel_sizes:
        notices.append(
            Notice(
                "some_pixel_sizes",
                "The pixel size is known for some images only: cells with and without one were scaled separately."
                " Pass `pixel_size` if one value holds for all images.",
                Severity.WARNING,
            )
        )
    if n < FEWEST_MATCHED:
        notices.append(
            Notice(
                "few_moved",
                f"{number_of(n, 'cell is', 'cells are')} too few to learn how this laboratory's cells look: real"
                " differences from the training cells may be lost, and false ones introduced.",
                Severity.WARNING,
                {"cells": n},
            )
        )
    return notices


def _notices_of_run(n_folds: int, n_networks: int) -> list[Notice]:
    """Say what holds of the networks of any run."""
    notices = [
        Notice(
            "uncalibrated",
            "The probabilities are not calibrated on other subjects, and unfamiliar cells are not recognised.",
            Severity.WARNING,
        )
    ]
    if n_folds > 1:
        each = "one" if n_networks == n_folds else str(n_networks // n_folds)
        notices.append(
            Notice(
                "mean_of_networks",
                f"Each probability is the mean of {n_networks} networks, {each} from each of the {n_folds} folds of a"
                " run.",
                values={"networks": n_networks, "folds": n_folds},
            )
        )
    return [
        *notices,
        Notice(
            "training_cells",
            "Cells that the run was trained on get overly optimistic scores: score other cells, or see the run's"
            " report.",
            Severity.WARNING,
        ),
    ]
