"""What the segmenter learns from: crops of labelled images, changed as other laboratories would change them."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from scipy.ndimage import gaussian_filter

from leukospike.segmentation.input_spikes import at_working_size, working_scale
from leukospike.segmentation.network import CLASSES

CELL = len(CLASSES)
"""Label of a pixel that is of a cell, whether cytoplasm or nucleus."""

UNKNOWN = 255
"""Label of a pixel that nothing is known of; it teaches nothing."""

_MARGIN_PX = 60  # beyond an image, so that turned crops do not end at once
_PIECED = 0.3  # share of crops pieced together of four: most images show one cell, and fields show several
_CUT_OUT = 0.12  # share of the cells whose every pixel is known that are shown on black, as C-NMC's are


@dataclass(frozen=True)
class LabelledImage:
    """An image and what each pixel of it is."""

    group: str
    """Where it comes from; groups are drawn in given shares."""
    pixels: UInt8[np.ndarray, "rows columns 3"]
    """RGB, 0-255."""
    classes: UInt8[np.ndarray, "rows columns"]
    """0 rest, 1 cytoplasm, 2 nucleus, `CELL` or `UNKNOWN`."""


def labelled_at_working_size(image: LabelledImage) -> LabelledImage:
    """Halve an image and its labels as often as for use; what is doubled for use, is so by the crops."""
    scale = working_scale(*image.classes.shape)
    if scale >= 1:
        return image
    pixels = at_working_size(image.pixels)
    size = (pixels.shape[1], pixels.shape[0])
    values = np.unique(image.classes)
    shares = [
        np.asarray(Image.fromarray((image.classes == value).astype(np.uint8) * 255).resize(size, Image.Resampling.BOX))
        for value in values
    ]
    return LabelledImage(image.group, pixels, values[np.argmax(shares, axis=0)])


def training_example(
    images: Sequence[LabelledImage], side: int, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "side side 3"], UInt8[np.ndarray, "side side"]]:
    """Give a crop of one image, or of four that meet in a point somewhere about its middle, with its look changed."""
    shown = [images[place] for place in rng.integers(len(images), size=4 if rng.random() < _PIECED else 1)]
    crops = [_crop(image, side, rng) for image in shown]
    pixels, classes = (part.copy() for part in crops[0])
    row, column = (int(side * share) for share in rng.uniform(0.3, 0.7, 2))
    quarters = (np.s_[:row, column:], np.s_[row:, :column], np.s_[row:, column:])
    for quarter, (other_pixels, other_classes) in zip(quarters, crops[1:], strict=False):
        pixels[quarter], classes[quarter] = other_pixels[quarter], other_classes[quarter]
    changed = _changed_look(pixels, rng)
    if all(_can_be_cut_out(image) for image in shown) and rng.random() < _CUT_OUT:
        return _cut_out(changed, classes)
    return changed, classes


def _crop(
    image: LabelledImage, side: int, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "side side 3"], UInt8[np.ndarray, "side side"]]:
    """Cut a square out of an image, turned, mirrored and scaled."""
    rows, columns = image.classes.shape
    doubled = max(working_scale(rows, columns), 1.0)
    scale = doubled * math.exp(np.clip(rng.normal(0, 0.28), -0.8, 0.6))
    stretch = math.exp(rng.normal(0, 0.06))
    angle = rng.uniform(-math.pi, math.pi) if rng.random() < 0.5 else 0.0
    mirror = rng.choice((-1, 1))
    row, column = _centre(image.classes, side / scale, rng)
    along, across = math.cos(angle) / scale, math.sin(angle) / scale
    to_source = np.array(
        [
            [along * mirror * stretch, -across / stretch, column + _MARGIN_PX],
            [across * mirror * stretch, along / stretch, row + _MARGIN_PX],
        ]
    )
    to_source[:, 2] -= to_source[:, :2].sum(axis=1) * side / 2
    affine = tuple(to_source.ravel().tolist())
    mode = "reflect" if rng.random() < 0.5 and min(rows, columns) > _MARGIN_PX else "edge"
    margins = ((_MARGIN_PX, _MARGIN_PX), (_MARGIN_PX, _MARGIN_PX))
    pixels = np.pad(image.pixels, (*margins, (0, 0)), mode=mode)
    background = tuple(np.median(image.pixels[::10, ::10].reshape(-1, 3), axis=0).astype(int).tolist())
    crop = Image.fromarray(pixels).transform(
        (side, side), Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC, fillcolor=background
    )
    labels = Image.fromarray(np.pad(image.classes, margins, constant_values=UNKNOWN)).transform(
        (side, side), Image.Transform.AFFINE, affine, Image.Resampling.NEAREST, fillcolor=UNKNOWN
    )
    return np.asarray(crop), np.asarray(labels)


def _can_be_cut_out(image: LabelledImage) -> bool:
    """Tell whether what is no cell is known of every pixel, and there is a nucleus."""
    return not (image.classes >= CELL).any() and bool((image.classes == 2).any())


def _cut_out(
    pixels: UInt8[np.ndarray, "side side 3"], classes: UInt8[np.ndarray, "side side"]
) -> tuple[UInt8[np.ndarray, "side side 3"], UInt8[np.ndarray, "side side"]]:
    """Blacken what is no cell: nobody drew the nuclei of cells on black, so they are learned from others' cells."""
    known = np.where(classes == UNKNOWN, 0, classes).astype(np.uint8)
    return np.where(known[..., None] > 0, pixels, 0).astype(np.uint8), known


