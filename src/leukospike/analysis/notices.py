"""Notices of an analysis: when each one applies, and its text."""

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from leukospike.analysis.flags import BLANK, BORDER, DOUBTFUL, LARGE, NO_CELL, NOT_WHITE, OUTLIER
from leukospike.analysis.judges import Judge, JudgeFacts, Judgements
from leukospike.analysis.reading import LARGE_PX
from leukospike.analysis.tables import Tables, counted_cells
from leukospike.confidence.decision import Outcome
from leukospike.failures import Failure
from leukospike.notices import Notice, Severity
from leukospike.plurals import number_of
from leukospike.segmentation.result import Doubt
from leukospike.segmentation.scale import PLAUSIBLE_CELL_UM
from leukospike.settings import Kind

_LARGEST_ON_BACKGROUND_PX = 512  # larger training pictures that are not on black showed fields
_NAMED = 5  # subjects listed in a notice
_FEW_CELLS = 10  # counted cells; laboratories count 100 for a differential


def analysis_notices(
    tables: Tables, failures: Sequence[Failure], judge: Judge, judgements: Judgements
) -> tuple[Notice, ...]:
    """List what a reader of the tables should know.

    Parameters
    ----------
    tables : Tables
    failures : sequence of Failure
    judge : Judge
    judgements : Judgements

    Returns
    -------
    tuple of Notice
    """
    notices = _of_judge(judge.facts, judgements)
    if n := len(failures):
        notices.append(
            Notice(
                "failures",
                f"{number_of(n, 'file')} could not be used; the reasons are in failures.csv.",
                Severity.WARNING,
                {"files": n},
            )
        )
    fields = tables.images.loc[tables.images["kind"] == Kind.FIELD.value]
    if len(fields):
        notices += _of_fields(fields, len(tables.images) - len(fields), judge)
    notices += _of_cells(tables.cells, judge)
    notices += _of_images(tables.images)
    notices += _of_subjects(tables)
    # Warnings first: many a reader sees no more than the first few.
    return tuple(sorted(notices, key=lambda notice: notice.severity is not Severity.WARNING))


def _of_judge(facts: JudgeFacts, judgements: Judgements) -> list[Notice]:
    """State what applies to the judge."""
    notices: list[Notice] = []
    if facts.card is None:
        notices += _of_run(facts.folds or 1, facts.networks)
    elif n := judgements.n_as_given:
        notices.append(
            Notice(
                "as_given",
                f"Already cut out on black, as C-NMC's are: {number_of(n, 'image')}. The classifier"
                " was trained on the training folds of C-NMC, so cells from those folds get overly optimistic scores.",
                values={"images": n},
            )
        )
    return notices


