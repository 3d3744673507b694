"""The run folder: its settings, and the models that lie in it."""

from pathlib import Path
from typing import Any

import tomli_w

from leukospike.errors import RunError, WeightsError
from leukospike.files import write_text
from leukospike.model import FittedModel, load_model
from leukospike.settings import Preset, Protocol, RunConfig, read_settings


def write_config(run: Path, config: RunConfig, **tables: dict[str, Any]) -> None:
    """Write `config.toml`: the settings, then the tables; TOML has no null, so what is None is left out."""
    content = {"": config.stored()} | tables
    said = {name: {key: value for key, value in table.items() if value is not None} for name, table in content.items()}
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


def weights_path(run: Path, fold: int) -> Path:
    """Give the place of one fold's model."""
    return run / "weights" / f"fold_{fold}.safetensors"


def model_files(source: Path) -> list[Path]:
    """Give the models of a run folder, one a fold, or the weights file that is given.

    Raises
    ------
    WeightsError
        If the folder is not that of a finished run.
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
    return paths


def load_models(source: Path) -> list[FittedModel]:
    """Load the models of a run of the original system, or the one of a weights file.

    Raises
    ------
    WeightsError
        If there is no model, or one is unusable.
    """
    return [load_model(path) for path in model_files(source)]
