"""What gives cells their probability: the networks of a run, of the original system or another, or what ships.

A scorer is shown one cell after another and says at the end what it makes of all of them: the shipped one must see the
cells of a laboratory together before it can bring them to the stain of its training cells.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, UInt8

from leukospike.classification.cell_model import KIND, CellModel, load_cell_model
from leukospike.classification.classifier import ERROR_RATE, Classifier
from leukospike.classification.crops import CROP_PX, PICTURE, cell_crop, seen
from leukospike.classification.export import OnnxJudge
from leukospike.classification.source import SHARES, Reference, brought
from leukospike.confidence import EVEN, score_subjects
from leukospike.errors import WeightsError
from leukospike.experiments.runs import model_files
from leukospike.images.framing import C_NMC_FRAMING, Framing
from leukospike.images.reading import luma
from leukospike.original.model import FittedModel, load_model
from leukospike.original.preprocessing import spike_map
from leukospike.plurals import number_of
from leukospike.segmentation.scale import PixelSize, agreed_pixel_sizes
from leukospike.settings import Runtime
from leukospike.storage.weights import form_of

FEWEST_MATCHED = 20
"""Cells of a source below which their common look is hardly known."""

SUBJECT_COLUMNS = ("subject", "blasts", "blasts_low", "blasts_high", "posterior")
"""Of what `ShippedScorer.subjects` gives."""

_BATCH = 64


@dataclass(frozen=True)
class CellSize:
    """How large a cell is where it comes from."""

    diameter_px: float
    """Of the disc as large as the cell; 0 if there was none to cut out."""
    pixel_size: PixelSize | None
    """Of its image, if that is known."""
    frame: tuple[int, int]
    """Rows and columns of its image."""


@dataclass(frozen=True)
class Scored:
    """What is said of cells, in the order in which they were shown."""

    ways: Float[np.ndarray, "ways n"]
    """Probability of being leukemic, 0 to 1, in each way in which the cells were judged, one as likely as another; NaN
    for what shows nothing."""
    columns: Mapping[str, Sequence[Any]]
    """What else there is to say, by the names of columns."""
    outlier: np.ndarray
    """Whether a cell is unlike all that the scorer knows."""

    @property
    def probability(self) -> Float[np.ndarray, " n"]:
        """Mean over the ways."""
        return self.ways.mean(axis=0)


@runtime_checkable
class Scorer(Protocol):
    """Scores the cells that it is shown."""

    framing: Framing
    """How it wants a cell shown."""
    framing_from: str
    """What says so: "model", or "C-NMC" where the model does not."""
    cuts_out: bool
    """Whether it wants every cell cut out on black, or pictures of single cells as they are."""

    def take(self, picture: UInt8[np.ndarray, "rows columns 3"], size: CellSize | None) -> bool:
        """Look at the next cell, and tell whether there is nothing to see.

        Parameters
        ----------
        picture : ndarray of shape (rows, columns, 3)
        size : CellSize or None
            Of the cell where it comes from, if it was brought to another; None if the picture is shown as it came.
        """
        ...

    def scored(self) -> Scored:
        """Say what it makes of all cells."""
        ...

    def describe(self) -> dict[str, Any]:
        """Say what model this is: networks, image_size, digest."""
        ...

    def notices(self) -> list[str]:
        """Say what a reader of the results should know."""
        ...


class RunScorer:
    """The original system's networks of a run, one a fold: the mean of their probabilities, uncalibrated."""

    cuts_out = False

    def __init__(self, models: Sequence[FittedModel], name: str) -> None:
        first = models[0]
        if any((model.image_size, model.blur_window) != (first.image_size, first.blur_window) for model in models):
            msg = f"analyze: models must be for one size of image, got several in {name}. Give one weights file."
            raise WeightsError(msg)
        self._models, self._name = models, name
        self.framing = first.framing or C_NMC_FRAMING
        self.framing_from = "model" if first.framing else "C-NMC"
        self._waiting: list[np.ndarray] = []
        self._probabilities: list[float] = []

    def take(self, picture: UInt8[np.ndarray, "rows columns 3"], size: CellSize | None) -> bool:  # noqa: ARG002 - as all
        """Take a cell through the spike front end."""
        first = self._models[0]
        spikes = spike_map(luma(picture), size=first.image_size, window=first.blur_window)
        self._waiting.append(spikes)
        if len(self._waiting) == _BATCH:
            self._score_waiting()
        return not spikes.any()

    def scored(self) -> Scored:
        """Give the probabilities."""
        self._score_waiting()
        return Scored(np.array([self._probabilities]), {}, np.zeros(len(self._probabilities), bool))

    def describe(self) -> dict[str, Any]:
        """Name the run, its networks and their digest."""
        tensors: list[torch.Tensor] = []
        for model in self._models:
            tensors += [torch.from_numpy(model.components.basis), *model.network.state_dict().values()]
        return {
            "name": self._name,
            "folds": len(self._models),
            "networks": len(self._models),
            "image_size": self._models[0].image_size,
            "digest": _digest(tensors),
        }

    def notices(self) -> list[str]:
        """Say that nothing here is calibrated."""
        return _notices_of_run(len(self._models), len(self._models))

    def _score_waiting(self) -> None:
        """Score what has been looked at."""
        if self._waiting:
            maps = np.stack(self._waiting)
            mean = np.mean([model.probabilities(maps) for model in self._models], axis=0)
            self._probabilities += [float(value) for value in mean]
            self._waiting.clear()


