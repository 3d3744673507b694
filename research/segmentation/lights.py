"""Ways of estimating an image's light from itself, against light that is known and by the cells that are found then."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage.restoration import rolling_ball

from leukospike.segmentation.light import EMPTY, estimate_light
from leukospike.smears import CellKind, draw_field, subject_style
from research import tables
from research.segmentation.data import AnnotatedImage
from research.segmentation.objects import found_in, matched
from research.segmentation.readings import FOLDS, network_of, plan
from research.segmentation.scores import ratio
from research.segmentation.shifts import fall_off, ramp

FIELDS_EACH = 12
IMAGES_EACH = 16
"""Test images of each set and fold."""

SETS = ("bccd", "chula")
_SIDE = 256  # longest side of the copy on which all but ours estimate
_BALLS = (0.15, 0.4)  # radius of a rolling ball, of the longest side
_BLUR = 0.15  # standard deviation of a Gaussian, of the longest side

Surface = np.ndarray
"""Light at each pixel, float (rows, columns, 3), grey levels."""

LIGHTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as it is": lambda pixels: pixels,
    "ramp to 0.4, diagonal": partial(ramp, least=0.4, diagonal=True),
    "fall-off to 0.4": partial(fall_off, least=0.4),
}


def one_colour(pixels: np.ndarray) -> Surface:
    """Take the 85th percentile of each colour for the light everywhere."""
    return np.broadcast_to(np.percentile(pixels.reshape(-1, 3), 85, axis=0), pixels.shape)


def blurred(pixels: np.ndarray) -> Surface:
    """Take a Gaussian blur for the light, as a retrospective correction by one image does."""
    small = _small(pixels).astype(np.float64)
    sigma = _BLUR * max(small.shape[:2])
    return _at_size(gaussian_filter(small, (sigma, sigma, 0)), pixels)


def ball(pixels: np.ndarray, of_side: float) -> Surface:
    """Roll a ball under the image upside down (Sternberg 1983; scikit-image)."""
    small = 255.0 - _small(pixels)
    radius = of_side * max(small.shape[:2])
    planes = [255 - rolling_ball(small[:, :, band], radius=radius) for band in range(3)]
    return _at_size(np.stack(planes, axis=2), pixels)


def polynomial(pixels: np.ndarray) -> Surface:
    """Fit a polynomial of the second degree to all pixels by least squares, cells included."""
    small = _small(pixels).astype(np.float64)
    down, along = np.meshgrid(*(np.linspace(-1, 1, length) for length in small.shape[:2]), indexing="ij")
    design = np.stack([down**i * along**j for i in range(3) for j in range(3 - i)], axis=-1).reshape(-1, 6)
    found = np.linalg.lstsq(design, small.reshape(-1, 3), rcond=None)[0]
    return _at_size((design @ found).reshape(small.shape), pixels)


def robust(pixels: np.ndarray) -> Surface:
    """Take what `estimate_light` gives."""
    light = estimate_light(pixels)
    return light.levels(np.arange(pixels.shape[0]), np.arange(pixels.shape[1])).transpose(1, 2, 0)


METHODS: dict[str, Callable[[np.ndarray], Surface]] = {
    "one colour": one_colour,
    "Gaussian blur": blurred,
    "polynomial, least squares": polynomial,
    **{f"rolling ball, radius {of_side:g} of the side": partial(ball, of_side=of_side) for of_side in _BALLS},
    "robust polynomial (ours)": robust,
}


def run() -> None:
    """Measure, print and save the tables."""
    drawn = [{"method": name} | _errors(method) for name, method in METHODS.items()]
    notes = (
        f"Standard deviation of estimated over true light, {FIELDS_EACH} generated fields each; median over them.",
    )
    print(tables.table("Light of generated fields", drawn, notes=notes))
    cells = [{"method": name} | _found(method) for name, method in METHODS.items()]
    notes = (
        "Recall / precision by box of all objects that the networks of the folds find, none rejected;",
        f"{IMAGES_EACH} test images a fold and set, their light divided out by each method.",
    )
    print(tables.table("Cells found after each correction", cells, notes=notes))
    tables.save("lights", {"drawn": drawn, "cells": cells})


def _errors(method: Callable[[np.ndarray], Surface]) -> dict[str, str]:
    """Compare estimated with true light."""
    row: dict[str, str] = {}
    for name, light in LIGHTS.items():
        errors = []
        for seed in range(FIELDS_EACH):
            rng = np.random.default_rng(seed)
            style = replace(subject_style(rng), tilt=(0.0, 0.0), vignette=0.0)
            field = draw_field([CellKind.LYMPHOCYTE, CellKind.NEUTROPHIL], style, rng).pixels
            true = light(np.full_like(field, 255))[:, :, 1].astype(np.float64)
            errors.append(np.std(np.log(np.maximum(method(light(field))[:, :, 1], 1) / true)))
        row[name] = f"{np.median(errors):.1%}"
    return row


def _found(method: Callable[[np.ndarray], Surface]) -> dict[str, str]:
    """Find cells after a correction."""
    row: dict[str, str] = {}
    for set_name in SETS:
        for light_name, light in LIGHTS.items():
            pairs, true, boxes = [], [], []
            for fold in FOLDS:
                network = network_of(fold)
                for image in _some(plan()[fold][1], set_name):
                    found = found_in(network, _corrected(image, light(image.pixels), method), even=True)
                    pairs.append(matched(image.boxes, found.boxes))
                    true.append(len(image.boxes))
                    boxes.append(len(found.boxes))
            row[f"{set_name}, {light_name}"] = f"{ratio(pairs, true).value:.2f} / {ratio(pairs, boxes).value:.2f}"
    return row


def _some(images: Sequence[AnnotatedImage], set_name: str) -> Sequence[AnnotatedImage]:
    """Return every so-manieth image of a set."""
    own = [image for image in images if image.set == set_name]
    return own[:: max(1, len(own) // IMAGES_EACH)][:IMAGES_EACH]


def _corrected(image: AnnotatedImage, pixels: np.ndarray, method: Callable[[np.ndarray], Surface]) -> AnnotatedImage:
    """Divide the light out."""
    even = np.rint(np.clip(pixels * (EMPTY / np.maximum(method(pixels), 8)), 0, 255)).astype(np.uint8)
    return replace(image, pixels=even)


def _small(pixels: np.ndarray) -> np.ndarray:
    """Return a copy of at most `_SIDE` pixels a side."""
    step = -(-max(pixels.shape[:2]) // _SIDE)
    return np.asarray(Image.fromarray(pixels).reduce(step)) if step > 1 else pixels


def _at_size(surface: np.ndarray, pixels: np.ndarray) -> Surface:
    """Stretch a surface to the size of an image."""
    size = (pixels.shape[1], pixels.shape[0])
    planes = [
        np.asarray(Image.fromarray(surface[:, :, band].astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
        for band in range(3)
    ]
    return np.stack(planes, axis=2)
