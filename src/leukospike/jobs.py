"""Progress and cancellation of long work, without the library printing anything."""

import threading
from typing import NamedTuple, Protocol, runtime_checkable

from leukospike.errors import Cancelled


@runtime_checkable
class Progress(Protocol):
    """Called after each step of long work; every long-running function takes one."""

    def __call__(self, stage: str, done: int, total: int, /) -> None:
        """Record that `done` of `total` steps of `stage` are finished."""


def silent(stage: str, done: int, total: int) -> None:
    """Do nothing: the default for library callers."""


class Step(NamedTuple):
    """Progress of a job."""

    stage: str
    done: int
    total: int


class Job:
    """One piece of long work, watched and cancelled from outside; pass it as `progress` to any long-running function.

    Safe to use from several threads. After `cancel`, the work ends at its next step with `errors.Cancelled`; finished
    results are kept where the function keeps results.

    Parameters
    ----------
    told : Progress
        Also called after each step.

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
        """Record a step.

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
        """Whether the job was cancelled."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Ask the work to end at its next step."""
        self._cancelled.set()

    def check(self) -> None:
        """Raise `Cancelled` if the job was cancelled."""
        if self._cancelled.is_set():
            msg = "job was cancelled"
            raise Cancelled(msg)
