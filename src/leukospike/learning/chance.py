"""Chance of one's own: first weights and dropout from a given generator, where torch's layers know the global one only.

The global generator is shared by all threads: two trainings that seed it and draw from it disturb each other.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_IN_PLACE = {Tensor.bernoulli_, Tensor.normal_, Tensor.uniform_}


class drawing_from(TorchFunctionMode):  # noqa: N801 - reads as what it does: with drawing_from(generator)
    """Within the block, in this thread alone, layers draw first weights and dropout from a generator.

    The numbers are those that the global generator would give if it were in the same state. Covered are
    `torch.nn.init`, which layers take their first weights from, dropout of single values, and what is drawn in place
    (`bernoulli_`, `normal_`, `uniform_`).

    Parameters
    ----------
    generator : torch.Generator
        On the device of what is drawn.

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
        """Call a function of torch, with the generator where it draws."""
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
    """Compute what torch's dropout computes on a CPU, number by number."""
    if not training or p == 0:
        return input
    kept = torch.empty_like(input).bernoulli_(1 - p, generator=generator)
    if p < 1:
        kept.div_(1 - p)
    return input.mul_(kept) if inplace else input * kept


def undrawn() -> drawing_from:
    """Return a block in which layers may be made whose weights are read from a file; nothing is drawn that counts."""
    return drawing_from(Generator())
