"""Front end and layers as the original simulator has them: one image a call, waves of T x C x H x W numbers.

Written from the published description, as the other side of the comparison. It is not the simulator itself: it leaves
out what that spends on checks and copies, so that a ratio against it flatters nobody.
"""

import torch
from torch import Tensor
from torch.nn import functional

from leukospike.spikes import BINS, gabor_bank


def waves(image: Tensor) -> Tensor:
    """Return, for each time step, what has spiked so far: (1, rows, columns) to (15, 4, r, c), float32 0 or 1."""
    responses = functional.conv2d(image[None], gabor_bank())[0].abs()
    strongest, winner = responses.max(dim=0, keepdim=True)
    inhibited = torch.zeros_like(responses).scatter_(0, winner, strongest)
    order = inhibited.flatten().sort(descending=True).indices
    per_bin = int(inhibited.count_nonzero()) // BINS
    spikes = torch.zeros(BINS, inhibited.numel())
    if per_bin == 0:
        return spikes.view(BINS, *inhibited.shape)
    for step, chosen in enumerate(order[: BINS * per_bin].split(per_bin)):
        if step:
            spikes[step] = spikes[step - 1]
        spikes[step, chosen] = 1
    return spikes.view(BINS, *inhibited.shape)


def first_wave(images: Tensor) -> Tensor:
    """Return the pixels that spike first, from the first of all waves."""
    return torch.stack([waves(image)[0].amax(0) for image in images]).to(torch.uint8)


def latency(images: Tensor) -> Tensor:
    """Give each pixel's spike time, by counting the waves that it is silent in."""
    return torch.stack([BINS - waves(image).sum(dim=(0, 1)) for image in images]).to(torch.uint8)


def integrate_and_fire(wave: Tensor, weight: Tensor, *, threshold: float, padding: int) -> tuple[Tensor, Tensor]:
    """Return, for each time step, who has spiked so far, and the potentials above the threshold; (T, out, r, c) each.

    Every time step is a convolution of all that has spiked by then, in float32.
    """
    potentials = functional.threshold(functional.conv2d(wave, weight, padding=padding), threshold, 0.0, inplace=True)
    return potentials.sign(), potentials


def first_spikes(spikes: Tensor, potentials: Tensor) -> tuple[Tensor, Tensor]:
    """Read latency and potential at the first spike off the waves of a layer, (out, r, c) each."""
    times = len(spikes) - spikes.sum(dim=0)
    at_first = potentials.gather(0, times.clamp(max=len(spikes) - 1).long()[None])[0]
    return times.to(torch.uint8), at_first
