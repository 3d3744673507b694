"""`leukospike train`."""

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


def train(
    data: DataOption,
    out: OutOption,
    preset: Annotated[
        Preset, typer.Option("--preset", metavar="NAME", help="Settings of the experiment on c-nmc or all-idb.")
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
    folds: Annotated[int | None, typer.Option("--folds", help="Number of parts; one is held out. Default: 5.")] = None,
    epochs: EpochsOption = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Random seed. Default: 0.")] = None,
    max_cells: MaxCellsOption = None,
    groups: GroupsOption = None,
    positive: PositiveOption = None,
    negative: NegativeOption = None,
    config: ConfigOption = None,
    resume: ResumeOption = False,  # noqa: FBT002 - a flag
) -> None:
    """Train one network on most subjects, test it on the others, and save it for analyze.

    The subjects are split into --folds parts, and the first part with both classes is held out: about a fifth, and at
    least one subject of each class (a third of 3 and 3 subjects). The output states how many were tested. With fewer
    than 5 subjects of a class no conclusion is drawn, and with fewer than 10 intervals are too narrow. With few
    subjects, prefer reproduce, whose folds test everyone.

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
    conduct(
        data,
        out,
        preset,
        settings,
        config,
        groups=groups,
        resume=resume,
        hold_out=True,
        positive=positive,
        negative=negative,
    )
