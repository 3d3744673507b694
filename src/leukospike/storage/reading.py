"""Strict reading of result files: missing or changed content is reported, never guessed.

Functions raise `RunError`; `where` names the caller in the error.
"""

import csv
import io
import json
import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from leukospike.errors import RunError
from leukospike.storage.tables import restored


def unusable(path: Path, where: str, reason: str) -> RunError:
    """Build the error for a file with invalid content."""
    rule = f"{path.name} must be as leukospike wrote it"
    got = f"{path} ({' '.join(reason.split())[:300]})"
    return RunError(rule, where=where, got=got, advice="Create the folder again.")


def read_text(path: Path, where: str) -> str:
    """Read a UTF-8 file, with or without a byte order mark; a missing one is named in the error."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise missing(path, where) from error
    except (OSError, UnicodeDecodeError) as error:
        raise unusable(path, where, str(error)) from error


def read_json(path: Path, where: str) -> dict[str, Any]:
    """Read a JSON object."""
    try:
        content = json.loads(read_text(path, where))
    except (ValueError, RecursionError) as error:  # also for a number of thousands of digits, or too deep a nest
        raise unusable(path, where, str(error)) from error
    if not isinstance(content, dict):
        raise unusable(path, where, "not a JSON object")
    return content


def read_table(
    path: Path, where: str, *, text: Sequence[str] = (), numbers: Sequence[str] = (), optional: Sequence[str] = ()
) -> pd.DataFrame:
    """Read a CSV file that has at least the named columns.

    Columns of numbers, and optional ones if present, are float64, with NaN for empty fields; all others are text.
    """
    columns = read_columns(path, where, (*text, *numbers))
    as_numbers = {*numbers, *optional}
    try:
        return pd.DataFrame(
            {
                name: np.array([float(value) if value else math.nan for value in values], np.float64)
                if name in as_numbers
                else np.array([*map(restored, values)], str)
                for name, values in columns.items()
            }
        )
    except ValueError as error:
        raise unusable(path, where, str(error)) from error


def read_columns(path: Path, where: str, required: Sequence[str]) -> dict[str, list[str]]:
    """Read the columns of a CSV file as they stand in it; those that are required must be there."""
    # Not with pandas' own reader, which would turn a subject called "007" or "NA" into something else.
    content = read_text(path, where)
    try:
        rows = list(csv.DictReader(io.StringIO(content, newline=""), restval=""))
        header = next(csv.reader(io.StringIO(content, newline="")), [])
    except csv.Error as error:
        raise unusable(path, where, str(error)) from error
    if missing := [name for name in required if name not in header]:
        raise unusable(path, where, f"no column {', '.join(missing)}")
    return {name: [row[name] for row in rows] for name in header}


def read_arrays(path: Path, where: str, names: Sequence[str], *, optional: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Read named arrays from an .npz file, never pickled objects; optional ones if present."""
    if not path.exists():
        raise missing(path, where)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in (*names, *(name for name in optional if name in arrays))}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise unusable(path, where, str(error)) from error


def missing(path: Path, where: str) -> RunError:
    """Build the error for a missing file."""
    return RunError(
        f"folder must hold {path.name}",
        where=where,
        got=f"{path.parent} without it",
        advice="Finish it with `resume`, or pass the right folder.",
    )


def flattened(content: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    """Turn nested tables, as of a TOML file, into one with dotted names.

    Examples
    --------
    >>> flattened({"seed": 0, "data": {"name": "C-NMC 2019"}})
    {'seed': 0, 'data.name': 'C-NMC 2019'}
    """
    flat: dict[str, object] = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
