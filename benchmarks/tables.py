"""What a benchmark leaves: a table on the terminal, and its numbers with the machine that they are of in a file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leukospike.environment import describe_environment
from leukospike.storage.files import write_text

RESULTS = Path("bench-results")
"""Where the numbers go besides the terminal."""


def machine_line() -> str:
    """Describe in one line what the numbers are measured on."""
    about = describe_environment()
    return f"{about['processor']}, {about['cores']} cores, {about['threads']} threads, torch {about['torch']}"


def table(title: str, rows: Sequence[Mapping[str, str]], *, notes: Sequence[str] = ()) -> str:
    """Format rows as plain text: one column a key, as wide as its widest cell."""
    heads = list(rows[0])
    widths = {head: max(len(head), *(len(row[head]) for row in rows)) for head in heads}
    lines = [title, "=" * len(title), "  ".join(head.ljust(widths[head]) for head in heads).rstrip()]
    lines.append("  ".join("-" * widths[head] for head in heads))
    lines += ["  ".join(row[head].ljust(widths[head]) for head in heads).rstrip() for row in rows]
    return "\n".join([*lines, *notes, ""])


def save(name: str, results: Mapping[str, Any], *, folder: Path = RESULTS) -> None:
    """Write results, with the machine, to NAME.json in a folder."""
    write_text(folder / f"{name}.json", json.dumps({"machine": describe_environment(), **results}, indent=1) + "\n")
