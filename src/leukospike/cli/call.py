"""One call of the command: its error messages and exit status."""

import errno
import io
import logging
import os
import re
import sys
import warnings
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer
from typer.main import get_command

from leukospike.cli.app import app
from leukospike.cli.console import say
from leukospike.cli.stopping import Stopping
from leukospike.errors import Cancelled, LeukospikeError

_NUMBERS = {"a valid number": "a number", "a valid integer": "a whole number"}  # as the framework words them
_INTERRUPTED = 130  # by convention of shells, and of the framework, for Ctrl-C


def main(stopping: Stopping) -> None:
    """Run the command line and exit with its status."""
    warnings.filterwarnings("ignore")  # users can do nothing about a library's deprecations
    logging.disable(logging.WARNING)  # nor about matplotlib's log messages
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # this terminal may be unable to show a file's name
    arguments = sys.argv[1:]
    stopping.message = partial(_stopped, arguments)
    try:
        status = run(arguments, stopping)
    except KeyboardInterrupt:  # after its last step
        status = _stop(arguments, stopping)
    stopping.close()
    if status == _INTERRUPTED and stopping.requested:
        # Threads may still be running; there is no need to wait for them.
        os._exit(stopping.status)
    stopping.ignore()
    sys.exit(status)


def run(arguments: list[str], stopping: Stopping | None = None) -> int:
    """Run one command and return its exit status: 0, 1 (some files failed), 2 (the command failed), 130 (stopped).

    Parameters
    ----------
    arguments : list of str
        The arguments after `leukospike` on the command line.
    stopping : Stopping or None
        Listener for signals; None if there is none.
    """
    empty = next((argument for argument in arguments if argument == "" or re.fullmatch("--[a-z-]+=", argument)), None)
    if empty is not None:
        # As a path it would mean the current folder, which nobody who left a variable unset has in mind.
        say(f"The value of {empty.rstrip('=') or 'an argument'} is empty. Fill it in, or leave the option out.")
        return 2
    try:
        status = app(arguments, prog_name="leukospike", standalone_mode=False)
    except (KeyboardInterrupt, Cancelled):
        return _stop(arguments, stopping)
    except Exception as error:
        if stopping is not None and stopping.requested:  # what an interruption became on its way
            return _stop(arguments, stopping)
        if isinstance(error, typer.TyperException):
            if error.format_message():  # or else no arguments at all: the help has been shown
                say(_usage(error, arguments))
            return error.exit_code
        if not isinstance(error, LeukospikeError | OSError | MemoryError) and os.environ.get("LEUKOSPIKE_TRACEBACK"):
            raise
        say(_reason(error, arguments))
        return 2
    if status == _INTERRUPTED:
        return _stop(arguments, stopping)
    return status if isinstance(status, int) else 0


def _stop(arguments: list[str], stopping: Stopping | None) -> int:
    """Say that the command was stopped."""
    if stopping is not None:
        stopping.close()
    try:
        say(_stopped(arguments))
    except OSError:  # the terminal may be gone
        return _INTERRUPTED
    return _INTERRUPTED


def _stopped(arguments: list[str]) -> str:
    """Return the message for a stopped command, and what to do next."""
    if _can_resume(arguments):
        return "Stopped. Nothing was lost; run the same command with --resume."
    return "Stopped. Run the same command again."


def _again(arguments: list[str]) -> str:
    """Return how to repeat an interrupted command."""
    return f"Then run the same command {'with --resume' if _can_resume(arguments) else 'again'}."


def _reason(error: Exception, arguments: list[str]) -> str:
    """Return why a command failed, and what to do next."""
    match error:
        case LeukospikeError():
            return _as_options(error.reason, arguments)
        case MemoryError():
            return "Out of memory: close other programs or pass fewer images."
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return f"The disk is full ({error.strerror}). Free some space. {_again(arguments)}"
        case OSError(errno=errno.EFBIG):
            return (
                f"A file exceeded the maximum size on this system or disk ({error.strerror}). Raise the limit (ulimit"
                f" -f), or choose another disk. {_again(arguments)}"
            )
        case OSError(errno=errno.EEXIST):
            return f"{error.filename} is a file, but must be a folder. Choose another name."
        case OSError():
            place = f": {_visible_place(error.filename)}" if error.filename else ""
            return f"{error.strerror or error}{place}. Check the path and its permissions."
        case _:
            return (
                f"Internal error (please report it): {type(error).__name__}: {error}. Set LEUKOSPIKE_TRACEBACK=1 to"
                " see where it occurred."
            )


