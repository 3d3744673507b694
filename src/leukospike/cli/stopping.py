"""How a command is stopped: by Ctrl-C, by the system, or because its terminal was closed.

The first signal cancels the running jobs; work that does not end at its next step is interrupted. A second signal, or
too long a wait, ends the process at once; unfinished files stay hidden and are removed by the next call
(`storage.files`).
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leukospike.jobs import Job

STEP_S = 2.0
"""Time for jobs to reach their next step before the main thread is interrupted."""

CLEAN_UP_S = 5.0
"""Time for the main thread to clean up afterwards."""

MESSAGE_S = 1.0
"""Time for the last message."""

SETTLED_S = 0.1
"""Time for which the last message must not change."""

_SIGNALS = {  # the last is not on Windows
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
}
_DROPPED = 0  # no signal: an interruption that Python dropped
# A signal is for the process, and so for all of its jobs.
_jobs: list["Job"] = []
_begun = threading.Event()


@contextmanager
def stoppable(job: "Job") -> Generator[None]:
    """Let signals cancel a job while the block runs."""
    _jobs.append(job)
    _begun.set()
    try:
        yield
    finally:
        _jobs.remove(job)


class Stopping:
    """Listens for signals for one command, in a thread of its own, since the main thread may be deep in a library."""

    def __init__(self) -> None:
        self.message: Callable[[], str] = lambda: "Stopped. Run the same command again."
        """Message for the user, refined once the command is known."""
        self._first: int | None = None
        self._ended = False
        self._interrupts = False
        self._own = 0
        self._told, self._heard = socket.socketpair()  # pipes do not do on Windows

    @property
    def requested(self) -> bool:
        """Whether the command was told to stop."""
        return self._first is not None

    @property
    def status(self) -> int:
        """Exit status by convention of shells: 130 for Ctrl-C."""
        return 128 + (self._first or signal.SIGINT)

    def listen(self) -> None:
        """Take over the signals of the process; only from its main thread."""
        self._told.settimeout(0)  # as Python demands of what its signal handler writes to
        for number in _SIGNALS:
            # What is ignored stays so: nohup does that, and a shell for what it runs in the background.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._interrupt_main)
        signal.set_wakeup_fd(self._told.fileno(), warn_on_full_buffer=False)
        sys.unraisablehook = self._hear_of_what_python_drops
        threading.Thread(target=self._watch, daemon=True).start()

    def close(self) -> None:
        """Note that the command has ended and reported; from now on a signal ends the process silently."""
        self._ended = True

    def _interrupt_main(self, _number: int, _frame: FrameType | None) -> None:
        """Raise `KeyboardInterrupt`, where the watching thread asked for it."""
        if self._interrupts and not self._ended:
            self._interrupts = False
            raise KeyboardInterrupt

    def _hear_of_what_python_drops(self, dropped: "sys.UnraisableHookArgs") -> None:
        """Interrupt again if Python ignored it, in a destructor or a weak reference's callback."""
        if isinstance(dropped.exc_value, KeyboardInterrupt):
            with suppress(OSError):
                self._told.send(bytes([_DROPPED]))
        else:
            sys.__unraisablehook__(dropped)

    def _next(self, timeout: float | None) -> int | None:
        """Wait for a signal from outside, or a dropped interruption; None after `timeout` seconds."""
        self._heard.settimeout(timeout)
        while True:
            try:
                number = self._heard.recv(1)[0]
            except TimeoutError:
                return None
            if number == self._first and self._own:
                self._own -= 1
            elif number == _DROPPED or number in _SIGNALS:
                return number

    def _watch(self) -> None:
        """Stop the command, step by step."""
        while not self._first:
            self._first = self._next(None)
        if not _begun.is_set():
            self._end()  # nothing is written yet, and libraries that are being loaded do not bear an exception
        running = [*_jobs]
        for job in running:
            job.cancel()
        if not running or self._next(STEP_S) is None:
            self._raise_in_main()
            while self._next(CLEAN_UP_S) == _DROPPED:
                self._raise_in_main()
        self._end()

    def _raise_in_main(self) -> None:
        """Let the main thread be interrupted, also where it sleeps or waits."""
        self._interrupts = True
        self._own += 1
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(threading.main_thread().ident or 0, self._first or signal.SIGINT)
        else:  # Windows
            import _thread

            _thread.interrupt_main()

    def ignore(self) -> None:
        """Ignore signals: nothing is left to be stopped, and one would kill the process while Python shuts down."""
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _end(self) -> None:
        """End the process at once, also if wording the message has to wait for what the main thread holds."""
        deadline = threading.Timer(MESSAGE_S, os._exit, (self.status,))
        deadline.daemon = True
        deadline.start()
        with suppress(OSError, ValueError):  # the terminal may be gone
            if not self._ended:
                shown = "\x1b[?25h\r\x1b[J" if sys.stderr.isatty() else ""  # bars hide the cursor
                os.write(2, f"{shown}leukospike: {self._settled()}\n".encode(errors="backslashreplace"))
        os._exit(self.status)

    def _settled(self) -> str:
        """Word the message when it stays the same: the main thread may still be removing what is not worth keeping."""
        message = ""
        while (latest := self.message()) != message:
            message = latest
            time.sleep(SETTLED_S)
        return message
