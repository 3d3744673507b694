"""The interface of a system: its input for a fold, and its output."""

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, UInt8

from leukospike.experiments.preparation import FrontEnd, Prepared
from leukospike.experiments.splits import Fold
from leukospike.jobs import Progress
from leukospike.learning.history import EpochRecord
from leukospike.notices import Notice, Severity

SPLIT_COPIES = Notice("split_copies", "Augmented copies of one image are on both sides of the split.", Severity.WARNING)
"""Flaw of the protocol `paper`, which splits augmented copies like separate images."""


@dataclass
class Stages:
    """Seconds of each stage, summed over folds and over the parts of an interrupted run."""

    seconds: dict[str, float] = field(default_factory=dict[str, float])

    @contextmanager
    def timed(self, stage: str) -> Generator[None]:
        """Add the seconds taken by the block to those of a stage."""
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


@dataclass(frozen=True)
class Items:
    """The items to split: the images, followed by their augmented copies."""

    labels: Int[np.ndarray, " items"]
    subjects: np.ndarray
    digests: tuple[str, ...]
    image: Int[np.ndarray, " items"]
    """Index of the item's image in the list of images."""
    copy: Int[np.ndarray, " items"]
    """0: the image itself."""

    @classmethod
    def of(cls, prepared: Prepared, copies: int) -> "Items":
        """List images and the given number of copies in the order of `Prepared.seen`."""
        n = len(prepared.records)
        image = np.tile(np.arange(n), 1 + copies)
        labels = np.array([record.label for record in prepared.records], np.int64)
        # Without subjects, each image is its own group.
        subjects = np.array([record.image if record.subject is None else record.subject for record in prepared.records])
        return cls(labels[image], subjects[image], prepared.digests, image, np.repeat(np.arange(1 + copies), n))


@dataclass(frozen=True)
class Part:
    """One fold, with everything a system needs to train on it and to score its test items."""

    number: int
    fold: Fold
    prepared: Prepared
    items: Items
    weights: Path
    """Path of the model."""
    checkpoint: Path
    """Path of the training checkpoint."""
    stages: Stages
    progress: Progress


@dataclass(frozen=True)
class FoldResult:
    """Results of a fold."""

    probabilities: Float[np.ndarray, " n_test"]
    """Of its test items."""
    history: Sequence[EpochRecord]
    explained_variance_ratio: Float[np.ndarray, " components"] | None = None
    """Of the components, where there are any."""


@runtime_checkable
class System(Protocol):
    """Trains on the training items of a fold, and scores the test items."""

    @property
    def front(self) -> FrontEnd:
        """Return the front end that converts each image to a network input."""
        ...

    @property
    def copies(self) -> int:
        """Return the number of augmented copies prepared for each image."""
        ...

    @property
    def validates(self) -> bool:
        """Tell whether training uses validation items; if not, they are used for training."""
        ...

    @property
    def flaws(self) -> tuple[Notice, ...]:
        """List the flaws of the protocol `paper` with this system, apart from those of the split."""
        ...

    def run_fold(self, part: Part) -> FoldResult:
        """Train, save the model, and score."""
        ...

    def samples(
        self, weights: Path, pictures: UInt8[np.ndarray, "n rows columns 3"], seen: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Show a few cells at each step before the network.

        Parameters
        ----------
        weights : Path
            The model of a fold.
        pictures : ndarray of shape (n, rows, columns, 3)
            RGB, uint8, 0-255.
        seen : ndarray of shape (n, ...)
            Outputs of the front end.

        Returns
        -------
        dict of str to ndarray of shape (n, ...)
        """
        ...
