"""`python -m research.segmentation.fit`: train the segmenter that ships, as those that it is judged by."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import binary_dilation, gaussian_filter, uniform_filter
from skimage.filters import threshold_otsu

from benchmarks.pictures import data_folder
from leukospike.segmentation.input_spikes import scaled
from leukospike.segmentation.light import EMPTY, estimate_light
from leukospike.segmentation.network import SpikingSegmenter, save_segmenter
from leukospike.segmentation.regions import connected
from leukospike.segmentation.scale import WORKING_RED_CELL_PX
from research import tables
from research.segmentation.data import NUCLEUS, REST, SETS, AnnotatedImage, folds, load
from research.segmentation.examples import CELL, RED_CELL, UNKNOWN, LabelledImage
from research.segmentation.examples import REST as NO_WHITE_CELL
from research.segmentation.learning import SegmenterTraining, train_segmenter
from research.segmentation.not_smears import training_pictures

SHARES = {"tecom": 0.2, "cellavision": 0.18, "bccd": 0.15, "c-nmc": 0.07, "raabin": 0.13, "chula": 0.15, "pbc": 0.12}
"""How often an image of each set is drawn in training: laboratories about alike, a little more of drawn masks."""

NOT_SMEARS, NOT_SMEARS_SHARE, N_NOT_SMEARS = "not-smears", 0.06, 200
"""Drawn pictures that show no cell, how often one is drawn, and how many there are."""

CONFIG = SegmenterTraining(seed=0)

N_FOLDS, SEED = 3, 0

LEFT_OUT = ("tecom", "cellavision", "bccd", "raabin", "chula")
"""Laboratories of which each is left out of a training entirely."""

KEPT = tables.RESULTS / "segmenters"
"""Where the networks of folds and of left-out laboratories are kept."""

# The masks of bccd are polygons: nothing is taken from a band along their borders.
_CELL_BAND_PX, _NUCLEUS_BAND_PX = 9, 7
_LEAST_DRAWN = 0.3  # share of a white cell's box that its mask fills, unless it was not drawn
_BOX_MARGIN_PX = 10
_CORE = 0.5  # of a box's sides: an ellipse that is of the cell, wherever in it that lies
_CENTRE_RED_CELLS = 0.2  # radius about the middle of a picture of one cell that is of it, in red cells' diameters
_LARGEST_RADIUS = 1.7  # of such a cell, likewise
_LEAST_CONTRAST = 0.05  # of red cells; less is no red cell, but a stain of the slide
_PURPLE = 0.4  # of the way from nuclei to empty places in red light: what is darker outside boxes may be another cell
_LEAST_RED_CELL = 0.3  # area of what may be a red cell, in those of a whole one
_CUT_OUT_SCALE = 0.5


def runs() -> dict[str, tuple[list[AnnotatedImage], list[AnnotatedImage]]]:
    """Return, by name, the training and test images of each training whose network is judged, and of what ships."""
    images = [image for name in SETS for image in load(name, data_folder())]
    plan = {"all": (images, list[AnnotatedImage]())}
    for number, fold in enumerate(folds(images, n_folds=N_FOLDS, seed=SEED)):
        plan[f"fold-{number}"] = ([images[place] for place in fold.train], [images[place] for place in fold.test])
    for name in LEFT_OUT:
        plan[f"without-{name}"] = (
            [image for image in images if image.set != name],
            [image for image in images if image.set == name],
        )
    return plan


def fit(
    images: Sequence[AnnotatedImage],
    config: SegmenterTraining = CONFIG,
    *,
    device: torch.device | None = None,
    name: str = "",
) -> SpikingSegmenter:
    """Train on some images and on nothing else."""
    shares = {group: SHARES[group] for group in sorted({image.set for image in images})}
    shares[NOT_SMEARS] = NOT_SMEARS_SHARE

    def told(stage: str, done: int, total: int) -> None:
        if done % 500 == 0 or done == total:
            print(f"{name} {stage}: {done} of {total}", flush=True)

    known = [labelled(image) for image in images]
    return train_segmenter([*known, *not_smears()], shares, config, device=device, progress=told)


def not_smears() -> list[LabelledImage]:
    """Draw pictures that show no cell."""
    return [
        LabelledImage(NOT_SMEARS, even, np.zeros(even.shape[:2], np.uint8))
        for even in (estimate_light(pixels).correct(pixels) for pixels in training_pictures(N_NOT_SMEARS, seed=SEED))
    ]


def labelled(image: AnnotatedImage) -> LabelledImage:
    """Bring an image to even light and working size, and say what each pixel teaches."""
    if image.set == "c-nmc":
        pixels = scaled(image.pixels, _CUT_OUT_SCALE)
        return LabelledImage(image.set, pixels, np.where(pixels.any(axis=2), CELL, 0).astype(np.uint8))
    even = estimate_light(image.pixels).correct(image.pixels)
    scale = WORKING_RED_CELL_PX / image.red_cell_px
    pixels = scaled(even, scale)
    boxes, red_boxes = (np.rint(boxes * scale).astype(np.int64) for boxes in (image.boxes, image.red_boxes))
    boxes = boxes.clip(0, np.array([*pixels.shape[:2], *pixels.shape[:2]]))
    if image.set == "pbc":
        return _centred(pixels, image.kind)
    if image.nucleus_drawn:
        labels = _at_size(drawn_labels(image), pixels.shape[:2])
        around = _red_cells(pixels, labels, red_boxes) if image.set != "tecom" else np.full_like(labels, NO_WHITE_CELL)
        return LabelledImage(image.set, pixels, np.where(labels == 0, around, labels).astype(np.uint8))
    return _boxed(image.set, pixels, boxes, red_boxes)


def drawn_labels(image: AnnotatedImage) -> np.ndarray:
    """Say what a drawn mask teaches, at the image's own size."""
    cell = image.mask != REST
    labels = (cell + (image.mask == NUCLEUS).astype(np.uint8)).astype(np.uint8)
    if image.set == "bccd":
        for drawn, band_px in ((cell, _CELL_BAND_PX), (image.mask == NUCLEUS, _NUCLEUS_BAND_PX)):
            share = uniform_filter(drawn.astype(np.float32), band_px)
            labels[(share > 0.02) & (share < 0.98)] = UNKNOWN
        boxed = np.zeros(cell.shape, bool)
        for top, left, bottom, right in image.boxes:
            inside = np.s_[max(top, 0) : bottom, max(left, 0) : right]
            boxed[inside] = True
            if cell[inside].mean() < _LEAST_DRAWN:
                labels[inside] = UNKNOWN
        # What was drawn where no white cell is boxed is an error of either.
        labels[cell & np.logical_not(_widened(boxed, _BOX_MARGIN_PX))] = UNKNOWN
    return labels


