"""The tables of an analysis as arrays, for its pages."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from leukospike.analysis.flags import NOT_COUNTED
from leukospike.analysis.result import Analysis
from leukospike.analysis.summary import Summary
from leukospike.report.drawing import Columns
from leukospike.settings import Kind


@dataclass(frozen=True)
class AnalysisColumns:
    """An analysis as arrays by column: text is str, numbers are float64, missing values are empty or NaN."""

    analysis: Analysis

    @property
    def summary(self) -> Summary:
        """Its overall figures."""
        return self.analysis.summary

    @cached_property
    def cells(self) -> Columns:
        """The cells in their order."""
        columns = columns_of(self.analysis.cells)
        if "cell" not in columns:  # without a segmenter, as in version 0.1.0, cells are not numbered
            columns["cell"] = np.zeros(len(self.analysis.cells))
        return columns | {"cell": np.nan_to_num(columns["cell"]).astype(np.int64)}

    @cached_property
    def subjects(self) -> Columns:
        """The subjects."""
        return columns_of(self.analysis.subjects)

    @property
    def scored(self) -> Columns:
        """The cells that have a probability, highest first."""
        order = np.argsort(-self.cells["probability"], kind="stable")
        order = order[np.isfinite(self.cells["probability"][order])]
        return {name: column[order] for name, column in self.cells.items()}

    @property
    def counted(self) -> Columns:
        """The scored cells that are neither outliers nor cut off at the border of a field."""
        return self._marked(NOT_COUNTED, wanted=False)

    @property
    def not_counted(self) -> Columns:
        """The other scored cells."""
        return self._marked(NOT_COUNTED, wanted=True)

    def _marked(self, flags: frozenset[str], *, wanted: bool) -> Columns:
        """Return the scored cells that have any of the flags, or those that have none."""
        cells = self.scored
        marked = np.array([bool(flags & set(own.split())) for own in cells["flags"].tolist()], dtype=bool)
        return {name: column[marked == wanted] for name, column in cells.items()}

    @cached_property
    def fields(self) -> Columns:
        """The images that are whole fields."""
        images = columns_of(self.analysis.images)
        chosen = np.flatnonzero(images["kind"] == Kind.FIELD.value)
        return {name: column[chosen] for name, column in images.items()}


def columns_of(table: pd.DataFrame) -> Columns:
    """Turn a table into arrays."""
    return {
        str(name): (
            column.astype(float).to_numpy(np.float64, na_value=np.nan)
            if _is_numeric(column)
            else column.astype(object).where(column.notna(), "").to_numpy(str)
        )
        for name, column in table.items()
    }


def _is_numeric(column: pd.Series) -> bool:
    """Tell whether a column holds numbers; beside missing values they may lie there as objects."""
    return pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.infer_dtype(column, skipna=True) in {
        "floating",
        "integer",
        "mixed-integer-float",
    }


def failure_columns(analysis: Analysis) -> Columns:
    """Turn failures into arrays."""
    return {
        "image": np.array([failure.image for failure in analysis.failures], dtype=str),
        "reason": np.array([failure.reason for failure in analysis.failures], dtype=str),
    }


def rows_of(table: Columns) -> list[dict[str, Any]]:
    """Turn a table's columns into its rows."""
    return [
        dict(zip(table, row, strict=True)) for row in zip(*(column.tolist() for column in table.values()), strict=True)
    ]
