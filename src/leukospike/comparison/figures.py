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

# Of Okabe and Ito too, and neither class's.
COLOURS = ("#009e73", "#cc79a7")
_DASHES = ("-", (0, (5, 1.5)))
_BAND_RESAMPLES = 500

MEASURES = tuple(name for name in METRIC_TITLES if name != "misclassification")
"""What is drawn: the misclassification is the accuracy turned over."""
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
    """Draw the differences with their intervals, a row a measure."""
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
    label_axes(panel, "B less A", "")
    figure.legend(loc="outside upper right", ncols=2, frameon=False, fontsize=9, labelcolor=INK)
    return illustrate(
        figure,
        generated=_generated(comparison),
        name="differences",
        title="Differences with their intervals" if comparison.cell.suffices else "Differences",
        alt="For each measure the difference, B less A, as a dot, with its 95 % interval where that is known.",
        caption="Right of the line B has the higher figure, left of it A. An interval that crosses the line does not"
        f" show a difference, nor does a dot without one. Intervals: {comparison.interval}.",
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
        alt="ROC curves of both runs on the cells that both have tested.",
        caption="Both on the same cells. Bands that overlap do not mean that the curves do not differ: a subject that"
        " is hard for both widens both bands, and leaves the difference as it is. Look at the intervals of differences"
        f" for that. The bands come from resampling {pairs.group_name} {_BAND_RESAMPLES} times."
        if comparison.cell.suffices
        else f"Both on the same cells. There are no bands: intervals are {comparison.interval}.",
    )


def _agreement(comparison: Comparison) -> Illustration:
    """Draw what B says against what A says."""
    levels = comparison.levels
    subjects = " (right: a subject, the mean of its cells)" if comparison.subject else ""
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
        title="What B says against what A says",
        alt="Scatter plots of the probabilities by B against those by A, with a line at the threshold of each.",
        caption=f"Each dot is a cell{subjects}. On the diagonal both say the same. Upper left, only B"
        f" calls it leukemic (probability from {THRESHOLD:g}), lower right only A; the numbers count the dots there."
        " Look for whether dots of one colour move together: a shift of all is another scale of probabilities, not"
        " another order.",
    )


def _scatter(panel: Axes, level: Level) -> None:
    """Draw one level's probabilities against each other."""
    first, second = level.probabilities
    panel.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    panel.axvline(THRESHOLD, color=INK, linewidth=0.8)
    panel.axhline(THRESHOLD, color=INK, linewidth=0.8)
    many = len(first) > 500
    # Not one class over the other: in an order that has nothing to do with the label.
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
    """Tell whether the cells are drawn."""
    return any(run.result.generated for run in comparison.pairs.runs)
