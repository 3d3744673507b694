"""What a run or an analysis found, as one HTML file that a hematology researcher can read."""

from leukospike.report.analyses import write_analysis_report
from leukospike.report.pages import write_report

__all__ = ["write_analysis_report", "write_report"]
