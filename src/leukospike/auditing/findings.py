"""Interpretation of the pairs: overlapping subjects, what must stay together, and what a split separates."""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from leukospike.auditing.fingerprints import Fingerprint, fingerprints
from leukospike.auditing.matches import Kind, Matches, Pair, find_matches
from leukospike.auditing.splits import Split, read_split
from leukospike.datasets import Record, find_images, read_path
from leukospike.datasets.classes import ClassNames, Names
from leukospike.errors import DataError, ImageError
from leukospike.experiments.splits import linked_groups
from leukospike.failures import Failure, read_failures
from leukospike.images import read_image
from leukospike.jobs import Progress, silent
from leukospike.notices import Notice, Severity, as_html
from leukospike.plurals import number_of
from leukospike.storage.tables import read_rows


@dataclass(frozen=True)
class Material:
    """The pictures to audit."""

    name: str
    layout: str
    """As in `DataSet`; ``files`` where the folder is of no known layout."""
    records: tuple[Record, ...]
    """With names that are unique over all data sets of the folder."""
    class_names: tuple[str, str]
    credit: str
    notices: tuple[Notice, ...]
    classes: ClassNames = field(default_factory=ClassNames)
    """Names of the classes, also in a given split."""


@dataclass(frozen=True)
class SubjectOverlap:
    """Two subjects that share pictures."""

    subjects: tuple[str, str]
    pairs: tuple[Pair, ...]

    @property
    def n_identical(self) -> int:
        """Number of pixel-identical pairs."""
        return sum(pair.kind is Kind.IDENTICAL for pair in self.pairs)


@dataclass(frozen=True)
class Sides:
    """What a split separates."""

    name: str
    """Name of the table, or of the data set's own parts."""
    counts: dict[str, int]
    """Images on each side."""
    subjects: dict[str, dict[str, int]]
    """Subjects on several sides: images by side."""
    pairs: tuple[Pair, ...]
    """Pairs whose pictures are on different sides."""
    torn: dict[str, int]
    """By side, images with a copy, or a copy of a copy, on another side."""
    labels: tuple[tuple[str, str, str], ...]
    """Image, its label in the table and in the data, where they differ."""
    n_unnamed: int
    """Images of the data that the split does not name."""


@dataclass(frozen=True)
class Audited:
    """What was audited."""

    name: str
    layout: str
    """As in `Material`."""
    credit: str
    images: int
    """That could be read."""
    subjects: int | None
    """None unless the subject of every picture is known."""
    failed: int
    """Images that could not be read, and lines of a split that name none."""
    without_detail: int
    """Pictures such as masks: compared only for equality."""
    generated: int
    """Drawn by ``leukospike smears``."""


