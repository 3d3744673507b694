"""Many images to masks, overlays and one table of cells, on disk."""

import os
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from jaxtyping import UInt8, UInt16
from PIL import Image

from leukospike.datasets import Record
from leukospike.datasets.decoding import decoded
from leukospike.failures import Failure
from leukospike.images.reading import Picture
from leukospike.jobs import Progress, silent
from leukospike.segmentation.class_maps import Segmenter
from leukospike.segmentation.morphology import CELL_COLUMNS
from leukospike.segmentation.overlay import overlay
from leukospike.segmentation.quality import Quality
from leukospike.segmentation.result import Doubt, Segmentation, segment_pixels
from leukospike.segmentation.scale import PixelSize, agreed_pixel_sizes, stored_pixel_size
from leukospike.side_by_side import one_core_each
from leukospike.storage.files import write_table, written_whole

IMAGE_COLUMNS = (
    "image",
    "cells",
    "rejected",
    "flags",
    "advice",
    "light_red",
    "light_green",
    "light_blue",
    "unevenness",
    "tint_range",
    "lit",
    "scale",
    "scale_from",
    "um_per_px",
    "um_per_px_low",
    "um_per_px_high",
    "pixel_size_from",
    "red_cells",
)
"""Columns of the table of images."""

_MOST_WORKERS = 4
_AHEAD = 8  # images in work or done and not yet asked for
_LARGE_VALUES = 4_000_000  # an image of more goes alone: two whole fields side by side would take twice the memory
_MOST_CELLS = 65_535  # the highest number that 16 bits hold
_RESULT_SUFFIXES = (".png", ".csv")
_LONGEST_SUFFIX = "_first_wave.png"
_LONGEST_STEM = 255 - len(_LONGEST_SUFFIX)  # most file systems allow 255 bytes


_DOUBTS = {*Quality, *Doubt}  # flags that say what may be wrong; others say how a file was read


@dataclass(frozen=True)
class Segmented:
    """What `segment_files` wrote."""

    images: pd.DataFrame
    """One row an image, `IMAGE_COLUMNS`."""
    cells: pd.DataFrame
    """One row a cell, `CELL_COLUMNS`."""
    failures: tuple[Failure, ...]

    @property
    def without_cells(self) -> dict[str, int]:
        """How many images gave no cells, by what was said of them; "nothing_found" where nothing was."""
        empty = self.images.loc[self.images["cells"] == 0, "flags"]
        counts: dict[str, int] = {}
        for flags in empty.to_list():
            for flag in [flag for flag in str(flags).split() if flag in _DOUBTS] or ["nothing_found"]:
                counts[flag] = counts.get(flag, 0) + 1
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    @property
    def flagged_with_cells(self) -> int:
        """How many images gave cells though something may be wrong with them."""
        flags = self.images.loc[self.images["cells"] > 0, "flags"]
        return sum(bool(_DOUBTS & set(str(each).split())) for each in flags.to_list())