def _at_size(labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Bring labels to another size: that which most of a pixel's place has."""
    values = np.unique(labels)
    how = Image.Resampling.BOX if shape[0] < labels.shape[0] else Image.Resampling.BILINEAR
    size = (shape[1], shape[0])
    shares = [
        np.asarray(Image.fromarray((labels == value).astype(np.uint8) * 255).resize(size, how)) for value in values
    ]
    return values[np.argmax(shares, axis=0)]


def _boxed(group: str, pixels: np.ndarray, boxes: np.ndarray, red_boxes: np.ndarray) -> LabelledImage:
    """Label a field whose white cells are boxed: the core of a box is of a cell, and outside all boxes none is."""
    labels = np.zeros(pixels.shape[:2], np.uint8)
    core = np.zeros(labels.shape, bool)
    for box in boxes:
        core |= _ellipse(labels.shape, box, _CORE)
    red = gaussian_filter(pixels[:, :, 0].astype(np.float32), 2.0)
    nuclei = float(np.percentile(red[core], 30)) if core.any() else 0.0
    purple = red < nuclei + _PURPLE * (EMPTY - nuclei)
    for box in red_boxes:
        purple &= ~_ellipse(labels.shape, box, 1.0)
    # A few cells have no box.
    labels[_widened(purple, 3)] = UNKNOWN
    for top, left, bottom, right in boxes:
        labels[top:bottom, left:right] = UNKNOWN
    labels[core] = CELL
    around = _red_cells(pixels, labels, red_boxes)
    labels = np.where(labels == 0, around, labels).astype(np.uint8)
    return LabelledImage(group, pixels, labels, boxed=boxes, is_complete=group != "chula")


def _centred(pixels: np.ndarray, kind: str) -> LabelledImage:
    """Label a picture of one cell in its middle: a white cell, or a platelet."""
    labels = np.zeros(pixels.shape[:2], np.uint8)
    red = gaussian_filter(pixels[:, :, 0].astype(np.float32), 1.5)
    height, width = pixels.shape[:2]
    rows, columns = np.indices((height, width))
    from_middle = np.hypot(rows - height / 2, columns - width / 2) / WORKING_RED_CELL_PX
    middle = from_middle < _CENTRE_RED_CELLS
    nuclei = float(np.percentile(red[middle], 30))
    labels[_widened(red < nuclei + _PURPLE * (EMPTY - nuclei), 12)] = UNKNOWN
    # Cytoplasm can be as pale as red cells are.
    labels[from_middle < _LARGEST_RADIUS] = UNKNOWN
    labels[middle] = CELL
    around = _red_cells(pixels, labels, np.zeros((0, 4), np.int64))
    labels = np.where(labels == 0, around, labels).astype(np.uint8)
    if kind == "platelet":
        labels[middle] = 0
    return LabelledImage("pbc", pixels, labels, is_centred=kind != "platelet", is_complete=False)


def _red_cells(pixels: np.ndarray, labels: np.ndarray, red_boxes: np.ndarray) -> np.ndarray:
    """Label what is no white cell: red cells, what is surely none, or either."""
    green = gaussian_filter(pixels[:, :, 1].astype(np.float32), 1.0)
    free = ~_widened(labels != 0, 3)
    found = np.full(labels.shape, NO_WHITE_CELL, np.uint8)
    if np.count_nonzero(free) < 100 or np.ptp(green[free]) < 10:
        return found
    middle = threshold_otsu(green[free])
    empty, cells = np.median(green[free & (green > middle)]), np.median(green[free & (green <= middle)])
    if empty - cells < _LEAST_CONTRAST * empty:
        return found
    dark = (green < empty - 0.4 * (empty - cells)) & (labels == 0)
    filled = np.zeros(labels.shape, bool)
    pieces, n_pieces = connected(dark)
    whole = np.pi * WORKING_RED_CELL_PX**2 / 4
    sizes = np.bincount(pieces.ravel(), minlength=n_pieces + 1)
    large = np.isin(pieces, np.flatnonzero(sizes >= _LEAST_RED_CELL * whole)[1:] if sizes[0] >= 0 else [])
    holes, _ = connected(~large)
    hole_sizes = np.bincount(holes.ravel())
    filled = large | ((holes > 0) & (hole_sizes[holes] < _LEAST_RED_CELL * whole))
    found[~filled & (green > empty - 0.25 * (empty - cells))] = 0
    found[filled & (labels == 0)] = RED_CELL
    if len(red_boxes):
        boxed = np.zeros(labels.shape, bool)
        for box in red_boxes:
            boxed |= _ellipse(labels.shape, box, 1.1)
        found[(found == RED_CELL) & ~boxed] = NO_WHITE_CELL
        found[(found == 0) & boxed] = NO_WHITE_CELL
    return found


def _widened(region: np.ndarray, by_px: int) -> np.ndarray:
    """Add what touches a region by a side, so many times."""
    return np.asarray(binary_dilation(region, iterations=by_px), bool)


def _ellipse(shape: tuple[int, ...], box: np.ndarray, share: float) -> np.ndarray:
    """Return the ellipse in a box, its axes a share of the box's sides."""
    top, left, bottom, right = box
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    down = (rows - (top + bottom - 1) / 2) / max((bottom - top) / 2 * share, 1)
    across = (columns - (left + right - 1) / 2) / max((right - left) / 2 * share, 1)
    return down**2 + across**2 <= 1


def main() -> int:
    """Train the network of one run, or of all."""
    parser = argparse.ArgumentParser(prog="python -m research.segmentation.fit", description=__doc__)
    parser.add_argument(
        "--run", action="append", help="all (what ships), fold-0 to fold-2, without-SET; every one if not given"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--iterations", type=int, default=CONFIG.iterations)
    parser.add_argument(
        "--out", type=Path, default=KEPT, help="folder of the networks; that of `all` is put into the package"
    )
    given = parser.parse_args()
    config = replace(CONFIG, iterations=given.iterations)
    plan = runs()
    for name in given.run or plan:
        images, _ = plan[name]
        network = fit(images, config, device=torch.device(given.device), name=name)
        path = given.out / f"{name}.safetensors"
        save_segmenter(network, path)
        (given.out / f"{name}.json").write_text(json.dumps(asdict(config) | {"device": given.device}))
        print(f"{name}: {len(images)} images, {path}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
