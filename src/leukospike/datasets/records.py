"""What is known of each image before it is opened: its label, and whose blood it shows."""

from dataclasses import dataclass, replace
from pathlib import Path

from leukospike.errors import DataError, SplitError


@dataclass(frozen=True, kw_only=True)
class Record:
    """One image of a data set."""

    path: Path
    """Where the file is."""
    image: str
    """POSIX path relative to the data set's root; unique in the data set."""
    label: int | None
    """1 leukemic, 0 normal, None not labelled."""
    subject: str | None
    """The person, as the data set names them; None if it does not say."""
    partition: str = ""
    """The data set's own part that the image lies in, such as ``fold_0`` or ``preliminary``."""
    centroids: tuple[tuple[float, float], ...] | None = None
    """(row, column) of every blast in pixels; ALL-IDB1 only, None where no such file exists."""


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """All images of one source."""

    name: str
    """For people: ``C-NMC 2019``, ``ALL-IDB1``, ``ALL-IDB2``, or the folder's name."""
    layout: str
    """``c-nmc``, ``c-nmc-kaggle``, ``all-idb1``, ``all-idb2``, ``folder``, ``manifest``, or ``files``: none known."""
    root: Path
    """The folder that `Record.image` is relative to."""
    records: tuple[Record, ...]
    """Sorted by `Record.image`."""
    class_names: tuple[str, str]
    """(normal, leukemic), as the data set calls them."""
    no_subject_reason: str | None
    """Why some record has no subject, and what to use instead; None if every record has one."""
    credit: str
    """How to cite it, and its licence; empty for the user's own."""
    joined: tuple[tuple[str, ...], ...] | None = None
    """Sets of two or more subjects who count as one, since their images overlap, each set called ``51+75+78`` in the
    records; None if nobody joined any."""

    def labelled(self) -> "DataSet":
        """Leave out the images without a label, such as C-NMC's final test set.

        Returns
        -------
        DataSet
            The same in all else. `no_subject_reason` is None if the remaining images all have a subject.
        """
        records = tuple(record for record in self.records if record.label is not None)
        unknown = any(record.subject is None for record in records)
        return replace(self, records=records, no_subject_reason=self.no_subject_reason if unknown else None)

    def require_subjects(self, where: str) -> None:
        """Refuse to go on where persons cannot be told apart.

        Parameters
        ----------
        where : str
            Who asks; the message begins with it.

        Raises
        ------
        SplitError
            If any record has no subject, with the reason and what to use instead.
        """
        unknown = [record for record in self.records if record.subject is None]
        if unknown:
            msg = (
                f"{where}: every image must have a subject, got {len(unknown)} of {len(self.records)} without"
                f" (first {unknown[0].image}). {self.no_subject_reason}"
            )
            raise SplitError(msg)

    def require_labels(self, where: str) -> None:
        """Refuse to go on where there is nothing to learn from.

        Parameters
        ----------
        where : str
            Who asks; the message begins with it.

        Raises
        ------
        DataError
            If any record has no label, or all have the same.
        """
        missing = [record for record in self.records if record.label is None]
        if missing:
            msg = (
                f"{where}: every image must have a label, got {len(missing)} of {len(self.records)} without"
                f" (first {missing[0].image}). Leave them out or label them in a manifest."
            )
            raise DataError(msg)
        labels = {record.label for record in self.records}
        if labels != {0, 1}:
            got = " and ".join(f"only '{self.class_names[label]}'" for label in labels if label is not None)
            msg = (
                f"{where}: images must be of both classes, '{self.class_names[0]}' and '{self.class_names[1]}',"
                f" got {got or 'no images'}. Add images of the other class."
            )
            raise DataError(msg)
