"""Downloads public data sets, and explains how to request the others.

A git commit identifies every file by a hash of its content, so a pinned commit provides both the list of files and
their checksums. The listing itself is trusted as far as the encrypted connection to the server.
"""

import hashlib
import importlib
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import requests
from pooch import HTTPDownloader

from leukospike.errors import FetchError
from leukospike.jobs import Progress, silent

SOURCES = {
    "bccd": "fields of blood smears with boxes around the cells, for segmentation; no leukemia labels (MIT, GitHub)",
    "c-nmc": "about 15,000 single cells of 118 subjects, leukemic and normal (CC BY 3.0, Kaggle)",
    "all-idb": "108 fields and 260 single cells, leukemic and normal; only on request to the University of Milan",
}
"""The data sets that `fetch` knows, with a description."""

BCCD_REPOSITORY = "Shenggan/BCCD_Dataset"
BCCD_COMMIT = "ec96fe4104e9bb329f0d263db95cf1edd8c09909"
CNMC_HANDLE = "andrewmvd/leukemia-classification"

_LISTING_SERVER = "https://api.github.com"
_FILE_SERVER = "https://raw.githubusercontent.com"
_TIMEOUT_SECONDS = 30
_CONNECTIONS = 4


def fetch(name: str, out: Path, *, base_url: str | None = None, progress: Progress = silent) -> Path:
    """Download a public data set into a folder.

    A file appears under its name only when it is complete with the right checksum; until then it ends in ``.part``.
    After an interruption, ``bccd`` keeps correct files and continues partial ones.

    Parameters
    ----------
    name : str
        One of `SOURCES`. ``bccd`` comes from its public repository at a pinned commit. ``c-nmc`` comes through
        kagglehub, which the extra ``kaggle`` installs, and needs a folder that is new or empty.
        ``all-idb`` may not be downloaded by a program.
    out : Path
        Folder to download to; created if missing. Nothing is written outside it.
    base_url : str, optional
        A mirror of the repository that serves both GitHub's listing (``/repos/...``) and the files.
    progress : Progress
        Called after each file of ``bccd``.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    FetchError
        If the name is unknown, the data set may not be downloaded, the server does not answer as expected, a checksum
        is wrong, or the folder is not writable.
    """
    sources: dict[str, Callable[[], None]] = {
        "bccd": lambda: _fetch_bccd(out, base_url=base_url, progress=progress),
        "c-nmc": lambda: _fetch_cnmc(out),
        "all-idb": _refuse_all_idb,
    }
    if name not in sources:
        known = "; ".join(f"{known} ({what})" for known, what in SOURCES.items())
        raise FetchError(
            f"name must be one of {', '.join(SOURCES)}", where="fetch", got=repr(name), advice=f"Choose one: {known}."
        )
    try:
        sources[name]()
    except requests.RequestException as error:
        raise _network_error(error) from error
    except OSError as error:
        raise FetchError(
            f"{out} must be writable",
            where="fetch",
            got=f"'{error.strerror or error}'",
            advice="Free space or choose another folder.",
        ) from error
    return out


class _Blob(NamedTuple):
    """One file of a git commit."""

    path: str
    sha: str
    size: int


def _fetch_bccd(out: Path, *, base_url: str | None, progress: Progress) -> None:
    """Download images, boxes, lists and licence of BCCD."""
    listing_server, file_server = (base_url, base_url) if base_url else (_LISTING_SERVER, _FILE_SERVER)
    blobs = [blob for blob in _listing(listing_server) if blob.path.startswith(("BCCD/", "LICENSE"))]
    if not blobs:
        raise FetchError(
            f"listing of {BCCD_REPOSITORY} must name files in BCCD/",
            where="fetch",
            got="none",
            advice="Report this to the project.",
        )

    def fetch_one(blob: _Blob) -> None:
        _fetch_blob(f"{file_server}/{BCCD_REPOSITORY}/{BCCD_COMMIT}/{blob.path}", out / blob.path, blob)

    pool = ThreadPoolExecutor(max_workers=_CONNECTIONS)
    try:
        for done, _ in enumerate(pool.map(fetch_one, blobs), start=1):
            progress("download bccd", done, len(blobs))
    finally:
        # After an error or interruption, no further files are started.
        pool.shutdown(cancel_futures=True)


