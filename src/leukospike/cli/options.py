"""Options shared by several subcommands."""

from pathlib import Path
from typing import Annotated

import typer

DataOption = Annotated[Path, typer.Option("--data", help="Folder or CSV manifest of the images.", show_default=False)]
OutOption = Annotated[Path, typer.Option("--out", help="New folder for the results.", show_default=False)]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Random seed.")]
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
        help="Network to train.\n\n- paper (default): the original system.\n\n- appearance: three networks on"
        " measurements of a cell, like the package's classifier.\n\n- convolutional: a small residual"
        " network.\n\n- timm:NAME, such as timm:resnet18: a network of the timm library; needs the extra"
        " timm.",
        show_default=False,
    ),
]
PretrainedOption = Annotated[
    bool | None,
    typer.Option(
        "--pretrained",
        help="With timm:NAME: start from the library's pretrained weights, which are downloaded.",
        show_default=False,
    ),
]
GroupsOption = Annotated[
    Path | None,
    typer.Option(
        "--groups",
        metavar="CSV",
        help="groups.csv of an audit of the same data: overlapping subjects count as one.",
        show_default=False,
    ),
]
EpochsOption = Annotated[
    int | None, typer.Option("--epochs", help="Passes over the training images. Default: 10, or that of the backbone.")
]
MaxCellsOption = Annotated[
    int | None, typer.Option("--max-cells", help="Maximum number of cells to use. Default: all.")
]
PixelSizeOption = Annotated[
    float | None,
    typer.Option(
        "--pixel-size",
        metavar="UM",
        help="Pixel size in micrometres. Default: as stored in each file, else estimated from its red cells.",
        show_default=False,
    ),
]
StrictOption = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Return no cells for images flagged for their quality (blank, inverted, over- or underexposed, out of"
        " focus, not a smear); other flags, such as scale, drop none.",
    ),
]
PositiveOption = Annotated[
    list[str] | None,
    typer.Option(
        "--positive",
        metavar="NAME",
        help="Your folder name or label for the leukemic class, if not a recognised one (all, blast, leukemia,"
        " ...); may be repeated.",
        show_default=False,
    ),
]
NegativeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--negative",
        metavar="NAME",
        help="Your folder name or label for the normal class, if not a recognised one (hem, normal, healthy,"
        " benign, ...); may be repeated.",
        show_default=False,
    ),
]
SubjectOption = Annotated[
    str | None,
    typer.Option(
        "--subject",
        metavar="NAME",
        help="Subject of all images. Default: taken from file names, folders or a manifest.",
        show_default=False,
    ),
]
ForExcelOption = Annotated[
    bool,
    typer.Option("--for-excel", help="Write tables so that Excel shows non-English letters correctly."),
]
CropsOption = Annotated[
    bool,
    typer.Option(
        "--crops",
        help="Also write each cell as an image, with a manifest to label and train on.",
    ),
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")]