def _of_run(n_folds: int, n_networks: int) -> list[Notice]:
    """State what applies to the networks of any run."""
    notices = [
        Notice(
            "uncalibrated",
            "The probabilities are not calibrated on other subjects, and unfamiliar cells are not recognised.",
            Severity.WARNING,
        )
    ]
    if n_folds > 1:
        each = "one" if n_networks == n_folds else str(n_networks // n_folds)
        notices.append(
            Notice(
                "mean_of_networks",
                f"Each probability is the mean of {n_networks} networks, {each} from each of the {n_folds} folds of a"
                " run.",
                values={"networks": n_networks, "folds": n_folds},
            )
        )
    return [
        *notices,
        Notice(
            "training_cells",
            "Cells that the run was trained on get overly optimistic scores: score other cells, or see the run's"
            " report.",
            Severity.WARNING,
        ),
    ]


def _of_cells(cells: pd.DataFrame, judge: Judge) -> list[Notice]:
    """Explain the flags of cells."""
    notices: list[Notice] = []
    flags = [set(own.split()) for own in cells["flags"].to_list()]
    blank, large, no_cell, border, outliers, not_white = (
        sum(flag in own for own in flags) for flag in (BLANK, LARGE, NO_CELL, BORDER, OUTLIER, NOT_WHITE)
    )
    if border:
        which = number_of(border, "cell is", "cells are")
        text = f"{which} cut off at the border of a field: scored, but not counted for the subject or image."
        notices.append(Notice("border", text, values={"cells": border}))
    if not_white:
        which = number_of(not_white, "cell is", "cells are")
        text = f"{which} no white cell (erythroblast, platelet, or none of the kinds): listed, but not counted."
        notices.append(Notice("not_white", text, values={"cells": not_white}))
    if 2 * outliers > len(cells):
        which = number_of(outliers, "cell is an outlier", "cells are outliers")
        text = (
            f"{which}, out of {len(cells)}: most of what was found is unlike the training cells. Look at the pictures"
            " before you trust the results for the others."
        )
        notices.append(Notice("mostly_outliers", text, Severity.WARNING, {"outliers": outliers, "cells": len(cells)}))
    elif outliers:
        which = number_of(outliers, "cell is an outlier", "cells are outliers")
        text = f"{which}, out of {len(cells)}: scored, but not counted, because the model does not know such cells."
        notices.append(Notice("outliers", text, values={"outliers": outliers, "cells": len(cells)}))
    if blank:
        which = number_of(blank, "image is", "images are")
        text = f"{which} blank: there is nothing to score."
        notices.append(Notice("blank", text, Severity.WARNING, {"images": blank}))
    if large:
        which = number_of(large, "image is", "images are")
        text = f"{which} larger than {LARGE_PX} pixels; the model expects single cells."
        notices.append(Notice("large", text, Severity.WARNING, {"images": large}))
    if no_cell:
        which = number_of(no_cell, "image of a single cell", "images of single cells")
        so = "Not scored" if judge.view.cuts_out else "Scored nevertheless"
        text = f"No white cell was found in {which}. {so}: check whether there is one."
        notices.append(Notice("no_cell", text, Severity.WARNING, {"images": no_cell}))
    return notices


def _of_images(images: pd.DataFrame) -> list[Notice]:
    """Report what may be wrong with images."""
    notices: list[Notice] = []
    flags = [set(own.split()) for own in images["flags"].dropna().to_list()]
    if doubtful := sum(bool((DOUBTFUL - {BLANK}) & own) for own in flags):
        which = number_of(doubtful, "image looks", "images look")
        text = (
            f"{which} doubtful (dark, blurred, not a smear, or of an unusual or unknown scale): see the columns flags"
            " and advice in images.csv. Their cells were scored nevertheless; check these images."
        )
        notices.append(Notice("doubtful_images", text, Severity.WARNING, {"images": doubtful}))
    if sizes := sum(Doubt.PIXEL_SIZE.value in own for own in flags):
        low, high = PLAUSIBLE_CELL_UM
        text = (
            f"The pixel size is implausible in {number_of(sizes, 'image')}: it contradicts the red cells, or would"
            f" make white cells smaller than {low:g} or larger than {high:g} micrometres. Check `pixel_size`, or the"
            " value stored in the files."
        )
        notices.append(Notice("pixel_size", text, Severity.WARNING, {"images": sizes}))
    return notices


def _of_subjects(tables: Tables) -> list[Notice]:
    """Name the subjects without a decision or result, and why."""
    notices: list[Notice] = []
    counts = Counter(counted_cells(tables.cells)["subject"].dropna().to_list())
    if "reason" in tables.subjects:
        for outcome, why in (
            (Outcome.UNFAMILIAR, "their cells, or those of all images, are mostly unlike the training cells"),
            (Outcome.NOT_ENOUGH, "their cells are too few, or leave it open"),
        ):
            own = tables.subjects.loc[tables.subjects["decision"] == outcome.value, "subject"].to_list()
            if own:
                text = (
                    f"{number_of(len(own), 'subject is', 'subjects are')} not decided ({_names(own)}): {why}. See the"
                    " column reason in subjects.csv."
                )
                values = {"subjects": len(own), "decision": outcome.value}
                notices.append(Notice("undecided", text, Severity.WARNING, values))
    else:
        notices += _of_few(tables, counts)
    subjects = [*tables.cells["subject"].to_list(), *tables.images["subject"].to_list()]
    if not any(isinstance(subject, str) for subject in subjects):
        text = (
            "No subjects are known: put each subject's images in a folder of its own and pass their parent folder, or"
            " use a manifest."
        )
        notices.append(Notice("no_subjects", text, Severity.WARNING))
    return notices


def _of_few(tables: Tables, counts: Counter[object]) -> list[Notice]:
    """Name the subjects with few counted cells, and with none, of a judge that does not abstain."""
    notices: list[Notice] = []
    if few := sorted(str(subject) for subject, n in counts.items() if n < _FEW_CELLS):
        text = (
            f"{number_of(len(few), 'subject has', 'subjects have')} fewer than {_FEW_CELLS} counted cells"
            f" ({_names(few)}): a single wrong call can decide their results."
        )
        notices.append(Notice("few_cells", text, Severity.WARNING, {"subjects": len(few), "fewer_than": _FEW_CELLS}))
    if silent := sorted(map(str, set(tables.cells["subject"].dropna().to_list()) - set(counts))):
        text = (
            f"{number_of(len(silent), 'subject has', 'subjects have')} no result and no row in subjects.csv"
            f" ({_names(silent)}):"
            " none of their cells counts, because all are outliers, cut off at a border, or without a probability."
        )
        notices.append(Notice("silent_subjects", text, Severity.WARNING, {"subjects": len(silent)}))
    return notices


def _names(subjects: Sequence[str]) -> str:
    """List the first few subjects."""
    return ", ".join(subjects[:_NAMED]) + (", ..." if len(subjects) > _NAMED else "")


def _of_fields(fields: pd.DataFrame, n_others: int, judge: Judge) -> list[Notice]:
    """Describe how fields were recognised, read and scaled to the model."""
    framing, ways = judge.view.framing, fields["scaled_by"].to_list()
    taken = number_of(len(fields), "image was treated as a whole field", "images were treated as whole fields")
    others = f", {number_of(n_others, 'other as a single cell', 'others as single cells')}" if n_others else ""
    notices = [
        Notice(
            "fields",
            f"{taken}{others}. Unless `kind` is set, an image counts as a single cell if it shows one large cell"
            " near its centre, or one cell on black.",
            values={"fields": len(fields), "single_cells": n_others},
        )
    ]
    if empty := fields["cells"].to_list().count(0):
        text = f"No white cell was found in {number_of(empty, 'field')}; images.csv lists what else is known."
        notices.append(Notice("empty_fields", text, Severity.WARNING, {"fields": empty}))
    if judge.view.cuts_out:
        return notices
    if judge.framing_from != "model":
        text = (
            "The model does not record how its training images frame their cells, as is the case for weights of"
            " version 0.1.0: cells from fields are framed as in C-NMC."
        )
        notices.append(Notice("framing_unknown", text, Severity.WARNING))
    elif framing.side_px > (LARGE_PX if framing.on_black else _LARGEST_ON_BACKGROUND_PX):
        text = "The model was trained on whole fields: its results for single cells mean little."
        notices.append(Notice("trained_on_fields", text, Severity.WARNING))
    if by_size := ways.count("pixel size"):
        text = (
            f"In {number_of(by_size, 'field')}, cells were scaled to the model's training images by pixel size;"
            " images.csv gives the size and its source."
        )
        notices.append(Notice("scaled_by_pixel_size", text, values={"fields": by_size}))
    if by_proportion := ways.count("proportion"):
        lacking = "the model's" if framing.um_per_px is None else "the field's"
        text = (
            f"The scale of {number_of(by_proportion, 'field')} is unknown ({lacking} pixel size is missing): cells"
            " were resized to fill as much of the picture as training cells do, so a cell's size tells the model"
            " nothing."
        )
        notices.append(Notice("scaled_by_proportion", text, Severity.WARNING, {"fields": by_proportion}))
    return notices
