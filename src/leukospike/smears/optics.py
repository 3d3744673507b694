"""Stain and microscope: from amounts of dye to a camera picture."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage

# Absorbance of one unit of each in red, green and blue. Eosin Y peaks near 520 nm; azure B and methylene blue peak near
# 650 nm. Where both bind, as on chromatin, the sum is the Romanowsky purple. Haemoglobin, near 415 nm, colours red
# cells without any stain.
_EOSIN = (0.07, 0.74, 0.38)
_AZURE = (0.86, 0.56, 0.14)
_HAEMOGLOBIN = (0.05, 0.10, 0.20)
# Half the width of the field of view, micrometres: where the vignette reaches its full depth.
_FIELD_HALF_UM = 40.0


@dataclass(frozen=True, kw_only=True)
class SubjectStyle:
    """Properties shared by all pictures of one subject: slide, staining and microscope.

    Attributes
    ----------
    eosin, azure : tuple of three float
        Absorbance of one unit of dye in red, green and blue, including the strength of the staining.
    haze : float
        Units of each dye left on the glass and plasma.
    light : tuple of three float
        Brightness of empty glass at the centre of the field in red, green and blue, 0..1.
    tilt : tuple of two float
        Change of brightness from the centre to the lower and to the right edge, as a share.
    vignette : float
        Loss of brightness from the centre to the right edge, as a share.
    blur_um : float
        Standard deviation of the point spread, micrometres: resolution and focus.
    noise : float
        Standard deviation of the camera's noise at full brightness, in grey levels of 255.
    size : float
        Factor applied to all lengths of cells, for how thinly the smear was spread.
    """

    eosin: tuple[float, float, float]
    azure: tuple[float, float, float]
    haze: float
    light: tuple[float, float, float]
    tilt: tuple[float, float]
    vignette: float
    blur_um: float
    noise: float
    size: float


def subject_style(rng: np.random.Generator) -> SubjectStyle:
    """Draw the style of one subject.

    In colour, subjects differ more from each other than leukemic ones differ from healthy ones, as do slides from
    different days and laboratories.

    Parameters
    ----------
    rng : numpy.random.Generator
        Random number generator.

    Returns
    -------
    SubjectStyle
    """
    warmth = rng.normal(0.03, 0.035)
    brightness = rng.uniform(0.84, 0.97)
    light = np.clip(brightness * np.array([1 + warmth, 1.0, 1 - 1.5 * warmth]), 0.6, 1.0)
    return SubjectStyle(
        eosin=_absorbance(_EOSIN, rng),
        azure=_absorbance(_AZURE, rng),
        haze=float(rng.uniform(0.0, 0.03)),
        light=_three(light),
        tilt=(float(rng.normal(0, 0.03)), float(rng.normal(0, 0.03))),
        vignette=float(rng.uniform(0.0, 0.14)),
        blur_um=float(rng.uniform(0.07, 0.18)),
        noise=float(rng.uniform(0.8, 3.0)),
        size=float(np.clip(rng.normal(1, 0.04), 0.9, 1.1)),
    )


def photograph(
    absorbers: Float[np.ndarray, "3 rows columns"],
    style: SubjectStyle,
    *,
    px_per_um: float,
    centre_um: tuple[float, float],
    rng: np.random.Generator,
) -> UInt8[np.ndarray, "rows columns 3"]:
    r"""Photograph stained material.

    By the Beer-Lambert law the light transmitted in each colour is
    :math:`I = I_0 \, 10^{-\sum_i c_i \varepsilon_i}` for amounts :math:`c_i` of eosin, azure and haemoglobin with
    absorbances :math:`\varepsilon_i`. The lens then blurs the image, and the camera adds noise proportional to the
    square root of the light.

    Parameters
    ----------
    absorbers : ndarray of shape (3, rows, columns)
        Amounts of eosin, azure and haemoglobin, at least 0.
    style : SubjectStyle
        Stain and microscope.
    px_per_um : float
        Scale, pixels per micrometre.
    centre_um : tuple of float
        Row and column of the picture's centre relative to the centre of the field of view, micrometres.
    rng : numpy.random.Generator
        Random number generator for the noise.

    Returns
    -------
    ndarray of shape (rows, columns, 3), uint8, 0-255, RGB
    """
    per_unit = np.array([style.eosin, style.azure, _HAEMOGLOBIN], dtype=np.float32)
    on_glass = np.float32(style.haze) * (per_unit[0] + per_unit[1])
    absorbance = np.moveaxis(absorbers, 0, -1).astype(np.float32) @ per_unit + on_glass
    light = np.power(np.float32(10), -absorbance)
    sigma_px = style.blur_um * px_per_um
    light = ndimage.gaussian_filter(light, (sigma_px, sigma_px, 0), mode="nearest", truncate=3)

    _, rows, columns = absorbers.shape
    down = ((np.arange(rows, dtype=np.float32) - (rows - 1) / 2) / px_per_um + centre_um[0]) / _FIELD_HALF_UM
    right = ((np.arange(columns, dtype=np.float32) - (columns - 1) / 2) / px_per_um + centre_um[1]) / _FIELD_HALF_UM
    shading = 1 + style.tilt[0] * down[:, None] + style.tilt[1] * right
    shading -= style.vignette * (down[:, None] ** 2 + right**2)
    light *= shading[:, :, None] * np.asarray(style.light, dtype=np.float32)

    light += np.sqrt(light) * rng.standard_normal(light.shape, dtype=np.float32) * np.float32(style.noise / 255)
    return np.clip(np.rint(light * 255), 0, 255).astype(np.uint8)


def _absorbance(mean: tuple[float, float, float], rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw one dye's absorbance; its strength varies by about a sixth, its hue by about a twentieth per colour."""
    strength = np.exp(rng.normal(0, 0.16))
    return _three(np.asarray(mean) * strength * np.exp(rng.normal(0, 0.055, size=3)))


def _three(values: Float[np.ndarray, " colours"]) -> tuple[float, float, float]:
    """Return three Python floats."""
    red, green, blue = values.tolist()
    return red, green, blue
