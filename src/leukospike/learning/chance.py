"""Initial weights and dropout from a given generator, where torch's layers use only the global one.

All threads share the global generator: two trainings that seed it and draw from it would disturb each other.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_IN_PLACE = {Tensor.bernoulli_, Tensor.normal_, Tensor.uniform_}


class drawing_from(TorchFunctionMode):  # noqa: N801 - reads as what it does: with drawing_from(generator)
    """Context in which layers draw initial weights and dropout from a given generator, in this thread only.

    The numbers are those that the global generator would give in the same state. This covers `torch.nn.init`, from
    which layers take their initial weights, dropout of single values, and in-place sampling (`bernoulli_`, `normal_`,
    `uniform_`).

    Parameters
    ----------
    generator : torch.Generator
        On the device of the tensors that are drawn.

    Examples
    --------
    >>> def layer() -> torch.nn.Linear:
    ...     with drawing_from(torch.Generator().manual_seed(7)):
    ...         return torch.nn.Linear(3, 2)
    >>> torch.equal(layer().weight, layer().weight)
    True
    """

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self._generator = generator

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        """Call a torch function, with the generator if it draws."""
        named = kwargs or {}
        if func is functional.dropout:
            return _dropout(*args, **named, generator=self._generator)
        if func in _IN_PLACE or "generator" in named:
            named = named | {"generator": named.get("generator") or self._generator}
        return func(*args, **named)


def _dropout(
    input: Tensor,  # noqa: A002 - the signature is torch's
    p: float = 0.5,
    training: bool = True,  # noqa: FBT001, FBT002
    inplace: bool = False,  # noqa: FBT001, FBT002
    *,
    generator: Generator,
) -> Tensor:
    """Compute exactly what torch's dropout computes on a CPU."""
    if not training or p == 0:
        return input
    kept = torch.empty_like(input).bernoulli_(1 - p, generator=generator)
    if p < 1:
        kept.div_(1 - p)
    return input.mul_(kept) if inplace else input * kept


def undrawn() -> drawing_from:
    """Return a context for making layers whose weights are then read from a file; nothing drawn in it matters."""
    return drawing_from(Generator())
