"""`python -m benchmarks.segmentation.fit`: train the segmenter that ships, and those that it is judged by."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from benchmarks.segmentation.data import NUCLEUS, REST, SETS, AnnotatedImage, data_folder, folds, load
from scipy.ndimage import binary_dilation, uniform_filter

from benchmarks import measure
from leukospike.segmentation.learning import CELL, UNKNOWN, LabelledImage, SegmenterTraining, train_segmenter
from leukospike.segmentation.network import SpikingSegmenter, save_segmenter

SHARES = {"tecom": 0.32, "cellavision": 0.32, "bccd": 0.24, "c-nmc": 0.12}
"""How often an image of each set is drawn in training."""

SHIPPED = Path("src/leukospike/weights/segmenter.safetensors")

# The masks of bccd are polygons: nothing is taken from a band along their borders.
_CELL_BAND_PX, _NUCLEUS_BAND_PX = 9, 7
_LEAST_DRAWN = 0.3  # share of a white cell's box that its mask fills, unless it was not drawn
_BOX_MARGIN_PX = 10


def all_images() -> list[AnnotatedImage]:
    """Read every set, in the order that the folds are made of."""
    return [image for name in SETS for image in load(name, data_folder())]


def fit(images: Sequence[AnnotatedImage], config: SegmenterTraining) -> SpikingSegmenter:
    """Train on some images and on nothing else."""
    return train_segmenter([labelled(image) for image in images], SHARES, config, progress=_told)


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
        classes[cell & ~binary_dilation(boxed, iterations=_BOX_MARGIN_PX)] = UNKNOWN
    return LabelledImage(image.set, image.pixels, classes)


def fold_weights(fold: int) -> Path:
    """Give the place of the network that has not seen the test images of a fold."""
    return measure.RESULTS / "segmenter" / f"fold_{fold}.safetensors"


def main() -> int:
    """Train what is asked for; what is there already is kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.segmentation.fit", description=__doc__)
    parser.add_argument("--folds", type=int, default=4, help="networks of the cross-validation; 0: none (default 4)")
    parser.add_argument("--seed", type=int, default=0, help="of the training (default 0)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = SegmenterTraining(seed=options.seed)
    images = all_images()
    for number, fold in enumerate(folds(images, n_folds=options.folds) if options.folds else []):
        if not fold_weights(number).exists():
            print(f"fold {number}: {len(fold.train)} images", flush=True)
            save_segmenter(fit([images[place] for place in fold.train], config), fold_weights(number))
    print(f"all: {len(images)} images", flush=True)
    save_segmenter(fit(images, config), SHIPPED)
    return 0


def _told(stage: str, done: int, total: int) -> None:
    """Print now and then how far it is."""
    if done % 500 == 0 or done == total:
        print(f"{stage}: {done} of {total}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
