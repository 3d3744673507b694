"""A run folder or an analysis folder -> checked values: the reports are drawn from files alone, never from memory."""

import csv
import io
import json
import math
import tomllib
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int64, UInt8

from leukospike.errors import RunError
from leukospike.evaluation.metrics import METRICS
from leukospike.settings import PAPER

Columns = dict[str, np.ndarray]
"""A table: arrays of shape (rows,) by the names of their columns; text is str, numbers are float64, empty is NaN."""


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval; None where it could not be computed."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Metrics:
    """The figures of one set of test predictions.

    Attributes
    ----------
    n, positives : int
        Predictions, and how many of them are leukemic by label.
    estimates : dict of str to Interval
        One for each of `leukospike.evaluation.metrics.METRICS`.
    delong : Interval
        The area under the ROC curve again, with DeLong's interval.
    confusion : dict of str to int
        Counts "tn", "fp", "fn", "tp" at the threshold 0.5.
    interval : str
        How the intervals were made, in words.
    """

    n: int
    positives: int
    estimates: dict[str, Interval]
    delong: Interval
    confusion: dict[str, int]
    interval: str

    @property
    def one_class(self) -> bool:
        """Whether all labels are the same, so that classes cannot be told apart."""
        return self.positives in {0, self.n}


@dataclass(frozen=True)
class Fold:
    """One fold: what was fitted on what, and how its test cells came out."""

    fold: int
    train_cells: int
    validation_cells: int
    test_cells: int
    train_subjects: int | None
    test_subjects: int | None
    n_components: int | None
    """None, as the next, where there are no components: with other backbones than the original's."""
    explained_variance: float | None
    cell: Metrics
    subject: Metrics | None


@dataclass(frozen=True)
class Data:
    """What the run was made on."""

    name: str
    layout: str
    credit: str
    images: int
    subjects: int
    class_names: tuple[str, str]
    cells_per_class: tuple[int, int]
    subjects_per_class: tuple[int, int]
    failed: int
    duplicate_images: int
    cross_subject_duplicates: int
    digest: str
    """Of the pixels of all images; empty if the run does not say."""


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
    """The same at every step of the original system before its network.

    Attributes
    ----------
    latency : ndarray of shape (n, latency_rows, latency_columns), uint8
        0 spikes first, 14 last, 15 never.
    first_wave : ndarray of the same shape, uint8, 0 or 1
    prepared, reconstructed : ndarray of shape (n, size, size), float32
        What the network would see without, and sees with, the principal components.
    """

    latency: UInt8[np.ndarray, "n latency_rows latency_columns"]
    first_wave: UInt8[np.ndarray, "n latency_rows latency_columns"]
    prepared: Float[np.ndarray, "n size size"]
    reconstructed: Float[np.ndarray, "n size size"]


@dataclass(frozen=True)
class CropSamples(Samples):
    """The same as the other backbones see them.

    Attributes
    ----------
    crops : ndarray of shape (n, side, side, 3), uint8, RGB
        Cut out on black.
    """

    crops: UInt8[np.ndarray, "n side side 3"]


@dataclass(frozen=True)
class Run:
    """A run folder, read and checked; tables keep the columns of their files."""

    settings: dict[str, Any]
    protocol: str
    backbone: str
    hold_out: bool
    generated: bool
    data: Data
    flaws: tuple[str, ...]
    notices: tuple[str, ...]
    environment: dict[str, Any]
    stages: tuple[tuple[str, float], ...]
    peak_memory_mb: float | None
    folds: tuple[Fold, ...]
    cell: Metrics
    subject: Metrics | None
    as_published: dict[str, float | None]
    published: dict[str, float | None]
    published_source: str
    predictions: Columns
    history: Columns
    """Without rows where the training keeps none."""
    components: Columns | None
    """None with other backbones than the original's."""
    samples: SpikeSamples | CropSamples
    failures: Columns
    n_weights: int
    """Files of weights in the folder."""

    @property
    def has_subjects(self) -> bool:
        """Whether the predictions say whose cell each one is."""
        return bool((self.predictions["subject"] != "").all())

    @property
    def counts_copies(self) -> bool:
        """Whether augmented copies are among the predictions, as if they were cells of their own."""
        return "copy" in self.predictions and bool((self.predictions["copy"] > 0).any())

    @property
    def groups(self) -> np.ndarray:
        """What is resampled for intervals: subjects, or images where there are none; (n,) str."""
        return self.predictions["subject" if self.has_subjects else "image"]

    @property
    def labels(self) -> Int64[np.ndarray, " n"]:
        """Label of each prediction, 1 leukemic and 0 normal."""
        return self.predictions["label"].astype(np.int64)


