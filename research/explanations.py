"""Explanations: whether maps point at what decides, and change with the network."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.stats import spearmanr
from torch import Tensor, nn

from benchmarks.measure import seconds as seconds_of
from leukospike.classification.appearance_learning import appearances
from leukospike.classification.attribution import attribution, deletion_curves
from leukospike.classification.explanation import likely_kinds, spike_times
from leukospike.classification.kind_input import at_one_size, cell_pixels, coarse_crop, inside
from leukospike.classification.kind_learning import KindTraining, fit_kinds, views_of
from leukospike.classification.kind_network import KindNetwork
from leukospike.classification.kinds import KINDS, CellKind
from leukospike.classification.morphology import MEASURES, MorphologyReference, morphology
from leukospike.classification.neighbours import TrainingIndex
from leukospike.classification.network import colours_of
from leukospike.report.explanations import enlarged, full_colour, overlay, smoothed, spike_time_colours
from leukospike.smears import CellKind as DrawnKind
from leukospike.smears import draw_cell, subject_style
from research import tables
from research.classification.kind_data import C_NMC, everything
from research.classification.kind_scores import network_without, photographs

SEED = 0
CELLS = 200
RANDOM_ORDERS = 3
RANDOMISED = 50
DRAWS = 5
PICTURE = Path("docs/images/explanations.png")
LAYERS = ("decision", "last stage", "stage before", "all stages")
BLOCKS_PX = (1, 4, 8)


def run() -> None:
    """Train on four of five folds by subject, explain cells of the fifth, and print and save the tables."""
    torch.set_num_threads(1)
    whole = everything()
    home = whole.of(C_NMC)
    network = network_without((0,))
    rng = np.random.default_rng(SEED)
    chosen = rng.choice(home[whole.fold[home] == 0], CELLS, replace=False)
    shown = at_one_size(colours_of(torch.from_numpy(whole.cells.pixels[chosen])))[0]
    sizes = torch.from_numpy(whole.cells.diameter_um[chosen])
    attribution(network, shown[:1], sizes[:1])
    maps: list[np.ndarray] = []
    seconds = seconds_of(lambda: maps.append(attribution(network, shown, sizes)))
    deletion = deletions(network, shown, sizes, maps[0], rng)
    cascade = randomisations(network, shown[:RANDOMISED], sizes[:RANDOMISED], maps[0][:RANDOMISED])
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
    results: dict[str, Any] = {"seed": SEED, "cells": CELLS, "seconds_a_map": seconds / CELLS}
    tables.save("explanations", results | {"deletion": deletion, "randomised": cascade})
    picture(PICTURE)
    print(f"drawn cells: {PICTURE}")


def deletions(
    network: KindNetwork, shown: Tensor, sizes: Tensor, maps: np.ndarray, rng: np.random.Generator
) -> dict[str, Any]:
    """Compare the map's order with random ones, its reverse, and the map turned about the middle."""
    log_odds = deletion_curves(network, shown, sizes, maps, steps=1)[:, 0]
    way = np.sign(log_odds).astype(np.float32)

    def area(order: np.ndarray, block: int) -> np.ndarray:
        side = maps.shape[1] // block
        sums = (order * way[:, None, None]).reshape(len(maps), side, block, side, block).sum(axis=(2, 4))
        spread = sums.repeat(block, axis=1).repeat(block, axis=2).astype(np.float32)
        curves = deletion_curves(network, shown, sizes, spread)
        return np.asarray(np.trapezoid(curves * way[:, None], dx=1 / 20, axis=1))

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


def randomisations(network: KindNetwork, shown: Tensor, sizes: Tensor, maps: np.ndarray) -> dict[str, dict[str, float]]:
    """Draw the weights anew from the decision down (Adebayo et al. 2018), and compare the maps."""
    cells = inside(shown)[:, 0].numpy()
    found: dict[str, dict[str, float]] = {}
    for depth, layer in enumerate(LAYERS, start=1):
        likeness = []
        for draw in range(DRAWS):
            torch.manual_seed(draw)
            pairs = zip(maps, attribution(_randomised(network, depth), shown, sizes), cells, strict=True)
            likeness.append([spearmanr(own[where], other[where])[0] for own, other, where in pairs])
        found[f"{layer} on"] = {"mean": float(np.nanmean(likeness)), "size": float(np.nanmean(np.abs(likeness)))}
    return found


