"""Files that are whole or absent: everything is written beside its place, then renamed."""

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from leukospike.errors import RunError

if TYPE_CHECKING:
    import pandas  # slow to load, and most commands write no table


@contextmanager
def written_whole(path: Path) -> Generator[Path]:
    """Give a temporary path in the same folder, and rename it to `path` when the block ends without an error.

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
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:40]}-", suffix=path.suffix)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        # mkstemp makes files private; a result should be as readable as any other file the user makes.
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to `path`, whole or not at all."""
    with written_whole(path) as part:
        # Names of files may hold bytes that are no text in any encoding; they come out spelled.
        part.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_table(path: Path, table: "pandas.DataFrame") -> None:
    """Write a CSV file to `path`, whole or not at all."""
    with written_whole(path) as part:
        table.to_csv(part, index=False)


def new_folder(path: Path, *, where: str) -> Path:
    """Make the output folder `path`; an empty one may exist already.

    Raises
    ------
    RunError
        If `path` is a file, or a folder that holds something: results are never written over.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        msg = f"{where}: output folder must be new or empty, got {path}. Choose another name or remove it."
        raise RunError(msg)
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def whole_folder(path: Path, *, where: str) -> Generator[Path]:
    """Give a hidden folder in the new folder `path`, and move its content up when the block ends without an error.

    Parameters
    ----------
    path : Path
        The output folder, new or empty.
    where : str
        Who asks; the message begins with it.

    Yields
    ------
    Path
        The folder to write to. On an error it is removed, and `path` if it is new, so that results are whole or absent.

    Raises
    ------
    RunError
        As for `new_folder`.
    """
    is_new = not path.exists()
    new_folder(path, where=where)
    try:
        with tempfile.TemporaryDirectory(dir=path, prefix=".part-") as hidden:
            yield Path(hidden)
            for entry in sorted(Path(hidden).iterdir()):
                entry.replace(path / entry.name)
    except BaseException:
        if is_new:
            with suppress(OSError):
                path.rmdir()
        raise
