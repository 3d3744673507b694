"""`python -m research TABLE`: make a table of docs/results/ again; its numbers are kept in research-results/."""

import argparse
import sys
from importlib import import_module

from research import audit, explanations, tables
from research.classification import attention, kind_table
from research.classification import table as classification
from research.segmentation import laboratories, lights, not_smear_cells, scales
from research.segmentation import table as segmentation

TABLES = {
    "audit": audit.run,
    "segmentation": segmentation.run,
    "laboratories": laboratories.run,
    "not-smears": not_smear_cells.run,
    "scales": scales.run,
    "lights": lights.run,
    "classification": classification.run,
    "kinds": kind_table.run,
    "attention": attention.run,
    "explanations": explanations.run,
}

OF_METHODS = {"segmentation": segmentation, "classification": classification}
"""Tables of which single rows can be asked for."""

WEIGHTS = (
    "research.segmentation.fit",
    "research.segmentation.fit_evidence",
    "research.segmentation.fit_parting",
    "research.segmentation.fit_quality",
    "research.segmentation.fit_plastic",
    "research.classification.fit",
    "research.classification.training_cells",
)
"""Modules that make what the package ships; each is a command with a `--help` of its own."""


def main() -> int:
    """Make one table."""
    made = "\n".join(f"  {name:14} {_summary(make.__module__)}" for name, make in TABLES.items())
    weights = "\n".join(f"  {_summary(module)}" for module in WEIGHTS)
    parser = argparse.ArgumentParser(
        prog="python -m research",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Make a table of docs/results/ again, from the public images in ../shared/data or the folder in"
        " LEUKOSPIKE_DATA. Its numbers are also kept in research-results/*.json.",
        epilog=f"tables:\n{made}\n\nweights that ship, each by a command of its own:\n{weights}",
    )
    parser.add_argument("table", choices=TABLES, metavar="TABLE", help="one of those below")
    parser.add_argument(
        "--method",
        action="append",
        default=[],
        help="for segmentation and classification: judge this one, and any others so named",
    )
    arguments = parser.parse_args()
    if arguments.method:
        if arguments.table not in OF_METHODS:
            parser.error("--method is for segmentation and classification")
        methods = OF_METHODS[arguments.table].METHODS
        if unknown := set(arguments.method) - set(methods):
            parser.error(f"unknown method {min(unknown)}; choose from {', '.join(methods)}")
    print(tables.machine_line(), flush=True)
    if arguments.table in OF_METHODS:
        OF_METHODS[arguments.table].run(arguments.method)
    else:
        TABLES[arguments.table]()
    return 0


def _summary(module: str) -> str:
    """Return the first line of a module's docstring."""
    return (import_module(module).__doc__ or "").partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