def _randomised(network: KindNetwork, depth: int) -> KindNetwork:
    """Return a copy in which the last `depth` of `LAYERS` are drawn anew."""
    other = copy.deepcopy(network)
    stages = list(other.body.stages)[::-1]
    parts: list[list[nn.Module]] = [[other.decision], stages[:1], stages[1:2], [*stages[2:], other.body.stem]]
    for part in parts[:depth]:
        for module in [module for each in part for module in each.modules()]:
            if isinstance(module, nn.Linear | nn.Conv2d):
                module.reset_parameters()
    return other


def picture(path: Path) -> None:
    """Explain four drawn cells by a network that learned from drawn cells."""
    drawn, labels, subjects = [], [], []
    for subject in range(12):
        style = subject_style(np.random.default_rng((SEED, subject)))
        kind = DrawnKind.LYMPHOBLAST if subject % 2 else DrawnKind.LYMPHOCYTE
        for cell in range(10):
            rng = np.random.default_rng((SEED, subject, cell))
            drawn.append(cell_pixels(draw_cell(kind, style, rng, size_px=450).pixels))
            labels.append(subject % 2)
            subjects.append(f"{'L' if subject % 2 else 'H'}{subject + 1:02d}")
    pixels, n_train, explained = np.stack(drawn), 80, np.array([80, 92, 104, 116])
    kinds = np.where(np.array(labels) == 1, CellKind.LYMPHOBLAST.place, CellKind.LYMPHOCYTE.place)
    unknown = np.full(len(kinds), np.nan, np.float32)
    body, config = photographs(), KindTraining(views=2, seed=SEED)
    views = views_of(pixels, body, config)
    weights = np.full(len(kinds), 1 / n_train)
    network = fit_kinds(views, kinds, weights, unknown, np.arange(n_train), config, body=body)
    with torch.inference_mode():
        axes = network.on_axes(torch.from_numpy(views.features[: len(kinds)]))
        shares = network.decide(axes, torch.from_numpy(unknown)).softmax(dim=1).numpy()
    index = TrainingIndex.fit(
        axes.numpy()[:n_train],
        images=[f"{subjects[cell]}_{cell % 10 + 1:03d}" for cell in range(n_train)],
        subjects=subjects[:n_train],
        kinds=[KINDS[kind].value for kind in kinds[:n_train].tolist()],
        laboratories=["drawn"] * n_train,
    )
    measures = [morphology(own, {}) for own in appearances(np.stack([coarse_crop(cell) for cell in pixels]))]
    reference = MorphologyReference.fit(measures[:n_train], labels[:n_train])
    shown = at_one_size(colours_of(torch.from_numpy(pixels[explained])))[0]
    maps = attribution(network, shown, torch.from_numpy(unknown[explained]))
    views_shown = (shown * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    smooth = [smoothed(own, its) for own, its in zip(maps, views_shown, strict=True)]
    figure = Figure(figsize=(10, 2.3 * len(explained)), layout="constrained")
    panels = figure.subplots(len(explained), 5, width_ratios=(1, 1, 1, 1.15, 2.1), squeeze=False)
    titles = ("cell, drawn", "map", "spike times", "likeliest kinds", "similar training cells, and measures")
    for row, cell in enumerate(explained.tolist()):
        own = views_shown[row]
        pictures = (enlarged(own), overlay(own, smooth[row], full=full_colour(smooth)))
        for panel, view in zip(panels[row], (*pictures, spike_time_colours(spike_times(own))), strict=False):
            panel.imshow(view)
            panel.set(xticks=[], yticks=[])
        panels[row, 0].set_ylabel(KINDS[kinds[cell]].value)
        likely = likely_kinds(shares[cell])[::-1]
        panels[row, 3].barh([kind.kind for kind in likely], [kind.probability for kind in likely], color="#555555")
        panels[row, 3].set(xlim=(0, 1))
        panels[row, 3].tick_params(labelsize=8)
        lines = [f"{one.image} ({one.kind}, {one.similarity:.2f})" for one in index.nearest(axes[cell].numpy(), k=3)]
        for place in reference.places(measures[cell]):
            lines += [
                f"{MEASURES[place.measure].split(',')[0]} {place.value:.3g}:",
                f"   above {place.lymphoblasts:.0%} of lymphoblasts, {place.precursors:.0%} of lymphocytes",
            ]
        panels[row, 4].text(0, 1, "\n".join(lines), fontsize=6.5, va="top")
        panels[row, 4].axis("off")
    for panel, title in zip(panels[0], titles, strict=True):
        panel.set_title(title, fontsize=9)
    figure.savefig(path, dpi=100)
