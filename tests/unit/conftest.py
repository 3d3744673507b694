"""What the tests of explanations share: drawn cells, and networks that learned to tell their kinds apart."""

import numpy as np
import pytest

from leukospike.classification.appearance_learning import AppearanceTraining, appearances, train_appearance
from leukospike.classification.cells import LabelledCells
from leukospike.classification.classifier import Classifier, ensemble, fit_confidence
from leukospike.classification.network_input import cell_crop
from leukospike.classification.source import reference_of
from leukospike.confidence import fit_mahalanobis
from leukospike.smears import CellKind, draw_cell, subject_style


@pytest.fixture(scope="session")
def drawn_cells() -> LabelledCells:
    """Draw six cells of each of four leukemic and four healthy subjects."""
    crops, labels, subjects = [], [], []
    for subject in range(8):
        style = subject_style(np.random.default_rng(subject))
        kind = CellKind.LYMPHOBLAST if subject % 2 else CellKind.LYMPHOCYTE
        for number in range(6):
            rng = np.random.default_rng((subject, number))
            crops.append(cell_crop(draw_cell(kind, style, rng, size_px=450).pixels))
            labels.append(subject % 2)
            subjects.append(f"subject {subject}")
    return LabelledCells(np.stack(crops), np.array(labels), subjects)


@pytest.fixture(scope="session")
def drawn_classifier(drawn_cells: LabelledCells) -> Classifier:
    """Train on all of them; how well it would do on others is of no matter here."""
    networks = train_appearance(drawn_cells, AppearanceTraining(epochs=40, batch_size=16, networks=2))
    measures = appearances(drawn_cells.crops)
    scores, embedding = ensemble(networks, measures)
    distance = fit_mahalanobis(embedding, drawn_cells.labels)
    subjects = np.array(drawn_cells.subjects)
    return Classifier(
        networks=networks,
        confidence=fit_confidence(scores, distance.distances(embedding), drawn_cells.labels, subjects),
        distance=distance,
        reference=reference_of(drawn_cells.crops, drawn_cells.labels),
        card={},
    )
