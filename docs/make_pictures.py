"""Make the pictures of the docs, all from drawn cells: `python docs/make_pictures.py demo/run` after `make demo`.

Those of explanations.md come from the benchmark that tests explanations.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib import colormaps
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from PIL import Image

from leukospike.cli.call import run as leukospike
from leukospike.spikes import (
    Spikes,
    edge_responses,
    gabor_bank,
    latency_map,
    lateral_inhibition,
    pointwise_inhibition,
    pool_intensity,
    rank_order_latency,
    to_wave,
)

IMAGES = Path(__file__).parent / "images"
STEPS = ("cell, drawn", "spike time (dark: first)", "first wave", "blurred, 100 x 100", "after PCA")
BINS = 15
# Viridis for the 15 spike times, white for silent.
TIMES = ListedColormap([*(tuple(colour) for colour in colormaps["viridis"](np.linspace(0, 1, BINS))), (1, 1, 1, 1)])
THRESHOLD = 12
COLOURS = ("#0072b2", "#d55e00", "#009e73")


def main(demo_run: Path) -> None:
    """Make every picture."""
    pipeline(demo_run)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # The tutorials' cohort, and one of its patients.
        assert leukospike(["smears", "--subjects", "10", "--out", str(folder / "cohort")]) == 0
        grey = Image.open(folder / "cohort/cells/all/GL03/GL03_001.png").convert("L")
        image = torch.tensor(np.asarray(grey, np.float32) / 255)[None, None]
        spike_times(image)
        potential(image)
        for path in (folder / "cohort/fields/images").iterdir():
            patient = folder / "patients" / path.name.partition("_")[0]
            patient.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, patient)
        assert leukospike(["segment", str(folder / "patients/GL03"), "--out", str(folder / "outlines")]) == 0
        shutil.copy(folder / "outlines/GL03_field_01_overlay.png", IMAGES / "tutorial-overlay.png")
        assert leukospike(["analyze", str(folder / "patients"), "--out", str(folder / "analysis")]) == 0
        analysis(folder / "analysis")


def pipeline(run: Path) -> None:
    """Show the first sample of each class, step by step."""
    with np.load(run / "samples.npz", allow_pickle=False) as samples:
        rows = [int(np.flatnonzero(samples["labels"] == label)[0]) for label in (1, 0)]
        columns = [samples[name][rows] for name in ("cells", "latency", "first_wave", "prepared", "reconstructed")]
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axes = figure.subplots(2, len(STEPS))
    for row, name in enumerate(("lymphoblast", "lymphocyte")):
        for column, (step, images) in enumerate(zip(STEPS, columns, strict=True)):
            ax = axes[row, column]
            styles = {0: {}, 1: {"cmap": TIMES, "vmin": 0, "vmax": BINS, "interpolation": "nearest"}}
            ax.imshow(images[row], **styles.get(column, {"cmap": "gray_r", "vmin": 0}))
            ax.set(xticks=[], yticks=[])
            if row == 0:
                ax.set_title(step, fontsize=10)
        axes[row, 0].set_ylabel(name, fontsize=10)
    figure.savefig(IMAGES / "pipeline.png", dpi=110)


def spike_times(image: torch.Tensor) -> None:
    """Show a cell, its edges, their spike times, and what has spiked after some of the steps."""
    edges = edge_responses(image, gabor_bank(window=5)).amax(dim=1)[0]
    latency = latency_map(image).latency[0].numpy()
    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.subplots(2, 4).ravel()
    axes[0].imshow(image[0, 0], cmap="gray", vmin=0, vmax=1)
    axes[1].imshow(edges, cmap="gray_r")
    times = axes[2].imshow(latency, cmap=TIMES, vmin=-0.5, vmax=BINS + 0.5, interpolation="nearest")
    bar = figure.colorbar(times, cax=axes[3].inset_axes((0.1, 0.05, 0.12, 0.9)), ticks=[0, 5, 10, BINS])
    bar.ax.set_yticklabels(["0: first", "5", "10", "silent"])
    bar.ax.invert_yaxis()
    axes[3].axis("off")
    for ax, steps in zip(axes[4:], (1, 3, 8, BINS), strict=True):
        ax.imshow(latency < steps, cmap="gray_r", interpolation="nearest")
        ax.set_title(f"after {steps} step{'s' if steps > 1 else ''}", fontsize=10)
    for ax, title in zip(axes, ("cell, drawn", "strongest edge response", "spike time"), strict=False):
        ax.set_title(title, fontsize=10)
    for ax in axes:
        ax.set(xticks=[], yticks=[])
    figure.savefig(IMAGES / "spike-times.png", dpi=110)


def potential(image: torch.Tensor) -> None:
    """Show how the potentials of three neurons of one place climb to the threshold, with weights drawn at random."""
    edges = pool_intensity(edge_responses(image, gabor_bank(window=5)), kernel=5, stride=4, padding=2)
    strength = lateral_inhibition(edges)
    inputs = pointwise_inhibition(Spikes(rank_order_latency(strength), strength)).latency
    weights = torch.randn(8, 4, 9, 9, generator=torch.Generator().manual_seed(1)) + 0.2
    sums = torch.nn.functional.conv2d(to_wave(inputs)[0], weights)
    row, column = divmod(int(sums[-1].amax(0).argmax()), sums.shape[-1])
    sums = sums[:, :, row, column]
    firsts = torch.where((sums > THRESHOLD).any(0), (sums > THRESHOLD).int().argmax(0), BINS)
    order = firsts.argsort(stable=True)
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    ax = figure.subplots()
    for colour, name, neuron in zip(COLOURS, "abc", (order[0], order[len(order) // 2], order[-1]), strict=True):
        ax.step(range(BINS), sums[:, neuron], where="post", color=colour, label=f"neuron {name}")
        time = int(firsts[neuron])
        if time < BINS:
            ax.plot(time, sums[time, neuron], "o", color=colour)
    ax.axhline(THRESHOLD, color="black", linestyle=":", linewidth=1)
    ax.set(xlabel="time step", ylabel="potential", xlim=(0, BINS - 1))
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    figure.savefig(IMAGES / "potential.png", dpi=110)


def analysis(folder: Path) -> None:
    """Show what `analyze` makes of one field: outlines, cells with their kinds, and what is found of the subject."""
    cells, subjects = pd.read_csv(folder / "cells.csv"), pd.read_csv(folder / "subjects.csv")
    with np.load(folder / "thumbnails.npz", allow_pickle=False) as stored:
        pictures = stored["thumbnails"]
    mine = cells.index[cells["subject"] == "GL03"]
    subject = subjects.set_index("subject").loc["GL03"]
    images = pd.read_csv(folder / "images.csv").set_index("image")
    overlay = Image.open(folder / images.loc["GL03/GL03_field_01.png", "overlay"])
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(5.6, 4.4))
    ax = left.subplots()
    ax.imshow(overlay)
    ax.set_title("white cells found", fontsize=10, loc="left")
    ax.axis("off")
    right.suptitle("what each is, and how likely", fontsize=10, x=0.02, ha="left")
    for cell_ax, index in zip(right.subplots(2, (len(mine) + 1) // 2).ravel(), mine, strict=False):
        cell_ax.imshow(pictures[index])
        cell_ax.set_title(f"{cells.loc[index, 'kind']}\n{cells.loc[index, 'kind_probability']:.2f}", fontsize=9)
        cell_ax.axis("off")
    right.supxlabel(f"{subject.name}: {subject['decision']}. {subject['reason']}", fontsize=9, x=0.02, ha="left")
    figure.savefig(IMAGES / "analysis.png", dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
