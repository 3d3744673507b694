"""Settings of a run and their checks; quick to import, so that the command line knows its options at once."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from leukospike.errors import ConfigError

SMALLEST_SIZE_PX = 21
"""Smallest image of the network: below this, the last stage leaves one pixel and nothing for the average pooling."""

BLUR_WINDOWS = (5, 7, 9)
"""Sides of the blur's kernels, pixels."""


class Preset(StrEnum):
    """Data sets of the original system, each with its own settings."""

    C_NMC = "c-nmc"
    ALL_IDB = "all-idb"


class Protocol(StrEnum):
    """How cells are split, and on what normalisation and components are fitted."""

    PAPER = "paper"
    IMAGE = "image"
    HONEST = "honest"


class Start(StrEnum):
    """What a training starts from."""

    SHIPPED = "shipped"


class Kind(StrEnum):
    """What an analysed image shows."""

    AUTO = "auto"
    CELL = "cell"
    FIELD = "field"


class Runtime(StrEnum):
    """Runtime of the package's classifier."""

    TORCH = "torch"
    ONNX = "onnx"


_Choice = TypeVar("_Choice", bound=StrEnum)


def choice(kinds: type[_Choice], value: str, *, name: str, where: str) -> _Choice:
    """Return a choice by its value.

    Raises
    ------
    ConfigError
        If it is none of the choices.

    Examples
    --------
    >>> choice(Kind, "field", name="kind", where="analyze")
    <Kind.FIELD: 'field'>
    """
    try:
        return kinds(value)
    except ValueError as error:
        rule = f"`{name}` must be one of {', '.join(kinds)}"
        raise ConfigError(rule, where=where, got=value, advice="Correct its spelling.") from error


PAPER = "paper"
"""Backbone: the original system, 31 layers on spike maps."""

APPEARANCE = "appearance"
"""Backbone: three networks on 107 measurements of a cell, like those of the package."""

CONVOLUTIONAL = "convolutional"
"""Backbone: a small residual network on the colours of a cell."""

TIMM = "timm:"
"""Prefix of a backbone of the library timm, such as "timm:resnet18"."""

_OF_PAPER = ("image_size", "n_components", "blur_window", "hidden_units")
_TIMM_NAME = re.compile(
    r"timm:[a-z0-9_]+(\.[a-z0-9_]+)?"
)  # no colon or slash, which would name a location to load from


