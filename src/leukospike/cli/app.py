"""The `leukospike` command: its subcommands, in the order of the help, and its version."""

import inspect
from collections.abc import Callable
from importlib import metadata
from typing import Annotated

import typer

from leukospike.cli import data, model
from leukospike.cli.analyze import analyze
from leukospike.cli.audit import audit
from leukospike.cli.compare import compare
from leukospike.cli.console import out_console
from leukospike.cli.demo import demo
from leukospike.cli.reproduce import reproduce
from leukospike.cli.segment import segment
from leukospike.cli.smears import smears
from leukospike.cli.train import train

app = typer.Typer(
    name="leukospike",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Check image data sets, or download public ones.", no_args_is_help=True)
app.add_typer(data_app, name="data")
model_app = typer.Typer(help="Inspect or export the package's classifier.", no_args_is_help=True)
app.add_typer(model_app, name="model")


def _show_version(value: bool) -> bool:  # noqa: FBT001 - as the framework calls it
    """Print the version and exit."""
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


def _flowing(text: str) -> str:
    r"""Join the lines of each paragraph: the framework would keep the line breaks of the source.

    Examples
    --------
    >>> _flowing("One line.\n\nTwo that\nbelong together.")
    'One line.\n\nTwo that belong together.'
    """
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in inspect.cleandoc(text).split("\n\n"))


def _add(group: typer.Typer, *verbs: Callable[..., None]) -> None:
    """Add subcommands to a group, with their docstrings as help."""
    for verb in verbs:
        group.command(help=_flowing(verb.__doc__ or ""))(verb)


_add(app, demo, smears, segment, analyze, train, reproduce, compare, audit)
_add(data_app, data.check, data.fetch)
_add(model_app, model.show, model.export)
