"""Options that several verbs have."""

from pathlib import Path
from typing import Annotated

import typer

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
PositiveOption = Annotated[
    list[str] | None,
    typer.Option(
        "--positive",
        metavar="NAME",
        help="What your folders or labels call the leukemic class, if no accepted word (all, blast, leukemia, ...);"
        " may be repeated.",
        show_default=False,
    ),
]
NegativeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--negative",
        metavar="NAME",
        help="What they call the normal class, if no accepted word (hem, normal, healthy, benign, ...); may be"
        " repeated.",
        show_default=False,
    ),
]
SubjectOption = Annotated[
    str | None,
    typer.Option(
        "--subject",
        metavar="NAME",
        help="Whose all the images are. Default: what they, their folders or a manifest say.",
        show_default=False,
    ),
]
ForExcelOption = Annotated[
    bool,
    typer.Option("--for-excel", help="Write tables so that Excel reads letters beyond English."),
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Carry on an interrupted run.")]
