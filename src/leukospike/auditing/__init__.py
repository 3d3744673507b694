"""Leak audit: duplicate pictures, overlapping subjects, duplicates separated by a split, and the effect of all these.

The files in order: `fingerprints` opens every image once; `matches` finds the pairs, from candidates by hash, by
patches and by position (`locations`), each verified by `alignment`; `findings` interprets them for the data and for a
given split (`splits`); `groups` joins overlapping subjects; `leaks` trains to measure what each leak adds; `report`
writes the results.
"""

from leukospike.auditing.findings import Audited, Findings, Material, audit, examine, read_material
from leukospike.auditing.groups import grouped_dataset, join_subjects
from leukospike.auditing.leaks import Leaks, measure_leaks
from leukospike.auditing.report import audit_tables, require_same_audit, write_audit
from leukospike.auditing.splits import Split, read_split

__all__ = [
    "Audited",
    "Findings",
    "Leaks",
    "Material",
    "Split",
    "audit",
    "audit_tables",
    "examine",
    "grouped_dataset",
    "join_subjects",
    "measure_leaks",
    "read_material",
    "read_split",
    "require_same_audit",
    "write_audit",
]
