"""Every figure of the reports, each with the caption that says what to look for."""

import math

import numpy as np
import pandas as pd
from jaxtyping import Float, Int64
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from leukospike.evaluation.curves import DecisionCurve, decision_curve, roc_band
from leukospike.evaluation.estimates import Metrics
from leukospike.evaluation.metrics import N_BINS, THRESHOLD, per_subject, reliability
from leukospike.experiments.results import CropSamples, Run, SpikeSamples
from leukospike.plurals import number_of
from leukospike.report.drawing import (
    FAINT,
    INK,
    LEUKEMIC,
    MUTED,
    NORMAL,
    Columns,
    Illustration,
    add_legend,
    class_colour,
    drawable,
    illustrate,
    label_axes,
    new_figure,
)
from leukospike.report.words import (
    copies_sentence,
    held_out_words,
    percent,
    protocol_reminder,
    with_interval,
)

_FOLD_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9")
# As many dashes less one, so that twenty folds stay apart.
_FOLD_DASHES = ("-", (0, (5, 1.5)), (0, (2, 1.2)), (0, (6, 1.5, 1.5, 1.5)))

SILENT = 15
MAX_SAMPLES = 8
_MOST_RATES = 4  # learning rates that are written beside the axis
N_RESAMPLES = 500
BAND_SEED = 0


def run_figures(run: Run) -> dict[str, Illustration]:
    """Draw all figures that the files of a run allow; the others are absent.

    Parameters
    ----------
    run : Run

    Returns
    -------
    dict of str to Illustration
        By name: "samples", "pca_spectrum", "reconstructions", "training", "roc", "confusion", "reliability",
        "decision_curve", "subjects". Without cells kept as samples the first and third are absent, without components
        the second and third, without a history "training", with one class only "roc" and "decision_curve", and without
        subjects "subjects".
    """
    drawn = [_confusion(run), _reliability(run)]
    if run.components is not None:
        drawn.append(_pca_spectrum(run, run.components))
    if len(run.history):
        drawn.append(_training(run))
    if len(run.samples.labels):
        if isinstance(run.samples, SpikeSamples):
            drawn += [_samples(run, run.samples), _reconstructions(run, run.samples)]
        else:
            drawn.append(_crops(run, run.samples))
    if not run.result.cell.one_class:
        drawn += [_roc(run), _decision_curve(run)]
    if run.has_subjects:
        drawn.append(_run_subjects(run))
    return {illustration.name: illustration for illustration in drawn}


def analysis_figures(counted: Columns, *, threshold: float, generated: bool) -> dict[str, Illustration]:
    """Draw "probabilities" if any cell is counted, and "subjects" if it is known of any whose it is.

    Parameters
    ----------
    counted : Columns
        The counted cells.
    threshold : float
        Probability from which a cell is called leukemic.
    generated : bool
        Whether cells are drawn by a program.
    """
    drawn: list[Illustration] = []
    if len(counted["image"]):
        drawn.append(_probabilities(counted, threshold, generated=generated))
    if bool((counted["subject"] != "").any()):
        drawn.append(_analysis_subjects(counted, threshold, generated=generated))
    return {illustration.name: illustration for illustration in drawn}


# --------------------------------------------------------------------------------------------- steps before the network


