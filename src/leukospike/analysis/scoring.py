"""Many images and a model: tables of cells, images and subjects, on one machine."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import UInt8
from PIL import Image

from leukospike.analysis.scorers import CellSize, Scored, Scorer, ShippedScorer
from leukospike.classification.explanation import CellToExplain, Explainer, chosen_cells, write_explanations
from leukospike.confidence import EVEN
from leukospike.datasets import Record
from leukospike.datasets.decoding import decoded
from leukospike.environment import describe_environment
from leukospike.errors import WeightsError
from leukospike.evaluation.metrics import THRESHOLD
from leukospike.failures import Failure, write_failures
from leukospike.images.framing import view_of
from leukospike.images.reading import Picture
from leukospike.jobs import Progress, silent
from leukospike.plurals import number_of
from leukospike.segmentation import CELL_COLUMNS, PixelSize, Quality, Segmentation, cell_row, overlay
from leukospike.segmentation.class_maps import Segmenter
from leukospike.segmentation.cutout import cut_out
from leukospike.segmentation.detection import Matches, match_centroids
from leukospike.segmentation.files import (
    IMAGE_COLUMNS,
    image_row,
    name_failure,
    output_stem,
    segmented,
    write_pixels,
)
from leukospike.segmentation.result import Doubt
from leukospike.segmentation.scale import PLAUSIBLE_CELL_UM
from leukospike.settings import Kind
from leukospike.storage.files import write_table, write_text, written_whole

DECISIONS = ("normal", "leukemic")
BLANK = "blank"
"""Flag of a cell without a single spike, or of an image of an even grey: it gets no probability."""

LARGE = "large"
"""Flag of an image with a side over 1,024 pixels that is taken for a single cell: probably a whole field."""

NO_CELL = "no_cell"
"""Flag of an image of a single cell in which the segmenter finds no white cell, as on many crops of platelets."""

OUTLIER = "outlier"
"""Flag of a cell unlike those that the scorer was trained on: it takes no part in what is said of its subject."""

BORDER = "border"
"""Flag of a cell of a field that the image's border cuts: it gets a probability and takes no part in the means."""

NOT_COUNTED = frozenset({BORDER, OUTLIER})
"""Flags of cells that are scored and not counted: they are in no mean of a subject, and in no number of calls."""

EXPLAINED = 12
"""Cells that an analysis explains, of those that are counted."""

OVERLAYS = "overlays"
"""Folder of the fields with numbered outlines."""

_DOUBTFUL = {flag.value for flag in Quality} | {Doubt.SCALE.value, Doubt.NO_SCALE.value}
_LARGE_PX = 1024
_LARGEST_ON_BACKGROUND_PX = 512  # training pictures that are larger, and not on black, were of fields
_DIGITS = 6  # of probabilities and shares: two runtimes agree to four
_NAMED = 5  # subjects in a notice
_THUMBNAIL_PX = 64
_FIRST_MEASURES = ("cell", "top", "left", "height", "width", "area_px")
_MEASURES = (*_FIRST_MEASURES, *(name for name in CELL_COLUMNS[1:] if name not in _FIRST_MEASURES))
_PER_SUBJECT = ("subject", "cells", "counted", "leukemic", "mean_probability", "share_leukemic")
_PER_IMAGE = ("image", "subject", "kind", "cells", "counted", "leukemic", *IMAGE_COLUMNS[2:], "scaled_by", "overlay")


@dataclass(frozen=True)
class Analysis:
    """What `analyze_cells` wrote."""

    cells: pd.DataFrame
    """One row a cell: image, subject, probability, decision, flags; with a segmenter also its place and measures."""
    subjects: pd.DataFrame
    """One row a subject: subject, cells, counted, leukemic, mean_probability, share_leukemic, decision."""
    failures: tuple[Failure, ...]
    notices: tuple[str, ...]
    """What a reader of the tables should know, a sentence or two each."""


