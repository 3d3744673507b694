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
from leukospike.cli.refinement import conduct_refinement, require_fitting
from leukospike.settings import Preset, Protocol, Start


def train(
    data: DataOption,
    out: OutOption,
    start: Annotated[
        Start | None,
        typer.Option(
            "--start",
            metavar="NAME",
            help="What to start from.\n\n- shipped: the package's classifier, with any of its eleven kinds as labels."
            "\n\nDefault: nothing, with two classes as labels.",
            show_default=False,
        ),
    ] = None,
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

    With --start shipped, continue from the package's classifier on your own cells. Labels are any of its kinds:
    lymphoblast, normal lymphoid precursor, lymphocyte, monocyte, neutrophil, eosinophil, basophil, immature
    granulocyte, erythroblast, platelet, not one of these. Every subject is tested in one of --folds folds, and a line
    says whether the result is better than the package's classifier on your cells. The result is trained on all of them.

    Example:

    leukospike train --data my-cells --out run

    leukospike train --data my-cells --backbone appearance --out run

    leukospike train --data my-cells --start shipped --out run
    """
    if start is not None:
        require_fitting(
            start,
            preset=None if preset is Preset.C_NMC else preset,
            backbone=backbone,
            pretrained=pretrained,
            protocol=protocol,
            epochs=epochs,
            max_cells=max_cells,
            groups=groups,
            config=config,
            resume=resume or None,
        )
        conduct_refinement(data, out, n_folds=folds, seed=seed, positive=positive, negative=negative)
        return
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
