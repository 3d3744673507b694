"""Cell to probability.

`network_input` converts a cell to a standard form, `network` scores it, `augmentation` imitates other laboratories, and
`learning` trains.
"""

from leukospike.classification.augmentation import augmented
from leukospike.classification.cells import LabelledCells
from leukospike.classification.learning import ClassifierTraining, train_classifier
from leukospike.classification.network import EMBEDDING, CellNetwork, Input, colours_of
from leukospike.classification.network_input import CROP_PX, cell_crop

__all__ = [
    "CROP_PX",
    "EMBEDDING",
    "CellNetwork",
    "ClassifierTraining",
    "Input",
    "LabelledCells",
    "augmented",
    "cell_crop",
    "colours_of",
    "train_classifier",
]
