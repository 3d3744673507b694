"""Read fitted values, plain numbers and float32 arrays, back from the header and tensors of a weights file."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from leukospike.errors import WeightsError


def read_number(where: str, stored: Mapping[str, Any], name: str, low: float, high: float) -> float:
    """Read a number that must lie from `low` to `high`.

    Raises
    ------
    WeightsError
        If it is missing, not a number, not finite or out of range.
    """
    value = stored.get(name)
    # A bool is an int in Python but not in JSON. NaN is in no range.
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        msg = f"{name} must be a number from {low:g} to {high:g}"
        raise WeightsError(msg, where=where, got=f"{value!r}", advice="Fit it again.")
    return float(value)


def read_count(where: str, stored: Mapping[str, Any], name: str, low: int, high: int | None = None) -> int:
    """Read a whole number of at least `low`, and at most `high` if given.

    Raises
    ------
    WeightsError
        If it is missing, not whole or out of range.
    """
    value = stored.get(name)
    if type(value) is not int or value < low or (high is not None and value > high):
        most = "" if high is None else f" and at most {high}"
        msg = f"{name} must be a whole number, at least {low}{most}"
        raise WeightsError(msg, where=where, got=f"{value!r}", advice="Fit it again.")
    return value


def read_array(
    where: str, stored: Mapping[str, Any], name: str, shape: tuple[int | None, ...]
) -> Float[np.ndarray, "..."]:
    """Read an array of float32.

    Parameters
    ----------
    where : str
        Caller, named in the message.
    stored : mapping
    name : str
    shape : tuple of int or None
        None for a side of any length except 0.

    Raises
    ------
    WeightsError
        If it is missing, of another type or shape, or contains a value that is not finite.
    """
    value = stored.get(name)
    if not isinstance(value, np.ndarray):
        msg = f"{name} must be an array"
        raise WeightsError(msg, where=where, got=type(value).__name__, advice="Fit it again.")
    fits = len(value.shape) == len(shape) and all(
        has == side if side is not None else has > 0 for has, side in zip(value.shape, shape, strict=True)
    )
    if value.dtype != np.float32 or not fits:
        wanted = " x ".join("any" if side is None else str(side) for side in shape)
        msg = f"{name} must be float32 of shape {wanted}"
        raise WeightsError(msg, where=where, got=f"{value.dtype} of {value.shape}", advice="Fit it again.")
    if not np.isfinite(value).all():
        msg = f"{name} must be finite"
        raise WeightsError(msg, where=where, got="NaN or infinity", advice="Fit it again.")
    return value
