"""The run folder: its settings, and the models that lie in it."""

import json
import tomllib
from pathlib import Path
from typing import Any

import tomli_w

from leukospike.errors import RunError, WeightsError
from leukospike.original.model import FittedModel, load_model
from leukospike.settings import Preset, Protocol, RunConfig, read_settings
from leukospike.storage.files import write_text


def write_config(run: Path, config: RunConfig, **tables: dict[str, Any]) -> None:
    """Write `config.toml`: the settings, then the tables; TOML has no null, so what is None is left out."""
    content = {"": config.stored()} | tables
    said = {
        name: {key: value for key, value in table.items() if value is not None}
        for name, table in content.items()
        if table
    }
    write_text(run / "config.toml", tomli_w.dumps(said.pop("") | said))


def read_config(run: Path) -> RunConfig:
    """Read the settings of a run folder.

    Raises
    ------
    RunError
        If `run` is not a run folder.
    """
    if not (run / "config.toml").is_file():
        msg = f"run folder: config.toml must be in it, got {run} without. Give a folder that leukospike wrote."
        raise RunError(msg)
    settings = read_settings(run / "config.toml")
    try:
        settings["dataset"] = Preset(settings["dataset"])
        settings["protocol"] = Protocol(settings["protocol"])
        return RunConfig(**settings)
    except (KeyError, TypeError, ValueError) as error:
        msg = f"run folder: config.toml must hold a run's settings, got {run} ({error}). Use another run."
        raise RunError(msg) from error


def read_groups(config: Path) -> dict[str, Any]:
    """Read what a run's `config.toml` says of subjects who count as one: digest and number; empty if nothing.

    Raises
    ------
    RunError
        If it cannot be read or does not say it as a run does.
    """
    try:
        groups: Any = tomllib.loads(config.read_text(encoding="utf-8")).get("groups", {})
        known = {"digest": str, "subjects": int, "into": int}
        if groups and {name: type(value) for name, value in groups.items()} != known:
            raise TypeError(groups)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        msg = f"run folder: config.toml must say which subjects are joined, got {config} ({error}). Use another run."
        raise RunError(msg) from error
    return groups


def weights_path(run: Path, fold: int) -> Path:
    """Give the place of one fold's model."""
    return run / "weights" / f"fold_{fold}.safetensors"


def model_files(source: Path) -> list[Path]:
    """Give the models of a run folder, one a fold, or the weights file that is given.

    Raises
    ------
    WeightsError
        If the folder is not that of a finished run, or has other models than one a fold.
    """
    if not source.is_dir():
        return [source]
    paths = sorted((source / "weights").glob("fold_*.safetensors"))
    if not paths or not (source / "metrics.json").is_file():
        msg = (
            f"load_models: model must be the folder of a finished run, got {source}, which is none."
            " Finish the run with --resume or give a weights file."
        )
        raise WeightsError(msg)
    wanted = [weights_path(source, fold) for fold in range(_n_folds(source / "metrics.json"))]
    if paths != sorted(wanted):
        msg = (
            f"load_models: model must have the weights of each of its {len(wanted)} folds and no others, got"
            f" {', '.join(path.name for path in paths)[:80]} in {source}. Copy the run whole, or give one weights file."
        )
        raise WeightsError(msg)
    return paths


def _n_folds(metrics: Path) -> int:
    """Count the folds of a finished run."""
    try:
        return len(json.loads(metrics.read_text(encoding="utf-8"))["folds"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        msg = f"load_models: {metrics.name} must be as the run wrote it, got {metrics} ({error}). Copy the run again."
        raise WeightsError(msg) from error


def load_models(source: Path) -> list[FittedModel]:
    """Load the models of a run of the original system, or the one of a weights file.

    Raises
    ------
    WeightsError
        If there is no model, or one is unusable.
    """
    return [load_model(path) for path in model_files(source)]
