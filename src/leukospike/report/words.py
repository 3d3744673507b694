"""Explanations of the figures, for people who read smears rather than programs."""

from collections.abc import Mapping, Sequence
from typing import Any

from leukospike.confidence.decision import Outcome
from leukospike.evaluation.estimates import FEWEST_SUBJECTS, Estimate, Metrics
from leukospike.experiments.results import Run, RunResult
from leukospike.notices import Notice, Severity
from leukospike.plurals import number_of

NONE = "\N{EN DASH}"
UNKNOWN_INTERVAL = "interval unknown"

METRIC_TITLES = {
    "roc_auc": ("ROC AUC", "how often a leukemic case scores higher than a normal one; 0.5 is chance"),
    "accuracy": ("Accuracy", "share of all calls that are correct; compare with always choosing the more common class"),
    "misclassification": ("Misclassification", "share of all calls that are wrong; 1 minus accuracy"),
    "balanced_accuracy": ("Balanced accuracy", "mean of sensitivity and specificity; 0.5 is chance"),
    "sensitivity": ("Sensitivity", "share of leukemic cases called leukemic"),
    "specificity": ("Specificity", "share of normal cases called normal"),
    "precision": ("Precision", "share of leukemic calls that are correct; depends on the class mix of the data"),
    "f1": ("F1", "harmonic mean of precision and sensitivity"),
    "weighted_f1": ("Weighted F1", "F1 of both classes, weighted by their size; the measure of the C-NMC challenge"),
    "brier": ("Brier score", "mean squared error of the probability; 0 is perfect, 0.25 is always saying 0.5"),
    "ece": ("Calibration error (ECE)", "mean gap between probability and observed share; 0 is perfect"),
}

KEY_METRICS = {"roc_auc": "ROC AUC", "sensitivity": "sensitivity", "specificity": "specificity"}
"""Key figures of a report, and their titles."""

SETTING_MEANINGS = {
    "dataset": "name of the data set",
    "backbone": "network that is trained",
    "pretrained": "whether training started from weights learned on other pictures",
    "protocol": "how training and test cells were separated",
    "n_folds": "number of parts the data are split into; each is the test part once",
    "epochs": "passes over the training cells",
    "seed": "random seed; the same seed repeats the run",
    "max_cells": "maximum number of cells used",
    "hold_out": "whether only one fold was run",
    "image_size": "side of the network's input, pixels",
    "n_components": "principal components requested",
    "blur_window": "side of the Gaussian blur after the spike step, pixels",
    "augmented_copies": "rotated, shifted and zoomed copies of each training picture; for other backbones than paper,"
    " only under the protocol paper",
    "hidden_units": "width of an optional layer before the output",
    "batch_size": "pictures per training step",
    "learning_rate": "initial learning rate",
    "data.name": "name of the data",
    "data.layout": "layout recognised in the folder",
    "data.images": "images used",
    "data.subjects": "people in the data; 0: unknown",
    "data.digest": "SHA-256 of all pixels",
    "groups.digest": "SHA-256 of the names of subjects who count as one",
    "groups.subjects": "subjects joined with others because their images overlap",
    "groups.into": "number of joined subjects",
}

MODEL_MEANINGS = {
    "name": "name of the run or weights file, or of the package's classifier",
    "backbone": "network that was trained",
    "folds": "folds of the run, each with its own networks",
    "networks": "total number of networks, whose mean is taken",
    "image_size": "side of the model's input, pixels",
    "digest": "SHA-256 of the weights",
    "error_rate": "share of cells whose set may miss the correct label",
    "outlier_distance": "standard deviations from the training cells beyond which a cell is an outlier",
}

PROTOCOL_MEANINGS = {
    "honest": "Protocol “honest”: no person has cells on both sides of a split, and everything is fitted on training"
    " cells only.",
    "image": "Protocol “image”: split by image, so that one person's cells lie on both sides, but everything is"
    " fitted on training cells only; the figures are too good.",
    "paper": "Protocol “paper”: the original split by image, in which cells of one person, and altered copies of one"
    " picture, lie on both sides; the figures are too good.",
}


