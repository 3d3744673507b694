"""Leaks: pictures that show the same, whose they are, what a split tears apart, and what that is worth.

Story in the order of the files: `fingerprints` opens every image once; `matches` finds the pairs, from candidates by
hash, by patches and by place (`locations`), each verified by `alignment`; `findings` says what they mean, for the data
and for somebody's split (`splits`); `groups` joins subjects by them; `leaks` trains to see what leaks are worth;
`report` writes it down.
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
