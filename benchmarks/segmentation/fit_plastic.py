"""`python -m benchmarks.segmentation.fit_plastic`: train the plastic segmenter that ships, as the judged are."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.segmentation.baselines import Predictor
from benchmarks.segmentation.data import SETS, AnnotatedImage, data_folder, load
from benchmarks.segmentation.fit import labelled
from leukospike.segmentation.plastic import PlasticSegmenter, class_maps, save_plastic
from leukospike.segmentation.plastic_learning import PlasticTraining, train_plastic
from leukospike.segmentation.result import segmentation_of

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
    return train_plastic([labelled(image) for image in chosen], config, progress=_told)


def fit_predictor(images: Sequence[AnnotatedImage]) -> Predictor:
    """Train on a fold's training images, and segment by what has learned from them, as users get it."""
    network = fit(images)
    return lambda pixels: segmentation_of("", pixels, class_maps(network, [pixels])[0]).mask


def main() -> int:
    """Train on all images, for the package."""
    argparse.ArgumentParser(prog="python -m benchmarks.segmentation.fit_plastic", description=__doc__).parse_args()
    torch.set_num_threads(1)
    images = [image for name in SETS for image in load(name, data_folder())]
    save_plastic(fit(images), SHIPPED)
    print(f"{len(images)} images: {SHIPPED}")
    return 0


def _told(stage: str, done: int, total: int) -> None:
    """Print how far it is."""
    print(f"{stage}: {done} of {total}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
