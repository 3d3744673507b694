"""`leukospike analyze`."""

from pathlib import Path
from typing import Annotated

import typer

from leukospike.cli.console import out_console, progress_bars, tell
from leukospike.cli.options import (
    CropsOption,
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
            help="Run folder, or one of its weights/*.safetensors files. Default: the package's classifier.",
            show_default=False,
        ),
    ] = None,
    prevalence: Annotated[
        float | None,
        typer.Option(
            "--prevalence",
            help="Share of people examined who have leukemia, used for each subject's posterior. Default: 0.5.",
            show_default=False,
        ),
    ] = None,
    kind: Annotated[
        Kind,
        typer.Option("--kind", help="What each image shows. auto: decided by the number and size of the cells."),
    ] = Kind.AUTO,
    pixel_size: PixelSizeOption = None,
    strict: StrictOption = False,  # noqa: FBT002 - a flag
    runtime: Annotated[
        Runtime,
        typer.Option("--runtime", help="Runtime of the package's classifier; onnx needs the extra of that name."),
    ] = Runtime.TORCH,
    subject: SubjectOption = None,
    positive: PositiveOption = None,
    negative: NegativeOption = None,
    crops: CropsOption = False,  # noqa: FBT002 - a flag
    for_excel: ForExcelOption = False,  # noqa: FBT002 - a flag
    resume: ResumeOption = False,  # noqa: FBT002 - a flag
) -> None:
    """Score cells and subjects by their probability of leukemia.

    Whole fields are segmented; each white cell is cut out and adjusted to match the training cells. Images of single
    cells are treated in the same way, unless they already look like those of C-NMC. With the package's classifier,
    probabilities are calibrated, and cells unlike its training cells are flagged and left out; all cells of one call
    are assumed to come from one laboratory. Writes cells.csv, subjects.csv, summary.json and report.html, and for
    fields also images.csv and overlays. The twelve cells with the most and least certain scores are explained: which
    pixels point to which class, when they spike, and which training cells are most similar. Research use only, not a
    diagnosis.

    The subject of an image comes from a manifest, a C-NMC file name, the layout class/subject/, or else the first
    folder below the given one. If several folders are given, each is the subject of the images that lie directly in it.

    Example:

    leukospike analyze fields --out analysis

    leukospike analyze patient-1 patient-2 --out analysis

    leukospike analyze fields --prevalence 0.02 --out analysis

    leukospike analyze cells --model run --out analysis

    leukospike analyze fields --crops --out analysis

    leukospike analyze fields --out analysis --resume
    """
    from leukospike.analysis.analyze import analyze as analyze_paths
    from leukospike.analysis.manifest import CROPS, MANIFEST

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
            crops=crops,
            for_excel=for_excel,
            resume=resume,
            progress=progress,
        )
    report = analysis.report(out / "report.html")
    out_console.print(f"Report: {report}")
    if crops:
        out_console.print(f"Cells to label: {out / CROPS / MANIFEST}")
    tell(notice for notice in analysis.notices if notice.code != "failures")  # of which the last lines speak
    end(analysis.failures, analysis.summary.images, see=out / "failures.csv")
