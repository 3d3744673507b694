"""Explanations: whether maps point at what decides, and change with the networks."""

import copy
from collections.abc import Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from benchmarks.measure import seconds as seconds_of
from leukospike.classification.appearance_learning import AppearanceTraining, appearances, train_appearance
from leukospike.classification.appearance_network import AppearanceNetwork
from leukospike.classification.attribution import Parts, attribution, decision_parts, deletion_curves
from leukospike.classification.cells import LabelledCells
from leukospike.classification.explanation import spike_times
from leukospike.classification.morphology import MEASURES, MorphologyReference, morphology
from leukospike.classification.neighbours import TrainingIndex
from leukospike.classification.network_input import SEEN, cell_crop
from leukospike.report.explanations import enlarged, full_colour, overlay, smoothed, spike_time_colours
from leukospike.smears import CellKind, draw_cell, subject_style
from research import tables
from research.classification.data import cohort, folds, others

SEED = 0
CELLS = 200
RANDOM_ORDERS = 3
DRAWS = 5
PICTURE = Path("docs/images/explanations.png")
LAYERS = ("decision", "second", "first")
BLOCKS_PX = (1, 4, 8)


def run() -> None:
    """Train on four of five folds by subject, explain cells of the fifth, and print and save the tables."""
    torch.set_num_threads(1)
    all_cells = cohort()
    number = folds(all_cells.cells.labels, all_cells.groups, SEED)
    train = others(number, [0])
    networks = train_appearance(all_cells.part(train), AppearanceTraining(), known=all_cells.appearances[train])
    rng = np.random.default_rng(SEED)
    crops = all_cells.cells.crops[rng.choice(np.flatnonzero(number == 0), CELLS, replace=False)]
    attribution(networks, crops[:1])
    maps: list[np.ndarray] = []
    seconds = seconds_of(lambda: maps.append(attribution(networks, crops)))
    deletion = deletions(networks, crops, maps[0], rng)
    cascade = randomisations(networks, crops[:50], maps[0][:50])
    parts = np.array([astuple(one) for one in decision_parts(networks, crops)])
    notes = (
        f"C-NMC, {CELLS} cells of subjects held out, seed {SEED}. Area under the deletion curve in log odds towards",
        "the decision, less is better; in brackets the share of cells in which the map does better than random orders.",
        f"A map takes {seconds / CELLS * 1e3:.0f} ms.",
    )
    rows = [
        {"pixels taken": name, **{order: f"{value:+.2f}" for order, value in row["mean"].items()}}
        | {"better than random": f"{row['better']:.2f}"}
        for name, row in deletion.items()
    ]
    print(tables.table("Deletion", rows, notes=notes))
    rows = [
        {
            "random from": layer,
            "mean of": str(DRAWS),
            "correlation": f"{row['mean']:+.2f}",
            "size": f"{row['size']:.2f}",
        }
        for layer, row in cascade.items()
    ]
    print(tables.table("Rank correlation with maps of randomised networks", rows))
    spreads = dict(zip([field.name for field in fields(Parts)], parts.std(axis=0).tolist(), strict=True))
    rows = [{"part": name, "spread, log odds": f"{value:.2f}"} for name, value in spreads.items() if name != "typical"]
    print(tables.table("What decisions are made of", rows))
    results: dict[str, Any] = {"seed": SEED, "cells": CELLS, "seconds_a_map": seconds / CELLS}
    tables.save("explanations", results | {"deletion": deletion, "randomised": cascade, "spread": spreads})
    picture(PICTURE)
    print(f"drawn cells: {PICTURE}")


def deletions(
    networks: Sequence[AppearanceNetwork], crops: np.ndarray, maps: np.ndarray, rng: np.random.Generator
) -> dict[str, Any]:
    """Compare the map's order with random ones, its reverse, and the map turned about the middle."""
    log_odds = deletion_curves(networks, crops, maps, steps=1)[:, 0]
    way = np.sign(log_odds).astype(np.float32)

    def area(order: np.ndarray, block: int) -> np.ndarray:
        side = maps.shape[1] // block
        sums = (order * way[:, None, None]).reshape(len(maps), side, block, side, block).sum(axis=(2, 4))
        whole = sums.repeat(block, axis=1).repeat(block, axis=2).astype(np.float32)
        return np.asarray(np.trapezoid(deletion_curves(networks, crops, whole) * way[:, None], dx=1 / 20, axis=1))

    found: dict[str, Any] = {}
    for block in BLOCKS_PX:
        own = area(maps, block)
        random = np.mean([area(rng.normal(size=maps.shape), block) for _ in range(RANDOM_ORDERS)], axis=0)
        mean = {"whole cell": np.abs(log_odds).mean(), "map": own.mean(), "random": random.mean()}
        mean |= {"map turned": area(np.rot90(maps, 2, (1, 2)), block).mean(), "map reversed": area(-maps, block).mean()}
        found["one by one" if block == 1 else f"{block} x {block}"] = {
            "mean": {name: float(value) for name, value in mean.items()},
            "better": float((own < random).mean()),
        }
    return found


