"""From many images to masks, overlays and tables of cells, or to first spike waves, with a store of finished images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd

from leukospike.analysis.crops import crops_of
from leukospike.analysis.engine import Engine, Threads
from leukospike.analysis.folder import read_figures
from leukospike.analysis.keeping import Contents, contents_of, keep_missing
from leukospike.analysis.manifest import StoredImage, write_crops
from leukospike.analysis.names import name_failure, output_stem
from leukospike.analysis.store import Recipe, SegmentedImage, Setting, Store, opened_store
from leukospike.datasets import Record
from leukospike.failures import Failure, read_failures, write_failures
from leukospike.images import Picture
from leukospike.jobs import Progress, silent
from leukospike.segmentation import CELL_COLUMNS, PixelSize, Quality, cell_table, first_wave, overlay
from leukospike.segmentation.facts import IMAGE_COLUMN_TYPES, IMAGE_COLUMNS, ImageFacts
from leukospike.segmentation.methods import SegmentationMethod
from leukospike.segmentation.result import Doubt, segment_pixels
from leukospike.segmentation.scale import agreed_pixel_sizes, stored_pixel_size
from leukospike.storage.tables import write_table

PICTURES = ("mask", "labels", "overlay")
"""Suffixes of the files written for each image."""

_MOST_CELLS = 65_535  # the highest number that 16 bits hold
_DOUBTS = {*Quality, *Doubt}  # flags of possible problems; the others describe how a file was read
_TEXT_OF_IMAGES = ("image", "flags", "advice", "scale_from", "pixel_size_from")


@dataclass(frozen=True)
class Segmented:
    """Results written by `segment_images`."""

    images: pd.DataFrame
    """One row per image, `IMAGE_COLUMNS`."""
    cells: pd.DataFrame
    """One row per cell, `CELL_COLUMNS`."""
    failures: tuple[Failure, ...]

    @property
    def without_cells(self) -> dict[str, int]:
        """Number of images without cells, by flag; "nothing_found" for those without a flag."""
        empty = self.images.loc[self.images["cells"] == 0, "flags"]
        counts: dict[str, int] = {}
        for flags in empty.to_list():
            for flag in [flag for flag in str(flags).split() if flag in _DOUBTS] or ["nothing_found"]:
                counts[flag] = counts.get(flag, 0) + 1
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    @property
    def flagged_with_cells(self) -> int:
        """Number of images with cells that have a flag."""
        flags = self.images.loc[self.images["cells"] > 0, "flags"]
        return sum(bool(_DOUBTS & set(str(each).split())) for each in flags.to_list())


def segment_images(
    records: Sequence[Record],
    out: Path,
    method: SegmentationMethod,
    *,
    pixel_size: PixelSize | None = None,
    strict: bool = False,
    crops: bool = False,
    for_excel: bool = False,
    engine: Engine | None = None,
    resume: bool = False,
    progress: Progress = silent,
) -> Segmented:
    """Write, for each image, its mask, its labels and an overlay; for all, `cells.csv` and `images.csv`.

    `<image without suffix>_mask.png` has the image's size: 255 nucleus, 128 cytoplasm, 0 the rest.
    `<image without suffix>_labels.png`, of 16 bits, holds the number of the cell at each pixel, 0 outside; it separates
    cells that touch, which the mask does not. An image of more than 65,535 cells is a failure. `<image without
    suffix>_overlay.png` is the image with numbered outlines.

    Parameters
    ----------
    records : sequence of Record
    out : Path
        New or empty folder, or that of an interrupted call; sub-folders are created as for the images.
    method : SegmentationMethod
    pixel_size : PixelSize, optional
        Pixel size of all images. Default: as stored in a file, else estimated from red cells, jointly for images of the
        same size.
    strict : bool
        Return no cells for images with any quality flag.
    crops : bool
        Also write each cell as a picture of its own, `crops/<image without suffix>-<cell>.png`, and list these in
        `crops/manifest.csv`, which `datasets.read_dataset` reads.
    for_excel : bool
        Write tables with the byte order mark by which spreadsheets recognise UTF-8.
    engine : Engine, optional
        Segments the images; `engine.Threads` unless given.
    resume : bool
        Continue an interrupted call; the tables are the same as those of an uninterrupted one.
    progress : Progress

    Returns
    -------
    Segmented

    Raises
    ------
    RunError
        If `out` is not empty, or was started with another recipe and is to be resumed.
    """
    settings: dict[str, Setting] = {
        "method": f"{method.name} {method.digest}",
        "pixel_size": None if pixel_size is None else pixel_size.um_per_px,
        "strict": strict,
    }
    settings |= {"crops": True} if crops else {}
    work = partial(_segmented, method=method, pixel_size=pixel_size, strict=strict, crops=crops)
    with opened_store(out, _recipe(settings), resume=resume) as store:
        contents = contents_of(records)
        if store.finished_with is not None:
            store.require_same_images(contents.digest)
            return _read(out)
        images = _kept_images(records, contents, store, work, engine or Threads(), progress)
        segmented = _tables(images, store)
        failed = {failure.image for failure in segmented.failures}
        usable = [image for image in images.usable if image.record.image not in failed]
        for image in usable:
            for name in PICTURES:
                store.write_picture(image.key, name, out / f"{image.stem}_{name}.png")
        if crops:
            write_crops(out, usable, segmented.cells, segmented.images, store, for_excel=for_excel)
        write_table(out / "images.csv", segmented.images, for_excel=for_excel)
        write_table(out / "cells.csv", segmented.cells, for_excel=for_excel)
        if segmented.failures:
            write_failures(out / "failures.csv", segmented.failures)
        store.finish(contents.digest)
    return segmented


def write_first_waves(
    records: Sequence[Record],
    out: Path,
    *,
    engine: Engine | None = None,
    resume: bool = False,
    progress: Progress = silent,
) -> tuple[Failure, ...]:
    """Write, for each image, its first spike wave and its latencies, at the image's own size.

    `<image without suffix>_first_wave.png` holds 255 where a pixel spikes first, else 0;
    `<image without suffix>_latency.png` holds 255 for the first spike time, 17 less for each later one, and 0 for
    silent pixels.

    Parameters
    ----------
    records, out, engine, resume, progress
        As of `segment_images`.

    Returns
    -------
    tuple of Failure
        The images that could not be used.

    Raises
    ------
    RunError
        As of `segment_images`.
    """
    with opened_store(out, _recipe({"method": "first-wave"}), resume=resume) as store:
        contents = contents_of(records)
        if store.finished_with is not None:
            store.require_same_images(contents.digest)
            return read_failures(out)
        images = _kept_images(records, contents, store, _first_wave, engine or Threads(), progress)
        for image in images.usable:
            for name in first_wave.PICTURES:
                store.write_picture(image.key, name, out / f"{image.stem}_{name}.png")
        if images.failures:
            write_failures(out / "failures.csv", images.failures)
        store.finish(contents.digest)
    return images.failures


@dataclass(frozen=True)
class _Images:
    """All images, in their order."""

    usable: tuple[StoredImage, ...]
    failures: tuple[Failure, ...]


def _recipe(settings: dict[str, Setting]) -> Recipe:
    """Say what decides the results."""
    return Recipe("segment", metadata.version("leukospike"), settings)


def _segmented(
    picture: Picture, *, method: SegmentationMethod, pixel_size: PixelSize | None, strict: bool, crops: bool
) -> SegmentedImage:
    """Segment one picture, draw the outlines, and cut out the cells."""
    size = pixel_size or stored_pixel_size(picture)
    found = segment_pixels("", picture.pixels, method.segmenter, pixel_size=size, strict=strict)
    pictures = {
        "mask": found.mask,
        "labels": found.instances.labels.astype(np.uint16),
        "overlay": overlay(picture.pixels, found.mask, found.instances),
    }
    made = crops_of(picture, found) if crops else ()
    return SegmentedImage(pictures, ImageFacts.of(picture, found), found.measures, made)


def _first_wave(picture: Picture) -> SegmentedImage:
    """Compute the spikes of one picture as in the original."""
    return SegmentedImage(first_wave.wave_pictures(picture.pixels), None)


def _kept_images(
    records: Sequence[Record],
    contents: Contents,
    store: Store,
    work: Callable[[Picture], SegmentedImage],
    engine: Engine,
    progress: Progress,
) -> _Images:
    """Process all images that are not stored yet."""
    names: set[str] = set()
    stems = [output_stem(record.image, names) for record in records]
    refused = {
        record.image: failure
        for record, stem in zip(records, stems, strict=True)
        if (failure := name_failure(record.image, stem)) is not None
    }
    wanted = [place for place, record in enumerate(records) if record.image not in refused]
    failures = keep_missing(
        [records[place] for place in wanted],
        replace(contents, keys=tuple(contents.keys[place] for place in wanted)),
        store,
        work,
        store.keep_segmented,
        engine=engine,
        stage="segment",
        progress=progress,
    )
    # An unreadable image is reported as such, whatever its name.
    failures = refused | failures
    return _Images(
        tuple(
            StoredImage(record, key, stem)
            for record, key, stem in zip(records, contents.keys, stems, strict=True)
            if record.image not in failures
        ),
        tuple(failures[record.image] for record in records if record.image in failures),
    )


def _tables(images: _Images, store: Store) -> Segmented:
    """Combine all images; those of one camera share a pixel size."""
    facts: list[ImageFacts] = []
    cells: list[pd.DataFrame] = []
    names: list[str] = []
    failures = {failure.image: failure for failure in images.failures}
    for image in images.usable:
        about, measures = store.segmented(image.key)
        name = image.record.image
        if about is None or len(measures) > _MOST_CELLS:
            failures[name] = _too_many(name, len(measures))
            continue
        names.append(name)
        facts.append(about)
        cells.append(cell_table(name, measures))
    agreed = agreed_pixel_sizes([about.pixel_size for about in facts], [about.frame for about in facts])
    rows: list[dict[str, object]] = []
    for name, about, table, size in zip(names, facts, cells, agreed, strict=True):
        if size is None or about.pixel_size == size or _is_same(about.pixel_size, size):
            rows.append({"image": name} | about.row(about.pixel_size))
            continue
        rows.append({"image": name} | about.row(size))
        areas = table["area_px"].to_numpy(np.float64) * size.um_per_px**2
        table["area_um2"] = np.round(areas, 2)
        table["diameter_um"] = np.round(2 * np.sqrt(areas / np.pi), 2)
    # Tables without a row would make columns of numbers columns of objects.
    filled = [table for table in cells if len(table)]
    return Segmented(
        pd.DataFrame(rows, columns=pd.Index(IMAGE_COLUMNS)).astype(IMAGE_COLUMN_TYPES),
        pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=pd.Index(CELL_COLUMNS)),
        tuple(failures.values()),
    )


def _is_same(own: PixelSize | None, agreed: PixelSize) -> bool:
    """Tell whether two sizes are formatted alike."""
    return own is not None and (round(own.um_per_px, 5), own.source) == (round(agreed.um_per_px, 5), agreed.source)


def _too_many(image: str, n_cells: int) -> Failure:
    """Refuse more cells than the labels can number: noise, or a pixel size at which specks count as cells."""
    reason = (
        f"image must have at most {_MOST_CELLS} cells, got {n_cells}. Check the image and its pixel size"
        " (--pixel-size)."
    )
    return Failure(image, reason)


def _read(out: Path) -> Segmented:
    """Read the tables of a finished folder."""
    images = read_figures(out / "images.csv", text=_TEXT_OF_IMAGES, required=IMAGE_COLUMNS)
    cells = read_figures(out / "cells.csv", text=("image",), required=CELL_COLUMNS)
    whole = [name for name in ("cells", "rejected", "red_cells") if name in images]
    return Segmented(images.astype(dict.fromkeys(whole, "Int64")), cells, read_failures(out))
