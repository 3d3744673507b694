"""One call of the command: its signals, every error as one line, and the exit status."""

import errno
import io
import itertools
import logging
import os
import re
import signal
import sys
import threading
import warnings
from pathlib import Path

import typer

from leukospike.cli.app import app
from leukospike.cli.console import say
from leukospike.errors import LeukospikeError

_INTERRUPTED = 130  # as the framework has it
# Who calls from Python wants to know which function refuses; who gives a command has not called it.
_FUNCTION = re.compile(r"\A([a-z]+(_[a-z0-9]+)+|([A-Z][a-z0-9]+){2,}): ")


def main() -> None:
    """Run the command line and turn every error into one line and an exit status."""
    warnings.filterwarnings("ignore")  # a user can do nothing about a library's deprecations
    logging.disable(logging.WARNING)  # nor with what Lightning and matplotlib tell of themselves
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # to clean up as on Ctrl-C
    if hasattr(signal, "pthread_kill"):  # not on Windows
        sys.unraisablehook = _told_of_what_python_drops
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may have no spelling on this terminal
    sys.exit(run(sys.argv[1:]))


def _told_of_what_python_drops(dropped: "sys.UnraisableHookArgs") -> None:
    """Interrupt again where Ctrl-C came in a destructor or a weak reference's callback: Python would go on."""
    if isinstance(dropped.exc_value, KeyboardInterrupt):
        # From another thread and a moment later, when this callback is left: here it would be dropped as well.
        timer = threading.Timer(1.0, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
        timer.daemon = True
        timer.start()
    else:
        sys.__unraisablehook__(dropped)


def run(arguments: list[str]) -> int:
    """Run one command and give its exit status: 0, 1 (some files failed), 2 (it could not be done), 130 (interrupted).

    Parameters
    ----------
    arguments : list of str
        What stands behind `leukospike` on the command line.
    """
    empty = next((argument for argument in arguments if argument == "" or re.fullmatch("--[a-z-]+=", argument)), None)
    if empty is not None:
        # As a path it would mean the current folder, which nobody who left a variable unset has in mind.
        say(f"command line must have no empty value, got '{empty}'. Give the value, or leave its option out.")
        return 2
    try:
        status = app(arguments, prog_name="leukospike", standalone_mode=False)
    except LeukospikeError as error:
        say(_FUNCTION.sub("", str(error), count=1))
        return 2
    except typer.TyperException as error:
        if not error.format_message():  # no arguments at all: the help has been shown
            return error.exit_code
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "leukospike"
        reason = error.format_message().rstrip(".")
        say(f"command line must be as --help says, got '{reason}'. See {command} --help.")
        return error.exit_code
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            say(f"disk must have room, got '{error.strerror}'. Free some. {_again(arguments)}")
        elif error.errno == errno.EFBIG:
            say(
                f"files must be allowed to grow, got '{error.strerror}'. Raise the limit (ulimit -f), or choose another"
                f" disk. {_again(arguments)}"
            )
        elif error.errno == errno.EEXIST:
            say(f"output folder must be none or a folder, got the file {error.filename}. Choose another name.")
        else:
            place = f" for {_visible_place(error.filename)}" if error.filename else ""
            say(f"files must be accessible, got '{error.strerror or error}'{place}. Check path and permissions.")
        return 2
    except MemoryError:
        say("memory must suffice, got too little. Close other programs or give fewer images.")
        return 2
    except Exception as error:
        if os.environ.get("LEUKOSPIKE_TRACEBACK"):
            raise
        say(
            f"program must not fail by itself, got {type(error).__name__}: {error}."
            " Set LEUKOSPIKE_TRACEBACK=1, repeat the command, and report what it prints."
        )
        return 2
    if status == _INTERRUPTED:
        say(f"command must run to its end, got an interruption. {_again(arguments)}")
    return status if isinstance(status, int) else 0


def _again(arguments: list[str]) -> str:
    """Say how a command that was cut is repeated: with --resume if it left something to carry on."""
    out = next((given for name, given in itertools.pairwise(arguments) if name == "--out"), None)
    out = next((argument[6:] for argument in arguments if argument.startswith("--out=")), out)
    resumable = {
        "train": "config.toml",
        "reproduce": "config.toml",
        "audit": "audit.json" if "--run" in arguments else "",
    }
    begun = resumable.get(arguments[0]) if arguments else None
    if out is not None and begun and (Path(out) / begun).is_file():
        return "Repeat it with --resume to carry on."
    return "Repeat it."


def _visible_place(name: str) -> Path:
    """Give the folder in place of a temporary file in it, of whose name the user knows nothing."""
    path = Path(name)
    return path.parent if path.name.startswith(".part") else path