@dataclass(frozen=True)
class Findings:
    """Results of an audit, before any training.

    The tables `pairs`, `groups` and `subjects` are computed on each access.
    """

    data: Audited
    records: tuple[Record, ...] = field(repr=False)
    """The readable images; pairs index into these. Findings loaded without their groups hold only the images of the
    pairs, without labels."""
    failures: tuple[Failure, ...] = field(repr=False)
    matches: Matches = field(repr=False)
    group_of: tuple[int, ...] = field(repr=False)
    """For each record, the number of its group, from 0; groups must stay together."""
    keep_together: tuple[tuple[str, ...], ...] = field(repr=False)
    """Subjects, or images without a subject, that must stay together: two or more each, largest groups first."""
    subject_overlaps: tuple[SubjectOverlap, ...] = field(repr=False)
    label_conflicts: tuple[Pair, ...] = field(repr=False)
    """Pairs of different labels."""
    sides: Sides | None = field(repr=False)
    notices: tuple[Notice, ...]

    @property
    def has_subjects(self) -> bool:
        """Whether every picture's subject is known."""
        return self.data.subjects is not None

    @property
    def pairs(self) -> pd.DataFrame:
        """The pairs of images that show the same cells, most alike first.

        Columns: ``image``, ``other_image`` and their ``subject``, ``other_subject`` (None if not known); ``what``:
        identical, copy, crop or overlap; ``agreement`` of detail, 0 to 1; ``view``: orientation of the other (0 for
        none, else the sum of 1 left and right swapped, 2 top and bottom swapped, 4 rows and columns then exchanged);
        ``share`` and ``other_share`` of the content of each that both show.
        """
        columns = ("image", "other_image", "subject", "other_subject", "what", "agreement", "view")
        rows = [
            (
                first.image,
                second.image,
                first.subject,
                second.subject,
                pair.kind.value,
                round(pair.agreement, 4),
                pair.view,
                *(round(share, 3) for share in pair.shares),
            )
            for pair in self.matches.pairs
            for first, second in [(self.records[pair.first], self.records[pair.second])]
        ]
        return pd.DataFrame(rows, columns=[*columns, "share", "other_share"])

    @property
    def groups(self) -> pd.DataFrame:
        """What a split must keep together: the ``subject`` and the number of the ``group`` of each ``image``."""
        rows = [
            (record.image, record.subject, group) for record, group in zip(self.records, self.group_of, strict=True)
        ]
        return pd.DataFrame(rows, columns=["image", "subject", "group"])

    @property
    def subjects(self) -> pd.DataFrame:
        """The known subjects, by name.

        Columns: ``subject``; ``images``: their number; ``pairs``: number of pairs with an image of another subject;
        ``overlaps``: names of these other subjects, joined by "+", empty if there are none.
        """
        images = Counter(record.subject for record in self.records if record.subject is not None)
        pairs: Counter[str] = Counter()
        others: defaultdict[str, set[str]] = defaultdict(set)
        for overlap in self.subject_overlaps:
            for own, other in (overlap.subjects, overlap.subjects[::-1]):
                pairs[own] += len(overlap.pairs)
                others[own].add(other)
        rows = [(name, images[name], pairs[name], "+".join(sorted(others[name]))) for name in sorted(images)]
        return pd.DataFrame(rows, columns=["subject", "images", "pairs", "overlaps"])

    def save(self, folder: str | Path) -> Path:
        """Write ``audit.json``, ``pairs.csv``, ``groups.csv``, ``report.html`` and, if needed, ``failures.csv``.

        Parameters
        ----------
        folder : str or Path
            Created if missing; files of these names are replaced.

        Returns
        -------
        Path
            The report.
        """
        from leukospike.auditing.report import write_audit  # pictures and templates, which few callers need

        return write_audit(self, Path(folder))

    def report(self, path: str | Path) -> Path:
        """Write the page alone, with pictures of the pairs inside.

        Parameters
        ----------
        path : str or Path
            An HTML file; one that exists is replaced.

        Returns
        -------
        Path
            `path`.
        """
        from leukospike.auditing.report import write_audit_page

        return write_audit_page(self, Path(path))

    def to_json(self) -> dict[str, object]:
        """Return the findings in the format of ``audit.json``.

        Returns
        -------
        dict
            Of plain values: ``data``, ``pairs`` (images, subjects, kind, agreement, view, shares),
            ``overlapping_subjects``, ``keep_together``, ``label_conflicts``, ``sides`` (None if there are none),
            ``search``, ``notices``.
        """
        sides = self.sides
        return {
            "data": vars(self.data).copy(),
            "pairs": [
                {
                    "images": self._names(pair),
                    "subjects": [self.records[pair.first].subject, self.records[pair.second].subject],
                    "kind": pair.kind.value,
                    "agreement": round(pair.agreement, 4),
                    "view": pair.view,
                    "shares": [round(share, 3) for share in pair.shares],
                }
                for pair in self.matches.pairs
            ],
            "overlapping_subjects": [
                {"subjects": list(overlap.subjects), "pairs": len(overlap.pairs), "identical": overlap.n_identical}
                for overlap in self.subject_overlaps
            ],
            "keep_together": [list(names) for names in self.keep_together],
            "label_conflicts": [self._names(pair) for pair in self.label_conflicts],
            "sides": sides
            and {
                "name": sides.name,
                "images": sides.counts,
                "subjects_on_several": sides.subjects,
                "pairs_across": [self._names(pair) for pair in sides.pairs],
                "images_with_a_copy_on_another": sides.torn,
                "labels_that_differ": [list(entry) for entry in sides.labels],
                "images_not_named": sides.n_unnamed,
            },
            "search": {
                "pairs_compared": self.matches.n_candidates,
                "pairs_left_out": self.matches.n_left_out,
                "small_searched_in_large": self.matches.searched_fields,
            },
            "notices": [notice.text for notice in self.notices],
        }

    @classmethod
    def from_json(
        cls,
        content: Mapping[str, Any],
        *,
        groups: Iterable[tuple[str, str | None, int]] | None = None,
        failures: Iterable[Failure] = (),
    ) -> "Findings":
        """Rebuild findings from the output of `to_json`; other content of ``audit.json`` is ignored.

        Parameters
        ----------
        content : mapping
        groups : iterable of (str, str or None, int), optional
            Image, subject and group of every image, as in ``groups.csv``. Default: only the images of the pairs.
        failures : iterable of Failure

        Returns
        -------
        Findings
            Paths of records are their names, since the file does not store the location of the images.

        Raises
        ------
        DataError
            If it is not what `to_json` returns.
        """
        try:
            return _from_json(content, None if groups is None else list(groups), tuple(failures))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise DataError(
                "findings must be those of an audit",
                where="Findings.from_json",
                got=f"other content ({type(error).__name__}: {error})",
                advice="Pass the content of an audit.json, with the groups.csv beside it.",
            ) from error

    @classmethod
    def load(cls, folder: str | Path) -> "Findings":
        """Load findings written by `save` or ``leukospike audit``.

        Parameters
        ----------
        folder : str or Path
            With ``audit.json`` and ``groups.csv``.

        Returns
        -------
        Findings

        Raises
        ------
        DataError
            If a file is missing or was changed.
        """
        path = Path(folder) / "audit.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(
                "folder must hold the audit.json of an audit",
                where="Findings.load",
                got=f"{path} ({error})",
                advice="Pass a folder that an audit wrote.",
            ) from error
        rows = read_rows(Path(folder) / "groups.csv", ("image", "subject", "group"), where="Findings.load")
        groups = [(row["image"], row["subject"] or None, row["group"]) for _, row in rows]
        if not all(group.isdecimal() for _, _, group in groups):
            raise DataError(
                "groups.csv must number its groups",
                where="Findings.load",
                got="something else",
                advice="Restore the file, or audit the data again.",
            )
        numbered = [(image, subject, int(group)) for image, subject, group in groups]
        return cls.from_json(content, groups=numbered, failures=read_failures(Path(folder)))

    def _repr_html_(self) -> str:
        """Show the number of images and the pairs in a notebook."""
        data, pairs = self.data, self.pairs
        subjects = "" if data.subjects is None else f" of {number_of(data.subjects, 'subject')}"
        said = f"{number_of(data.images, 'image')}{subjects}, {number_of(len(pairs), 'pair')} that show the same"
        table = pairs.to_html(index=False, max_rows=20, border=0) if len(pairs) else ""
        return f'<p>{said}.</p><div style="overflow-x: auto">{table}</div>{as_html(self.notices)}'

    def _names(self, pair: Pair) -> list[str]:
        """Name the two images of a pair."""
        return [self.records[pair.first].image, self.records[pair.second].image]