def segment_files(
    records: Sequence[Record],
    out: Path,
    segmenter: Segmenter,
    *,
    pixel_size: PixelSize | None = None,
    strict: bool = False,
    progress: Progress = silent,
) -> Segmented:
    """Write, for each image, its mask, its labels and an overlay; for all, `cells.csv` and `images.csv`.

    `<image without suffix>_mask.png` has the image's size: 255 nucleus, 128 cytoplasm, 0 the rest.
    `<image without suffix>_labels.png`, of 16 bits, holds the number of the cell at each pixel, 0 outside; it parts
    cells that touch, which the mask does not. An image of more than 65,535 cells is a failure.
    `<image without suffix>_overlay.png` is the image with numbered outlines.

    Parameters
    ----------
    records : sequence of Record
    out : Path
        An existing folder; sub-folders are made as the images have them.
    segmenter : callable
    pixel_size : PixelSize, optional
        Of all images. If not given: what a file states, else what its red cells show, on which images of the same rows
        and columns agree.
    strict : bool
        Give no cells of an image of whose quality anything is said.
    progress : Progress

    Returns
    -------
    Segmented
    """
    rows: list[dict[str, object]] = []
    cells: list[pd.DataFrame] = []
    failures: list[Failure] = []
    stems: dict[str, str] = {}
    sizes: list[PixelSize | None] = []
    frames: list[tuple[int, int]] = []

    def usable() -> Iterator[tuple[Record, Picture]]:
        names: set[str] = set()
        for done, (record, result) in enumerate(decoded(records), start=1):
            stems[record.image] = output_stem(record.image, names)
            if not isinstance(result, Picture):
                failures.append(Failure(record.image, str(result)))
            elif (failure := name_failure(record.image, stems[record.image])) is not None:
                failures.append(failure)
            else:
                yield record, result
            progress("segment", done, len(records))

    for record, picture, segmentation in segmented(usable(), segmenter, pixel_size=pixel_size, strict=strict):
        if (failure := _number_failure(record.image, segmentation)) is not None:
            failures.append(failure)
            continue
        stem = stems[record.image]
        write_pixels(out / f"{stem}_mask.png", segmentation.mask)
        write_pixels(out / f"{stem}_labels.png", segmentation.instances.labels.astype(np.uint16))
        write_pixels(out / f"{stem}_overlay.png", overlay(picture.pixels, segmentation.mask, segmentation.instances))
        rows.append(image_row(picture, segmentation))
        cells.append(segmentation.cells)
        sizes.append(segmentation.pixel_size)
        frames.append((picture.pixels.shape[0], picture.pixels.shape[1]))
    agree_on_pixel_size(rows, cells, agreed_pixel_sizes(sizes, frames))
    images = pd.DataFrame(rows, columns=pd.Index(IMAGE_COLUMNS)).astype({"red_cells": "Int64"})  # whole, or empty
    # Tables without a row would make columns of numbers columns of objects.
    filled = [table for table in cells if len(table)]
    table = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=pd.Index(CELL_COLUMNS))
    write_table(out / "images.csv", images)
    write_table(out / "cells.csv", table)
    return Segmented(images, table, tuple(failures))


def segmented(
    pictures: Iterable[tuple[Record, Picture]],
    segmenter: Segmenter,
    *,
    pixel_size: PixelSize | None,
    strict: bool = False,
) -> Iterator[tuple[Record, Picture, Segmentation]]:
    """Segment images in their order, small ones side by side, one on each core; a large or lone one has all cores.

    Each image is computed by itself, so that its result depends on no other.

    Parameters
    ----------
    pictures : iterable of (Record, Picture)
        Asked for a few images ahead.
    segmenter : callable
        Called from several threads.
    pixel_size : PixelSize or None
        Of all images. If None: what a file states, else what its red cells show.
    strict : bool
        Give no cells of an image of whose quality anything is said.

    Yields
    ------
    tuple of (Record, Picture, Segmentation)
    """

    def work(record: Record, picture: Picture) -> Segmentation:
        size = pixel_size or stored_pixel_size(picture)
        return segment_pixels(record.image, picture.pixels, segmenter, pixel_size=size, strict=strict)

    waiting: deque[tuple[Record, Picture, Future[Segmentation]]] = deque()

    def done(at_most: int) -> Iterator[tuple[Record, Picture, Segmentation]]:
        while len(waiting) > at_most:
            record, picture, segmentation = waiting.popleft()
            yield record, picture, segmentation.result()

    pictures = iter(pictures)
    first_two = list(islice(pictures, 2))
    with one_core_each(_MOST_WORKERS) as pool:
        for record, picture in chain(first_two, pictures):
            if len(first_two) == 1 or picture.pixels.size > _LARGE_VALUES:
                yield from done(at_most=0)
                yield record, picture, work(record, picture)
            else:
                waiting.append((record, picture, pool.submit(work, record, picture)))
                yield from done(at_most=_AHEAD - 1)
        yield from done(at_most=0)


def output_stem(image: str, names: set[str]) -> str:
    """Name the results by the image, without its suffix where that is enough to tell it from the others.

    The path of an image in a manifest may lead anywhere; its results do not.
    """
    inside = PurePosixPath(*(part for part in PurePosixPath(image).parts if part not in {"/", ".."}))
    stem = str(inside.with_suffix(""))
    while stem in names:
        stem = str(inside) if str(inside) not in names else f"{stem}_"
    names.add(stem)
    return stem


