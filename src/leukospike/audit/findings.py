"""What the pairs mean: which subjects overlap, what has to stay together, and what stands on two sides."""

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from leukospike.audit.fingerprints import Fingerprint, fingerprints
from leukospike.audit.matches import Kind, Matches, Pair, find_matches
from leukospike.audit.splits import Split
from leukospike.datasets import Record, read_datasets
from leukospike.datasets.layouts import LEUKEMIC_NAMES, NORMAL_NAMES, cnmc_subject, name_below, visible_files
from leukospike.errors import DataError, ImageError
from leukospike.experiments.splits import linked_groups
from leukospike.failures import Failure
from leukospike.images import IMAGE_SUFFIXES, read_image
from leukospike.jobs import Progress, silent


@dataclass(frozen=True)
class Material:
    """The pictures that are audited, whatever they are."""

    name: str
    layout: str
    """As in `DataSet`; ``files`` where the folder is of no known layout."""
    records: tuple[Record, ...]
    """With names that are unique over all data sets of the folder."""
    class_names: tuple[str, str]
    credit: str
    notices: tuple[str, ...]


@dataclass(frozen=True)
class SubjectOverlap:
    """Two subjects who share pictures."""

    subjects: tuple[str, str]
    pairs: tuple[Pair, ...]

    @property
    def n_identical(self) -> int:
        """Count the pairs of the same pixels."""
        return sum(pair.kind is Kind.IDENTICAL for pair in self.pairs)


@dataclass(frozen=True)
class Sides:
    """What a split tears apart."""

    name: str
    """Of the table, or what the data set's own parts are."""
    counts: dict[str, int]
    """Images on each side."""
    subjects: dict[str, dict[str, int]]
    """Subjects on several sides: images by side."""
    pairs: tuple[Pair, ...]
    """Pairs whose pictures stand on different sides."""
    torn: dict[str, int]
    """By side, images of which a copy, or a copy's copy, stands on another."""
    labels: tuple[tuple[str, str, str], ...]
    """Image, its label in the table and in the data, where they differ."""
    n_unnamed: int
    """Images of the data that the split does not name."""


@dataclass(frozen=True)
class Findings:
    """What an audit found, before any training."""

    material: Material
    records: tuple[Record, ...]
    """Of the images that could be read; pairs count in these."""
    failures: tuple[Failure, ...]
    matches: Matches
    groups: tuple[int, ...]
    """Of each record: number of what has to stay together, from 0."""
    subject_overlaps: tuple[SubjectOverlap, ...]
    label_conflicts: tuple[Pair, ...]
    """Pairs of different labels."""
    sides: Sides | None
    n_plain: int
    """Pictures without detail, such as masks: compared for equality alone."""
    n_generated: int

    @property
    def has_subjects(self) -> bool:
        """Tell whether every picture's subject is known."""
        return all(record.subject is not None for record in self.records)

    def members(self) -> list[tuple[str, ...]]:
        """Give what has to stay together: subjects where they are known, else images; groups of two or more."""
        together: defaultdict[int, set[str]] = defaultdict(set)
        for record, group in zip(self.records, self.groups, strict=True):
            together[group].add(record.image if record.subject is None else record.subject)
        return sorted(
            (tuple(sorted(names)) for names in together.values() if len(names) > 1), key=lambda g: (-len(g), g)
        )


def read_material(data: Path) -> Material:
    """List the images of a folder or manifest: of known data sets with subjects and labels, else every image file.

    Parameters
    ----------
    data : Path
        May hold several data sets, such as ALL-IDB1 and ALL-IDB2.

    Returns
    -------
    Material

    Raises
    ------
    DataError
        If it does not exist, holds no image, or has a manifest with a fault.
    """
    try:
        found = read_datasets(data)
    except DataError as error:
        if not data.is_dir() or (data / "manifest.csv").is_file():
            raise
        return _plain_files(data, error)
    several = len(found) > 1
    records = [
        replace(record, image=f"{dataset.name}/{record.image}") if several else record
        for dataset in found
        for record in dataset.records
    ]
    notices = tuple(dataset.no_subject_reason for dataset in found if dataset.no_subject_reason)
    return Material(
        name=" and ".join(dataset.name for dataset in found),
        layout=" and ".join(dataset.layout for dataset in found),
        records=tuple(sorted(records, key=lambda record: record.image)),
        class_names=found[0].class_names,
        credit="; ".join(dict.fromkeys(dataset.credit for dataset in found if dataset.credit)),
        notices=tuple(dict.fromkeys(notices)),
    )


