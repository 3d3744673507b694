"""Checks of the maps, weights and counts that every step takes, with advice for arrays, waves and colour images."""

from typing import SupportsIndex

import torch
from torch import Tensor

from leukospike.errors import ConfigError, ImageError

_AXES = ("batch", "channel", "row", "column")


def check_maps(maps: object, where: str, name: str, *, axes: tuple[str, ...] = _AXES) -> Tensor:
    """Raise an error unless this is a tensor with these axes; no value is read, so the check costs almost nothing."""
    if not isinstance(maps, Tensor):
        remedy = "Pass its field latency" if hasattr(maps, "latency") else "Convert an array with torch.from_numpy"
        msg = f"{name} must be a tensor"
        raise ImageError(msg, where=where, got=type(maps).__name__, advice=f"{remedy}.")
    if maps.ndim != len(axes):
        missing = (f"{name}[{':, ' * axes.index(axis)}None] for the {axis}" for axis in _AXES[:2] if axis in axes)
        remedy = f"Add the missing axis: {', '.join(missing)}" if maps.ndim < len(axes) else f"Select one: {name}[0]"
        msg = f"{name} must be ({', '.join(axes)})"
        raise ImageError(msg, where=where, got=f"{maps.ndim} dimensions", advice=f"{remedy}.")
    return maps


def check_latency(latency: object, where: str, name: str = "latency", *, axes: tuple[str, ...] = _AXES) -> None:
    """Raise an error unless these are latencies."""
    kind = check_maps(latency, where, name, axes=axes).dtype
    if kind != torch.uint8:
        msg = f"{name} must be uint8"
        raise ImageError(
            msg,
            where=where,
            got=str(kind).removeprefix("torch."),
            advice="Use rank_order_latency or value_latency, or convert a wave with from_wave.",
        )


def check_floating(
    maps: Tensor, where: str, name: str, *, advice: str = "Convert 8-bit values: values.float() / 255."
) -> None:
    """Raise an error for whole numbers, whose maximum is unknown."""
    if not maps.is_floating_point():
        msg = f"{name} must be floating point"
        got = str(maps.dtype).removeprefix("torch.")
        raise ImageError(msg, where=where, got=got, advice=advice)


def check_unit_range(images: Tensor, where: str) -> None:
    """Raise an error for values outside 0 to 1."""
    if images.numel():
        low, high = (float(value) for value in torch.aminmax(images.detach()))
        if not (low >= 0 and high <= 1):  # written so that NaN is refused
            msg = "images must hold values from 0 to 1"
            raise ImageError(msg, where=where, got=f"{low:g} to {high:g}", advice="Divide 8-bit values by 255.")


def check_responses(intensity: object, where: str) -> None:
    """Raise an error unless these are maps of responses, floating point, finite and not negative."""
    maps = check_maps(intensity, where, "intensity")
    check_floating(maps, where, "intensity")
    if maps.numel():
        low, high = (float(value) for value in torch.aminmax(maps.detach()))
        if not (low >= 0 and high < torch.inf):  # written so that NaN is refused
            msg = "intensity must be finite and not negative"
            advice = "Rectify the responses first: split them into ON and OFF channels, or take absolute values."
            raise ImageError(msg, where=where, got=f"{low:g} to {high:g}", advice=advice)


def check_pixels(maps: Tensor, where: str, name: str) -> None:
    """Raise an error for maps without pixels; a batch may be empty."""
    if min(maps.shape[1:]) == 0:
        msg = f"{name} must have at least one pixel"
        raise ImageError(msg, where=where, got=f"shape {tuple(maps.shape)}", advice="Leave out empty maps.")


def check_weight(weight: object, where: str) -> None:
    """Raise an error unless these are weights of a layer; no value is read."""
    if not isinstance(weight, Tensor) or weight.ndim != 4 or 0 in weight.shape[1:] or not weight.is_floating_point():
        msg = "weight must be floating point, of shape (feature, channel, row, column)"
        raise ConfigError(msg, where=where, got=described(weight), advice="Pass the weights of a layer.")


def check_count(value: object, where: str, name: str, *, least: int, advice: str) -> None:
    """Raise an error unless this is a whole number of at least `least`."""
    if check_whole(value, where, name) < least:
        msg = f"{name} must be at least {least}"
        raise ConfigError(msg, where=where, got=value, advice=advice)


def check_whole(value: object, where: str, name: str) -> int:
    """Raise an error unless this is a whole number; NumPy's integers are, Booleans are not."""
    if not isinstance(value, SupportsIndex) or isinstance(value, bool):
        msg = f"{name} must be a whole number"
        raise ConfigError(msg, where=where, got=repr(value), advice="Pass an int.")
    return value.__index__()


def described(value: object) -> str:
    """Return the type and shape of a tensor, or the type of anything else."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"


def check_grey(images: object, where: str) -> None:
    """Raise an error unless these are grey images."""
    remedy = "Average the colours: images.mean(dim=1, keepdim=True)"
    _check_channels(images, where, "grey, with one channel", n_channels=1, remedy=remedy)


def check_colour(images: object, where: str) -> None:
    """Raise an error unless these are colour images."""
    remedy = "Drop any alpha channel; grey images cannot be used here"
    _check_channels(images, where, "RGB", n_channels=3, remedy=remedy)


def _check_channels(images: object, where: str, what: str, *, n_channels: int, remedy: str) -> None:
    """Raise an error for any other number of channels."""
    maps = check_maps(images, where, "images")
    check_floating(maps, where, "images")
    channels = maps.shape[1]
    if channels != n_channels:
        msg = f"images must be {what}: (batch, {n_channels}, row, column)"
        raise ImageError(msg, where=where, got=f"{channels} channels", advice=f"{remedy}.")