def name_failure(image: str, stem: str) -> Failure | None:
    """Refuse a name that leaves no room for what is put behind it, and a folder named as results are."""
    for folder in PurePosixPath(stem).parts[:-1]:
        # Its results would lie in a folder of that name, which may be the name of another image's result.
        if PurePosixPath(folder).suffix in _RESULT_SUFFIXES:
            return Failure(image, f"folder must not be named as results are (.png, .csv), got {folder}. Rename it.")
    if (length := len(os.fsencode(PurePosixPath(stem).name))) <= _LONGEST_STEM:
        return None
    return Failure(image, f"name must have at most {_LONGEST_STEM} bytes and a suffix, got {length}. Rename the file.")


def _number_failure(image: str, segmentation: Segmentation) -> Failure | None:
    """Refuse more cells than the labels can number: noise, or a pixel size at which specks count as cells."""
    if (n_cells := len(segmentation.measures)) <= _MOST_CELLS:
        return None
    reason = f"image must have at most {_MOST_CELLS} cells, got {n_cells}. Check it and its pixel size (--pixel-size)."
    return Failure(image, reason)


def image_row(picture: Picture, segmentation: Segmentation) -> dict[str, object]:
    """Say what an image holds, what may be wrong with it, what its light was, and how large its pixels are."""
    light = segmentation.light
    red, green, blue = (round(level, 1) for level in light.colour) if light.is_known else (None, None, None)
    return {
        "image": segmentation.image,
        "cells": len(segmentation.measures),
        "rejected": segmentation.rejected,
        "flags": " ".join((*segmentation.flags, *picture.notes)),
        "advice": "; ".join(str(advice) for advice in segmentation.quality),
        "light_red": red,
        "light_green": green,
        "light_blue": blue,
        "unevenness": round(light.unevenness, 3) if light.is_known else None,
        "tint_range": round(light.tint_range, 3) if light.is_known else None,
        "lit": round(light.lit_share, 3) if light.is_known else None,
        "scale": round(segmentation.scale, 4),
        "scale_from": segmentation.scale_from.value,
    } | pixel_size_columns(segmentation.pixel_size)


def pixel_size_columns(size: PixelSize | None) -> dict[str, object]:
    """Say how large pixels are, how sure that is, and how it is known."""
    low, high = (None, None) if size is None or size.interval is None else size.interval
    return {
        "um_per_px": None if size is None else round(size.um_per_px, 5),
        "um_per_px_low": None if low is None else round(low, 5),
        "um_per_px_high": None if high is None else round(high, 5),
        "pixel_size_from": "" if size is None else size.source,
        "red_cells": None if size is None or not size.red_cells else size.red_cells,
    }


def agree_on_pixel_size(
    rows: Sequence[dict[str, object]], cells: Sequence[pd.DataFrame], agreed: Sequence[PixelSize | None]
) -> None:
    """Put the pixel size that the images of one camera agree on into their rows, and measure their cells by it."""
    for row, table, size in zip(rows, cells, agreed, strict=True):
        if size is None or (row["um_per_px"] == round(size.um_per_px, 5) and row["pixel_size_from"] == size.source):
            continue
        row |= pixel_size_columns(size)
        areas = table["area_px"].to_numpy(np.float64) * size.um_per_px**2
        table["area_um2"] = np.round(areas, 2)
        table["diameter_um"] = np.round(2 * np.sqrt(areas / np.pi), 2)


def write_pixels(path: Path, pixels: UInt8[np.ndarray, "..."] | UInt16[np.ndarray, "..."]) -> None:
    """Write a PNG of 8 or 16 bits a value, whole or not at all."""
    with written_whole(path) as part:
        # Level 1: measured, five times as fast as the default for a tenth more bytes; runs alone: fewer of both.
        Image.fromarray(pixels).save(part, format="PNG", compress_level=1, compress_type=zlib.Z_RLE)
