"""Networks on cells cut out: on their measurements, on their colours, or from the library timm."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageOps

from leukospike.classification import CROP_PX, ClassifierTraining, LabelledCells, cell_crop, train_classifier
from leukospike.classification.appearance_learning import AppearanceTraining, appearances, train_appearance
from leukospike.classification.cell_model import CellBackbone, CellModel, save_cell_model
from leukospike.classification.network_input import seen
from leukospike.classification.timm_network import TimmNetwork
from leukospike.errors import ImageError
from leukospike.experiments.systems.system import SPLIT_COPIES, FoldResult, Part
from leukospike.images import Picture
from leukospike.images.framing import C_NMC_FRAMING, view_of
from leukospike.learning.chance import undrawn
from leukospike.learning.history import EpochRecord
from leukospike.original.preprocessing import Augmentation
from leukospike.segmentation import segment_pixels
from leukospike.segmentation.class_maps import read_classes
from leukospike.segmentation.crop import crop_cell
from leukospike.segmentation.network import default_segmenter
from leukospike.settings import APPEARANCE, Protocol, RunConfig, timm_name

_MOST_CELLS = 2  # whole ones in a picture of a single cell: a neighbour may lie beside it
_SMALLEST_PX = 8  # diameter of a cell in its crop, where C-NMC's have 50
_LARGEST_SHARE = 0.8  # of the picture: the crop leaves out its outermost 33 pixels of 450


class CropFrontEnd:
    """Crops of 96 pixels, the cell cut out on black, at the scale at which its picture shows it.

    A picture of a cell on black is resized to 450 pixels. In any other picture, the cell in the middle is segmented and
    cut out so that it takes up the same share of the 450 pixels as of its own picture, but at most 0.8, which is what
    the crop shows.
    """

    shape = (CROP_PX, CROP_PX, 3)
    dtype = np.dtype(np.uint8)

    def __init__(self) -> None:
        self._segmenter = partial(read_classes, default_segmenter())

    def settings(self) -> dict[str, object]:
        """Return the side of the crops."""
        return {"crop_px": CROP_PX}

    def see(self, picture: Picture) -> UInt8[np.ndarray, "96 96 3"]:
        """Cut out the cell of a picture.

        Raises
        ------
        ImageError
            If the picture shows a whole field, has no white cell, or is almost entirely black.
        """
        side = C_NMC_FRAMING.side_px
        if view_of(picture).cell_share is None:
            return cell_crop(self._cut_out(picture))
        pixels = picture.pixels
        if pixels.shape[:2] != (side, side):
            pixels = np.asarray(ImageOps.pad(Image.fromarray(pixels), (side, side), Image.Resampling.BICUBIC))
        crop = cell_crop(pixels)
        if np.count_nonzero(seen(crop)) < np.pi * (_SMALLEST_PX / 2) ** 2:
            rule, got = "image must show a cell", "one that is almost entirely black"
            raise ImageError(rule, got=got, advice="Check the image, and leave it out.")
        return crop

    def _cut_out(self, picture: Picture) -> UInt8[np.ndarray, "450 450 3"]:
        """Cut out the cell in the middle, on black."""
        found = segment_pixels("", picture.pixels, self._segmenter)
        if found.whole_cells > _MOST_CELLS:
            rule, got = "image must show a single cell", f"a field with {found.whole_cells} cells"
            raise ImageError(rule, got=got, advice="Cut out its cells or leave it out.")
        number = found.middle_cell
        if number is None:
            flagged = f" ({', '.join(found.flags)})" if found.flags else ""
            rule, got = "image must show a white cell", f"none{flagged}"
            raise ImageError(rule, got=got, advice="Check the image, and leave it out.")
        area = int(np.count_nonzero(found.instances.labels == number))
        share = 2 * float(np.sqrt(area / np.pi)) / max(picture.pixels.shape[:2])
        return crop_cell(
            found.light.correct(picture.pixels),
            found.instances,
            number,
            replace(C_NMC_FRAMING, cell_share=min(share, _LARGEST_SHARE)),
        )

    def changed(
        self, seen: UInt8[np.ndarray, "n 96 96 3"], augmentation: Augmentation
    ) -> UInt8[np.ndarray, "n 96 96 3"]:
        """Mirror, rotate, zoom and shift crops."""
        channels = [augmentation.apply(torch.from_numpy(seen[..., channel]).float()) for channel in range(3)]
        return torch.stack(channels, dim=-1).round().clamp(0, 255).byte().numpy()


class CellSystem:
    """Any backbone except the original, on cells cut out.

    Parameters
    ----------
    config : RunConfig

    Raises
    ------
    ConfigError
        If its timm backbone is unavailable.
    """

    validates = False
    flaws = (SPLIT_COPIES,)

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self.front = CropFrontEnd()
        self.copies = config.augmented_copies if config.protocol is Protocol.PAPER else 0
        self._timm = timm_name(config.backbone)
        if self._timm is not None:
            # Fail on a missing extra before the images are read.
            with undrawn():
                TimmNetwork(self._timm, pretrained=config.pretrained)
        self._appearances: Float[np.ndarray, "items appearances"] | None = None

    def run_fold(self, part: Part) -> FoldResult:
        """Train on the fold's crops, save the networks, and score."""
        seen, train, test = part.prepared.seen, part.fold.train, part.fold.test
        crops = np.array(seen[train])
        cells = LabelledCells(crops, part.items.labels[train], part.items.subjects[train].tolist())
        networks, history = self._trained(part, cells, train)
        model = CellModel(self._config.backbone, networks)
        with part.stages.timed("score"):
            probabilities = model.probabilities(np.array(seen[test]))
        save_cell_model(model, part.weights)
        return FoldResult(probabilities, history)

    def _trained(
        self, part: Part, cells: LabelledCells, places: Int[np.ndarray, " n"]
    ) -> tuple[tuple[CellBackbone, ...], Sequence[EpochRecord]]:
        """Train the backbone."""
        config, seed = self._config, self._config.seed + part.number
        if config.backbone == APPEARANCE:
            known = self._measured(part)[places]
            how = AppearanceTraining(
                epochs=config.epochs, batch_size=config.batch_size, learning_rate=config.learning_rate, seed=seed
            )
            with part.stages.timed("train"):
                return train_appearance(cells, how, known=known, progress=part.progress), ()
        how = ClassifierTraining(
            epochs=config.epochs,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            seed=seed,
            augmentation=0.0,  # measured on C-NMC, variation of stain and light costs more than it gains
            timm=self._timm,
            pretrained=config.pretrained,
        )
        with part.stages.timed("train"):
            trained = train_classifier(cells, how, checkpoint=part.checkpoint, progress=part.progress)
        return (trained.network,), trained.history

    def _measured(self, part: Part) -> Float[np.ndarray, "items appearances"]:
        """Measure all crops once: the measurements of a crop depend on no other."""
        if self._appearances is None:
            with part.stages.timed("measure cells"):
                self._appearances = appearances(np.array(part.prepared.seen))
        return self._appearances

    def samples(
        self,
        weights: Path,  # noqa: ARG002 - as of all systems
        pictures: UInt8[np.ndarray, "n rows columns 3"],  # noqa: ARG002
        seen: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """Show the crops."""
        return {"crops": seen}
