"""S1: oriented edges from Gabor kernels, by default those of the original system."""

import math
from collections.abc import Sequence
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d, pad

from leukospike.errors import ConfigError, ImageError
from leukospike.spikes.maps import check_count, check_grey, described

ORIENTATIONS_DEG = (67.5, 112.5, 157.5, 202.5)
"""The four orientations, degrees."""

RADIUS_PX = 2
"""The original's "window 4" has radius 4 // 2 and therefore 5 x 5 pixels."""

ROWS_AT_ONCE = 4 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 2
"""Rows computed per convolution step: as many as fill a vector of sixteen or eight numbers."""

_WINDOW = 4


def gabor_kernel(orientation_deg: float, *, window: int = _WINDOW) -> Float[Tensor, "rows columns"]:
    r"""Return one Gabor kernel with mean 0 and maximum 1.

    The kernel is :math:`\exp(-(u^2 + \gamma^2 v^2) / 2 \sigma^2) \cos(2 \pi u / \lambda)` on the pixel grid, where
    :math:`u` runs across the preferred edge, :math:`\lambda` is half the window, :math:`\sigma = 0.8 \lambda` and
    :math:`\gamma = 0.3`.
    The mean is subtracted, then the kernel is divided by its maximum.

    Parameters
    ----------
    orientation_deg : float
        Direction of :math:`u`, degrees from the row axis (down) towards the column axis (right).
    window : int
        Twice the wavelength, pixels, at least 2; the kernel extends ``window // 2`` pixels to each side.

    Returns
    -------
    Tensor of shape (2 * (window // 2) + 1, the same), float32

    Raises
    ------
    ConfigError
        If `window` is not a whole number of at least 2, or the angle is not finite.

    References
    ----------
    .. [1] Mozafari et al., First-Spike-Based Visual Categorization Using Reward-Modulated STDP, 2018,
       doi 10.1109/TNNLS.2018.2826721, section II-A.

    Examples
    --------
    >>> kernel = gabor_kernel(67.5)
    >>> float(kernel.max()), abs(float(kernel.mean())) < 1e-7
    (1.0, True)
    """
    check_count(window, "gabor_kernel", "window", least=2, advice="The original uses 4, Mozafari's network 5.")
    if not math.isfinite(orientation_deg):
        msg = "orientation_deg must be finite"
        raise ConfigError(msg, where="gabor_kernel", got=orientation_deg, advice="Use degrees, such as 67.5.")
    wavelength = window * 2 / 4
    sigma, gamma = 0.8 * wavelength, 0.3
    radius = window // 2
    steps = torch.arange(-radius, radius + 1, dtype=torch.float64)
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    angle = math.radians(orientation_deg)
    across = rows * math.cos(angle) + columns * math.sin(angle)
    along = -rows * math.sin(angle) + columns * math.cos(angle)
    envelope = torch.exp(-(across**2 + gamma**2 * along**2) / (2 * sigma**2))
    kernel = envelope * torch.cos(2 * math.pi * across / wavelength)
    kernel = kernel - kernel.mean()
    return (kernel / kernel.max()).float()


def gabor_bank(
    window: int = _WINDOW, orientations_deg: Sequence[float] = ORIENTATIONS_DEG
) -> Float[Tensor, "orientations 1 rows columns"]:
    """Return the kernels of several orientations as convolution weights.

    Parameters
    ----------
    window : int
        As for `gabor_kernel`; 4 in the original, 5 in Mozafari's network.
    orientations_deg : sequence of float
        Degrees, as for `gabor_kernel`.

    Returns
    -------
    Tensor of shape (orientations, 1, 2 * (window // 2) + 1, the same), float32

    Raises
    ------
    ConfigError
        As for `gabor_kernel`, or if there is no orientation.

    Examples
    --------
    >>> gabor_bank(7, orientations_deg=[0, 90]).shape
    torch.Size([2, 1, 7, 7])
    """
    if len(orientations_deg) == 0:
        msg = "orientations_deg must name at least one angle"
        raise ConfigError(msg, where="gabor_bank", got="none", advice="Omit it to use all four.")
    return torch.stack([gabor_kernel(degrees, window=window) for degrees in orientations_deg]).unsqueeze(1)