def number(value: float | None, *, digits: int = 3) -> str:
    """Format a figure, or a dash if there is none.

    Examples
    --------
    >>> number(0.98765), number(None) == NONE
    ('0.988', True)
    """
    return NONE if value is None else f"{value:.{digits}f}"


def probability(value: float) -> str:
    """Format a probability; 0.000 and 1.000 would claim too much certainty.

    Examples
    --------
    >>> probability(0.98765), probability(0.99999), probability(0.0)
    ('0.988', '> 0.999', '< 0.001')
    """
    if value < 0.001:
        return "< 0.001"
    return "> 0.999" if value > 0.999 else f"{value:.3f}"


def percent(value: float | None, *, digits: int = 1) -> str:
    """Format a share as a percentage, or a dash if there is none.

    Examples
    --------
    >>> percent(0.98765)
    '98.8 %'
    """
    return NONE if value is None else f"{100 * value:.{digits}f} %"


def with_interval(estimate: Estimate) -> str:
    """Format a figure with its interval, or state that it is unknown.

    Examples
    --------
    >>> with_interval(Estimate(0.9, 0.85, 0.95)), with_interval(Estimate(0.9))
    ('0.900 (0.850 to 0.950)', '0.900 (interval unknown)')
    """
    if estimate.value is None:
        return NONE
    return f"{number(estimate.value)} ({interval_words(estimate)})"


def interval_words(estimate: Estimate) -> str:
    """Format the interval of a figure, or state that it is unknown."""
    if not estimate.is_known:
        return UNKNOWN_INTERVAL
    return f"{number(estimate.low)} to {number(estimate.high)}"


def finding(row: Mapping[str, Any], *, prevalence: float | None) -> str:
    """Say in a sentence or two what is found in a subject; without a figure where nothing is decided.

    Parameters
    ----------
    row : mapping
        Of the table of subjects.
    prevalence : float or None
        Share of leukemia among those examined.

    Examples
    --------
    >>> row = {"decision": "leukemic", "counted": 100, "blasts": 62.1, "blasts_low": 51, "blasts_high": 73}
    >>> finding(row | {"posterior": 0.9876}, prevalence=0.5)
    'leukemic. About 62 of 100 counted white cells are lymphoblasts (95 % interval 51 to 73); posterior 0.988 at a \
prevalence of one half.'
    >>> finding({"decision": "not enough", "reason": "8 cells counted; at least 20 are needed."}, prevalence=0.5)
    'not enough: 8 cells counted; at least 20 are needed.'
    """
    decision = row["decision"]
    if decision in {Outcome.NOT_ENOUGH, Outcome.UNFAMILIAR}:
        return f"{decision}: {row['reason']}"
    cells = number_of(int(row["counted"]), "counted white cell")
    at = prevalence_words(prevalence)
    return (
        f"{decision}. About {row['blasts']:.0f} of {cells} are lymphoblasts (95 % interval"
        f" {row['blasts_low']:.0f} to {row['blasts_high']:.0f}); posterior {probability(row['posterior'])} at a"
        f" prevalence of {at}."
    )


def blast_words(row: Mapping[str, Any]) -> str:
    """Give a subject's share of blasts with its interval; none where nothing is decided."""
    counted = int(row["counted"])
    if row["decision"] in {Outcome.NOT_ENOUGH, Outcome.UNFAMILIAR} or not counted:
        return "no share is given without a decision"
    share, low, high = (100 * row[name] / counted for name in ("blasts", "blasts_low", "blasts_high"))
    return f"{share:.0f} % ({low:.0f} to {high:.0f})"


def prevalence_words(prevalence: float | None) -> str:
    """Write a prevalence.

    Examples
    --------
    >>> prevalence_words(0.5), prevalence_words(0.02)
    ('one half', '2 %')
    """
    return "one half" if prevalence is None or prevalence == 0.5 else f"{100 * prevalence:g} %"


