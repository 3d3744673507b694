"""Spiking layers: time an image, memory, and bytes held, against waves of every time step as the simulator has them."""

import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from benchmarks import dense_reference, measure, tables
from benchmarks.pictures import KINDS, NOTE, pictures
from leukospike.spikes import (
    BINS,
    Spikes,
    SpikingConv2d,
    difference_of_gaussians_bank,
    edge_responses,
    gabor_bank,
    lateral_inhibition,
    pointwise_inhibition,
    pool_intensity,
    pool_latency,
    rank_order_latency,
    spot_responses,
    to_wave,
)
from leukospike.spikes.convolution import integrate_and_fire, on_a_grid

SEED = 0
BATCHES = (1, 32)

# Relative error of a float32 sum of some thousand weights: closer to the threshold, the dense side's rounding decides.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Case:
    """A layer, and what comes before it."""

    kernel: int
    channels: int
    features: int
    side: int
    threshold: float
    encode: Callable[[Tensor], Tensor]
    repetitions: int
    padding: int = 0

    @property
    def title(self) -> str:
        """Name it in the table."""
        return f"{self.kernel}x{self.kernel} {self.channels}->{self.features}, {self.side} px"

    @property
    def layer(self) -> SpikingConv2d:
        """Draw its weights."""
        return SpikingConv2d(
            self.channels,
            self.features,
            self.kernel,
            threshold=self.threshold,
            padding=self.padding,
            generator=Generator().manual_seed(SEED),
        )


