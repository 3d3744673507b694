"""Public image sets and the user's own, as records with a label and a subject where known."""

from leukospike.datasets.check import DataCheck, Table, check_dataset, check_tables
from leukospike.datasets.collect import Found, collect_images, find_images, read_any, read_path
from leukospike.datasets.fetch import SOURCES, fetch
from leukospike.datasets.layouts import read_dataset, read_datasets
from leukospike.datasets.records import DataSet, Record

__all__ = [
    "SOURCES",
    "DataCheck",
    "DataSet",
    "Found",
    "Record",
    "Table",
    "check_dataset",
    "check_tables",
    "collect_images",
    "fetch",
    "find_images",
    "read_any",
    "read_dataset",
    "read_datasets",
    "read_path",
]