class _CropScorer:
    """What scorers of cells cut out on black have in common: how they are shown cells, and bring them to one look."""

    framing = PICTURE
    framing_from = "model"
    cuts_out = True

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._crops: list[np.ndarray] = []
        self._sizes: list[CellSize | None] = []
        self._two_sorts = False
        self.judged_crops = np.zeros((0, CROP_PX, CROP_PX, 3), np.uint8)
        """What was judged, in the look of the training cells; of several ways, that with half of them blasts."""

    def take(self, picture: UInt8[np.ndarray, "rows columns 3"], size: CellSize | None) -> bool:
        """Keep the cell's crop."""
        crop = cell_crop(picture)
        self._crops.append(crop)
        self._sizes.append(size)
        return not seen(crop).any()

    def _judged(self, judge: Callable[[np.ndarray], Float[np.ndarray, "n k"]]) -> Float[np.ndarray, "ways n k"]:
        """Judge all cells: those of another laboratory brought to the look of the training cells, by `SHARES`."""
        crops = np.stack(self._crops)
        there = [place for place, size in enumerate(self._sizes) if size is not None and seen(crops[place]).any()]
        if not there:
            self.judged_crops = crops
            return judge(crops)[None]
        own, relative = crops[there], self._relative_diameters(there)
        ways: list[np.ndarray] = []
        for share in SHARES:
            crops[there] = brought(own, relative, self._reference.look(share))
            if ways:
                # What came in the form of the training cells looks the same in every way.
                ways.append(ways[0].copy())
                ways[-1][there] = judge(crops[there])
            else:
                ways.append(judge(crops))
            if share == EVEN:
                self.judged_crops = crops.copy()
        return np.stack(ways)

    def _relative_diameters(self, places: Sequence[int]) -> Float[np.ndarray, " cells"]:
        """Give the diameters of cells in those of their source's median cell."""
        sizes = [size for place in places if (size := self._sizes[place]) is not None]
        agreed = agreed_pixel_sizes([size.pixel_size for size in sizes], [size.frame for size in sizes])
        um_per_px = [None if size is None else size.um_per_px for size in agreed]
        known = np.array([size is not None for size in um_per_px])
        diameters = np.array([size.diameter_px * (um or 1) for size, um in zip(sizes, um_per_px, strict=True)])
        for sort in (known, ~known):
            # Micrometres among themselves and pixels among themselves: each has a median of its own.
            if sort.any():
                diameters[sort] /= np.median(diameters[sort])
        self._two_sorts = bool(known.any() and not known.all())
        return diameters

    @property
    def _foreign(self) -> int:
        """Count the cells that did not come in the form of the training cells."""
        return sum(size is not None and size.diameter_px > 0 for size in self._sizes)

    def _notices_of_foreign(self) -> list[str]:
        """Say how the cells were brought to the form of the training cells."""
        foreign = self._foreign
        if not foreign:
            return []
        notices = [
            f"{number_of(foreign, 'cell was', 'cells were')} cut out and moved together to the size and the colours of"
            " the training cells, as if none, half and all of them were blasts, since nobody knows: probabilities are"
            " the means. Give the cells of one laboratory at a time, of several subjects, normal and leukemic: cells"
            " all of one kind tell little."
            " Mature lymphocytes, monocytes and granulocytes are no kind that it knows; only some are flagged, and the"
            " others come out leukemic more often than not."
        ]
        if self._two_sorts:
            notices.append(
                "The pixel size is known of some images and not of others: the cells of each sort were brought to size"
                " among themselves. Give --pixel-size, which holds for all."
            )
        if foreign < FEWEST_MATCHED:
            notices.append(
                f"{number_of(foreign, 'cell is', 'cells are')} too few to know how this laboratory's cells look: what"
                " sets them apart from the training cells may be lost or made up."
            )
        return notices


class CellRunScorer(_CropScorer):
    """The networks of a run on cells cut out: the mean of the folds' probabilities, uncalibrated."""

    def __init__(self, models: Sequence[CellModel], name: str) -> None:
        super().__init__(models[0].reference)
        if any(model.backbone != models[0].backbone for model in models):
            msg = f"analyze: models must be of one backbone, got several in {name}. Give one weights file."
            raise WeightsError(msg)
        self._models, self._name = models, name

    def scored(self) -> Scored:
        """Bring the cells of another laboratory to the look of the training cells, and give the probabilities."""
        if not self._crops:
            return Scored(np.zeros((1, 0)), {}, np.zeros(0, bool))

        def judge(crops: np.ndarray) -> np.ndarray:
            return np.mean([model.probabilities(crops) for model in self._models], axis=0)[:, None]

        return Scored(self._judged(judge)[:, :, 0], {}, np.zeros(len(self._crops), bool))

    def describe(self) -> dict[str, Any]:
        """Name the run, its backbone and networks, and their digest."""
        tensors = [
            tensor for model in self._models for network in model.networks for tensor in network.state_dict().values()
        ]
        return {
            "name": self._name,
            "backbone": self._models[0].backbone,
            "folds": len(self._models),
            "networks": self._n_networks,
            "image_size": CROP_PX,
            "digest": _digest(tensors),
        }

    def notices(self) -> list[str]:
        """Say that nothing here is calibrated, and how cells were brought to the form of the training cells."""
        return [*_notices_of_run(len(self._models), self._n_networks), *self._notices_of_foreign()]

    @property
    def _n_networks(self) -> int:
        """Count the networks of all folds."""
        return sum(len(model.networks) for model in self._models)


