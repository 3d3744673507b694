"""Compiled versions of a step, available where numba is installed and has a place to cache what it compiles."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any


def compiled_twin(name: str) -> Any | None:  # noqa: ANN401 - a module, whose functions the caller knows
    """Return a module of compiled functions, or None if there is none; plain PyTorch then gives the same results.

    Numba is imported only here, since it takes half a second and not every command needs it.
    """
    if find_spec("numba") is None:
        return None
    try:
        return import_module(f"leukospike.spikes.{name}")
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
        return None  # a read-only installation without a writable home; compiling in each process takes a minute
