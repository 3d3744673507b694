"""What a reader of an analysis should know: which notices there are, when each is given, and its words."""

from collections.abc import Sequence

import pandas as pd

from leukospike.analysis.flags import BLANK, BORDER, DOUBTFUL, LARGE, NO_CELL, OUTLIER
from leukospike.analysis.judges import Judge, Judgements
from leukospike.analysis.reading import LARGE_PX
from leukospike.analysis.tables import Tables, counted_cells
from leukospike.failures import Failure
from leukospike.notices import Notice, Severity
from leukospike.plurals import number_of
from leukospike.segmentation.result import Doubt
from leukospike.segmentation.scale import PLAUSIBLE_CELL_UM
from leukospike.settings import Kind

_LARGEST_ON_BACKGROUND_PX = 512  # training pictures that are larger, and not on black, were of fields
_NAMED = 5  # subjects in a notice


def analysis_notices(
    tables: Tables, failures: Sequence[Failure], judge: Judge, judgements: Judgements
) -> tuple[Notice, ...]:
    """Say what a reader of the tables should know.

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
    notices = judge.notices(judgements)
    if n := len(failures):
        notices.append(
            Notice(
                "failures",
                f"{number_of(n, 'file')} could not be used; failures.csv gives the reason.",
                Severity.WARNING,
                {"files": n},
            )
        )
    fields = tables.images.loc[tables.images["kind"] == Kind.FIELD.value]
    if len(fields):
        notices += _of_fields(fields, judge)
    notices += _of_cells(tables.cells, judge)
    notices += _of_images(tables.images)
    return (*notices, *_of_subjects(tables))


def _of_cells(cells: pd.DataFrame, judge: Judge) -> list[Notice]:
    """Say what the flags of cells mean."""
    notices: list[Notice] = []
    flags = [set(own.split()) for own in cells["flags"].to_list()]
    blank, large, no_cell, border, outliers = (
        sum(flag in own for own in flags) for flag in (BLANK, LARGE, NO_CELL, BORDER, OUTLIER)
    )
    if border:
        which = number_of(border, "cell is", "cells are")
        text = f"{which} cut by the border of a field: scored, but not counted for subject or image."
        notices.append(Notice("border", text, values={"cells": border}))
    if 2 * outliers > len(cells):
        which = number_of(outliers, "cell is an outlier", "cells are outliers")
        text = (
            f"{which}, of {len(cells)}: most of what was found is unlike the training cells. Look at the pictures"
            " before you believe what is said of the others."
        )
        notices.append(Notice("mostly_outliers", text, Severity.WARNING, {"outliers": outliers, "cells": len(cells)}))
    if blank:
        which = number_of(blank, "image is", "images are")
        text = f"{which} blank: there is nothing to see that could have a probability."
        notices.append(Notice("blank", text, Severity.WARNING, {"images": blank}))
    if large:
        which = number_of(large, "image is", "images are")
        text = f"{which} larger than {LARGE_PX} pixels; the model expects single cells."
        notices.append(Notice("large", text, Severity.WARNING, {"images": large}))
    if no_cell:
        which = number_of(no_cell, "image of a single cell", "images of single cells")
        so = "So there is no probability" if judge.view.cuts_out else "Scored all the same"
        text = f"In {which} no white cell was found. {so}: see whether there is one."
        notices.append(Notice("no_cell", text, Severity.WARNING, {"images": no_cell}))
    return notices


def _of_images(images: pd.DataFrame) -> list[Notice]:
    """Say what may be wrong with images."""
    notices: list[Notice] = []
    flags = [set(own.split()) for own in images["flags"].dropna().to_list()]
    if doubtful := sum(bool((DOUBTFUL - {BLANK}) & own) for own in flags):
        which = number_of(doubtful, "image looks", "images look")
        text = (
            f"{which} as if something were wrong (dark, blurred, no smear, of an unknown scale): flags and advice in"
            " images.csv say what. Their cells were scored all the same; look at these images."
        )
        notices.append(Notice("doubtful_images", text, Severity.WARNING, {"images": doubtful}))
    if sizes := sum(Doubt.PIXEL_SIZE.value in own for own in flags):
        low, high = PLAUSIBLE_CELL_UM
        text = (
            f"In {number_of(sizes, 'image')} the pixel size is implausible: red cells say another, or by it white cells"
            f" would be smaller than {low:g} or larger than {high:g} micrometres. Check `pixel_size`, or what the files"
            " state."
        )
        notices.append(Notice("pixel_size", text, Severity.WARNING, {"images": sizes}))
    return notices


def _of_subjects(tables: Tables) -> list[Notice]:
    """Say of which subjects nothing is said, and why."""
    notices: list[Notice] = []
    said_of = set(counted_cells(tables.cells)["subject"].dropna().to_list())
    if silent := sorted(set(tables.cells["subject"].dropna().to_list()) - said_of):
        names = ", ".join(map(str, silent[:_NAMED])) + (", ..." if len(silent) > _NAMED else "")
        text = (
            f"Nothing is said of {number_of(len(silent), 'subject')} ({names}), without a row in subjects.csv: no cell"
            " is counted, since all are outliers, cut by a border, or without a probability."
        )
        notices.append(Notice("silent_subjects", text, Severity.WARNING, {"subjects": len(silent)}))
    subjects = [*tables.cells["subject"].to_list(), *tables.images["subject"].to_list()]
    if not any(isinstance(subject, str) for subject in subjects):
        text = (
            "No subjects are known: put each subject's images into a folder of its own and give the folder that holds"
            " these, or use a manifest."
        )
        notices.append(Notice("no_subjects", text, Severity.WARNING))
    return notices


def _of_fields(fields: pd.DataFrame, judge: Judge) -> list[Notice]:
    """Say how fields were told, read and brought to the model's scale."""
    framing, ways = judge.view.framing, fields["scaled_by"].to_list()
    taken = number_of(len(fields), "image was taken for a whole field", "images were taken for whole fields")
    notices = [
        Notice(
            "fields",
            f"{taken}. Without `kind`, an image is of a single cell if it shows one, about its middle and large in it,"
            " or one on black.",
            values={"fields": len(fields)},
        )
    ]
    if empty := fields["cells"].to_list().count(0):
        text = f"In {number_of(empty, 'field')} no white cell was found; images.csv says what else is known."
        notices.append(Notice("empty_fields", text, Severity.WARNING, {"fields": empty}))
    if judge.view.cuts_out:
        return notices
    if judge.framing_from != "model":
        text = (
            "The model does not say how its training images show their cells, as weights of version 0.1.0: the cells"
            " of fields are shown as C-NMC shows its cells."
        )
        notices.append(Notice("framing_unknown", text, Severity.WARNING))
    elif framing.side_px > (LARGE_PX if framing.on_black else _LARGEST_ON_BACKGROUND_PX):
        text = "The model was trained on whole fields: what it says of their single cells means little."
        notices.append(Notice("trained_on_fields", text, Severity.WARNING))
    if by_size := ways.count("pixel size"):
        text = (
            f"In {number_of(by_size, 'field')}, cells were brought to the scale of the model's training images by pixel"
            " size; images.csv says which, and where it is from."
        )
        notices.append(Notice("scaled_by_pixel_size", text, values={"fields": by_size}))
    if by_proportion := ways.count("proportion"):
        lacking = "the model's" if framing.um_per_px is None else "the field's"
        text = (
            f"In {number_of(by_proportion, 'field')} the scale is not known ({lacking} pixel size is missing): cells"
            " were not brought to the training scale, but made as large in their picture as training cells in theirs."
            " So a cell's size tells the model nothing."
        )
        notices.append(Notice("scaled_by_proportion", text, Severity.WARNING, {"fields": by_proportion}))
    return notices