def audit(
    paths: str | Path | Sequence[str | Path],
    *,
    split: str | Path | None = None,
    positive: Names = None,
    negative: Names = None,
    progress: Progress = silent,
) -> Findings:
    """Find duplicate images, overlapping subjects, and duplicates separated by a split.

    Parameters
    ----------
    paths : str, Path or sequence of these
        Folder or CSV manifest of images, of any layout; or several, each of which is treated as one subject unless it
        records subjects itself.
    split : str or Path, optional
        Split to check: CSV with the columns image, split or fold (or both), and optionally subject and label.
    positive, negative : str, sequence of str or None
        The user's names for the leukemic and the normal class.
    progress : Progress

    Returns
    -------
    Findings

    Raises
    ------
    DataError
        If a path does not exist or holds no image that can be read, or if a manifest or `split` is faulty.

    Examples
    --------
    >>> import tempfile
    >>> from leukospike.smears import SmearConfig, generate_cohort
    >>> config = SmearConfig(n_subjects=2, cells_per_subject=3, fields_per_subject=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     findings = audit(generate_cohort(config, Path(folder)))
    >>> len(findings.pairs), findings.subjects["images"].tolist()
    (0, [3, 3])
    """
    given = [paths] if isinstance(paths, str | Path) else paths
    material = read_material([Path(path) for path in given], positive=positive, negative=negative)
    theirs = None if split is None else read_split(Path(split), material.records)
    return examine(material, split=theirs, progress=progress)


