"""The public images with drawn masks, and the folds that they are judged by."""

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import GroupKFold

from leukospike.errors import DataError, SplitError
from leukospike.images import read_image

REST, CYTOPLASM, NUCLEUS = 0, 128, 255
"""Values of a mask."""

SETS = ("tecom", "cellavision", "bccd", "c-nmc", "raabin", "chula", "pbc")
"""Names that `load` knows."""

FIELDS = ("bccd", "raabin", "chula")
"""Sets of whole fields, whose white cells are boxed."""

PBC_PER_KIND = 60
"""Cells taken of each kind of pbc for training; the others are left for counting."""

RED_CELL_PX = {"tecom": 40.0, "cellavision": 72.0, "bccd": 100.0, "raabin": 124.0, "chula": 83.0, "pbc": 74.0}
"""Diameter of a red cell in each set, pixels: of bccd and raabin the median box, of tecom by eye (its crops hardly show
a whole one), of the others as `pixel_size_from_red_cells` finds it in even light."""

CELLS_PER_SUBJECT = 4
"""C-NMC cells taken of each of its subjects, so that a subject of many cells counts no more than another."""

NEAR_COPY = 0.82
"""Correlation of a part of one image with any place of another from which both are taken to show the same cells.

Measured and looked at: seven cells of tecom were photographed or cut out twice, a few pixels apart (.926 to .987; one
pair of look-alikes, .828, is joined as well), and twelve pairs of bccd fields overlap (.829 to .973; the next, of
different cells, .810). No two images of cellavision reach .62. Turned by right angles or mirrored, none is a copy.
"""

_LEAST_RED_BOXES = 4
_SHORT_SIDE_PX = 48
"""Images are compared at about this size of the set's median short side."""

_DETAIL_SIGMA_PX = 2.0
"""Of the Gaussian that is taken away before, at that size, since two round cells agree in all but detail."""

_MIDDLE = (0.5, 0.5)
_CORNERS = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))
"""Where a part is cut, as shares of the way that it can go down and across."""


@dataclass(frozen=True)
class AnnotatedImage:
    """One image and what an expert, or its own background, says of it."""

    set: str
    """One of `SETS`."""
    name: str
    """File name without suffix, unique within its set."""
    pixels: np.ndarray
    """Uint8 RGB, 0-255, (rows, columns, 3)."""
    mask: np.ndarray
    """Uint8, (rows, columns): `NUCLEUS`, `CYTOPLASM` or `REST`; of C-NMC, `CYTOPLASM` is the whole cell."""
    boxes: np.ndarray
    """Int, (cells, 4), white cells as top, left, bottom, right, half open; (0, 4) where the set has no boxes."""
    subject: str
    """Whom the cell is of, or the slide that the field is of; empty where the set does not say."""
    group: int = 0
    """Number, within the set, of the images that must stay on one side of a split: see `groups`."""
    red_boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), np.int64))
    """Int, (cells, 4), red cells, where the set boxes them."""
    kind: str = ""
    """Of the cell in the middle, where the set says: the folder of pbc."""

    @property
    def nucleus_drawn(self) -> bool:
        """Tell whether the mask parts nucleus from cytoplasm."""
        return self.set in {"tecom", "cellavision", "bccd"}

    @property
    def red_cell_px(self) -> float:
        """Diameter of a red cell, pixels: the median of this image's whole boxes, or else that of the set."""
        rows, columns = self.pixels.shape[:2]
        whole = [
            box for box in self.red_boxes if box[0] > 1 and box[1] > 1 and box[2] < rows - 2 and box[3] < columns - 2
        ]
        if len(whole) < _LEAST_RED_BOXES:
            return RED_CELL_PX[self.set]
        return float(np.median([np.sqrt((box[2] - box[0]) * (box[3] - box[1])) for box in whole]))


@dataclass(frozen=True)
class Fold:
    """Two disjoint sets of places in the list of images."""

    train: np.ndarray
    test: np.ndarray


