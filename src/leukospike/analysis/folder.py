"""The files of a finished analysis: names, writing and reading."""

import json
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import UInt8

from leukospike.analysis.reading import THUMBNAIL_PX
from leukospike.analysis.summary import Summary
from leukospike.analysis.tables import (
    DIFFERENTIAL_COLUMNS,
    FIRST_COLUMNS,
    IMAGE_TABLE_COLUMNS,
    LEFT_OUT,
    POSTERIOR_COLUMNS,
    SUBJECT_COLUMNS,
    WHOLE_MEASURES,
    Tables,
)
from leukospike.failures import Failure, write_failures
from leukospike.storage.files import write_text, written_whole
from leukospike.storage.reading import missing, read_columns, read_json, unusable
from leukospike.storage.tables import restored, write_table

SUMMARY = "summary.json"
"""Written last: the sign of a finished analysis."""

OVERLAYS = "overlays"
"""Folder of the fields with numbered outlines."""

THUMBNAILS = "thumbnails.npz"

DIFFERENTIAL = "differential.csv"
"""The differential of each subject, if the judge tells kinds and there are subjects."""

_TEXT_OF_CELLS = ("image", "subject", "decision", "kind", "set", "flags")
_TEXT_OF_SUBJECTS = ("subject", "decision", "reason")
_TEXT_OF_IMAGES = (
    "image",
    "subject",
    "kind",
    "flags",
    "advice",
    "scale_from",
    "pixel_size_from",
    "scaled_by",
    "overlay",
)
_WHOLE_OF_IMAGES = ("cells", "counted", "leukemic", "rejected")
_WHERE = "load_analysis"
_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class AnalysisFolder:
    """Writes an analysis to a folder."""

    path: Path

    def write(self, tables: Tables, failures: Sequence[Failure], *, with_images: bool, for_excel: bool) -> None:
        """Write the tables, each atomically; existing files are replaced."""
        write_table(self.path / "cells.csv", tables.cells, for_excel=for_excel)
        write_table(self.path / "subjects.csv", tables.subjects, for_excel=for_excel)
        if len(tables.differential):
            write_table(self.path / DIFFERENTIAL, tables.differential, for_excel=for_excel)
        if with_images:
            write_table(self.path / "images.csv", tables.images, for_excel=for_excel)
        if failures:
            write_failures(self.path / "failures.csv", failures)

    def write_summary(self, summary: Summary) -> None:
        """Write the summary, which marks the analysis as finished."""
        write_text(self.path / SUMMARY, json.dumps(summary.to_json(), indent=1))

    @property
    def is_finished(self) -> bool:
        """Whether everything has been written."""
        return (self.path / SUMMARY).is_file()

    def write_thumbnails(
        self,
        images: Sequence[str],
        cells: Sequence[int],
        thumbnails: Iterable[UInt8[np.ndarray, "n 64 64 3"]],
    ) -> None:
        """Write small pictures of all cells, image by image, so that those of only one image are in memory.

        Parameters
        ----------
        images : sequence of str
            The image of each cell.
        cells : sequence of int
            Number of each cell in its image; 0 if it has none.
        thumbnails : iterable of ndarray of shape (n, 64, 64, 3), uint8
            All cells', in their order.
        """
        shape = (len(images), THUMBNAIL_PX, THUMBNAIL_PX, 3)
        with written_whole(self.path / THUMBNAILS) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as file:
            for name, array in (("images", np.array(images, dtype=str)), ("cells", np.array(cells, dtype=np.int64))):
                with file.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
            with file.open("thumbnails.npy", "w", force_zip64=True) as member:
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(member, header)
                for pictures in thumbnails:
                    member.write(np.ascontiguousarray(pictures).tobytes())

    def thumbnails(self, cells: Sequence[tuple[str, int]]) -> list[UInt8[np.ndarray, "side side 3"] | None]:
        """Read the small pictures of some cells, given by image and number; None for those without one.

        Raises
        ------
        RunError
            If the file cannot be read.
        """
        found: dict[tuple[str, int], np.ndarray] = {}
        wanted = set(cells)
        try:
            with np.load(self.path / THUMBNAILS, allow_pickle=False) as arrays:
                images = arrays["images"].tolist()
                # Version 0.1.0 did not number cells.
                numbers = arrays["cells"].tolist() if "cells" in arrays else [0] * len(images)
            with zipfile.ZipFile(self.path / THUMBNAILS) as file, file.open("thumbnails.npy") as member:
                for cell, picture in zip(zip(images, numbers, strict=True), _pictures(member), strict=True):
                    if cell in wanted:
                        found[cell] = picture
        except FileNotFoundError as error:
            raise missing(self.path / THUMBNAILS, _WHERE) from error
        except _DAMAGE as error:
            raise unusable(self.path / THUMBNAILS, _WHERE, str(error)) from error
        return [found.get(cell) for cell in cells]


