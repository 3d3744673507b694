"""The original system: z-score and principal components of the spike maps, and the network of 31 layers."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from leukospike.experiments.systems.system import SPLIT_COPIES, FoldResult, Part
from leukospike.images import luma
from leukospike.images.framing import framing_of
from leukospike.notices import Notice, Severity
from leukospike.original.components import FittedComponents, fit_components
from leukospike.original.front_end import SpikeFrontEnd
from leukospike.original.model import FittedModel, load_model, network_probabilities, save_model
from leukospike.original.preprocessing import Normalisation
from leukospike.original.training import ProjectedCells, TrainingConfig, train_network
from leukospike.settings import Protocol, RunConfig
from leukospike.spikes import latency_map

_LARGEST_SHOWN_PX = 512
_PROJECTED = 512  # maps at a time


class PaperSystem:
    """Spikes, components, 31 layers.

    Under the protocol `paper`, z-score and components are fitted once on all items; otherwise on the training part of
    each fold.

    Parameters
    ----------
    config : RunConfig
    """

    validates = True
    flaws = (
        SPLIT_COPIES,
        Notice(
            "fitted_on_all",
            "The z-score and the principal components are fitted on all images, test images included.",
            Severity.WARNING,
        ),
        Notice("rate_by_test", "The learning rate follows the accuracy on the test images.", Severity.WARNING),
        Notice(
            "wrong_formulas",
            "The published precision uses the formula of specificity, and the published area under the curve is"
            " computed from decisions instead of probabilities; both are shown here as published and corrected.",
            Severity.WARNING,
        ),
    )

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self.front = SpikeFrontEnd(config.image_size, config.blur_window)
        self.copies = config.augmented_copies
        self._shared: tuple[Normalisation, FittedComponents] | None = None

    def run_fold(self, part: Part) -> FoldResult:
        """Fit components, train the network on the projections, and score."""
        config, fold, maps = self._config, part.fold, part.prepared.seen
        normalisation, components = self._fitted(part)

        def projected(places: np.ndarray) -> ProjectedCells:
            chunks = [places[first : first + _PROJECTED] for first in range(0, len(places), _PROJECTED)]
            coordinates = [components.project(normalisation.apply(maps[chunk])) for chunk in chunks]
            empty = np.zeros((0, len(components.basis)), np.float32)
            return ProjectedCells(np.concatenate([empty, *coordinates]), part.items.labels[places])

        with part.stages.timed("project"):
            train, validation, test = projected(fold.train), projected(fold.validation), projected(fold.test)
        settings = TrainingConfig(
            epochs=config.epochs,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            hidden_units=config.hidden_units,
            seed=config.seed + part.number,
        )
        with part.stages.timed("train"):
            training = train_network(
                train, validation, components, settings, checkpoint=part.checkpoint, progress=part.progress
            )
        with part.stages.timed("score"):
            probabilities = network_probabilities(training.network, components, test.coordinates)
        shown = framing_of([part.prepared.views[place] for place in np.unique(part.items.image[fold.train])])
        model = FittedModel(
            config.image_size,
            config.blur_window,
            config.hidden_units,
            normalisation,
            components,
            training.network,
            shown,
        )
        save_model(model, part.weights)
        return FoldResult(probabilities, training.history, components.explained_variance_ratio)

    def _fitted(self, part: Part) -> tuple[Normalisation, FittedComponents]:
        """Return z-score and components for a fold."""
        if self._config.protocol is not Protocol.PAPER:
            return self._fit(part, part.fold.train)
        if self._shared is None:
            self._shared = self._fit(part, np.arange(len(part.items.labels)))
        return self._shared

    def _fit(self, part: Part, places: np.ndarray) -> tuple[Normalisation, FittedComponents]:
        """Fit z-score and components on the given items only."""
        part.progress("fit PCA", 0, 1)
        with part.stages.timed("PCA"):
            chosen = part.prepared.seen[places]
            normalisation = Normalisation.fit(chosen)
            n_components = min(self._config.n_components, len(chosen), chosen[0].size)
            components = fit_components(normalisation.apply(chosen), n_components=n_components, seed=self._config.seed)
        part.progress("fit PCA", 1, 1)
        return normalisation, components

    def samples(
        self, weights: Path, pictures: UInt8[np.ndarray, "n rows columns 3"], seen: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Show spike times, the first wave, the map, and its reconstruction from the components."""
        grey = torch.from_numpy(np.stack([luma(picture) for picture in pictures]))[:, None]
        latency = _first_of_blocks(latency_map(grey).latency.numpy())
        return {
            "latency": latency,
            "first_wave": (latency == 0).astype(np.uint8),
            "prepared": seen,
            "reconstructed": load_model(weights).reconstructions(seen),
        }


def _first_of_blocks(latency: np.ndarray) -> np.ndarray:
    """Shrink latency maps of whole fields for display: the first spike of each block of pixels is kept."""
    step = -(-max(latency.shape[1:]) // _LARGEST_SHOWN_PX)
    rows, columns = (length // step * step for length in latency.shape[1:])
    blocks = latency[:, :rows, :columns].reshape(len(latency), rows // step, step, columns // step, step)
    return blocks.min(axis=(2, 4))
