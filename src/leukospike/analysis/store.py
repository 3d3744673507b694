"""The store: the only place that knows the files of `analyze` and `segment` while they run.

Each finished image is stored at once, in `state/`, under the digest of its file's content; `recipe.json` records how
images are processed. Interrupted work therefore continues where it stopped, and ends with the same tables. When all
results are written, `state/` is removed.
"""

import hashlib
import json
import shutil
import zipfile
import zlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image

from leukospike.analysis.crops import Crop
from leukospike.analysis.reading import CellSize, ReadCell, ReadImage
from leukospike.errors import RunError
from leukospike.segmentation import CellMeasures, PixelSize
from leukospike.segmentation.facts import ImageFacts
from leukospike.settings import Kind
from leukospike.storage.files import locked, new_folder, remove_leftovers, write_text, written_whole

RECIPE = "recipe.json"
"""Everything that determines the results, except the images."""

STATE = "state"
"""Folder of the results of single images until everything is done."""

_READ_BYTES = 1 << 20
_MOST_READ = 1 << 30  # no image that is read is larger
_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error)

Setting = str | float | bool | None


@dataclass(frozen=True)
class Recipe:
    """Everything that determines how an image is processed; a folder holds the results of one recipe."""

    verb: str
    """``analyze`` or ``segment``."""
    version: str
    """Of this package."""
    settings: Mapping[str, Setting]
    """By their names as arguments; digests of weights among them."""

    def to_json(self) -> dict[str, object]:
        """Return the recipe in terms of JSON."""
        return {"verb": self.verb, "version": self.version, "settings": dict(self.settings)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Recipe":
        """Read what `to_json` returned."""
        return cls(str(content["verb"]), str(content["version"]), dict(content["settings"]))

    def difference(self, other: "Recipe") -> str | None:
        """Describe the first difference between `other` and this recipe, or return None."""
        if self.verb != other.verb:
            return f"the command {other.verb} instead of {self.verb}"
        if self.version != other.version:
            return f"version {other.version} instead of {self.version}"
        for name in dict.fromkeys([*self.settings, *other.settings]):
            # A flag that came with a later version is recorded only where it is set.
            mine, theirs = self.settings.get(name, False), other.settings.get(name, False)
            if mine != theirs:
                return f"`{name}` {str(theirs)[:40]} instead of {str(mine)[:40]}"
        return None


@dataclass(frozen=True)
class SegmentedImage:
    """Results of `segment` for one image."""

    pictures: Mapping[str, UInt8[np.ndarray, "..."] | UInt16[np.ndarray, "..."]]
    """By the end of their file names, such as "mask"."""
    facts: ImageFacts | None
    """None of a method that finds no cells, as the next."""
    measures: tuple[CellMeasures, ...] = ()
    crops: tuple[Crop, ...] = ()
    """The cells as pictures of their own, if requested."""


@dataclass(frozen=True)
class KeptCrop:
    """A kept picture of a cell, see `crops.Crop`."""

    cell: int
    is_of_image: bool


@dataclass(frozen=True)
class KeptImage:
    """One image read by `analyze`; its pictures stay in the store until needed."""

    kind: Kind
    cells: tuple[ReadCell, ...]
    is_generated: bool
    scaled_by: str
    facts: ImageFacts | None
    path: Path
    """Of what is kept of it."""

    @property
    def seen(self) -> np.ndarray:
        """What the judge keeps of each cell, of shape (cells, ...)."""
        return _array(self.path, "seen")

    @property
    def thumbnails(self) -> UInt8[np.ndarray, "cells 64 64 3"]:
        """A small picture of each cell."""
        return _array(self.path, "thumbnails")


class Store:
    """Stored results of the images of one folder; created by `opened_store`.

    Parameters
    ----------
    folder : Path
        Of the results.
    recipe : Recipe
    finished_with : str, optional
        Digest of the images of which all results are written.
    """

    def __init__(self, folder: Path, recipe: "Recipe", finished_with: str | None = None) -> None:
        self.folder, self._recipe = folder, recipe
        self.finished_with = finished_with
        """Digest of the images of which all results are written; None until then."""
        self._state = folder / STATE
        self._kept = {path.stem for path in self._state.glob("*.npz")}

    def __contains__(self, key: str) -> bool:
        """Whether an image of this content is kept."""
        return key in self._kept

    @property
    def is_empty(self) -> bool:
        """Whether no image is kept."""
        return not self._kept

    def keep_read(self, key: str, image: ReadImage) -> None:
        """Store what `analyze` read of an image."""
        facts = {
            "kind": image.kind.value,
            "is_generated": image.is_generated,
            "scaled_by": image.scaled_by,
            "facts": None if image.facts is None else asdict(image.facts),
            "cells": [asdict(cell) for cell in image.cells],
        }
        arrays = {"seen": image.seen, "thumbnails": image.thumbnails}
        arrays |= {} if image.overlay is None else {"overlay": _png(image.overlay)}
        self._keep(key, facts, arrays, image.crops)

    def keep_segmented(self, key: str, image: SegmentedImage) -> None:
        """Store the results of `segment` for an image."""
        facts = {
            "facts": None if image.facts is None else asdict(image.facts),
            "measures": [asdict(cell) for cell in image.measures],
        }
        self._keep(key, facts, {name: _png(pixels) for name, pixels in image.pictures.items()}, image.crops)

    def _keep(
        self, key: str, facts: Mapping[str, object], arrays: Mapping[str, np.ndarray], crops: Sequence[Crop]
    ) -> None:
        """Write the results of one image atomically."""
        facts = {**facts, "crops": [asdict(KeptCrop(crop.cell, crop.is_of_image)) for crop in crops]}
        arrays = {**arrays} | {_crop_name(crop.cell): np.frombuffer(crop.png, np.uint8) for crop in crops}
        said = np.frombuffer(json.dumps(facts).encode(), np.uint8)
        with written_whole(self._path(key)) as part:
            np.savez(part, allow_pickle=False, about=said, **arrays)
        self._kept.add(key)

    def read(self, key: str) -> KeptImage:
        """Return the stored results of an image that `analyze` read.

        Raises
        ------
        RunError
            If it cannot be read, as also by the methods below.
        """
        path = self._path(key)
        with _as_kept(path):
            said = json.loads(_array(path, "about").tobytes())
            return KeptImage(
                kind=Kind(said["kind"]),
                cells=tuple(_read_cell(cell) for cell in said["cells"]),
                is_generated=bool(said["is_generated"]),
                scaled_by=str(said["scaled_by"]),
                facts=None if said["facts"] is None else _image_facts(said["facts"]),
                path=path,
            )

    def segmented(self, key: str) -> tuple[ImageFacts | None, tuple[CellMeasures, ...]]:
        """Return the stored results of `segment` for an image, except its pictures."""
        path = self._path(key)
        with _as_kept(path):
            said = json.loads(_array(path, "about").tobytes())
            facts = None if said["facts"] is None else _image_facts(said["facts"])
            return facts, tuple(CellMeasures(**cell) for cell in said["measures"])

    def write_picture(self, key: str, name: str, path: Path) -> None:
        """Write a stored picture to `path`, a PNG file, atomically."""
        encoded = _array(self._path(key), name)
        with written_whole(path) as part:
            part.write_bytes(encoded.tobytes())

    def write_crops(self, key: str, folder: Path, stem: str) -> dict[str, KeptCrop]:
        """Write the stored pictures of an image's cells, one at a time, each atomically.

        Parameters
        ----------
        key : str
            Of the image.
        folder : Path
            Created if there is a picture.
        stem : str
            Beginning of their names; then follow a hyphen and the number of the cell.

        Returns
        -------
        dict of str to KeptCrop
            By path relative to `folder`, in their order.
        """
        written: dict[str, KeptCrop] = {}
        for crop, encoded in _crops(self._path(key)):
            name = f"{stem}-{crop.cell}.png"
            with written_whole(folder / name) as part:
                part.write_bytes(encoded)
            written[name] = crop
        return written

    def require_same_images(self, digest: str) -> None:
        """Refuse images that differ from those of a finished folder.

        Raises
        ------
        RunError
            If they are others.
        """
        if self.finished_with != digest:
            msg = "`resume` must be used with the images of the first call"
            advice = "Choose another folder for these images."
            got = f"others than those that {self.folder} was finished with"
            raise RunError(msg, where=self._recipe.verb, got=got, advice=advice)

    def finish(self, digest: str) -> None:
        """Mark the results as complete, and remove the stored images."""
        _write_recipe(self.folder, self._recipe, digest)
        shutil.rmtree(self._state, ignore_errors=True)
        self._kept = set()
        self.finished_with = digest

    def _path(self, key: str) -> Path:
        """Return the path of a stored image."""
        return self._state / f"{key}.npz"


@contextmanager
def opened_store(folder: Path, recipe: Recipe, *, resume: bool) -> Generator[Store]:
    """Open and lock a folder of results.

    Parameters
    ----------
    folder : Path
        New or empty; or, to resume, that of an interrupted call with the same recipe.
    recipe : Recipe
    resume : bool

    Yields
    ------
    Store
        After an error the folder keeps finished results; a new folder without any is removed.

    Raises
    ------
    RunError
        If the folder is not empty and is not to be resumed, is to be resumed with another recipe, or is in use by
        another process.
    """
    where = recipe.verb
    if resume:
        finished_with = _read_same(folder, recipe)
        with locked(folder, where=where):
            remove_leftovers(folder)
            yield Store(folder, recipe, finished_with)
        return
    if (folder / RECIPE).exists():
        msg = "`out` must be a new folder"
        advice = "Add `resume` to continue it, or choose another name."
        raise RunError(msg, where=where, got=f"{folder}, which already holds results", advice=advice)
    is_new = not folder.exists()
    new_folder(folder, where=where)
    try:
        with locked(folder, where=where):
            new_folder(folder, where=where)  # the previous holder of the lock may have filled it
            remove_leftovers(folder)
            _write_recipe(folder, recipe, None)
            store = Store(folder, recipe)
            try:
                yield store
            except BaseException:
                if store.is_empty and not _has_results(folder):
                    (folder / RECIPE).unlink(missing_ok=True)
                    shutil.rmtree(folder / STATE, ignore_errors=True)
                raise
    except BaseException:
        if is_new:
            with suppress(OSError):  # it holds finished results
                folder.rmdir()
        raise


def content_key(path: Path) -> str | None:
    """Return the digest of the content of a file, SHA-256, by which results are kept.

    Parameters
    ----------
    path : Path

    Returns
    -------
    str or None
        None if it is not a readable file, such as a pipe, which would block.
    """
    digest = hashlib.sha256()
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            left = _MOST_READ
            while left > 0 and (block := file.read(_READ_BYTES)):
                digest.update(block)
                left -= len(block)
            digest.update(str(path.stat().st_size).encode())
    except OSError:
        return None
    return digest.hexdigest()


def _has_results(folder: Path) -> bool:
    """Tell whether a folder holds more than the recipe."""
    return any(path.name not in {RECIPE, STATE} and not path.name.startswith(".") for path in folder.iterdir())


def _write_recipe(folder: Path, recipe: Recipe, finished_with: str | None) -> None:
    """Write the recipe, and whether everything is done."""
    write_text(folder / RECIPE, json.dumps(recipe.to_json() | {"finished_with": finished_with}, indent=1))


def _read_same(folder: Path, recipe: Recipe) -> str | None:
    """Refuse to resume a missing folder or another recipe; return the digest it was finished with."""
    where = recipe.verb
    try:
        content = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
        begun, finished_with = Recipe.from_json(content), content["finished_with"]
    except _DAMAGE as error:
        msg = "`resume` must be used with the folder of an interrupted call"
        advice = "Leave out `resume` to start again."
        raise RunError(msg, where=where, got=f"{folder}, which holds none", advice=advice) from error
    if (other := begun.difference(recipe)) is not None:
        msg = "`resume` must be used with the settings of the first call"
        advice = "Repeat the first call and add `resume`, or choose another folder."
        raise RunError(msg, where=where, got=f"{other} for {folder}", advice=advice)
    return finished_with


@contextmanager
def _as_kept(path: Path) -> Generator[None]:
    """Raise an error if stored results were changed or damaged."""
    try:
        yield
    except _DAMAGE as error:
        if isinstance(error, RunError):
            raise
        reason = " ".join(str(error).split())[:160]
        msg = "stored results of an image must be unchanged"
        advice = "Remove this file and run the command again."
        raise RunError(msg, got=f"{path} changed or damaged ({reason})", advice=advice) from error


def _crop_name(cell: int) -> str:
    """Return the name of the array that holds the picture of a cell."""
    return f"crop_{cell}"


def _crops(path: Path) -> Iterator[tuple[KeptCrop, bytes]]:
    """Read the stored pictures of the cells of an image one by one."""
    with _as_kept(path), path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        for said in json.loads(arrays["about"].tobytes())["crops"]:
            crop = KeptCrop(int(said["cell"]), bool(said["is_of_image"]))
            yield crop, arrays[_crop_name(crop.cell)].tobytes()


def _array(path: Path, name: str) -> np.ndarray:
    """Read one stored array."""
    with _as_kept(path), path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return arrays[name]


def _png(pixels: np.ndarray) -> UInt8[np.ndarray, " bytes"]:
    """Encode a picture of 8 or 16 bits a value as PNG."""
    buffer = BytesIO()
    # Level 1: measured, five times as fast as the default for a tenth more bytes; runs alone: fewer of both.
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return np.frombuffer(buffer.getvalue(), np.uint8)


def _image_facts(said: Mapping[str, Any]) -> ImageFacts:
    """Read the facts of an image."""
    values: dict[str, Any] = {**said, "pixel_size": _pixel_size(said["pixel_size"])}
    for name in ("frame", "light", "flags"):
        values[name] = None if said[name] is None else tuple(said[name])
    return ImageFacts(**values)


def _pixel_size(said: Mapping[str, Any] | None) -> PixelSize | None:
    """Read the size of a pixel."""
    if said is None:
        return None
    values: dict[str, Any] = {**said, "interval": None if said["interval"] is None else tuple(said["interval"])}
    return PixelSize(**values)


def _read_cell(said: Mapping[str, Any]) -> ReadCell:
    """Read what is known of a cell."""
    size = None
    if said["size"] is not None:
        rows, columns = said["size"]["frame"]
        size = CellSize(said["size"]["diameter_px"], _pixel_size(said["size"]["pixel_size"]), (rows, columns))
    measures = None if said["measures"] is None else CellMeasures(**said["measures"])
    return ReadCell(bool(said["is_blank"]), tuple(said["flags"]), size, measures)
