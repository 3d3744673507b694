"""What another camera, stain, focus or file does to an image, by fixed amounts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage.color import hsv2rgb, rgb2hsv

from research.segmentation.data import AnnotatedImage

_DEGREES = 360


@dataclass(frozen=True)
class Shift:
    """One change of an image; the drawn mask follows only where the size changes."""

    name: str
    change: Callable[[np.ndarray], np.ndarray]
    """From uint8 RGB (rows, columns, 3) to the same, of another size where `scale` is not 1."""
    scale: float = 1.0

    def mask(self, drawn: np.ndarray) -> np.ndarray:
        """Resize a mask as the image is, nearest neighbour, uint8 (rows, columns)."""
        return drawn if self.scale == 1 else _resized(drawn, self.scale, Image.Resampling.NEAREST)

    def boxes(self, drawn: np.ndarray) -> np.ndarray:
        """Scale boxes as the image is, int (cells, 4)."""
        return np.rint(drawn * self.scale).astype(np.int64)


def brightness(pixels: np.ndarray, factor: float) -> np.ndarray:
    """Multiply by `factor`, clipped to 0-255."""
    return _uint8(pixels * factor)


def gamma(pixels: np.ndarray, exponent: float) -> np.ndarray:
    """Raise to `exponent` on the scale of 0 to 1: below 1 brighter, above 1 darker."""
    return _uint8(255 * (pixels / 255) ** exponent)


def hue(pixels: np.ndarray, degrees: float) -> np.ndarray:
    """Turn the hue of HSV by `degrees`; saturation and value stay."""
    hsv = rgb2hsv(pixels)
    hsv[..., 0] = (hsv[..., 0] + degrees / _DEGREES) % 1
    return _uint8(255 * hsv2rgb(hsv))


def blur(pixels: np.ndarray, sigma_px: float) -> np.ndarray:
    """Blur each channel by a Gaussian."""
    return _uint8(gaussian_filter(pixels.astype(np.float64), (sigma_px, sigma_px, 0)))


def jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    """Write as JPEG, with the colours at half resolution as cameras do, and read again."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=quality, subsampling="4:2:0")
    return np.array(Image.open(file))


def resize(pixels: np.ndarray, scale: float) -> np.ndarray:
    """Resize by cubic interpolation, over the pixels that fall together where it shrinks."""
    return _resized(pixels, scale, Image.Resampling.BICUBIC)


def ramp(pixels: np.ndarray, least: float, *, diagonal: bool = False) -> np.ndarray:
    """Let the light fall evenly across the image, or along its diagonal, to `least` of itself."""
    rows, columns = pixels.shape[:2]
    down, across = np.linspace(0, 1, rows)[:, None], np.linspace(0, 1, columns)[None, :]
    share = (down + across) / 2 if diagonal else across + 0 * down
    return _uint8(pixels * (1 - (1 - least) * share)[:, :, None])


def fall_off(pixels: np.ndarray, least: float) -> np.ndarray:
    """Let the light fall with the square of the distance from the middle, to `least` in the corners."""
    return _uint8(pixels * (1 - (1 - least) * _from_middle(pixels) ** 2)[:, :, None])


def eyepiece(pixels: np.ndarray) -> np.ndarray:
    """Blacken what is outside the circle through the corners, drawn in by a twentieth: little of the image is lost."""
    return np.where((_from_middle(pixels) < 0.95)[:, :, None], pixels, 0).astype(np.uint8)


def stain(pixels: np.ndarray, factors: Sequence[float] | np.ndarray) -> np.ndarray:
    """Multiply the optical density of each colour, relative to the brightest twentieth."""
    light = np.maximum(np.percentile(pixels.reshape(-1, 3), 95, axis=0), 1)
    density = -np.log(np.maximum(pixels, 1) / light)
    return _uint8(light * np.exp(-density * np.asarray(factors)))


def tint(pixels: np.ndarray, factors: Sequence[float]) -> np.ndarray:
    """Multiply each colour."""
    return _uint8(pixels * np.asarray(factors))


def _from_middle(pixels: np.ndarray) -> np.ndarray:
    """Return each pixel's distance from the middle, 1 in the corners."""
    rows, columns = pixels.shape[:2]
    down, across = np.linspace(-1, 1, rows)[:, None], np.linspace(-1, 1, columns)[None, :]
    return np.hypot(down, across) / np.sqrt(2)


SHIFTS = (
    Shift("brightness -25 %", partial(brightness, factor=0.75)),
    Shift("brightness +25 %", partial(brightness, factor=1.25)),
    Shift("gamma 0.7", partial(gamma, exponent=0.7)),
    Shift("gamma 1.4", partial(gamma, exponent=1.4)),
    Shift("hue -10 degrees", partial(hue, degrees=-10)),
    Shift("hue +10 degrees", partial(hue, degrees=10)),
    Shift("blur sigma 1.5", partial(blur, sigma_px=1.5)),
    Shift("JPEG quality 40", partial(jpeg, quality=40)),
    Shift("half size", partial(resize, scale=0.5), 0.5),
    Shift("double size", partial(resize, scale=2), 2),
    Shift("light ramp to 0.5", partial(ramp, least=0.5)),
    Shift("light ramp to 0.4, diagonal", partial(ramp, least=0.4, diagonal=True)),
    Shift("light fall-off to 0.4", partial(fall_off, least=0.4)),
    Shift("eyepiece", eyepiece),
    Shift("tint, red 0.8", partial(tint, factors=(0.8, 1, 1))),
    Shift("tint, blue 0.8", partial(tint, factors=(1, 1, 0.8))),
    *(
        Shift(
            f"stain, {colour} x {factor:g}",
            partial(stain, factors=tuple(factor if band == one else 1 for band in range(3))),
        )
        for one, colour in enumerate(("red", "green", "blue"))
        for factor in (0.6, 1.6)
    ),
)


def shifted(image: AnnotatedImage, shift: Shift) -> AnnotatedImage:
    """Change an image, and resize its mask and boxes where the shift does."""
    return replace(
        image, pixels=shift.change(image.pixels), mask=shift.mask(image.mask), boxes=shift.boxes(image.boxes)
    )


def _resized(pixels: np.ndarray, scale: float, how: Image.Resampling) -> np.ndarray:
    """Resize to `scale` times the size, rounded, half up."""
    rows, columns = (int(side * scale + 0.5) for side in pixels.shape[:2])
    return np.array(Image.fromarray(pixels).resize((columns, rows), how))


def _uint8(values: np.ndarray) -> np.ndarray:
    """Round and clip to what a file holds."""
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)
