"""Which files of a folder count: one answer for every verb.

What file managers and network drives leave behind is never seen. Of the rest, images are listed, among them those of
formats that are not read, which fail with their reason. Documents and tables are left out; so is every other file,
unless it begins as an image: then its name is wrong, and whoever opens it says so.
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
    """Images, and what cannot be listed, such as a folder without permission: whoever opens it will say why."""
    others: Mapping[str, int]
    """Files that were left out and are no documents: how many by the ending of their names, or "no extension"."""

    @property
    def notice(self) -> Notice | None:
        """Say what was left out; None if nothing was that might matter."""
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
        A folder whose own files are not listed, though a link should lead to it.

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
            others[path.suffix.lower() or "no extension"] += 1
    return Listing(tuple(images), dict(others))


def images_in(folder: Path) -> list[Path]:
    """List the images of one folder, without those of its folders, in order.

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
    """List a folder in order, without hidden files and what file managers and network drives leave behind.

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
    """List all files at any depth, images or not, without what file managers leave behind.

    Links to folders are followed, but each real folder is listed once, however many links lead to it, even from within
    itself; under its own name, if it has one below `folders`.

    Parameters
    ----------
    *folders : Path
    outside : Path, optional
        A folder whose own files are not listed, though a link should lead to it.

    Yields
    ------
    Path
        A file, or a folder that cannot be listed: whoever opens it will say why.

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
    """Tell whether a file is a document, a table or the like, which nobody takes for an image.

    Parameters
    ----------
    path : Path

    Returns
    -------
    bool
        By the name alone.
    """
    return path.suffix.lower() in _DOCUMENTS or path.stem.lower() in _NAMES_OF_DOCUMENTS


def _is_image(path: Path) -> bool:
    """Tell whether a file shall be opened as an image; a folder that could not be listed shall, to say so."""
    if path.suffix.lower() in IMAGE_SUFFIXES | FOREIGN_SUFFIXES or os.path.isdir(path):  # noqa: PTH112 - as above
        return True
    return not is_document(path) and begins_as_image(path)


def name_below(path: Path, root: Path) -> str:
    """Name a file by its place below a folder, alike on every system.

    Parameters
    ----------
    path, root : Path

    Returns
    -------
    str
        POSIX path. Bytes that are no text in any encoding come out spelled, so that every table can hold the name.
    """
    return spelled(path.relative_to(root).as_posix())


def spelled(name: str) -> str:
    """Spell the bytes of a name that are no text.

    Parameters
    ----------
    name : str

    Returns
    -------
    str
    """
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def person(name: str) -> str:
    """Bring a subject's name to one Unicode form: systems store the same name in several, and it is one person's.

    Parameters
    ----------
    name : str

    Returns
    -------
    str
        In NFC, spelled, without outer spaces.

    Examples
    --------
    >>> person("Mu\u0308ller") == person("M\u00fcller ")
    True
    """
    return unicodedata.normalize("NFC", spelled(name)).strip()
