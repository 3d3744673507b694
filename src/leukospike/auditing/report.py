"""The results of an audit as files: audit.json, tables, and a page with the pairs side by side."""

import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from leukospike.auditing.findings import Findings
from leukospike.auditing.leaks import Arm, Leaks, leaks_as_json, protocol_names
from leukospike.auditing.matches import Kind, Pair
from leukospike.datasets import Table
from leukospike.environment import describe_environment
from leukospike.errors import ImageError, RunError
from leukospike.failures import write_failures
from leukospike.images import read_image
from leukospike.notices import as_options
from leukospike.plurals import number_of
from leukospike.report.pages import render_page, write_page
from leukospike.report.words import NONE, signed_with_interval, with_interval
from leukospike.storage.files import write_text
from leukospike.storage.tables import table_text, write_table

KIND_WORDS = {
    Kind.IDENTICAL: "the same pixels",
    Kind.COPY: "the same picture",
    Kind.CROP: "one is part of the other",
    Kind.OVERLAP: "partly the same",
}
_PAIRS_A_SUBJECT_PAIR = 6
_SUBJECT_PAIRS = 20
_PAIRS_SHOWN = 24
_CONFLICTS_PRINTED = 10
_THUMBNAIL_PX = 192


@dataclass(frozen=True)
class PairCard:
    """One pair on the page."""

    images: tuple[str, str]
    owners: tuple[str, str]
    what: str
    pictures: tuple[bytes | None, bytes | None]


@dataclass(frozen=True)
class OverlapRow:
    """Two subjects on the page, and some of their pairs."""

    subjects: tuple[str, str]
    words: str
    shown: list[PairCard]


def write_audit(findings: Findings, out: Path, *, leaks: Leaks | None = None) -> Path:
    """Write the results; existing files are replaced.

    Parameters
    ----------
    findings : Findings
    out : Path
        Folder: ``audit.json``, ``pairs.csv``, ``groups.csv``, ``report.html``, and ``failures.csv`` if an image could
        not be read.
    leaks : Leaks, optional
        What each leak adds, if that was measured.

    Returns
    -------
    Path
        The page: one self-contained file, without scripts.
    """
    content = findings.to_json()
    content["leaks"] = leaks and leaks_as_json(leaks)
    content["environment"] = describe_environment()
    write_table(out / "pairs.csv", findings.pairs)
    write_table(out / "groups.csv", findings.groups)
    if findings.failures:
        write_failures(out / "failures.csv", findings.failures)
    report = write_audit_page(findings, out / "report.html", leaks=leaks)
    write_text(out / "audit.json", json.dumps(content, indent=1))  # last: the sign of a finished audit
    return report


def write_audit_page(findings: Findings, path: Path, *, leaks: Leaks | None = None) -> Path:
    """Write only the page.

    Parameters
    ----------
    findings : Findings
    path : Path
        Path of the page, one self-contained file.
    leaks : Leaks, optional
        What each leak adds, if that was measured.

    Returns
    -------
    Path
        `path`.
    """
    return write_page(path, _page(findings, leaks))


