"""Start: seconds until `import leukospike` has ended, until help is shown, and until a wrong option is refused."""

import subprocess
import sys
import time
from statistics import median

from benchmarks import tables

REPETITIONS = 9
CASES = {
    "import leukospike": (["-c", "import leukospike"], 0.3),
    "leukospike --help": (["-m", "leukospike", "--help"], 0.6),
    "leukospike segment": (["-m", "leukospike", "segment"], 0.6),
    "leukospike --wrong": (["-m", "leukospike", "--wrong"], 0.6),
}
"""What is started, and in how many seconds it should be done."""


def run() -> None:
    """Measure each start, and print and save the table."""
    results = {name: _seconds(arguments) for name, (arguments, _) in CASES.items()}
    rows = [
        {"start": name, "s": f"{median(times):.2f}", "slowest": f"{max(times):.2f}", "at most": f"{CASES[name][1]:g}"}
        for name, times in results.items()
    ]
    notes = (f"Whole processes, Python itself included; median of {REPETITIONS}, after one that fills the caches.",)
    print(tables.table("Start", rows, notes=notes))
    tables.save("start", {"repetitions": REPETITIONS, "cases": results})


def _seconds(arguments: list[str]) -> list[float]:
    """Time a process, the first run left out."""
    times: list[float] = []
    for _ in range(REPETITIONS + 1):
        begun = time.perf_counter()
        subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
        times.append(time.perf_counter() - begun)
    return times[1:]
