"""`leukospike analyze`."""

from pathlib import Path
from typing import Annotated

import typer

from leukospike.cli.console import out_console, progress_bars, tell
from leukospike.cli.options import (
    ForExcelOption,
    NegativeOption,
    OutOption,
    PathsArgument,
    PixelSizeOption,
    PositiveOption,
    ResumeOption,
    StrictOption,
    SubjectOption,
)
from leukospike.cli.outcome import end, refuse_inside
from leukospike.settings import Kind, Runtime


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
    subject: SubjectOption = None,
    positive: PositiveOption = None,
    negative: NegativeOption = None,
    for_excel: ForExcelOption = False,  # noqa: FBT002 - a flag
    resume: ResumeOption = False,  # noqa: FBT002 - a flag
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

    leukospike analyze fields --out analysis --resume
    """
    from leukospike.analysis.analyze import analyze as analyze_paths

    refuse_inside(out, paths)
    with progress_bars() as progress:
        analysis = analyze_paths(
            paths,
            out=out,
            model=model,
            kind=kind,
            pixel_size=pixel_size,
            strict=strict,
            prevalence=prevalence,
            runtime=runtime,
            subject=subject,
            positive=positive,
            negative=negative,
            for_excel=for_excel,
            resume=resume,
            progress=progress,
        )
    report = analysis.report(out / "report.html")
    out_console.print(f"Report: {report}")
    tell(analysis.notices)
    end(analysis.failures, analysis.summary.images, see=out / "failures.csv")
