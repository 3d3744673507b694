"""Public image sets and the user's own, as records that carry label and subject, or say that there is none."""

from leukospike.datasets.layouts import read_dataset, read_datasets
from leukospike.datasets.records import DataSet, Record

__all__ = [
    "DataSet",
    "Record",
    "read_dataset",
    "read_datasets",
]
