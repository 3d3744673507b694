"""Colour: opponent channels, as in the retina, and the amount of stain that the light passed through."""

from collections.abc import Sequence
from math import isfinite

import torch
from jaxtyping import Float
from torch import Tensor

from leukospike.errors import ConfigError
from leukospike.spikes.maps import check_colour, check_unit_range

STAINS = ((0.07, 0.74, 0.38), (0.86, 0.56, 0.14))
"""Absorbance in red, green and blue of the two dyes of a Romanowsky stain: eosin Y, and azure B with methylene blue."""

# A camera with 256 levels cannot distinguish less from no light.
_DARKEST = 1 / 255


def opponent_channels(images: Float[Tensor, "batch 3 rows columns"]) -> Float[Tensor, "batch 4 rows columns"]:
    """Return red minus green, green minus red, blue minus yellow and yellow minus blue, with negative values set to 0.

    Yellow is the mean of red and green. Any grey gives 0 in all four channels.

    Parameters
    ----------
    images : Tensor of shape (batch, 3, rows, columns), float
        RGB, 0 to 1.

    Returns
    -------
    Tensor of shape (batch, 4, rows, columns), of the type of `images`, 0 to 1

    Raises
    ------
    ImageError
        If `images` is not a tensor of RGB images, or a value is outside 0..1 or not finite.

    References
    ----------
    .. [1] Hering's opponent colours, in the form of Itti, Koch and Niebur, IEEE TPAMI 20(11):1254-1259, 1998,
       doi 10.1109/34.730558, without its division by the intensity.

    Examples
    --------
    >>> import torch
    >>> opponent_channels(torch.tensor([0.75, 0.25, 0.25]).view(1, 3, 1, 1)).flatten()
    tensor([0.5000, 0.0000, 0.0000, 0.2500])
    """
    check_colour(images, "opponent_channels")
    check_unit_range(images, "opponent_channels")
    red, green, blue = images.unbind(dim=1)
    warm, yellow = red - green, (red + green) / 2 - blue
    return torch.stack([warm, -warm, -yellow, yellow], dim=1).relu_()


def optical_density(images: Float[Tensor, "batch 3 rows columns"]) -> Float[Tensor, "batch 3 rows columns"]:
    r"""Return the optical density of each colour, which is proportional to the amount of stain: :math:`-\log_{10} I`.

    Parameters
    ----------
    images : Tensor of shape (batch, 3, rows, columns), float
        RGB, 0 to 1, where 1 is the light of empty glass; values below 1/255 count as 1/255.

    Returns
    -------
    Tensor of shape (batch, 3, rows, columns), of the type of `images`, 0 to 2.41

    Raises
    ------
    ImageError
        If `images` is not a tensor of RGB images, or a value is outside 0..1 or not finite.
    """
    check_colour(images, "optical_density")
    check_unit_range(images, "optical_density")
    return -torch.log10(images.clamp(min=_DARKEST, max=1))


def stain_channels(
    images: Float[Tensor, "batch 3 rows columns"], stains: Sequence[Sequence[float]] = STAINS
) -> Float[Tensor, "batch stains rows columns"]:
    """Separate the stains by least squares on the optical density; negative amounts are set to 0.

    Parameters
    ----------
    images : Tensor of shape (batch, 3, rows, columns), float
        RGB, 0 to 1, as for `optical_density`.
    stains : sequence of one to three (float, float, float)
        Absorbance of one unit of each stain in red, green and blue.

    Returns
    -------
    Tensor of shape (batch, stains, rows, columns), of the type of `images`
        Units of each stain, not negative.

    Raises
    ------
    ConfigError
        If `stains` is not one to three different colours, each of three finite numbers.
    ImageError
        If `images` is not a tensor of RGB images, or a value is outside 0..1 or not finite.

    References
    ----------
    .. [1] Ruifrok and Johnston, Quantification of histochemical staining by color deconvolution, Analytical and
       Quantitative Cytology and Histology 23(4):291-299, 2001.

    Examples
    --------
    >>> import torch
    >>> eosin, azure = torch.tensor(STAINS)
    >>> image = 10 ** -(0.5 * eosin + 0.25 * azure)
    >>> stain_channels(image.view(1, 3, 1, 1)).flatten()
    tensor([0.5000, 0.2500])
    """
    check_colour(images, "stain_channels")
    check_unit_range(images, "stain_channels")
    are_colours = all(len(stain) == 3 and all(isfinite(share) for share in stain) for stain in stains)
    absorbance = torch.tensor([list(stain) for stain in stains] if are_colours else [], dtype=torch.float64)
    if absorbance.ndim != 2 or torch.linalg.matrix_rank(absorbance) < len(absorbance):
        msg = "stains must be one to three different colours of three finite numbers"
        raise ConfigError(msg, where="stain_channels", got=list(stains), advice="Omit it to use eosin and azure.")
    unmix = torch.linalg.pinv(absorbance.T).to(images)
    red, green, blue = (band[:, None] for band in optical_density(images).unbind(dim=1))
    # Sum by sum: on some processors a matrix product rounds an image in a batch differently from the image alone.
    of_red, of_green, of_blue = (share.view(1, -1, 1, 1) for share in unmix.unbind(dim=1))
    return (of_red * red + of_green * green + of_blue * blue).relu_()