_WEIGHTS = ("mostly_outliers", "blank", "doubtful_images", "pixel_size", "empty_fields", "no_cell", "large")


def by_weight(notices: Sequence[Notice]) -> list[Notice]:
    """Order notices, the worst first: of warnings those about the images, then those that the patients repeat."""

    def weight(notice: Notice) -> tuple[bool, int]:
        known = _WEIGHTS.index(notice.code) if notice.code in _WEIGHTS else len(_WEIGHTS)
        return notice.severity is not Severity.WARNING, known

    return sorted(notices, key=weight)


def signed_with_interval(difference: Estimate) -> str:
    """Format a difference with its interval, all with their signs.

    Examples
    --------
    >>> signed_with_interval(Estimate(0.01234, -0.004, 0.03)), signed_with_interval(Estimate(0.01234))
    ('+0.012 (-0.004 to +0.030)', '+0.012 (interval unknown)')
    """
    if difference.value is None:
        return NONE
    return f"{signed(difference.value)} ({signed_interval_words(difference)})"


def signed(difference: float | None) -> str:
    """Format a difference with its sign, or a dash if there is none."""
    return NONE if difference is None else f"{difference:+.3f}"


def signed_interval_words(difference: Estimate) -> str:
    """Format the interval of a difference, or state that it is unknown."""
    if difference.low is None or difference.high is None:
        return UNKNOWN_INTERVAL
    return f"{difference.low:+.3f} to {difference.high:+.3f}"


def p_value(p: float | None) -> str:
    """Format the p value of a test.

    Examples
    --------
    >>> p_value(0.0421), p_value(0.00002), p_value(None)
    ('0.042', '< 0.001', 'unknown')
    """
    if p is None:
        return "unknown"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def protocol_sentence(protocol: str) -> str:
    """Explain in one sentence what the protocol separates."""
    return PROTOCOL_MEANINGS[protocol]


def protocol_reminder(protocol: str) -> str:
    """Explain the protocol in the few words that fit in a caption."""
    return {
        "honest": "Protocol “honest”: split by subject.",
        "image": "Protocol “image”: split by image, so the figures are too good.",
        "paper": "Protocol “paper”: split by image, so the figures are too good.",
    }[protocol]


def held_out_words(protocol: str) -> str:
    """Name the cells on which the solid curves of the training figure are computed."""
    return {
        "honest": "cells of people held out from training, used to set the learning rate; the test cells are"
        " different ones",
        "image": "cells held out from training, used to set the learning rate; the test cells are different ones",
        "paper": "the test cells, which also set the learning rate: one of this protocol's flaws",
    }[protocol]


def copies_sentence(run: Run) -> str:
    """State that copies are counted as separate cells, if they are; begins with a space."""
    return " Augmented copies are counted as separate cells, as in the original." if run.counts_copies else ""


def unavailable(metrics: Metrics | None, *, what: str) -> str:
    """Explain why figures of `what` (such as "fold 2") are missing."""
    if metrics is None:
        return f"{what}: no figures by subject, because the data do not record the subject of each cell"
    if metrics.n == 0:
        return f"{what}: no predictions"
    if metrics.one_class:
        only = "leukemic" if metrics.positives else "normal"
        return f"{what}: all {metrics.n} are labelled {only}, so figures that need both classes cannot be computed"
    return f"{what}: cannot be computed from these predictions, for example because one class is never predicted"


def summary(run: Run) -> list[str]:
    """Summarise a run: what was done, what was found, and how to read it.

    Parameters
    ----------
    run : Run

    Returns
    -------
    list of str
        Paragraphs of plain text.
    """
    result = run.result
    return [_done(run), _found(result.cell, "cell"), *_found_by_subject(result), _how_to_read(result)]


