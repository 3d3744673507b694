"""The whole pipeline on the real images of C-NMC: wall time of each stage, and peak memory."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import measure, tables
from benchmarks.pictures import data_folder

EPOCHS, SEED = 1, 0


def run() -> None:
    """Run `leukospike reproduce c-nmc` for one epoch, and print and save what it says of itself."""
    data = data_folder() / "c-nmc"
    if not data.is_dir():
        print(f"Pipeline: skipped, no real images at {data}; set LEUKOSPIKE_DATA to the folder that holds c-nmc.\n")
        return
    with tempfile.TemporaryDirectory() as folder:
        run_folder = Path(folder) / "run"
        options = [
            "--protocol", "honest", "--epochs", str(EPOCHS), "--seed", str(SEED), "--out", str(run_folder),
        ]  # fmt: skip
        command = [str(Path(sys.executable).with_name("leukospike")), "reproduce", "c-nmc", "--data", str(data)]
        elapsed = measure.seconds(lambda: subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL))
        metrics = json.loads((run_folder / "metrics.json").read_text(encoding="utf-8"))
    rows = [{"stage": stage["stage"], "seconds": f"{stage['seconds']:.1f}"} for stage in metrics["stages"]]
    rows.append({"stage": "all, from start to exit", "seconds": f"{elapsed:.1f}"})
    about = metrics["data"]
    notes = (
        f"Peak memory {metrics['peak_memory_mb']:,.0f} MB (10^6 bytes).",
        f"{about['images']:,} images of {about['subjects']} subjects, {len(metrics['folds'])} folds, {EPOCHS} epoch,"
        f" seed {SEED}; one repetition.",
        f"{about['credit']}",
    )
    print(tables.table("leukospike reproduce c-nmc --protocol honest", rows, notes=notes))
    kept = {name: metrics[name] for name in ("stages", "peak_memory_mb", "data")}
    tables.save("pipeline", {"seed": SEED, "repetitions": 1, "epochs": EPOCHS, "seconds": elapsed, **kept})
