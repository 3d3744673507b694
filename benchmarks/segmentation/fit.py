"""`python -m benchmarks.segmentation.fit`: train the segmenter that ships, as those that it is judged by."""

import argparse
import hashlib
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import binary_dilation, uniform_filter

from benchmarks import measure
from benchmarks.segmentation.baselines import Predictor
from benchmarks.segmentation.data import NUCLEUS, REST, SETS, AnnotatedImage, data_folder, load
from leukospike.segmentation import examples, learning
from leukospike.segmentation.class_maps import class_maps
from leukospike.segmentation.examples import CELL, UNKNOWN, LabelledImage
from leukospike.segmentation.learning import SegmenterTraining, train_segmenter
from leukospike.segmentation.network import SpikingSegmenter, load_segmenter, save_segmenter
from leukospike.segmentation.result import segmentation_of

SHARES = {"tecom": 0.4, "cellavision": 0.35, "bccd": 0.17, "c-nmc": 0.08}
"""How often an image of each set is drawn in training."""

CONFIG = SegmenterTraining(seed=0)

SHORT = SegmenterTraining(iterations=800, seed=0)
"""For comparing what the network gets, a short training tells enough."""

DARKNESS, RANKS = (0, 1, 2), (3, 4, 5)
"""Input channels of either code."""

SHIPPED = Path("src/leukospike/segmentation/segmenter.safetensors")

# The masks of bccd are polygons: nothing is taken from a band along their borders.
_CELL_BAND_PX, _NUCLEUS_BAND_PX = 9, 7
_LEAST_DRAWN = 0.3  # share of a white cell's box that its mask fills, unless it was not drawn
_BOX_MARGIN_PX = 10


def fit(
    images: Sequence[AnnotatedImage],
    config: SegmenterTraining = CONFIG,
    inputs: Sequence[int] = (*DARKNESS, *RANKS),
) -> SpikingSegmenter:
    """Train on some images and on nothing else."""
    return train_segmenter([labelled(image) for image in images], SHARES, config, inputs=inputs, progress=_told)


def fit_once(
    images: Sequence[AnnotatedImage],
    config: SegmenterTraining = CONFIG,
    inputs: Sequence[int] = (*DARKNESS, *RANKS),
) -> Predictor:
    """Train on a fold's training images, or find the network so trained on just these, and segment by it.

    The masks are those that users get: debris dropped, and nothing where a quality flag is raised.
    """
    about = [
        config,
        inputs,
        SHARES,
        [(image.set, image.name) for image in images],
        *(inspect.getsource(module) for module in (examples, learning)),
    ]
    kept = measure.RESULTS / "segmenters" / f"{hashlib.sha256(repr(about).encode()).hexdigest()[:16]}.safetensors"
    if not kept.exists():
        save_segmenter(fit(images, config, inputs), kept)
    network = load_segmenter(kept)
    return lambda pixels: segmentation_of("", pixels, class_maps(network, [pixels])[0]).mask


def labelled(image: AnnotatedImage) -> LabelledImage:
    """Say what each pixel teaches."""
    if not image.nucleus_drawn:
        return LabelledImage(image.set, image.pixels, np.where(image.mask == REST, 0, CELL).astype(np.uint8))
    cell = image.mask != REST
    classes = (cell + (image.mask == NUCLEUS).astype(np.uint8)).astype(np.uint8)
    if image.set == "bccd":
        for drawn, band_px in ((cell, _CELL_BAND_PX), (image.mask == NUCLEUS, _NUCLEUS_BAND_PX)):
            share = uniform_filter(drawn.astype(np.float32), band_px)
            classes[(share > 0.02) & (share < 0.98)] = UNKNOWN
        boxed = np.zeros(cell.shape, bool)
        for top, left, bottom, right in image.boxes:
            inside = np.s_[max(top, 0) : bottom, max(left, 0) : right]
            boxed[inside] = True
            if cell[inside].mean() < _LEAST_DRAWN:
                classes[inside] = UNKNOWN
        # What was drawn where no white cell is boxed is an error of either.
        classes[cell & np.logical_not(binary_dilation(boxed, iterations=_BOX_MARGIN_PX))] = UNKNOWN
    return LabelledImage(image.set, image.pixels, classes)


def main() -> int:
    """Train on all images, for the package."""
    argparse.ArgumentParser(prog="python -m benchmarks.segmentation.fit", description=__doc__).parse_args()
    torch.set_num_threads(1)
    images = [image for name in SETS for image in load(name, data_folder())]
    save_segmenter(fit(images), SHIPPED)
    print(f"{len(images)} images: {SHIPPED}")
    return 0


def _told(stage: str, done: int, total: int) -> None:
    """Print now and then how far it is."""
    if done % 500 == 0 or done == total:
        print(f"{stage}: {done} of {total}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