@dataclass(frozen=True)
class _Cell:
    """One cell that was read or cut out."""

    record: Record
    nothing: bool
    """Whether there was nothing to score."""
    flags: tuple[str, ...]
    thumbnail: UInt8[np.ndarray, "64 64 3"]
    measures: dict[str, Any]


@dataclass(frozen=True)
class _Read:
    """One image, and the cells in it."""

    cells: list[_Cell]
    generated: bool
    row: dict[str, Any]
    """Of `images.csv`, but for what the scores decide."""
    matches: Matches | None


def analyze_cells(
    records: Sequence[Record],
    scorer: Scorer,
    out: Path,
    *,
    segmenter: Segmenter | None = None,
    kind: Kind = Kind.AUTO,
    pixel_size: PixelSize | None = None,
    strict: bool = False,
    prevalence: float = EVEN,
    explainer: Explainer | None = None,
    progress: Progress = silent,
) -> Analysis:
    """Give each cell its probability, and each subject the mean of its counted cells.

    An image is of a single cell or a whole field. A field is segmented; each white cell is cut out, shown as the
    scorer wants it (`segmentation.cutout`), and scored. That of a single cell is scored as it is, also where the
    segmenter finds no white cell in it, which gets a flag; but if the scorer wants cells cut out, and it is not yet as
    wanted, the cell in its middle is cut out, and without one there is no probability. Cells that the border of a field
    cuts and outliers are scored, flagged and not counted: they take no part in what is said of subjects and images. A
    field that cannot be read, such as a blank one, has a row in `images.csv` with its flags, and no cells.

    Parameters
    ----------
    records : sequence of Record
    scorer : Scorer
    out : Path
        An existing folder. Written into it: `cells.csv`, `subjects.csv`, `summary.json`, `thumbnails.npz`; if an
        image could not be used, `failures.csv`; with a segmenter `images.csv`; if there is a field, `overlays/`.
    segmenter : callable, optional
        Without it all images are taken for single cells, and cells have neither place nor measures.
    kind : Kind
        Auto: told by what the image shows, `Segmentation.shows_one_cell`.
    pixel_size : PixelSize, optional
        Of all images. If not given: what a file states, else what the red cells of a field show.
    strict : bool
        Give no cells of a field of whose quality anything is said.
    prevalence : float
        Of leukemia among those examined; for scorers that give subjects a posterior.
    explainer : Explainer, optional
        Of the package's classifier: explains `EXPLAINED` cells, to `explanations.json` and `explanations.npz`.
    progress : Progress

    Returns
    -------
    Analysis

    Raises
    ------
    WeightsError
        If the scorer gives a cell that is not blank no probability.
    """
    reader = _Reader(scorer, out, segmenter, kind, pixel_size, strict=strict)
    cells: list[_Cell] = []
    rows: list[dict[str, Any]] = []
    matches: list[Matches] = []
    generated = False
    for read in reader.read(records, progress):
        cells += read.cells
        rows.append(read.row)
        matches += [] if read.matches is None else [read.matches]
        generated |= read.generated
    scored = scorer.scored()
    model = scorer.describe()
    for cell, value in zip(cells, scored.probability, strict=True):
        if not cell.nothing and not np.isfinite(value):
            # Finite weights can be too large for float32 all the same.
            msg = (
                f"analyze: weights must give each cell a probability, got {value} for {cell.record.image} with"
                f" {model['name']}. Train again."
            )
            raise WeightsError(msg)

    table = _cell_table(cells, scored, with_measures=segmenter is not None)
    images = _image_table(rows, table)
    subjects = _subject_table(table, scored, scorer, prevalence)
    n_fields = sum(row["kind"] == Kind.FIELD for row in rows)
    counted = _counted(table)
    notices = _notices(table, images, reader.failures, scorer)
    summary: dict[str, Any] = {
        "images": len(records),
        "failed": len(reader.failures),
        "cells": len(table),
        "scored": int(np.isfinite(table["probability"].to_numpy(np.float64)).sum()),
        "counted": len(counted),
        "leukemic": int((counted["decision"].to_numpy(str) == DECISIONS[1]).sum()),
        "generated": generated,
        "decision_threshold": THRESHOLD,
        "prevalence": prevalence if isinstance(scorer, ShippedScorer) else None,
        "model": model,
        "kinds": {"asked": kind.value, "cell": len(rows) - n_fields, "field": n_fields},
        "scale": _scale(scorer, images) if n_fields else None,
        "detection": _detection(matches),
        "environment": describe_environment(),
        "notices": notices,
    }
    if explainer is not None and isinstance(scorer, ShippedScorer):
        write_explanations(out, explainer.explain(_worth_explaining(cells, table, scorer)))
    write_table(out / "cells.csv", table)
    write_table(out / "subjects.csv", subjects)
    if segmenter is not None:
        write_table(out / "images.csv", images)
    if reader.failures:
        write_failures(out / "failures.csv", reader.failures)
    with written_whole(out / "thumbnails.npz") as part:
        no_thumbnails = np.zeros((0, _THUMBNAIL_PX, _THUMBNAIL_PX, 3), np.uint8)
        np.savez_compressed(
            part,
            images=np.array([cell.record.image for cell in cells], dtype=str),
            cells=np.array([cell.measures.get("cell", 0) for cell in cells], dtype=np.int64),
            thumbnails=np.stack([cell.thumbnail for cell in cells]) if cells else no_thumbnails,
        )
    write_text(out / "summary.json", json.dumps(summary, indent=1))
    return Analysis(table, subjects, tuple(reader.failures), tuple(notices))


