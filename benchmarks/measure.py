"""How benchmarks measure: time by turns in one process, memory in a process of its own."""

import importlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Comparison:
    """Two ways of one thing, timed by turns."""

    ours_seconds: float
    """Median."""
    other_seconds: float
    """Median."""
    ratio: float
    """Of the medians: above 1, ours is faster."""
    ratio_low: float
    """First quartile of the ratios of neighbouring turns."""
    ratio_high: float
    """Third quartile of them."""


def by_turns(ours: Callable[[], object], other: Callable[[], object], *, repetitions: int) -> Comparison:
    """Time two functions alternately, so that a busy machine slows both; each is called once before, untimed."""
    ours()
    other()
    ours_times: list[float] = []
    other_times: list[float] = []
    for _ in range(repetitions):
        ours_times.append(seconds(ours))
        other_times.append(seconds(other))
    ratios = [b / a for a, b in zip(ours_times, other_times, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    ours_median, other_median = statistics.median(ours_times), statistics.median(other_times)
    return Comparison(ours_median, other_median, other_median / ours_median, low, high)


def seconds(function: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def apart(case: str, **arguments: float | str) -> dict[str, Any]:
    """Run `case` ("module:function") in a process of its own and give what it returns, and its memory.

    The function gets `arguments` and returns a dictionary; added to it are `baseline_mb`, the peak memory after the
    imports, and `peak_mb`, that at the end.
    """
    with tempfile.NamedTemporaryFile(suffix=".json") as answer:
        command = [sys.executable, "-m", "benchmarks.measure", case, json.dumps(arguments), answer.name]
        subprocess.run(command, check=True)
        return json.loads(Path(answer.name).read_text(encoding="utf-8"))


def peak_mb() -> float:
    """Return the most memory this process has held, in MB of 2**20 bytes."""
    # Not ru_maxrss where it can be helped: Linux starts a child's at what its parent held.
    status = Path("/proc/self/status")
    if status.exists():
        return (
            next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 2**10
        )
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (2**20 if sys.platform == "darwin" else 2**10)


def forget_peak() -> float:
    """Let the peak memory start anew, where Linux can, and give it."""
    forget = Path("/proc/self/clear_refs")
    if forget.exists():
        forget.write_text("5")
    return peak_mb()


def _run_case(case: str, arguments: str, answer: str) -> None:
    """Be the process that `apart` starts."""
    module, _, function = case.partition(":")
    called = getattr(importlib.import_module(module), function)
    baseline = peak_mb()
    result = called(**json.loads(arguments))
    Path(answer).write_text(json.dumps({**result, "baseline_mb": baseline, "peak_mb": peak_mb()}), encoding="utf-8")


if __name__ == "__main__":
    _run_case(*sys.argv[1:])
