"""What is known of each image before it is opened: its label and its subject."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from leukospike.errors import DataError, SplitError
from leukospike.notices import Notice, Severity


@dataclass(frozen=True, kw_only=True)
class Record:
    """One image of a data set."""

    path: Path
    """Path of the file."""
    image: str
    """POSIX path relative to the data set's root; unique in the data set."""
    label: int | None
    """1 leukemic, 0 normal, None not labelled."""
    subject: str | None
    """The person, as named by the data set; None if unknown."""
    partition: str = ""
    """Part of the data set that holds the image, such as ``fold_0`` or ``preliminary``."""
    centroids: tuple[tuple[float, float], ...] | None = None
    """(row, column) of every blast in pixels; ALL-IDB1 only, None without such a file."""


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """All images of one source."""

    name: str
    """For display: ``C-NMC 2019``, ``ALL-IDB1``, ``ALL-IDB2``, or the folder's name."""
    layout: str
    """``c-nmc``, ``c-nmc-kaggle``, ``all-idb1``, ``all-idb2``, ``folder``, ``manifest``, or ``files``: none known."""
    root: Path
    """The folder that `Record.image` is relative to."""
    records: tuple[Record, ...]
    """Sorted by `Record.image`."""
    class_names: tuple[str, str]
    """(normal, leukemic), as named by the data set."""
    no_subject_reason: str | None
    """Why records have no subject, and what to use instead; None if every record has one."""
    credit: str
    """Citation and licence; empty for the user's own data."""
    joined: tuple[tuple[str, ...], ...] | None = None
    """Sets of two or more subjects who count as one, since their images overlap, each set called ``51+75+78`` in the
    records; None if none were joined."""
    notices: tuple[Notice, ...] = ()
    """Notices about how it was read, such as ignored files."""

    def labelled(self) -> "DataSet":
        """Leave out the images without a label, such as C-NMC's final test set.

        Returns
        -------
        DataSet
            Otherwise unchanged. `no_subject_reason` is None if the remaining images all have a subject.
        """
        records = tuple(record for record in self.records if record.label is not None)
        unknown = any(record.subject is None for record in records)
        return replace(self, records=records, no_subject_reason=self.no_subject_reason if unknown else None)

    def require_subjects(self, where: str) -> None:
        """Raise an error if the subjects are unknown.

        Parameters
        ----------
        where : str
            Name of the caller, which begins the message.

        Raises
        ------
        SplitError
            If any record has no subject, with the reason and what to use instead.
        """
        unknown = [record for record in self.records if record.subject is None]
        if unknown:
            raise SplitError(
                "every image must have a subject",
                where=where,
                got=f"{len(unknown)} of {len(self.records)} without (first {unknown[0].image})",
                advice=self.no_subject_reason or "",
            )

    def require_labels(self, where: str) -> None:
        """Raise an error without labels of both classes.

        Parameters
        ----------
        where : str
            Name of the caller, which begins the message.

        Raises
        ------
        DataError
            If any record has no label, or all have the same.
        """
        missing = [record for record in self.records if record.label is None]
        if missing:
            raise DataError(
                "every image must have a label",
                where=where,
                got=f"{len(missing)} of {len(self.records)} without (first {missing[0].image})",
                advice="Leave them out or label them in a manifest.",
            )
        labels = {record.label for record in self.records}
        if labels != {0, 1}:
            found = " and ".join(f"only '{self.class_names[label]}'" for label in labels if label is not None)
            raise DataError(
                f"images must include both classes, '{self.class_names[0]}' and '{self.class_names[1]}'",
                where=where,
                got=found or "no images",
                advice="Add images of the other class.",
            )


def data_set(
    root: Path,
    records: Iterable[Record],
    *,
    name: str,
    layout: str,
    class_names: tuple[str, str],
    no_subject_reason: str,
    credit: str,
    notices: Iterable[Notice] = (),
) -> DataSet:
    """Build a data set: records in order, and the reason for missing subjects only if one is missing.

    Parameters
    ----------
    root, records, name, layout, class_names, no_subject_reason, credit, notices
        As in `DataSet`.

    Returns
    -------
    DataSet
        With an additional notice if subjects have such similar names that they may be the same person.

    Raises
    ------
    DataError
        If there is no record.
    """
    ordered = tuple(sorted(records, key=lambda record: record.image))
    if not ordered:
        raise DataError(
            f"{root} must hold images",
            where="read_dataset",
            got=f"none ({layout})",
            advice="Check that the download is complete.",
        )
    return DataSet(
        name=name,
        layout=layout,
        root=root,
        records=ordered,
        class_names=class_names,
        no_subject_reason=no_subject_reason if any(record.subject is None for record in ordered) else None,
        credit=credit,
        notices=(*notices, *names_alike(ordered)),
    )


def names_alike(records: Iterable[Record]) -> tuple[Notice, ...]:
    """Report subjects whose names differ only in case, spaces, hyphens and underscores.

    Parameters
    ----------
    records : iterable of Record

    Returns
    -------
    tuple of Notice
        One, or none.
    """
    alike: defaultdict[str, set[str]] = defaultdict(set)
    for subject in {record.subject for record in records if record.subject is not None}:
        alike[re.sub(r"[\s_-]+", "-", subject.casefold())].add(subject)
    groups = [" and ".join(sorted(names)) for names in alike.values() if len(names) > 1]
    if not groups:
        return ()
    text = (
        f"These subjects have nearly the same name but count as different people: {'; '.join(sorted(groups)[:5])}. If"
        " they are the same person, use one name."
    )
    return (Notice("subjects_alike", text, Severity.WARNING, {"groups": len(groups)}),)