def _samples(run: Run, samples: SpikeSamples) -> Illustration:
    """Draw a few cells at each step, one row a cell."""
    shown = _shown_samples(samples.labels)
    steps = ("as read (RGB)", "spike time", "first wave", "blurred, resized", "after PCA")
    figure = new_figure(9.6, 0.75 + 1.72 * len(shown))
    panels = figure.subplots(len(shown), len(steps), squeeze=False)
    colours = [*colormaps["viridis"](np.linspace(0.0, 0.9, SILENT)), (1.0, 1.0, 1.0, 1.0)]
    palette, bounds = ListedColormap(colours), BoundaryNorm(np.arange(-0.5, SILENT + 1), SILENT + 1)
    for row, sample in enumerate(shown):
        low, high = float(samples.prepared[sample].min()), float(samples.prepared[sample].max())
        panels[row, 0].imshow(samples.cells[sample])
        panels[row, 1].imshow(samples.latency[sample], cmap=palette, norm=bounds, interpolation="nearest")
        panels[row, 2].imshow(samples.first_wave[sample], cmap="gray_r", vmin=0, vmax=1)
        panels[row, 3].imshow(samples.prepared[sample], cmap="gray_r", vmin=low, vmax=high)
        panels[row, 4].imshow(samples.reconstructed[sample], cmap="gray_r", vmin=low, vmax=high)
        class_name = _class_words(run)[int(samples.labels[sample])]
        panels[row, 0].set_ylabel(drawable(class_name), fontsize=9, color=class_colour(samples.labels[sample]))
        panels[row, 0].yaxis.label.set_parse_math(False)
    for panel, step in zip(panels[0], steps, strict=True):
        panel.set_title(step, fontsize=10, color=INK)
    for panel in panels.flat:
        _bare(panel)
    bar = figure.colorbar(
        ScalarMappable(norm=bounds, cmap=palette),
        ax=panels,
        location="bottom",
        shrink=0.55,
        aspect=40,
        pad=0.015,
        ticks=[0, 7, SILENT - 1, SILENT],
    )
    bar.ax.xaxis.set_minor_locator(NullLocator())
    bar.ax.set_xticklabels(["0", "7", "14", "silent"], fontsize=9, color=INK)
    bar.set_label("spike time (0 first, 14 last)", fontsize=9, color=INK)
    return illustrate(
        figure,
        generated=run.result.generated,
        name="samples",
        title="Sample cells before and after the spike step",
        alt=f"{len(shown)} cells in rows; columns: colour picture, spike times, first wave, blurred and resized, after"
        " PCA.",
        caption="Left to right: the cell as it was read; when each pixel spikes (dark: early, strong edge; white:"
        " silent, never spikes); the first wave, the only part that is kept (black: pixels that spike"
        " first); the same after blurring and resizing; and what remains after PCA, which is what the"
        " network sees. Check whether nuclear outline and chromatin texture survive into the last column:"
        " the network cannot use what is lost here, and colour is lost at the first step."
        f" {protocol_reminder(run.result.protocol)}",
    )


def _crops(run: Run, samples: CropSamples) -> Illustration:
    """Draw a few cells as read and as cut out, one column a cell."""
    shown = _shown_samples(samples.labels)
    figure = new_figure(9.6, 0.6 + 2 * 9.2 / max(5, len(shown)))
    panels = figure.subplots(2, len(shown), squeeze=False)
    for column, sample in enumerate(shown):
        panels[0, column].imshow(samples.cells[sample])
        panels[1, column].imshow(samples.crops[sample])
        class_name = _class_words(run)[int(samples.labels[sample])]
        panels[0, column].set_title(
            drawable(class_name), fontsize=9, color=class_colour(samples.labels[sample]), parse_math=False
        )
    for panel, words in zip(panels[:, 0], ("as read (RGB)", "cut out"), strict=True):
        panel.set_ylabel(words, fontsize=9, color=INK)
    for panel in panels.flat:
        _bare(panel)
    return illustrate(
        figure,
        generated=run.result.generated,
        name="samples",
        title="Sample cells as read and as the network sees them",
        alt=f"{len(shown)} cells in columns; rows: colour picture, and the cell cut out on black.",
        caption="Above: the cell as it was read; below: cut out on black and reduced, which is all that the network"
        " sees. Check whether the outline is that of the cell: what is cut off is lost, and remains of"
        f" neighbours count as part of the cell. {protocol_reminder(run.result.protocol)}",
    )


