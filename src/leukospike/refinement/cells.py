"""The user's cells as an analysis sees them, and what the networks measure of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, UInt8

from leukospike.analysis.engine import Engine, Threads
from leukospike.analysis.judges import FineView, diameters_um
from leukospike.analysis.keeping import is_large
from leukospike.analysis.reading import CellSize, ReadImage, read_image
from leukospike.classification.appearance_learning import appearances
from leukospike.classification.classifier import Classifier, ensemble
from leukospike.classification.kind_input import as_smear, coarse_crop
from leukospike.classification.kind_learning import KindTraining, told_diameters, views_of
from leukospike.classification.kind_refinement import KnownCells, inputs_of
from leukospike.classification.network import colours_of, pixels_of
from leukospike.datasets import Record
from leukospike.datasets.decoding import decoded
from leukospike.errors import DataError
from leukospike.experiments.splits import linked_groups
from leukospike.failures import Failure
from leukospike.images import Picture, pixel_digest
from leukospike.jobs import Progress, silent
from leukospike.refinement.labels import LabelledCell
from leukospike.segmentation.methods import SegmentationMethod
from leukospike.settings import Kind

_BATCH = 64


@dataclass(frozen=True)
class OwnCells:
    """The cells that could be read, in their order."""

    cells: tuple[LabelledCell, ...]
    pixels: UInt8[np.ndarray, "n 192 192 3"]
    """As `kind_input.cell_pixels` keeps them."""
    given: Bool[np.ndarray, " n"]
    """Whether the picture came cut out on black."""
    diameter_um: Float32[np.ndarray, " n"]
    """NaN where it is not known."""
    groups: Int64[np.ndarray, " n"]
    """Number of the subject, or of the image where no subject is known; those that share an image are one."""
    failures: tuple[Failure, ...]
    generated: bool
    """Whether any was drawn by `leukospike smears`."""

    @property
    def kinds(self) -> Int64[np.ndarray, " n"]:
        """Places of the kinds in `kinds.KINDS`."""
        return np.array([cell.kind.place for cell in self.cells], np.int64)


def read_cells(
    cells: Sequence[LabelledCell],
    method: SegmentationMethod,
    *,
    engine: Engine | None = None,
    progress: Progress = silent,
) -> OwnCells:
    """Read images of single cells as an analysis does: a picture on black as it is, else the cell in its middle.

    Parameters
    ----------
    cells : sequence of LabelledCell
    method : SegmentationMethod
    engine : Engine, optional
        Reads the images; `engine.Threads` unless given.
    progress : Progress

    Returns
    -------
    OwnCells

    Raises
    ------
    DataError
        If none can be used.
    """
    by_image = {cell.record.image: cell for cell in cells}
    failures: list[Failure] = []
    usable: list[LabelledCell] = []
    pixels: list[np.ndarray] = []
    sizes: list[CellSize | None] = []
    digests: list[str] = []
    generated, done = False, 0

    def pictures() -> Iterator[tuple[Record, Picture]]:
        nonlocal done
        for record, result in decoded([cell.record for cell in cells]):
            if isinstance(result, Picture):
                yield record, result
            else:
                failures.append(Failure(record.image, str(result)))
                done += 1

    def read(item: tuple[Record, Picture]) -> ReadImage:
        return read_image(item[1], method.segmenter, FineView(), kind=Kind.CELL)

    for (record, picture), found in (engine or Threads()).map(read, pictures(), alone=is_large):
        if found.cells[0].is_blank:
            reason = "image must show a white cell in its middle, got none that was found. Cut it out around the cell."
            failures.append(Failure(record.image, reason))
        else:
            usable.append(by_image[record.image])
            pixels.append(found.seen[0])
            sizes.append(found.cells[0].size)
            digests.append(pixel_digest(picture.pixels))
            generated |= picture.generated
        done += 1
        progress("read cells", done, len(cells))
    if not usable:
        msg, first = "images must show white cells", failures[0]
        raise DataError(
            msg, where="read_cells", got=f"none (first {first.image}: {first.reason})", advice="Check them."
        )
    subjects = [cell.source if cell.record.subject is None else cell.record.subject for cell in usable]
    order = {image: place for place, image in enumerate(by_image)}
    return OwnCells(
        cells=tuple(usable),
        pixels=np.stack(pixels),
        given=np.array([size is None for size in sizes], bool),
        # As measured where the cell was cut out of its image, else as the manifest has them.
        diameter_um=np.where(
            [size is None for size in sizes], [cell.diameter_um for cell in usable], diameters_um(sizes)
        ).astype(np.float32),
        groups=linked_groups(subjects, digests),
        failures=tuple(sorted(failures, key=lambda failure: order[failure.image])),
        generated=generated,
    )


def known_cells(
    own: OwnCells, classifier: Classifier, config: KindTraining, *, progress: Progress = silent
) -> tuple[KnownCells, Float[np.ndarray, " n"]]:
    """Measure cells, each shown as it is and in some other ways, and ask for the second opinion where there is one.

    Parameters
    ----------
    own : OwnCells
    classifier : Classifier
    config : KindTraining
    progress : Progress

    Returns
    -------
    cells : KnownCells
        The other views are told a rough size or none, as in the training of what ships.
    second : ndarray of shape (n,)
        Log odds of a lymphoblast by the measures; NaN for cells that do not look as C-NMC shows them.
    """
    shown, sizes, at_home = _shown(own)
    views = views_of(shown, classifier.network, config, progress=progress)
    rng = np.random.default_rng((config.seed, 2))
    told = np.concatenate([sizes, told_diameters(sizes[views.owner[len(sizes) :]], rng)])
    cells = KnownCells(inputs_of(classifier.network, views, told), views.owner, own.kinds, own.groups)
    second = np.full(len(sizes), np.nan)
    if at_home.any():
        crops = np.stack([coarse_crop(cell) for cell in own.pixels[at_home]])
        second[at_home] = ensemble(classifier.measures, appearances(crops))[0]
    return cells, second


def _shown(own: OwnCells) -> tuple[UInt8[np.ndarray, "n 192 192 3"], Float32[np.ndarray, " n"], np.ndarray]:
    """Return what `kind_input.as_smear` returns of all cells."""
    shown, sizes, at_home = own.pixels.copy(), own.diameter_um.copy(), np.zeros(len(own.pixels), bool)
    for first in range(0, len(shown), _BATCH):
        part = slice(first, first + _BATCH)
        colours, by_scale, here = as_smear(
            colours_of(torch.from_numpy(own.pixels[part])),
            torch.from_numpy(own.given[part]),
            torch.from_numpy(own.diameter_um[part]),
        )
        shown[part], sizes[part], at_home[part] = pixels_of(colours).numpy(), by_scale.numpy(), here.numpy()
    return shown, sizes, at_home