def require_same_audit(findings: Findings, out: Path) -> None:
    """Refuse findings that differ from those of the audit in a folder, which they would overwrite.

    Raises
    ------
    RunError
        If images, subjects, groups or pairs differ.
    """
    for name, table in (("groups.csv", findings.groups), ("pairs.csv", findings.pairs)):
        try:
            before = (out / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(
                f"`resume` must find {name}",
                where="audit",
                got=f"{out} without it ({error})",
                advice="Leave out `resume` to start again.",
            ) from error
        if before != table_text(table):
            raise RunError(
                "`resume` must be used with the data of the audit",
                where="audit",
                got=f"different data from those in {out}",
                advice="Pass the original data.",
            )


def audit_tables(findings: Findings, leaks: Leaks | None = None) -> list[Table]:
    """Arrange the main figures in tables for printing.

    Parameters
    ----------
    findings : Findings
    leaks : Leaks, optional

    Returns
    -------
    list of Table
    """
    rows = [
        (KIND_WORDS[kind], *(str(count) for count in counts)) for kind, counts in _kind_counts(findings).items()
    ] or [("none", "0", "0", "0", "0")]
    header = ("pairs of images", "total", "of one subject", "of two subjects", "unknown subject")
    tables = [Table(f"{findings.data.name}: {number_of(len(findings.records), 'image')}", header, rows)]
    if findings.subject_overlaps:
        tables.append(
            Table(
                "Subjects that overlap",
                ("subjects", "pairs", "of these, pixel-identical"),
                [
                    (" and ".join(overlap.subjects), str(len(overlap.pairs)), str(overlap.n_identical))
                    for overlap in findings.subject_overlaps[:_SUBJECT_PAIRS]
                ],
            )
        )
    if findings.label_conflicts:
        shown = [
            tuple(findings.records[place].image for place in (pair.first, pair.second))
            for pair in findings.label_conflicts[:_CONFLICTS_PRINTED]
        ]
        more = len(findings.label_conflicts) - len(shown)
        shown += [(f"and {number_of(more, 'pair')} more", "in audit.json")] if more else []
        header = ("one of these two labels is wrong", "")
        tables.append(Table(f"Pairs with different labels: {len(findings.label_conflicts)}", header, shown))
    sides = findings.sides
    if sides is not None:
        tables.append(
            Table(
                f"Split across sides: {sides.name}",
                ("side", "images", "with a copy on another side"),
                [(side, str(count), str(sides.torn.get(side, 0))) for side, count in sides.counts.items()],
            )
        )
        if findings.has_subjects:
            some = ", ".join(list(sides.subjects)[:10]) + (", ..." if len(sides.subjects) > 10 else "")
            rows = [(str(len(sides.subjects)), some or "none")]
            tables.append(Table("Subjects on several sides", ("subjects", "names"), rows))
    if leaks is not None:
        names = protocol_names([arm.protocol for arm in leaks.arms])
        rows = [(name, *_arm_figures(arm)) for name, arm in zip(names, leaks.arms, strict=True)]
        tables.append(Table("One network, three protocols", ("protocol", "accuracy", "ROC AUC"), rows))
        tables.append(Table("What each leak adds", ("leak", "accuracy", "ROC AUC"), _worth_rows(leaks)))
    return tables


def _page(findings: Findings, leaks: Leaks | None) -> str:
    """Fill the template."""
    content = findings.to_json()
    pairs = findings.matches.pairs
    same_owner = [pair for pair in pairs if _relation(findings, pair) != "two"]
    overlaps = [
        OverlapRow(
            overlap.subjects,
            f"{number_of(len(overlap.pairs), 'pair')}, {overlap.n_identical} pixel-identical",
            _cards(findings, _spread(overlap.pairs, _PAIRS_A_SUBJECT_PAIR)),
        )
        for overlap in findings.subject_overlaps[:_SUBJECT_PAIRS]
    ]
    arms = [] if leaks is None else leaks.arms
    return render_page(
        "audit.html.j2",
        data=findings.data,
        has_subjects=findings.has_subjects,
        tiles=_tiles(findings),
        summary=_summary(findings),
        sides=content["sides"],
        across=_cards(findings, _spread(findings.sides.pairs, _PAIRS_SHOWN)) if findings.sides else [],
        overlaps=overlaps,
        n_overlaps=len(findings.subject_overlaps),
        together=findings.keep_together,
        leaks=leaks and leaks_as_json(leaks),
        arm_rows=[
            (name, *_arm_figures(arm))
            for name, arm in zip(protocol_names([arm.protocol for arm in arms]), arms, strict=True)
        ],
        worth_rows=[] if leaks is None else _worth_rows(leaks),
        kinds=[(KIND_WORDS[kind], *counts) for kind, counts in _kind_counts(findings).items()],
        conflicts=_cards(findings, _spread(findings.label_conflicts, _PAIRS_SHOWN)),
        others=_cards(findings, _spread(same_owner, _PAIRS_SHOWN)),
        n_others=len(same_owner),
        notices=_notices(findings),
        failures=[(failure.image, failure.reason) for failure in findings.failures],
    )


def _tiles(findings: Findings) -> list[tuple[str, str, str]]:
    """Return label, figure and note of each key figure."""
    pairs = findings.matches.pairs
    involved = {place for pair in pairs for place in (pair.first, pair.second)}
    subjects = {record.subject for record in findings.records if record.subject is not None}
    overlapping = {name for overlap in findings.subject_overlaps for name in overlap.subjects}
    tiles = [
        (
            "images",
            f"{len(findings.records)}",
            f"of {number_of(len(subjects), 'subject')}" if subjects else "subjects unknown",
        ),
        ("pairs showing the same cells", f"{len(pairs)}", f"among {number_of(len(involved), 'image')}"),
        ("subjects that overlap", f"{len(overlapping)}" if subjects else NONE, "with another subject"),
    ]
    if findings.sides is not None:
        sides = findings.sides
        tiles.append(("pairs across sides", f"{len(sides.pairs)}", sides.name))
        if subjects:
            tiles.append(("subjects on several sides", f"{len(sides.subjects)}", sides.name))
    return tiles


def _summary(findings: Findings) -> list[str]:
    """Summarise in a few sentences what was done and found."""
    pairs = findings.matches.pairs
    counts = Counter(pair.kind for pair in pairs)
    done = (
        f"All {number_of(len(findings.records), 'image')} were compared with one another: whole, in all eight rotated"
        " and mirrored views, and patch by patch. The two images of each of"
        f" {number_of(findings.matches.n_candidates, 'candidate pair')} were then aligned; a pair is listed if the"
        " fine texture of the shared area agrees (correlation of 0.75 or more). Among 900 candidates in C-NMC, no two"
        " different cells agreed by more than 0.70, and among 308 in drawn cells, by more than 0.61; other images"
        " were not measured."
    )
    if not pairs:
        return [done, "No two images show the same cells."]
    kinds = ", ".join(f"{counts[kind]} {KIND_WORDS[kind]}" for kind in Kind if counts[kind])
    found = f"Found: {number_of(len(pairs), 'pair')}, {kinds}."
    if findings.subject_overlaps:
        names = "; ".join(" and ".join(overlap.subjects) for overlap in findings.subject_overlaps[:10])
        across = sum(len(overlap.pairs) for overlap in findings.subject_overlaps)
        found += f" Pairs across two subjects: {across} ({names})."
    if findings.label_conflicts:
        found += f" Pairs with different labels, one of which must be wrong: {len(findings.label_conflicts)}."
    return [done, found]


def _notices(findings: Findings) -> list[str]:
    """List what else a reader should know."""
    notices = [as_options(notice.text) for notice in findings.notices]
    if "all-idb" in findings.data.layout:
        notices.append(
            "Every crop of ALL-IDB2 is cut from an image of ALL-IDB1, whether or not it was located here: the two"
            " sets are never independent, and all crops of one field show one person."
        )
        both = "all-idb1" in findings.data.layout and "all-idb2" in findings.data.layout
        if both:
            notices.append(_located_words(findings))
        else:
            notices.append("Pass the folder that holds both ALL-IDB1 and ALL-IDB2 to locate each crop in its field.")
    if findings.data.without_detail:
        notices.append(
            f"Too little detail to compare (masks, empty fields): {number_of(findings.data.without_detail, 'image')},"
            " compared only for identical pixels."
        )
    if findings.matches.n_left_out:
        notices.append(
            f"Not compared, because there were too many: {number_of(findings.matches.n_left_out, 'weak candidate')}"
            " for crops and overlaps."
        )
    if not findings.matches.searched_fields:
        notices.append(
            "Small images were not searched for at every position of much larger ones: there are too many of both."
        )
    return notices


def _located_words(findings: Findings) -> str:
    """Count the crops of ALL-IDB2 that were located in ALL-IDB1."""
    crops = {place for place, record in enumerate(findings.records) if record.image.startswith("ALL-IDB2/")}
    located = {
        place
        for pair in findings.matches.pairs
        if ((pair.first in crops) != (pair.second in crops))
        for place in (pair.first, pair.second)
        if place in crops
    }
    return f"Located in an image of ALL-IDB1: {len(located)} of {number_of(len(crops), 'crop')} of ALL-IDB2."


def _relation(findings: Findings, pair: Pair) -> str:
    """Tell whether a pair belongs to one subject, to two, or to an unknown one."""
    ours, theirs = (findings.records[place].subject for place in (pair.first, pair.second))
    if ours is None or theirs is None:
        return "unknown"
    return "one" if ours == theirs else "two"


def _kind_counts(findings: Findings) -> dict[Kind, tuple[int, int, int, int]]:
    """Count the pairs of each kind: all, of one subject, of two, of an unknown one."""
    counts = Counter((pair.kind, _relation(findings, pair)) for pair in findings.matches.pairs)
    table = {kind: [counts[kind, relation] for relation in ("one", "two", "unknown")] for kind in Kind}
    return {kind: (sum(row), row[0], row[1], row[2]) for kind, row in table.items() if sum(row)}


def _spread(pairs: Sequence[Pair], most: int) -> list[Pair]:
    """Take at most `most` pairs, evenly from the most to the least alike."""
    if len(pairs) <= most:
        return list(pairs)
    return [pairs[round(place)] for place in np.linspace(0, len(pairs) - 1, most)]


def _cards(findings: Findings, pairs: Sequence[Pair]) -> list[PairCard]:
    """Build the cards of some pairs."""
    cards: list[PairCard] = []
    for pair in pairs:
        first, second = (findings.records[place] for place in (pair.first, pair.second))
        what = KIND_WORDS[pair.kind]
        if pair.kind is not Kind.IDENTICAL:
            what += f", agreement {pair.agreement:.2f}" + (f"; {_view_words(pair.view)}" if pair.view else "")
        cards.append(
            PairCard(
                (first.image, second.image),
                (first.subject or "", second.subject or ""),
                what,
                (_thumbnail(first.path), _thumbnail(second.path)),
            )
        )
    return cards


def _view_words(view: int) -> str:
    """Describe the orientation of the second picture.

    Examples
    --------
    >>> _view_words(1), _view_words(5)
    ('mirrored', 'rotated by 90 degrees')
    """
    mirrored = (view & 1) + (view >> 1 & 1) + (view >> 2 & 1)
    if view == 3:
        return "rotated by 180 degrees"
    if mirrored % 2 == 0:
        return "rotated by 90 degrees"
    return "mirrored and rotated" if view & 4 else "mirrored"


def _thumbnail(path: Path) -> bytes | None:
    """Return a small JPEG of a file; None if it can no longer be read."""
    try:
        small = Image.fromarray(read_image(path, at_least=_THUMBNAIL_PX).pixels)
    except ImageError:
        return None
    small.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=85)
    return buffer.getvalue()


def _arm_figures(arm: Arm) -> tuple[str, ...]:
    """Write one protocol's figures with their intervals."""
    return tuple(with_interval(figure) for figure in arm.figures.values())


def _worth_rows(leaks: Leaks) -> list[tuple[str, ...]]:
    """Write what each leak adds."""
    return [(entry.leak, *(signed_with_interval(gain) for gain in entry.gains.values())) for entry in leaks.worth]