def _worth_explaining(cells: Sequence[_Cell], table: pd.DataFrame, scorer: ShippedScorer) -> list[CellToExplain]:
    """Choose the cells that the scorer is least and most sure of, of those that are counted."""
    probability = table["probability"].where(table.index.isin(_counted(table).index)).to_numpy(np.float64)
    return [
        CellToExplain(
            image=cells[place].record.image,
            number=int(cells[place].measures.get("cell", 0)),
            probability=float(probability[place]),
            crop=scorer.judged_crops[place],
            segmented={
                name: float(value)
                for name in ("nc_ratio", "circularity")
                if (value := cells[place].measures.get(name)) is not None and np.isfinite(value)
            },
        )
        for place in chosen_cells(probability, EXPLAINED, threshold=THRESHOLD)
    ]


class _Reader:
    """Takes images to cells, shows each to the scorer, and writes the overlays of fields."""

    def __init__(
        self,
        scorer: Scorer,
        out: Path,
        segmenter: Segmenter | None,
        kind: Kind,
        pixel_size: PixelSize | None,
        *,
        strict: bool,
    ) -> None:
        self._scorer, self._out, self._segmenter, self._kind, self._size = scorer, out, segmenter, kind, pixel_size
        self._strict = strict
        self._framing = scorer.framing
        self._names: set[str] = set()
        self.failures: list[Failure] = []

    def read(self, records: Sequence[Record], progress: Progress) -> Iterator[_Read]:
        """Give the images that can be used, in their order."""
        pictures = self._pictures(records, progress)
        if self._segmenter is None:
            yield from (self._single(record, picture, None) for record, picture in pictures)
            return
        for record, picture, segmentation in segmented(
            pictures, self._segmenter, pixel_size=self._size, strict=self._strict
        ):
            if self._kind_of(segmentation) is Kind.CELL:
                yield self._single(record, picture, segmentation)
            elif (failure := name_failure(record.image, stem := output_stem(record.image, self._names))) is not None:
                self.failures.append(failure)
            else:
                yield self._field(record, picture, segmentation, stem)

    def _pictures(self, records: Sequence[Record], progress: Progress) -> Iterator[tuple[Record, Picture]]:
        """Decode images, and note those that cannot be."""
        for done, (record, result) in enumerate(decoded(records), start=1):
            if isinstance(result, Picture):
                yield record, result
            else:
                self.failures.append(Failure(record.image, str(result)))
            progress("analyze", done, len(records))

    def _kind_of(self, segmentation: Segmentation) -> Kind:
        """Tell a picture of one cell from a whole field."""
        if self._kind is not Kind.AUTO:
            return self._kind
        return Kind.CELL if segmentation.shows_one_cell else Kind.FIELD

    def _single(self, record: Record, picture: Picture, segmentation: Segmentation | None) -> _Read:
        """Take an image of one cell, as it is or cut out; what the segmenter finds in its middle is measured."""
        flags = [] if segmentation is None else [*segmentation.flags]
        if max(picture.pixels.shape) > _LARGE_PX:
            flags.append(LARGE)
        if segmentation is not None and not segmentation.measures and BLANK not in flags:
            flags.append(NO_CELL)
        measures = {} if segmentation is None else _middle_cell(segmentation)
        row = {"image": record.image, "subject": record.subject, "kind": Kind.CELL.value, "cells": 1, "scaled_by": ""}
        row |= {} if segmentation is None else _about(picture, segmentation)
        shown, size = picture.pixels, None
        if self._scorer.cuts_out and not self._as_wanted(picture):
            shown, size = self._cut_out(picture.pixels, segmentation, measures)
        return _Read([self._cell(record, shown, size, flags, measures)], picture.generated, row, None)

    def _as_wanted(self, picture: Picture) -> bool:
        """Tell whether an image shows its cell as the scorer wants it, of the same size and on black."""
        return (
            picture.pixels.shape[:2] == (self._framing.side_px, self._framing.side_px)
            and view_of(picture).cell_share is not None
        )

    def _cut_out(
        self, pixels: UInt8[np.ndarray, "rows columns 3"], segmentation: Segmentation | None, measures: dict[str, Any]
    ) -> tuple[UInt8[np.ndarray, "side side 3"], CellSize]:
        """Cut the cell in the middle of an image out, and give its size there; black if there is none."""
        side = self._framing.side_px
        if segmentation is None or not measures:
            return np.zeros((side, side, 3), np.uint8), CellSize(0.0, None, (len(pixels), len(pixels[0])))
        even = segmentation.light.correct(pixels)
        shown = cut_out(even, segmentation.instances, measures["cell"], self._framing)
        return shown, _size_of(measures, segmentation)

    def _field(self, record: Record, picture: Picture, segmentation: Segmentation, stem: str) -> _Read:
        """Cut the cells of a field out, each shown as the model's training images show theirs."""
        drawn = overlay(picture.pixels, segmentation.mask, segmentation.instances)
        overlay_name = f"{OVERLAYS}/{stem}_overlay.png"
        write_pixels(self._out / overlay_name, drawn)
        um_per_px = None if segmentation.pixel_size is None else segmentation.pixel_size.um_per_px
        cells: list[_Cell] = []
        even = segmentation.light.correct(picture.pixels) if segmentation.measures else picture.pixels
        for measures in map(cell_row, segmentation.measures):
            shown = cut_out(even, segmentation.instances, measures["cell"], self._framing, um_per_px=um_per_px)
            size = _size_of(measures, segmentation)
            cells.append(self._cell(record, shown, size, [BORDER] if measures["border"] else [], measures))
        by_size = um_per_px is not None and self._framing.um_per_px is not None
        row = {"image": record.image, "subject": record.subject, "kind": Kind.FIELD.value, "cells": len(cells)}
        way = "source" if self._scorer.cuts_out else "pixel size" if by_size else "proportion"
        row |= {"scaled_by": way if cells else "", "overlay": overlay_name}
        row |= _about(picture, segmentation)
        matches = None if record.centroids is None else match_centroids(record.centroids, segmentation.cells)
        return _Read(cells, picture.generated, row, matches)

    def _cell(
        self,
        record: Record,
        pixels: UInt8[np.ndarray, "rows columns 3"],
        size: CellSize | None,
        flags: list[str],
        measures: dict[str, Any],
    ) -> _Cell:
        """Show one cell to the scorer."""
        nothing = self._scorer.take(pixels, size)
        # Where there was no cell to cut out, the flags say so; the image itself need not be blank.
        if nothing and size is None and BLANK not in flags:
            flags = [BLANK, *flags]
        thumbnail = Image.fromarray(pixels)
        thumbnail.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
        canvas = Image.new("RGB", (_THUMBNAIL_PX, _THUMBNAIL_PX))
        canvas.paste(thumbnail, ((_THUMBNAIL_PX - thumbnail.width) // 2, (_THUMBNAIL_PX - thumbnail.height) // 2))
        return _Cell(record, nothing, tuple(flags), np.asarray(canvas), measures)


def _size_of(measures: dict[str, Any], segmentation: Segmentation) -> CellSize:
    """Give the size of a cell in its image."""
    rows, columns = segmentation.mask.shape
    return CellSize(2 * float(np.sqrt(measures["area_px"] / np.pi)), segmentation.pixel_size, (rows, columns))


def _about(picture: Picture, segmentation: Segmentation) -> dict[str, Any]:
    """Say what segmentation says of an image, but for the number of cells, which depends on its kind."""
    return {name: value for name, value in image_row(picture, segmentation).items() if name not in {"image", "cells"}}


def _middle_cell(segmentation: Segmentation) -> dict[str, Any]:
    """Give the measures of the cell in the middle of an image of one cell; none if none is found."""
    number = segmentation.middle_cell
    return {} if number is None else cell_row(segmentation.measures[number - 1])


def _cell_table(cells: Sequence[_Cell], scored: Scored, *, with_measures: bool) -> pd.DataFrame:
    """Give one row a cell, in the order of the images."""
    nothing = np.array([cell.nothing or BLANK in cell.flags for cell in cells], bool)
    # A blank image looks like nothing the model knows: no probability, rather than a made-up one. Rounded before
    # anything is made of it, so that all the rest can be had from the table.
    values = np.where(nothing, np.nan, np.round(scored.probability, _DIGITS))
    decisions = np.where(np.isnan(values), "", np.where(values >= THRESHOLD, DECISIONS[1], DECISIONS[0]))
    outliers = scored.outlier & np.logical_not(nothing)
    table = pd.DataFrame(
        {
            "image": [cell.record.image for cell in cells],
            "subject": [cell.record.subject for cell in cells],
            "probability": values,
            "decision": decisions,
            **{name: pd.Series(column, dtype=object).mask(nothing) for name, column in scored.columns.items()},
            "flags": [
                " ".join((*cell.flags, OUTLIER) if outlier else cell.flags)
                for cell, outlier in zip(cells, outliers, strict=True)
            ],
        }
    )
    if not with_measures:
        return table
    measures = pd.DataFrame([cell.measures for cell in cells], columns=pd.Index(_MEASURES))
    # Whole numbers stay whole beside an image in which no cell was found.
    types = dict.fromkeys(_MEASURES, "float64")
    types |= dict.fromkeys((*_FIRST_MEASURES, "nucleus_area_px"), "Int64") | {"border": "boolean"}
    return pd.concat([table, measures.astype(types)], axis=1)


def _image_table(rows: Sequence[dict[str, Any]], cells: pd.DataFrame) -> pd.DataFrame:
    """Give one row an image, with what the scores of its cells come to."""
    counted = _counted(cells)
    of_image = counted["image"].value_counts()
    leukemic = counted.loc[counted["decision"] == DECISIONS[1], "image"].value_counts()
    counts = [{"counted": of_image.get(row["image"], 0), "leukemic": leukemic.get(row["image"], 0)} for row in rows]
    table = pd.DataFrame([row | count for row, count in zip(rows, counts, strict=True)], columns=pd.Index(_PER_IMAGE))
    return table.astype({"red_cells": "Int64"})  # whole numbers stay whole beside an image where none were counted


def _counted(cells: pd.DataFrame) -> pd.DataFrame:
    """Leave out the cells that have no probability, those that the border of a field cuts, and outliers."""
    unmarked = [not NOT_COUNTED & set(flags.split()) for flags in cells["flags"].to_list()]
    scored = np.isfinite(cells["probability"].to_numpy(np.float64))
    return cells.loc[scored & np.array(unmarked, dtype=bool)]


def _subject_table(table: pd.DataFrame, scored: Scored, scorer: Scorer, prevalence: float) -> pd.DataFrame:
    """Give one row a subject: its cells' mean probability, and how likely leukemia where the scorer can tell.

    Of counted cells alone. The decision is on the posterior, or else on the mean.
    """
    known = _counted(table).dropna(subset=["subject"])
    rows: list[dict[str, Any]] = []
    for subject in sorted(known["subject"].unique()):
        own = known.loc[known["subject"] == subject]
        leukemic = int((own["decision"] == DECISIONS[1]).sum())
        values = (
            subject,
            int((table["subject"] == subject).sum()),
            len(own),
            leukemic,
            round(float(own["probability"].mean()), _DIGITS),
            round(leukemic / len(own), _DIGITS),
        )
        rows.append(dict(zip(_PER_SUBJECT, values, strict=True)))
    subjects = pd.DataFrame(rows, columns=list(_PER_SUBJECT))
    decided_by = "mean_probability"
    if isinstance(scorer, ShippedScorer):
        ways = scored.ways[:, known.index.to_numpy()]
        counts = scorer.subjects(ways, known["subject"].to_numpy(str), prevalence=prevalence)
        subjects, decided_by = subjects.merge(counts, on="subject"), "posterior"
    subjects["decision"] = np.where(subjects[decided_by] >= THRESHOLD, DECISIONS[1], DECISIONS[0])
    return subjects


def _scale(scorer: Scorer, images: pd.DataFrame) -> dict[str, Any]:
    """Say at which scale the cells of fields were shown to the model."""
    framing = scorer.framing
    ways = images["scaled_by"].to_list()
    return {
        "model_picture_px": framing.side_px,
        "model_um_per_px": framing.um_per_px,
        "model_cell_share": framing.cell_share,
        "model_cells_on_black": framing.on_black,
        "known_from": scorer.framing_from,
        "fields_by_pixel_size": ways.count("pixel size"),
        "fields_by_proportion": ways.count("proportion"),
        "fields_by_source": ways.count("source"),
    }


def _detection(matches: Sequence[Matches]) -> dict[str, Any] | None:
    """Score the found cells against listed ones; None where no field has a list."""
    if not matches:
        return None
    listing = [match for match in matches if match.listed]
    listed, found, matched = (sum(getattr(match, name) for match in listing) for name in ("listed", "found", "matched"))
    return {
        "fields": len(listing),
        "listed": listed,
        "found": found,
        "matched": matched,
        "recall": matched / listed if listed else None,
        "precision": matched / found if found else None,
        "fields_with_empty_list": len(matches) - len(listing),
        "found_in_those": sum(match.found for match in matches if not match.listed),
    }


def _notices(
    table: pd.DataFrame,
    images: pd.DataFrame,
    failures: Sequence[Failure],
    scorer: Scorer,
) -> list[str]:
    """Say what a reader of the tables should know."""
    notices = scorer.notices()
    if failures:
        notices.append(f"{number_of(len(failures), 'file')} could not be used; failures.csv gives the reason.")
    fields = images.loc[images["kind"] == Kind.FIELD.value]
    if len(fields):
        notices += _field_notices(fields, scorer)
    blank, large, no_cell, border = (
        sum(flag in flags.split() for flags in table["flags"].to_list()) for flag in (BLANK, LARGE, NO_CELL, BORDER)
    )
    if border:
        which = number_of(border, "cell is", "cells are")
        notices.append(f"{which} cut by the border of a field: scored, but not counted for subject or image.")
    outliers = sum(OUTLIER in flags.split() for flags in table["flags"].to_list())
    if 2 * outliers > len(table):
        which = number_of(outliers, "cell is an outlier", "cells are outliers")
        notices.append(
            f"{which}, of {len(table)}: most of what was found is unlike the training cells. Look at the pictures"
            " before you believe what is said of the others."
        )
    if blank:
        which = number_of(blank, "image is", "images are")
        notices.append(f"{which} blank: there is nothing to see that could have a probability.")
    if large:
        which = number_of(large, "image is", "images are")
        notices.append(f"{which} larger than {_LARGE_PX} pixels; the model expects single cells.")
    if no_cell:
        which = number_of(no_cell, "image of a single cell", "images of single cells")
        so = "So there is no probability" if scorer.cuts_out else "Scored all the same"
        notices.append(f"In {which} no white cell was found. {so}: see whether there is one.")
    doubtful = sum(bool((_DOUBTFUL - {BLANK}) & set(flags.split())) for flags in images["flags"].dropna().to_list())
    if doubtful:
        which = number_of(doubtful, "image looks", "images look")
        notices.append(
            f"{which} as if something were wrong (dark, blurred, no smear, of an unknown scale): flags and advice in"
            " images.csv say what. Their cells were scored all the same; look at these images."
        )
    sizes = sum(Doubt.PIXEL_SIZE in flags.split() for flags in images["flags"].dropna().to_list())
    if sizes:
        low, high = PLAUSIBLE_CELL_UM
        notices.append(
            f"In {number_of(sizes, 'image')} the pixel size is implausible: red cells say another, or by it white cells"
            f" would be smaller than {low:g} or larger than {high:g} micrometres. Check --pixel-size, or what the files"
            " state."
        )
    said_of = set(_counted(table)["subject"].dropna().to_list())
    if silent := sorted(set(table["subject"].dropna().to_list()) - said_of):
        names = ", ".join(map(str, silent[:_NAMED])) + (", ..." if len(silent) > _NAMED else "")
        notices.append(
            f"Nothing is said of {number_of(len(silent), 'subject')} ({names}), without a row in subjects.csv: no cell"
            " is counted, since all are outliers, cut by a border, or without a probability."
        )
    if not any(isinstance(subject, str) for subject in [*table["subject"].to_list(), *images["subject"].to_list()]):
        notices.append(
            "No subjects are known: put each subject's images into a folder of its own and give the folder that holds"
            " these, or use a manifest."
        )
    return notices


def _field_notices(fields: pd.DataFrame, scorer: Scorer) -> list[str]:
    """Say how fields were told, read and brought to the model's scale."""
    framing, ways = scorer.framing, fields["scaled_by"].to_list()
    notices = [
        f"{number_of(len(fields), 'image was taken for a whole field', 'images were taken for whole fields')}. Without"
        " --kind, an image is of a single cell if it shows one, about its middle and large in it, or one on black."
    ]
    if empty := fields["cells"].to_list().count(0):
        notices.append(f"In {number_of(empty, 'field')} no white cell was found; images.csv says what else is known.")
    if scorer.cuts_out:
        return notices
    if scorer.framing_from != "model":
        notices.append(
            "The model does not say how its training images show their cells, as weights of version 0.1.0: the cells"
            " of fields are shown as C-NMC shows its cells."
        )
    elif framing.side_px > (_LARGE_PX if framing.on_black else _LARGEST_ON_BACKGROUND_PX):
        notices.append("The model was trained on whole fields: what it says of their single cells means little.")
    if by_size := ways.count("pixel size"):
        notices.append(
            f"In {number_of(by_size, 'field')}, cells were brought to the scale of the model's training images by pixel"
            " size; images.csv says which, and where it is from."
        )
    if by_proportion := ways.count("proportion"):
        lacking = "the model's" if framing.um_per_px is None else "the field's"
        notices.append(
            f"In {number_of(by_proportion, 'field')} the scale is not known ({lacking} pixel size is missing): cells"
            " were not brought to the training scale, but made as large in their picture as training cells in theirs."
            " So a cell's size tells the model nothing."
        )
    return notices
