"""Make the README's picture from the run that `make demo` leaves: python docs/make_picture.py demo/run."""

import sys
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

STEPS = ("cell, drawn", "spike time (dark: first)", "first wave", "blurred, 100 x 100", "after PCA")


def main(run: Path, out: Path) -> None:
    """Show the first sample of each class, step by step."""
    with np.load(run / "samples.npz", allow_pickle=False) as samples:
        rows = [int(np.flatnonzero(samples["labels"] == label)[0]) for label in (1, 0)]
        columns = [samples[name][rows] for name in ("cells", "latency", "first_wave", "prepared", "reconstructed")]
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axes = figure.subplots(2, len(STEPS))
    # Viridis for the 15 spike times, white for silent.
    times = ListedColormap([*figure_colours(15), (1, 1, 1, 1)])
    for row, name in enumerate(("lymphoblast", "lymphocyte")):
        for column, (step, images) in enumerate(zip(STEPS, columns, strict=True)):
            ax = axes[row, column]
            styles = {0: {}, 1: {"cmap": times, "vmin": 0, "vmax": 15, "interpolation": "nearest"}}
            ax.imshow(images[row], **styles.get(column, {"cmap": "gray_r", "vmin": 0}))
            ax.set(xticks=[], yticks=[])
            if row == 0:
                ax.set_title(step, fontsize=10)
        axes[row, 0].set_ylabel(name, fontsize=10)
    figure.savefig(out, dpi=110)


def figure_colours(n: int) -> list[tuple[float, float, float, float]]:
    """Give n colours from dark to light."""
    return [tuple(colour) for colour in colormaps["viridis"](np.linspace(0, 1, n))]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parent / "images" / "pipeline.png")
