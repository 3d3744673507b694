"""`python -m benchmarks [TABLE ...]`: measure, print tables, and keep the numbers in bench-results/."""

import argparse
import subprocess
import sys

from benchmarks import audit, explanations, fields, front_end, measure, network, pca, pipeline, plasticity, spikes
from benchmarks.classification import table as classification
from benchmarks.segmentation import laboratories, lights, not_smear_cells, scales
from benchmarks.segmentation import table as segmentation

TABLES = {
    "front-end": front_end,
    "spikes": spikes,
    "plasticity": plasticity,
    "network": network,
    "pipeline": pipeline,
    "fields": fields,
    "audit": audit,
    "pca": pca,
    "laboratories": laboratories,
    "segmentation": segmentation,
    "not-smears": not_smear_cells,
    "scales": scales,
    "lights": lights,
    "classification": classification,
    "explanations": explanations,
}


def main() -> int:
    """Run the tables that are asked for, each in a process of its own, so that none inherits another's memory."""
    about = "\n".join(f"  {name:12} {module.__doc__}" for name, module in TABLES.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measure speed and memory as ratios within one run; numbers are also kept in bench-results/*.json.",
        epilog=f"tables:\n{about}\n\nWithout a name: all but pca, which takes ten minutes and settled a"
        " choice once, and audit, laboratories, segmentation, not-smears, scales, lights, classification and"
        " explanations, which measure quality and need the public images.",
    )
    parser.add_argument("tables", nargs="*", metavar="TABLE", help="any of: " + ", ".join(TABLES))
    parser.add_argument(
        "--method",
        action="append",
        default=[],
        help="for segmentation or classification alone: judge this one, and any others so named",
    )
    arguments = parser.parse_args()
    names = arguments.tables or ["front-end", "spikes", "plasticity", "network", "pipeline", "fields"]
    if unknown := set(names) - set(TABLES):
        parser.error(f"unknown table {min(unknown)}; choose from {', '.join(TABLES)}")
    methods = {"segmentation": segmentation.METHODS, "classification": classification.METHODS}
    if arguments.method and (len(names) > 1 or names[0] not in methods):
        parser.error("--method is for segmentation or classification alone")
    if unknown := set(arguments.method) - set(methods.get(names[0], ())):
        parser.error(f"unknown method {min(unknown)}; choose from {', '.join(methods[names[0]])}")
    if len(names) == 1:
        print(measure.machine_line(), flush=True)
        if arguments.method:
            (segmentation if names == ["segmentation"] else classification).run(arguments.method)
            return 0
        TABLES[names[0]].run()
        return 0
    return max(subprocess.run([sys.executable, "-m", "benchmarks", name]).returncode for name in names)


if __name__ == "__main__":
    sys.exit(main())