class ShippedScorer(_CropScorer):
    """The classifier that is part of the package: calibrated, with sets and outliers.

    Parameters
    ----------
    classifier : Classifier
    runtime : Runtime
        ONNX: the graph that `classification.export` writes, in onnxruntime.
    """

    def __init__(self, classifier: Classifier, runtime: Runtime = Runtime.TORCH) -> None:
        super().__init__(classifier.reference)
        self._classifier = classifier
        self._judge = OnnxJudge(classifier).judge if runtime is Runtime.ONNX else classifier.judge

    def scored(self) -> Scored:
        """Bring the cells of another laboratory to the look of the training cells, and judge all."""
        if not self._crops:
            return Scored(np.zeros((1, 0)), dict.fromkeys(("set", "distance"), ()), np.zeros(0, bool))

        def judge(crops: np.ndarray) -> np.ndarray:
            judgement = self._judge(crops)
            return np.stack([judgement.probability, judgement.distance], axis=1)

        judged, confidence = self._judged(judge), self._classifier.confidence
        ways, distance = judged[:, :, 0], judged[:, :, 1].mean(axis=0)
        possible = confidence.conformal.sets(ways.mean(axis=0))
        names = np.array(["", "normal", "leukemic", "normal leukemic"])
        columns = {
            "set": names[possible[:, 0] + 2 * possible[:, 1]].tolist(),
            "distance": np.round(distance, 2).tolist(),
        }
        return Scored(ways, columns, distance > confidence.outlier_distance)

    def describe(self) -> dict[str, Any]:
        """Name the classifier, with its card."""
        return {
            "name": "leukospike",
            "networks": len(self._classifier.networks),
            "image_size": PICTURE.side_px,
            "digest": self._classifier.digest(),
            "card": dict(self._classifier.card),
            "error_rate": ERROR_RATE,
            "outlier_distance": self._classifier.confidence.outlier_distance,
            "moved": self._foreign,
        }

    def notices(self) -> list[str]:
        """Say how the cells were brought to the form of the training cells."""
        as_they_came = sum(size is None for size in self._sizes)
        if not as_they_came:
            return self._notices_of_foreign()
        return [
            f"Scored as given, since already like C-NMC's: {number_of(as_they_came, 'image')}. The classifier was"
            " trained on the training folds of C-NMC: cells of those are scored too well.",
            *self._notices_of_foreign(),
        ]

    def subjects(
        self, ways: Float[np.ndarray, "ways n"], subjects: np.ndarray, *, prevalence: float = EVEN
    ) -> pd.DataFrame:
        """Give one row a subject: how many blasts, and how likely leukemia at a prevalence, over all ways."""
        rows = [
            {
                "subject": one.subject,
                "blasts": round(one.blasts.expected, 1),
                "blasts_low": one.blasts.interval.low,
                "blasts_high": one.blasts.interval.high,
                "posterior": round(one.posterior, 6),
            }
            for one in score_subjects(self._classifier.confidence.subjects, ways, subjects, prevalence=prevalence)
        ]
        return pd.DataFrame(rows, columns=list(SUBJECT_COLUMNS))


def load_scorer(source: Path) -> RunScorer | CellRunScorer:
    """Give what scores with the models of a run folder, one a fold, or with the one of a weights file.

    Raises
    ------
    ConfigError
        If a model is of timm, and that is not installed.
    WeightsError
        If there is no model, or one is unusable.
    """
    paths, name = model_files(source), source.resolve().name
    if (form_of(paths[0]) or "").startswith(KIND):
        return CellRunScorer([load_cell_model(path) for path in paths], name)
    return RunScorer([load_model(path) for path in paths], name)


def _notices_of_run(n_folds: int, n_networks: int) -> list[str]:
    """Say what holds of the networks of any run."""
    notices = ["The probabilities are not calibrated on other subjects, and foreign cells are not recognised."]
    if n_folds > 1:
        each = "one" if n_networks == n_folds else str(n_networks // n_folds)
        notices.append(
            f"Each probability is the mean of {n_networks} networks, {each} of each of the {n_folds} folds of a run."
        )
    return [
        *notices,
        "Cells that the run was trained on are scored too well: score other cells, or see its report.",
    ]


def _digest(tensors: Iterable[torch.Tensor]) -> str:
    """Give a digest of weights."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
