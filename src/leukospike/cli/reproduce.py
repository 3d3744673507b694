"""`leukospike reproduce`."""

from typing import Annotated

import typer

from leukospike.cli.experiment import conduct
from leukospike.cli.options import (
    BackboneOption,
    ConfigOption,
    DataOption,
    EpochsOption,
    GroupsOption,
    MaxCellsOption,
    NegativeOption,
    OutOption,
    PositiveOption,
    PretrainedOption,
    ResumeOption,
)
from leukospike.settings import Preset, Protocol


def reproduce(
    dataset: Annotated[
        Preset,
        typer.Argument(
            metavar="DATASET",
            help="Settings of the experiment on c-nmc or all-idb. The images are those of --data; for your own"
            " cells use c-nmc.",
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
            help="How the folds are made.\n\n- honest (default): by subject.\n\n- image: by image, otherwise as"
            " honest.\n\n- paper: as in the original, flaws included.",
        ),
    ] = None,
    folds: Annotated[int | None, typer.Option("--folds", help="Number of cross-validation folds. Default: 4.")] = None,
    epochs: EpochsOption = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Random seed. Default: 0.")] = None,
    max_cells: MaxCellsOption = None,
    groups: GroupsOption = None,
    positive: PositiveOption = None,
    negative: NegativeOption = None,
    config: ConfigOption = None,
    resume: ResumeOption = False,  # noqa: FBT002 - a flag
) -> None:
    """Cross-validate the original system, or another backbone, on a data set or on your own cells, and write a report.

    Backbones other than the original see only the cell in the middle of each picture, cut out on black.

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
    conduct(
        data,
        out,
        dataset,
        settings,
        config,
        groups=groups,
        resume=resume,
        hold_out=False,
        positive=positive,
        negative=negative,
    )