def edge_responses(
    images: Float[Tensor, "batch 1 rows columns"], bank: Float[Tensor, "orientations 1 height width"] | None = None
) -> Float[Tensor, "batch orientations r c"]:
    """Return the strength of each orientation at each pixel: the absolute value of the valid cross-correlation.

    Parameters
    ----------
    images : Tensor of shape (batch, 1, rows, columns), float32
        Not smaller than the kernels.
    bank : Tensor of shape (orientations, 1, height, width), float32, or None
        From `gabor_bank`; the original's if None.

    Returns
    -------
    Tensor of shape (batch, orientations, rows - height + 1, columns - width + 1), float32, not negative

    Raises
    ------
    ConfigError
        If `bank` is not a stack of finite kernels.
    ImageError
        If `images` is not a tensor of grey images, or one is smaller than the kernels.
    """
    check_grey(images, "edge_responses")
    if bank is None:
        bank = gabor_bank()
    else:
        check_bank(bank, "edge_responses")
    (rows, columns), (height, width) = images.shape[-2:], bank.shape[-2:]
    if rows < height or columns < width:
        msg = f"images must be at least {height} x {width} pixels"
        raise ImageError(msg, where="edge_responses", got=f"{rows} x {columns}", advice="Leave out smaller images.")
    return _correlate(images.detach(), bank)


def check_bank(bank: object, where: str, name: str = "bank") -> None:
    """Raise an error unless these are finite kernels for grey images."""
    advice = "Use gabor_bank or difference_of_gaussians_bank."
    if not isinstance(bank, Tensor) or bank.ndim != 4 or bank.shape[1] != 1 or bank.numel() == 0:
        msg = f"{name} must be (kernels, 1, row, column)"
        raise ConfigError(msg, where=where, got=described(bank), advice=advice)
    if not bool(bank.isfinite().all()):
        msg = f"{name} must be finite"
        raise ConfigError(msg, where=where, got="NaN or infinity", advice=advice)


def edge_responses_by_rows(
    images: Float[Tensor, "batch 1 rows columns"], *, at_once: int = ROWS_AT_ONCE
) -> Float[Tensor, "batch {at_once} orientations some_r c"]:
    """Return the same responses to the last bit, several rows at once: two to four times as fast on a CPU.

    A processor's vector unit computes eight or sixteen channels of a convolution at a time, but there are only four
    kernels. Each kernel is therefore repeated, once for a row and once for each row below it, and the convolution takes
    that many rows in a step. The rows of zeros that this adds to a kernel change no sum.

    Parameters
    ----------
    images : Tensor of shape (batch, 1, rows, columns), float32
    at_once : int
        Rows per step, at least 1.

    Returns
    -------
    Tensor of shape (batch, at_once, 4, some_r, columns - 4), float32, not negative
        With 2 rows at once, index 0 of the second axis holds rows 0, 2, 4, ... and index 1 rows 1, 3, 5, ... of
        `edge_responses`. If the number of rows is not a multiple, the last ones are padding.
    """
    missing = -(images.shape[-2] - 2 * RADIUS_PX) % at_once
    if missing:
        images = pad(images, (0, 0, 0, missing))
    return _correlate(images, _bank_of_rows(at_once), stride=(at_once, 1)).unflatten(1, (at_once, -1))


@cache
def _bank_of_rows(at_once: int) -> Float[Tensor, "channels 1 rows columns"]:
    """Return each kernel for the first of some rows, then each for the second, and so on."""
    bank = gabor_bank()
    return torch.cat([pad(bank, (0, 0, row, at_once - 1 - row)) for row in range(at_once)])


def _correlate(
    images: Float[Tensor, "batch 1 rows columns"],
    kernels: Float[Tensor, "channels 1 height width"],
    *,
    stride: tuple[int, int] = (1, 1),
) -> Float[Tensor, "batch channels r c"]:
    """Take the absolute value of the valid cross-correlation."""
    # On a GPU, TF32 would round products to 10 bits, but ranks depend on finer differences.
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        return conv2d(images, kernels.to(images), stride=stride).abs_()