def _reconstructions(run: Run, samples: SpikeSamples) -> Illustration:
    """Draw cells before and after PCA with their difference, one column a cell."""
    shown = _shown_samples(samples.labels)
    difference = samples.reconstructed - samples.prepared
    largest = float(np.abs(difference[shown]).max()) or 1.0
    figure = new_figure(9.6, 0.9 + 3 * 9.2 / max(5, len(shown)))
    panels = figure.subplots(3, len(shown), squeeze=False)
    scale = ScalarMappable(norm=Normalize(-largest, largest), cmap="PuOr")
    for column, sample in enumerate(shown):
        low, high = float(samples.prepared[sample].min()), float(samples.prepared[sample].max())
        panels[0, column].imshow(samples.prepared[sample], cmap="gray_r", vmin=low, vmax=high)
        panels[1, column].imshow(samples.reconstructed[sample], cmap="gray_r", vmin=low, vmax=high)
        panels[2, column].imshow(difference[sample], cmap=scale.cmap, norm=scale.norm)
        error = _relative_error(samples.prepared[sample], samples.reconstructed[sample])
        panels[2, column].set_xlabel(
            "blank" if error is None else f"lost {percent(error, digits=0)}", fontsize=9, color=INK
        )
    for panel, words in zip(panels[:, 0], ("before PCA", "after PCA", "difference"), strict=True):
        panel.set_ylabel(words, fontsize=9, color=INK)
    for panel in panels.flat:
        _bare(panel)
    bar = figure.colorbar(scale, ax=panels, location="bottom", shrink=0.4, aspect=30, pad=0.02)
    bar.ax.tick_params(labelsize=8, colors=INK)
    bar.set_label("difference", fontsize=9, color=INK)
    return illustrate(
        figure,
        generated=run.result.generated,
        name="reconstructions",
        title="Cells rebuilt from their principal components",
        alt=f"{len(shown)} cells in columns; rows: before PCA, after PCA, and the difference.",
        caption="Each cell before PCA, rebuilt from its components, and the difference (after minus before, in the"
        " units of the blurred map). “Lost” is the share of the picture's variance missing after"
        " rebuilding. A difference without structure is discarded noise; outlines in it are shapes that the"
        f" network will never see. {protocol_reminder(run.result.protocol)}",
    )


