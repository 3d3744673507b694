"""Subjects who overlap, joined, so that a split by subject keeps on one side what belongs together."""

import csv
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from leukospike.audit.findings import Findings
from leukospike.datasets import DataSet
from leukospike.datasets.decoding import decoded
from leukospike.errors import DataError
from leukospike.experiments.splits import linked_groups
from leukospike.images import Picture


def grouped_dataset(dataset: DataSet, findings: Findings) -> DataSet:
    """Name each image's subject after all who overlap with it.

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
    group_of = {record.image: str(group) for record, group in zip(findings.records, findings.groups, strict=True)}
    records = tuple(record for record in dataset.records if record.image in group_of)
    return _joined(replace(dataset, records=records), group_of)


def join_subjects(dataset: DataSet, table: Path) -> DataSet:
    """Do the same by the `groups.csv` of an earlier audit.

    Parameters
    ----------
    dataset : DataSet
    table : Path
        CSV in UTF-8 with the columns image and group, of all images of the data that can be read.

    Returns
    -------
    DataSet

    Raises
    ------
    DataError
        If the table cannot be read, lacks a column, does not name every image once, or names one that is not among the
        data; or if subjects are unknown.
    """
    where = "--groups"
    if all(record.subject is None for record in dataset.records):
        msg = f"{where}: data must say whose each image is, got {dataset.name}, which does not. Leave --groups out."
        raise DataError(msg)
    group_of: dict[str, str] = {}
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            if not {"image", "group"} <= set(rows.fieldnames or ()):
                got = ",".join(rows.fieldnames or ())[:80] or "an empty table"
                msg = f"{where}: columns must be image, group, got '{got}' in {table.name}. Give an audit's groups.csv."
                raise DataError(msg)
            for row in rows:
                image, group = row["image"] or "", row["group"] or ""
                if not image or not group or image in group_of:
                    msg = (
                        f"{where} line {rows.line_num}: image and group must be filled in, and the image come once, got"
                        f" '{image}', '{group}'. Audit the data again."
                    )
                    raise DataError(msg)
                group_of[image] = group
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        msg = f"{where}: must be a readable CSV table in UTF-8, got {table} ({error}). Give an audit's groups.csv."
        raise DataError(msg) from error
    unnamed = [record for record in dataset.records if record.subject is not None and record.image not in group_of]
    # An audit cannot group what cannot be read; nor can anything be trained on it.
    missing = [record.image for record, result in decoded(unnamed) if isinstance(result, Picture)]
    if missing:
        msg = (
            f"{where}: table must name every image of the data, got {len(missing)} that {table.name} does not (first"
            f" {missing[0]}). Audit these data."
        )
        raise DataError(msg)
    foreign = set(group_of) - {record.image for record in dataset.records}
    if foreign:
        msg = (
            f"{where}: table must name images of the data alone, got {len(foreign)} of {len(group_of)} that are not"
            f" among them (first {min(foreign)}). Give the groups.csv of an audit of these data."
        )
        raise DataError(msg)
    return _joined(dataset, group_of | {record.image: f"unread {record.image}" for record in unnamed})


def _joined(dataset: DataSet, group_of: Mapping[str, str]) -> DataSet:
    """Name each subject after all whom a group joins it to, directly or through others."""
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
