"""Retina: spots brighter (ON) or darker (OFF) than their surround, from differences of Gaussians."""

from collections.abc import Sequence
from math import inf

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d, pad

from leukospike.errors import ConfigError
from leukospike.spikes.gabor import check_bank
from leukospike.spikes.maps import check_count, check_grey, check_pixels

SCALES_PX = ((3 / 9, 6 / 9), (7 / 9, 14 / 9), (13 / 9, 26 / 9))
"""Standard deviations of centre and surround, pixels: the three scales of Mozafari's deep network."""

RADIUS_PX = 6
"""Radius of the kernels of the largest scale."""


def difference_of_gaussians_bank(
    radius_px: int = RADIUS_PX, scales_px: Sequence[tuple[float, float]] = SCALES_PX
) -> Float[Tensor, "kernels 1 rows columns"]:
    r"""Return an ON and an OFF kernel for each scale as convolution weights.

    A kernel is :math:`G_c - G_s`, each :math:`\exp(-(r^2 + c^2) / 2 \sigma^2) / 2 \pi \sigma^2`; the mean is
    subtracted, then the kernel is divided by its maximum, as for Gabor kernels. With the centre narrower than the
    surround the kernel is ON; the other way round it is OFF. ON and OFF of the first scale come first, then those of
    the next.

    Parameters
    ----------
    radius_px : int
        Radius of each kernel, pixels, at least 1.
    scales_px : sequence of (float, float)
        Standard deviations of the ON kernel's centre and surround, pixels, the smaller first.

    Returns
    -------
    Tensor of shape (2 * scales, 1, 2 * radius_px + 1, the same), float32

    Raises
    ------
    ConfigError
        If the radius is not a whole number of at least 1, there is no scale, or a scale is not a positive centre and a
        wider, finite surround.

    References
    ----------
    .. [1] Mozafari et al., Bio-inspired digit recognition using reward-modulated spike-timing-dependent plasticity in
       deep convolutional networks, Pattern Recognition 94:87-95, 2019, doi 10.1016/j.patcog.2019.05.015.

    Examples
    --------
    >>> bank = difference_of_gaussians_bank()
    >>> bank.shape, bool(bank[0, 0, 6, 6] == 1), bool(bank[1, 0, 6, 6] < 0)
    (torch.Size([6, 1, 13, 13]), True, True)
    """
    where = "difference_of_gaussians_bank"
    check_count(radius_px, where, "radius_px", least=1, advice="Use twice the surround's standard deviation.")
    # Their squares must be finite, too.
    possible = (len(pair) == 2 and 0 < pair[0] < pair[1] and pair[1] * pair[1] < inf for pair in scales_px)
    if len(scales_px) == 0 or not all(possible):
        msg = "scales_px must be pairs of a positive centre and a wider, finite surround"
        raise ConfigError(msg, where=where, got=list(scales_px), advice="OFF kernels are added.")
    steps = torch.arange(-radius_px, radius_px + 1, dtype=torch.float64)
    squared = steps[:, None] ** 2 + steps**2
    kernels: list[Tensor] = []
    for centre, surround in scales_px:
        narrow, wide = (torch.exp(-squared / (2 * sigma**2)) / sigma**2 for sigma in (centre, surround))
        for difference in (narrow - wide, wide - narrow):
            centred = difference - difference.mean()
            kernels.append(centred / centred.max())
    bank = torch.stack(kernels).unsqueeze(1).float()
    if not bool(bank.isfinite().all()):
        msg = "scales_px must make kernels that differ from pixel to pixel"
        raise ConfigError(msg, where=where, got=list(scales_px), advice="Use scales from about a pixel to the radius.")
    return bank


def spot_responses(
    images: Float[Tensor, "batch 1 rows columns"], bank: Float[Tensor, "kernels 1 height width"]
) -> Float[Tensor, "batch kernels rows columns"]:
    """Return each kernel's response at each pixel, with negative ones set to 0: the other sign has its own channel.

    Parameters
    ----------
    images : Tensor of shape (batch, 1, rows, columns), float
        Extended beyond their border by repeating the outermost pixels, so that the border itself is not an edge.
    bank : Tensor of shape (kernels, 1, height, width), float32
        From `difference_of_gaussians_bank`; sides must be odd.

    Returns
    -------
    Tensor of shape (batch, kernels, rows, columns), of the type of `images`, not negative

    Raises
    ------
    ConfigError
        If `bank` is not a stack of finite kernels, or a side is even.
    ImageError
        If `images` is not a tensor of grey images, or the images have no pixels.
    """
    check_grey(images, "spot_responses")
    check_pixels(images, "spot_responses", "images")
    check_bank(bank, "spot_responses")
    height, width = bank.shape[-2:]
    if height % 2 == 0 or width % 2 == 0:
        msg = "bank must have kernels of odd sides"
        advice = "Use difference_of_gaussians_bank."
        raise ConfigError(msg, where="spot_responses", got=f"{height} x {width}", advice=advice)
    down, right = height // 2, width // 2
    continued = pad(images, (right, right, down, down), mode="replicate")
    # On a GPU, TF32 would round products to 10 bits, but ranks depend on finer differences.
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        return conv2d(continued, bank.to(images)).relu_()
