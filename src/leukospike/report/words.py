"""What the figures mean, in words for people who read smears rather than programs."""

from leukospike.evaluation.estimates import FEWEST_SUBJECTS, Estimate, Metrics
from leukospike.experiments.results import Run, RunResult

NONE = "\N{EN DASH}"
UNKNOWN_INTERVAL = "interval not known"

METRIC_TITLES = {
    "roc_auc": ("ROC AUC", "how often a leukemic cell gets a higher probability than a normal one; 0.5 is chance"),
    "accuracy": ("Accuracy", "share of all calls that are right; compare with always naming the commoner class"),
    "misclassification": ("Misclassification", "share of all calls that are wrong; with the accuracy it adds up to 1"),
    "balanced_accuracy": ("Balanced accuracy", "mean of sensitivity and specificity; 0.5 is chance"),
    "sensitivity": ("Sensitivity", "share of leukemic that are called leukemic"),
    "specificity": ("Specificity", "share of normal that are called normal"),
    "precision": ("Precision", "share of leukemic calls that are leukemic; depends on the mix of the data"),
    "f1": ("F1", "harmonic mean of precision and sensitivity"),
    "weighted_f1": ("Weighted F1", "F1 of both classes, weighted by their size; the C-NMC challenge's measure"),
    "brier": ("Brier score", "mean squared error of the probability; 0 is perfect, 0.25 is always saying 0.5"),
    "ece": ("Calibration error (ECE)", "mean distance between probability and observed share; 0 is perfect"),
}

KEY_METRICS = {"roc_auc": "ROC AUC", "sensitivity": "sensitivity", "specificity": "specificity"}
"""What a report shows largest, and what it calls it there."""

SETTING_MEANINGS = {
    "dataset": "which data set was named",
    "backbone": "what is trained",
    "pretrained": "whether it began with weights learned on other pictures",
    "protocol": "how training and test cells were kept apart",
    "n_folds": "parts into which the data are cut; each is the test part once",
    "epochs": "passes over the training cells",
    "seed": "start of all random choices; the same seed repeats the run",
    "max_cells": "cells used at the most",
    "hold_out": "whether only one fold was run",
    "image_size": "side of the picture that the network sees, pixels",
    "n_components": "principal components asked for",
    "blur_window": "side of the Gaussian blur after the spike step, pixels",
    "augmented_copies": "turned, shifted, zoomed copies of each training picture; with other backbones than paper"
    " under the protocol paper only",
    "hidden_units": "width of a layer before the output, where one was asked for",
    "batch_size": "pictures per training step",
    "learning_rate": "size of the training steps at the start",
    "data.name": "what the data are called",
    "data.layout": "as what the folder was understood",
    "data.images": "images used",
    "data.subjects": "people they are of; 0: unknown",
    "data.digest": "SHA-256 of all pixels",
    "groups.digest": "SHA-256 of the names of subjects who count as one",
    "groups.subjects": "subjects who count as one with others, since their images overlap",
    "groups.into": "how many they count as",
}

MODEL_MEANINGS = {
    "name": "of the run or weights file, or of the package's own",
    "backbone": "what was trained",
    "folds": "parts of the run, each with networks of its own",
    "networks": "whose mean is taken, in all",
    "image_size": "side of the picture that the model takes, pixels",
    "digest": "SHA-256 of the weights",
    "error_rate": "share of cells whose set may miss the right label",
    "outlier_distance": "standard deviations from the training cells beyond which a cell is an outlier",
    "moved": "cells cut out and moved to the size and colours of the training cells",
}

PROTOCOL_MEANINGS = {
    "honest": "Protocol “honest”: no person has cells on both sides of a split, and everything that is fitted"
    " is fitted on training cells alone.",
    "image": "Protocol “image”: split by image, so that one person's cells lie on both sides, but everything fitted is"
    " fitted on training cells alone; figures flatter.",
    "paper": "Protocol “paper”: the original's split by image, in which one person's cells, and altered copies of one"
    " picture, lie on both sides; figures flatter.",
}


def number(value: float | None, *, digits: int = 3) -> str:
    """Write a figure, or a dash where there is none.

    Examples
    --------
    >>> number(0.98765), number(None) == NONE
    ('0.988', True)
    """
    return NONE if value is None else f"{value:.{digits}f}"


