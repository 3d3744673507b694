"""`leukospike model show` and `leukospike model export`."""

from pathlib import Path
from typing import Annotated

import typer

from leukospike.cli.console import out_console
from leukospike.errors import RunError


def show() -> None:
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


def export(
    out: Annotated[Path, typer.Option("--onnx", metavar="FILE", help="ONNX file to write.", show_default=False)],
) -> None:
    r"""Write the package's classifier as one ONNX graph, from pixels to kinds.

    Needs an extra; in the clone, run: pip install -e '.\[onnx]'. Inputs, for any number n of cells:

    - pixels, uint8 of shape (n, 450, 450, 3): RGB, each a cell cut out on black as in C-NMC.

    - diameter_um, float32 of shape (n): of a disc as large as the cell, micrometres; NaN where it is not known.

    Outputs; the names of the eleven kinds are in the metadata:

    - probability, float32 of shape (n): calibrated, of a lymphoblast; NaN for a picture of one colour.

    - kinds, float32 of shape (n, 11): of each kind.

    - set, bool of shape (n, 11): whether each kind remains possible.

    - distance, float32 of shape (n): from the training cells.

    - outlier, bool of shape (n): whether the distance is too large.

    Example:

    leukospike model export --onnx classifier.onnx
    """
    from leukospike.classification.classifier import default_classifier
    from leukospike.classification.export import export_onnx

    if out.exists():
        msg = "--onnx must name a new file"
        raise RunError(msg, where="model export", got=out, advice="Remove the file or choose another name.")
    export_onnx(default_classifier(), out)
    out_console.print(f"Model: {out}")