def _listing(server: str) -> list[_Blob]:
    """List all files of the pinned commit, and reject paths that lead out of the folder."""
    address = f"{server}/repos/{BCCD_REPOSITORY}/git/trees/{BCCD_COMMIT}?recursive=1"
    response = requests.get(address, timeout=_TIMEOUT_SECONDS)
    response.raise_for_status()
    try:
        listing: dict[str, Any] = response.json()
        truncated = bool(listing["truncated"])
        blobs = [
            _Blob(path=str(entry["path"]), sha=str(entry["sha"]), size=int(entry["size"]))
            for entry in listing["tree"]
            if entry["type"] == "blob"
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise FetchError(
            f"{address} must answer with a git tree",
            where="fetch",
            got="something else",
            advice="Check for a proxy and try again.",
        ) from error
    if truncated:
        raise FetchError(
            f"listing of {BCCD_REPOSITORY} must be complete",
            where="fetch",
            got="a truncated one",
            advice="Try again later.",
        )
    for blob in blobs:
        if not _is_safe(blob.path) or not re.fullmatch("[0-9a-f]{40}", blob.sha):
            raise FetchError(
                "listing must name files inside the folder by their SHA-1",
                where="fetch",
                got=f"{blob.path!r} ({blob.sha!r})",
                advice="Nothing was downloaded; do not trust this server.",
            )
    return blobs


def _is_safe(path: str) -> bool:
    """Tell whether a path from a server stays inside the folder, on every system."""
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts and not set(path) & set("\\:\0")


def _fetch_blob(address: str, target: Path, blob: _Blob) -> None:
    """Download one file unless present; continue a partial file if the server allows, else start again."""
    if _is_blob(target, blob):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    if part.exists() and 0 < part.stat().st_size < blob.size:
        try:
            _download(address, part, start=part.stat().st_size)
        except requests.HTTPError as error:
            if error.response is None or error.response.status_code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
            # The partial file does not match the server's: start again below.
    if not _is_blob(part, blob):
        # Also if the server ignored the range and sent the whole file again.
        part.unlink(missing_ok=True)
        _download(address, part, start=0)
    if not _is_blob(part, blob):
        part.unlink()
        raise FetchError(
            f"{blob.path} must have the git hash {blob.sha}",
            where="fetch",
            got="different content, which was removed",
            advice="Run the same command again; if this recurs, a proxy is altering the download.",
        )
    part.replace(target)


def _download(address: str, part: Path, *, start: int) -> None:
    """Append the server's content from byte `start` on to `part`."""
    # Without "identity", a compressed answer would count its bytes differently from the file.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    transfer = HTTPDownloader(chunk_size=1 << 16, timeout=_TIMEOUT_SECONDS, headers=headers)
    with part.open("ab") as file:
        transfer(address, file, None)


def _is_blob(path: Path, blob: _Blob) -> bool:
    """Compare a file with its git hash: the SHA-1 of ``blob <size>``, a zero byte, and the content."""
    if not path.is_file() or path.stat().st_size != blob.size:
        return False
    return hashlib.sha1(b"blob %d\0" % blob.size + path.read_bytes()).hexdigest() == blob.sha


def _fetch_cnmc(out: Path) -> None:
    """Download Kaggle's copy of C-NMC through Kaggle's own client, which unpacks it and checks it."""
    try:
        kagglehub: Any = importlib.import_module("kagglehub")
    except ModuleNotFoundError as error:
        raise FetchError(
            "c-nmc must be fetched with kagglehub",
            where="fetch",
            got="an installation without it",
            advice="In the clone, run: pip install -e '.[kaggle]'",
        ) from error
    if out.exists() and not (out.is_dir() and (not any(out.iterdir()) or (out / ".complete").exists())):
        raise FetchError(
            "output folder for c-nmc must be new or empty",
            where="fetch",
            got=out,
            advice="Choose another name or empty it.",
        )
    try:
        kagglehub.dataset_download(CNMC_HANDLE, output_dir=os.fspath(out))
    except Exception as error:
        # kagglehub has its own exceptions for each kind of failure, all with a one-sentence message.
        reason = " ".join(str(error).split())[:200]
        raise FetchError(
            f"Kaggle must deliver {CNMC_HANDLE}",
            where="fetch",
            got=f"'{reason}'",
            advice="Check the connection and the Kaggle login.",
        ) from error


def _refuse_all_idb() -> None:
    """Explain how to request ALL-IDB."""
    raise FetchError(
        "all-idb must be requested in person",
        where="fetch",
        got="a download request",
        advice="Fill in and sign the agreement at https://scotti.di.unimi.it/all/, send it by e-mail as described"
        " there, and unpack the files you receive as ALL_IDB1/ and ALL_IDB2/.",
    )


def _network_error(error: requests.RequestException) -> FetchError:
    """Explain in one line why a download failed."""
    address = error.request.url if error.request is not None else "the server"
    if error.response is not None:
        status = error.response.status_code
        advice = "Try again in an hour; GitHub limits requests." if status in {403, 429} else "Try again later."
        return FetchError(f"{address} must answer", where="fetch", got=f"status {status}", advice=advice)
    return FetchError(
        f"{address} must be reachable",
        where="fetch",
        got=type(error).__name__,
        advice="Check the network connection, then run the same command again: it continues where it stopped.",
    )