def load(name: str, folder: Path, *, seed: int = 0) -> list[AnnotatedImage]:
    """Read one set, ordered by name.

    Parameters
    ----------
    name : str
        One of `SETS`. Of ``c-nmc``, `CELLS_PER_SUBJECT` cells of each subject are drawn; everything that is not
        black is cell, and nothing is known of its nucleus.
    folder : Path
        Of all public images.
    seed : int
        Of the draw of C-NMC cells.

    Returns
    -------
    list of AnnotatedImage

    Raises
    ------
    DataError
        If there is no such set, no folder, or no image.
    """
    if not folder.is_dir():
        raise DataError(
            "the folder of public images must exist", where="load", got=folder, advice="Set LEUKOSPIKE_DATA to it."
        )
    if name in {"tecom", "cellavision"}:
        images = [
            _annotated(name, path.with_name(path.name.replace("_mask", "")), path)
            for path in sorted((folder / "wbc-seg" / name).glob("*_mask.png"))
        ]
    elif name == "bccd":
        white, red = _boxes(folder / "bccd" / "boxes.csv")
        images = [
            _annotated(name, folder / "bccd" / "images" / f"{path.stem}.jpg", path, white[path.stem], red[path.stem])
            for path in sorted((folder / "bccd" / "masks").glob("*.png"))
        ]
    elif name in {"raabin", "chula"}:
        white, red = _boxes(folder / name / "boxes.csv")
        images = [
            _boxed(name, path, white[path.stem], red[path.stem])
            for path in sorted((folder / name / "images").iterdir())
        ]
    elif name == "pbc":
        images = [_of_kind(path) for path in _few_of_each_kind(folder / "pbc", seed)]
    elif name == "c-nmc":
        images = [_cell_on_black(path) for path in _few_of_each(folder / "c-nmc", seed)]
    else:
        raise DataError(f"name must be one of {', '.join(SETS)}", where="load", got=name, advice="Choose one.")
    if not images:
        raise DataError(
            f"{name} must hold images",
            where="load",
            got=f"none in {folder}",
            advice="Set LEUKOSPIKE_DATA to the public images.",
        )
    return [replace(image, group=int(group)) for image, group in zip(images, groups(images), strict=True)]


def folds(images: Sequence[AnnotatedImage], *, n_folds: int = 4, seed: int = 0) -> list[Fold]:
    """Split images so that those of one group stay together, and each set is spread evenly.

    An image's fold depends on the images of its own set and the seed, not on which other sets are there.

    Parameters
    ----------
    images : sequence of AnnotatedImage
        Of one or more sets.
    n_folds : int
        At least 2.
    seed : int

    Returns
    -------
    list of Fold
        Places in `images`, ascending; every image is tested once.

    Raises
    ------
    SplitError
        If a set has fewer groups than folds.
    """
    fold_of = np.empty(len(images), np.int64)
    for name in sorted({image.set for image in images}):
        places = np.array([place for place, image in enumerate(images) if image.set == name])
        group = [images[place].group for place in places]
        if (n_groups := len(set(group))) < n_folds:
            msg = (
                f"folds: n_folds must be at most the number of independent images of {name} ({n_groups}),"
                f" got {n_folds}. Lower it."
            )
            raise SplitError(msg)
        splitter = GroupKFold(n_folds, shuffle=True, random_state=seed)
        for fold, (_, test) in enumerate(splitter.split(places, groups=group)):
            fold_of[places[test]] = fold
    return [Fold(np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)) for fold in range(n_folds)]


def groups(images: Sequence[AnnotatedImage]) -> np.ndarray:
    """Give each image of one set the number of its independent group.

    Two images belong together if they are of one subject. Where no subjects are known, they do if the middle of one
    correlates with some place of the other by at least `NEAR_COPY`, which pixel-identical images do by 1. (Where they
    are known, as in C-NMC, all cells on black look alike.)

    Parameters
    ----------
    images : sequence of AnnotatedImage

    Returns
    -------
    ndarray of shape (images,), int
        From 0.
    """
    subjects = np.array([image.subject for image in images])
    joined = (subjects[:, None] == subjects) & (subjects != "")
    if (subjects == "").all():
        joined |= _likeness(images) >= NEAR_COPY
    return connected_components(joined, directed=False)[1].astype(np.int64)


Boxes = Sequence[Sequence[int]]


def _annotated(name: str, image: Path, mask: Path, boxes: Boxes = (), red_boxes: Boxes = ()) -> AnnotatedImage:
    """Read an image and its mask."""
    drawn = np.array(Image.open(mask))
    return AnnotatedImage(
        name, image.stem, read_image(image).pixels, drawn, _array(boxes), "", red_boxes=_array(red_boxes)
    )


def _boxed(name: str, path: Path, boxes: Boxes, red_boxes: Boxes) -> AnnotatedImage:
    """Read an image whose cells are boxed and not drawn."""
    pixels = read_image(path).pixels
    nothing = np.full(pixels.shape[:2], REST, np.uint8)
    # Chula's files are named by their slide: B-30_0047.
    slide = path.stem.split("_")[0] if name == "chula" else ""
    return AnnotatedImage(name, path.stem, pixels, nothing, _array(boxes), slide, red_boxes=_array(red_boxes))


