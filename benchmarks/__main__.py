"""`python -m benchmarks [TABLE ...]`: measure, print tables, and keep the numbers in bench-results/."""

import argparse
import subprocess
import sys

from benchmarks import (
    fields,
    front_end,
    large_image,
    network,
    pca,
    pipeline,
    plasticity,
    reading,
    spikes,
    start,
    tables,
)

TABLES = {
    "start": start,
    "front-end": front_end,
    "spikes": spikes,
    "plasticity": plasticity,
    "network": network,
    "pipeline": pipeline,
    "fields": fields,
    "reading": reading,
    "large-image": large_image,
    "pca": pca,
}


def main() -> int:
    """Run the tables that are asked for, each in a process of its own, so that none inherits another's memory."""
    about = "\n".join(f"  {name:12} {module.__doc__}" for name, module in TABLES.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measure speed and memory as ratios within one run; numbers are also kept in bench-results/*.json.",
        epilog=f"tables:\n{about}\n\nWithout a name: all but pca, which takes ten minutes and settled a choice once.",
    )
    parser.add_argument("tables", nargs="*", metavar="TABLE", help="any of: " + ", ".join(TABLES))
    names = parser.parse_args().tables or [name for name in TABLES if name != "pca"]
    if unknown := set(names) - set(TABLES):
        parser.error(f"unknown table {min(unknown)}; choose from {', '.join(TABLES)}")
    if len(names) == 1:
        print(tables.machine_line(), flush=True)
        TABLES[names[0]].run()
        return 0
    return max(subprocess.run([sys.executable, "-m", "benchmarks", name]).returncode for name in names)


if __name__ == "__main__":
    sys.exit(main())
