"""The verbs of the command line: thin doors to the library."""

import inspect
import os
from enum import StrEnum
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

# Two networks side by side share the cores; a waiting thread that spins takes them from the other.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import typer

from leukospike import datasets
from leukospike.console import out_console, print_table, progress_bars, say
from leukospike.errors import ConfigError, RunError
from leukospike.failures import Failure, write_failures
from leukospike.files import locked, whole_folder
from leukospike.plurals import number_of
from leukospike.settings import PAPER, Kind, Preset, Protocol, RunConfig, Runtime, read_settings

if TYPE_CHECKING:
    from leukospike.scorers import Scorer
    from leukospike.segmentation import PixelSize
    from leukospike.segmentation.class_maps import Segmenter
    from leukospike.segmentation.files import Segmented

app = typer.Typer(
    name="leukospike",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Look at image data sets, or fetch public ones.", no_args_is_help=True)
app.add_typer(data_app, name="data")
model_app = typer.Typer(help="Look at the classifier of the package, or take it elsewhere.", no_args_is_help=True)
app.add_typer(model_app, name="model")


class Method(StrEnum):
    """How `segment` finds cells."""

    SURROGATE = "surrogate"
    STDP = "stdp"
    FIRST_WAVE = "first-wave"


def _show_version(value: bool) -> bool:  # noqa: FBT001 - as the framework calls it
    """Print the version and end."""
    if value:
        out_console.print(f"leukospike {metadata.version('leukospike')}")
        raise typer.Exit
    return value


@app.callback()
def leukospike(
    version: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Read blood smears for acute lymphoblastic leukemia with spikes and a residual network.

    Research use only, not a diagnosis.
    """


DataOption = Annotated[Path, typer.Option("--data", help="Folder or CSV manifest of the images.", show_default=False)]
OutOption = Annotated[Path, typer.Option("--out", help="New folder for the results.", show_default=False)]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")]
PathsArgument = Annotated[
    list[Path],
    typer.Argument(metavar="PATHS", help="Images, folders of images, or CSV manifests.", show_default=False),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="TOML file of settings, such as another run's config.toml.", show_default=False),
]
BackboneOption = Annotated[
    str | None,
    typer.Option(
        "--backbone",
        metavar="NAME",
        help="What is trained.\n\n"
        "- paper (default): the original system.\n\n"
        "- appearance: three networks on measures of a cell, as the package's.\n\n"
        "- convolutional: a small residual network.\n\n"
        "- timm:NAME, such as timm:resnet18: of that library, an extra.",
        show_default=False,
    ),
]
PretrainedOption = Annotated[
    bool | None,
    typer.Option(
        "--pretrained",
        help="With timm:NAME: begin with the library's weights, which are downloaded.",
        show_default=False,
    ),
]
GroupsOption = Annotated[
    Path | None,
    typer.Option(
        "--groups",
        metavar="CSV",
        help="groups.csv of an audit of the same data: subjects who overlap count as one.",
        show_default=False,
    ),
]
EpochsOption = Annotated[
    int | None, typer.Option("--epochs", help="Passes over the training images. Default: 10, or the backbone's.")
]
MaxCellsOption = Annotated[
    int | None, typer.Option("--max-cells", help="Take so many cells at the most. Default: all.")
]
PixelSizeOption = Annotated[
    float | None,
    typer.Option(
        "--pixel-size",
        metavar="UM",
        help="Side of a pixel, micrometres. Default: what each file states, else what its red cells show.",
        show_default=False,
    ),
]
StrictOption = Annotated[
    bool,
    typer.Option("--strict", help="Give no cells of an image of whose quality anything is said, for batches."),
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Carry on an interrupted run.")]


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="New folder for cohort, run and report.")] = Path("demo"),
    seed: SeedOption = 0,
) -> None:
    """Generate a small cohort, cross-validate the whole system on it, and write a report.

    The cells are drawn by a program: the figures mean nothing about patients.

    Example:

    leukospike demo
    """
    from leukospike.demo import run_demo

    with progress_bars() as progress:
        report = run_demo(out, seed=seed, progress=progress)
    out_console.print(f"Fields, their masks and outlines: {out / 'masks'}")
    out_console.print(f"Fields, cell by cell: {out / 'fields' / 'report.html'}")
    out_console.print(f"Report: {report}")


@data_app.command("check")
def data_check(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder or CSV manifest.", show_default=False)],
) -> None:
    """Say what a folder of images is, and what is wrong with it.

    Counts by class and subject, sizes, unreadable files, pixel-identical images, and those under several subjects. Of
    a folder without labels it says what it is good for.

    Example:

    leukospike data check C-NMC_Leukemia
    """
    failures: list[Failure] = []
    n_images = 0
    for dataset in datasets.read_any(folder):
        with progress_bars() as progress:
            check = datasets.check_dataset(dataset, progress=progress)
        for table in datasets.check_tables(check):
            print_table(table)
        failures += check.failures
        n_images += len(dataset.records)
    _end(failures, n_images, see="the table above")


@data_app.command("fetch")
def data_fetch(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help=f"One of {', '.join(datasets.SOURCES)}.", show_default=False)
    ],
    out: Annotated[Path | None, typer.Option("--out", help="Folder to fill. Default: the name.")] = None,
) -> None:
    """Download a public data set; called again, it resumes.

    - bccd: fields with boxes.

    - c-nmc: single cells, through Kaggle (needs the extra kaggle).

    - all-idb: only on request, and this says how.

    Example:

    leukospike data fetch bccd --out bccd
    """
    with progress_bars() as progress:
        folder = datasets.fetch(name, out or Path(name), progress=progress)
    out_console.print(f"Data: {folder}")


@app.command()
def smears(
    out: OutOption,
    subjects: Annotated[int, typer.Option("--subjects", help="Subjects, half of them leukemic.")] = 12,
    seed: SeedOption = 0,
) -> None:
    """Draw a generated cohort of blood smears: cells, and fields with masks and boxes.

    A stand-in for people without data: figures on it are no results.

    Example:

    leukospike smears --subjects 12 --out cohort --seed 0
    """
    from leukospike.smears import SmearConfig, generate_cohort

    with progress_bars() as progress:
        generate_cohort(SmearConfig(n_subjects=subjects, seed=seed), out, progress=progress)
    out_console.print(f"Cohort: {out}")


@app.command()
def segment(
    paths: PathsArgument,
    out: OutOption,
    method: Annotated[
        Method, typer.Option("--method", metavar="NAME", help="One of the methods above.")
    ] = Method.SURROGATE,
    pixel_size: PixelSizeOption = None,
    strict: StrictOption = False,  # noqa: FBT002 - a flag
) -> None:
    """Find white cells in images, single cells or whole fields: masks, numbered outlines, and tables of measures.

    Methods (docs/results.md has the Dice of each):

    - surrogate: a spiking network trained by surrogate gradients, on images of several laboratories. Light is evened
    out, the scale found from red cells, and each cell gets a confidence; what may be wrong with an image is said in
    images.csv, and its cells are given all the same.

    - stdp: one that learned by spike times and reward, the original's idea done properly; it finds nuclei, and is no
    use on fields.

    - first-wave: the published "segmentation", a map of edges, as images of first spikes and latencies.

    Example:

    leukospike segment fields --out cells

    leukospike segment fields --strict --out cells
    """
    from leukospike.segmentation import segment_by_first_wave
    from leukospike.segmentation.files import segment_files

    if method is Method.FIRST_WAVE and pixel_size is not None:
        msg = f"segment: --pixel-size must go with a method that finds cells, got --method {method}. Leave it out."
        raise ConfigError(msg)
    size = _given_pixel_size(pixel_size, where="segment")
    records = datasets.collect_images(paths)
    _refuse_inside(out, paths)
    with whole_folder(out, where="segment") as part:
        with progress_bars() as progress:
            if method is Method.FIRST_WAVE:
                written, failures = segment_by_first_wave(records, part, progress=progress)
                segmented = None
                found = number_of(len(written), "image")
            else:
                segmented = segment_files(
                    records, part, _segmenter(method), pixel_size=size, strict=strict, progress=progress
                )
                failures = segmented.failures
                found = f"{number_of(len(segmented.images), 'image')}, {number_of(len(segmented.cells), 'cell')}"
        if failures:
            write_failures(part / "failures.csv", failures)
    out_console.print(f"{found}: {out}")
    if segmented is not None:
        _say_of_images(segmented)
    _end(failures, len(records), see=out / "failures.csv")


def _say_of_images(segmented: "Segmented") -> None:
    """Say how many images gave no cells, and why, and of how many others something is doubtful."""
    if why := ", ".join(f"{flag} {count}" for flag, count in segmented.without_cells.items()):
        empty = segmented.images["cells"].to_list().count(0)
        say(f"No cells were found in {empty} of {number_of(len(segmented.images), 'image')} ({why}).")
    if doubted := sum("pixel_size" in str(flags).split() for flags in segmented.images["flags"].to_list()):
        which = number_of(doubted, "image")
        say(f"In {which} cells contradict the pixel size. Check --pixel-size, or what the files state.")
    if flagged := segmented.flagged_with_cells:
        which = number_of(flagged, "image with cells has flags", "images with cells have flags")
        say(f"{which}: flags and advice in images.csv say what may be wrong. Look at their overlays.")


def _segmenter(method: Method = Method.SURROGATE) -> "Segmenter":
    """Return one of the segmenters that are part of the package."""
    if method is Method.STDP:
        from leukospike.segmentation import plastic

        return partial(plastic.read_classes, plastic.default_plastic())
    from leukospike.segmentation.class_maps import read_classes
    from leukospike.segmentation.network import default_segmenter

    return partial(read_classes, default_segmenter())


def _given_pixel_size(um_per_px: float | None, *, where: str) -> "PixelSize | None":
    """Check the size of a pixel that was given."""
    from leukospike.images import PLAUSIBLE_UM_PER_PX
    from leukospike.segmentation import PixelSize

    if um_per_px is None:
        return None
    low, high = PLAUSIBLE_UM_PER_PX
    if not low <= um_per_px <= high:
        msg = (
            f"{where}: --pixel-size must be {low:g} to {high:g} micrometres, as microscopes have it, got {um_per_px:g}."
            " Give the width of the field over its pixels."
        )
        raise ConfigError(msg)
    return PixelSize(um_per_px, "given")


@app.command()
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
    from leukospike.classification.explanation import default_explainer
    from leukospike.confidence import EVEN
    from leukospike.confidence.calibration import CLOSEST
    from leukospike.report import write_analysis_report
    from leukospike.scoring import analyze_cells

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
    size = _given_pixel_size(pixel_size, where="analyze")
    records = datasets.collect_images(paths)
    _refuse_inside(out, paths)
    with whole_folder(out, where="analyze") as part:
        with progress_bars() as progress:
            analysis = analyze_cells(
                records,
                scorer,
                part,
                segmenter=_segmenter(),
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
    _end(analysis.failures, len(records), see=out / "failures.csv")


def _scorer(model: Path | None, runtime: Runtime) -> "Scorer":
    """Give what scores cells: the networks of a run, or the classifier of the package."""
    from leukospike.classification.classifier import default_classifier
    from leukospike.scorers import ShippedScorer, load_scorer

    return ShippedScorer(default_classifier(), runtime) if model is None else load_scorer(model)


@model_app.command("show")
def model_show() -> None:
    """Print the card of the package's classifier: data, protocol, figures, limits, intended use.

    Example:

    leukospike model show
    """
    from leukospike.classification.classifier import default_classifier

    classifier = default_classifier()
    for name, value in classifier.card.items():
        title = name.replace("_", " ").capitalize()
        if isinstance(value, dict):
            out_console.print(f"{title}:")
            width = max(map(len, value))
            for figure, text in value.items():
                out_console.print(f"  {figure:<{width}}  {text}")
        elif isinstance(value, list):
            out_console.print(f"{title}:")
            for text in value:
                out_console.print(f"  - {text}")
        else:
            out_console.print(f"{title}: {value}")
    out_console.print(f"Digest: {classifier.digest()}")


@model_app.command("export")
def model_export(
    out: Annotated[Path, typer.Option("--onnx", metavar="FILE", help="ONNX file to write.", show_default=False)],
) -> None:
    r"""Write the package's classifier as one ONNX graph, from pixels to probability.

    Input: pixels, uint8 of shape (n, 450, 450, 3), RGB, each a cell cut out on black as C-NMC shows its cells; n is any
    number. Needs the extra: pip install 'leukospike\[onnx]'. Outputs:

    - probability, float32 of shape (n): of being leukemic, calibrated.

    - set, bool of shape (n, 2): whether \[normal, leukemic] stays possible.

    - distance, float32 of shape (n): from the training cells.

    - outlier, bool of shape (n): whether that is too far.

    Example:

    leukospike model export --onnx classifier.onnx
    """
    from leukospike.classification.classifier import default_classifier
    from leukospike.classification.export import export_onnx

    if out.exists():
        msg = f"model export: --onnx must name a new file, got {out}. Remove it or choose another name."
        raise RunError(msg)
    export_onnx(default_classifier(), out)
    out_console.print(f"Model: {out}")


@app.command()
def train(
    data: DataOption,
    out: OutOption,
    preset: Annotated[
        Preset, typer.Option("--preset", metavar="NAME", help="Whose sizes to take: c-nmc or all-idb.")
    ] = Preset.C_NMC,
    backbone: BackboneOption = None,
    pretrained: PretrainedOption = None,
    protocol: Annotated[
        Protocol | None,
        typer.Option(
            "--protocol",
            metavar="NAME",
            help="What is held out.\n\n"
            "- honest (default): subjects.\n\n"
            "- image: images.\n\n"
            "- paper: images, with all of the original's flaws.",
        ),
    ] = None,
    folds: Annotated[
        int | None, typer.Option("--folds", help="Cut into so many parts, and hold out one. Default: 5.")
    ] = None,
    epochs: EpochsOption = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of everything random. Default: 0.")] = None,
    max_cells: MaxCellsOption = None,
    groups: GroupsOption = None,
    config: ConfigOption = None,
    resume: ResumeOption = False,  # noqa: FBT002 - a flag
) -> None:
    """Train one network on most of the subjects, test it on the others, and keep it for analyze.

    The subjects are cut into --folds parts, and the first part with both classes is held out: about a fifth, and at
    least one subject of each class, which of 3 and 3 is a third. The run says whom it tested. Intervals from fewer than
    10 of each class are too narrow: reproduce, whose folds test everyone, makes more of few subjects.

    Example:

    leukospike train --data my-cells --out run

    leukospike train --data my-cells --backbone appearance --out run
    """
    settings = {
        "backbone": backbone,
        "pretrained": pretrained,
        "protocol": protocol,
        "n_folds": folds,
        "epochs": epochs,
        "seed": seed,
        "max_cells": max_cells,
    }
    _run(data, out, preset, settings, config, groups=groups, resume=resume, hold_out=True)


@app.command()
def reproduce(
    dataset: Annotated[
        Preset,
        typer.Argument(
            metavar="DATASET",
            help="c-nmc or all-idb: whose experiment, that is, its sizes. The images are those of --data; for your own"
            " cells take c-nmc.",
            show_default=False,
        ),
    ],
    data: DataOption,
    out: OutOption,
    backbone: BackboneOption = None,
    pretrained: PretrainedOption = None,
    protocol: Annotated[
        Protocol | None,
        typer.Option(
            "--protocol",
            metavar="NAME",
            help="How the folds are made.\n\n"
            "- honest (default): by subject.\n\n"
            "- image: by image, all else as honest.\n\n"
            "- paper: the original's, flaws included.",
        ),
    ] = None,
    folds: Annotated[int | None, typer.Option("--folds", help="Folds of the cross-validation. Default: 4.")] = None,
    epochs: EpochsOption = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of everything random. Default: 0.")] = None,
    max_cells: MaxCellsOption = None,
    groups: GroupsOption = None,
    config: ConfigOption = None,
    resume: ResumeOption = False,  # noqa: FBT002 - a flag
) -> None:
    """Cross-validate the original system, or another backbone, on a data set or on your own cells, with a report.

    Backbones other than the original's see the cell in the middle of each picture, cut out on black.

    Example:

    leukospike reproduce c-nmc --data C-NMC_Leukemia --out runs/honest

    leukospike reproduce c-nmc --data my-cells --backbone appearance --out own

    leukospike reproduce c-nmc --data C-NMC --groups audit/groups.csv --out run
    """
    settings = {
        "backbone": backbone,
        "pretrained": pretrained,
        "protocol": protocol,
        "n_folds": folds,
        "epochs": epochs,
        "seed": seed,
        "max_cells": max_cells,
    }
    _run(data, out, dataset, settings, config, groups=groups, resume=resume, hold_out=False)


@app.command()
def compare(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A", help="Folder of a finished run.", show_default=False)],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B", help="Folder of another.", show_default=False)],
    out: OutOption,
) -> None:
    """Compare two runs of reproduce or train on the cells that both have tested.

    Measures side by side and their differences, with intervals from drawing subjects; DeLong's and McNemar's tests; by
    cell and by subject. Writes report.html, comparison.json, and disagreements.csv, the cells on which the runs differ
    most first. Warns where protocols, data or folds differ.

    Example:

    leukospike compare runs/paper runs/honest --out comparison
    """
    from leukospike.comparison import compare_runs, comparison_tables, write_comparison

    _refuse_inside(out, [run_a, run_b])
    comparison = compare_runs(run_a, run_b)
    with whole_folder(out, where="compare") as part:
        report = write_comparison(comparison, part).name
    for warning in comparison.warnings:
        say(warning)
    for table in comparison_tables(comparison):
        print_table(table)
    out_console.print(f"Report: {out / report}")


@app.command()
def audit(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help="Folder or CSV manifest of images; of any layout, but --run.", show_default=False
        ),
    ],
    out: OutOption,
    split: Annotated[
        Path | None,
        typer.Option(
            "--split",
            help="Somebody's split: CSV of the columns image, split or fold (or both), and, if known, subject, label.",
            show_default=False,
        ),
    ] = None,
    run: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--run", help="Train under three protocols, and say what each leak is worth.")
    ] = False,
    preset: Annotated[
        Preset, typer.Option("--preset", metavar="NAME", help="With --run: whose sizes to take, c-nmc or all-idb.")
    ] = Preset.C_NMC,
    backbone: BackboneOption = None,
    pretrained: PretrainedOption = None,
    folds: Annotated[int | None, typer.Option("--folds", help="Folds of the cross-validation. Default: 4.")] = None,
    epochs: EpochsOption = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of everything random. Default: 0.")] = None,
    max_cells: MaxCellsOption = None,
    config: ConfigOption = None,
    resume: ResumeOption = False,  # noqa: FBT002 - a flag
) -> None:
    """Find leaks: images that show the same, subjects that overlap, and what a split tears apart.

    Finds copies that are pixel-identical, mirrored, turned by right angles, re-encoded, lighter, resized or cropped,
    overlapping fields, and the field a crop is from. Writes report.html with the pairs side by side, audit.json,
    pairs.csv, and groups.csv, which says what a split must keep together. The page shows pictures of your data.

    --run trains the same network under the original protocol, split by image, and split by subject, where subjects that
    overlap count as one; backbone and all options after it are those of reproduce.

    Exit status:

    - 0: the audit ran, whatever it found.

    - 1: some files could not be read, or a line of the split names no image.

    - 2: it could not be done.

    Example:

    leukospike audit C-NMC_Leukemia --out audit

    leukospike audit my-cells --split their-split.csv --out audit

    leukospike audit C-NMC_Leukemia --run --epochs 10 --out audit
    """
    settings = {
        "backbone": backbone,
        "pretrained": pretrained,
        "n_folds": folds,
        "epochs": epochs,
        "seed": seed,
        "max_cells": max_cells,
    }
    _refuse_inside(out, [data])
    if run:
        if split is not None:
            msg = "audit: --run must go without --split, got both. Give one; --run makes splits of its own."
            raise ConfigError(msg)
        _audit(data, out, None, _settings(preset, settings, config), resume=resume)
        return
    if resume or config is not None or any(value is not None for value in settings.values()):
        msg = "audit: settings of a training must go with --run, got them without. Add --run or leave them out."
        raise ConfigError(msg)
    _audit(data, out, split, None, resume=False)


def _audit(data: Path, out: Path, split: Path | None, config: RunConfig | None, *, resume: bool) -> None:
    """Look for leaks, write that down, and then, where asked to, train to see what they are worth."""
    from leukospike.audit import (
        audit_tables,
        examine,
        grouped_dataset,
        measure_leaks,
        read_material,
        read_split,
        require_same_audit,
    )
    from leukospike.audit import write_audit as write

    if config is not None:
        from leukospike.systems import system_of

        system_of(config)  # what cannot be had shall be known before the search for copies
    material = read_material(data)
    theirs = None if split is None else read_split(split, material.records)
    dataset = None if config is None else datasets.read_dataset(data).labelled()
    if dataset is not None:
        dataset.require_labels("audit --run")
    if resume and not (out / "audit.json").is_file():
        msg = f"audit: --resume must name the folder of an audit, got {out}. Leave --resume out to start it."
        raise RunError(msg)
    leaks = None
    with progress_bars() as progress:
        if resume:
            findings = examine(material, split=theirs, progress=progress)
            require_same_audit(findings, out)
        else:
            with whole_folder(out, where="audit") as part:
                findings = examine(material, split=theirs, progress=progress)
                write(findings, part)
        if dataset is not None and config is not None:
            with locked(out, where="audit"):
                grouped = grouped_dataset(dataset, findings)
                leaks = measure_leaks(grouped, config, out / "runs", progress=progress)
                write(findings, out, leaks=leaks)
    for table in audit_tables(findings, leaks):
        print_table(table)
    out_console.print(f"Report: {out / 'report.html'}")
    unnamed = () if theirs is None else theirs.missing
    unread = findings.failures[: len(findings.failures) - len(unnamed)]
    if theirs is not None and unnamed:
        n_lines = len(theirs.records) + len(unnamed)
        say(
            f"--split: lines must name one image of DATA each, got {len(unnamed)} of {n_lines} that do not."
            f" See {out / 'failures.csv'}."
        )
    _end(unread, len(findings.records) + len(unread), see=out / "failures.csv")
    if unnamed:
        raise typer.Exit(1)


def _run(
    data: Path,
    out: Path,
    preset: Preset,
    options: dict[str, Any],
    config: Path | None,
    *,
    groups: Path | None,
    resume: bool,
    hold_out: bool,
) -> None:
    """Run a protocol."""
    from leukospike.protocols import run_protocol
    from leukospike.report import write_report
    from leukospike.runs import read_groups

    _refuse_inside(out, [data])
    run_config = _settings(preset, options, config, hold_out=hold_out)
    if config is not None and groups is None and (joined := read_groups(config)).get("subjects"):
        msg = (
            f"settings: --config must go with its run's groups, which make {joined['subjects']} subjects"
            f" {joined['into']}, got {config} without. Give the same table with --groups."
        )
        raise ConfigError(msg)
    dataset = datasets.read_dataset(data)
    if groups is not None:
        from leukospike.audit import join_subjects

        dataset = join_subjects(dataset, groups)
    with progress_bars() as progress:
        outcome = run_protocol(dataset, run_config, out, resume=resume, progress=progress)
    cell = outcome.metrics["pooled"]["cell"]
    area = cell["roc_auc"]
    if area["value"] is not None:
        backbone = "" if run_config.backbone == PAPER else f", backbone {run_config.backbone}"
        out_console.print(
            f"{run_config.protocol} protocol{backbone}, {number_of(cell['n'], 'cell')}:"
            f" accuracy {cell['accuracy']['value']:.3f},"
            f" ROC AUC {area['value']:.3f} (interval {area['low']:.3f} to {area['high']:.3f}, {cell['interval']}"
            f"{'; too few subjects for it to vary' if area['low'] == area['high'] else ''})",
        )
    report = write_report(out)
    for notice in outcome.metrics["notices"]:
        say(notice)
    out_console.print(f"Report: {report}")
    _end(outcome.failures, outcome.metrics["data"]["images"] + len(outcome.failures), see=out / "failures.csv")


def _settings(preset: Preset, options: dict[str, Any], config: Path | None, *, hold_out: bool = False) -> RunConfig:
    """Put settings together: options go before the file's, and those before the preset's."""
    settings: dict[str, Any] = {"n_folds": 5} if hold_out else {}
    if config is not None:
        # The command says what is run; the file says how.
        settings |= {name: value for name, value in read_settings(config).items() if name != "dataset"}
    settings |= {name: value for name, value in options.items() if value is not None}
    settings["hold_out"] = hold_out
    return RunConfig.preset(preset, settings)


def _refuse_inside(out: Path, paths: list[Path]) -> None:
    """Refuse results among the images, where the next command would take them for images."""
    for path in paths:
        # A manifest says itself what belongs to it.
        listed = not (path / "manifest.csv").is_file()
        if listed and Path(os.path.realpath(out)).is_relative_to(os.path.realpath(path)):
            msg = f"command line: --out must lie outside {path}, got {out}. Choose another folder."
            raise RunError(msg)


def _end(failures: tuple[Failure, ...] | list[Failure], n_files: int, *, see: Path | str) -> None:
    """End with status 1 if some files failed."""
    if failures:
        say(f"files must be readable images, got {len(failures)} of {n_files} that are not. See {see}.")
        raise typer.Exit(1)


def _flowing(text: str) -> str:
    r"""Join the lines of each paragraph, which the framework would break where the source does.

    Examples
    --------
    >>> _flowing("One line.\n\nTwo that\nbelong together.")
    'One line.\n\nTwo that belong together.'
    """
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in inspect.cleandoc(text).split("\n\n"))


for _group in (app, data_app, model_app):
    for _command in _group.registered_commands:
        _command.help = _flowing(_command.callback.__doc__ or "") if _command.callback else None
