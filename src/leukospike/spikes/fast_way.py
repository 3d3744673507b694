"""The compiled twin of a step, where there is one: with numba, and a place where it may keep what it compiles."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any


def compiled_twin(name: str) -> Any | None:  # noqa: ANN401 - a module, whose functions the caller knows
    """Return a module of compiled functions, or None where the plain way, which gives the same, must do.

    Imported here alone: numba takes half a second, which not every command needs.
    """
    if find_spec("numba") is None:
        return None
    try:
        return import_module(f"leukospike.spikes.{name}")
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
        return None  # a read-only installation and no writable home; to compile anew in each process takes a minute