def _pictures(member: Any) -> Iterator[UInt8[np.ndarray, "side side 3"]]:  # noqa: ANN401 - an open file
    """Read the pictures of an array file one by one."""
    version = np.lib.format.read_magic(member)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, kind = read_header(member)
    if fortran or kind != np.uint8 or len(shape) != 4 or shape[3] != 3 or max(shape[1:3]) > 1024:
        msg = f"images of type {kind} and shape {shape}"
        raise ValueError(msg)
    size = int(np.prod(shape[1:]))
    for place in range(shape[0]):
        content = member.read(size)
        if len(content) != size:
            msg = f"{place} images instead of {shape[0]}"
            raise ValueError(msg)
        yield np.frombuffer(content, np.uint8).reshape(shape[1:])


def read_summary(folder: Path) -> Summary:
    """Read `summary.json`.

    Raises
    ------
    RunError
        If it is missing or invalid.
    """
    path = folder / SUMMARY
    content = read_json(path, _WHERE)
    try:
        return Summary.from_json(content)
    except _DAMAGE as error:
        raise unusable(path, _WHERE, f"{type(error).__name__}: {error}") from error


def read_tables(folder: Path, summary: Summary) -> Tables:
    """Read the tables of a finished analysis.

    Parameters
    ----------
    folder : Path
    summary : Summary

    Returns
    -------
    Tables
        As `tables.tabulate` returned them. `images` has no rows if nothing was segmented.

    Raises
    ------
    RunError
        If one is missing or invalid.
    """
    cells = read_figures(folder / "cells.csv", text=_TEXT_OF_CELLS, required=(*FIRST_COLUMNS, "flags"))
    cells = cells.astype({name: "Int64" for name in WHOLE_MEASURES if name in cells})
    cells["subject"] = cells["subject"].replace("", None)
    for name in ("kind", "set"):
        if name in cells:
            cells[name] = cells[name].astype(object).mask(cells["probability"].isna(), np.nan)
    # The package's classifier returns more columns for subjects than the networks of a run.
    posterior = () if summary.model.card is None else POSTERIOR_COLUMNS
    subjects = read_figures(
        folder / "subjects.csv", text=_TEXT_OF_SUBJECTS, required=(*SUBJECT_COLUMNS, *posterior, "decision")
    )
    counts = [name for name in ("cells", "counted", *LEFT_OUT, "leukemic") if name in subjects]
    subjects = subjects.astype(dict.fromkeys(counts, "int64"))
    images = pd.DataFrame(columns=pd.Index(IMAGE_TABLE_COLUMNS))
    if (folder / "images.csv").exists():
        images = read_figures(
            folder / "images.csv", text=_TEXT_OF_IMAGES, required=("image", "subject", "kind", "cells")
        )
        images = images.astype({name: "Int64" for name in (*_WHOLE_OF_IMAGES, "red_cells") if name in images})
        images["subject"] = images["subject"].replace("", None)
        images = images.reindex(columns=pd.Index(dict.fromkeys([*IMAGE_TABLE_COLUMNS, *images])))
    if not (folder / DIFFERENTIAL).exists():
        return Tables(cells, images, subjects)
    counted = read_figures(folder / DIFFERENTIAL, text=("subject", "kind"), required=DIFFERENTIAL_COLUMNS)
    return Tables(cells, images, subjects, counted.astype({"cells": "int64", "white": "bool"}))


def read_figures(path: Path, *, text: Sequence[str], required: Sequence[str]) -> pd.DataFrame:
    """Read a table of figures: all columns except text are numbers, and their empty cells are missing values."""
    columns = read_columns(path, _WHERE, required)
    try:
        return pd.DataFrame(
            {name: [*map(restored, values)] if name in text else _numbers(values) for name, values in columns.items()},
            columns=pd.Index([*columns]),
        )
    except ValueError as error:
        raise unusable(path, _WHERE, str(error)) from error


def _numbers(values: Sequence[str]) -> list[float] | pd.Series:
    """Read a column of numbers or of truth values."""
    if set(values) <= {"True", "False", ""} and any(values):
        return pd.Series([None if not value else value == "True" for value in values], dtype="boolean")
    return [float(value) if value else float("nan") for value in values]