def read_material(data: Path | Sequence[Path], *, positive: Names = None, negative: Names = None) -> Material:
    """List the images of folders or manifests: with subjects and labels for known data sets, else all images.

    Parameters
    ----------
    data : Path or sequence of Path
        May hold several data sets, such as ALL-IDB1 and ALL-IDB2. Each of several paths is treated as one subject
        unless it records subjects itself, as in `find_images`.
    positive, negative : str, sequence of str or None
        The user's names for the leukemic and the normal class.

    Returns
    -------
    Material

    Raises
    ------
    DataError
        If it does not exist, holds no image, or has a faulty manifest.
    """
    paths = [data] if isinstance(data, Path) else list(data)
    classes = ClassNames.of(positive, negative)
    if len(paths) == 1:
        datasets = read_path(paths[0], positive=positive, negative=negative)
        records = [
            replace(record, image=f"{dataset.name}/{record.image}") if len(datasets) > 1 else record
            for dataset in datasets
            for record in dataset.records
        ]
    else:
        found = find_images(paths, positive=positive, negative=negative)
        datasets, records = found.datasets, list(found.records)
    notices = [notice for dataset in datasets for notice in dataset.notices]
    if any(dataset.layout == "files" for dataset in datasets):
        text = "The folder has no known layout, so labels are unknown. Add a manifest.csv with labels."
        notices.append(Notice("no_labels", text))
    reasons = dict.fromkeys(dataset.no_subject_reason for dataset in datasets if dataset.no_subject_reason)
    notices += [Notice("no_subjects", reason) for reason in reasons]
    return Material(
        name=" and ".join(dict.fromkeys(dataset.name for dataset in datasets)) or paths[0].name,
        layout=" and ".join(dict.fromkeys(dataset.layout for dataset in datasets)) or "files",
        records=tuple(sorted(records, key=lambda record: record.image)),
        class_names=datasets[0].class_names if datasets else ("normal", "leukemic"),
        credit="; ".join(dict.fromkeys(dataset.credit for dataset in datasets if dataset.credit)),
        notices=tuple(notices),
        classes=classes,
    )


