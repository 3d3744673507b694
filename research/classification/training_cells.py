"""`python -m research.classification.training_cells [ANALYSIS]`: what explanations compare a cell with.

ANALYSIS is the folder that `leukospike analyze` leaves of C-NMC's training cells: what the segmenter measures of them
is taken from its cells.csv, so that it is measured as on any other cell. Without it, these measures are left out.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from leukospike.classification.classifier import Classifier, default_classifier
from leukospike.classification.explanation import Explainer, save_explainer
from leukospike.classification.kinds import KINDS
from leukospike.classification.morphology import MorphologyReference, morphology
from leukospike.classification.neighbours import TrainingIndex
from research.classification.data import cohort
from research.classification.kind_data import C_NMC, everything
from research.classification.kind_scores import axes_of
from research.classification.laboratories import LABORATORIES, WITH_OBJECTS, cells_of, objects_of

SHIPPED = Path("src/leukospike/classification/training_cells.safetensors")


def main() -> int:
    """Fit it for the classifier that ships."""
    parser = argparse.ArgumentParser(prog="python -m research.classification.training_cells", description=__doc__)
    parser.add_argument("analysis", type=Path, metavar="ANALYSIS", nargs="?")
    analysis: Path | None = parser.parse_args().analysis
    measured = None if analysis is None else pd.read_csv(analysis / "cells.csv")
    classifier = default_classifier()
    save_explainer(Explainer(classifier, index(classifier), reference(measured)), SHIPPED)
    print(f"{SHIPPED}, {SHIPPED.stat().st_size / 1e3:.0f} kB")
    return 0


def index(classifier: Classifier) -> TrainingIndex:
    """List all cells of known kind, by the axes of the classifier's network."""
    whole, home = everything(), cohort()
    places = np.flatnonzero(whole.cells.kinds >= 0)
    laboratories = np.array(sources())
    # Only C-NMC tells whose cells are whose.
    subjects = np.array([*home.subjects.tolist(), *[""] * (len(laboratories) - len(home.subjects))])
    return TrainingIndex.fit(
        axes_of(classifier.network)[places],
        images=[Path(image).stem for image in whole.images[places].tolist()],
        subjects=subjects[places].tolist(),
        kinds=[KINDS[kind].value for kind in whole.cells.kinds[places].tolist()],
        laboratories=laboratories[places].tolist(),
    )


def sources() -> list[str]:
    """Return the laboratory of each cell of `kind_data.everything`, of red cells and artefacts too."""
    names = [C_NMC] * len(cohort().images)
    for name in LABORATORIES:
        names += [name] * len(cells_of(name).kind)
    for name in WITH_OBJECTS:
        names += [name] * len(objects_of(name).kind)
    return names


def reference(measured: pd.DataFrame | None) -> MorphologyReference:
    """Return the places of C-NMC's cells by their morphology."""
    home = cohort()
    known: dict[str, dict[str, float]] = {}
    if measured is not None:
        # A file is named after its subject and cell; the folders above depend on what the analysis was given.
        stems = [Path(image).stem for image in measured["image"]]
        pairs = measured[["nc_ratio", "circularity"]].to_numpy().tolist()
        known = {
            stem: {"nc_ratio": nc_ratio, "circularity": circularity}
            for stem, (nc_ratio, circularity) in zip(stems, pairs, strict=True)
        }
    told = [
        morphology(measures, known.get(Path(image).stem, {}))
        for measures, image in zip(home.appearances, home.images, strict=True)
    ]
    return MorphologyReference.fit(told, home.cells.labels.tolist())


if __name__ == "__main__":
    sys.exit(main())
