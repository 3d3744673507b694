"""What the tests of the classifier and its explanations share: drawn cells, and a classifier that learned from them."""

import numpy as np
import pytest

from leukospike.classification.appearance_learning import AppearanceTraining, train_appearance
from leukospike.classification.cells import LabelledCells
from leukospike.classification.classifier import Classifier, Confidence, default_classifier
from leukospike.classification.kind_input import cell_pixels, coarse_crop
from leukospike.classification.kind_learning import KindTraining, fit_kinds, views_of
from leukospike.classification.kinds import KINDS, CellKind
from leukospike.confidence import SubjectModel, fit_mahalanobis
from leukospike.confidence.blend import Blend
from leukospike.confidence.kind_sets import KindThresholds
from leukospike.smears import CellKind as DrawnKind
from leukospike.smears import draw_cell, subject_style

SUBJECTS, CELLS_EACH = 8, 6


@pytest.fixture(scope="session")
def drawn_pixels() -> np.ndarray:
    """Draw six cells of each of four healthy and four leukemic subjects, in turns, as the classifier keeps cells."""
    pixels = []
    for subject in range(SUBJECTS):
        style = subject_style(np.random.default_rng(subject))
        kind = DrawnKind.LYMPHOBLAST if subject % 2 else DrawnKind.LYMPHOCYTE
        for number in range(CELLS_EACH):
            rng = np.random.default_rng((subject, number))
            pixels.append(cell_pixels(draw_cell(kind, style, rng, size_px=450).pixels))
    return np.stack(pixels)


@pytest.fixture(scope="session")
def drawn_cells(drawn_pixels: np.ndarray) -> LabelledCells:
    """Return the crops of the same cells, with label and subject."""
    subjects = np.arange(SUBJECTS).repeat(CELLS_EACH)
    return LabelledCells(
        np.stack([coarse_crop(cell) for cell in drawn_pixels]),
        subjects % 2,
        [f"subject {subject}" for subject in subjects],
    )


@pytest.fixture(scope="session")
def drawn_classifier(drawn_pixels: np.ndarray, drawn_cells: LabelledCells) -> Classifier:
    """Fit on all of them; how well it would do on others is of no matter here."""
    kinds = np.where(drawn_cells.labels == 1, CellKind.LYMPHOBLAST.place, CellKind.LYMPHOCYTE.place)
    n = len(kinds)
    body = default_classifier().network
    views = views_of(drawn_pixels, body, KindTraining(views=1))
    sizes = np.full(n, 12, np.float32)
    network = fit_kinds(views, kinds, np.full(n, 1 / n), sizes, np.arange(n), KindTraining(), body=body)
    axes = (views.features[:n] - network.centre.numpy()) @ network.axes.numpy()
    return Classifier(
        network=network,
        measures=train_appearance(drawn_cells, AppearanceTraining(epochs=40, batch_size=16, networks=2)),
        distance=fit_mahalanobis(axes, kinds),
        confidence=Confidence(
            at_home=Blend((0.5, 0.5), 0.0, 0.5),
            elsewhere=Blend((0.8,), 0.1, 0.5),
            sets=KindThresholds(0.1, (0.2,) * len(KINDS)),
            subjects=SubjectModel(threshold=0.5, rate_mature=0.02, rate_normal=0.1, rate_leukemic=0.9, precision=10.0),
            outlier_distance=15.0,
        ),
        card={"what": "learned from drawn cells"},
    )