def _centre(classes: UInt8[np.ndarray, "rows columns"], side: float, rng: np.random.Generator) -> tuple[float, float]:
    """Draw the centre of a crop of `side` source pixels: near a cell, three times in four."""
    rows, columns = np.nonzero((classes > 0) & (classes != UNKNOWN))
    if len(rows) and rng.random() < 0.75:
        place = rng.integers(len(rows))
        spread = side / 8
        centre = (rows[place] + rng.normal(0, spread), columns[place] + rng.normal(0, spread))
    else:
        centre = (rng.uniform(0, classes.shape[0]), rng.uniform(0, classes.shape[1]))

    def inside(value: float, length: int) -> float:
        return length / 2 if length <= side else min(max(value, side / 2), length - side / 2)

    return inside(centre[0], classes.shape[0]), inside(centre[1], classes.shape[1])


def _changed_look(
    pixels: UInt8[np.ndarray, "side side 3"], rng: np.random.Generator
) -> UInt8[np.ndarray, "side side 3"]:
    """Change focus, exposure, colour, noise and compression, each now and then; leave one image in four as it is."""
    if rng.random() < 0.25:
        return pixels
    look = pixels.astype(np.float32) / 255
    if rng.random() < 0.35:
        blur = rng.uniform(0.3, 1.8)
        look = gaussian_filter(look, (blur, blur, 0))
    if rng.random() < 0.6:
        look = np.clip(look, 1e-4, 1) ** math.exp(rng.uniform(-0.45, 0.45))
    if rng.random() < 0.6:
        look = look * rng.uniform(0.7, 1.3)
    if rng.random() < 0.5:
        look = look @ _hue_rotation(rng.uniform(-18, 18)).T
    if rng.random() < 0.4:
        grey = look.mean(axis=2, keepdims=True)
        look = grey + (look - grey) * rng.uniform(0.5, 1.5)
    if rng.random() < 0.4:
        look = look * rng.uniform(0.88, 1.12, 3)
    if rng.random() < 0.3:
        look = look + rng.normal(0, rng.uniform(0.005, 0.04), look.shape)
    changed = (np.clip(look, 0, 1) * 255 + 0.5).astype(np.uint8)
    if rng.random() < 0.3:
        file = io.BytesIO()
        Image.fromarray(changed).save(file, "JPEG", quality=int(rng.integers(30, 90)))
        changed = np.asarray(Image.open(file))
    return changed


def _hue_rotation(degrees: float) -> Float[np.ndarray, "3 3"]:
    """Turn colours about the grey axis."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    mean, swap = (1 - cosine) / 3, sine / math.sqrt(3)
    return np.array(
        [
            [cosine + mean, mean - swap, mean + swap],
            [mean + swap, cosine + mean, mean - swap],
            [mean - swap, mean + swap, cosine + mean],
        ],
        np.float32,
    )