def read_run(folder: Path, *, where: str = "write_report") -> Run:
    """Read a run folder.

    Parameters
    ----------
    folder : Path
    where : str
        Who asks; messages begin with it.

    Returns
    -------
    Run

    Raises
    ------
    RunError
        If a file is missing, cannot be read, or does not hold what a run writes.
    """
    metrics = _json(folder / "metrics.json", where)
    predictions = _table(
        folder / "predictions.csv", where, text=("image", "subject"), numbers=("fold", "label", "probability")
    )
    if "copy" in predictions:
        predictions["copy"] = _numbers(predictions, "copy", folder / "predictions.csv", where)
    history = _table(
        folder / "history.csv",
        where,
        text=(),
        numbers=(
            "fold",
            "epoch",
            "train_loss",
            "train_accuracy",
            "val_loss",
            "val_accuracy",
            "val_auc",
            "learning_rate",
        ),
    )
    try:
        backbone = str(metrics.get("backbone", PAPER))  # version 0.1.0 knew no other
        published = metrics["published"] or {}
        return Run(
            settings=_settings(folder / "config.toml", where),
            protocol=_one_of(metrics["protocol"], ("honest", "image", "paper")),
            backbone=backbone,
            hold_out=bool(metrics["hold_out"]),
            generated=bool(metrics["generated"]),
            data=_data(metrics["data"]),
            flaws=tuple(metrics["flaws"]),
            notices=tuple(metrics["notices"]),
            environment=dict(metrics["environment"]),
            stages=tuple((str(entry["stage"]), float(entry["seconds"])) for entry in metrics["stages"]),
            peak_memory_mb=_number(metrics["peak_memory_mb"]),
            folds=tuple(_fold(entry) for entry in metrics["folds"]),
            cell=_metrics(metrics["pooled"]["cell"]),
            subject=_metrics_or_none(metrics["pooled"]["subject"]),
            as_published={name: _number(value) for name, value in (metrics["as_published"] or {}).items()},
            published={name: _number(value) for name, value in published.items() if name != "source"},
            published_source=str(published.get("source", "")),
            predictions=predictions,
            history=history,
            components=_components(folder, where) if backbone == PAPER else None,
            samples=_samples(folder / "samples.npz", where, backbone),
            failures=_failures(folder, where),
            n_weights=len(list((folder / "weights").glob("*.safetensors"))),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise _unusable(folder / "metrics.json", where, f"{type(error).__name__}: {error}") from error


def _text(path: Path, where: str) -> str:
    """Read a UTF-8 file, or say which one is missing."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        msg = (
            f"{where}: folder must hold {path.name}, got {path.parent} without it. Finish the run, or name its folder."
        )
        raise RunError(msg) from error
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(path, where, str(error)) from error


def _unusable(path: Path, where: str, reason: str) -> RunError:
    """Build the error for a file that is there and does not hold what it should."""
    one_line = " ".join(reason.split())
    msg = f"{where}: {path.name} must be as leukospike wrote it, got {path} ({one_line}). Make the folder anew."
    return RunError(msg)


def _json(path: Path, where: str) -> dict[str, Any]:
    """Read a JSON object."""
    try:
        content = json.loads(_text(path, where))
    except (ValueError, RecursionError) as error:  # also for a number of thousands of digits, or too deep a nest
        raise _unusable(path, where, str(error)) from error
    if not isinstance(content, dict):
        raise _unusable(path, where, "not a JSON object")
    return content


def _settings(path: Path, where: str) -> dict[str, Any]:
    """Read config.toml, with the names of tables put before those of their entries."""
    try:
        content = tomllib.loads(_text(path, where))
    except (ValueError, RecursionError) as error:
        raise _unusable(path, where, str(error)) from error
    return flattened(content)


def flattened(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested tables into one, with dotted names.

    Examples
    --------
    >>> flattened({"seed": 0, "data": {"name": "C-NMC 2019"}})
    {'seed': 0, 'data.name': 'C-NMC 2019'}
    """
    flat: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _table(path: Path, where: str, *, text: Sequence[str], numbers: Sequence[str]) -> Columns:
    """Read a CSV file whose columns are at the least those named."""
    # Not with pandas, which would turn a subject called "007" or "NA" into something else.
    try:
        rows = list(csv.DictReader(io.StringIO(_text(path, where), newline=""), restval=""))
        header = next(csv.reader(io.StringIO(_text(path, where), newline="")), [])
    except csv.Error as error:
        raise _unusable(path, where, str(error)) from error
    missing = [name for name in (*text, *numbers) if name not in header]
    if missing:
        raise _unusable(path, where, f"no column {', '.join(missing)}")
    table: Columns = {name: np.array([row[name] for row in rows], dtype=str) for name in header}
    return table | {name: _numbers(table, name, path, where) for name in numbers}


def _numbers(table: Columns, name: str, path: Path, where: str) -> Float64[np.ndarray, " rows"]:
    """Read a column of numbers; an empty field is NaN."""
    try:
        return np.array([float(field) if field else math.nan for field in table[name]], dtype=np.float64)
    except ValueError as error:
        raise _unusable(path, where, f"column {name}: {error}") from error


def _failures(folder: Path, where: str) -> Columns:
    """Read failures.csv; the file is there only if something failed."""
    path = folder / "failures.csv"
    if not path.exists():
        return {"image": np.array([], dtype=str), "reason": np.array([], dtype=str)}
    return _table(path, where, text=("image", "reason"), numbers=())


def _arrays(path: Path, where: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read named arrays from an .npz file, never pickled objects."""
    if not path.exists():
        _text(path, where)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _unusable(path, where, str(error)) from error


def _components(folder: Path, where: str) -> Columns:
    """Read components.csv."""
    return _table(folder / "components.csv", where, text=(), numbers=("fold", "component", "explained_variance_ratio"))


def _samples(path: Path, where: str, backbone: str) -> SpikeSamples | CropSamples:
    """Read samples.npz."""
    names = ("names", "labels", "cells")
    if backbone == PAPER:
        return SpikeSamples(**_arrays(path, where, (*names, "latency", "first_wave", "prepared", "reconstructed")))
    return CropSamples(**_arrays(path, where, (*names, "crops")))


def _one_of(value: object, allowed: tuple[str, ...]) -> str:
    """Give `value` if it is one of `allowed`."""
    if value not in allowed:
        msg = f"{value!r} is none of {', '.join(allowed)}"
        raise ValueError(msg)
    return str(value)


def _number(value: Any) -> float | None:  # noqa: ANN401 (JSON holds anything)
    """Read a figure; null and NaN both mean that there is none."""
    return None if value is None or math.isnan(value) else float(value)


def _interval(entry: dict[str, Any] | None, low: str = "low", high: str = "high") -> Interval:
    """Read one figure with its interval."""
    if entry is None:
        return Interval(None, None, None)
    return Interval(_number(entry["value"]), _number(entry[low]), _number(entry[high]))


def _metrics(entry: dict[str, Any]) -> Metrics:
    """Read one METRICS object; version 0.1.0 did not write the misclassification, which is what accuracy leaves."""
    accuracy = _interval(entry["accuracy"])
    rest = {
        name: None if end is None else 1 - end
        for name, end in (("value", accuracy.value), ("low", accuracy.high), ("high", accuracy.low))
    }
    entry = {"misclassification": rest} | entry
    return Metrics(
        n=int(entry["n"]),
        positives=int(entry["positives"]),
        estimates={name: _interval(entry[name]) for name in METRICS},
        delong=_interval(entry["roc_auc"], "delong_low", "delong_high"),
        confusion={name: int(entry["confusion"][name]) for name in ("tn", "fp", "fn", "tp")},
        interval=str(entry["interval"]),
    )


def _metrics_or_none(entry: dict[str, Any] | None) -> Metrics | None:
    """Read one METRICS object, if there is one."""
    return None if entry is None else _metrics(entry)


def _fold(entry: dict[str, Any]) -> Fold:
    """Read one entry of "folds"."""
    return Fold(
        fold=int(entry["fold"]),
        train_cells=int(entry["train_cells"]),
        validation_cells=int(entry["validation_cells"]),
        test_cells=int(entry["test_cells"]),
        train_subjects=_count(entry["train_subjects"]),
        test_subjects=_count(entry["test_subjects"]),
        n_components=_count(entry["n_components"]),
        explained_variance=_number(entry["explained_variance"]),
        cell=_metrics(entry["cell"]),
        subject=_metrics_or_none(entry["subject"]),
    )


def _count(value: int | None) -> int | None:
    """Read a count that not every run has."""
    return None if value is None else int(value)


def _data(entry: dict[str, Any]) -> Data:
    """Read "data"."""
    return Data(
        name=str(entry["name"]),
        layout=str(entry["layout"]),
        credit=str(entry["credit"]),
        images=int(entry["images"]),
        subjects=_count(entry["subjects"]) or 0,
        class_names=_pair(entry["class_names"], str),
        cells_per_class=_pair(entry["cells_per_class"], int),
        subjects_per_class=_pair(entry["subjects_per_class"] or (0, 0), int),
        failed=int(entry["failed"]),
        duplicate_images=int(entry["duplicate_images"]),
        cross_subject_duplicates=int(entry["cross_subject_duplicates"]),
        digest=str(entry.get("digest", "")),
    )


def _pair(values: Sequence[Any], kind: type[Any]) -> tuple[Any, Any]:
    """Read something given for (normal, leukemic)."""
    normal, leukemic = values
    return kind(normal), kind(leukemic)
