"""Joins overlapping subjects, so that a split by subject keeps their images on one side."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from leukospike.auditing.findings import Findings
from leukospike.datasets import DataSet
from leukospike.datasets.decoding import decoded
from leukospike.errors import DataError
from leukospike.experiments.splits import linked_groups
from leukospike.images import Picture
from leukospike.storage.tables import read_rows


def grouped_dataset(dataset: DataSet, findings: Findings) -> DataSet:
    """Join overlapping subjects under a common name.

    Parameters
    ----------
    dataset : DataSet
    findings : Findings
        Of the same data.

    Returns
    -------
    DataSet
        Without the images that could not be read. Subjects that overlap are called ``51+75+78``.
    """
    group_of = {record.image: str(group) for record, group in zip(findings.records, findings.group_of, strict=True)}
    records = tuple(record for record in dataset.records if record.image in group_of)
    return _joined(replace(dataset, records=records), group_of)


def join_subjects(dataset: DataSet, table: Path) -> DataSet:
    """Join overlapping subjects by the `groups.csv` of an earlier audit.

    Parameters
    ----------
    dataset : DataSet
    table : Path
        CSV in UTF-8 with the columns image and group, for all readable images of the data.

    Returns
    -------
    DataSet

    Raises
    ------
    DataError
        If the table cannot be read, lacks a column, does not name every image once, or names one that is not among the
        data; or if subjects are unknown.
    """
    where = "join_subjects"
    if all(record.subject is None for record in dataset.records):
        raise DataError(
            "`groups` must be used with data that record the subject of each image",
            where=where,
            got=f"{dataset.name}, which do not",
            advice="Leave out `groups`.",
        )
    group_of: dict[str, str] = {}
    for line, row in read_rows(table, ("image", "group"), where=where):
        image, group = row["image"], row["group"]
        if not image or not group or image in group_of:
            raise DataError(
                f"`groups` {table.name} line {line}: image and group must be filled in, and each image listed once",
                where=where,
                got=f"'{image}', '{group}'",
                advice="Audit the data again.",
            )
        group_of[image] = group
    unnamed = [record for record in dataset.records if record.subject is not None and record.image not in group_of]
    # An audit cannot group unreadable images, and they cannot be used for training either.
    missing = [record.image for record, result in decoded(unnamed) if isinstance(result, Picture)]
    if missing:
        raise DataError(
            "`groups` must name every image of the data",
            where=where,
            got=f"{table.name} without {len(missing)} of them (first {missing[0]})",
            advice="Audit these data.",
        )
    foreign = set(group_of) - {record.image for record in dataset.records}
    if foreign:
        raise DataError(
            "`groups` must name only images of the data",
            where=where,
            got=f"{len(foreign)} of {len(group_of)} that are not among them (first {min(foreign)})",
            advice="Pass the groups.csv of an audit of these data.",
        )
    return _joined(dataset, group_of | {record.image: f"unread {record.image}" for record in unnamed})


def _joined(dataset: DataSet, group_of: Mapping[str, str]) -> DataSet:
    """Name each subject after all subjects joined to it by a group, directly or indirectly."""
    known = [record for record in dataset.records if record.subject is not None]
    if not known:
        return replace(dataset, joined=())
    together = linked_groups([str(record.subject) for record in known], [group_of[record.image] for record in known])
    members: defaultdict[int, set[str]] = defaultdict(set)
    for record, group in zip(known, together.tolist(), strict=True):
        members[group].add(str(record.subject))
    joined = {name: "+".join(sorted(names)) for names in members.values() for name in names}
    records = tuple(
        record if record.subject is None else replace(record, subject=joined[record.subject])
        for record in dataset.records
    )
    sets = sorted(tuple(sorted(names)) for names in members.values() if len(names) > 1)
    return replace(dataset, records=records, joined=tuple(sets))
