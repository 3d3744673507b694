"""The run folder: its settings, and the models that lie in it."""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import tomli_w

from leukospike.errors import ConfigError, RunError, WeightsError
from leukospike.files import write_text
from leukospike.model import FittedModel, load_model
from leukospike.network import SMALLEST_SIZE_PX
from leukospike.preprocessing import BLUR_KERNELS


class Preset(StrEnum):
    """Data sets of the original system, each with its own sizes."""

    C_NMC = "c-nmc"
    ALL_IDB = "all-idb"


class Protocol(StrEnum):
    """How cells are split and on what things are fitted."""

    PAPER = "paper"
    HONEST = "honest"


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides what a run computes; saved with it as `config.toml`."""

    dataset: Preset
    """Whose sizes are the defaults."""
    protocol: Protocol = Protocol.HONEST
    hold_out: bool = False
    """True: only the first fold is run, as `leukospike train` does."""
    n_folds: int = 4
    epochs: int = 10
    seed: int = 0
    max_cells: int | None = None
    """Take so many cells at the most, spread over the subjects; None takes all."""
    image_size: int = 100
    """Side of the maps that the network sees, pixels."""
    n_components: int = 500
    blur_window: int = 9
    """Side of the blur's kernel, pixels."""
    augmented_copies: int = 1
    """Augmented copies of each training image, beside the image itself."""
    hidden_units: int | None = None
    """Width of the hidden layer of one published variant; None: no such layer."""
    batch_size: int = 32
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        many = 1_000_000
        limits: dict[str, tuple[float, float]] = {
            "n_folds": (2, many),
            "epochs": (1, many),
            "seed": (0, 2**32 - 1),  # as scikit-learn has it
            "max_cells": (4, many),
            "image_size": (SMALLEST_SIZE_PX, 1024),
            "n_components": (1, many),
            "augmented_copies": (0, many),
            "hidden_units": (1, many),
            "batch_size": (2, many),
            "learning_rate": (1e-12, 1),
        }
        for name, (low, high) in limits.items():
            if name in {"max_cells", "hidden_units"} and getattr(self, name) is None:
                continue
            value: Any = getattr(self, name)
            types = (int, float) if name == "learning_rate" else (int,)
            if type(value) not in types or not low <= value <= high:
                kind = "a whole number" if len(types) == 1 else "a number"
                msg = f"settings: {name} must be {kind} from {low:.10g} to {high:.10g}, got {value}. Change it."
                raise ConfigError(msg)
        if self.blur_window not in tuple(BLUR_KERNELS):
            windows = ", ".join(map(str, BLUR_KERNELS))
            msg = f"settings: blur_window must be one of {windows}, got {self.blur_window}. The original uses 9."
            raise ConfigError(msg)

    @classmethod
    def preset(cls, dataset: Preset, settings: Mapping[str, Any] = MappingProxyType({})) -> "RunConfig":
        """Give the original's settings for a data set, changed by `settings`.

        C-NMC: 100 pixels, 500 components, and one augmented copy an image, since its growth was not published.
        ALL-IDB: 224 pixels, 1,200 components, and 10 copies, which grow 108 images to 1,188 ("about 1,200").
        """
        sizes: dict[str, Any] = {"image_size": 100, "n_components": 500, "augmented_copies": 1}
        if dataset is Preset.ALL_IDB:
            sizes = {"image_size": 224, "n_components": 1200, "augmented_copies": 10}
        unknown = sorted(set(settings) - {field.name for field in fields(cls)})
        if unknown:
            known = ", ".join(field.name for field in fields(cls))
            msg = f"settings: name must be one of {known}, got {unknown[0]}. Correct its spelling."
            raise ConfigError(msg)
        return cls(dataset=dataset, **(sizes | dict(settings)))


def read_settings(path: Path) -> dict[str, Any]:
    """Read settings from a TOML file, such as the `config.toml` of another run.

    Raises
    ------
    ConfigError
        If the file is missing or not TOML.
    """
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"settings: --config must be a readable TOML file, got {path} ({error}). Correct the file."
        raise ConfigError(msg) from error
    # These describe the run that wrote the file; they are no settings.
    return {name: value for name, value in settings.items() if name not in {"data", "versions"}}


def write_config(run: Path, config: RunConfig, **tables: dict[str, Any]) -> None:
    """Write `config.toml`: the settings, then the tables; TOML has no null, so what is None is left out."""
    content = {"": asdict(config)} | tables
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


def load_models(source: Path) -> list[FittedModel]:
    """Load the models of a run folder, one a fold, or the one of a weights file.

    Raises
    ------
    WeightsError
        If there is no model, or one is unusable.
    """
    if source.is_dir():
        paths = sorted((source / "weights").glob("fold_*.safetensors"))
        if not paths or not (source / "metrics.json").is_file():
            msg = (
                f"load_models: model must be the folder of a finished run, got {source}, which is none."
                " Finish the run with --resume or give a weights file."
            )
            raise WeightsError(msg)
        return [load_model(path) for path in paths]
    return [load_model(source)]
