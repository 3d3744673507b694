"""All results of a run, as values; only `to_json` and `from_json` know the format of its files.

`from_json` reads folders of every release since 0.1.0 and applies the current rules: with fewer than five subjects of a
class, or an interval without width, nothing is concluded. It raises `KeyError`, `TypeError` or `ValueError` for invalid
content; `folder` turns that into an error for the user.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64, Int64, UInt8

from leukospike.evaluation.estimates import FEWEST_SUBJECTS, Metrics
from leukospike.learning.history import EpochRecord
from leukospike.notices import Notice
from leukospike.settings import PAPER, Protocol

T = TypeVar("T")

HISTORY_COLUMNS = ("fold", *(field.name for field in fields(EpochRecord)))


@dataclass(frozen=True)
class JoinedSubjects:
    """Subjects who count as one, since their images overlap."""

    digest: str
    """SHA-256 of their names."""
    subjects: int
    """How many are joined with others."""
    into: int
    """How many they count as."""

    def __str__(self) -> str:
        """Return it in a few words."""
        return f"{self.subjects} subjects joined into {self.into} (digest {self.digest[:8]})"

    def to_json(self) -> dict[str, str | int]:
        """Return it as config.toml holds it."""
        return {"digest": self.digest, "subjects": self.subjects, "into": self.into}

    @classmethod
    def from_json(cls, content: object) -> "JoinedSubjects":
        """Read what `to_json` returned."""
        match content:
            case {"digest": str(digest), "subjects": int(subjects), "into": int(into), **rest} if not rest:
                return cls(digest, subjects, into)
            case _:
                msg = f"groups must be digest, subjects and into, got {content!r:.80}"
                raise TypeError(msg)


@dataclass(frozen=True)
class DataDescription:
    """Data of a run; pairs are for (normal, leukemic)."""

    name: str
    layout: str
    credit: str
    images: int
    subjects: int | None
    """None if unknown."""
    class_names: tuple[str, str]
    cells_per_class: tuple[int, int]
    subjects_per_class: tuple[int, int] | None
    failed: int
    """Images that could not be read."""
    duplicate_images: int
    """Images with the same pixels as another one."""
    cross_subject_duplicates: int
    """Those of them that are filed under more than one subject."""
    digest: str
    """SHA-256 of the pixels of all images; empty if not recorded."""

    def to_json(self) -> dict[str, object]:
        """Return it in terms of JSON."""
        lists: dict[str, object] = {
            "class_names": list(self.class_names),
            "cells_per_class": list(self.cells_per_class),
            "subjects_per_class": None if self.subjects_per_class is None else list(self.subjects_per_class),
        }
        return {**asdict(self), **lists}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "DataDescription":
        """Read what `to_json` returned."""
        subjects = int(content["subjects"] or 0) or None
        return cls(
            name=str(content["name"]),
            layout=str(content["layout"]),
            credit=str(content["credit"]),
            images=int(content["images"]),
            subjects=subjects,
            class_names=_pair(content["class_names"], str),
            cells_per_class=_pair(content["cells_per_class"], int),
            subjects_per_class=None if subjects is None else _pair(content["subjects_per_class"], int),
            failed=int(content["failed"]),
            duplicate_images=int(content["duplicate_images"]),
            cross_subject_duplicates=int(content["cross_subject_duplicates"]),
            digest=str(content.get("digest", "")),
        )


@dataclass(frozen=True)
class FoldFigures:
    """One fold: its sizes and its test results."""

    fold: int
    train_cells: int
    validation_cells: int
    test_cells: int
    train_subjects: int | None
    """None, like the next, if the subjects are unknown."""
    test_subjects: int | None
    n_components: int | None
    """None, like the next, if there are no components, as with backbones other than the original."""
    explained_variance: float | None
    cell: Metrics
    subject: Metrics | None

    def to_json(self) -> dict[str, object]:
        """Return it in terms of JSON."""
        return {
            "fold": self.fold,
            "train_cells": self.train_cells,
            "validation_cells": self.validation_cells,
            "test_cells": self.test_cells,
            "train_subjects": self.train_subjects,
            "test_subjects": self.test_subjects,
            "n_components": self.n_components,
            "explained_variance": self.explained_variance,
            **_figures_to_json(self.cell, self.subject),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "FoldFigures":
        """Read what `to_json` returned."""
        cell, subject = _figures_from_json(content)
        return cls(
            fold=int(content["fold"]),
            train_cells=int(content["train_cells"]),
            validation_cells=int(content["validation_cells"]),
            test_cells=int(content["test_cells"]),
            train_subjects=_optional(content["train_subjects"], int),
            test_subjects=_optional(content["test_subjects"], int),
            n_components=_optional(content["n_components"], int),
            explained_variance=_optional(content["explained_variance"], float),
            cell=cell,
            subject=subject,
        )


@dataclass(frozen=True)
class Published:
    """Published results of the same experiment."""

    figures: Mapping[str, float]
    source: str

    def to_json(self) -> dict[str, object]:
        """Return it in terms of JSON."""
        return {**self.figures, "source": self.source}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Published":
        """Read what `to_json` returned."""
        figures = {str(name): float(value) for name, value in content.items() if name != "source"}
        return cls(figures, str(content["source"]))


@dataclass(frozen=True)
class RunResult:
    """Results of a finished run: `metrics.json`."""

    protocol: Protocol
    backbone: str
    dataset: str
    hold_out: bool
    seed: int
    generated: bool
    """Whether any image was drawn by a program."""
    data: DataDescription
    flaws: tuple[Notice, ...]
    """Flaws of the protocol on these data."""
    notices: tuple[Notice, ...]
    environment: Mapping[str, str | int | None]
    stages: Mapping[str, float]
    """Seconds of each stage, in their order."""
    peak_memory_mb: float | None
    folds: tuple[FoldFigures, ...]
    cell: Metrics
    """All test predictions together, by cell."""
    subject: Metrics | None
    """By subject, with the mean of their cells; None if the subjects are not known."""
    as_published: Mapping[str, float | None] | None
    """Metrics by the wrong formulas of the publication; None unless the protocol is that of the paper."""
    published: Published | None

    def to_json(self) -> dict[str, object]:
        """Return it as metrics.json holds it."""
        return {
            "protocol": self.protocol.value,
            "backbone": self.backbone,
            "dataset": self.dataset,
            "hold_out": self.hold_out,
            "seed": self.seed,
            "generated": self.generated,
            "data": self.data.to_json(),
            "flaws": [str(flaw) for flaw in self.flaws],
            "notices": [str(notice) for notice in self.notices],
            "environment": dict(self.environment),
            "stages": [{"stage": stage, "seconds": seconds} for stage, seconds in self.stages.items()],
            "peak_memory_mb": self.peak_memory_mb,
            "folds": [fold.to_json() for fold in self.folds],
            "pooled": _figures_to_json(self.cell, self.subject),
            "as_published": None if self.as_published is None else dict(self.as_published),
            "published": None if self.published is None else self.published.to_json(),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "RunResult":
        """Read what `to_json` returned."""
        cell, subject = _figures_from_json(content["pooled"])
        published: Mapping[str, Any] | None = content["published"]
        as_published: Mapping[str, Any] | None = content["as_published"]
        return cls(
            protocol=Protocol(content["protocol"]),
            backbone=str(content.get("backbone", PAPER)),  # version 0.1.0 knew no other
            dataset=str(content["dataset"]),
            hold_out=bool(content["hold_out"]),
            seed=int(content["seed"]),
            generated=bool(content["generated"]),
            data=DataDescription.from_json(content["data"]),
            flaws=tuple(Notice.from_json(flaw) for flaw in content["flaws"]),
            notices=tuple(Notice.from_json(notice) for notice in content["notices"]),
            environment=dict(content["environment"]),
            stages={str(entry["stage"]): float(entry["seconds"]) for entry in content["stages"]},
            peak_memory_mb=_optional(content["peak_memory_mb"], float),
            folds=tuple(FoldFigures.from_json(fold) for fold in content["folds"]),
            cell=cell,
            subject=subject,
            as_published=None
            if as_published is None
            else {str(name): _optional(value, float) for name, value in as_published.items()},
            published=None if published is None else Published.from_json(published),
        )


@dataclass(frozen=True)
class FinishedFold:
    """Intermediate results of a fold until all are done."""

    probabilities: Float64[np.ndarray, " n_test"]
    """Of its test items."""
    history: tuple[EpochRecord, ...]
    explained_variance_ratio: tuple[float, ...] | None
    """Of the components, where there are any."""
    stages: Mapping[str, float]
    peak_memory_mb: float

    def to_json(self) -> dict[str, object]:
        """Return it in terms of JSON."""
        return {
            "probabilities": self.probabilities.tolist(),
            "history": [asdict(record) for record in self.history],
            "explained_variance_ratio": None
            if self.explained_variance_ratio is None
            else list(self.explained_variance_ratio),
            "stages": dict(self.stages),
            "peak_memory_mb": self.peak_memory_mb,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any], *, n_test: int) -> "FinishedFold":
        """Read what `to_json` returned of a fold with `n_test` test items."""
        probabilities = np.array(content["probabilities"], np.float64)
        if probabilities.shape != (n_test,) or not np.isfinite(probabilities).all():
            msg = f"other than {n_test} probabilities"
            raise ValueError(msg)
        shares: Sequence[Any] | None = content["explained_variance_ratio"]
        return cls(
            probabilities=probabilities,
            history=tuple(EpochRecord(**record) for record in content["history"]),
            explained_variance_ratio=None if shares is None else tuple(float(share) for share in shares),
            stages={str(stage): float(seconds) for stage, seconds in content["stages"].items()},
            peak_memory_mb=float(content["peak_memory_mb"]),
        )


@dataclass(frozen=True)
class Samples:
    """A few cells.

    Attributes
    ----------
    names : ndarray of shape (n,), str
    labels : ndarray of shape (n,), int64
        1 leukemic, 0 normal.
    cells : ndarray of shape (n, rows, columns, 3), uint8, RGB
    """

    names: np.ndarray
    labels: Int64[np.ndarray, " n"]
    cells: UInt8[np.ndarray, "n rows columns 3"]


@dataclass(frozen=True)
class SpikeSamples(Samples):
    """The sample cells at every step of the original system before its network.

    Attributes
    ----------
    latency : ndarray of shape (n, latency_rows, latency_columns), uint8
        0 spikes first, 14 last, 15 never.
    first_wave : ndarray of the same shape, uint8, 0 or 1
    prepared, reconstructed : ndarray of shape (n, size, size), float32
        Input of the network without and with the principal components.
    """

    latency: UInt8[np.ndarray, "n latency_rows latency_columns"]
    first_wave: UInt8[np.ndarray, "n latency_rows latency_columns"]
    prepared: Float[np.ndarray, "n size size"]
    reconstructed: Float[np.ndarray, "n size size"]


@dataclass(frozen=True)
class CropSamples(Samples):
    """The sample cells as seen by the other backbones.

    Attributes
    ----------
    crops : ndarray of shape (n, side, side, 3), uint8, RGB
        Cut out on black.
    """

    crops: UInt8[np.ndarray, "n side side 3"]


@dataclass(frozen=True)
class Run:
    """A finished run with the content of its folder."""

    name: str
    """Of the folder."""
    result: RunResult
    settings: Mapping[str, object]
    """Of config.toml; names of tables precede those of their entries, as in "data.name"."""
    predictions: pd.DataFrame
    """One row per tested picture: image, subject (str, empty if not known), fold, label, probability (float; NaN if the
    file has none), and, if augmented copies were tested, copy (float, 0 for the image itself)."""
    history: pd.DataFrame
    """One row per epoch of a fold: fold, epoch, train_loss, train_accuracy, val_loss, val_accuracy, val_auc,
    learning_rate (float; NaN if absent). Empty if the training keeps no history."""
    components: pd.DataFrame | None
    """One row per component of a fold: fold, component, explained_variance_ratio (float); None with backbones other
    than the original."""
    samples: SpikeSamples | CropSamples
    failures: pd.DataFrame
    """One row per image that could not be used: image, reason (str)."""
    n_weights: int
    """Files of weights in the folder."""

    @property
    def has_subjects(self) -> bool:
        """Whether the predictions include subjects."""
        return bool((self.predictions["subject"] != "").all())

    @property
    def counts_copies(self) -> bool:
        """Whether the predictions include augmented copies as separate cells."""
        return "copy" in self.predictions and bool((self.predictions["copy"] > 0).any())

    @property
    def groups(self) -> np.ndarray:
        """Unit of resampling for intervals: subjects, or images if there are none; (n,) str."""
        return self.predictions["subject" if self.has_subjects else "image"].to_numpy(str)

    @property
    def labels(self) -> Int64[np.ndarray, " n"]:
        """Label of each prediction, 1 leukemic and 0 normal."""
        return self.predictions["label"].to_numpy(np.int64)

    @property
    def probabilities(self) -> Float64[np.ndarray, " n"]:
        """Probability of being leukemic of each prediction, 0 to 1."""
        return self.predictions["probability"].to_numpy(np.float64)


def _figures_to_json(cell: Metrics, subject: Metrics | None) -> dict[str, object]:
    """Return figures by cell and by subject in terms of JSON."""
    return {"cell": cell.to_json(), "subject": None if subject is None else subject.to_json()}


def _figures_from_json(content: Mapping[str, Any]) -> tuple[Metrics, Metrics | None]:
    """Read what `_figures_to_json` returned; releases before 0.2 reported intervals for any number of subjects."""
    cell = Metrics.from_json(content["cell"])
    if content["subject"] is None:
        return (cell, None) if cell.rarer >= FEWEST_SUBJECTS else (cell.without_intervals("images"), None)
    subject = Metrics.from_json(content["subject"])
    if subject.rarer >= FEWEST_SUBJECTS:
        return cell, subject
    return cell.without_intervals("subjects"), subject.without_intervals("subjects")


def _pair(values: Sequence[Any], kind: Callable[[Any], T]) -> tuple[T, T]:
    """Read a pair for (normal, leukemic)."""
    normal, leukemic = values
    return kind(normal), kind(leukemic)


def _optional(value: Any, kind: Callable[[Any], T]) -> T | None:  # noqa: ANN401 (JSON holds anything)
    """Read an optional figure; null and NaN both mean that it is missing."""
    return None if value is None or value != value else kind(value)