def examine(material: Material, *, split: Split | None = None, progress: Progress = silent) -> Findings:
    """Open every image once, find all duplicates, and interpret them.

    Parameters
    ----------
    material : Material
    split : Split, optional
        Split to check. Only its images are audited, and its sides replace the data set's own parts.
    progress : Progress

    Returns
    -------
    Findings

    Raises
    ------
    DataError
        If no image can be read.
    """
    given = material.records if split is None else split.records
    looked = fingerprints(given, n_workers=os.cpu_count() or 1, progress=progress)
    kept = [place for place, result in enumerate(looked) if isinstance(result, Fingerprint)]
    failures = tuple(result for result in looked if isinstance(result, Failure))
    if not kept:
        raise DataError(
            "at least one image must be readable",
            where="audit",
            got=f"{len(given)} that cannot be read (first {failures[0].image})",
            advice=failures[0].reason,
        )
    records = tuple(given[place] for place in kept)
    pictures = [result for result in looked if isinstance(result, Fingerprint)]

    def same_pixels(first: int, second: int) -> bool:
        try:
            ours, theirs = (read_image(records[place].path).pixels for place in (first, second))
        except ImageError:  # it could be read a moment ago; it still counts as looking the same
            return False
        return np.array_equal(ours, theirs)

    matches = find_matches(pictures, same_pixels=same_pixels, progress=progress)
    alike = _components(len(records), matches.pairs)
    groups = _groups(records, alike)
    failures += () if split is None else split.missing
    subjects = {record.subject for record in records}
    return Findings(
        data=Audited(
            name=material.name,
            layout=material.layout,
            credit=material.credit,
            images=len(records),
            subjects=None if None in subjects else len(subjects),
            failed=len(failures),
            without_detail=sum(picture.hashes is None for picture in pictures),
            generated=sum(picture.generated for picture in pictures),
        ),
        records=records,
        failures=failures,
        matches=matches,
        group_of=groups,
        keep_together=_keep_together(records, groups),
        subject_overlaps=_subject_overlaps(records, matches.pairs),
        label_conflicts=tuple(
            pair
            for pair in matches.pairs
            if None not in (labels := (records[pair.first].label, records[pair.second].label)) and len(set(labels)) > 1
        ),
        sides=_sides(records, matches.pairs, alike, kept, split, material.classes),
        notices=(*material.notices, *_of_split(split)),
    )


def _groups(records: Sequence[Record], alike: Sequence[int]) -> tuple[int, ...]:
    """Assign each image the number of its group, which must stay together, by content and subject."""
    owners = [f"image {record.image}" if record.subject is None else f"subject {record.subject}" for record in records]
    return tuple(int(group) for group in linked_groups(owners, [str(number) for number in alike]))


def _keep_together(records: Sequence[Record], groups: Sequence[int]) -> tuple[tuple[str, ...], ...]:
    """Name what must stay together: subjects if known, else images; groups of two or more."""
    together: defaultdict[int, set[str]] = defaultdict(set)
    for record, group in zip(records, groups, strict=True):
        together[group].add(record.image if record.subject is None else record.subject)
    named = (tuple(sorted(names)) for names in together.values() if len(names) > 1)
    return tuple(sorted(named, key=lambda names: (-len(names), names)))


def _components(n: int, pairs: Sequence[Pair]) -> list[int]:
    """Assign each image the number of its connected component."""
    parent = list(range(n))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    for pair in pairs:
        a, b = sorted((root(pair.first), root(pair.second)))
        parent[b] = a
    return [root(place) for place in range(n)]


def _subject_overlaps(records: Sequence[Record], pairs: Sequence[Pair]) -> tuple[SubjectOverlap, ...]:
    """Collect the pairs across each two subjects, most pairs first."""
    found: defaultdict[tuple[str, str], list[Pair]] = defaultdict(list)
    for pair in pairs:
        ours, theirs = records[pair.first].subject, records[pair.second].subject
        if ours is not None and theirs is not None and ours != theirs:
            found[(min(ours, theirs), max(ours, theirs))].append(pair)
    overlaps = [SubjectOverlap(subjects, tuple(inside)) for subjects, inside in found.items()]
    return tuple(sorted(overlaps, key=lambda overlap: (-len(overlap.pairs), overlap.subjects)))


