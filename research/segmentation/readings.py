"""What the network of each run says of its test images, read once and kept."""

import math
import pickle
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache, partial
from multiprocessing import get_context

import numpy as np
import torch

from leukospike.errors import DataError
from leukospike.segmentation.class_maps import MOST_WORKING_AT_ONCE_PX
from leukospike.segmentation.network import SpikingSegmenter, load_segmenter
from research.segmentation.data import AnnotatedImage
from research.segmentation.fit import KEPT, LEFT_OUT, N_FOLDS, SEED, runs
from research.segmentation.not_smears import training_pictures
from research.segmentation.objects import Found, found_in, what_each_is
from research.segmentation.shifts import blur, stain

FOLDS = tuple(f"fold-{number}" for number in range(N_FOLDS))
WITHOUT = {name: f"without-{name}" for name in LEFT_OUT}

EVERY_CHANGED = 3
"""Each so-manieth test image of a fold is read again with its look changed, every second of them at fewer pixels, as
large fields are."""

NOT_SMEARS, N_NOT_SMEARS = "not-smears", 120
"""Drawn pictures that show no cell, others than the segmenter has seen; every object in them is none."""

Reading = tuple[Found, np.ndarray]
"""What was found in an image, and what each object is."""

_WORKERS = 2
_BLURRED = 0.6  # share of the changed images that are out of focus, too


@cache
def plan() -> dict[str, tuple[list[AnnotatedImage], list[AnnotatedImage]]]:
    """Return training and test images of each run, read once."""
    return runs()


def network_of(run: str) -> SpikingSegmenter:
    """Return the network of a run.

    Raises
    ------
    DataError
        If it was not trained.
    """
    path = KEPT / f"{run}.safetensors"
    if not path.exists():
        raise DataError(
            f"{path} must exist", where="network_of", advice=f"Run: python -m research.segmentation.fit --run {run}"
        )
    return load_segmenter(path)


def readings_of(run: str) -> list[Reading]:
    """Return what a run's network says of its test images, and of drawn pictures without cells; kept for next time."""
    kept = KEPT / f"{run}-readings.pickle"  # our own file, of this machine: nothing of others is ever unpickled
    if kept.exists():
        with kept.open("rb") as file:
            return pickle.load(file)
    network = network_of(run)
    found = read_all(run, plan()[run][1]) + _not_smears(network)
    with kept.open("wb") as file:
        pickle.dump(found, file)
    return found


def changed_readings_of(run: str) -> list[Reading]:
    """Return what a fold's network says of some of its test images with their look changed; kept for next time."""
    kept = KEPT / f"{run}-changed.pickle"
    if kept.exists():
        with kept.open("rb") as file:
            return pickle.load(file)
    images = [image for image in plan()[run][1] if image.set != "c-nmc"][::EVERY_CHANGED]
    images = [_changed(image) for image in images]
    found = read_all(run, images[::2]) + read_all(run, images[1::2], most_px=1)
    with kept.open("wb") as file:
        pickle.dump(found, file)
    return found


def read_all(run: str, images: Sequence[AnnotatedImage], *, most_px: int = MOST_WORKING_AT_ONCE_PX) -> list[Reading]:
    """Read images by a run's network, side by side."""
    # Forked before any thread of torch exists in the children: each has one core.
    with ProcessPoolExecutor(
        _WORKERS, mp_context=get_context("fork"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        return list(pool.map(partial(_read, run, most_px), images, chunksize=8))


def _changed(image: AnnotatedImage) -> AnnotatedImage:
    """Show an image in a paler or stronger stain, out of focus, now and then both, as its name decides."""
    rng = np.random.default_rng(zlib.crc32(f"{image.set} {image.name}".encode()))
    common = math.exp(rng.uniform(math.log(0.3), math.log(1.2)))
    pixels = stain(image.pixels, common * np.exp(rng.uniform(-0.3, 0.3, 3)))
    if rng.random() < _BLURRED:
        pixels = blur(pixels, rng.uniform(0.01, 0.025) * image.red_cell_px)
    return replace(image, pixels=pixels)


def _not_smears(network: SpikingSegmenter) -> list[Reading]:
    """Read drawn pictures that show no cell."""
    found: list[Reading] = []
    for number, pixels in enumerate(training_pictures(N_NOT_SMEARS, seed=SEED + 1)):
        nothing = np.zeros(pixels.shape[:2], np.uint8)
        image = AnnotatedImage(NOT_SMEARS, str(number), pixels, nothing, np.zeros((0, 4), np.int64), "")
        one = found_in(network, image)
        found.append((one, np.zeros(len(one.boxes))))
    return found


@cache
def _network(run: str) -> SpikingSegmenter:
    """Load a network once in each process."""
    return network_of(run)


def _read(run: str, most_px: int, image: AnnotatedImage) -> Reading:
    """Read one image."""
    found = found_in(_network(run), image, most_px=most_px)
    return found, what_each_is(found, image)