def randomisations(
    networks: Sequence[AppearanceNetwork], crops: np.ndarray, maps: np.ndarray
) -> dict[str, dict[str, float]]:
    """Draw the weights anew from the last layer down (Adebayo et al. 2018), and compare the maps."""
    inside = crops.max(axis=3) >= SEEN
    found: dict[str, dict[str, float]] = {}
    for depth, layer in enumerate(LAYERS, start=1):
        likeness = []
        for draw in range(DRAWS):
            torch.manual_seed(draw)
            randomised = [copy.deepcopy(network) for network in networks]
            for network in randomised:
                for name in LAYERS[:depth]:
                    getattr(network, name).reset_parameters()
            pairs = zip(maps, attribution(randomised, crops), inside, strict=True)
            likeness.append([spearmanr(own[where], other[where])[0] for own, other, where in pairs])
        found[f"{layer} on"] = {"mean": float(np.mean(likeness)), "size": float(np.abs(likeness).mean())}
    return found


def picture(path: Path) -> None:
    """Explain four drawn cells by networks that learned from drawn cells."""
    crops, labels, subjects = [], [], []
    for subject in range(12):
        style = subject_style(np.random.default_rng((SEED, subject)))
        kind = CellKind.LYMPHOBLAST if subject % 2 else CellKind.LYMPHOCYTE
        for cell in range(10):
            rng = np.random.default_rng((SEED, subject, cell))
            crops.append(cell_crop(draw_cell(kind, style, rng, size_px=450).pixels))
            labels.append(subject % 2)
            subjects.append(f"{'L' if subject % 2 else 'H'}{subject + 1:02d}")
    cells = LabelledCells(np.stack(crops), np.array(labels), subjects)
    train, shown = np.arange(80), np.array([80, 92, 104, 116])
    measures = appearances(cells.crops)
    networks = train_appearance(
        LabelledCells(cells.crops[train], cells.labels[train], subjects[:80]),
        AppearanceTraining(epochs=40),
        known=measures[train],
    )
    embeddings = networks[0].standardised(torch.from_numpy(measures)).numpy()
    index = TrainingIndex.fit(
        embeddings[train],
        images=[f"{subjects[cell]}_{cell % 10 + 1:03d}" for cell in train],
        subjects=subjects[:80],
        labels=labels[:80],
    )
    reference = MorphologyReference.fit([morphology(measures[cell], {}) for cell in train], labels[:80])
    maps = attribution(networks, cells.crops[shown])
    smooth = [smoothed(own, crop) for own, crop in zip(maps, cells.crops[shown], strict=True)]
    parts = decision_parts(networks, cells.crops[shown])
    figure = Figure(figsize=(11, 2.3 * len(shown)), layout="constrained")
    axes = figure.subplots(len(shown), 5, width_ratios=(1, 1, 1, 1.15, 2.1), squeeze=False)
    titles = ("cell, drawn", "map", "spike times", "log odds of leukemic", "similar training cells, and measures")
    for row, cell in enumerate(shown.tolist()):
        crop = cells.crops[cell]
        views = (enlarged(crop), overlay(crop, smooth[row], full=full_colour(smooth)))
        for panel, view in zip(axes[row], (*views, spike_time_colours(spike_times(crop))), strict=False):
            panel.imshow(view)
            panel.set(xticks=[], yticks=[])
        axes[row, 0].set_ylabel("lymphoblast" if labels[cell] else "lymphocyte")
        names = [field.name for field in fields(Parts)][::-1]
        values = list(astuple(parts[row]))[::-1]
        axes[row, 3].barh(names, values, color=["#d55e00" if value > 0 else "#0072b2" for value in values])
        axes[row, 3].axvline(0, color="#222222", linewidth=0.8)
        axes[row, 3].set_xlabel(f"sum {parts[row].log_odds:+.1f}", fontsize=8)
        axes[row, 3].tick_params(labelsize=8)
        lines = [
            f"{one.image} ({'leukemic' if one.leukemic else 'normal'}, {one.similarity:.2f})"
            for one in index.nearest(embeddings[cell], k=3)
        ]
        for place in reference.places(morphology(measures[cell], {})):
            lines += [f"{MEASURES[place.measure].split(',')[0]} {place.value:.3g}:", f"   {place.words}"]
        axes[row, 4].text(0, 1, "\n".join(lines), fontsize=6.5, va="top")
        axes[row, 4].axis("off")
    for panel, title in zip(axes[0], titles, strict=True):
        panel.set_title(title, fontsize=9)
    figure.savefig(path, dpi=100)
