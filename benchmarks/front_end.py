"""Spike front end: images a second, memory, and bytes held, against a dense description of the original."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

import torch
from torch import Tensor

from benchmarks import dense_reference, measure, tables
from benchmarks.pictures import KINDS, NOTE, pictures
from leukospike.spikes import BINS, first_wave, latency_map

SEED = 0


@dataclass(frozen=True)
class Case:
    """What is computed, of what size, and how often."""

    output: str
    batch: int
    rows: int
    columns: int
    repetitions: int

    @property
    def title(self) -> str:
        """Name it in the table."""
        return f"{self.output} {self.columns}x{self.rows}, batch {self.batch}"

    @property
    def pair(self) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
        """Return our function and the dense one, of equal results."""
        if self.output == "first_wave":
            return first_wave, dense_reference.first_wave
        return _latency, dense_reference.latency

    @property
    def bytes_held(self) -> tuple[int, int]:
        """Return the bytes that the result for one image takes, ours and dense."""
        pixels = (self.rows - 4) * (self.columns - 4)
        return (1 if self.output == "first_wave" else 2) * pixels, BINS * 4 * 4 * pixels


CASES = (
    Case("first_wave", 1, 450, 450, 9),
    Case("first_wave", 1, 1944, 2592, 3),
    Case("latency_map", 32, 224, 224, 5),
)


def run() -> None:
    """Measure every case on every kind of input, and print and save the table."""
    results = {f"{case.title}, {kind}": _measured(index, kind) for index, case in enumerate(CASES) for kind in KINDS}
    rows = [
        {
            "case": name,
            "image/s": f"{result['ours_images_per_second']:,.1f}",
            "dense": f"{result['dense_images_per_second']:,.2f}",
            "ratio": f"{result['ratio']:.1f} ({result['ratio_low']:.1f} to {result['ratio_high']:.1f})",
            "peak MB": f"{result['ours_peak_mb']:,.0f}",
            "dense ": f"{result['dense_peak_mb']:,.0f}",
            "held kB": f"{result['ours_bytes_held'] / 1000:,.0f}",
            "dense  ": f"{result['dense_bytes_held'] / 1000:,.0f}",
        }
        for name, result in results.items()
    ]
    repetitions = ", ".join(str(case.repetitions) for case in CASES)
    notes = (
        "Dense: what the original simulator computes, one image a call (benchmarks/dense_reference.py), without its",
        "copies; equal results were checked. Median of so many turns, ours and dense alternating in one process, as",
        f"there are sizes: {repetitions};",
        "ratio of the medians, in brackets the quartiles of the turns' own ratios.",
        f"Inputs generated, seed {SEED}: {NOTE}",
        "Peak: of a process that does the one call, over its peak after the imports; dense drops each image's waves.",
        "Held: the result for one image; ours one byte a pixel for each map, dense 15 x 4 float32 a pixel.",
    )
    print(tables.table("Spike front end", rows, notes=notes))
    tables.save("front-end", {"seed": SEED, "cases": results})


def once(index: int, kind: str, which: int) -> dict[str, float]:
    """Do one call of the `which`-th of a case's functions, so that the process's peak memory is its own."""
    CASES[index].pair[which](_images(kind, CASES[index]))
    return {}


def _measured(index: int, kind: str) -> dict[str, float]:
    """Measure one case: equal results, time by turns, memory apart."""
    case = CASES[index]
    images = _images(kind, case)
    ours, dense = case.pair
    if not torch.equal(ours(images), dense(images)):
        msg = f"{case.title}, {kind}: the results differ"
        raise AssertionError(msg)
    timed = measure.by_turns(partial(ours, images), partial(dense, images), repetitions=case.repetitions)
    apart = [measure.apart("benchmarks.front_end:once", index=index, kind=kind, which=which) for which in (0, 1)]
    ours_peak, dense_peak = (process["peak_mb"] - process["baseline_mb"] for process in apart)
    ours_held, dense_held = case.bytes_held
    return {
        **asdict(timed),
        "ours_images_per_second": case.batch / timed.ours_seconds,
        "dense_images_per_second": case.batch / timed.other_seconds,
        "ours_peak_mb": ours_peak,
        "dense_peak_mb": dense_peak,
        "ours_bytes_held": ours_held,
        "dense_bytes_held": dense_held,
        "repetitions": case.repetitions,
    }


def _latency(images: Tensor) -> Tensor:
    """Return the latency alone, as the dense side does."""
    return latency_map(images).latency


def _images(kind: str, case: Case) -> Tensor:
    """Draw the images of a case, (batch, 1, rows, columns)."""
    return pictures(kind, case.batch, case.rows, case.columns, seed=SEED)
