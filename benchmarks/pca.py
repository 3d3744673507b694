"""Which PCA: randomised with all images in memory, or incremental, reading them in blocks."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.decomposition import PCA, IncrementalPCA

from benchmarks import measure, tables

CELLS, PIXELS, COMPONENTS, SEED = 10_661, 10_000, 500, 0
RANK = 2_000
BLOCK = 1_000

CASES: dict[str, dict[str, Any]] = {
    "randomised, power iterations auto (7)": {"method": "randomised", "power": "auto"},
    "randomised, power iterations 4": {"method": "randomised", "power": 4},
    "randomised, power iterations 2": {"method": "randomised", "power": 2},
    "incremental, blocks of 1,000": {"method": "incremental", "block": BLOCK},
    "incremental, blocks of 2,500": {"method": "incremental", "block": 2_500},
}


def run() -> None:
    """Measure each case in its own process, and print and save the table."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cells.f32"
        _generate(path)
        results = {name: measure.apart("benchmarks.pca:fit", path=str(path), **case) for name, case in CASES.items()}
    rows = [
        {
            "PCA": name,
            "fit s": f"{result['seconds']:.1f}",
            "peak MB": f"{result['peak_mb'] - result['baseline_mb']:,.0f}",
            "variance in 500": f"{result['explained']:.5f}",
            "last component's": f"{result['last']:.3e}",
        }
        for name, result in results.items()
    ]
    notes = (
        f"{CELLS:,} x {PIXELS:,} float32 ({CELLS * PIXELS * 4 / 2**20:,.0f} MB), generated: rank {RANK:,}, variance of"
        f" component k as 1/k, and 5 % white noise; seed {SEED}; one repetition.",
        "Peak: over the process after its imports, data included. Variance: share of the data's, by projecting it.",
    )
    print(tables.table("PCA, 500 components", rows, notes=notes))
    tables.save("pca", {"seed": SEED, "repetitions": 1, "cases": results})


def fit(path: str, method: str, power: int | str = "auto", block: int = BLOCK) -> dict[str, float]:
    """Fit one PCA to the cells in the file `path`; report its time and what it explains."""
    start = time.perf_counter()
    if method == "randomised":
        cells = np.fromfile(path, np.float32).reshape(CELLS, PIXELS)
        randomised = PCA(COMPONENTS, svd_solver="randomized", copy=False, iterated_power=power, random_state=SEED)  # pyright: ignore[reportArgumentType] - its stubs know no number
        mean, components = _fitted(randomised.fit(cells))
        del cells
    else:
        pca = IncrementalPCA(COMPONENTS)
        for cells in _blocks(path, block):
            pca.partial_fit(cells)
        mean, components = _fitted(pca)
    elapsed = time.perf_counter() - start
    total = kept = last = 0.0
    for cells in _blocks(path, BLOCK):
        centred = cells - mean
        total += float(np.square(centred, dtype=np.float64).sum())
        by_component = np.square(centred @ components.T, dtype=np.float64).sum(axis=0)
        kept += float(by_component.sum())
        last += float(by_component[-1])
    return {"seconds": elapsed, "explained": kept / total, "last": last / total}


def _fitted(pca: PCA | IncrementalPCA) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and components, float32."""
    return np.asarray(pca.mean_, np.float32), np.asarray(pca.components_, np.float32)


def _blocks(path: str, size: int) -> Iterator[np.ndarray]:
    """Read the file block by block."""
    # The last block is joined to the one before: a block must hold at least as many cells as there are components.
    starts = range(0, CELLS - COMPONENTS, size)
    ends = [*starts[1:], CELLS]
    return (
        np.fromfile(path, np.float32, (end - start) * PIXELS, offset=start * PIXELS * 4).reshape(-1, PIXELS)
        for start, end in zip(starts, ends, strict=True)
    )


def _generate(path: Path) -> None:
    """Write cells of a spectrum as slow as that of spike maps, block by block."""
    chance = np.random.default_rng(SEED)
    patterns = chance.standard_normal((RANK, PIXELS), np.float32)
    patterns *= (1 / np.sqrt(np.arange(1, RANK + 1, dtype=np.float32)))[:, None]
    noise = np.float32(np.sqrt(0.05 * np.sum(1 / np.arange(1, RANK + 1))))
    with path.open("wb") as file:
        for start in range(0, CELLS, BLOCK):
            rows = min(BLOCK, CELLS - start)
            cells = chance.standard_normal((rows, RANK), np.float32) @ patterns
            cells += noise * chance.standard_normal((rows, PIXELS), np.float32)
            cells.tofile(file)
