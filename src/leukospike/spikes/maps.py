"""Maps as every step takes them, and what to do about what is none: an array, a single image, a wave, colours."""

import torch
from torch import Tensor

from leukospike.errors import ImageError

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


def check_latency(latency: object, where: str, *, axes: tuple[str, ...] = _AXES) -> None:
    """Refuse what are no latencies."""
    kind = check_maps(latency, where, "latency", axes=axes).dtype
    if kind != torch.uint8:
        msg = "latency must be uint8"
        raise ImageError(
            msg,
            where=where,
            got=str(kind).removeprefix("torch."),
            advice="Give what rank_order_latency, value_latency or, of a wave, from_wave returns.",
        )


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
    channels = check_maps(images, where, "images").shape[1]
    if channels != n_channels:
        msg = f"images must be {what}: (batch, {n_channels}, row, column)"
        raise ImageError(msg, where=where, got=f"{channels} channels", advice=f"{remedy}.")