def _done(run: Run) -> str:
    """Describe what was done."""
    result = run.result
    data = result.data
    drawn = "generated (not photographed) " if result.generated else ""
    normal, leukemic = data.class_names
    people = f" of {data.subjects} {'generated subjects' if result.generated else 'people'}" if data.subjects else ""
    each = {
        "honest": "Each cell was scored by a network that had seen no cell of the same person.",
        "image": "Each cell was scored by a network that may have learned from other cells of the same person.",
        "paper": "Each cell was scored by a network that may have learned from other cells of the same person, or"
        " from an altered copy of the very same picture.",
    }[result.protocol]
    trained = (
        "A network was trained once with one part left out, and tested on that part; the other parts were not tested."
        if result.hold_out
        else f"A network was trained {len(result.folds)} times, each time with one part left out, and tested on"
        " that part."
    )
    return (
        f"{data.images} {drawn}images{people} ({data.cells_per_class[1]} leukemic, “{leukemic}”, and"
        f" {data.cells_per_class[0]} normal, “{normal}”) were split into {run.settings['n_folds']} parts. {trained}"
        f" {each}"
    )


def _found(metrics: Metrics, unit: str) -> str:
    """Describe how well cells or subjects were classified."""
    if metrics.one_class:
        return f"By {unit}, there are no results: {unavailable(metrics, what='all folds')}."
    area, sensitivity, specificity, accuracy = (
        metrics[name] for name in ("roc_auc", "sensitivity", "specificity", "accuracy")
    )
    commoner = max(metrics.positives, metrics.n - metrics.positives) / metrics.n
    words = (
        f"By {unit}: given one leukemic and one normal {unit}, the network gives the leukemic one the higher"
        f" probability in {_of_hundred(area)} of 100 such pairs; guessing would in 50. The ROC AUC is"
        f" {with_interval(area)}. If everything with a probability of 0.5 or more is called leukemic, it finds"
        f" {_of_hundred(sensitivity)} of 100 leukemic {unit}s and calls {_of_hundred(specificity)} of 100 normal ones"
        f" normal. {percent(accuracy.value)} of its calls are correct{_percent_interval(accuracy)}; always choosing"
        f" the more common class would be correct for {percent(commoner)}."
    )
    if not metrics.has_intervals:
        words += (
            f" Intervals are {metrics.interval}: these data cannot show how certain the figures are, or how well they"
            " carry over to other people."
        )
    elif not area.is_known:
        words += " Every resample gives the same AUC, so its interval is unknown; that does not make it certain."
    elif not area.excludes(0.5):
        words += (
            " The interval of the AUC includes 0.5: on these data the network is not shown to be better than guessing."
        )
    return words


def _found_by_subject(run: RunResult) -> list[str]:
    """Describe how well subjects were classified, or why that is unknown."""
    if run.subject is None:
        return ["There are no results by subject: the data do not record the subject of each cell."]
    return [_found(run.subject, "subject")]


def _how_to_read(run: RunResult) -> str:
    """Explain what the intervals mean, and what the figures do not show."""
    words = (
        f"How to read this: the range in brackets is an interval ({run.cell.interval}); with other samples of the same"
        " kind, the figure would usually fall within such a range. If the interval is wide, the figure before it"
        " means little."
        if run.cell.has_intervals
        else "How to read this: the figures describe only those who were tested. An interval needs at least"
        f" {FEWEST_SUBJECTS} of each class."
    )
    if run.generated:
        return f"{words} Since the cells are generated, this shows only that the program runs."
    if run.protocol in {"image", "paper"}:
        return f"{words} Under this protocol, no figure shows how well the method would work for a new person."
    return (
        f"{words} The figures apply to data from these laboratories, prepared in this way; another microscope, stain"
        " or mix of patients can give different ones."
    )


def _of_hundred(estimate: Estimate) -> str:
    """Format a share as a count out of 100."""
    return NONE if estimate.value is None else f"{100 * estimate.value:.0f}"


def _percent_interval(estimate: Estimate) -> str:
    """Format the interval of a share as percentages in brackets after a space; empty if unknown."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f" ({100 * estimate.low:.1f} to {100 * estimate.high:.1f} %)"