def _sides(
    records: Sequence[Record],
    pairs: Sequence[Pair],
    alike: Sequence[int],
    kept: Sequence[int],
    split: Split | None,
    classes: ClassNames,
) -> Sides | None:
    """Describe what a split, or else the data set's own parts, separates; None if there are no sides."""
    if split is None:
        sides = [record.partition for record in records]
        name = "the data set's own parts"
    else:
        sides = [split.sides[place] for place in kept]
        name = split.name
    if len(set(sides)) < 2:
        return None
    by_subject: defaultdict[str, Counter[str]] = defaultdict(Counter)
    where: defaultdict[int, set[str]] = defaultdict(set)
    for record, side, number in zip(records, sides, alike, strict=True):
        where[number].add(side)
        if record.subject is not None:
            by_subject[record.subject][side] += 1
    torn = Counter(side for side, number in zip(sides, alike, strict=True) if len(where[number]) > 1)
    labels: list[tuple[str, str, str]] = []
    if split is not None:
        for record, place in zip(records, kept, strict=True):
            theirs = split.labels[place]
            if theirs and record.label is not None and classes.label(theirs) not in (None, record.label):
                labels.append((record.image, theirs, str(record.label)))
    return Sides(
        name=name,
        counts=dict(sorted(Counter(sides).items())),
        subjects={
            subject: dict(sorted(counts.items())) for subject, counts in sorted(by_subject.items()) if len(counts) > 1
        },
        pairs=tuple(pair for pair in pairs if sides[pair.first] != sides[pair.second]),
        torn=dict(sorted(torn.items())),
        labels=tuple(labels),
        n_unnamed=0 if split is None else split.n_unnamed,
    )


def _of_split(split: Split | None) -> list[Notice]:
    """Report how many images a split does not name."""
    if split is None or not split.n_unnamed:
        return []
    text = f"{split.name} does not list {number_of(split.n_unnamed, 'image')} of the data: they were not examined."
    return [Notice("not_in_split", text, Severity.WARNING, {"images": split.n_unnamed})]


def _from_json(
    content: Mapping[str, Any], groups: list[tuple[str, str | None, int]] | None, failures: tuple[Failure, ...]
) -> Findings:
    """Rebuild findings."""
    data = Audited(**{entry.name: content["data"][entry.name] for entry in fields(Audited)})
    owners: dict[str, str | None] = {
        str(image): subject
        for pair in content["pairs"]
        for image, subject in zip(pair["images"], pair["subjects"], strict=True)
    }
    if groups is not None:
        owners = {image: subject for image, subject, _ in groups}
    records = tuple(
        Record(path=Path(image), image=image, label=None, subject=owners[image]) for image in sorted(owners)
    )
    places = {record.image: place for place, record in enumerate(records)}

    def read_pair(entry: Mapping[str, Any]) -> Pair:
        first, second = (places[image] for image in entry["images"])
        share, other_share = entry["shares"]
        return Pair(
            first, second, Kind(entry["kind"]), float(entry["agreement"]), int(entry["view"]), (share, other_share)
        )

    pairs = tuple(read_pair(entry) for entry in content["pairs"])
    by_names = {(records[pair.first].image, records[pair.second].image): pair for pair in pairs}
    if groups is None:
        group_of = _groups(records, _components(len(records), pairs))
    else:
        numbers = {image: group for image, _, group in groups}
        group_of = tuple(numbers[record.image] for record in records)
    search, sides = content["search"], content["sides"]
    return Findings(
        data=data,
        records=records,
        failures=failures,
        matches=Matches(
            pairs,
            n_candidates=int(search["pairs_compared"]),
            n_left_out=int(search["pairs_left_out"]),
            searched_fields=bool(search["small_searched_in_large"]),
        ),
        group_of=group_of,
        keep_together=tuple(tuple(str(name) for name in names) for names in content["keep_together"]),
        subject_overlaps=_subject_overlaps(records, pairs),
        label_conflicts=tuple(by_names[first, second] for first, second in content["label_conflicts"]),
        sides=sides
        and Sides(
            name=str(sides["name"]),
            counts=dict(sides["images"]),
            subjects={str(name): dict(counts) for name, counts in sides["subjects_on_several"].items()},
            pairs=tuple(by_names[first, second] for first, second in sides["pairs_across"]),
            torn=dict(sides["images_with_a_copy_on_another"]),
            labels=tuple((image, theirs, ours) for image, theirs, ours in sides["labels_that_differ"]),
            n_unnamed=int(sides["images_not_named"]),
        ),
        notices=tuple(Notice.from_json(notice) for notice in content["notices"]),
    )