def _of_kind(path: Path) -> AnnotatedImage:
    """Read an image of which only the kind of the cell in its middle is known."""
    pixels = read_image(path).pixels
    nothing = np.full(pixels.shape[:2], REST, np.uint8)
    return AnnotatedImage("pbc", path.stem, pixels, nothing, _array(()), "", kind=path.parent.name)


def load_all_pbc(folder: Path) -> list[AnnotatedImage]:
    """Read all images of pbc, for counting."""
    return [_of_kind(path) for kind in sorted((folder / "pbc").iterdir()) for path in sorted(kind.iterdir())]


def _few_of_each_kind(folder: Path, seed: int) -> list[Path]:
    """Draw cells of pbc, as many of each kind."""
    chance = np.random.default_rng(seed)
    chosen: list[Path] = []
    for kind in sorted(folder.iterdir()):
        paths = sorted(kind.iterdir())
        chosen += [paths[place] for place in chance.permutation(len(paths))[:PBC_PER_KIND]]
    return sorted(chosen)


def _array(boxes: Boxes) -> np.ndarray:
    """Lay boxes out, int (cells, 4)."""
    return np.array(boxes, np.int64).reshape(-1, 4)


def _boxes(path: Path) -> tuple[defaultdict[str, list[list[int]]], defaultdict[str, list[list[int]]]]:
    """Read the boxes of white and of red cells by image; chula's are of white cells, named by their kind."""
    white: defaultdict[str, list[list[int]]] = defaultdict(list)
    red: defaultdict[str, list[list[int]]] = defaultdict(list)
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["label"] != "Platelets":
                boxes = red if row["label"] == "RBC" else white
                boxes[row["image"]].append([int(row[side]) for side in ("ymin", "xmin", "ymax", "xmax")])
    return white, red


def _few_of_each(folder: Path, seed: int) -> list[Path]:
    """Draw C-NMC cells, as many of each subject."""
    of_subject: defaultdict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.glob("fold_*/*/UID_*")):
        of_subject[_subject(path)].append(path)
    chance = np.random.default_rng(seed)
    drawn = [chance.permutation(len(paths))[:CELLS_PER_SUBJECT] for paths in of_subject.values()]
    return sorted(paths[place] for paths, places in zip(of_subject.values(), drawn, strict=True) for place in places)


def _cell_on_black(path: Path) -> AnnotatedImage:
    """Read a cell whose background is black."""
    pixels = read_image(path).pixels
    mask = np.where(pixels.any(axis=2), CYTOPLASM, REST).astype(np.uint8)
    return AnnotatedImage("c-nmc", path.stem, pixels, mask, np.zeros((0, 4), np.int64), _subject(path))


def _subject(path: Path) -> str:
    """Read the subject from UID_subject_image_cell_class."""
    return path.stem.split("_")[1].upper()


def _likeness(images: Sequence[AnnotatedImage]) -> np.ndarray:
    """Correlate parts of each image with every place of each other, and keep the best; (images, images).

    Of a cell it is the middle half, since plain corners are all alike; of a field, middle and corners, a third each,
    since the second shot of one may have moved by half a field.
    """
    pictures = [image.pixels for image in images]
    factor = max(1, round(float(np.median([min(picture.shape[:2]) for picture in pictures])) / _SHORT_SIDE_PX))
    detail = [_detail(picture, factor) for picture in pictures]
    share, places = (3, (_MIDDLE, *_CORNERS)) if images[0].set in FIELDS else (2, (_MIDDLE,))
    rows, columns = (min(image.shape[axis] for image in detail) // share for axis in (0, 1))
    parts = [
        _standardised(np.stack([_part(image, *place, rows=rows, columns=columns) for image in detail]))
        for place in places
    ]
    best = np.empty((len(detail), len(detail)))
    for column, image in enumerate(detail):
        windows = np.lib.stride_tricks.sliding_window_view(image, (rows, columns)).reshape(-1, rows * columns)
        everywhere = _standardised(windows).T
        best[:, column] = np.max([(part @ everywhere).max(axis=1) for part in parts], axis=0)
    return best


def _detail(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Shrink to grey and leave what is finer than a cell."""
    grey = np.asarray(Image.fromarray(pixels).convert("L").reduce(factor), np.float32)
    return grey - gaussian_filter(grey, _DETAIL_SIGMA_PX)


def _part(image: np.ndarray, down: float, across: float, *, rows: int, columns: int) -> np.ndarray:
    """Cut a part, flattened."""
    top, left = int((image.shape[0] - rows) * down), int((image.shape[1] - columns) * across)
    return image[top : top + rows, left : left + columns].ravel()


def _standardised(rows: np.ndarray) -> np.ndarray:
    """Bring each row to mean 0 and length 1, so that a product is a correlation; a uniform one correlates with none."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return centred / np.where(length == 0, 1, length)
