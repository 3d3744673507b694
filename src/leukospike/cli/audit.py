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
    positive: PositiveOption = None,
    negative: NegativeOption = None,
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
    refuse_inside(out, [data])
    if run:
        if split is not None:
            raise ConfigError(
                "`run` must go without `split`",
                where="audit",
                got="both",
                advice="Give one; `run` makes splits of its own.",
            )
        _audit(data, out, None, settings_of(preset, settings, config), (positive, negative), resume=resume)
        return
    if resume or config is not None or any(value is not None for value in settings.values()):
        raise ConfigError(
            "settings of a training must go with `run`",
            where="audit",
            got="them without",
            advice="Add `run` or leave them out.",
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
    """Look for leaks, write that down, and then, where asked to, train to see what they are worth."""
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

        system_of(config)  # what cannot be had shall be known before the search for copies
    positive, negative = names
    material = read_material(data, positive=positive, negative=negative)
    theirs = None if split is None else read_split(split, material.records)
    dataset = None if config is None else datasets.read_dataset(data, positive=positive, negative=negative).labelled()
    if dataset is not None:
        dataset.require_labels("audit --run")
    if resume and not (out / "audit.json").is_file():
        raise RunError(
            "`resume` must name the folder of an audit",
            where="audit",
            got=out,
            advice="Leave `resume` out to start it.",
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
            f"--split: lines must name one image of DATA each, got {len(unnamed)} of {n_lines} that do not."
            f" See {out / 'failures.csv'}."
        )
    end(unread, len(findings.records) + len(unread), see=out / "failures.csv")
    if unnamed:
        raise typer.Exit(1)
