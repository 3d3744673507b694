"""Running means of weights while a network is trained."""

from collections.abc import Callable

import torch
from torch import Tensor

Weights = tuple[Tensor, ...] | list[Tensor]


def running_mean(longest: float) -> Callable[[Weights, Weights, Tensor | int], None]:
    """Return a function that updates running means, for `torch.optim.swa_utils.AveragedModel`'s `multi_avg_fn`.

    The random initial weights are soon forgotten: after n steps a mean keeps (1 + n) / (10 + n) of itself.

    Parameters
    ----------
    longest : float
        Largest share of itself that a mean keeps, below 1.

    Examples
    --------
    >>> mean = torch.zeros(1)
    >>> running_mean(0.9)([mean], [torch.ones(1)], 1)
    >>> mean
    tensor([0.8182])
    """

    @torch.no_grad()
    def moved_on(means: Weights, current: Weights, count: Tensor | int) -> None:
        kept = min(longest, (1 + int(count)) / (10 + int(count)))
        for mean, value in zip(means, current, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - kept)

    return moved_on