def examine(material: Material, *, split: Split | None = None, progress: Progress = silent) -> Findings:
    """Open every image once, find all that show the same, and say what that means.

    Parameters
    ----------
    material : Material
    split : Split, optional
        Somebody's split. Its images alone are looked at, and its sides take the place of the data set's own parts.
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
        msg = f"audit: images must be readable, got none of {len(given)} that is (first {failures[0].image})."
        msg += f" {failures[0].reason}"
        raise DataError(msg)
    records = tuple(given[place] for place in kept)
    pictures = [result for result in looked if isinstance(result, Fingerprint)]

    def same_pixels(first: int, second: int) -> bool:
        try:
            ours, theirs = (read_image(records[place].path).pixels for place in (first, second))
        except ImageError:  # it could be read a moment ago; that it looks the same stands
            return False
        return np.array_equal(ours, theirs)

    matches = find_matches(pictures, same_pixels=same_pixels, progress=progress)
    alike = _components(len(records), matches.pairs)
    owners = [f"image {record.image}" if record.subject is None else f"subject {record.subject}" for record in records]
    groups = linked_groups(owners, [str(number) for number in alike])
    return Findings(
        material=material,
        records=records,
        failures=failures + (() if split is None else split.missing),
        matches=matches,
        groups=tuple(int(group) for group in groups),
        subject_overlaps=_subject_overlaps(records, matches.pairs),
        label_conflicts=tuple(
            pair
            for pair in matches.pairs
            if None not in (labels := (records[pair.first].label, records[pair.second].label)) and len(set(labels)) > 1
        ),
        sides=_sides(records, matches.pairs, alike, kept, split),
        n_plain=sum(picture.hashes is None for picture in pictures),
        n_generated=sum(picture.generated for picture in pictures),
    )


def _plain_files(data: Path, error: DataError) -> Material:
    """List every image file of a folder of no known layout."""
    records = [
        Record(path=path, image=image, label=None, subject=cnmc_subject(path.stem), partition=_top_folder(image))
        for path in visible_files(data)
        if path.suffix.lower() in IMAGE_SUFFIXES
        for image in [name_below(path, data)]
    ]
    if not records:
        raise error
    notice = (
        "The folder is of no known layout: whose an image is, and its label, are not known. A manifest.csv says it."
    )
    ordered = tuple(sorted(records, key=lambda record: record.image))
    name = name_below(data.absolute(), data.absolute().parent)
    return Material(name, "files", ordered, ("normal", "leukemic"), "", (notice,))


def _top_folder(image: str) -> str:
    """Give the first folder of a name; empty if there is none."""
    return image.split("/")[0] if "/" in image else ""


def _components(n: int, pairs: Sequence[Pair]) -> list[int]:
    """Give each image the number of the set that pairs join it to."""
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
    """Collect the pairs of each two subjects, most pairs first."""
    found: defaultdict[tuple[str, str], list[Pair]] = defaultdict(list)
    for pair in pairs:
        ours, theirs = records[pair.first].subject, records[pair.second].subject
        if ours is not None and theirs is not None and ours != theirs:
            found[(min(ours, theirs), max(ours, theirs))].append(pair)
    overlaps = [SubjectOverlap(subjects, tuple(inside)) for subjects, inside in found.items()]
    return tuple(sorted(overlaps, key=lambda overlap: (-len(overlap.pairs), overlap.subjects)))


def _sides(
    records: Sequence[Record], pairs: Sequence[Pair], alike: Sequence[int], kept: Sequence[int], split: Split | None
) -> Sides | None:
    """Say what a split, or else the data set's own parts, tear apart; None where there are no sides."""
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
            if theirs and record.label is not None and _as_label(theirs) not in (None, record.label):
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


def _as_label(name: str) -> int | None:
    """Read a label as data sets spell it; None for other words."""
    word = name.casefold()
    return 1 if word in LEUKEMIC_NAMES else 0 if word in NORMAL_NAMES else None


def findings_as_json(findings: Findings) -> dict[str, Any]:
    """Give everything found, in the form that `audit.json` holds.

    Parameters
    ----------
    findings : Findings

    Returns
    -------
    dict
        Of plain values: ``data``, ``pairs`` (images, subjects, kind, agreement, view, shares),
        ``overlapping_subjects``, ``keep_together``, ``label_conflicts``, ``sides`` (None if there are none),
        ``search``, ``notices``.
    """
    records, matches = findings.records, findings.matches
    subjects = {record.subject for record in records if record.subject is not None}

    def names(pair: Pair) -> list[str]:
        return [records[pair.first].image, records[pair.second].image]

    sides = findings.sides
    return {
        "data": {
            "name": findings.material.name,
            "layout": findings.material.layout,
            "credit": findings.material.credit,
            "images": len(records),
            "subjects": len(subjects) if findings.has_subjects else None,
            "failed": len(findings.failures),
            "without_detail": findings.n_plain,
            "generated": findings.n_generated,
        },
        "pairs": [
            {
                "images": names(pair),
                "subjects": [records[pair.first].subject, records[pair.second].subject],
                "kind": pair.kind.value,
                "agreement": round(pair.agreement, 4),
                "view": pair.view,
                "shares": [round(share, 3) for share in pair.shares],
            }
            for pair in matches.pairs
        ],
        "overlapping_subjects": [
            {"subjects": list(overlap.subjects), "pairs": len(overlap.pairs), "identical": overlap.n_identical}
            for overlap in findings.subject_overlaps
        ],
        "keep_together": [list(names) for names in findings.members()],
        "label_conflicts": [names(pair) for pair in findings.label_conflicts],
        "sides": sides
        and {
            "name": sides.name,
            "images": sides.counts,
            "subjects_on_several": sides.subjects,
            "pairs_across": [names(pair) for pair in sides.pairs],
            "images_with_a_copy_on_another": sides.torn,
            "labels_that_differ": [list(entry) for entry in sides.labels],
            "images_not_named": sides.n_unnamed,
        },
        "search": {
            "pairs_compared": matches.n_candidates,
            "pairs_left_out": matches.n_left_out,
            "small_searched_in_large": matches.searched_fields,
        },
        "notices": list(findings.material.notices),
    }
