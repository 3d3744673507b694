"""Downloads against a server on this machine."""

import hashlib
import json
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from leukospike.datasets import fetch
from leukospike.datasets.fetch import BCCD_COMMIT, BCCD_REPOSITORY
from leukospike.errors import FetchError

FILES = {
    "BCCD/JPEGImages/BloodImage_00000.jpg": bytes(range(256)) * 900,
    "BCCD/Annotations/BloodImage_00000.xml": b"<annotation/>",
    "BCCD/ImageSets/Main/empty.txt": b"",
    "LICENSE": b"MIT",
    "README.md": b"not wanted",
}
IMAGE = "BCCD/JPEGImages/BloodImage_00000.jpg"


def _sha(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Server:
    """What the server holds, how it behaves, and what it was asked."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    listed: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    listing: bytes | None = None
    truncated: bool = False
    ranges: str = "yes"
    status: int = 200
    break_after: int | None = None
    requests: list[tuple[str, str | None]] = field(default_factory=list)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        prefix = f"/{BCCD_REPOSITORY}/{BCCD_COMMIT}/"
        if handler.path.startswith("/repos/"):
            assert handler.path == f"/repos/{BCCD_REPOSITORY}/git/trees/{BCCD_COMMIT}?recursive=1"
            self._send(handler, self.status, self._tree())
            return
        path, wanted = handler.path.removeprefix(prefix), handler.headers.get("Range")
        self.requests.append((path, wanted))
        content = self.files.get(path)
        if content is None:
            self._send(handler, 404, b"")
        elif wanted and self.ranges == "yes":
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            self._send(handler, 206, content[start:])
        elif wanted and self.ranges == "refused":
            self._send(handler, 416, b"")
        else:
            self._send(handler, 200, content)

    def _tree(self) -> bytes:
        if self.listing is not None:
            return self.listing
        tree = [{"path": p, "type": "blob", "sha": _sha(c), "size": len(c)} for p, c in self.listed.items()]
        tree.append({"path": "BCCD", "type": "tree", "sha": "0" * 40})
        return json.dumps({"tree": tree, "truncated": self.truncated}).encode()

    def _send(self, handler: BaseHTTPRequestHandler, status: int, content: bytes) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[: self.break_after])


@pytest.fixture
def server() -> Iterator[Server]:
    behaviour = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            behaviour.answer(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        behaviour.url = f"http://127.0.0.1:{listening.server_port}"
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield behaviour
        listening.shutdown()
        thread.join()


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


WANTED = {path: content for path, content in FILES.items() if path != "README.md"}


def test_downloads_all_files_of_the_set_and_tells_how_far_it_is(server: Server, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    out = fetch("bccd", tmp_path / "bccd", base_url=server.url, progress=lambda *step: told.append(step))
    assert out == tmp_path / "bccd"
    assert _contents(out) == WANTED
    assert told == [("download bccd", done, 4) for done in (1, 2, 3, 4)]


def test_files_that_are_there_are_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    fetch("bccd", tmp_path, base_url=server.url)
    (tmp_path / "LICENSE").write_bytes(b"TIM")
    server.requests.clear()
    fetch("bccd", tmp_path, base_url=server.url)
    assert server.requests == [("LICENSE", None)]
    assert _contents(tmp_path) == WANTED


@pytest.mark.parametrize(
    ("ranges", "asked"),
    [
        ("yes", [(IMAGE, "bytes=1000-")]),
        ("ignored", [(IMAGE, "bytes=1000-"), (IMAGE, None)]),
        ("refused", [(IMAGE, "bytes=1000-"), (IMAGE, None)]),
    ],
)
def test_a_begun_file_is_continued_where_the_server_can(
    server: Server, tmp_path: Path, ranges: str, asked: list[tuple[str, str | None]]
) -> None:
    server.ranges = ranges
    part = tmp_path / f"{IMAGE}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(FILES[IMAGE][:1000])
    fetch("bccd", tmp_path, base_url=server.url)
    assert _contents(tmp_path) == WANTED
    assert [request for request in server.requests if request[0] == IMAGE] == asked


def test_a_wrong_begun_file_is_begun_again(server: Server, tmp_path: Path) -> None:
    part = tmp_path / f"{IMAGE}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"wrong")
    fetch("bccd", tmp_path, base_url=server.url)
    assert _contents(tmp_path) == WANTED


def test_a_broken_connection_leaves_a_part_that_is_continued(server: Server, tmp_path: Path) -> None:
    server.break_after = 100_000
    server.listed = {IMAGE: FILES[IMAGE]}
    with pytest.raises(FetchError, match=r"must be reachable, got \w+\. .* it continues where it stopped") as caught:
        fetch("bccd", tmp_path, base_url=server.url)
    assert "\n" not in str(caught.value)
    assert list(_contents(tmp_path)) == [f"{IMAGE}.part"]
    server.break_after = None
    fetch("bccd", tmp_path, base_url=server.url)
    assert _contents(tmp_path) == {IMAGE: FILES[IMAGE]}
    assert server.requests[-1][1] is not None


def test_corrupted_content_is_removed_and_named(server: Server, tmp_path: Path) -> None:
    server.files[IMAGE] = b"x" * len(FILES[IMAGE])
    with pytest.raises(FetchError, match=rf"{IMAGE} must have the git hash {_sha(FILES[IMAGE])}"):
        fetch("bccd", tmp_path, base_url=server.url)
    assert not [path for path in _contents(tmp_path) if path.startswith(IMAGE)]


def test_a_missing_file_is_named(server: Server, tmp_path: Path) -> None:
    del server.files[IMAGE]
    with pytest.raises(FetchError, match=rf"{IMAGE} must answer, got status 404"):
        fetch("bccd", tmp_path, base_url=server.url)


@pytest.mark.parametrize("path", ["BCCD/../../evil", "/etc/evil", "..", "BCCD\\..\\evil", "C:evil", "../evil"])
def test_a_path_out_of_the_folder_is_refused_before_any_download(server: Server, tmp_path: Path, path: str) -> None:
    server.listed[path] = b"evil"
    server.files[path] = b"evil"
    with pytest.raises(FetchError, match="files inside the folder"):
        fetch("bccd", tmp_path / "out", base_url=server.url)
    assert server.requests == []
    assert _contents(tmp_path) == {}


def test_a_truncated_listing_is_refused(server: Server, tmp_path: Path) -> None:
    server.truncated = True
    with pytest.raises(FetchError, match="must be complete, got a truncated one"):
        fetch("bccd", tmp_path, base_url=server.url)


@pytest.mark.parametrize("listing", [b"<html>log in</html>", b"[]", b'{"tree": [{}], "truncated": false}', b"\xff"])
def test_an_answer_that_is_no_listing_is_refused(server: Server, tmp_path: Path, listing: bytes) -> None:
    server.listing = listing
    with pytest.raises(FetchError, match="must answer with a git tree"):
        fetch("bccd", tmp_path, base_url=server.url)


def test_a_listing_without_the_set_is_refused(server: Server, tmp_path: Path) -> None:
    server.listed = {"README.md": b""}
    with pytest.raises(FetchError, match="must name files in BCCD/, got none"):
        fetch("bccd", tmp_path, base_url=server.url)


def test_too_many_requests_are_explained(server: Server, tmp_path: Path) -> None:
    server.status = 403
    with pytest.raises(FetchError, match=r"got status 403\. Try again in an hour"):
        fetch("bccd", tmp_path, base_url=server.url)


def test_no_network_is_one_line(tmp_path: Path) -> None:
    # Port 9 (discard) is closed on every machine that runs tests.
    with pytest.raises(FetchError, match=r"must be reachable, got ConnectionError\. Check the network") as caught:
        fetch("bccd", tmp_path, base_url="http://127.0.0.1:9")
    assert "\n" not in str(caught.value)


def test_a_file_in_place_of_the_folder_is_explained(server: Server, tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(FetchError, match="out must be writable, got"):
        fetch("bccd", tmp_path / "out", base_url=server.url)


def test_all_idb_says_how_to_ask(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"requested in person.*scotti\.di\.unimi\.it/all"):
        fetch("all-idb", tmp_path)


def test_an_unknown_name_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"must be one of bccd, c-nmc, all-idb, got 'mnist'.*no leukemia labels"):
        fetch("mnist", tmp_path)


def test_cnmc_without_kagglehub_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(FetchError, match=r"pip install -e '.\[kaggle\]'"):
        fetch("c-nmc", tmp_path)


def test_cnmc_goes_into_the_folder_through_kagglehub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    client = SimpleNamespace(dataset_download=lambda handle, *, output_dir: asked.append((handle, output_dir)))
    monkeypatch.setitem(sys.modules, "kagglehub", client)
    assert fetch("c-nmc", tmp_path / "cells") == tmp_path / "cells"
    assert asked == [("andrewmvd/leukemia-classification", str(tmp_path / "cells"))]


def test_cnmc_never_writes_over_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", SimpleNamespace())
    (tmp_path / "mine.txt").touch()
    with pytest.raises(FetchError, match="must be new or empty"):
        fetch("c-nmc", tmp_path)


def test_what_kaggle_says_reaches_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: str, *, output_dir: str) -> None:
        msg = f"403 Client Error\nfor {handle} in {Path(output_dir).name}"
        raise ValueError(msg)

    monkeypatch.setitem(sys.modules, "kagglehub", SimpleNamespace(dataset_download=refuse))
    with pytest.raises(FetchError, match="got '403 Client Error for andrewmvd/leukemia-classification in cells'"):
        fetch("c-nmc", tmp_path / "cells")
