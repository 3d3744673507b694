"""What needs no network: thresholds, boosted pixels, and the original's first spike wave."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from skimage.color import rgb2hsv, rgb2lab
from skimage.filters import threshold_multiotsu, threshold_otsu
from sklearn.ensemble import HistGradientBoostingClassifier

from leukospike.images import luma
from leukospike.original.preprocessing import blur
from leukospike.spikes import first_wave
from research.segmentation.data import CYTOPLASM, NUCLEUS, REST, AnnotatedImage

Predictor = Callable[[np.ndarray], np.ndarray]
"""From uint8 RGB (rows, columns, 3) to a uint8 mask (rows, columns) of 0, 128 and 255."""

BLUR_WINDOW_PX = 9
"""The original's."""

SCALES_PX = (0, 1, 2, 4, 8)
"""Sigmas of the Gaussians through which the boosted pixels see each of seven colour channels; 0 is the pixel itself."""

PIXELS_PER_IMAGE = 1000
ITERATIONS = 60
SEED = 0

_ORDERED = np.array([REST, CYTOPLASM, NUCLEUS], np.uint8)


def otsu_saturation(pixels: np.ndarray) -> np.ndarray:
    """Part the saturation of HSV in three by Otsu: the strongest is nucleus, the middle cytoplasm."""
    return _three_classes(np.rint(255 * rgb2hsv(pixels)[..., 1]).astype(np.uint8))


def otsu_green(pixels: np.ndarray) -> np.ndarray:
    """Part green in three by Otsu: the darkest is nucleus, the middle cytoplasm, red cells among it."""
    return _three_classes(255 - pixels[..., 1])


def first_wave_otsu(pixels: np.ndarray) -> np.ndarray:
    """Threshold the original's first spike wave after its blur; all that is above counts as nucleus."""
    wave = first_wave(torch.from_numpy(luma(pixels))[None, None])
    # The two rows and columns at each border, which the 5 x 5 kernels cannot reach, are silent.
    smooth = np.pad(blur(wave.float(), window=BLUR_WINDOW_PX)[0].numpy(), 2)
    if smooth.min() == smooth.max():
        return np.full(smooth.shape, REST, np.uint8)
    return np.where(smooth > threshold_otsu(smooth), NUCLEUS, REST).astype(np.uint8)


def fit_boosted_pixels(images: Sequence[AnnotatedImage]) -> Predictor:
    """Train gradient-boosted trees on `PIXELS_PER_IMAGE` random pixels of each image whose nucleus is drawn.

    Parameters
    ----------
    images : sequence of AnnotatedImage

    Returns
    -------
    Predictor
    """
    chance = np.random.default_rng(SEED)
    features, labels = [], []
    for image in images:
        if image.nucleus_drawn:
            places = chance.choice(image.mask.size, PIXELS_PER_IMAGE)
            features.append(_pixel_features(image.pixels)[places])
            labels.append(image.mask.ravel()[places])
    trees = HistGradientBoostingClassifier(max_iter=ITERATIONS, early_stopping=False, random_state=SEED)  # pyright: ignore[reportArgumentType]
    trees.fit(np.concatenate(features), np.concatenate(labels))

    def predict(pixels: np.ndarray) -> np.ndarray:
        return trees.predict(_pixel_features(pixels)).reshape(pixels.shape[:2]).astype(np.uint8)

    return predict


def _three_classes(values: np.ndarray) -> np.ndarray:
    """Part uint8 values in three by Otsu, low to high; too few different values leave the mask empty."""
    if len(np.unique(values)) < len(_ORDERED):
        return np.full(values.shape, REST, np.uint8)
    return _ORDERED[np.digitize(values, threshold_multiotsu(values, classes=len(_ORDERED)), right=True)]


def _pixel_features(pixels: np.ndarray) -> np.ndarray:
    """Give each pixel RGB, saturation and Lab at each scale, (pixels, 35) float32."""
    saturation = rgb2hsv(pixels)[..., 1:2]
    channels = np.concatenate([pixels / 255, saturation, rgb2lab(pixels)], axis=2).astype(np.float32)
    views = [gaussian_filter(channels, (scale, scale, 0)) if scale else channels for scale in SCALES_PX]
    return np.concatenate(views, axis=2).reshape(-1, channels.shape[2] * len(SCALES_PX))
