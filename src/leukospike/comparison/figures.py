"""The figures of a comparison."""

import numpy as np
from matplotlib.axes import Axes

from leukospike.comparison.findings import Comparison, Level
from leukospike.evaluation.curves import roc_band
from leukospike.evaluation.metrics import THRESHOLD
from leukospike.report.drawing import (
    INK,
    MUTED,
    Illustration,
    add_legend,
    class_colour,
    illustrate,
    label_axes,
    new_figure,
)
from leukospike.report.words import METRIC_TITLES

# Also from the palette of Okabe and Ito, and distinct from the colours of the classes.
COLOURS = ("#009e73", "#cc79a7")
_DASHES = ("-", (0, (5, 1.5)))
_BAND_RESAMPLES = 500

MEASURES = tuple(name for name in METRIC_TITLES if name != "misclassification")
"""Metrics drawn; misclassification is one minus accuracy."""
LOWER_IS_BETTER = ("misclassification", "brier", "ece")


def comparison_figures(comparison: Comparison) -> dict[str, Illustration]:
    """Draw "differences", "agreement" and, if there are both classes, "roc".

    Parameters
    ----------
    comparison : Comparison

    Returns
    -------
    dict of str to Illustration
    """
    drawn = [_differences(comparison), _agreement(comparison)]
    if len(np.unique(comparison.cell.labels)) == 2:
        drawn.append(_roc(comparison))
    return {illustration.name: illustration for illustration in drawn}


def _differences(comparison: Comparison) -> Illustration:
    """Draw the differences with their intervals, one row per metric."""
    figure = new_figure(7.6, 0.42 * len(MEASURES) + 1.2)
    panel = figure.subplots()
    panel.axvline(0, color=INK, linewidth=1)
    marks = {"cell": ("o", INK, -0.13), "subject": ("D", MUTED, 0.13)}
    for level in comparison.levels:
        marker, colour, offset = marks[level.unit]
        for row, name in enumerate(MEASURES):
            difference = level.differences[name]
            if difference.value is None:
                continue
            if difference.low is not None and difference.high is not None:
                panel.plot([difference.low, difference.high], [row + offset] * 2, color=colour, linewidth=1.8)
            panel.plot(difference.value, row + offset, marker=marker, color=colour, markersize=5.5)
        panel.plot([], [], marker=marker, color=colour, linewidth=1.8, label=f"by {level.unit}")
    titles = [METRIC_TITLES[name][0] + (" (lower is better)" if name in LOWER_IS_BETTER else "") for name in MEASURES]
    panel.set_yticks(range(len(MEASURES)), titles)
    panel.set_ylim(len(MEASURES) - 0.5, -0.5)
    label_axes(panel, "B minus A", "")
    figure.legend(loc="outside upper right", ncols=2, frameon=False, fontsize=9, labelcolor=INK)
    return illustrate(
        figure,
        generated=_generated(comparison),
        name="differences",
        title="Differences with their intervals" if comparison.cell.suffices else "Differences",
        alt="For each measure, the difference B minus A as a dot, with its 95 % interval where known.",
        caption="To the right of the line, B has the higher value; to the left, A. An interval that crosses the"
        " line shows no difference; neither does a dot without an interval. Intervals:"
        f" {comparison.interval}.",
    )


def _roc(comparison: Comparison) -> Illustration:
    """Draw both ROC curves, by cell, with their bands."""
    figure = new_figure(5.8, 5.6)
    panel = figure.subplots()
    panel.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    pairs = comparison.pairs
    for letter, given, colour, dashes in zip("AB", pairs.probabilities, COLOURS, _DASHES, strict=True):
        band = roc_band(pairs.labels, given, pairs.groups, n_resamples=_BAND_RESAMPLES)
        if comparison.cell.suffices:
            panel.fill_between(band.fpr, band.low, band.high, color=colour, alpha=0.15, linewidth=0)
        panel.plot(band.fpr, band.tpr, color=colour, linewidth=2, linestyle=dashes, label=letter)
    panel.set_aspect("equal")
    panel.set_xlim(-0.01, 1.01)
    panel.set_ylim(-0.01, 1.01)
    label_axes(panel, "false positive rate (1 - specificity)", "true positive rate (sensitivity)")
    add_legend(panel)
    return illustrate(
        figure,
        generated=_generated(comparison),
        name="roc",
        title="ROC curves, by cell",
        alt="ROC curves of both runs on the cells that both tested.",
        caption="Both curves are of the same cells. Overlapping bands do not mean that the curves agree: a subject"
        " that is hard for both runs widens both bands but leaves the difference unchanged. To judge the"
        f" difference, look at its interval. The bands come from resampling {pairs.group_name}"
        f" {_BAND_RESAMPLES} times."
        if comparison.cell.suffices
        else f"Both curves are of the same cells. There are no bands: intervals are {comparison.interval}.",
    )


def _agreement(comparison: Comparison) -> Illustration:
    """Draw the probabilities by B against those by A."""
    levels = comparison.levels
    subjects = " (right: a subject, as the mean of its cells)" if comparison.subject else ""
    figure = new_figure(4.8 * len(levels), 5.3)
    panels = figure.subplots(1, len(levels), squeeze=False)[0]
    for panel, level in zip(panels, levels, strict=True):
        _scatter(panel, level)
    for label, words in ((1, "labelled leukemic"), (0, "labelled normal")):
        panels[0].scatter([], [], s=34, color=class_colour(label), label=words)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False, fontsize=9, labelcolor=INK)
    return illustrate(
        figure,
        generated=_generated(comparison),
        name="agreement",
        title="Probabilities by B against those by A",
        alt="Scatter plots of the probabilities by B against those by A, with a line at the threshold of each.",
        caption=f"Each dot is a cell{subjects}. On the diagonal both agree. In the upper left, only B calls it"
        f" leukemic (probability of {THRESHOLD:g} or more); in the lower right, only A; the numbers count"
        " the dots there. Check whether dots of one colour move together: a shift of all dots means another"
        " scale of probabilities, not another ranking.",
    )


def _scatter(panel: Axes, level: Level) -> None:
    """Draw the probabilities of one level against each other."""
    first, second = level.probabilities
    panel.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    panel.axvline(THRESHOLD, color=INK, linewidth=0.8)
    panel.axhline(THRESHOLD, color=INK, linewidth=0.8)
    many = len(first) > 500
    # In random order, so that neither class hides the other.
    order = np.random.default_rng(0).permutation(len(first))
    colours = np.array([class_colour(label) for label in level.labels])
    panel.scatter(first[order], second[order], s=5 if many else 22, color=colours[order], alpha=0.3 if many else 0.7,
                  linewidths=0)  # fmt: skip
    only_second = int(np.sum((first < THRESHOLD) & (second >= THRESHOLD)))
    only_first = int(np.sum((first >= THRESHOLD) & (second < THRESHOLD)))
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 2}
    panel.text(0.02, 0.98, f"{only_second}", ha="left", va="top", fontsize=11, color=INK, bbox=box)
    panel.text(0.98, 0.02, f"{only_first}", ha="right", va="bottom", fontsize=11, color=INK, bbox=box)
    panel.set_aspect("equal")
    panel.set_xlim(-0.01, 1.01)
    panel.set_ylim(-0.01, 1.01)
    panel.set_title(f"by {level.unit}", fontsize=10, color=INK)
    label_axes(panel, "probability by A", "probability by B")


def _generated(comparison: Comparison) -> bool:
    """Tell whether the cells are generated."""
    return any(run.result.generated for run in comparison.pairs.runs)
