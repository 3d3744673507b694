"""Maps, weights and counts as every step takes them, and what to do about what is none: an array, a wave, colours."""

from typing import SupportsIndex

import torch
from torch import Tensor

from leukospike.errors import ConfigError, ImageError

_AXES = ("batch", "channel", "row", "column")


def check_maps(maps: object, where: str, name: str, *, axes: tuple[str, ...] = _AXES) -> Tensor:
    """Refuse what is no tensor of these axes; no value is read, so that it costs nothing beside the work."""
    if not isinstance(maps, Tensor):
        remedy = "Give its field latency" if hasattr(maps, "latency") else "Convert an array with torch.from_numpy"
        msg = f"{name} must be a tensor"
        raise ImageError(msg, where=where, got=type(maps).__name__, advice=f"{remedy}.")
    if maps.ndim != len(axes):
        missing = (f"{name}[{':, ' * axes.index(axis)}None] for the {axis}" for axis in _AXES[:2] if axis in axes)
        remedy = f"Add the missing axis: {', '.join(missing)}" if maps.ndim < len(axes) else f"Choose one: {name}[0]"
        msg = f"{name} must be ({', '.join(axes)})"
        raise ImageError(msg, where=where, got=f"{maps.ndim} dimensions", advice=f"{remedy}.")
    return maps


def check_latency(latency: object, where: str, name: str = "latency", *, axes: tuple[str, ...] = _AXES) -> None:
    """Refuse what are no latencies."""
    kind = check_maps(latency, where, name, axes=axes).dtype
    if kind != torch.uint8:
        msg = f"{name} must be uint8"
        raise ImageError(
            msg,
            where=where,
            got=str(kind).removeprefix("torch."),
            advice="Give what rank_order_latency, value_latency or, of a wave, from_wave returns.",
        )


def check_floating(
    maps: Tensor, where: str, name: str, *, advice: str = "Convert 8-bit values: values.float() / 255."
) -> None:
    """Refuse whole numbers, whose maximum is unknown."""
    if not maps.is_floating_point():
        msg = f"{name} must be floating point"
        got = str(maps.dtype).removeprefix("torch.")
        raise ImageError(msg, where=where, got=got, advice=advice)


def check_unit_range(images: Tensor, where: str) -> None:
    """Refuse values outside 0 to 1."""
    if images.numel():
        low, high = (float(value) for value in torch.aminmax(images.detach()))
        if not (low >= 0 and high <= 1):  # written so that NaN is refused
            msg = "images must hold values from 0 to 1"
            raise ImageError(msg, where=where, got=f"{low:g} to {high:g}", advice="Divide 8-bit values by 255.")


def check_responses(intensity: object, where: str) -> None:
    """Refuse what are no maps of responses: whole numbers, and values that are negative or not finite."""
    maps = check_maps(intensity, where, "intensity")
    check_floating(maps, where, "intensity")
    if maps.numel():
        low, high = (float(value) for value in torch.aminmax(maps.detach()))
        if not (low >= 0 and high < torch.inf):  # written so that NaN is refused
            msg = "intensity must be finite and not negative"
            advice = "Rectify responses first: an ON and an OFF channel, or the absolute value."
            raise ImageError(msg, where=where, got=f"{low:g} to {high:g}", advice=advice)


def check_pixels(maps: Tensor, where: str, name: str) -> None:
    """Refuse maps without a pixel; a batch may be empty."""
    if min(maps.shape[1:]) == 0:
        msg = f"{name} must hold a pixel"
        raise ImageError(msg, where=where, got=f"shape {tuple(maps.shape)}", advice="Leave out empty maps.")


def check_weight(weight: object, where: str) -> None:
    """Refuse what are no weights of a layer; no value is read."""
    if not isinstance(weight, Tensor) or weight.ndim != 4 or 0 in weight.shape[1:] or not weight.is_floating_point():
        msg = "weight must be floating point, of shape (feature, channel, row, column)"
        raise ConfigError(msg, where=where, got=described(weight), advice="Give the weights of a layer.")


def check_count(value: object, where: str, name: str, *, least: int, advice: str) -> None:
    """Refuse what is no whole number, or too low a one."""
    if check_whole(value, where, name) < least:
        msg = f"{name} must be at least {least}"
        raise ConfigError(msg, where=where, got=value, advice=advice)


def check_whole(value: object, where: str, name: str) -> int:
    """Refuse what is no whole number; NumPy's are some, Booleans are not."""
    if not isinstance(value, SupportsIndex) or isinstance(value, bool):
        msg = f"{name} must be a whole number"
        raise ConfigError(msg, where=where, got=repr(value), advice="Give an int.")
    return value.__index__()


def described(value: object) -> str:
    """Return the type and shape of a tensor, or the type of anything else."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"


def check_grey(images: object, where: str) -> None:
    """Refuse what are no grey images."""
    remedy = "Take the mean of the colours: images.mean(dim=1, keepdim=True)"
    _check_channels(images, where, "grey, of one channel", n_channels=1, remedy=remedy)


def check_colour(images: object, where: str) -> None:
    """Refuse what are no colour images."""
    remedy = "Leave out transparency; grey images have no colours to tell apart"
    _check_channels(images, where, "RGB", n_channels=3, remedy=remedy)


def _check_channels(images: object, where: str, what: str, *, n_channels: int, remedy: str) -> None:
    """Refuse another number of channels."""
    maps = check_maps(images, where, "images")
    check_floating(maps, where, "images")
    channels = maps.shape[1]
    if channels != n_channels:
        msg = f"images must be {what}: (batch, {n_channels}, row, column)"
        raise ImageError(msg, where=where, got=f"{channels} channels", advice=f"{remedy}.")
