"""The whole system on generated cells and fields: what `make demo` shows to someone without data."""

from dataclasses import replace
from pathlib import Path

from leukospike.analysis.analyze import analyze_images
from leukospike.analysis.judges import load_classifier
from leukospike.analysis.segmenting import segment_images
from leukospike.datasets import collect_images, read_dataset
from leukospike.experiments.run import run_experiment
from leukospike.jobs import Progress, silent
from leukospike.report import write_report
from leukospike.segmentation.methods import surrogate
from leukospike.settings import Preset, Protocol, RunConfig
from leukospike.smears import SmearConfig, generate_cohort
from leukospike.storage.files import whole_folder

COHORT = {"n_subjects": 12, "cells_per_subject": 40, "fields_per_subject": 1}
SETTINGS = {"protocol": Protocol.HONEST, "epochs": 4, "n_components": 100}


def run_demo(out: Path, *, seed: int = 0, progress: Progress = silent) -> Path:
    """Generate a small cohort, cross-validate the system on its cells by subject, and read its fields with the model.

    Parameters
    ----------
    out : Path
        New folder: the cohort goes to `smears`, the run to `run`, masks and outlines of the fields to `masks`, and what
        the run's model says of their cells to `fields`. On an
        error or an interruption it is left as it was.
    seed : int
        Of the cohort and of the run.
    progress : Progress

    Returns
    -------
    Path
        The report of the run, an HTML file; it links to that of the fields.

    Raises
    ------
    RunError
        If `out` exists and is not empty.
    ConfigError
        If `seed` is out of range.
    """
    cohort = SmearConfig(**COHORT, seed=seed)
    config = RunConfig.preset(Preset.C_NMC, SETTINGS | {"seed": seed})
    with whole_folder(out, where="demo") as part:
        smears, run = part / "smears", part / "run"
        generate_cohort(cohort, smears, progress=progress)
        run_experiment(read_dataset(smears), config, run, progress=progress)
        fields_report = None
        if COHORT["fields_per_subject"]:
            _read_fields(smears / "fields" / "images", run, part, progress)
            fields_report = "../fields/report.html"
        report = write_report(run, fields_report=fields_report)
    return out / report.relative_to(part)


def _read_fields(images: Path, run: Path, out: Path, progress: Progress) -> None:
    """Segment the fields, and let the run's model score their cells."""
    # The fields are named by subject and number, as in GL01_field_01.png.
    records = [replace(record, subject=record.image.partition("_")[0]) for record in collect_images([images])]
    segment_images(records, out / "masks", surrogate(), progress=progress)
    analysis = analyze_images(records, load_classifier(run), out / "fields", method=surrogate(), progress=progress)
    analysis.report(out / "fields" / "report.html")
