"""Leak audit: known copies found and false pairs, on drawn cells and on public images; and time."""

import time
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from benchmarks.pictures import data_folder
from leukospike.auditing.fingerprints import Fingerprint, fingerprint
from leukospike.auditing.matches import find_matches
from leukospike.datasets import Record, collect_images
from leukospike.errors import ImageError
from leukospike.images import read_image
from leukospike.smears import CellKind, draw_cell, subject_style
from research import tables
from research.segmentation.shifts import jpeg

SEED = 0
MOST_PICTURES = 80


Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def run() -> None:
    """Print and save, per data set and kind of change, the share of copies found and the false pairs."""
    rows: list[dict[str, str]] = []
    kept: dict[str, object] = {}
    for name, pictures in _sources().items():
        start = time.process_time()
        found, false, pairs_of_originals = recall(pictures, seed=SEED)
        for change, share in found.items():
            rows.append({"pictures": f"{name} ({len(pictures)})", "copy": change, "found": f"{share:.3f}"})
        kept[name] = {
            "pictures": len(pictures),
            "found": found,
            "false_pairs": false,
            "pairs_of_originals": pairs_of_originals,
            "cpu_seconds": time.process_time() - start,
        }
        rows.append({"pictures": name, "copy": "pairs of a copy and another picture", "found": str(false)})
        rows.append({"pictures": name, "copy": "pairs among the originals", "found": str(pairs_of_originals)})
        print(f"{name}: {time.process_time() - start:.0f} s of processor time", flush=True)
    notes = (
        f"Each change is made to every picture, seed {SEED}, and its copies are searched among all originals.",
        "A copy of a picture whose true copies are among the originals may be paired with those too: no false pair.",
    )
    print(tables.table("Leak audit: known copies", rows, notes=notes))
    tables.save("audit", {"seed": SEED, "sets": kept})


def recall(pictures: Sequence[np.ndarray], *, seed: int) -> tuple[dict[str, float], int, int]:
    """Make known copies of pictures and look for them.

    Parameters
    ----------
    pictures : sequence of ndarray
        RGB, uint8.
    seed : int
        Of the places of crops.

    Returns
    -------
    found : dict
        By kind of change, the share of copies that are paired with their original.
    false : int
        Pairs, over all changes, of a copy and a picture that is neither its original nor paired with that.
    pairs_of_originals : int
        Pairs among the pictures themselves.
    """
    n = len(pictures)
    originals = [_look(picture) for picture in pictures]
    among = {(pair.first, pair.second) for pair in find_matches(originals, same_pixels=_never).pairs}
    kin: dict[int, set[int]] = {place: {place} for place in range(n)}
    for first, second in among:
        kin[first].add(second)
        kin[second].add(first)
    found: dict[str, float] = {}
    false = 0
    for name, change in CHANGES.items():
        rng = np.random.default_rng(seed)
        copies = [_look(change(picture, rng)) for picture in pictures]
        pairs = [
            (pair.first, pair.second - n)
            for pair in find_matches([*originals, *copies], same_pixels=_never).pairs
            if pair.first < n <= pair.second
        ]
        found[name] = len({copy for original, copy in pairs if original == copy}) / n
        false += sum(original not in kin[copy] for original, copy in pairs)
    return found, false, len(among)


def drawn_cells(count: int, *, seed: int) -> list[np.ndarray]:
    """Draw cells of generated subjects, ten of each."""
    pictures: list[np.ndarray] = []
    for number in range(count):
        style = subject_style(np.random.default_rng([seed, number // 10]))
        kind = (CellKind.LYMPHOBLAST, CellKind.LYMPHOCYTE, CellKind.NEUTROPHIL)[number // 10 % 3]
        pictures.append(draw_cell(kind, style, np.random.default_rng([seed, 1, number]), size_px=300).pixels)
    return pictures


def _sources() -> dict[str, list[np.ndarray]]:
    """Return the pictures of each data set that is there."""
    data = data_folder()
    sources = {"drawn cells": drawn_cells(MOST_PICTURES, seed=SEED)}
    for name in ("c-nmc", "pbc", "bccd/images"):
        if (data / name).is_dir():
            records = [record for record in collect_images([data / name]) if "_mask" not in record.image]
            chosen = np.random.default_rng(SEED).permutation(len(records))[:MOST_PICTURES]
            sources[name] = [pixels for place in sorted(chosen) if (pixels := _read(records[place])) is not None]
        else:
            print(f"Leak audit: no {name} in {data}; set LEUKOSPIKE_DATA to the folder that holds it.")
    return sources


def _read(record: Record) -> np.ndarray | None:
    """Read one picture; tables that lie among them are none."""
    try:
        return read_image(record.path).pixels
    except ImageError:
        return None


def _look(pixels: np.ndarray) -> Fingerprint:
    """Make the fingerprint of a picture in memory."""
    return fingerprint(pixels, size=pixels.shape[:2], generated=False)


def _never(_first: int, _second: int) -> bool:
    """Take no two pictures for the same file: none here is."""
    return False


def _crop(picture: np.ndarray, rng: np.random.Generator, share: float) -> np.ndarray:
    """Cut a window with a share of each side, anywhere."""
    rows, columns = (round(length * share) for length in picture.shape[:2])
    top, left = (int(rng.integers(0, b - a + 1)) for a, b in zip((rows, columns), picture.shape, strict=False))
    return picture[top : top + rows, left : left + columns]


def _resized(picture: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Bring a picture to other rows and columns."""
    return np.asarray(Image.fromarray(picture).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def _lighter(picture: np.ndarray, factor: float) -> np.ndarray:
    """Multiply brightness."""
    return np.clip(picture * factor, 0, 255).astype(np.uint8)


def _rotated(picture: np.ndarray, degrees: float) -> np.ndarray:
    """Turn by any angle; corners repeat the border's colour."""
    fill = tuple(int(value) for value in np.median(picture[0], axis=0))
    return np.asarray(Image.fromarray(picture).rotate(degrees, Image.Resampling.BICUBIC, fillcolor=fill))


CHANGES: dict[str, Change] = {
    "left and right swapped": lambda picture, _: picture[:, ::-1],
    "turned by 90 degrees": lambda picture, _: np.rot90(picture),
    "turned by 180 degrees, JPEG 70": lambda picture, _: jpeg(picture[::-1, ::-1], 70),
    "JPEG 40": lambda picture, _: jpeg(picture, 40),
    "JPEG 10": lambda picture, _: jpeg(picture, 10),
    "half the size": lambda picture, _: _resized(picture, tuple(side // 2 for side in picture.shape[:2])),
    "brightness x 1.3": lambda picture, _: _lighter(picture, 1.3),
    "brightness x 0.6": lambda picture, _: _lighter(picture, 0.6),
    "crop of 90 %": lambda picture, rng: _crop(picture, rng, 0.9),
    "crop of 80 %": lambda picture, rng: _crop(picture, rng, 0.8),
    "crop of 80 %, resized, swapped, JPEG 60": lambda picture, rng: jpeg(
        _resized(_crop(picture, rng, 0.8), picture.shape)[:, ::-1], 60
    ),
    "crop of 60 %": lambda picture, rng: _crop(picture, rng, 0.6),
    "crop of 40 %": lambda picture, rng: _crop(picture, rng, 0.4),
    "rotated by 5 degrees": lambda picture, _: _rotated(picture, 5),
    "rotated by 30 degrees": lambda picture, _: _rotated(picture, 30),
}
"""What is done to a picture to make a copy of it."""
