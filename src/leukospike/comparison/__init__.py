"""Comparison of two runs, cell by cell: which is better, whether it may be chance, and where they disagree.

`pairs` finds the cells that both tested, `findings` compares their predictions, `figures` draws the comparison, and
`report` writes it.
"""

from leukospike.comparison.findings import Comparison, compare_runs
from leukospike.comparison.report import comparison_tables, write_comparison

__all__ = ["Comparison", "compare_runs", "comparison_tables", "write_comparison"]
