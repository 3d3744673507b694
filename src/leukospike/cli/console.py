"""Output on the terminal: lines, tables and progress."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from leukospike.cli.stopping import stoppable
from leukospike.jobs import Job
from leukospike.notices import Notice, as_options

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from leukospike import datasets

_PIPE_COLUMNS = 200

# What is printed are names of files and folders, and "[red]" or ":smile:" in those is no markup.
out_console = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)
error_console = Console(markup=False, emoji=False, highlight=False, soft_wrap=True, stderr=True)


class _Bars:
    """Draws one bar per stage on a terminal, or prints one line per stage elsewhere."""

    def __init__(self, bars: "RichProgress") -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total)
            if not error_console.is_terminal:
                error_console.print(f"{stage} ({total})")
        self._bars.update(self._tasks[stage], completed=done, total=total)


@contextmanager
def progress_bars() -> Generator[Job]:
    """Yield a job that is shown on standard error while the block runs, and that a signal cancels."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=error_console, disable=not error_console.is_terminal) as bars:
        job = Job(_Bars(bars))
        with stoppable(job):
            yield job


def print_table(table: "datasets.Table") -> None:
    """Print one table, at full width if the output is piped."""
    from rich.table import Table

    shown = Table(title=visible(table.title), title_justify="left", title_style="bold")
    for column in table.header:
        shown.add_column(visible(column), overflow="fold")
    for row in table.rows:
        shown.add_row(*map(visible, row))
    # A console that is no terminal counts 80 columns, and gives no table more than it counts.
    console = out_console if out_console.is_terminal else Console(markup=False, emoji=False, width=_PIPE_COLUMNS)
    console.print(shown, soft_wrap=False)


def say(message: str) -> None:
    """Print one line on standard error."""
    error_console.print(f"leukospike: {visible(' '.join(message.split()))}")


def tell(notices: Iterable[Notice]) -> None:
    """Print notices on standard error, one per line, with arguments shown as options."""
    for notice in notices:
        say(as_options(notice.text))


def visible(text: str) -> str:
    """Escape characters that a terminal cannot show, such as a line break or a colour code in a file name."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