def _edges(images: Tensor, *, pool: int) -> Tensor:
    """Encode as Mozafari's network for objects does: one edge a position of C1."""
    responses = pool_intensity(edge_responses(images, gabor_bank(window=5)), pool, pool - 1, pool // 2)
    strength = lateral_inhibition(responses)
    return pointwise_inhibition(Spikes(rank_order_latency(strength), strength)).latency


def _spots(images: Tensor) -> Tensor:
    """Encode as Mozafari's deep network does: ON and OFF of three scales."""
    return rank_order_latency(spot_responses(images, difference_of_gaussians_bank()))


def _pooled_features(images: Tensor) -> Tensor:
    """Go on to the deep network's second layer: 30 features of spots, pooled by two."""
    first = SpikingConv2d(6, 30, 5, threshold=15, padding=2, generator=Generator().manual_seed(SEED + 1))
    return pool_latency(first.latency(_spots(images)), 2)


CASES = (
    Case(17, 4, 20, 450, 42, partial(_edges, pool=5), 9),
    Case(31, 4, 80, 257, 160, partial(_edges, pool=7), 9),
    Case(5, 6, 30, 450, 15, _spots, 5),
    Case(3, 30, 250, 450, 10, _pooled_features, 3, padding=1),
)


def run() -> None:
    """Measure every case on every kind of input, and print and save the table."""
    results = {
        f"{case.title}, batch {batch}, {kind}": _measured(index, kind, batch)
        for index, case in enumerate(CASES)
        for kind in KINDS
        for batch in BATCHES
    }
    rows = [
        {
            "case": name,
            "map": f"{result['side']}x{result['side']}",
            "ms/image": f"{result['ours_ms']:,.1f}",
            "dense": f"{result['dense_ms']:,.0f}",
            "ratio": f"{result['ratio']:.0f} ({result['ratio_low']:.0f} to {result['ratio_high']:.0f})",
            "times only": f"{result['times_only_ms']:,.1f}",
            "no numba": f"{result['plain_ms']:,.0f}" if "plain_ms" in result else "",
            "peak MB": f"{result['ours_peak_mb']:,.1f}",
            "times only ": f"{result['times_only_peak_mb']:,.1f}",
            "dense ": f"{result['dense_peak_mb']:,.0f}",
            "held kB": f"{result['ours_bytes_held'] / 1000:,.0f}",
            "times only  ": f"{result['times_only_bytes_held'] / 1000:,.0f}",
            "dense  ": f"{result['dense_bytes_held'] / 1000:,.0f}",
        }
        for name, result in results.items()
    ]
    on_the_edge = sum(int(result["on_the_edge"]) for result in results.values())
    compared = sum(int(result["compared"]) for result in results.values())
    notes = (
        "Ours: SpikingConv2d on latencies, first spikes and potentials; times only: its method latency; no numba: the",
        "plain PyTorch way. Dense: a convolution of the wave at each of 15 time steps, threshold, sign, one image a",
        "call (benchmarks/dense_reference.py), its waves of input made beforehand; so its time for a batch is that of",
        f"its images, and was measured on one. Equal results were checked; of {compared:,} neurons {on_the_edge} are",
        "so close to the threshold that float32 decides differently there.",
        "Median of so many turns, ours and dense alternating in one process, in the order of the layers:",
        f"{', '.join(str(case.repetitions) for case in CASES)}; ratio of the medians, in brackets the quartiles of the",
        "turns' own ratios. Weights 0.8 +- 0.05 and thresholds as the published networks start.",
        f"Inputs generated, seed {SEED}: {NOTE}",
        "Peak: of a process that does the one call (dense: of one image), over what it held before, input included.",
        "Held: the result for one image; ours 5 bytes a neuron or 1, dense two waves of 15 float32.",
    )
    print(tables.table("Spiking layers", rows, notes=notes))
    tables.save("spikes", {"seed": SEED, "cases": results})
    if torch.cuda.is_available():
        _run_cuda()


def _run_cuda() -> None:
    """Measure every case on a GPU, and print and save the table: absolute times, as no dense side is at hand there."""
    copied = _copied_bytes_per_second()
    results = {
        f"{case.title}, batch {batch}, {kind}": _measured_cuda(case, kind, batch)
        for case in CASES
        for kind in KINDS
        for batch in BATCHES
    }
    rows = [
        {
            "case": name,
            "ms/image": f"{result['ms']:,.3f}",
            "quartiles": f"{result['ms_low']:,.3f} to {result['ms_high']:,.3f}",
            "bandwidth": f"{result['bytes_per_second'] / copied:.1%}",
        }
        for name, result in results.items()
    ]
    device = torch.cuda.get_device_name()
    notes = (
        f"{device}, torch {torch.__version__}. The plain PyTorch way, first spikes and potentials;",
        "the first image's spike times are checked to be the CPU's.",
        f"Median of so many turns, in the order of the layers: {', '.join(str(case.repetitions) for case in CASES)}.",
        "Bandwidth: the bytes of latencies in, latencies and potentials out, each once, in that time, as a share of",
        f"what copying a large tensor on this GPU moves: {copied / 1e9:,.0f} GB/s, read and written.",
    )
    print(tables.table("Spiking layers on a GPU", rows, notes=notes))
    tables.save("spikes-cuda", {"seed": SEED, "device": device, "copied_bytes_per_second": copied, "cases": results})


def _copied_bytes_per_second() -> float:
    """Measure how fast a GPU copies 1 GiB, read and written."""
    source = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    times = _seconds_cuda(lambda: target.copy_(source), 9)
    return 2 * source.nbytes / statistics.median(times)


def _measured_cuda(case: Case, kind: str, batch: int) -> dict[str, float]:
    """Measure one case on a GPU, its result checked against the CPU's."""
    latency = case.encode(pictures(kind, batch, case.side, case.side, seed=SEED))
    expected = case.layer(latency[:1])
    layer, inputs = case.layer.cuda(), latency.cuda()
    spikes = layer(inputs)
    if not torch.equal(spikes.latency[:1].cpu(), expected.latency):
        msg = f"{case.title}: spike times on the GPU differ"
        raise AssertionError(msg)
    moved = inputs.nbytes + spikes.latency.nbytes + spikes.potential.nbytes
    del spikes
    times = _seconds_cuda(lambda: layer(inputs), case.repetitions)
    low, median, high = statistics.quantiles(times, n=4)
    return {
        "ms": 1000 * median / batch,
        "ms_low": 1000 * low / batch,
        "ms_high": 1000 * high / batch,
        "bytes_per_second": moved / median,
        "repetitions": case.repetitions,
    }


def _seconds_cuda(function: Callable[[], object], repetitions: int) -> list[float]:
    """Time calls on a GPU, each to its end; one is made before, untimed."""

    def whole() -> None:
        function()
        torch.cuda.synchronize()

    whole()
    return [measure.seconds(whole) for _ in range(repetitions)]


def once(index: int, path: str, which: str) -> dict[str, float]:
    """Do one call on stored latencies, so that the process's peak memory is its own."""
    case = CASES[index]
    latency = torch.from_numpy(np.load(path))
    # Compiled code is loaded, and torch's own buffers are made, on a map of one window.
    smallest = latency[:1, :, : case.kernel, : case.kernel]
    _way(case, smallest, which)()
    call = _way(case, latency, which)
    before = measure.forget_peak()
    result = call()
    return {"call_mb": measure.peak_mb() - before, "results": len(result)}


def _way(case: Case, latency: Tensor, which: str) -> Callable[[], Sequence[object]]:
    """Return one of the ways to compute a layer, its input made ready."""
    layer = case.layer
    if which == "dense":
        wave = to_wave(latency[:1])[0]
        weight = layer.weight.detach()
        return lambda: dense_reference.integrate_and_fire(wave, weight, threshold=case.threshold, padding=case.padding)
    if which == "plain":
        grid = on_a_grid(layer.weight)
        return lambda: integrate_and_fire(latency, grid, threshold=case.threshold, bins=BINS, padding=case.padding)
    if which == "times only":
        return lambda: [layer.latency(latency)]
    return lambda: [layer(latency)]


def _measured(index: int, kind: str, batch: int) -> dict[str, float]:
    """Measure one case: equal results, time by turns, memory apart."""
    case = CASES[index]
    latency = case.encode(pictures(kind, batch, case.side, case.side, seed=SEED))
    spikes = case.layer(latency)
    on_the_edge = _compared(case, latency, spikes)
    neurons = spikes.latency[0].numel()
    del spikes
    ours, dense, times_only = (_way(case, latency, which) for which in ("ours", "dense", "times only"))
    timed = measure.by_turns(ours, dense, repetitions=case.repetitions)
    alone = [measure.seconds(times_only) for _ in range(case.repetitions)]
    result: dict[str, float] = {
        **asdict(timed),
        # Dense works one image a call, and was given one.
        "ratio": timed.ratio * batch,
        "ratio_low": timed.ratio_low * batch,
        "ratio_high": timed.ratio_high * batch,
        "ours_ms": 1000 * timed.ours_seconds / batch,
        "dense_ms": 1000 * timed.other_seconds,
        "times_only_ms": 1000 * statistics.median(alone) / batch,
        "side": latency.shape[-1],
        "on_the_edge": on_the_edge,
        "compared": neurons,
        "ours_bytes_held": 5 * neurons,
        "times_only_bytes_held": neurons,
        "dense_bytes_held": 2 * BINS * 4 * neurons,
        "repetitions": case.repetitions,
    }
    if batch == 1:
        result["plain_ms"] = 1000 * measure.seconds(_way(case, latency, "plain"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "latency.npy"
        np.save(path, latency.numpy())
        for name, which in (("ours", "ours"), ("times_only", "times only"), ("dense", "dense")):
            apart = measure.apart("benchmarks.spikes:once", index=index, path=str(path), which=which)
            result[f"{name}_peak_mb"] = apart["call_mb"]
    return result


def _compared(case: Case, latency: Tensor, spikes: Spikes) -> int:
    """Compare the first image's spikes with the dense ones; count those that only rounding tells apart."""
    layer = case.layer
    dense = dense_reference.integrate_and_fire(
        to_wave(latency[:1])[0], layer.weight.detach(), threshold=case.threshold, padding=case.padding
    )
    times, potential = dense_reference.first_spikes(*dense)
    differ = spikes.latency[0] != times
    earlier = torch.where(spikes.latency[0] < times, spikes.potential[0], potential)
    if bool((differ & ((earlier - case.threshold).abs() > _ROUNDING * case.threshold)).any()):
        msg = f"{case.title}: spike times differ"
        raise AssertionError(msg)
    torch.testing.assert_close(spikes.potential[0][~differ], potential[~differ], rtol=_ROUNDING, atol=0)
    return int(differ.sum())