def _pca_spectrum(run: Run, components: pd.DataFrame) -> Illustration:
    """Draw the cumulative explained variance of each fold."""
    figure = new_figure(7.2, 4.2)
    panel = figure.subplots()
    reached: list[str] = []
    folds = _by_fold(components, order="component")
    for index, (name, rows) in enumerate(folds.items()):
        share = np.cumsum(rows["explained_variance_ratio"])
        component = rows["component"]
        colour, dashes = _FOLD_COLOURS[index % len(_FOLD_COLOURS)], _FOLD_DASHES[index % len(_FOLD_DASHES)]
        panel.plot(component, share, label=name, color=colour, linestyle=dashes, linewidth=1.8)
        enough = np.flatnonzero(share >= 0.99)
        last = f"{percent(float(share[-1]))} with all {len(share)}"
        reached.append(f"{name}: " + (f"99 % with {component[enough[0]]:.0f}" if len(enough) else last))
    panel.axhline(0.99, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    panel.annotate(
        "99 %", (1.0, 0.99), xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points",
        va="center", fontsize=9, color=MUTED,
    )  # fmt: skip
    panel.set_ylim(0, 1.03)
    panel.set_xlim(left=0)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    label_axes(panel, "number of components", "cumulative explained variance")
    add_legend(panel, n_columns=1 + len(folds) // 9)
    return illustrate(
        figure,
        generated=run.result.generated,
        name="pca_spectrum",
        title="PCA spectrum",
        alt="Cumulative explained variance against the number of components, one line per fold, with a line at 99 %.",
        caption="Share of the variance of the training pictures explained by the first components; in "
        + "; ".join(reached)
        + ". A curve still rising at its end means that too few components were kept for the 99 % that the"
        " original requires. A curve that reaches 100 % when the number of components equals the number of"
        f" pictures shows nothing else. {protocol_reminder(run.result.protocol)}",
    )


# ------------------------------------------------------------------------------------------------------------- training


def _training(run: Run) -> Illustration:
    """Draw loss, accuracy and, if it changed, learning rate over the epochs; one column of panels a fold."""
    folds = _by_fold(run.history, order="epoch")
    rates = np.unique(run.history["learning_rate"].to_numpy())
    rate_changed = any(len(np.unique(rows["learning_rate"])) > 1 for rows in folds.values())
    measures = ["loss", "accuracy", *(["learning rate"] if rate_changed else [])]
    per_block = 5
    n_columns = max(1, min(len(folds), per_block))
    blocks = max(1, math.ceil(len(folds) / per_block))
    figure = new_figure(9.6, blocks * (1.65 * len(measures)) + 0.6, gap=0.08)
    panels = figure.subplots(blocks * len(measures), n_columns, squeeze=False, sharex=True)
    losses = run.history[["train_loss", "val_loss"]].to_numpy().ravel()
    validated = bool(run.history["val_loss"].notna().any())
    top = float(losses[np.isfinite(losses)].max(initial=0.0)) or 1.0
    for panel in panels.flat:
        panel.set_visible(False)
    for index, (name, rows) in enumerate(folds.items()):
        block, column = divmod(index, per_block)
        own = panels[block * len(measures) : (block + 1) * len(measures), column]
        for panel, measure in zip(own, measures, strict=True):
            panel.set_visible(True)
            label_axes(panel, "epoch" if panel is own[-1] else "", measure if column == 0 else "")
            panel.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
            # sharex hides the labels of all but the last row, which a block that is not full leaves invisible.
            panel.tick_params(labelbottom=panel is own[-1], labelleft=column == 0)
        for panel, measure in zip(own[:2], ("loss", "accuracy"), strict=True):
            marker = "o" if len(rows["epoch"]) < 16 else ""
            panel.plot(rows["epoch"], rows[f"train_{measure}"], color=MUTED, linestyle="--", linewidth=1.4,
                       marker=marker, markersize=2.5, label="training cells")  # fmt: skip
            if validated:
                panel.plot(rows["epoch"], rows[f"val_{measure}"], color=NORMAL, linewidth=1.8,
                           marker=marker, markersize=2.5, label="held-out cells")  # fmt: skip
        own[0].set_title(name, fontsize=10, color=INK)
        own[0].set_ylim(0, top * 1.05)
        own[1].set_ylim(0, 1.03)
        if rate_changed:
            own[2].step(rows["epoch"], rows["learning_rate"], where="mid", color=INK, linewidth=1.4)
            own[2].set_yscale("log")
            own[2].set_ylim(rates[0] / 2, rates[-1] * 2)
            shown = rates if len(rates) <= _MOST_RATES else rates[[0, -1]]
            own[2].set_yticks(shown, [f"{rate:.2g}" for rate in shown])
            own[2].yaxis.set_minor_locator(NullLocator())
    if folds:
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=2, frameon=False, fontsize=9, labelcolor=INK)
    lowered = "lowered when progress stopped" if validated else "lowered on a schedule"
    rate = f" The bottom row is the learning rate, {lowered}." if rate_changed else ""
    held_out = (
        f"; solid: {held_out_words(run.result.protocol)}. Look at the gap: if the dashed curve keeps improving while"
        " the solid one stalls or reverses, the network is overfitting."
        if validated
        else ", as sampled and augmented. No cells are held out from training, since no choice depends on them."
    )
    return illustrate(
        figure,
        generated=run.result.generated,
        name="training",
        title="Training curves per fold",
        alt="Loss and accuracy over the epochs for"
        f" training{' (dashed) and held-out cells (solid)' if validated else ' cells'}, one column per fold.",
        caption="Loss (lower is better) and accuracy after each pass over the training cells; dashed: the training"
        f" cells{held_out}{rate} {protocol_reminder(run.result.protocol)}",
    )


# ------------------------------------------------------------------------------------------------------ discrimination


def _roc(run: Run) -> Illustration:
    """Draw the pooled ROC curve with its band, and those of the folds."""
    from sklearn import metrics  # slow to load, and the report of an analysis has no curve

    band = roc_band(run.labels, run.probabilities, run.groups, n_resamples=N_RESAMPLES, seed=BAND_SEED)
    figure = new_figure(5.8, 5.6)
    panel = figure.subplots()
    panel.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    panel.annotate("chance", (0.8, 0.8), xytext=(6, -6), textcoords="offset points", fontsize=9, color=MUTED, va="top")
    folds = _by_fold(run.predictions, order="label").values()
    for index, rows in enumerate(rows for rows in folds if rows["label"][0] != rows["label"][-1]):
        false_rate, true_rate, _ = metrics.roc_curve(rows["label"], rows["probability"])
        panel.plot(false_rate, true_rate, color="#9a9a9a", linewidth=0.9, label=None if index else "single folds")
    banded = run.result.cell.has_intervals
    if banded:
        panel.fill_between(band.fpr, band.low, band.high, color=NORMAL, alpha=0.2, linewidth=0, label="95 % band")
    panel.plot(band.fpr, band.tpr, color=NORMAL, linewidth=2.2, label="all folds pooled")
    panel.set_aspect("equal")
    panel.set_xlim(-0.01, 1.01)
    panel.set_ylim(-0.01, 1.01)
    label_axes(panel, "false positive rate (1 - specificity)", "true positive rate (sensitivity)")
    add_legend(panel)
    unit = f"{len(set(run.groups.tolist()))} {'subjects' if run.has_subjects else 'images'}"
    area = run.result.cell["roc_auc"]
    delong = run.result.cell.delong
    intervals = (
        f"; interval: {run.result.cell.interval}. By DeLong's formula, which treats every cell as independent,"
        f" {with_interval(delong)}."
        if banded
        else "."
    )
    said = (
        f" The band comes from resampling {unit} {N_RESAMPLES} times (seed {BAND_SEED}); a wide band, or folds far"
        " apart, mean that other people could have given a different curve."
        if banded
        else f" There is no band: intervals are {run.result.cell.interval}."
    )
    return illustrate(
        figure,
        generated=run.result.generated,
        name="roc",
        title="ROC curve with its band" if banded else "ROC curve",
        alt=f"ROC curve of all folds pooled{' with a 95 % band' if banded else ''}, thin curves of single folds, and"
        " the diagonal of chance.",
        caption=f"AUC {with_interval(area)}{intervals} Each point is one threshold: the share of leukemic cells"
        " found (up) against the share of normal ones called leukemic (right). Closer to the upper left"
        f" corner is better; the diagonal is guessing.{said} Each fold has its own network, with its own"
        f" scale of probabilities: pooled, they may rank worse than each does alone.{copies_sentence(run)}"
        f" {protocol_reminder(run.result.protocol)}",
    )


def _confusion(run: Run) -> Illustration:
    """Draw the confusion matrices: pooled, by subject, and of each fold."""
    entries: list[tuple[str, Metrics]] = [("all folds, cells", run.result.cell)]
    if run.result.subject is not None:
        entries.append(("all folds, subjects", run.result.subject))
    entries += [(f"fold {fold.fold}, cells", fold.cell) for fold in run.result.folds]
    n_columns = min(len(entries), 4)
    n_rows = math.ceil(len(entries) / n_columns)
    figure = new_figure(2.4 * n_columns, 2.6 * n_rows, gap=0.09)
    panels = figure.subplots(n_rows, n_columns, squeeze=False)
    for panel in panels.flat[len(entries) :]:
        panel.set_visible(False)
    for index, (panel, (title, metrics)) in enumerate(zip(panels.flat, entries, strict=False)):
        confusion = metrics.confusion
        counts = np.array([[confusion.tn, confusion.fp], [confusion.fn, confusion.tp]])
        totals = counts.sum(axis=1, keepdims=True)
        shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
        panel.imshow(shares, cmap="Blues", vmin=0, vmax=1.25)
        for (row, column), count in np.ndenumerate(counts):
            share = f"\n{percent(float(shares[row, column]), digits=0)}" if totals[row, 0] else ""
            colour = "white" if shares[row, column] > 0.62 else INK
            panel.text(column, row, f"{count}{share}", ha="center", va="center", fontsize=10, color=colour)
        panel.set_title(title, fontsize=10, color=INK, fontweight="bold" if index == 0 else "normal")
        panel.set_xticks([0, 1], ["normal", "leukemic"])
        panel.set_yticks([0, 1], ["normal", "leukemic"], rotation=90, va="center")
        panel.tick_params(length=0, labelsize=9, colors=INK)
        panel.spines[:].set_visible(False)
        if index % n_columns == 0:
            panel.set_ylabel("labelled", fontsize=9, color=MUTED)
        if index + n_columns >= len(entries):
            panel.set_xlabel("called", fontsize=9, color=MUTED)
    return illustrate(
        figure,
        generated=run.result.generated,
        name="confusion",
        title="Confusion matrices",
        alt="Tables of labelled against predicted class, for all folds together and for each fold.",
        caption="Rows: the label; columns: the network's call at a threshold of 0.5. Percentages are of the row, so"
        " the lower right is the sensitivity and the upper left the specificity. Look for errors on one"
        f" side only, and for folds that differ.{copies_sentence(run)}"
        f" {protocol_reminder(run.result.protocol)}",
    )


def _reliability(run: Run) -> Illustration:
    """Draw the reliability diagram over a histogram of the probabilities."""
    bins = reliability(run.labels, run.probabilities, n_bins=N_BINS)
    filled = bins.counts > 0
    figure = new_figure(5.8, 6.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    upper.plot(
        bins.mean_probability[filled], bins.observed[filled], color=NORMAL, linewidth=1.8, marker="o", markersize=5
    )
    upper.set_xlim(-0.01, 1.01)
    upper.set_ylim(-0.02, 1.02)
    label_axes(upper, "", "share labelled leukemic")
    lower.bar(bins.edges[:-1], bins.counts, width=np.diff(bins.edges), align="edge", color=NORMAL, alpha=0.35,
              edgecolor=NORMAL, linewidth=0.8)  # fmt: skip
    for left, right, count in zip(bins.edges[:-1], bins.edges[1:], bins.counts, strict=True):
        if count:
            lower.annotate(f"{count:.0f}", ((left + right) / 2, count), xytext=(0, 2), textcoords="offset points",
                           ha="center", fontsize=7, color=INK)  # fmt: skip
    lower.set_ylim(0, 1.2 * max(1, int(bins.counts.max())))
    lower.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
    label_axes(lower, "predicted probability of leukemic", "cells")
    return illustrate(
        figure,
        generated=run.result.generated,
        name="reliability",
        title="Reliability diagram",
        alt="Observed share of leukemic cells against the predicted probability, with the number of cells in each bin.",
        caption="Whether probabilities are calibrated: of the cells given 0.8, 80 % should be leukemic, so that the"
        " points lie on the diagonal. Points below it: the probabilities are too high; above it: too low."
        f" The bars count the cells in each of the {N_BINS} bins; a point above a short bar means little."
        " Expected calibration error (mean distance from the diagonal)"
        f" {with_interval(run.result.cell['ece'])}, Brier score"
        f" {with_interval(run.result.cell['brier'])}.{copies_sentence(run)}"
        f" {protocol_reminder(run.result.protocol)}",
    )


def _decision_curve(run: Run) -> Illustration:
    """Draw the net benefit against the threshold, by cell and, where there are subjects, by subject."""
    labels, probabilities, groups = run.labels, run.probabilities, run.groups
    judged = {"cell": (labels, probabilities, groups)}
    if run.result.subject is not None and not run.result.subject.one_class:
        judged["subject"] = per_subject(labels, probabilities, groups)
    figure = new_figure(4.8 * len(judged) if len(judged) > 1 else 5.8, 4.5)
    panels = figure.subplots(1, len(judged), squeeze=False)[0]
    banded = run.result.cell.has_intervals
    gains: list[str] = []
    for panel, (unit, triple) in zip(panels, judged.items(), strict=True):
        curve = decision_curve(*triple, n_resamples=N_RESAMPLES, seed=BAND_SEED)
        panel.axhline(0, color=INK, linewidth=1, label="call none leukemic")
        panel.plot(curve.thresholds, curve.treat_all, color=MUTED, linewidth=1.4, linestyle=(0, (4, 3)),
                   label="call all leukemic")  # fmt: skip
        if banded:
            panel.fill_between(curve.thresholds, curve.low, curve.high, color=NORMAL, alpha=0.2, linewidth=0,
                               label="95 % band")  # fmt: skip
        panel.plot(curve.thresholds, curve.model, color=NORMAL, linewidth=2.2, label="use the network")
        top = 1.12 * float(max(triple[0].mean(), np.max([curve.model, curve.high if banded else curve.model])))
        panel.set_ylim(-0.25 * top, top)  # calling all leukemic falls without end
        panel.set_xlim(0, 1)
        panel.set_title(f"by {unit}", fontsize=10, color=INK)
        label_axes(panel, "threshold probability", "net benefit" if panel is panels[0] else "")
        if banded:
            gains.append(f" By {unit} {_thresholds_of_gain(curve)}.")
    handles, words = panels[0].get_legend_handles_labels()
    figure.legend(handles, words, loc="outside lower center", ncols=2 * len(judged), frameon=False, fontsize=9,
                  labelcolor=INK)  # fmt: skip
    band = _decision_band_words(run, len(set(groups.tolist()))) if banded else (
        f"There is no band: intervals are {run.result.cell.interval}."
    )  # fmt: skip
    return illustrate(
        figure,
        generated=run.result.generated,
        name="decision_curve",
        title="Decision curve",
        alt="Net benefit against the threshold probability: using the"
        f" network{' with its band' if banded else ''}, calling all leukemic, calling none leukemic.",
        caption="How to read it: find the threshold at which you would act (0.2: one leukemia found is worth four"
        " false alarms). The highest line there is the best rule; its height is the number of leukemias"
        f" found per case, after deducting false alarms.{''.join(gains)} Net benefit depends on the share of"
        f" leukemic cells, here {percent(float(labels.mean()), digits=0)}, and differs in other populations."
        f" {band}{copies_sentence(run)} {protocol_reminder(run.result.protocol)}",
    )


def _decision_band_words(run: Run, n_groups: int) -> str:
    """Explain the band around the net benefit."""
    units = f"{n_groups} {'subjects' if run.has_subjects else 'images'}"
    widened = (
        ", widened by Student's t for their small number; with few of a class it is still rough"
        if n_groups < 30
        else ""
    )
    subject = run.result.subject
    of_classes = "" if subject is None else f" ({subject.positives} leukemic, {subject.n - subject.positives} normal)"
    return f"The band comes from resampling {units}{of_classes} {N_RESAMPLES} times (seed {BAND_SEED}){widened}."


def _thresholds_of_gain(curve: DecisionCurve) -> str:
    """List the thresholds at which the network is significantly better than calling all, or none, leukemic."""
    places = np.flatnonzero(curve.gain_low > 0)
    if len(places) == 0:
        return (
            "the network is not shown to be better than the better of the two fixed rules at any threshold (95"
            " %, each threshold on its own)"
        )
    longest = max(np.split(places, np.flatnonzero(np.diff(places) > 1) + 1), key=len)
    low, high = curve.thresholds[longest[0]], curve.thresholds[longest[-1]]
    return (
        "the network is better than the better of the two fixed rules (95 %, each threshold on its own) from"
        f" {low:.2f} to {high:.2f}"
    )


# --------------------------------------------------------------------------------------------------------- by subject


def _run_subjects(run: Run) -> Illustration:
    """Draw each subject's probabilities, coloured by label."""
    labels, _, names = per_subject(run.labels, run.probabilities, run.groups)
    colours = {str(name): class_colour(label) for name, label in zip(names, labels, strict=True)}
    normal, leukemic = _class_words(run)
    cells = {"subject": run.groups, "probability": run.probabilities}
    figure = _dot_plot(cells, colours, THRESHOLD, {f"labelled {leukemic}": LEUKEMIC, f"labelled {normal}": NORMAL})
    return illustrate(
        figure,
        generated=run.result.generated,
        name="subjects",
        title="Cell probabilities, subject by subject",
        alt="One row of dots per subject: the probabilities of the subject's cells and their mean, ordered by mean.",
        caption="Each row is one person, ordered by mean probability; each small dot one of their cells, the"
        " diamond the mean. The two colours should part at the dashed line. Look for people on the wrong"
        " side: cells of one person resemble each other, so errors cluster by person. This is why intervals"
        f" come from resampling people.{copies_sentence(run)} {protocol_reminder(run.result.protocol)}",
    )


def _analysis_subjects(counted: Columns, threshold: float, *, generated: bool) -> Illustration:
    """Draw each subject's probabilities, coloured by the side of the threshold on which their mean lies."""
    cells = {name: column[counted["subject"] != ""] for name, column in counted.items()}
    colours = {name: class_colour(values.mean() >= threshold) for name, values in _by_subject(cells).items()}
    legend = {f"mean at or above {threshold:g}": LEUKEMIC, f"mean below {threshold:g}": NORMAL}
    return illustrate(
        _dot_plot(cells, colours, threshold, legend),
        generated=generated,
        name="subjects",
        title="Cell probabilities, subject by subject",
        alt="One row of dots per subject: the probabilities of the subject's cells and their mean, ordered by mean.",
        caption="Each row is one person, ordered by mean probability; each small dot one of their counted cells,"
        " the diamond the mean. A row spread over the whole width means that the network's calls for that"
        " person are inconsistent. A mean of few dots means little. The colour is the network's call, not"
        " the truth.",
    )


def _probabilities(counted: Columns, threshold: float, *, generated: bool) -> Illustration:
    """Draw the histogram of the probabilities."""
    probabilities = counted["probability"]
    edges = np.linspace(0, 1, 41)
    figure = new_figure(7.2, 3.0)
    panel = figure.subplots()
    counts, _ = np.histogram(probabilities, bins=edges)
    panel.bar(edges[:-1], counts, width=np.diff(edges), align="edge",
              color=[class_colour(left >= threshold) for left in edges[:-1]], alpha=0.75)  # fmt: skip
    panel.axvline(threshold, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    panel.set_xlim(0, 1)
    panel.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    label_axes(panel, "probability of leukemic", "counted cells")
    return illustrate(
        figure,
        generated=generated,
        name="probabilities",
        title="Distribution of the probabilities",
        alt="Histogram of the probabilities with a line at the decision threshold.",
        caption=f"{number_of(len(probabilities), 'counted cell')}; the dashed line is the threshold {threshold:g}."
        " Peaks at both ends mean that the network is certain, which is not the same as being correct; a"
        " peak at the line means that it cannot separate these cells.",
    )


def _dot_plot(cells: Columns, colours: dict[str, str], threshold: float, legend: dict[str, str]) -> Figure:
    """Draw one row of dots a subject, ordered by mean probability, highest on top."""
    by_subject = sorted(_by_subject(cells).items(), key=lambda pair: float(pair[1].mean()))
    # Thousands of subjects still make one picture that can be opened: rows get thinner, then lose their names.
    row_height = min(0.24, 40 / len(by_subject))
    named = row_height >= 0.12
    figure = new_figure(9.6, max(1.6, row_height * len(by_subject)) + 1.0)
    panel = figure.subplots()
    for row, (subject, values) in enumerate(by_subject):
        # The golden ratio spreads neighbours apart the same way each time, where chance would need a seed.
        offset = (np.arange(len(values)) * 0.6180339887 % 1 - 0.5) * 0.62
        panel.scatter(np.sort(values), row + offset, s=8, color=colours[subject], alpha=0.42, linewidths=0)
        panel.plot(values.mean(), row, marker="D", markersize=6, color=colours[subject], markeredgecolor="white")
        if named and row % 2:
            panel.axhspan(row - 0.5, row + 0.5, color="#f4f4f2", linewidth=0, zorder=0)
    panel.axvline(threshold, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    panel.set_xlim(-0.01, 1.01)
    panel.set_ylim(-0.6, len(by_subject) - 0.4)
    label_axes(panel, "probability of leukemic", "" if named else f"{len(by_subject)} subjects")
    panel.grid(visible=False, axis="y")
    if named:
        names = [f"{drawable(subject, longest=18)} ({len(values)})" for subject, values in by_subject]
        panel.set_yticks(range(len(by_subject)), names, fontsize=8, parse_math=False)
        panel.tick_params(axis="y", length=0)
    else:
        panel.set_yticks([])
    for words, colour in legend.items():
        panel.scatter([], [], s=34, marker="D", color=colour, label=drawable(words))
    figure.legend(loc="outside upper right", ncols=2, frameon=False, fontsize=9, labelcolor=INK)
    for text in figure.legends[0].get_texts():
        text.set_parse_math(False)
    return figure


# ------------------------------------------------------------------------------------------------------ shared parts


def _bare(panel: Axes) -> None:
    """Leave nothing of the axes but a thin frame."""
    panel.set_xticks([])
    panel.set_yticks([])
    panel.spines[:].set_color(FAINT)


def _by_fold(table: pd.DataFrame, *, order: str) -> dict[str, Columns]:
    """Part a table by its folds, which are named as in the files, from 0; each part sorted by the column `order`."""
    parts: dict[str, Columns] = {}
    for fold, rows in table.groupby("fold"):
        ordered = rows.sort_values(order, kind="stable")
        parts[f"fold {fold:.0f}"] = {str(name): ordered[name].to_numpy() for name in ordered.columns}
    return parts


def _by_subject(cells: Columns) -> dict[str, Float[np.ndarray, " cells"]]:
    """Part probabilities by subject."""
    return {str(subject): cells["probability"][cells["subject"] == subject] for subject in np.unique(cells["subject"])}


def _class_words(run: Run) -> tuple[str, str]:
    """Name (normal, leukemic) with the data set's own words for them."""
    normal, leukemic = run.result.data.class_names
    return f"normal ({normal})", f"leukemic ({leukemic})"


def _shown_samples(labels: Int64[np.ndarray, " n"]) -> list[int]:
    """Choose at most `MAX_SAMPLES` samples, leukemic first, both classes alike where there are enough."""
    leukemic, normal = (np.flatnonzero(labels == label).tolist() for label in (1, 0))
    half = MAX_SAMPLES // 2
    from_leukemic = max(half, MAX_SAMPLES - len(normal))
    from_normal = max(half, MAX_SAMPLES - len(leukemic))
    return [*leukemic[:from_leukemic], *normal[:from_normal]]


def _relative_error(before: Float[np.ndarray, "size size"], after: Float[np.ndarray, "size size"]) -> float | None:
    """Compute the share of a picture's variance that its reconstruction lacks; None for a blank picture."""
    variance = float(np.var(before))
    return float(np.mean((after - before) ** 2)) / variance if variance else None
