"""Files that are whole or absent: everything is written beside its place, then renamed.

A process that is killed outright cannot clean up. What it leaves is hidden and called `.part...`, and whoever writes to
the same folder next removes it, unless a living process holds the folder's lock.
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
_OWN_PART = re.compile(r"\.part(-.*-[a-z0-9_]{8}(\.[^.]*)?)?", re.DOTALL)  # nobody's .partners, nor .part-list.txt


@contextmanager
def written_whole(path: Path) -> Generator[Path]:
    """Yield a temporary path in the same folder, and rename it to `path` when the block ends without an error.

    Parameters
    ----------
    path : Path
        Where the file shall be; its folder is made if missing. An existing file is replaced.

    Yields
    ------
    Path
        The temporary path to write to. It keeps the suffix of `path`, because some writers go by it. On an error
        it is removed and `path` is as it was.
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
    """Make the empty temporary file for `path`, as readable as any other file that the user makes."""
    while True:
        part = path.with_name(f"{_PART}-{path.stem[:40]}-{secrets.token_hex(4)}{path.suffix}")
        # Not by tempfile, which makes files private: to undo that one must know the umask, and to read that, the whole
        # process has to be without one for a moment.
        with suppress(FileExistsError):
            os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666))
            return part


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to `path`, whole or not at all."""
    with written_whole(path) as part:
        # Names of files may hold bytes that are no text in any encoding; they come out spelled.
        part.write_text(text, encoding="utf-8", errors="backslashreplace")


def new_folder(path: Path, *, where: str) -> Path:
    """Make the output folder `path`; one may exist that is empty, but for what a killed process left there.

    Raises
    ------
    RunError
        If `path` is a file, or a folder that holds something: results are never written over.
    """
    if path.exists() and not (path.is_dir() and all(_is_own(entry) for entry in path.iterdir())):
        rule = "output folder must be new or empty"
        raise RunError(rule, where=where, got=path, advice="Choose another name or remove it.")
    path.mkdir(parents=True, exist_ok=True)
    return path


def _is_own(entry: Path) -> bool:
    """Tell whether something in an output folder was left there by a killed process, and is nobody's work."""
    return entry.name == _LOCK or bool(_OWN_PART.fullmatch(entry.name))


@contextmanager
def locked(path: Path, *, where: str) -> Generator[None]:
    """Hold the folder `path` while the block runs; the system lets go of it if the process dies in any way.

    Parameters
    ----------
    path : Path
        An existing folder.
    where : str
        Who asks, for the error.

    Raises
    ------
    RunError
        If another process, or another block of this one, holds the folder.
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
    """Remove, at any depth of `path`, what a killed process was writing; only for who holds the folder's lock."""
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
        The output folder, new or empty but for what a killed process left there, which is removed.
    where : str
        Who asks, for the error.

    Yields
    ------
    Path
        The folder to write to. On an error it is removed, and `path` if it is new, so that results are whole or absent.

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
            new_folder(path, where=where)  # whoever held the lock until now may have filled it
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
