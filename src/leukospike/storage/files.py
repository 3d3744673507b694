"""Atomic files: everything is written to a temporary file in the same folder, then renamed.

A process that is killed cannot clean up. Its temporary files are hidden and named `.part...`; the next process that
writes to the folder removes them, unless a running process holds the folder's lock.
"""

import os
import re
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from leukospike.errors import RunError

_LOCK = ".lock"
_PART = ".part"
_OWN_PART = re.compile(r"\.part(-.*-[a-z0-9_]{8}(\.[^.]*)?)?", re.DOTALL)  # not .partners or .part-list.txt


@contextmanager
def written_whole(path: Path) -> Generator[Path]:
    """Yield a temporary path in the same folder, and rename it to `path` when the block ends without an error.

    Parameters
    ----------
    path : Path
        Path of the file; its folder is created if missing. An existing file is replaced.

    Yields
    ------
    Path
        The temporary path to write to. It keeps the suffix of `path`, because some writers depend on it. On an error it
        is removed and `path` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = new_part(path)
    try:
        yield part
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def new_part(path: Path) -> Path:
    """Create the empty temporary file for `path`, with the user's default permissions."""
    while True:
        part = path.with_name(f"{_PART}-{path.stem[:40]}-{secrets.token_hex(4)}{path.suffix}")
        # Not by tempfile, which makes files private: to undo that one must know the umask, and to read that, the whole
        # process has to be without one for a moment.
        with suppress(FileExistsError):
            os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666))
            return part


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to `path` atomically."""
    with written_whole(path) as part:
        # File names may hold bytes that are not valid text; these are escaped.
        part.write_text(text, encoding="utf-8", errors="backslashreplace")


def new_folder(path: Path, *, where: str) -> Path:
    """Create the output folder `path`; it may exist if it is empty except for files left by a killed process.

    Raises
    ------
    RunError
        If `path` is a file or a folder that is not empty: results are never overwritten.
    """
    if path.exists() and not (path.is_dir() and all(_is_own(entry) for entry in path.iterdir())):
        rule = "output folder must be new or empty"
        raise RunError(rule, where=where, got=path, advice="Choose another name or remove it.")
    path.mkdir(parents=True, exist_ok=True)
    return path


def _is_own(entry: Path) -> bool:
    """Tell whether a file in an output folder was left by a killed process."""
    return entry.name == _LOCK or bool(_OWN_PART.fullmatch(entry.name))


@contextmanager
def locked(path: Path, *, where: str) -> Generator[None]:
    """Lock the folder `path` while the block runs; the system releases the lock if the process dies.

    Parameters
    ----------
    path : Path
        An existing folder.
    where : str
        Name of the caller, for the error.

    Raises
    ------
    RunError
        If the folder is locked by another process or block.
    """
    lock = FileLock(path / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        rule, got = "output folder must not be in use", f"{path}, to which a running program is writing"
        raise RunError(rule, where=where, got=got, advice="Wait for it, or choose another name.") from error
    try:
        yield
    finally:
        (path / _LOCK).unlink(missing_ok=True)
        lock.release()


def remove_leftovers(path: Path) -> None:
    """Remove files left by a killed process at any depth of `path`; the caller must hold the folder's lock."""
    for part in [*path.rglob(f"{_PART}*")]:
        if not _OWN_PART.fullmatch(part.name):
            continue
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path, *, where: str) -> Generator[Path]:
    """Yield a hidden folder in the new folder `path`, and move its content up when the block ends without an error.

    Parameters
    ----------
    path : Path
        The output folder, new or empty except for files left by a killed process, which are removed.
    where : str
        Name of the caller, for the error.

    Yields
    ------
    Path
        The folder to write to. On an error it is removed, and `path` if it is new, so that results are complete or
        absent.

    Raises
    ------
    RunError
        As for `new_folder` and `locked`.
    """
    is_new = not path.exists()
    new_folder(path, where=where)
    hidden = path / _PART
    try:
        with locked(path, where=where):
            new_folder(path, where=where)  # the previous holder of the lock may have filled it
            remove_leftovers(path)
            hidden.mkdir()
            try:
                yield hidden
                for entry in sorted(hidden.iterdir()):
                    entry.replace(path / entry.name)
            finally:
                shutil.rmtree(hidden, ignore_errors=True)
    except BaseException:
        if is_new:
            with suppress(OSError):
                path.rmdir()
        raise
