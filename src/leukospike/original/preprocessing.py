"""Blur, resizing, normalisation and augmentation, the original system's steps between the spikes and the PCA."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from leukospike.errors import ConfigError, DataError
from leukospike.spikes import first_wave

BLUR_KERNELS = {
    5: (16, 64, 96, 64, 16),
    7: (8, 28, 56, 72, 56, 28, 8),
    9: (4, 13, 30, 51, 60, 51, 30, 13, 4),
}
"""OpenCV's Gaussian kernels of these sizes, in 256ths, with its default widths."""


def blur(maps: Float[Tensor, "batch rows columns"], *, window: int) -> Float[Tensor, "batch rows columns"]:
    """Smooth away single spikes ("noise") with a Gaussian.

    Kernel and border (mirrored, without the last pixel) are the defaults of OpenCV, which the original used.

    Parameters
    ----------
    maps : Tensor of shape (batch, rows, columns), float32
        At least window // 2 + 1 rows and columns.
    window : int
        Side of the kernel, pixels: 5, 7 or 9. The original uses 9 and also tried 5.

    Returns
    -------
    Tensor of shape (batch, rows, columns), float32

    Raises
    ------
    ConfigError
        If `window` is another number.
    """
    if window not in BLUR_KERNELS:
        msg = f"window must be one of {', '.join(map(str, BLUR_KERNELS))}"
        raise ConfigError(msg, where="blur", got=window, advice="The original uses 9.")
    from kornia.filters import filter2d_separable  # slow to load, and an analysis needs no blur

    kernel = torch.tensor([BLUR_KERNELS[window]], device=maps.device) / 256
    return filter2d_separable(maps.unsqueeze(1), kernel, kernel, border_type="reflect").squeeze(1)


def resize(maps: Float[Tensor, "batch rows columns"], *, size: int) -> Float[Tensor, "batch {size} {size}"]:
    """Resize maps to squares of `size` pixels, antialiased bilinear; the original uses 224 (ALL-IDB) or 100 (C-NMC)."""
    square = (size, size)
    return functional.interpolate(
        maps.unsqueeze(1), square, mode="bilinear", align_corners=False, antialias=True
    ).squeeze(1)


def spike_map(grey: Float[np.ndarray, "rows columns"], *, size: int, window: int) -> Float[np.ndarray, "{size} {size}"]:
    """Compute the spike map of one grey image: first wave, blur, resizing.

    Parameters
    ----------
    grey : ndarray of shape (rows, columns), float32, 0 to 1
    size : int
        Side of the result, pixels.
    window : int
        Side of the blur's kernel, pixels.

    Returns
    -------
    ndarray of shape (size, size), float32, 0 to 1
        The original normalises before resizing. Since the z-score is one affine map for all pixels, normalising
        afterwards gives the same image, and the small maps can be kept.
    """
    wave = first_wave(torch.from_numpy(grey)[None, None])
    return resize(blur(wave.float(), window=window), size=size)[0].numpy()


@dataclass(frozen=True)
class Normalisation:
    """A fitted z-score: one mean and one standard deviation for all pixels of all images."""

    mean: float
    std: float

    @classmethod
    def fit(cls, maps: Float[np.ndarray, "n rows columns"]) -> "Normalisation":
        """Measure mean and standard deviation over every pixel of `maps`.

        Raises
        ------
        DataError
            If all pixels are equal, so that their standard deviation is 0.
        """
        # In float64, image by image: a float32 sum over 10^8 pixels loses digits, and a float64 copy needs memory.
        sums = np.array([(image.sum(dtype=np.float64), np.square(image, dtype=np.float64).sum()) for image in maps])
        mean, square = sums.sum(axis=0) / maps.size
        std = float(np.sqrt(max(square - mean**2, 0.0)))
        if not std > 0:
            msg = "Normalisation.fit: at least one image must not be blank"
            raise DataError(msg, got=f"{len(maps)} without a spike", advice="Check the images.")
        return cls(float(mean), std)

    def apply(self, maps: Float[np.ndarray, "n rows columns"]) -> Float[np.ndarray, "n rows columns"]:
        """Return (maps - mean) / std as a new float32 array."""
        normalised = np.subtract(maps, np.float32(self.mean), dtype=np.float32)
        normalised /= np.float32(self.std)
        return normalised


@dataclass(frozen=True)
class Augmentation:
    """Random changes for each of n images, drawn by `draw` and carried out by `apply`, so that they can be repeated."""

    flip: Bool[Tensor, " n"]
    """Whether to mirror left and right."""
    shift: Float[Tensor, "n 2"]
    """Shift along columns and rows, as a share of the width and height, at most 0.1 either way."""
    zoom: Float[Tensor, " n"]
    """Scale factor, 0.8 to 1.2."""
    rotation_deg: Float[Tensor, " n"]
    """Rotation, degrees, at most 30 either way."""

    @classmethod
    def draw(cls, n: int, *, generator: torch.Generator) -> "Augmentation":
        """Draw uniformly within the original's limits, using only `generator`."""

        def uniform(low: float, high: float, *shape: int) -> Tensor:
            return low + (high - low) * torch.rand(*shape, generator=generator)

        return cls(
            flip=torch.rand(n, generator=generator) < 0.5,
            shift=uniform(-0.1, 0.1, n, 2),
            zoom=uniform(0.8, 1.2, n),
            rotation_deg=uniform(-30.0, 30.0, n),
        )

    def part(self, places: slice) -> "Augmentation":
        """Return the augmentations of some of the images."""
        return Augmentation(self.flip[places], self.shift[places], self.zoom[places], self.rotation_deg[places])

    def apply(self, maps: Float[Tensor, "n rows columns"]) -> Float[Tensor, "n rows columns"]:
        """Flip, then rotate and zoom about the centre, and shift; pixels of the border are repeated beyond it."""
        from kornia.geometry.transform import get_affine_matrix2d, warp_affine

        rows, columns = maps.shape[-2:]
        flipped = torch.where(self.flip[:, None, None], maps.flip(-1), maps)
        centre = torch.tensor([(columns - 1) / 2, (rows - 1) / 2]).expand(len(maps), 2)
        matrix = get_affine_matrix2d(
            self.shift * torch.tensor([columns, rows]), centre, self.zoom[:, None].expand(-1, 2), self.rotation_deg
        )
        return warp_affine(flipped.unsqueeze(1), matrix[:, :2], (rows, columns), padding_mode="border").squeeze(1)
