"""How long work tells how far it is, without the library printing anything."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class Progress(Protocol):
    """Told after each step of long work; the command line draws bars from it."""

    def __call__(self, stage: str, done: int, total: int, /) -> None:
        """Take note that `done` of `total` steps of `stage` are finished."""


def silent(stage: str, done: int, total: int) -> None:
    """Take no note: the default for library callers."""
