"""What research leaves: tables on the terminal; their numbers, and what is too dear to compute twice, in a folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.tables import machine_line, table

__all__ = ["RESULTS", "machine_line", "save", "table"]

RESULTS = Path("research-results")
"""Also of trained networks, and of what they said of each image: hours of work, which `make clean` leaves alone."""


def save(name: str, results: Mapping[str, Any]) -> None:
    """Write results, with the machine, to research-results/NAME.json."""
    tables.save(name, results, folder=RESULTS)
