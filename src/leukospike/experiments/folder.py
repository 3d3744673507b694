"""The folder of a run: the only place that knows the names of its files."""

import json
import tomllib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tomli_w

from leukospike.errors import LeukospikeError, RunError, WeightsError
from leukospike.experiments.results import (
    HISTORY_COLUMNS,
    CropSamples,
    DataDescription,
    JoinedSubjects,
    Run,
    RunResult,
    SpikeSamples,
)
from leukospike.settings import PAPER, Preset, Protocol, RunConfig, read_settings
from leukospike.storage.files import write_text
from leukospike.storage.reading import flattened, read_arrays, read_json, read_table, read_text, unusable

_WHERE = "read_run"

MODEL = "model.safetensors"
"""In a folder: a classifier refined from the package's."""


@dataclass(frozen=True)
class RunFolder:
    """Paths of all files of a run."""

    path: Path

    @property
    def config(self) -> Path:
        """Settings, and afterwards data and versions."""
        return self.path / "config.toml"

    @property
    def metrics(self) -> Path:
        """The metrics: written last, so that the file marks a finished run."""
        return self.path / "metrics.json"

    @property
    def images(self) -> Path:
        """Index of the images, by which data are recognised."""
        return self.path / "images.json"

    @property
    def predictions(self) -> Path:
        """Predictions for each tested picture."""
        return self.path / "predictions.csv"

    @property
    def history(self) -> Path:
        """Training history, epoch by epoch."""
        return self.path / "history.csv"

    @property
    def components(self) -> Path:
        """Shares of variance, component by component."""
        return self.path / "components.csv"

    @property
    def samples(self) -> Path:
        """A few cells at each step."""
        return self.path / "samples.npz"

    @property
    def failures(self) -> Path:
        """Images that could not be used; only if there are any."""
        return self.path / "failures.csv"

    @property
    def state(self) -> Path:
        """Folder of intermediate results until all folds are done."""
        return self.path / "state"

    @property
    def pictures(self) -> Path:
        """Pixels of the cells to be shown, kept from before the training."""
        return self.state / "pictures.npz"

    @property
    def environments(self) -> Path:
        """Environments in which the folds were trained, until all are done."""
        return self.state / "environments.json"

    def weights(self, fold: int) -> Path:
        """Return the path of one fold's model."""
        return self.path / "weights" / f"fold_{fold}.safetensors"

    def finished_fold(self, fold: int) -> Path:
        """Return the path of a fold's results, until all are done."""
        return self.state / f"fold_{fold}.json"

    def checkpoint(self, fold: int) -> Path:
        """Return the path of a fold's training checkpoint."""
        return self.state / f"fold_{fold}.checkpoint.safetensors"

    def all_weights(self) -> list[Path]:
        """List the existing models."""
        return sorted((self.path / "weights").glob("fold_*.safetensors"))

    @property
    def is_trained(self) -> bool:
        """Whether it holds any results of training."""
        return any(self.path.glob("weights/*")) or any(self.state.glob("fold_*"))


def write_config(
    folder: RunFolder,
    config: RunConfig,
    *,
    joined: JoinedSubjects | None = None,
    data: DataDescription | None = None,
    versions: Mapping[str, str] | None = None,
) -> None:
    """Write `config.toml`: the settings, then the tables; TOML has no null, so values of None are left out."""
    content: dict[str, Any] = dict(_without_none(config.stored()))
    if joined is not None:
        content["groups"] = joined.to_json()
    if data is not None:
        told = {name: getattr(data, name) for name in ("name", "layout", "images", "subjects", "digest")}
        content["data"] = _without_none(told)
    if versions is not None:
        content["versions"] = dict(versions)
    write_text(folder.config, tomli_w.dumps(content))


def read_config(path: Path) -> RunConfig:
    """Read the settings of a run folder.

    Raises
    ------
    RunError
        If `path` is not a run folder.
    """
    folder = RunFolder(path)
    if not folder.config.is_file():
        rule, got = "run folder must hold config.toml", f"{path} without it"
        raise RunError(rule, where="read_config", got=got, advice="Pass a folder that leukospike wrote.")
    settings = read_settings(folder.config)
    try:
        settings["dataset"] = Preset(settings["dataset"])
        settings["protocol"] = Protocol(settings["protocol"])
        return RunConfig(**settings)
    except (KeyError, TypeError, ValueError) as error:
        rule, got = "config.toml must hold the settings of a run", f"{path} ({error})"
        raise RunError(rule, where="read_config", got=got, advice="Use another run.") from error


