"""All cells with kinds, of all laboratories, and the folds and laboratories that are left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from sklearn.model_selection import GroupKFold

from leukospike.classification.kind_input import as_smear
from leukospike.classification.kind_learning import SOME_MATURE
from leukospike.classification.kinds import CellKind
from leukospike.classification.network import colours_of, pixels_of
from leukospike.segmentation import PixelSize
from leukospike.segmentation.scale import agreed_pixel_sizes
from research.classification.data import FOLDS, cohort, folds
from research.classification.laboratories import LABORATORIES, WHITE, WITH_OBJECTS, Found, cells_of, objects_of, of_cnmc

SEED = 0
_BATCH = 64

C_NMC = "c-nmc"
OBJECTS = "objects"
"""Red cells, platelets and artefacts of laboratories whose white cells have no kinds."""

OF_NO_KIND = ("bccd", "raabin")
"""Laboratories whose white cells have no kinds."""

OUTSIDE = ("chula", "tecom", "cellavision", "pbc")
"""Laboratories that are left out in turn."""


@dataclass(frozen=True)
class KindCells:
    """Cells with their kinds."""

    pixels: UInt8[np.ndarray, "n rows columns 3"]
    """As `kind_input.cell_pixels` keeps them; those with C-NMC's look as `kind_input.like_a_smear` shows them."""
    kinds: Int64[np.ndarray, " n"]
    """Places in `kinds.KINDS`; `SOME_MATURE` where no more is known."""
    laboratories: Sequence[str]
    subjects: Sequence[str]
    """Cells of one subject or image; where nothing is known, each cell by itself."""
    diameter_um: Float32[np.ndarray, " n"]
    """NaN where it is not known."""


@dataclass(frozen=True)
class Everything:
    """Cells of all laboratories; those of C-NMC first, in the order of `data.cohort`."""

    cells: KindCells
    """The white cells of bccd and raabin, of healthy people as far as is known, are `SOME_MATURE`."""
    fold: np.ndarray
    """Of `FOLDS`: of C-NMC by groups of subjects, of the others by image."""
    images: np.ndarray

    def of(self, laboratory: str) -> np.ndarray:
        """Return the places of a laboratory's cells."""
        return np.flatnonzero(np.asarray(self.cells.laboratories) == laboratory)

    def train_places(self, held: tuple[int, ...], without: str = "") -> np.ndarray:
        """Return the places of cells that lie in no held fold and come from another laboratory."""
        own = np.asarray(self.cells.laboratories)
        return np.flatnonzero(~np.isin(self.fold, held) & (own != without))


@cache
def everything() -> Everything:
    """Put all laboratories together."""
    home = cohort()
    given = of_cnmc()
    shown = np.empty_like(given)
    diameters = np.empty(len(given), np.float32)
    for at in range(0, len(given), _BATCH):
        part = slice(at, at + _BATCH)
        colours = colours_of(torch.from_numpy(np.array(given[part])))
        given_so, unknown = torch.ones(len(colours), dtype=torch.bool), torch.full((len(colours),), torch.nan)
        smeared, by_scale, _ = as_smear(colours, given_so, unknown)
        shown[part], diameters[part] = pixels_of(smeared).numpy(), by_scale.numpy()
    pixels = [shown]
    kinds = [np.where(home.cells.labels == 1, CellKind.LYMPHOBLAST.place, CellKind.PRECURSOR.place)]
    fold = [folds(home.cells.labels, home.groups, SEED)]
    sizes = [diameters]
    laboratories, subjects, images = [C_NMC] * len(given), home.groups.tolist(), list(home.images)
    for name, found in [(name, cells_of(name)) for name in LABORATORIES] + [
        (OBJECTS, objects_of(name)) for name in WITH_OBJECTS
    ]:
        pixels.append(found.pixels)
        kinds.append(np.array([SOME_MATURE if kind == WHITE else CellKind(kind).place for kind in found.kind.tolist()]))
        groups = np.unique(found.image, return_inverse=True)[1]
        number = np.empty(len(groups), np.int64)
        for place, (_, test) in enumerate(
            GroupKFold(FOLDS, shuffle=True, random_state=SEED).split(groups, groups=groups)
        ):
            number[test] = place
        fold.append(number)
        sizes.append(diameters_of(found))
        # The few artefacts of a set whose white cells have no kinds are no laboratory of their own.
        is_object = (kinds[-1] >= 0) & (name in WITH_OBJECTS)
        laboratories += np.where(is_object, OBJECTS, name).tolist()
        subjects += found.image.tolist()
        images += found.image.tolist()
    cells = KindCells(
        np.concatenate(pixels),
        np.concatenate(kinds).astype(np.int64),
        laboratories,
        subjects,
        np.concatenate(sizes).astype(np.float32),
    )
    return Everything(cells, np.concatenate(fold), np.array(images))


def diameters_of(found: Found) -> np.ndarray:
    """Return diameters in micrometres, by the pixel sizes that images of one size agree on."""
    sizes = [
        PixelSize(float(um), "red cells", None, int(n)) if np.isfinite(um) else None
        for um, n in zip(found.um_per_px, found.red_cells, strict=True)
    ]
    agreed = agreed_pixel_sizes(sizes, [(int(rows), int(columns)) for rows, columns in found.frame])
    um_per_px = np.array([np.nan if size is None else size.um_per_px for size in agreed])
    return found.diameter_px * um_per_px
