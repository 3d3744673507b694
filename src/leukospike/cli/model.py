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
    r"""Write the package's classifier as one ONNX graph, from pixels to probability.

    Input: pixels, uint8 of shape (n, 450, 450, 3), RGB, each a cell cut out on black as in C-NMC; n is any number.
    Needs an extra; in the clone, run: pip install -e '.\[onnx]'. Outputs:

    - probability, float32 of shape (n): calibrated, of being leukemic; NaN for a picture of one colour.

    - set, bool of shape (n, 2): whether each of \[normal, leukemic] remains possible.

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