def read_joined(config: Path) -> JoinedSubjects | None:
    """Read from a run's `config.toml` which subjects count as one; None if absent.

    Raises
    ------
    RunError
        If it cannot be read or is invalid.
    """
    try:
        groups = tomllib.loads(config.read_text(encoding="utf-8")).get("groups")
        return None if not groups else JoinedSubjects.from_json(groups)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        rule, got = "config.toml must list which subjects are joined", f"{config} ({error})"
        raise RunError(rule, where="read_joined", got=got, advice="Use another run.") from error


def model_files(source: Path) -> list[Path]:
    """List the models of a run folder, one per fold, or the given weights file.

    Raises
    ------
    WeightsError
        If the folder is not that of a finished run, or does not hold one model per fold.
    """
    if not source.exists():
        advice = "Check the spelling, or pass a run folder or one of its weights/*.safetensors files."
        raise WeightsError("`model` must exist", where="model_files", got=source, advice=advice)
    if not source.is_dir():
        return [source]
    folder = RunFolder(source)
    paths = folder.all_weights()
    if not paths or not folder.metrics.is_file():
        rule, got = "`model` must be the folder of a finished run", f"{source}, which is not one"
        advice = "Finish the run with `resume`, or pass a weights file."
        raise WeightsError(rule, where="model_files", got=got, advice=advice)
    wanted = [folder.weights(fold) for fold in range(_n_folds(folder.metrics))]
    if paths != sorted(wanted):
        rule = f"`model` must have the weights of each of its {len(wanted)} folds and no others"
        got = f"{', '.join(path.name for path in paths)[:80]} in {source}"
        raise WeightsError(rule, where="model_files", got=got, advice="Copy the whole run, or pass one weights file.")
    return paths


def _n_folds(metrics: Path) -> int:
    """Count the folds of a finished run."""
    try:
        return len(json.loads(metrics.read_text(encoding="utf-8"))["folds"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        rule, got = f"{metrics.name} must be unchanged", f"{metrics} ({error})"
        raise WeightsError(rule, where="model_files", got=got, advice="Copy the run again.") from error


def read_result(path: Path) -> RunResult:
    """Read the figures of a finished run.

    Raises
    ------
    RunError
        If `path` is not the folder of a finished run, or its metrics are invalid.
    """
    metrics = RunFolder(path).metrics
    content = read_json(metrics, _WHERE)
    with as_written(metrics, _WHERE):
        return RunResult.from_json(content)


@contextmanager
def as_written(path: Path, where: str) -> Generator[None]:
    """Raise an error if a file was changed or damaged."""
    try:
        yield
    except LeukospikeError:
        raise
    except (OSError, EOFError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise unusable(path, where, f"{type(error).__name__}: {error}") from error


def read_run(path: Path) -> Run:
    """Read a run folder.

    Parameters
    ----------
    path : Path
        Of a finished run, of any release since 0.1.0.

    Returns
    -------
    Run

    Raises
    ------
    RunError
        If a file is missing, cannot be read, or is invalid.
    """
    folder = RunFolder(path)
    result = read_result(path)
    is_paper = result.backbone == PAPER
    return Run(
        name=path.resolve().name,
        result=result,
        settings=_settings(folder.config),
        predictions=read_table(
            folder.predictions,
            _WHERE,
            text=("image", "subject"),
            numbers=("fold", "label", "probability"),
            optional=("copy",),
        ),
        history=read_table(folder.history, _WHERE, numbers=HISTORY_COLUMNS),
        components=read_table(folder.components, _WHERE, numbers=("fold", "component", "explained_variance_ratio"))
        if is_paper
        else None,
        samples=_samples(folder.samples, is_paper=is_paper),
        failures=read_table(folder.failures, _WHERE, text=("image", "reason"))
        if folder.failures.exists()
        else pd.DataFrame({"image": np.array([], str), "reason": np.array([], str)}),
        n_weights=len(folder.all_weights()),
    )


def _samples(path: Path, *, is_paper: bool) -> SpikeSamples | CropSamples:
    """Read samples.npz."""
    names = ("names", "labels", "cells")
    with as_written(path, _WHERE):
        if is_paper:
            steps = ("latency", "first_wave", "prepared", "reconstructed")
            return SpikeSamples(**read_arrays(path, _WHERE, (*names, *steps)))
        return CropSamples(**read_arrays(path, _WHERE, (*names, "crops")))


def _settings(path: Path) -> dict[str, object]:
    """Read config.toml, with the names of tables prefixed to those of their entries."""
    try:
        content = tomllib.loads(read_text(path, _WHERE))
    except (ValueError, RecursionError) as error:
        raise unusable(path, _WHERE, str(error)) from error
    return flattened(content)


def _without_none(content: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is None."""
    return {name: value for name, value in content.items() if value is not None}
