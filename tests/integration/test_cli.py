"""Every command from end to end, as a person calls it."""

import csv
import itertools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leukospike import demo as demo_module
from leukospike.analysis.result import load_analysis
from leukospike.classification.classifier import default_classifier
from leukospike.classification.export import OUTPUTS, OnnxJudge
from leukospike.classification.kind_input import cell_pixels
from leukospike.classification.kinds import KINDS, NOT_WHITE
from leukospike.experiments import run as run_module
from leukospike.experiments.folder import read_config
from leukospike.experiments.systems import paper
from leukospike.images import write_png
from leukospike.notices import as_options
from leukospike.settings import RunConfig
from leukospike.smears import SmearConfig, generate_cohort

COMMANDS = (
    "demo",
    "data check",
    "data fetch",
    "smears",
    "segment",
    "analyze",
    "train",
    "reproduce",
    "compare",
    "audit",
    "model show",
    "model export",
)
FINISHED_RUN = {
    "checklist.csv",
    "components.csv",
    "config.toml",
    "figures",
    "history.csv",
    "images.json",
    "metrics.json",
    "predictions.csv",
    "report.html",
    "samples.npz",
    "weights",
}


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _draw_cell(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, columns = np.mgrid[:32, :40]
    away = np.hypot(rows - 15.5, columns - 19.5)
    colours = np.array([(228, 222, 224), (185, 160, 210), (95, 50, 140)])[(away < 12).astype(int) + (away < 8.5)]
    noise = np.random.default_rng(seed).normal(0, 3, colours.shape)
    write_png(path, np.clip(colours + noise, 0, 255).astype(np.uint8))
    return path


def _names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# --- help ---


def test_an_analysis_does_not_load_what_it_does_not_need():
    code = (
        "import sys, leukospike.cli.app, leukospike.analysis.analyze, leukospike.report;"
        "import leukospike.classification.explanation;"
        "print(*{'sklearn', 'scipy.stats', 'scipy.optimize', 'kornia', 'torchmetrics'} & set(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == ""


def test_help_in_a_process_of_its_own():
    ended = subprocess.run([sys.executable, "-m", "leukospike", "--help"], capture_output=True, text=True, check=True)
    assert "not a diagnosis" in ended.stdout
    assert all(command.split()[0] in ended.stdout for command in COMMANDS)
    assert ended.stderr == ""


SLOW_TO_LOAD = {"torch", "sklearn", "scipy", "pandas", "kornia", "torchmetrics", "matplotlib"}


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"], ["reproduce", "--help"], ["data", "check", "."]])
def test_what_needs_no_network_loads_none(arguments: list[str], tmp_path: Path):
    program = (
        "import sys; from leukospike.cli.call import run; run(sys.argv[1:]);"
        " print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    loaded = set(ended.stderr.splitlines()[-1].split())
    assert "typer" in loaded
    assert not loaded & SLOW_TO_LOAD


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_ends_with_an_example_that_its_options_allow(leukospike, command: str):
    ended = leukospike(*command.split(), "--help")
    assert ended.status == 0
    lines = [line.strip() for line in ended.out.splitlines()]
    example = lines[lines.index("Example:") + 2]
    assert example.startswith(f"leukospike {command}")
    assert all(option in ended.out for option in re.findall(r"--\S+", example))


@pytest.mark.parametrize("columns", [80, 100])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_fills_its_lines(leukospike, command: str, columns: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    before_boxes = leukospike(*command.split(), "--help").out.partition("╭")[0]
    text, _, examples = before_boxes.partition("Example:")
    for paragraph in re.split(r"\n\s*\n", text):
        lines = [line.strip() for line in paragraph.splitlines() if line.strip()]
        for line, following in itertools.pairwise(lines):
            assert len(line) + 1 + len(following.split()[0]) > columns - 2, line
    assert all(line.strip().startswith("leukospike") for line in examples.splitlines() if line.strip())


def test_version(leukospike):
    assert leukospike("--version") == (0, f"leukospike {metadata.version('leukospike')}\n", "")


def test_no_command_shows_the_help(leukospike):
    ended = leukospike()
    assert ended.status == 2
    assert "reproduce" in ended.out


# --- runs ---


def test_reproduce_leaves_a_whole_run(finished: Path, discs: Path):
    assert {path.name for path in finished.iterdir()} == FINISHED_RUN
    predictions = _rows(finished / "predictions.csv")
    assert list(predictions[0]) == ["image", "subject", "fold", "label", "probability"]
    assert sorted(row["image"] for row in predictions) == _names(discs)
    assert len(list((finished / "weights").iterdir())) == 2
    metrics = json.loads((finished / "metrics.json").read_text())
    assert (metrics["protocol"], metrics["data"]["images"], metrics["data"]["failed"]) == ("honest", 24, 0)


def test_finished_run_can_be_resumed_and_gets_its_report_again(leukospike, finished: Path, discs: Path, settings: Path):
    before = (finished / "predictions.csv").read_bytes()
    (finished / "report.html").unlink()
    arguments = ("reproduce", "c-nmc", "--data", discs, "--folds", 2, "--config", settings, "--out", finished)
    ended = leukospike(*arguments, "--resume")
    assert ended.status == 0
    few = r"leukospike: The figures are based on 3 normal and 3 leukemic subjects: .* nothing can be concluded\.\n"
    one_class = r"leukospike: In \d of \d folds the validation cells are of one class, .*\n"
    assert re.fullmatch(few + one_class, ended.error)
    line = r"honest protocol, 24 cells: accuracy 0\.\d+, ROC AUC 0\.\d+ \(interval unknown, because"
    assert re.search(line, ended.out)
    assert ended.out.endswith(f"Report: {finished / 'report.html'}\n")
    assert (finished / "report.html").is_file()
    assert (finished / "predictions.csv").read_bytes() == before

    ended = leukospike(*arguments, "--resume", "--seed", 1)
    assert ended.status == 2
    assert "got seed 1 instead of 0" in ended.reason


def test_interrupted_run_says_how_to_go_on_and_ends_the_same(
    leukospike, finished: Path, discs: Path, settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    arguments = ("reproduce", "c-nmc", "--data", discs, "--folds", 2, "--config", settings, "--out", tmp_path / "run")

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(paper, "network_probabilities", interrupt)
        ended = leukospike(*arguments)
    assert ended.status == 130
    assert ended.reason.endswith("Stopped. Nothing was lost; run the same command with --resume.")

    ended = leukospike("analyze", discs, "--model", tmp_path / "run", "--out", tmp_path / "analysis")
    assert ended.status == 2
    assert "model must be the folder of a finished run" in ended.reason
    assert not (tmp_path / "analysis").exists()

    assert leukospike(*arguments, "--resume").status == 0
    for name in ("predictions.csv", "history.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (finished / name).read_bytes()


@pytest.mark.parametrize("out", [("--out", "{}"), ("--out={}",)])
def test_a_run_that_is_cut_before_it_begins_is_not_to_be_resumed(
    leukospike, discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: tuple[str, ...]
):
    arguments = ("train", "--data", discs, *(part.format(tmp_path / "run") for part in out))

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    told = (("new_folder", "Run the same command again."), ("prepare", "run the same command with --resume."))
    for name, words in told:
        with monkeypatch.context() as patch:
            patch.setattr(run_module, name, interrupt)
            ended = leukospike(*arguments)
        assert (ended.status, ended.reason.endswith(words)) == (130, True)


def test_train_holds_out_a_share_and_its_weights_analyze(leukospike, discs: Path, tmp_path: Path, settings: Path):
    three = tmp_path / "three.toml"
    three.write_text(settings.read_text() + "n_folds = 3\n")
    run = tmp_path / "run"
    assert leukospike("train", "--data", discs, "--config", three, "--out", run).status == 0
    assert (read_config(run).hold_out, read_config(run).n_folds) == (True, 3)
    assert _names(run / "weights") == ["fold_0.safetensors"]
    assert 0 < len(_rows(run / "predictions.csv")) < 24
    weights = run / "weights" / "fold_0.safetensors"
    ended = leukospike("analyze", discs, "--model", weights, "--kind", "cell", "--out", tmp_path / "analysis")
    assert ended.status == 0
    assert len(_rows(tmp_path / "analysis" / "cells.csv")) == 24


def test_options_go_before_the_file_and_the_file_before_the_preset(
    leukospike, discs: Path, settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: list[RunConfig] = []

    def note(_dataset: object, config: RunConfig, *_: object, **__: object) -> None:
        asked.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "run_experiment", note)
    file = tmp_path / "settings.toml"
    file.write_text(settings.read_text() + 'seed = 5\nprotocol = "paper"\ndataset = "c-nmc"\n[data]\nname = "x"\n')
    leukospike("reproduce", "all-idb", "--data", discs, "--config", file, "--epochs", 3, "--out", tmp_path / "run")
    [config] = asked
    # The command says what is run, the file how.
    assert (config.dataset, config.protocol, config.hold_out) == ("all-idb", "paper", False)
    assert (config.epochs, config.seed, config.image_size, config.n_folds) == (3, 5, 24, 4)
    options = ("--config", file, "--protocol", "honest")
    leukospike("train", "--data", discs, *options, "--out", tmp_path / "run")
    leukospike("train", "--data", discs, "--out", tmp_path / "run")
    assert [config.protocol for config in asked[1:]] == ["honest", "honest"]


# --- analyze ---


def test_analyze_gives_tables_summary_and_report(leukospike, finished: Path, discs: Path, tmp_path: Path):
    out = tmp_path / "new" / "analysis"
    ended = leukospike("analyze", discs, "--model", finished, "--kind", "cell", "--out", out)
    assert (ended.status, ended.out) == (0, f"Report: {out / 'report.html'}\n")
    stage, *notices = ended.error.splitlines()
    assert stage == "analyze (24)"
    said = json.loads((out / "summary.json").read_text())["notices"]
    assert notices == [f"leukospike: {as_options(notice['text'])}" for notice in said]
    assert "not calibrated" in notices[0]
    tables = ["cells.csv", "images.csv", "recipe.json", "report.html", "subjects.csv"]
    assert _names(out) == [*tables, "summary.json", "thumbnails.npz"]
    assert {row["kind"] for row in _rows(out / "images.csv")} == {"cell"}
    cells = _rows(out / "cells.csv")
    assert list(cells[0])[:5] == ["image", "subject", "probability", "decision", "flags"]
    assert [row["image"] for row in cells] == _names(discs)
    for row in cells:
        assert row["subject"] == row["image"].split("/")[1]
        assert row["decision"] == ("leukemic" if float(row["probability"]) >= 0.5 else "normal")
    subjects = {row["subject"]: row for row in _rows(out / "subjects.csv")}
    assert subjects.keys() == {row["subject"] for row in cells}
    for subject, row in subjects.items():
        own = [float(cell["probability"]) for cell in cells if cell["subject"] == subject]
        assert float(row["mean_probability"]) == pytest.approx(np.mean(own), abs=1e-6)
        assert int(row["cells"]) == 4
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["images"], summary["scored"], summary["failed"]) == (24, 24, 0)
    assert summary["model"]["networks"] == 2
    report = (out / "report.html").read_text()
    assert "not a diagnosis" in report
    assert "hem-0" in report


def test_analyze_tells_cells_of_the_same_name_apart(leukospike, finished: Path, tmp_path: Path):
    for folder in ("one/cells", "two/cells"):
        _draw_cell(tmp_path / folder / "a.png")
    paths = (tmp_path / "one" / "cells", tmp_path / "two" / "cells")
    assert leukospike("analyze", *paths, "--model", finished, "--out", tmp_path / "out").status == 0
    assert [row["image"] for row in _rows(tmp_path / "out" / "cells.csv")] == ["one/cells/a.png", "two/cells/a.png"]


def test_names_of_any_kind_come_through(leukospike, finished: Path, tmp_path: Path):
    names = [
        "-x.png",
        "<b>ü 漢.png",
        "=cmd().png",
        "UPPER.PNG",
        "[red]x[b].png",
        ":smile:.png",
        'a,"b".png',
        "new\nline.png",
        "x" * 251 + ".png",
    ]
    for name in names:
        _draw_cell(tmp_path / "cells" / name)
    ended = leukospike("analyze", tmp_path / "cells", "--model", finished, "--out", tmp_path / "[/out]")
    assert (ended.status, ended.out) == (0, f"Report: {tmp_path / '[/out]' / 'report.html'}\n")
    # What a spreadsheet would compute has an apostrophe before it, which our own readers take off.
    written = [f"'{name}" if name[0] in "-=" else name for name in names]
    assert sorted(row["image"] for row in _rows(tmp_path / "[/out]" / "cells.csv")) == sorted(written)
    assert sorted(load_analysis(tmp_path / "[/out]").cells["image"]) == sorted(names)
    assert "<b>ü" not in (tmp_path / "[/out]" / "report.html").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text on this system")
def test_name_that_is_no_text_is_spelled(leukospike, finished: Path, tmp_path: Path):
    _draw_cell(tmp_path / "cells" / "lat\udcfcn.png")
    assert leukospike("analyze", tmp_path / "cells", "--model", finished, "--out", tmp_path / "out").status == 0
    assert [row["image"] for row in _rows(tmp_path / "out" / "cells.csv")] == ["lat\\udcfcn.png"]


# --- segment ---


def test_segment_writes_both_maps_of_each_image(leukospike, tmp_path: Path):
    _draw_cell(tmp_path / "cells" / "P1" / "a.png")
    Image.open(_draw_cell(tmp_path / "cells" / "b.png")).save(tmp_path / "cells" / "b.jpg")
    ended = leukospike("segment", tmp_path / "cells", "--method", "first-wave", "--out", tmp_path / "out")
    assert (ended.status, ended.out) == (0, f"3 images: {tmp_path / 'out'}\n")
    stems = ["P1/a", "b", "b.png"]
    pictures = [f"{stem}_{what}.png" for stem in stems for what in ("first_wave", "latency")]
    assert _names(tmp_path / "out") == sorted([*pictures, "recipe.json"])
    wave = np.asarray(Image.open(tmp_path / "out" / "P1" / "a_first_wave.png"))
    assert wave.shape == (32, 40)
    assert set(np.unique(wave)) == {0, 255}


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw the fields of two subjects."""
    return generate_cohort(SmearConfig(n_subjects=2, cells_per_subject=1), tmp_path_factory.mktemp("cohort") / "smears")


def test_segment_finds_the_cells_of_fields(leukospike, cohort: Path, tmp_path: Path):
    out = tmp_path / "out"
    ended = leukospike("segment", cohort / "fields" / "images", "--out", out)
    assert ended.status == 0
    fields = sorted(path.stem for path in (cohort / "fields" / "images").iterdir())
    expected = [f"{field}_{what}.png" for field in fields for what in ("labels", "mask", "overlay")]
    assert _names(out) == sorted(["cells.csv", "images.csv", "recipe.json", *expected])
    drawn = [row for row in _rows(cohort / "fields" / "boxes.csv") if row["label"] == "WBC"]
    assert ended.out == f"4 images, {len(_rows(out / 'cells.csv'))} cells: {out}\n"
    for field in fields:
        mask = np.asarray(Image.open(out / f"{field}_mask.png"))
        truth = np.asarray(Image.open(cohort / "fields" / "masks" / f"{field}.png"))
        assert set(np.unique(mask)) <= {0, 128, 255}
        both = np.count_nonzero((mask > 0) & (truth > 0))
        assert 2 * both / (np.count_nonzero(mask) + np.count_nonzero(truth)) > 0.8
    assert abs(len(_rows(out / "cells.csv")) - len(drawn)) <= 2
    assert {(row["pixel_size_from"], row["um_per_px"]) for row in _rows(out / "images.csv")} == {("metadata", "0.125")}


def _spoiled(cohort: Path, folder: Path) -> Path:
    """Give a field as it is, the same in the dark, and a blank slide."""
    [field, *_] = sorted((cohort / "fields" / "images").iterdir())
    folder.mkdir()
    for name, factor in (("good", 1.0), ("dark", 0.15)):
        write_png(folder / f"{name}.png", (np.asarray(Image.open(field)) * factor).astype(np.uint8))
    noise = np.random.default_rng(0).normal(0, 2, (480, 640, 3))
    write_png(folder / "slide.png", (225 + noise).astype(np.uint8))
    return folder


def test_segment_gives_cells_despite_advice_and_says_where_there_are_none(leukospike, cohort: Path, tmp_path: Path):
    ended = leukospike("segment", _spoiled(cohort, tmp_path / "in"), "--out", tmp_path / "out")
    assert ended.status == 0
    assert ended.error.splitlines()[-2:] == [
        "leukospike: No cells were found in 1 of 3 images (blank 1, no_scale 1).",
        "leukospike: 1 image with cells has flags: see the columns flags and advice in images.csv, and check the"
        " overlays.",
    ]
    images = {row["image"]: row for row in _rows(tmp_path / "out" / "images.csv")}
    assert int(images["good.png"]["cells"]) > 0
    assert int(images["dark.png"]["cells"]) > 0
    assert "underexposed" in images["dark.png"]["flags"].split()
    assert (images["slide.png"]["cells"], images["slide.png"]["flags"].split()[0]) == ("0", "blank")


def test_strict_gives_no_cells_of_an_image_that_may_be_bad(leukospike, cohort: Path, tmp_path: Path):
    folder = _spoiled(cohort, tmp_path / "in")
    ended = leukospike("segment", folder, "--strict", "--out", tmp_path / "out")
    assert ended.status == 0
    assert "No cells were found in 2 of 3 images (blank 1, no_scale 1, underexposed 1)." in ended.reason
    assert [row["image"] for row in _rows(tmp_path / "out" / "images.csv") if row["cells"] != "0"] == ["good.png"]
    assert {row["image"] for row in _rows(tmp_path / "out" / "cells.csv")} == {"good.png"}


def test_only_unreadable_files_end_segment_with_an_error(leukospike, cohort: Path, tmp_path: Path):
    folder = _spoiled(cohort, tmp_path / "in")
    (folder / "broken.png").write_bytes(b"no image")
    ended = leukospike("segment", folder, "--strict", "--out", tmp_path / "out")
    assert ended.status == 1
    *_, without, named, reason = ended.error.splitlines()
    assert named.startswith("leukospike: broken.png: content must be BMP, PNG, JPEG, TIFF or WebP, got ")
    assert without.startswith("leukospike: No cells were found in 2 of 3 images (blank 1")
    assert "1 of 4 files could not be read" in reason
    assert [row["image"] for row in _rows(tmp_path / "out" / "failures.csv")] == ["broken.png"]


def test_segment_says_nothing_of_images_without_cells_where_there_are_none(leukospike, cohort: Path, tmp_path: Path):
    [field, *_] = sorted((cohort / "fields" / "images").iterdir())
    ended = leukospike("segment", field, "--out", tmp_path / "out")
    assert ended.status == 0
    assert "No cells" not in ended.error


def test_strict_analysis_leaves_out_what_may_be_bad(leukospike, cohort: Path, finished: Path, tmp_path: Path):
    folder = _spoiled(cohort, tmp_path / "in")
    for options, scored in (((), {"good.png", "dark.png"}), (("--strict",), {"good.png"})):
        out = tmp_path / f"out{len(options)}"
        assert leukospike("analyze", folder, "--model", finished, "--kind", "field", *options, "--out", out).status == 0
        assert {row["image"] for row in _rows(out / "cells.csv")} == scored


def test_analyze_takes_fields_and_cells_together(leukospike, cohort: Path, finished: Path, tmp_path: Path):
    shutil.copytree(cohort / "fields" / "images", tmp_path / "in" / "P1")
    (tmp_path / "in" / "P2").mkdir()
    cell = next((cohort / "cells").rglob("*.png"))
    write_png(tmp_path / "in" / "P2" / "a.png", np.asarray(Image.open(cell)))
    out = tmp_path / "out"
    ended = leukospike("analyze", tmp_path / "in", "--model", finished, "--out", out, "--pixel-size", "0.125")
    assert (ended.status, ended.out) == (0, f"Report: {out / 'report.html'}\n")
    images = _rows(out / "images.csv")
    assert [row["kind"] for row in images] == ["field"] * 4 + ["cell"]
    assert {row["pixel_size_from"] for row in images} == {"given"}
    cells = _rows(out / "cells.csv")
    assert [row["image"] for row in cells].count("P2/a.png") == 1
    for row in images[:4]:
        assert len([cell for cell in cells if cell["image"] == row["image"]]) == int(row["cells"]) > 0
        assert (out / row["overlay"]).is_file()
    report = (out / "report.html").read_text()
    assert "Whole fields" in report
    assert report.count("data:image/jpeg") == 4


def test_analyze_scores_listed_centroids(leukospike, cohort: Path, finished: Path, tmp_path: Path):
    root = tmp_path / "ALL_IDB1"
    (root / "im").mkdir(parents=True)
    (root / "xyc").mkdir()
    boxes = _rows(cohort / "fields" / "boxes.csv")
    for number, field in enumerate(sorted((cohort / "fields" / "images").iterdir()), start=1):
        name = f"Im{number:03}_{int(field.stem.startswith('GL'))}"
        Image.open(field).save(root / "im" / f"{name}.jpg", quality=95)
        own = [row for row in boxes if row["image"] == field.stem and row["label"] == "WBC"]
        sums = [(int(row["xmin"]) + int(row["xmax"]), int(row["ymin"]) + int(row["ymax"])) for row in own]
        lines = [f"{column // 2}\t{row // 2}" for column, row in sums]
        # A healthy person's list holds one blank line.
        (root / "xyc" / f"{name}.xyc").write_text("\n".join(lines if name.endswith("1") else ["", ""]))
    out = tmp_path / "out"
    assert leukospike("analyze", root, "--model", finished, "--out", out).status == 0
    detection = json.loads((out / "summary.json").read_text())["detection"]
    n_listed = len([row for row in boxes if row["image"].startswith("GL") and row["label"] == "WBC"])
    assert (detection["fields"], detection["fields_with_empty_list"], detection["listed"]) == (2, 2, n_listed)
    assert detection["recall"] == detection["matched"] / n_listed >= 0.5
    assert detection["precision"] == detection["matched"] / detection["found"]
    assert f"recall {detection['recall']:.3f}" in (out / "report.html").read_text()


def test_segment_stays_in_its_folder_wherever_a_manifest_leads(leukospike, tmp_path: Path):
    _draw_cell(tmp_path / "images" / "a.png")
    absolute = _draw_cell(tmp_path / "far" / "b.png")
    (tmp_path / "tables").mkdir()
    manifest = tmp_path / "tables" / "my.csv"
    manifest.write_text(f"path,label\n../images/a.png,1\n{absolute},0\n")
    before = set(_names(tmp_path))
    assert leukospike("segment", manifest, "--out", tmp_path / "tables" / "out").status == 0
    written = set(_names(tmp_path)) - before
    assert len(written) == 9
    assert all(name.startswith("tables/out/") for name in written)


# --- data, smears, demo ---


def test_data_check_prints_what_it_found(leukospike, discs: Path, draw_discs: Callable[..., Path], tmp_path: Path):
    ended = leukospike("data", "check", discs)
    assert ended.status == 0
    for found in (r"layout +│ folder", r"hem +│ 12 +│ 3", r"hem-0 +│ 4 +│ 0", r"40 x 40 +│ 24"):
        assert re.search(found, ended.out)

    data = draw_discs(tmp_path / "data", subjects=(1, 1), cells=2)
    shutil.copy(data / "hem" / "hem-0" / "0.png", data / "all" / "all-0" / "[b]2.png")
    (data / "all" / "all-0" / "0.png").write_bytes(b"")
    ended = leukospike("data", "check", data)
    assert ended.status == 1
    assert "1 of 5 files could not be read. See the table above." in ended.reason
    for found in (r"all/all-0/0\.png +│ file must not be empty", r"all/all-0/\[b\]2\.png, hem/hem-0/0\.png"):
        assert re.search(found, ended.out)


def test_a_pipe_gets_tables_unfolded(leukospike, draw_discs: Callable[..., Path], tmp_path: Path):
    data = draw_discs(tmp_path / "data", subjects=(1, 1), cells=1)
    name = f"{'long-' * 20}.png"
    (data / "all" / "all-0" / name).write_bytes(b"")
    assert f"all/all-0/{name}" in leukospike("data", "check", data).out


def test_smears_draws_a_cohort_that_data_check_knows(leukospike, tmp_path: Path):
    ended = leukospike("smears", "--subjects", 2, "--seed", 3, "--out", tmp_path / "cohort")
    assert (ended.status, ended.out) == (0, f"Cohort: {tmp_path / 'cohort'}\n")
    ended = leukospike("data", "check", tmp_path / "cohort")
    assert ended.status == 0
    assert re.search(r"generated, not a patient +│ 80", ended.out)


def test_demo_ends_with_the_path_of_its_report(leukospike, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    small = {"n_subjects": 8, "cells_per_subject": 2, "fields_per_subject": 1}
    monkeypatch.setattr(demo_module, "COHORT", small)
    monkeypatch.setattr(demo_module, "SETTINGS", demo_module.SETTINGS | {"image_size": 24, "epochs": 1})
    ended = leukospike("demo", "--out", tmp_path / "demo")
    report, run = (tmp_path / "demo" / folder / "report.html" for folder in ("patients", "run"))
    assert ended.status == 0
    assert ended.out.splitlines()[-1] == f"Report: {report}"
    assert "drawn by a program" in report.read_text()
    assert "drawn by a program" in run.read_text()
    assert "It abstains on all 8 patients." in report.read_text()  # with so few cells
    assert json.loads((run.parent / "metrics.json").read_text())["generated"] is True
    assert 'href="../run/report.html"' in report.read_text()
    assert 'href="../patients/report.html"' in run.read_text()
    patients = json.loads((report.parent / "summary.json").read_text())
    assert (patients["generated"], patients["kinds"]["field"]) == (True, 8)
    assert len(list((tmp_path / "demo" / "masks").glob("*_mask.png"))) == 8
    assert {row["subject"] for row in _rows(report.parent / "subjects.csv")} == {
        f"G{'HL'[number % 2]}{number:02}" for number in range(1, 9)
    }


def test_analyze_reads_subjects_out_of_cnmc_names(leukospike, finished: Path, tmp_path: Path):
    for number, name in enumerate(("UID_7_1_1_all", "UID_7_1_2_all", "UID_H4_1_1_hem")):
        _draw_cell(tmp_path / "flat" / f"{name}.png", seed=number)
    assert leukospike("analyze", tmp_path / "flat", "--model", finished, "--out", tmp_path / "out").status == 0
    assert [row["subject"] for row in _rows(tmp_path / "out" / "cells.csv")] == ["7", "7", "H4"]
    assert [(row["subject"], row["cells"]) for row in _rows(tmp_path / "out" / "subjects.csv")] == [
        ("7", "2"),
        ("H4", "1"),
    ]


def test_segment_by_spike_times_alone(leukospike, tmp_path: Path):
    _draw_cell(tmp_path / "cells" / "a.png")
    ended = leukospike("segment", tmp_path / "cells", "--method", "stdp", "--out", tmp_path / "out")
    assert ended.status == 0
    pictures = ["a_labels.png", "a_mask.png", "a_overlay.png"]
    assert _names(tmp_path / "out") == [*pictures, "cells.csv", "images.csv", "recipe.json"]
    mask = np.asarray(Image.open(tmp_path / "out" / "a_mask.png"))
    assert mask.shape == np.asarray(Image.open(tmp_path / "cells" / "a.png")).shape[:2]
    assert set(np.unique(mask)) <= {0, 128, 255}


# --- compare ---


def test_two_runs_are_compared(leukospike, finished: Path, tmp_path: Path):
    other = tmp_path / "other"
    shutil.copytree(finished, other)
    rows = _rows(other / "predictions.csv")
    with (other / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(row | {"probability": str(1 - float(row["probability"]))} for row in rows[1:])
    ended = leukospike("compare", finished, other, "--out", tmp_path / "out")
    assert ended.status == 0
    assert "1 only by A, 0 only by B" in ended.error
    assert "DeLong" in ended.out
    assert ended.out.endswith(f"Report: {tmp_path / 'out' / 'report.html'}\n")
    assert _names(tmp_path / "out") == ["comparison.json", "disagreements.csv", "report.html"]
    assert len(_rows(tmp_path / "out" / "disagreements.csv")) == len(rows) - 1


def test_comparison_that_fails_leaves_nothing(leukospike, finished: Path, discs: Path, tmp_path: Path):
    ended = leukospike("compare", finished, discs, "--out", tmp_path / "out")
    assert ended.status == 2
    assert ended.reason.startswith("leukospike: folder must hold metrics.json, got ")
    assert not (tmp_path / "out").exists()
    ended = leukospike("compare", finished, finished, "--out", finished / "out")
    assert ended.status == 2
    assert "--out must be outside" in ended.reason


KINDS_COUNTED = [kind.value for kind in KINDS if kind not in NOT_WHITE]


def test_analyze_needs_no_model(leukospike, cohort: Path, tmp_path: Path):
    ended = leukospike("analyze", cohort, "--prevalence", 0.1, "--out", tmp_path / "out")
    assert ended.status == 0
    cells, subjects = _rows(tmp_path / "out" / "cells.csv"), _rows(tmp_path / "out" / "subjects.csv")
    assert {"probability", "kind", "set", "distance", *(kind.column for kind in KINDS)} <= set(cells[0])
    assert {row["subject"] for row in subjects} == {row["subject"] for row in cells}
    decisions = {"leukemic", "normal", "not enough", "unfamiliar"}
    for row in subjects:
        assert row["decision"] in decisions
        assert row["reason"].endswith(".")
        assert 0 <= float(row["posterior"]) <= 1 if int(row["counted"]) else row["posterior"] == ""
    counted = _rows(tmp_path / "out" / "differential.csv")
    for row in subjects:
        own = [one for one in counted if one["subject"] == row["subject"]]
        assert [one["kind"] for one in own if one["white"] == "True"] == KINDS_COUNTED
        assert sum(int(one["cells"]) for one in own if one["white"] == "True") == int(row["counted"])
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["prevalence"] == 0.1
    assert summary["model"]["card"]["weights_licence"] == "Apache-2.0"
    page = (tmp_path / "out" / "report.html").read_text()
    assert "C-NMC 2019" in page
    assert "Never a diagnosis" in page


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--prevalence", "2"), "--prevalence must be from 1e-06 to 0.999999, got 2"),
        (("--prevalence", "nan"), "--prevalence must be from 1e-06 to 0.999999, got nan"),
        (("--prevalence", "1e-10"), "--prevalence must be from 1e-06 to 0.999999, got 1e-10"),
        (("--prevalence", "0.1", "--model", "run"), "--prevalence must be used with the package's classifier"),
        (("--runtime", "onnx", "--model", "run"), "--runtime must be used with the package's classifier"),
    ],
)
def test_options_of_the_package_classifier_are_checked(leukospike, cohort: Path, tmp_path: Path, options, reason: str):
    ended = leukospike("analyze", cohort, *options, "--out", tmp_path / "out")
    assert ended.status == 2
    assert reason in ended.error
    assert not (tmp_path / "out").exists()


def test_both_runtimes_give_the_same_tables(leukospike, cohort: Path, tmp_path: Path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    for runtime in ("torch", "onnx"):
        assert leukospike("analyze", cohort, "--runtime", runtime, "--out", tmp_path / runtime).status == 0
    torch_rows, onnx_rows = (_rows(tmp_path / runtime / "cells.csv") for runtime in ("torch", "onnx"))
    assert len(torch_rows) > 0
    for one, other in zip(torch_rows, onnx_rows, strict=True):
        assert float(other["probability"]) == pytest.approx(float(one["probability"]), abs=1e-3)
        assert (one["image"], one["set"], one["decision"]) == (other["image"], other["set"], other["decision"])


def test_model_show_prints_the_card(leukospike):
    ended = leukospike("model", "show")
    assert ended.status == 0
    for part in ("CC BY 3.0", "nested, 5 folds by subject", "Never a diagnosis", "Digest: "):
        assert part in ended.out


def _framed(picture: np.ndarray, radius: int, colour: tuple[int, int, int], spread: float, seed: int) -> None:
    """Draw a cell of one colour and noise in the middle of a black picture."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:450, :450] - 225
    inside = np.hypot(rows, columns) < radius
    picture[inside] = np.clip(rng.normal(colour, spread, (inside.sum(), 3)), 6, 255)


def test_exported_model_gives_the_same_probabilities(leukospike, tmp_path: Path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    file = tmp_path / "classifier.onnx"
    assert leukospike("model", "export", "--onnx", file).status == 0
    assert leukospike("model", "export", "--onnx", file).status == 2
    pictures = np.zeros((6, 450, 450, 3), np.uint8)
    for number, radius in enumerate((60, 80, 100, 120, 140)):
        _framed(pictures[number], radius, (100, 50, 120) if number % 2 else (190, 150, 200), 20, number)
    _framed(pictures[5], 110, (80, 36, 84), 6, 5)  # as C-NMC's cells look
    diameters = np.array([8.0, np.nan, 12.0, np.nan, 16.0, np.nan], np.float32)
    session = runtime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    cells = np.stack([cell_pixels(picture) for picture in pictures])
    given = np.ones(6, bool)
    expected = default_classifier().judge(cells, given=given, diameter_um=diameters)
    as_any_other = default_classifier().judge(cells, given=~given, diameter_um=diameters)
    assert abs(expected.probability[5] - as_any_other.probability[5]) > 0.01  # by the second opinion
    for places in (slice(0, 1), slice(0, 6)):
        answers = session.run(None, {"pixels": pictures[places], "diameter_um": diameters[places]})
        found = dict(zip(OUTPUTS, answers, strict=True))
        np.testing.assert_allclose(found["probability"], expected.probability[places], atol=1e-3)
        np.testing.assert_allclose(found["kinds"], expected.kinds[places], atol=1e-3)
        np.testing.assert_allclose(found["distance"], expected.distance[places], rtol=1e-3)
        np.testing.assert_array_equal(found["set"], expected.sets[places])
    blank = np.stack([np.zeros((450, 450, 3), np.uint8), np.full((450, 450, 3), 255, np.uint8), pictures[0]])
    unknown = np.full(3, np.nan, np.float32)
    probability, kinds, sets, _, outlier = session.run(None, {"pixels": blank, "diameter_um": unknown})
    assert np.isnan(probability).tolist() == [True, True, False]
    assert np.isnan(kinds).all(axis=1).tolist() == [True, True, False]
    assert sets[:2].all()
    assert outlier[:2].all()
    judged = OnnxJudge(default_classifier()).judge(cells, given=given, diameter_um=diameters)
    np.testing.assert_allclose(judged.probability, expected.probability, atol=1e-3)
    np.testing.assert_allclose(judged.axes, expected.axes, atol=0.01)
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["kinds"]) == [kind.value for kind in KINDS]
    assert "C-NMC 2019" in told["leukospike"]


# --- other backbones ---


@pytest.fixture(scope="module")
def single_cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw four cells of each of ten subjects."""
    cohort = SmearConfig(n_subjects=10, cells_per_subject=4, fields_per_subject=0)
    return generate_cohort(cohort, tmp_path_factory.mktemp("single") / "cells")


def test_another_backbone_from_audit_to_analysis(leukospike, single_cells: Path, tmp_path: Path):
    audit, run = tmp_path / "audit", tmp_path / "run"
    assert leukospike("audit", single_cells, "--out", audit).status == 0
    options = ("--backbone", "appearance", "--epochs", 2, "--folds", 2)
    ended = leukospike(
        "reproduce", "c-nmc", "--data", single_cells, *options, "--groups", audit / "groups.csv", "--out", run
    )
    assert ended.status == 0
    assert ended.out.startswith("honest protocol, backbone appearance, ")
    assert 'backbone = "appearance"' in (run / "config.toml").read_text(encoding="utf-8")
    assert leukospike("analyze", single_cells, "--model", run, "--out", tmp_path / "analysis").status == 0
    rows = _rows(tmp_path / "analysis" / "cells.csv")
    assert all(0 <= float(row["probability"]) <= 1 for row in rows)
    assert "not calibrated" in (tmp_path / "analysis" / "report.html").read_text(encoding="utf-8")
    assert leukospike("compare", run, run, "--out", tmp_path / "comparison").status == 0


def test_settings_of_a_run_with_groups_are_refused_without_them(leukospike, single_cells: Path, tmp_path: Path):
    config = tmp_path / "config.toml"
    config.write_text('epochs = 2\n[groups]\ndigest = "ab"\nsubjects = 2\ninto = 1\n')
    ended = leukospike("train", "--data", single_cells, "--config", config, "--out", tmp_path / "run")
    assert ended.status == 2
    assert "--config must be used with the groups of its run, which join 2 subjects into 1" in ended.reason
    assert not (tmp_path / "run").exists()


def test_leaks_are_measured_with_another_backbone(leukospike, single_cells: Path, tmp_path: Path):
    options = ("--run", "--backbone", "appearance", "--epochs", 2, "--folds", 2)
    ended = leukospike("audit", single_cells, *options, "--out", tmp_path / "audit")
    assert ended.status == 0
    measured = json.loads((tmp_path / "audit" / "audit.json").read_text(encoding="utf-8"))["leaks"]
    assert [arm["protocol"] for arm in measured["protocols"]] == ["paper", "image", "honest"]
    assert measured["backbone"] == "appearance"
    assert measured["worth"][0]["leak"] == "altered copies of one picture on both sides"
    page = (tmp_path / "audit" / "report.html").read_text(encoding="utf-8")
    assert "backbone “appearance”" in page
    assert "PCA" not in page


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--backbone", "resnet18"), "backbone must be paper, appearance, convolutional, or timm: and a name"),
        (("--backbone", "timm:no_such_network"), "timm:no_such_network"),
        (("--pretrained",), "pretrained must be used with a backbone of timm:, got it with paper"),
        (("--groups", "none.csv"), "none.csv must be a readable CSV table"),
    ],
)
def test_impossible_backbones_are_refused(leukospike, single_cells: Path, tmp_path: Path, options, reason: str):
    commands = [("train", "--data"), ("reproduce", "c-nmc", "--data")]
    commands += [] if "--groups" in options else [("audit", "--run")]
    for command in commands:
        ended = leukospike(*command, single_cells, *options, "--out", tmp_path / "run")
        assert ended.status == 2
        assert reason in ended.reason
        assert not (tmp_path / "run").exists()