def probability(value: float) -> str:
    """Write a probability: nobody can be as sure as 0.000 and 1.000 say.

    Examples
    --------
    >>> probability(0.98765), probability(0.99999), probability(0.0)
    ('0.988', '> 0.999', '< 0.001')
    """
    if value < 0.001:
        return "< 0.001"
    return "> 0.999" if value > 0.999 else f"{value:.3f}"


def percent(value: float | None, *, digits: int = 1) -> str:
    """Write a share in percent, or a dash where there is none.

    Examples
    --------
    >>> percent(0.98765)
    '98.8 %'
    """
    return NONE if value is None else f"{100 * value:.{digits}f} %"


def with_interval(estimate: Estimate) -> str:
    """Write a figure with its interval, or say that this is not known.

    Examples
    --------
    >>> with_interval(Estimate(0.9, 0.85, 0.95)), with_interval(Estimate(0.9))
    ('0.900 (0.850 to 0.950)', '0.900 (interval not known)')
    """
    if estimate.value is None:
        return NONE
    return f"{number(estimate.value)} ({interval_words(estimate)})"


def interval_words(estimate: Estimate) -> str:
    """Write the interval of a figure, or say that it is not known."""
    if not estimate.is_known:
        return UNKNOWN_INTERVAL
    return f"{number(estimate.low)} to {number(estimate.high)}"


def signed_with_interval(difference: Estimate) -> str:
    """Write a difference with its interval, each with its sign.

    Examples
    --------
    >>> signed_with_interval(Estimate(0.01234, -0.004, 0.03)), signed_with_interval(Estimate(0.01234))
    ('+0.012 (-0.004 to +0.030)', '+0.012 (interval not known)')
    """
    if difference.value is None:
        return NONE
    return f"{signed(difference.value)} ({signed_interval_words(difference)})"


def signed(difference: float | None) -> str:
    """Write a difference with its sign, or a dash where there is none."""
    return NONE if difference is None else f"{difference:+.3f}"


def signed_interval_words(difference: Estimate) -> str:
    """Write the interval of a difference, or say that it is not known."""
    if difference.low is None or difference.high is None:
        return UNKNOWN_INTERVAL
    return f"{difference.low:+.3f} to {difference.high:+.3f}"


def p_value(p: float | None) -> str:
    """Write the p of a test.

    Examples
    --------
    >>> p_value(0.0421), p_value(0.00002), p_value(None)
    ('0.042', '< 0.001', 'not known')
    """
    if p is None:
        return "not known"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def protocol_sentence(protocol: str) -> str:
    """Say in one sentence what the protocol keeps apart."""
    return PROTOCOL_MEANINGS[protocol]


def protocol_reminder(protocol: str) -> str:
    """Say the same in as few words as a caption has room for."""
    return {
        "honest": "Protocol “honest”: split by subject.",
        "image": "Protocol “image”: split by image, which flatters.",
        "paper": "Protocol “paper”: split by image, which flatters.",
    }[protocol]


def held_out_words(protocol: str) -> str:
    """Say what the solid curves of the training figure are computed on."""
    return {
        "honest": "cells of people held out from learning, which set the learning rate; the test cells are others",
        "image": "cells held out from learning, which set the learning rate; the test cells are others",
        "paper": "the test cells, by which the learning rate is set, one of this protocol's flaws",
    }[protocol]


def copies_sentence(run: Run) -> str:
    """Say, if it is so, that copies of one picture are counted apart; with a space before."""
    return " Augmented copies are counted as cells of their own, as the original did." if run.counts_copies else ""


def unavailable(metrics: Metrics | None, *, what: str) -> str:
    """Say why figures of `what` (such as "fold 2") are missing."""
    if metrics is None:
        return f"{what}: no figures by subject, because the data do not say whose cell each one is"
    if metrics.n == 0:
        return f"{what}: no predictions"
    if metrics.one_class:
        only = "leukemic" if metrics.positives else "normal"
        return f"{what}: all {metrics.n} are {only} by label, so what needs both classes cannot be computed"
    return f"{what}: cannot be computed from these predictions, for instance because one class is never called"