def _usage(error: Any, arguments: list[str]) -> str:  # noqa: ANN401 - the framework's errors, of which it names the parent alone
    """Return what is wrong with a command line."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "leukospike"
    wanted = getattr(error, "param", None)
    if wanted is not None and type(error).__name__ == "MissingParameter":
        return f"Please add {_described(wanted)}."
    said = error.format_message()
    if wanted is not None and (kind := next((kind for sign, kind in _NUMBERS.items() if sign in said), None)):
        given = _value_of(_name(wanted), arguments)
        return f"{_name(wanted)} must be {kind}{given and f', got {given}'}. Write digits and a decimal point alone."
    said = said.replace("Value error, ", "")
    return f"{said}{'' if said.endswith(('.', '?')) else '.'} See {command} --help."


def _value_of(option: str, arguments: list[str]) -> str:
    """Return what was given as the value of an option; empty if it was not found.

    Examples
    --------
    >>> _value_of("--seed", ["--seed", "x"]), _value_of("--seed", ["--seed=y"]), _value_of("--seed", [])
    ('x', 'y', '')
    """
    after = [value for name, value in pairwise(arguments) if name == option]
    joined = [argument.partition("=")[2] for argument in arguments if argument.startswith(f"{option}=")]
    return next(iter((*after, *joined)), "")


def _described(parameter: Any) -> str:  # noqa: ANN401 - the framework does not show its type
    """Name an option or argument and say what it is, by the first sentence of its help.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> _described(SimpleNamespace(param_type_name="option", opts=["--out"], metavar=None, help="New folder. Or not."))
    '--out NAME, a new folder'
    """
    told = (parameter.help or "").partition(". ")[0].rstrip(".")
    article = "an" if told[:1].lower() in {*"aeio"} else "a"
    told = told if told[1:2].isupper() else told[:1].lower() + told[1:]
    if parameter.param_type_name == "argument":
        return f"{_name(parameter)}: {told}"
    return f"{_name(parameter)} {parameter.metavar or 'NAME'}, {article} {told}"


def _name(parameter: Any) -> str:  # noqa: ANN401 - the framework does not show its type
    """Return the name of an option or argument on the command line."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    return max(parameter.opts, key=len)


def _parameters(arguments: list[str]) -> dict[str, str]:
    """Map the Python names of the current command's parameters to those on the command line."""
    command: Any = get_command(app)
    for argument in arguments:
        if argument not in getattr(command, "commands", {}):
            break
        command = command.commands[argument]
    return {parameter.name: _name(parameter) for parameter in command.params}


def _as_options(text: str, arguments: list[str]) -> str:
    """Replace argument names such as `paths` or `n_folds` by their options; other names lose their backticks."""
    names = _parameters(arguments)

    def named(found: re.Match[str]) -> str:
        return names.get(found[1]) or names.get(found[1].removeprefix("n_")) or found[1]

    return re.sub("`([a-z_]+)`", named, text)


def _can_resume(arguments: list[str]) -> bool:
    """Tell whether the command has --resume and left something to continue."""
    names = _parameters(arguments)
    if "resume" not in names or "out" not in names:
        return False
    given = [*arguments, ""]
    places = [given[at + 1] for at, argument in enumerate(arguments) if argument == names["out"]]
    places += [argument.partition("=")[2] for argument in arguments if argument.startswith(f"{names['out']}=")]
    return any(place and Path(place).is_dir() and _holds_results(Path(place)) for place in places)


def _holds_results(folder: Path) -> bool:
    """Tell whether a folder holds anything but hidden files."""
    return any(not entry.name.startswith(".") for entry in folder.iterdir())


def _visible_place(name: str) -> Path:
    """Return the folder instead of a temporary file in it, whose name means nothing to the user."""
    path = Path(name)
    return path.parent if path.name.startswith((".part", ".lock")) else path
