"""The whole system on generated cells: what `make demo` shows to someone without data."""

from pathlib import Path

from leukospike.datasets import read_dataset
from leukospike.files import new_folder
from leukospike.progress import Progress, silent
from leukospike.protocols import run_protocol
from leukospike.report import write_report
from leukospike.settings import Preset, Protocol, RunConfig
from leukospike.smears import SmearConfig, generate_cohort

COHORT = {"n_subjects": 12, "cells_per_subject": 40, "fields_per_subject": 1}
SETTINGS = {"protocol": Protocol.HONEST, "epochs": 4, "n_components": 100}


def run_demo(out: Path, *, seed: int = 0, progress: Progress = silent) -> Path:
    """Generate a small cohort, cross-validate the system on it by subject, and write the report.

    Parameters
    ----------
    out : Path
        New folder: the cohort goes to `smears`, the run to `run`.
    seed : int
        Of the cohort and of the run.
    progress : Progress

    Returns
    -------
    Path
        The report, an HTML file.

    Raises
    ------
    RunError
        If `out` exists and is not empty.
    """
    new_folder(out, where="demo")
    generate_cohort(SmearConfig(**COHORT, seed=seed), out / "smears", progress=progress)
    config = RunConfig.preset(Preset.C_NMC, SETTINGS | {"seed": seed})
    run_protocol(read_dataset(out / "smears"), config, out / "run", progress=progress)
    return write_report(out / "run")
