"""What a run can be told, and what it refuses: light, so that the command line knows its options at once."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

from leukospike.errors import ConfigError

SMALLEST_SIZE_PX = 21
"""Smallest image of the network: below this the last stage leaves one pixel, and the average-pool nothing to pool."""

BLUR_WINDOWS = (5, 7, 9)
"""Sides of the blur's kernels, pixels."""


class Preset(StrEnum):
    """Data sets of the original system, each with its own sizes."""

    C_NMC = "c-nmc"
    ALL_IDB = "all-idb"


class Protocol(StrEnum):
    """How cells are split and on what things are fitted."""

    PAPER = "paper"
    IMAGE = "image"
    HONEST = "honest"


class Kind(StrEnum):
    """What an image that is analysed shows."""

    AUTO = "auto"
    CELL = "cell"
    FIELD = "field"


class Runtime(StrEnum):
    """What computes the package's classifier."""

    TORCH = "torch"
    ONNX = "onnx"


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
        if self.blur_window not in BLUR_WINDOWS:
            windows = ", ".join(map(str, BLUR_WINDOWS))
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
        given = dict(settings)
        if "protocol" in given:
            try:
                given["protocol"] = Protocol(given["protocol"])
            except ValueError as error:
                known = ", ".join(Protocol)
                msg = f"settings: protocol must be one of {known}, got {given['protocol']}. Change it."
                raise ConfigError(msg) from error
        return cls(dataset=dataset, **(sizes | given))


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
