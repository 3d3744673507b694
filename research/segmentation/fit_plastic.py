"""`python -m research.segmentation.fit_plastic`: train the plastic segmenter that ships, as the judged are."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.pictures import data_folder
from leukospike.segmentation.plastic import PlasticSegmenter, read_classes, save_plastic
from leukospike.segmentation.result import segment_pixels
from research.segmentation.baselines import Predictor
from research.segmentation.data import REST, AnnotatedImage, load
from research.segmentation.examples import CELL, LabelledImage
from research.segmentation.fit import drawn_labels
from research.segmentation.plastic_learning import PlasticTraining, train_plastic

CONFIG = PlasticTraining(seed=0)

IMAGES = {"tecom": 200, "cellavision": 60, "bccd": 40, "c-nmc": 20}
"""At most so many images of each set, the first in a drawn order: the finely drawn masks are to teach most."""

SHIPPED = Path("src/leukospike/segmentation/segmenter_stdp.safetensors")


def fit(images: Sequence[AnnotatedImage], config: PlasticTraining = CONFIG) -> PlasticSegmenter:
    """Train on some images and on nothing else."""
    shuffled = np.random.default_rng(config.seed).permutation(len(images))
    chosen = [
        images[place]
        for name, most in IMAGES.items()
        for place in [place for place in shuffled if images[place].set == name][:most]
    ]
    return train_plastic([_labelled(image) for image in chosen], config, progress=_told)


def _labelled(image: AnnotatedImage) -> LabelledImage:
    """Say what each pixel teaches, in the light and at the size that the image was taken in."""
    whole = np.where(image.mask == REST, 0, CELL).astype(np.uint8)
    return LabelledImage(image.set, image.pixels, drawn_labels(image) if image.nucleus_drawn else whole)


def fit_predictor(images: Sequence[AnnotatedImage]) -> Predictor:
    """Train on a fold's training images, and segment by what has learned from them, as users get it."""
    network = fit(images)
    return lambda pixels: segment_pixels("", pixels, partial(read_classes, network)).mask


def main() -> int:
    """Train on all images, for the package."""
    argparse.ArgumentParser(prog="python -m research.segmentation.fit_plastic", description=__doc__).parse_args()
    torch.set_num_threads(1)
    images = [image for name in IMAGES for image in load(name, data_folder())]
    save_plastic(fit(images), SHIPPED)
    print(f"{len(images)} images: {SHIPPED}")
    return 0


def _told(stage: str, done: int, total: int) -> None:
    """Print how far it is."""
    print(f"{stage}: {done} of {total}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