def timm_name(backbone: str) -> str | None:
    """Return the name that the library timm knows a backbone by; None if it is not of timm.

    Examples
    --------
    >>> timm_name("timm:resnet18"), timm_name("paper")
    ('resnet18', None)
    """
    return backbone.removeprefix(TIMM) if backbone.startswith(TIMM) else None


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """All settings that determine a run; saved with it as `config.toml`."""

    dataset: Preset
    """Source of the default settings."""
    backbone: str = PAPER
    """Network to train: `PAPER`, `APPEARANCE`, `CONVOLUTIONAL`, or "timm:" and a name of that library."""
    pretrained: bool = False
    """Whether a timm backbone starts from the pretrained weights of the library, which are downloaded."""
    protocol: Protocol = Protocol.HONEST
    hold_out: bool = False
    """True: only the first fold is run, as `leukospike train` does."""
    n_folds: int = 4
    epochs: int = 10
    seed: int = 0
    max_cells: int | None = None
    """Maximum number of cells, spread over the subjects; None uses all."""
    image_size: int = 100
    """Side of the network's input maps, pixels; only for the backbone `PAPER`, like the next two."""
    n_components: int = 500
    blur_window: int = 9
    """Side of the blur's kernel, pixels."""
    augmented_copies: int = 1
    """Augmented copies of each training image, in addition to the image itself. Backbones other than `PAPER` use them
    only under the protocol `paper`, where they leak; otherwise they augment each cell on the fly, or not at all."""
    hidden_units: int | None = None
    """Width of the hidden layer of one published variant of `PAPER`; None: no such layer."""
    batch_size: int = 32
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        many = 1_000_000
        limits: dict[str, tuple[float, float]] = {
            "n_folds": (2, many),
            "epochs": (1, many),
            "seed": (0, 2**32 - 1),  # as in scikit-learn
            "max_cells": (4, many),
            "image_size": (SMALLEST_SIZE_PX, 1024),
            "n_components": (1, many),
            "augmented_copies": (0, many),
            "hidden_units": (1, many),
            "batch_size": (2, 4096),  # a larger value is not useful for training, and takes gigabytes
            "learning_rate": (1e-12, 1),
        }
        for name, (low, high) in limits.items():
            if name in {"max_cells", "hidden_units"} and getattr(self, name) is None:
                continue
            value: object = getattr(self, name)
            types = (int, float) if name == "learning_rate" else (int,)
            # `type` and not `isinstance`: True is an int, but not a number of folds.
            if type(value) not in types or not (isinstance(value, int | float) and low <= value <= high):
                kind = "a whole number" if len(types) == 1 else "a number"
                is_text = isinstance(value, str)
                got = f"the text '{value}'" if is_text else value
                advice = "Write it without quotes." if is_text else "Change it."
                rule = f"`{name}` must be {kind} from {low:.10g} to {high:.10g}"
                raise _refused(rule, got, advice)
        known = (PAPER, APPEARANCE, CONVOLUTIONAL)
        if self.backbone not in known and not _TIMM_NAME.fullmatch(self.backbone):
            rule = f"`backbone` must be {', '.join(known)}, or {TIMM} and a name such as resnet18"
            raise _refused(rule, self.backbone, "Correct it.")
        if self.pretrained and timm_name(self.backbone) is None:
            rule, got = f"`pretrained` must be used with a backbone of {TIMM}", f"it with {self.backbone}"
            raise _refused(rule, got, "Leave out `pretrained` or choose such a backbone.")
        if self.blur_window not in BLUR_WINDOWS:
            rule = f"`blur_window` must be one of {', '.join(map(str, BLUR_WINDOWS))}"
            raise _refused(rule, self.blur_window, "The original uses 9.")

    @classmethod
    def preset(cls, dataset: Preset, settings: Mapping[str, Any] = MappingProxyType({})) -> "RunConfig":
        """Return the original's settings for a data set, changed by `settings`.

        C-NMC: 100 pixels, 500 components, and one augmented copy per image, since the number was not published.
        ALL-IDB: 224 pixels, 1,200 components, and 10 copies, which turn 108 images into 1,188 ("about 1,200"). The
        other backbones have their own settings, regardless of the data.

        Raises
        ------
        ConfigError
            If a setting is unknown, impossible, or of another backbone.
        """
        sizes: dict[str, Any] = {"image_size": 100, "n_components": 500, "augmented_copies": 1}
        if dataset is Preset.ALL_IDB:
            sizes = {"image_size": 224, "n_components": 1200, "augmented_copies": 10}
        unknown = sorted(set(settings) - {field.name for field in fields(cls)})
        if unknown:
            known = ", ".join(field.name for field in fields(cls))
            rule = f"name must be one of {known}"
            raise _refused(rule, unknown[0], "Correct the spelling.")
        given = dict(settings)
        for name, kind, words in _TYPES:
            if name in given and type(given[name]) is not kind:
                rule = f"`{name}` must be {words}"
                raise _refused(rule, given[name], "Change it.")
        backbone = given.get("backbone", PAPER)
        if backbone != PAPER:
            sizes = _CELL_TRAINING.get(backbone, _TIMM_TRAINING)
            if alien := next((name for name in _OF_PAPER if name in given), None):
                rule, got = f"`{alien}` must be used with the backbone {PAPER}", f"it with {backbone}"
                raise _refused(rule, got, "Leave out `{alien}` or choose that backbone.")
        if "protocol" in given:
            try:
                given["protocol"] = Protocol(given["protocol"])
            except ValueError as error:
                rule = f"`protocol` must be one of {', '.join(Protocol)}"
                raise _refused(rule, given["protocol"], "Change it.") from error
        return cls(dataset=dataset, **(sizes | given))

    def stored(self) -> dict[str, object]:
        """Return the applicable settings, without those of other backbones."""
        left_out = () if self.backbone == PAPER else _OF_PAPER
        return {name: value for name, value in asdict(self).items() if name not in left_out}


_TYPES = (
    ("backbone", str, "the name of one"),
    ("pretrained", bool, "true or false"),
    ("hold_out", bool, "true or false"),
)
_CELL_TRAINING: dict[str, dict[str, Any]] = {
    APPEARANCE: {"epochs": 16, "batch_size": 64, "learning_rate": 0.003},
    CONVOLUTIONAL: {"epochs": 8, "batch_size": 64, "learning_rate": 0.002},
}
_TIMM_TRAINING: dict[str, Any] = {"epochs": 8, "batch_size": 64, "learning_rate": 0.0005}


def read_settings(path: Path) -> dict[str, Any]:
    """Read settings from a TOML file, such as the `config.toml` of another run.

    Raises
    ------
    ConfigError
        If the file is missing or not TOML.
    """
    try:
        if path.exists() and not path.is_file():
            reason = "it is a folder or a device"
            raise OSError(reason)
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        rule = "`config` must be a readable TOML file"
        raise _refused(rule, f"{path} ({error})", "Correct the file.") from error
    # These describe the run that wrote the file; they are not settings.
    return {name: value for name, value in settings.items() if name not in {"data", "groups", "versions"}}


def _refused(rule: str, got: object, advice: str) -> ConfigError:
    """Build the error for a setting."""
    return ConfigError(rule, where="settings", got=got, advice=advice)
