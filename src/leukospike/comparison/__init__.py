"""Two runs, cell by cell: which is better, whether chance could have done it, and where they disagree.

`pairs` finds the cells that both have tested, `findings` compares what was said of them, `figures` draws it, and
`report` writes it down.
"""

from leukospike.comparison.findings import Comparison, compare_runs
from leukospike.comparison.report import comparison_tables, write_comparison

__all__ = ["Comparison", "compare_runs", "comparison_tables", "write_comparison"]
