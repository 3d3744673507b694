"""Long work: how it tells how far it is, and how it is cancelled, without the library printing anything."""

import threading
from typing import NamedTuple, Protocol, runtime_checkable

from leukospike.errors import Cancelled


@runtime_checkable
class Progress(Protocol):
    """Told after each step of long work; every long function takes one."""

    def __call__(self, stage: str, done: int, total: int, /) -> None:
        """Take note that `done` of `total` steps of `stage` are finished."""


def silent(stage: str, done: int, total: int) -> None:
    """Take no note: the default for library callers."""


class Step(NamedTuple):
    """How far a job is."""

    stage: str
    done: int
    total: int


class Job:
    """One piece of long work, watched and cancelled from outside; given as the `progress` of any long function.

    Safe to use from several threads. After `cancel`, the work ends at its next step with `errors.Cancelled`; what it
    had finished is kept where the function keeps results.

    Parameters
    ----------
    told : Progress
        Told of each step as well.

    Examples
    --------
    >>> job = Job()
    >>> job("read images", 1, 2)
    >>> job.step
    Step(stage='read images', done=1, total=2)
    >>> job.cancel()
    >>> job("read images", 2, 2)
    Traceback (most recent call last):
    leukospike.errors.Cancelled: job was cancelled
    """

    def __init__(self, told: Progress = silent) -> None:
        self._told = told
        self._cancelled = threading.Event()
        self._step: Step | None = None

    def __call__(self, stage: str, done: int, total: int, /) -> None:
        """Take note of a step.

        Raises
        ------
        Cancelled
            If the job was cancelled.
        """
        self._step = Step(stage, done, total)
        self._told(stage, done, total)
        self.check()

    @property
    def step(self) -> Step | None:
        """The last step; None before the first."""
        return self._step

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody cancelled the job."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Ask the work to end at its next step."""
        self._cancelled.set()

    def check(self) -> None:
        """Raise `Cancelled` if the job was cancelled."""
        if self._cancelled.is_set():
            msg = "job was cancelled"
            raise Cancelled(msg)
