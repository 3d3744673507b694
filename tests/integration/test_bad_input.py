"""What is wrong is said in one line, with what to do; what can go on goes on; nothing is left half-written."""

import csv
import errno
import io
import itertools
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import requests
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from leukospike import demo
from leukospike.errors import Cancelled, DataError, RunError
from leukospike.experiments import run as run_module
from leukospike.storage import files

# What is wrong, and what to do.
SENTENCES = re.compile(r"leukospike: .+\. \S.+|leukospike: (Please add|Out of memory:) .+\.")


def _refused(ended, reason: str) -> None:
    """Hold that a command ended with status 2 and one line."""
    assert ended.status == 2
    assert SENTENCES.fullmatch(ended.reason), ended.reason
    assert re.search(reason, ended.reason), ended.reason
    assert "Traceback" not in ended.error
    assert "Internal error" not in ended.error


def _encoded(form: str, side: int = 32) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=form)
    return buffer.getvalue()


def _png_of_size(side: int) -> bytes:
    """Build a PNG that says it is enormous."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def _tiff_of_size(side: int) -> bytes:
    """Build a TIFF that says it is enormous."""
    tags = [
        (256, 4, side),
        (257, 4, side),
        (258, 3, 8),
        (259, 3, 5),
        (262, 3, 1),
        (273, 4, 8),
        (278, 4, side),
        (279, 4, 9),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)


FAULTY = {
    "truncated.png": (_encoded("PNG")[:-900], "truncated or damaged"),
    "truncated.jpg": (_encoded("JPEG")[:-300], "truncated or damaged"),
    "truncated.tif": (_encoded("TIFF")[:-900], "truncated or damaged"),
    "truncated.webp": (_encoded("WEBP")[:-300], "truncated or damaged"),
    "empty.png": (b"", "must not be empty"),
    "text.png": (b"I am no picture", "got an unknown format"),
    "slide.svs": (_encoded("TIFF"), "got a whole-slide image from Aperio (.svs), which leukospike does not read"),
    "renamed.png": (_encoded("JPEG"), "got JPEG in a name ending in '.png'"),
    "unnamed": (_encoded("PNG"), "got PNG in a name without an extension"),
    "enormous.png": (_png_of_size(2**31 - 1), "at most 64,000,000 pixels, got 2147483647 x 2147483647"),
    "enormous.tif": (_tiff_of_size(60_000), "at most 64,000,000 pixels, got 60000 x 60000"),
    "tiny.png": (_encoded("PNG", side=1), "at least 16 x 16 pixels, got 1 x 1"),
    "junk.png": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "truncated or damaged"),
}


@pytest.fixture
def mixed(draw_discs: Callable[..., Path], tmp_path: Path) -> Path:
    """Give a data set in whose first subject lies a file of every fault, a link to nowhere, a pipe, and no images."""
    data = draw_discs(tmp_path / "mixed")
    folder = data / "hem" / "hem-0"
    for name, (content, _) in FAULTY.items():
        (folder / name).write_bytes(content)
    (folder / "notes.txt").write_text("pale stain")
    (folder / "@eaDir").mkdir()
    (folder / "@eaDir" / "thumbnail.jpg").write_bytes(_encoded("JPEG"))
    (folder / "gone.png").symlink_to("nowhere.png")
    os.mkfifo(folder / "pipe.png")
    return data


def _check_failures(table: Path) -> None:
    with table.open(newline="", encoding="utf-8") as file:
        rows = [tuple(row.values()) for row in csv.DictReader(file)]
    expected = {name: reason for name, (_, reason) in FAULTY.items()}
    expected |= {"gone.png": "No such file", "pipe.png": "got a pipe"}
    assert sorted(image for image, _ in rows) == sorted(f"hem/hem-0/{name}" for name in expected)
    for image, reason in rows:
        assert expected[Path(image).name] in reason
        assert re.fullmatch(r"[^\n]+ must [^\n]+, got [^\n]+\. [^\n]+", reason)


def _lines(table: Path) -> int:
    with table.open(newline="", encoding="utf-8") as file:
        return len(list(csv.DictReader(file)))


@pytest.mark.skipif(os.name != "posix", reason="pipes and links as POSIX has them")
def test_bad_files_are_named_and_the_rest_goes_on(
    leukospike, finished: Path, settings: Path, mixed: Path, tmp_path: Path
):
    reason = "leukospike: 15 of 39 files could not be read. See "
    out = tmp_path / "analysis"
    ended = leukospike("analyze", mixed, "--model", finished, "--kind", "cell", "--out", out)
    assert (ended.status, ended.reason) == (1, f"{reason}{out / 'failures.csv'}.")
    _check_failures(out / "failures.csv")
    assert _lines(out / "cells.csv") == 24
    assert "enormous.png" in (out / "report.html").read_text()
    assert json.loads((out / "summary.json").read_text())["failed"] == 15

    out = tmp_path / "waves"
    ended = leukospike("segment", mixed, "--method", "first-wave", "--out", out)
    assert (ended.status, ended.out) == (1, f"24 images: {out}\n")
    _check_failures(out / "failures.csv")
    assert len(list(out.rglob("*.png"))) == 48

    out = tmp_path / "masks"
    ended = leukospike("segment", mixed, "--out", out)
    assert (ended.status, ended.reason) == (1, f"{reason}{out / 'failures.csv'}.")
    assert re.fullmatch(rf"24 images, \d+ cells: {re.escape(str(out))}\n", ended.out)
    assert _lines(out / "images.csv") == 24
    _check_failures(out / "failures.csv")
    assert len(list(out.rglob("*.png"))) == 72

    out = tmp_path / "run"
    ended = leukospike("train", "--data", mixed, "--config", settings, "--out", out)
    assert (ended.status, ended.reason) == (1, f"{reason}{out / 'failures.csv'}.")
    _check_failures(out / "failures.csv")
    assert "enormous.png" in (out / "report.html").read_text()


def test_bad_files_alone_still_give_a_report(leukospike, finished: Path, tmp_path: Path):
    (tmp_path / "a.png").write_bytes(b"")
    ended = leukospike("analyze", tmp_path / "a.png", "--model", finished, "--out", tmp_path / "out")
    assert ended.status == 1
    assert "1 of 1 file could not be read" in ended.reason
    assert _lines(tmp_path / "out" / "cells.csv") == 0
    assert "must not be empty" in (tmp_path / "out" / "report.html").read_text()


def test_name_too_long_for_more_is_named(leukospike, tmp_path: Path):
    name = "x" * 251 + ".png"
    (tmp_path / "cells").mkdir()
    for image in (name, "short.png"):
        (tmp_path / "cells" / image).write_bytes(_encoded("PNG"))
    ended = leukospike("segment", tmp_path / "cells", "--out", tmp_path / "out")
    assert (ended.status, ended.out) == (1, f"1 image, 0 cells: {tmp_path / 'out'}\n")
    assert "must have at most 240 bytes and a suffix, got 251" in (tmp_path / "out" / "failures.csv").read_text()


# --- options ---


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["bogus"], "No such command 'bogus'"),
        (["--bogus"], "No such option: --bogus"),
        (["reproduce", "all", "--data", "DATA", "--out", "OUT"], "'all' is not one of 'c-nmc', 'all-idb'"),
        (["reproduce", "c-nmc", "--out", "OUT"], "Please add --data NAME, a folder or CSV manifest of the images"),
        (["reproduce", "c-nmc", "--data", "DATA", "--out", "OUT", "--protocol", "fair"], "'--protocol'.*'fair' is not"),
        (
            ["reproduce", "c-nmc", "--data", "DATA", "--out", "OUT", "--epochs", "ten"],
            "--epochs must be a whole number, got ",
        ),
        (["reproduce", "c-nmc", "--data", "DATA", "--out", "OUT", "--epochs", "0"], "epochs must be a whole.*, got 0"),
        (["reproduce", "c-nmc", "--data", "DATA", "--out", "OUT", "--seed", "-1"], "seed must be .*, got -1"),
        (
            ["reproduce", "c-nmc", "--data", "DATA", "--out", "OUT", "--seed", str(2**32)],
            "seed must .*, got 4294967296",
        ),
        (["reproduce", "c-nmc", "--data", "DATA", "--out", "OUT", "--folds", "1"], "--folds must be .*, got 1"),
        (["reproduce", "c-nmc", "--data", "DATA", "--out", "OUT", "--folds", "7"], r"subjects \(6\), got 7"),
        (["reproduce", "c-nmc", "--data", "DATA", "--out", "OUT", "--max-cells", "3"], "--max-cells must be .*, got 3"),
        (["reproduce", "c-nmc", "--data", "DATA", "--out", "OUT", "--config", "none.toml"], "No such file .*none.toml"),
        (["reproduce", "c-nmc", "--data", "nowhere", "--out", "OUT"], "existing folder or CSV manifest, got nowhere"),
        (
            ["reproduce", "c-nmc", "--data", "DATA", "--out", "OUT", "--resume"],
            "--resume must be used with a run folder",
        ),
        (
            ["segment", "DATA", "--out", "OUT", "--method", "otsu"],
            "'otsu' is not one of 'surrogate', 'stdp', 'first-wave'",
        ),
        (["segment", "nowhere", "--out", "OUT"], "PATHS must exist, got nowhere"),
        (["segment", "DATA", "DATA", "--out", "OUT"], "PATHS must not overlap, got 24 files twice"),
        (["segment", "--out", "OUT"], "Please add PATHS: images, folders of images"),
        (["segment", "DATA", "--out", "OUT", "--pixel-size", "0"], "pixel-size must be 0.02 to 2 micrometres.*got 0"),
        (["segment", "DATA", "--out", "OUT", "--pixel-size", "nan"], "pixel-size must be .*, got nan"),
        (
            ["segment", "DATA", "--out", "OUT", "--method", "first-wave", "--pixel-size", "0.1"],
            "--pixel-size must be used with a method that finds cells, got --method first-wave",
        ),
        (["analyze", "DATA"], "Please add --out NAME, a new folder for the results"),
        (
            ["analyze", "DATA", "--model", "m", "--out", "OUT", "--kind", "smear"],
            "'smear' is not one of 'auto', 'cell'",
        ),
        (["analyze", "-x.png", "--model", "m", "--out", "OUT"], "No such option: -x"),
        (["smears", "--subjects", "1", "--out", "OUT"], "--subjects must be at least 2, got 1"),
        (["smears", "--seed", "-1", "--out", "OUT"], "'--seed'"),
        (["demo", "--seed", str(2**32), "--out", "OUT"], "seed must .*, got 4294967296"),
        (["train", "--data", "", "--out", "OUT"], "The value of an argument is empty"),
        (["train", "--data=", "--out", "OUT"], "The value of --data is empty"),
        (["data", "fetch", "imagenet"], "name must be one of bccd, c-nmc, all-idb, got 'imagenet'"),
        (["data", "fetch", "all-idb", "--out", "OUT"], "must be requested in person"),
        (["data", "check", "nowhere"], "got nowhere"),
    ],
)
def test_wrong_option_is_one_line(leukospike, arguments: list[str], reason: str, discs: Path, tmp_path: Path):
    given = {"DATA": discs, "OUT": tmp_path / "out"}
    ended = leukospike(*(given.get(argument, argument) for argument in arguments))
    _refused(ended, reason)
    assert len(ended.error.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("epochs = true", "epochs must be a whole number .*, got True"),
        ("seed = false", "seed must be a whole number .*, got False"),
        ("learning_rate = nan", "learning_rate must be a number .*, got nan"),
        ("learning_rate = inf", "learning_rate must be a number .*, got inf"),
        ("image_size = 100000", "image_size must be a whole number from .* to 1024, got 100000"),
        ("epoch = 3", "name must be one of .*, got epoch"),
        ("[training]\nepochs = 3", "name must be one of .*, got training"),
        ("epochs = ", "must be a readable TOML file"),
        ("epochs = 1\nepochs = 2", "must be a readable TOML file"),
        ("\0", "must be a readable TOML file"),
    ],
)
def test_wrong_settings_are_one_line(leukospike, text: str, reason: str, discs: Path, tmp_path: Path):
    file = tmp_path / "settings.toml"
    file.write_text(text)
    ended = leukospike("train", "--data", discs, "--config", file, "--out", tmp_path / "run")
    _refused(ended, reason)
    assert len(ended.error.splitlines()) == 1
    assert list(tmp_path.iterdir()) == [file]


WRONG_KINDS = {
    'epochs = "3"': "epochs must be a whole number .*, got the text '3'. Write it without quotes",
    "batch_size = 1000000": "batch_size must be a whole number from 2 to 4096, got 1000000",
    "n_folds = 2.0": "--folds must be a whole number .*, got 2.0",
    'learning_rate = "fast"': "learning_rate must be a number .*, got the text 'fast'",
    "blur_window = [9]": r"blur_window must be one of 5, 7, 9, got \[9\]",
}


def test_settings_of_a_wrong_kind_are_one_line_each(discs: Path, tmp_path: Path):
    # In a process of its own, since here beartype would speak first.
    files = [tmp_path / f"{number}.toml" for number in range(len(WRONG_KINDS))]
    for file, text in zip(files, WRONG_KINDS, strict=True):
        file.write_text(text)
    command = (
        "import sys; from leukospike.cli.call import run; data, out, *files = sys.argv[1:];"
        " print([run(['train', '--data', data, '--config', file, '--out', out]) for file in files])"
    )
    arguments = [sys.executable, "-c", command, discs, tmp_path / "run", *files]
    ended = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert ended.stdout == "[2, 2, 2, 2, 2]\n"
    for line, reason in zip(ended.stderr.splitlines(), WRONG_KINDS.values(), strict=True):
        assert SENTENCES.fullmatch(line)
        assert re.search(reason, line)


# --- data ---


def _only(data: Path, *folders: str) -> None:
    for folder in data.glob("*/*"):
        if folder.relative_to(data).as_posix() not in folders:
            shutil.rmtree(folder)


def _manifest(*rows: str) -> Callable[[Path], None]:
    lines = ["path,label,subject", *rows]
    return lambda data: (data / "manifest.csv").write_text("\n".join(lines), encoding="utf-8") and None


def _fill(content: bytes, pattern: str) -> Callable[[Path], None]:
    def fill(data: Path) -> None:
        for path in data.glob(pattern):
            path.write_bytes(content)

    return fill


def _blank() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), "grey").save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda data: shutil.rmtree(data / "all"), "must include both classes, .* got only 'hem'"),
        (
            lambda data: (data / "all").rename(data / "cancer"),
            "must hold one normal and one leukemic class folder .* got cancer, hem",
        ),
        (shutil.rmtree, "must be an existing folder"),
        (lambda data: _only(data, "all/all-0", "hem/hem-0"), r"--folds must be at most .* subjects \(2\), got 5"),
        (_fill(b"", "all/*/*"), "images must include both classes, .* got only 'hem'"),
        (_fill(_encoded("PNG"), "*/*/*"), r"--folds must be at most .* independent subjects \(1\), got 5"),
        (_manifest("hem/hem-0/0.png,0,a", "all/all-0/0.png,,b"), "every image must have a label, got 1 of 2 without"),
        (_manifest("hem/hem-0/0.png,0,a", "all/all-0/0.png,1,"), "every image must have a subject, got 1 of 2 without"),
        (_manifest("hem/hem-0/0.png,0,a", "all/all-0/0.png,2,b"), "line 3: label must be .* got '2'"),
        (_manifest("hem/hem-0/0.png,0,a", "hem/hem-0/0.png,1,b"), "line 3: path must be unique"),
        (_manifest("gone.png,0,a", "lost.png,1,b"), "got none that exists there"),
        (lambda data: (data / "manifest.csv").write_text("path\nhem/hem-0/0.png\n"), "the columns path,label"),
        (lambda data: (data / "manifest.csv").write_bytes(b"path,label\n\xff,1\n"), "CSV table in UTF-8"),
    ],
)
def test_data_that_cannot_be_learned_from_are_one_line(
    leukospike,
    spoil: Callable[[Path], None],
    reason: str,
    draw_discs: Callable[..., Path],
    settings: Path,
    tmp_path: Path,
):
    data = draw_discs(tmp_path / "data")
    spoil(data)
    _refused(leukospike("train", "--data", data, "--config", settings, "--out", tmp_path / "run"), reason)
    assert not (tmp_path / "run").exists()


def test_blank_images_alone_are_nothing_to_learn_from(leukospike, settings: Path, discs: Path, tmp_path: Path):
    shutil.copytree(discs, tmp_path / "data")
    _fill(_blank(), "*/*/*")(tmp_path / "data")
    arguments = ("--data", tmp_path / "data", "--config", settings, "--out", tmp_path / "run", "--protocol", "paper")
    _refused(leukospike("train", *arguments), "at least one image must not be blank")
    assert not (tmp_path / "run").exists()


def test_bad_manifest_is_not_passed_over(leukospike, finished: Path, discs: Path, tmp_path: Path):
    shutil.copytree(discs, tmp_path / "data")
    (tmp_path / "data" / "manifest.csv").write_text("path\na.png\n")
    ended = leukospike("analyze", tmp_path / "data", "--model", finished, "--out", tmp_path / "out")
    _refused(ended, "manifest.csv must begin with the columns path,label")


# --- the output folder ---


PLACES = ("full", "file", "below a file")
READERS = ("segment", "analyze", "train", "reproduce")


@pytest.mark.parametrize(
    ("command", "place"),
    [*itertools.product(("smears", "demo", *READERS), PLACES), *((command, "among the images") for command in READERS)],
)
def test_output_folder_that_cannot_be_is_one_line(
    leukospike, command: str, place: str, finished: Path, discs: Path, tmp_path: Path
):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    out = {"below a file": tmp_path / "file" / "out", "among the images": discs / "out"}.get(place, tmp_path / place)
    arguments = {
        "smears": (),
        "demo": (),
        "segment": (discs,),
        "analyze": (discs, "--model", finished),
        "train": ("--data", discs),
        "reproduce": ("c-nmc", "--data", discs),
    }[command]
    ended = leukospike(command, *arguments, "--out", out)
    reasons = {"below a file": "Not a directory", "among the images": "--out must be outside"}
    _refused(ended, reasons.get(place, "output folder must be new or empty"))
    assert len(ended.error.splitlines()) == 1
    assert (tmp_path / "full" / "notes.txt").read_text() == (tmp_path / "file").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"full", "file"}
    assert not (discs / "out").exists()


@pytest.mark.parametrize("writes", [0, 2])
@pytest.mark.parametrize("command", ["smears", "segment", "analyze", "train"])
def test_full_disk_is_one_line_and_leaves_nothing_half_written(
    leukospike,
    command: str,
    writes: int,
    finished: Path,
    discs: Path,
    settings: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    arguments = {
        "smears": ("--subjects", 2),
        "segment": (discs,),
        "analyze": (discs, "--model", finished),
        "train": ("--data", discs, "--config", settings),
    }[command]
    left, make = [writes], files.new_part

    def make_unless_full(path: Path) -> Path:
        if left[0] == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left[0] -= 1
        return make(path)

    with monkeypatch.context() as patch:
        patch.setattr(files, "new_part", make_unless_full)
        ended = leukospike(command, *arguments, "--out", tmp_path / "out")
    _refused(ended, r"The disk is full \(No space left on device\)\. Free some space\. Then run the same command")
    out = tmp_path / "out"
    if command == "smears" or not out.exists():
        assert list(tmp_path.iterdir()) == []
        assert command == "smears" or writes < 2
        return
    # What is cut keeps what it needs to be carried on, and no file of a finished run.
    assert {path.name for path in out.iterdir()} <= {"config.toml", "recipe.json", "state", "weights"}
    if writes:
        assert ended.reason.endswith("Then run the same command with --resume.")
        assert leukospike(command, *arguments, "--out", tmp_path / "out", "--resume").status == 0


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="room is not asked for on this system")
def test_full_disk_is_noticed_before_maps_are_written(
    leukospike, discs: Path, settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    ended = leukospike("train", "--data", discs, "--config", settings, "--out", tmp_path / "out")
    _refused(ended, "The disk is full")


# --- models ---


def _rewrite(weights: Path, *, poison: bool = False, **header: object) -> None:
    tensors = load_file(weights)
    with safe_open(weights, framework="pt") as file:
        settings = json.loads(file.metadata()["leukospike"])
    if poison:
        tensors["network.head.2.weight"][0, 0] = torch.nan
    save_file(tensors, weights, metadata={"leukospike": json.dumps(settings | header)})


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda run: _rewrite(run / "weights/fold_1.safetensors", poison=True), "weights must be finite, got NaN"),
        (lambda run: _rewrite(run / "weights/fold_1.safetensors", image_size=48), "must hold a complete model"),
        (lambda run: (run / "weights/fold_0.safetensors").write_text("text"), "must be a readable safetensors file"),
        (lambda run: (run / "weights/fold_0.safetensors").write_bytes(b""), "must be a readable safetensors file"),
        (lambda run: (run / "metrics.json").unlink(), "must be the folder of a finished run"),
        (lambda run: shutil.rmtree(run / "weights"), "must be the folder of a finished run"),
        (shutil.rmtree, "--model must exist, got "),
    ],
)
def test_model_that_cannot_be_used_is_one_line(
    leukospike, spoil: Callable[[Path], None], reason: str, finished: Path, discs: Path, tmp_path: Path
):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    spoil(run)
    ended = leukospike("analyze", discs, "--model", run, "--out", tmp_path / "out")
    _refused(ended, reason)
    assert len(ended.error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


# --- the rest of the world ---


def test_no_network_is_one_line(leukospike, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def unreachable(*_: object, **__: object) -> None:
        raise requests.ConnectionError

    monkeypatch.setattr(requests, "get", unreachable)
    ended = leukospike("data", "fetch", "bccd", "--out", tmp_path / "out")
    _refused(ended, "must be reachable, got ConnectionError. Check the network connection")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "Out of memory: close other programs or pass fewer images"),
        (PermissionError(errno.EACCES, "Permission denied", "a.png"), "Permission denied: a.png"),
        (
            PermissionError(errno.EACCES, "Permission denied", "run/.part-a-abcdefgh.csv"),
            "Permission denied: run. Check",
        ),
        (
            OSError(errno.EFBIG, "File too large"),
            r"maximum size .* disk \(File too large\).*ulimit -f.*run the same command again\.",
        ),
        (FileExistsError(errno.EEXIST, "File exists", "cells"), "cells is a file, but must be a folder"),
        (
            DataError("line 3 must be so", where="read_dataset", got="else", advice="Do."),
            "^leukospike: line 3 must be so, got else. Do.$",
        ),
        (
            DataError("`max_cells` must be so", got=1, advice="See `data`."),
            "^leukospike: --max-cells must .* See --data",
        ),
        (DataError("`n_folds` must be so", got=1, advice="Do."), "^leukospike: --folds must be so"),
        (DataError("`blur_window` must be so", got=1, advice="Do."), "^leukospike: blur_window must be so"),
    ],
)
def test_what_the_system_refuses_is_one_line(
    leukospike, error: Exception, reason: str, discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(run_module, "run_experiment", fail)
    _refused(leukospike("train", "--data", discs, "--out", tmp_path / "run"), reason)


def test_our_own_mistake_is_one_line_and_a_traceback_on_request(
    leukospike, discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object, **__: object) -> None:
        msg = "first line\nsecond line"
        raise AssertionError(msg)

    monkeypatch.setattr(run_module, "run_experiment", fail)
    ended = leukospike("train", "--data", discs, "--out", tmp_path / "run")
    assert (ended.status, len(ended.error.splitlines())) == (2, 1)
    assert "Internal error (please report it): AssertionError: first line second line. Set" in ended.reason
    monkeypatch.setenv("LEUKOSPIKE_TRACEBACK", "1")
    with pytest.raises(AssertionError, match="first line"):
        leukospike("train", "--data", discs, "--out", tmp_path / "run")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Cancelled("job was cancelled"), RunError("no")])
def test_demo_is_whole_or_absent(leukospike, error, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(demo, "COHORT", {"n_subjects": 2, "cells_per_subject": 1, "fields_per_subject": 0})
    monkeypatch.setattr(demo, "run_experiment", fail)
    for _ in range(2):
        ended = leukospike("demo", "--out", tmp_path / "demo")
        assert ended.status == (2 if isinstance(error, RunError) else 130)
        assert "drawing cells" in ended.error
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["segment", "analyze"])
def test_interruption_leaves_nothing(
    leukospike, command: str, finished: Path, discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "new_part", interrupt)
    model = ("--model", finished) if command == "analyze" else ()
    ended = leukospike(command, discs, *model, "--out", tmp_path / "out")
    assert ended.status == 130
    assert ended.reason == "leukospike: Stopped. Run the same command again."
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["smears", "segment", "analyze"])
def test_killed_command_can_be_called_again(leukospike, finished: Path, tmp_path: Path, command: str):
    cells = tmp_path / "cells" / "P1"
    cells.mkdir(parents=True)
    for number in range(200):
        (cells / f"{number}.png").write_bytes(_encoded("PNG", side=40 + number))
    out = tmp_path / "out"
    arguments = {
        "smears": ("--subjects", "2"),
        "segment": (str(cells.parent),),
        "analyze": (str(cells.parent), "--model", str(finished)),
    }[command]
    begun = out / (".part" if command == "smears" else "state")
    call = [sys.executable, "-m", "leukospike", command, *arguments, "--out", str(out)]
    with subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not begun.is_dir():
            assert process.poll() is None
            time.sleep(0.002)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    resume = () if command == "smears" else ("--resume",)
    assert leukospike(command, *arguments, "--out", out, *resume).status == 0
    assert not list(out.rglob(".*"))
    assert not (out / "state").exists()


@pytest.mark.parametrize("command", ["train", "reproduce"])
def test_message_begins_with_the_command_that_was_called(leukospike, draw_discs, finished, tmp_path, command: str):
    one_class, nobodys = draw_discs(tmp_path / "one", subjects=(3, 0)), tmp_path / "nobodys"
    for label in ("all", "hem"):
        (nobodys / label).mkdir(parents=True)
        (nobodys / label / "a.png").touch()
    first = [command, "c-nmc"] if command == "reproduce" else [command]
    for data, *more in (
        [one_class],
        [nobodys],
        [one_class, "--protocol", "paper"],
    ):
        ended = leukospike(*first, "--data", data, "--out", tmp_path / "run", *more)
        _refused(ended, "^leukospike: .* must ")
    data = draw_discs(tmp_path / "both")
    _refused(
        leukospike(*first, "--data", data, "--folds", 2, "--out", tmp_path / "run", "--resume"),
        "^leukospike: --resume must be used with",
    )
    _refused(
        leukospike(*first, "--data", data, "--folds", 2, "--out", finished),
        "^leukospike: --out must be new",
    )
    _refused(
        leukospike(*first, "--data", data, "--folds", 3, "--out", finished, "--resume"),
        "^leukospike: --resume must be used with the settings",
    )
