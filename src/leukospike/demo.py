"""The classifier and the original system on drawn patients: what `make demo` shows to someone without data."""

from dataclasses import replace
from pathlib import Path

from leukospike.analysis.analyze import analyze_images
from leukospike.analysis.judges import load_classifier
from leukospike.analysis.result import Analysis
from leukospike.analysis.segmenting import segment_images
from leukospike.confidence.decision import Outcome
from leukospike.datasets import DataSet, collect_images, read_dataset
from leukospike.experiments.run import run_experiment
from leukospike.jobs import Progress, silent
from leukospike.plurals import number_of
from leukospike.report import write_analysis_report, write_report
from leukospike.segmentation.methods import surrogate
from leukospike.settings import Preset, Protocol, RunConfig
from leukospike.smears import SmearConfig, generate_cohort
from leukospike.storage.files import whole_folder

COHORT = {"n_subjects": 12, "cells_per_subject": 40, "fields_per_subject": 1}
SETTINGS = {"protocol": Protocol.HONEST, "epochs": 4, "n_components": 100}


_LEUKEMIC = "GL"
"""Beginning of the names of subjects that are drawn as leukemic."""


def run_demo(out: Path, *, seed: int = 0, progress: Progress = silent) -> Path:
    """Draw a small cohort, read its patients with the package's classifier, and cross-validate the original system.

    Parameters
    ----------
    out : Path
        New folder: the cohort goes to `smears`, what the classifier says of its patients to `patients`, masks and
        outlines of the fields to `masks`, and the original system, trained on the cells, to `run`. On an error or an
        interruption it is left as it was.
    seed : int
        Of the cohort and of the run.
    progress : Progress

    Returns
    -------
    Path
        The report of the patients, an HTML file; it and the report of the run link to each other.

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
        smears, run, patients = part / "smears", part / "run", part / "patients"
        generate_cohort(cohort, smears, progress=progress)
        cells = read_dataset(smears)
        run_experiment(cells, config, run, progress=progress)
        analysis = _read_patients(cells, smears / "fields" / "images", part, progress)
        report = write_analysis_report(
            analysis, patients / "report.html", lead=_in_short(analysis), run_report="../run/report.html"
        )
        write_report(run, patients_report="../patients/report.html")
    return out / report.relative_to(part)


def _read_patients(cells: DataSet, fields: Path, out: Path, progress: Progress) -> Analysis:
    """Segment the fields, and let the package's classifier judge them and the single cells, patient by patient."""
    records = list(cells.records)
    if fields.is_dir():
        # The fields are named by subject and number, as in GL01_field_01.png.
        named = [replace(record, subject=record.image.partition("_")[0]) for record in collect_images([fields])]
        segment_images(named, out / "masks", surrogate(), progress=progress)
        records = [*named, *records]
    return analyze_images(records, load_classifier(), out / "patients", method=surrogate(), progress=progress)


def _in_short(analysis: Analysis) -> str:
    """Say what the patients are, and how far the classifier, which learned from photographs, knows them."""
    decisions = dict(zip(analysis.subjects["subject"], analysis.subjects["decision"], strict=True))
    decided = {name: said for name, said in decisions.items() if said in {Outcome.LEUKEMIC, Outcome.NORMAL}}
    right = sum((said == Outcome.LEUKEMIC) == name.startswith(_LEUKEMIC) for name, said in decided.items())
    found = (
        f"It decides on {len(decided)} of {number_of(len(decisions), 'patient')}, {right} of them as drawn, and"
        " abstains on the others."
        if decided
        else f"It abstains on all {number_of(len(decisions), 'patient')}."
    )
    return (
        "Patients named GL are drawn as leukemic, those named GH as healthy. The classifier learned from photographs of"
        f" real cells, which these are unlike. {found} On cells it was not made for, its calls mean nothing; compare"
        " the findings with your own reading of the pictures."
    )
