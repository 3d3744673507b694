"""`leukospike audit`."""

from pathlib import Path
from typing import Annotated

import typer

from leukospike.cli.console import out_console, print_table, progress_bars, say, tell
from leukospike.cli.experiment import settings_of
from leukospike.cli.options import (
    BackboneOption,
    ConfigOption,
    EpochsOption,
    MaxCellsOption,
    NegativeOption,
    OutOption,
    PositiveOption,
    PretrainedOption,
    ResumeOption,
)
from leukospike.cli.outcome import end, refuse_inside
from leukospike.errors import ConfigError, RunError
from leukospike.notices import Severity
from leukospike.settings import Preset, RunConfig
from leukospike.storage.files import locked, whole_folder


def audit(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Folder or CSV manifest of images. Any layout will do, except with --run.",
            show_default=False,
        ),
    ],
    out: OutOption,
    split: Annotated[
        Path | None,
        typer.Option(
            "--split",
            help="Split to check: CSV with the columns image, split or fold (or both), and optionally subject"
            " and label.",
            show_default=False,
        ),
    ] = None,
    run: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--run", help="Train under three protocols, and measure how much each leak adds.")
    ] = False,
    preset: Annotated[
        Preset,
        typer.Option("--preset", metavar="NAME", help="With --run: settings of the experiment on c-nmc or all-idb."),
    ] = Preset.C_NMC,
    backbone: BackboneOption = None,
    pretrained: PretrainedOption = None,
    folds: Annotated[int | None, typer.Option("--folds", help="Number of cross-validation folds. Default: 4.")] = None,
    epochs: EpochsOption = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Random seed. Default: 0.")] = None,
    max_cells: MaxCellsOption = None,
    config: ConfigOption = None,
    positive: PositiveOption = None,
    negative: NegativeOption = None,
    resume: ResumeOption = False,  # noqa: FBT002 - a flag
) -> None:
    """Find data leaks: duplicate images, overlapping subjects, and duplicates separated by a split.

    Finds copies that are pixel-identical, mirrored, rotated by right angles, re-encoded, lighter, resized or cropped;
    overlapping fields; and the field that a crop was cut from. Writes report.html with the pairs side by side,
    audit.json, pairs.csv, and groups.csv, which lists what a split must keep together. The report shows pictures of
    your data.

    --run trains the same network under three protocols: the original one, a split by image, and a split by subject in
    which overlapping subjects count as one. --backbone and all options after it work as in reproduce.

    Exit status:

    - 0: the audit ran, whatever it found.

    - 1: some files could not be read, or a line of the split matches no image.

    - 2: the audit could not run.

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
    refuse_inside(out, [data])
    if run:
        if split is not None:
            raise ConfigError(
                "`run` must be used without `split`",
                where="audit",
                got="both",
                advice="Use only one of them; `run` makes its own splits.",
            )
        _audit(data, out, None, settings_of(preset, settings, config), (positive, negative), resume=resume)
        return
    given = [
        name for name, value in (settings | {"config": config, "resume": resume or None}).items() if value is not None
    ]
    if given:
        raise ConfigError(
            "training settings must be used with `run`",
            where="audit",
            got=" and ".join(f"`{name}`" for name in given) + " without it",
            advice="Add `run`, or leave them out.",
        )
    _audit(data, out, split, None, (positive, negative), resume=False)


def _audit(
    data: Path,
    out: Path,
    split: Path | None,
    config: RunConfig | None,
    names: tuple[list[str] | None, list[str] | None],
    *,
    resume: bool,
) -> None:
    """Look for leaks and write the findings; with `run`, also train to measure what they add."""
    from leukospike import datasets
    from leukospike.auditing import (
        audit_tables,
        examine,
        grouped_dataset,
        measure_leaks,
        read_material,
        read_split,
        require_same_audit,
    )
    from leukospike.auditing import write_audit as write

    if config is not None:
        from leukospike.experiments.systems import system_of

        system_of(config)  # fail on a missing extra before the search for copies
    positive, negative = names
    material = read_material(data, positive=positive, negative=negative)
    theirs = None if split is None else read_split(split, material.records)
    dataset = None if config is None else datasets.read_dataset(data, positive=positive, negative=negative).labelled()
    if dataset is not None:
        dataset.require_labels("audit --run")
    if resume and not (out / "audit.json").is_file():
        raise RunError(
            "`resume` must be used with the folder of an audit",
            where="audit",
            got=out,
            advice="Leave out `resume` to start one.",
        )
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
    tell(notice for notice in findings.notices if notice.severity is Severity.WARNING)
    out_console.print(f"Report: {out / 'report.html'}")
    unnamed = () if theirs is None else theirs.missing
    unread = findings.failures[: len(findings.failures) - len(unnamed)]
    if theirs is not None and unnamed:
        n_lines = len(theirs.records) + len(unnamed)
        say(
            f"--split: each line must name one image in DATA, got {len(unnamed)} of {n_lines} lines that do not. See"
            f" {out / 'failures.csv'}."
        )
    end(unread, len(findings.records) + len(unread), see=out / "failures.csv")
    if unnamed:
        raise typer.Exit(1)