def summary(run: Run) -> list[str]:
    """Say what a run found, in a few sentences for each of what was done, what came out, and how to read it.

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
    """Say what was done."""
    result = run.result
    data = result.data
    drawn = "drawn (not photographed) " if result.generated else ""
    normal, leukemic = data.class_names
    people = f" of {data.subjects} {'drawn subjects' if result.generated else 'people'}" if data.subjects else ""
    each = {
        "honest": "Each cell was judged by a network that had seen no cell of the same person.",
        "image": "Each cell was judged by a network that may have learned from other cells of the same person.",
        "paper": "Each cell was judged by a network that may have learned from other cells of the same person, or from"
        " an altered copy of the very same picture.",
    }[result.protocol]
    trained = (
        "A network was trained once, leaving one part out, and tested on that part; the others were not tested on."
        if result.hold_out
        else f"A network was trained {len(result.folds)} times, each time leaving one part out, and tested on that"
        " part."
    )
    return (
        f"{data.images} {drawn}images{people} ({data.cells_per_class[1]} leukemic, “{leukemic}”, and"
        f" {data.cells_per_class[0]} normal, “{normal}”) were cut into {run.settings['n_folds']} parts. {trained}"
        f" {each}"
    )


def _found(metrics: Metrics, unit: str) -> str:
    """Say how well cells or subjects were told apart."""
    if metrics.one_class:
        return f"By {unit}, nothing can be said: {unavailable(metrics, what='all folds')}."
    area, sensitivity, specificity, accuracy = (
        metrics[name] for name in ("roc_auc", "sensitivity", "specificity", "accuracy")
    )
    commoner = max(metrics.positives, metrics.n - metrics.positives) / metrics.n
    words = (
        f"By {unit}: shown one leukemic and one normal {unit}, the network gives the leukemic one the higher"
        f" probability in {_of_hundred(area)} of 100 such pairs, where guessing would in 50: the ROC AUC is"
        f" {with_interval(area)}. Calling leukemic everything from a probability of 0.5, it finds"
        f" {_of_hundred(sensitivity)} of 100 leukemic {unit}s and leaves {_of_hundred(specificity)} of 100 normal ones"
        " alone."
        f" {percent(accuracy.value)} of its calls are right{_percent_interval(accuracy)}; always giving the commoner"
        f" answer would be right in {percent(commoner)}."
    )
    if not metrics.has_intervals:
        words += (
            f" Intervals are {metrics.interval}: how certain these figures are, and whether others would be told apart"
            " as well, nobody can say from these data."
        )
    elif not area.is_known:
        words += (
            " Whichever of them are drawn, the AUC comes out the same, so that its interval is not known: that does not"
            " make it certain."
        )
    elif not area.excludes(0.5):
        words += " The interval of the AUC includes 0.5: on these data the network cannot be told from guessing."
    return words


def _found_by_subject(run: RunResult) -> list[str]:
    """Say how well subjects were told apart, or why that is unknown."""
    if run.subject is None:
        return ["By subject nothing can be said: the data do not say whose cell each one is."]
    return [_found(run.subject, "subject")]


def _how_to_read(run: RunResult) -> str:
    """Say what the intervals mean and what the figures do not."""
    words = (
        f"How to read this: the range in brackets is an interval ({run.cell.interval}); with other samples of the"
        " same kind, the figure would mostly have fallen within such a range. Where the interval is wide, the figure in"
        " front of it means little."
        if run.cell.has_intervals
        else f"How to read this: the figures describe those who were tested, and nobody else. At least"
        f" {FEWEST_SUBJECTS} of each class are needed before a figure gets an interval."
    )
    if run.generated:
        return f"{words} Since the cells are drawn, all of this says only that the program runs."
    if run.protocol in {"image", "paper"}:
        return f"{words} Under this protocol no figure says how well the method would do on a person it has not seen."
    return (
        f"{words} The figures hold for data from these laboratories, prepared in this way; another microscope, stain or"
        " patient mix can give other figures."
    )


def _of_hundred(estimate: Estimate) -> str:
    """Write a share as a count of 100."""
    return NONE if estimate.value is None else f"{100 * estimate.value:.0f}"


def _percent_interval(estimate: Estimate) -> str:
    """Write an interval of a share in percent, in brackets after a space; nothing if it is not known."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f" ({100 * estimate.low:.1f} to {100 * estimate.high:.1f} %)"
