"""Which files of a folder are read, for all commands.

Files left behind by file managers and network drives are ignored. Of the rest, images are listed, including unsupported
formats, which fail with a reason. Documents and tables are left out; so is every other file, unless it begins like an
image: then its name is wrong, which is reported when it is opened.
"""

import os
import unicodedata
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from leukospike.images import IMAGE_SUFFIXES
from leukospike.images.foreign import FOREIGN_SUFFIXES
from leukospike.images.formats import begins_as_image
from leukospike.notices import Notice
from leukospike.plurals import number_of

_LEFTOVERS = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "@recycle", "#recycle", "#snapshot"}
    | {"$recycle.bin", "system volume information", "lost+found"}
)
_DOCUMENTS = frozenset(
    {".txt", ".md", ".rtf", ".log", ".doc", ".docx", ".odt", ".pdf", ".ppt", ".pptx", ".odp", ".html", ".htm"}
    | {".csv", ".tsv", ".xls", ".xlsx", ".xlsm", ".ods", ".json", ".xml", ".yaml", ".yml", ".toml", ".ini", ".xyc"}
    | {".zip", ".gz", ".7z", ".rar", ".tar", ".lnk", ".url", ".db", ".tmp", ".bak", ".py", ".ipynb", ".r", ".m"}
)
_NAMES_OF_DOCUMENTS = frozenset({"license", "licence", "readme", "copying", "changelog", "credits", "notice"})


class Listing(NamedTuple):
    """The files of a folder."""

    images: tuple[Path, ...]
    """Images, and paths that cannot be listed, such as a folder without permission: the reason is reported on
    opening."""
    others: Mapping[str, int]
    """Number of ignored files other than documents, by extension, or "no ending"."""

    @property
    def notice(self) -> Notice | None:
        """Report ignored files; None if none of them might matter."""
        if not self.others:
            return None
        total = sum(self.others.values())
        endings = ", ".join(f"{ending} {count}" for ending, count in sorted(self.others.items()))
        return Notice(
            "files_left_out",
            f"{number_of(total, 'file was', 'files were')} ignored: not a known image format by name or content"
            f" ({endings}).",
            values=dict(self.others),
        )


def list_images(*folders: Path, outside: Path | None = None) -> Listing:
    """List the images at any depth of some folders.

    Parameters
    ----------
    *folders : Path
    outside : Path, optional
        A folder whose files are not listed, even if a link leads to it.

    Returns
    -------
    Listing

    Raises
    ------
    OSError
        If one of `folders` itself cannot be listed.
    """
    images: list[Path] = []
    others: Counter[str] = Counter()
    for path in files_below(*folders, outside=outside):
        if _is_image(path):
            images.append(path)
        elif not is_document(path):
            others[path.suffix.lower() or "no ending"] += 1
    return Listing(tuple(images), dict(others))


def images_in(folder: Path) -> list[Path]:
    """List the images directly in one folder, in order.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    list of Path

    Raises
    ------
    OSError
        If the folder cannot be listed.
    """
    return [path for path in entries(folder) if not path.is_dir() and _is_image(path)]


def entries(folder: Path) -> list[Path]:
    """List a folder in order, without hidden files and those left behind by file managers and network drives.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    list of Path

    Raises
    ------
    OSError
        If the folder cannot be listed.
    """
    return sorted(
        path for path in folder.iterdir() if not path.name.startswith(".") and path.name.casefold() not in _LEFTOVERS
    )


def files_below(*folders: Path, outside: Path | None = None) -> Iterator[Path]:
    """List all files at any depth, except those left behind by file managers.

    Links to folders are followed, but each real folder is listed only once, even if links form a loop, and under its
    own name if that is below `folders`.

    Parameters
    ----------
    *folders : Path
    outside : Path, optional
        A folder whose files are not listed, even if a link leads to it.

    Yields
    ------
    Path
        A file, or a folder that cannot be listed: the reason is reported on opening.

    Raises
    ------
    OSError
        If one of `folders` itself cannot be listed.
    """
    listed = set() if outside is None else {os.path.realpath(outside)}
    waiting, links = deque(folders), deque[Path]()
    while waiting or links:
        folder = waiting.popleft() if waiting else links.popleft()
        real = os.path.realpath(folder)
        if real in listed:
            continue
        listed.add(real)
        try:
            inside = entries(folder)
        except OSError:
            if folder in folders:
                raise
            yield folder
            continue
        for path in inside:
            if not os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises in a folder that must not be entered
                yield path
            elif path.is_symlink():
                links.append(path)
            else:
                waiting.append(path)


def is_document(path: Path) -> bool:
    """Tell whether a file is a document, a table or the like, and clearly not an image.

    Parameters
    ----------
    path : Path

    Returns
    -------
    bool
        Decided by the name alone.
    """
    return path.suffix.lower() in _DOCUMENTS or path.stem.lower() in _NAMES_OF_DOCUMENTS


def _is_image(path: Path) -> bool:
    """Tell whether a path is to be opened as an image; so is a folder that cannot be listed, to report the reason."""
    if path.suffix.lower() in IMAGE_SUFFIXES | FOREIGN_SUFFIXES or os.path.isdir(path):  # noqa: PTH112 - as above
        return True
    return not is_document(path) and begins_as_image(path)


def name_below(path: Path, root: Path) -> str:
    """Return the path of a file relative to a folder, the same on every system.

    Parameters
    ----------
    path, root : Path

    Returns
    -------
    str
        POSIX path. Bytes that are not valid text are escaped, so that every table can hold the name.
    """
    return spelled(path.relative_to(root).as_posix())


def spelled(name: str) -> str:
    """Escape the bytes of a name that are not valid text.

    Parameters
    ----------
    name : str

    Returns
    -------
    str
    """
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def person(name: str) -> str:
    """Normalise the Unicode form of a subject's name, since systems store the same name in different forms.

    Parameters
    ----------
    name : str

    Returns
    -------
    str
        In NFC, escaped, without outer spaces.

    Examples
    --------
    >>> person("Mu\u0308ller") == person("M\u00fcller ")
    True
    """
    return unicodedata.normalize("NFC", spelled(name)).strip()
