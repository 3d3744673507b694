"""`leukospike analyze`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leukospike import datasets
from leukospike.cli.console import out_console, progress_bars, say
from leukospike.cli.options import OutOption, PathsArgument, PixelSizeOption, StrictOption
from leukospike.cli.outcome import end, refuse_inside
from leukospike.cli.reading import given_pixel_size, segmenter_of
from leukospike.errors import ConfigError
from leukospike.settings import Kind, Runtime
from leukospike.storage.files import whole_folder

if TYPE_CHECKING:
    from leukospike.analysis.scorers import Scorer


def analyze(
    paths: PathsArgument,
    out: OutOption,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            help="Run folder, or one of its weights/*.safetensors. Default: the package's classifier.",
            show_default=False,
        ),
    ] = None,
    prevalence: Annotated[
        float | None,
        typer.Option(
            "--prevalence",
            help="Share of leukemia among those examined, for the posterior of subjects. Default: 0.5.",
            show_default=False,
        ),
    ] = None,
    kind: Annotated[
        Kind,
        typer.Option("--kind", help="What each image shows. auto: told by how many cells it shows, and how large."),
    ] = Kind.AUTO,
    pixel_size: PixelSizeOption = None,
    strict: StrictOption = False,  # noqa: FBT002 - a flag
    runtime: Annotated[
        Runtime, typer.Option("--runtime", help="What computes the package's classifier; onnx needs the extra.")
    ] = Runtime.TORCH,
) -> None:
    """Give cells their probability of being leukemic, and each subject how likely leukemia is.

    Whole fields are segmented; each white cell is cut out and brought to the form of the training cells. So are images
    of single cells, unless they are like those of C-NMC already. With the classifier of the package, probabilities are
    calibrated, cells unlike its training cells are flagged and left out, and the cells of one call are taken for those
    of one laboratory. Writes cells.csv, subjects.csv, summary.json and report.html, of fields also images.csv and
    overlays. Twelve cells, those it is least and most sure of, are explained: which pixels speak for what, when they
    spike, the most similar training cells. Research use only, not a diagnosis.

    Whose an image is, a manifest says, or the name of a cell of C-NMC, or the layout class/subject/, or else the first
    folder below the given one. Of several given folders, each is a subject for the images that lie directly in it.

    Example:

    leukospike analyze fields --out analysis

    leukospike analyze patient-1 patient-2 --out analysis

    leukospike analyze fields --prevalence 0.02 --out analysis

    leukospike analyze cells --model run --out analysis
    """
    from leukospike.analysis.scoring import analyze_cells
    from leukospike.classification.explanation import default_explainer
    from leukospike.confidence import EVEN
    from leukospike.confidence.calibration import CLOSEST
    from leukospike.report import write_analysis_report

    if prevalence is not None and not CLOSEST <= prevalence <= 1 - CLOSEST:
        msg = (
            f"analyze: --prevalence must be from {CLOSEST:g} to {1 - CLOSEST:g}, got {prevalence:g}. Give a share, not"
            " per cent."
        )
        raise ConfigError(msg)
    if prevalence is not None and model is not None:
        msg = "analyze: --prevalence must go with the classifier of the package, got it with --model. Leave one out."
        raise ConfigError(msg)
    if runtime is Runtime.ONNX and model is not None:
        msg = "analyze: --runtime onnx must go with the classifier of the package, got it with --model. Leave one out."
        raise ConfigError(msg)
    scorer = _scorer(model, runtime)
    size = given_pixel_size(pixel_size, where="analyze")
    records = datasets.collect_images(paths)
    refuse_inside(out, paths)
    with whole_folder(out, where="analyze") as part:
        with progress_bars() as progress:
            analysis = analyze_cells(
                records,
                scorer,
                part,
                segmenter=segmenter_of(),
                strict=strict,
                kind=kind,
                pixel_size=size,
                prevalence=EVEN if prevalence is None else prevalence,
                explainer=default_explainer() if model is None else None,
                progress=progress,
            )
        report = write_analysis_report(part).name
    out_console.print(f"Report: {out / report}")
    for notice in analysis.notices:
        say(notice)
    end(analysis.failures, len(records), see=out / "failures.csv")


def _scorer(model: Path | None, runtime: Runtime) -> "Scorer":
    """Give what scores cells: the networks of a run, or the classifier of the package."""
    from leukospike.analysis.scorers import ShippedScorer, load_scorer
    from leukospike.classification.classifier import default_classifier

    return ShippedScorer(default_classifier(), runtime) if model is None else load_scorer(model)
