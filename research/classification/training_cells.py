"""`python -m research.classification.training_cells ANALYSIS`: what explanations compare a cell with.

ANALYSIS is the folder that `leukospike analyze` leaves of the training cells: what the segmenter measures of them is
taken from its cells.csv, so that it is measured as on any other cell.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd
import torch

from leukospike.classification.classifier import Classifier, default_classifier
from leukospike.classification.explanation import Explainer, save_explainer
from leukospike.classification.morphology import MorphologyReference, morphology
from leukospike.classification.neighbours import TrainingIndex
from research.classification.data import Cohort, cohort

SHIPPED = Path("src/leukospike/classification/training_cells.safetensors")


def main() -> int:
    """Fit it for the classifier that ships."""
    parser = argparse.ArgumentParser(prog="python -m research.classification.training_cells", description=__doc__)
    parser.add_argument("analysis", type=Path, metavar="ANALYSIS")
    measured = pd.read_csv(parser.parse_args().analysis / "cells.csv")
    save_explainer(explainer(default_classifier(), cohort(), measured), SHIPPED)
    print(f"{SHIPPED}, {SHIPPED.stat().st_size / 1e6:.2f} MB")
    return 0


def explainer(classifier: Classifier, cells: Cohort, measured: pd.DataFrame | None = None) -> Explainer:
    """Put together what is known of all cells."""
    labels = cells.cells.labels.tolist()
    index = TrainingIndex.fit(
        classifier.networks[0].standardised(torch.from_numpy(cells.appearances)).numpy(),
        images=[Path(image).stem for image in cells.images],
        subjects=cells.subjects.tolist(),
        labels=labels,
    )
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
        for measures, image in zip(cells.appearances, cells.images, strict=True)
    ]
    return Explainer(classifier, index, MorphologyReference.fit(told, labels))


if __name__ == "__main__":
    sys.exit(main())
