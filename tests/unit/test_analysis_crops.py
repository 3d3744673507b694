"""Cells as pictures of their own: what they show, what their manifest says, and that it can be read again."""

import csv
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leukospike.analysis import store as store_module
from leukospike.analysis.analyze import analyze_images
from leukospike.analysis.engine import InOrder, Threads
from leukospike.analysis.judges import CropView, PackageJudge, SpikeView
from leukospike.analysis.manifest import MANIFEST_COLUMNS, SCORE_COLUMNS
from leukospike.analysis.reading import read_image as read_cells
from leukospike.analysis.segmenting import segment_images
from leukospike.classification.classifier import default_classifier
from leukospike.datasets import Record, collect_images, read_dataset
from leukospike.errors import Cancelled, RunError
from leukospike.images import Picture, read_image, write_png
from leukospike.images.framing import C_NMC_FRAMING, Framing, is_cut_out
from leukospike.jobs import Job
from leukospike.segmentation import segment_pixels
from leukospike.segmentation.class_maps import Reading
from leukospike.segmentation.crop import crop_cell
from leukospike.segmentation.methods import SegmentationMethod

N = 4
SPIKES = SpikeView(Framing(side_px=40, um_per_px=0.1, cell_share=0.5, on_black=False), 24, 9)


def _find_dark(pixels: np.ndarray, *_: object) -> Reading:
    """Stand in for a segmenter: what is darker than glass, and not black, is a nucleus."""
    brightest = pixels.max(axis=2)
    return Reading(np.where((brightest < 150) & (brightest > 20), 2, 0).astype(np.uint8))


METHOD = SegmentationMethod("dark", _find_dark, "0")


def _field(seed: int = 0, places: tuple[tuple[int, int], ...] = ((80, 70), (80, 170))) -> np.ndarray:
    """Draw cells on glass that is lit from the left."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:160, :240]
    pixels = rng.normal(225, 3, (160, 240, 3))
    for row, column in places:
        inside = np.hypot(rows - row, columns - column) < 25 + seed
        pixels[inside] = rng.normal((100, 50, 120), 8, (int(inside.sum()), 3))
    return np.clip(pixels * np.linspace(1, 0.8, 240)[None, :, None], 0, 255).astype(np.uint8)


def _on_black(seed: int = 0, side: int = 450) -> np.ndarray:
    """Draw a cell as those of C-NMC are."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    inside = np.hypot(rows - side / 2, columns - side / 2) < side / 4.5
    cell = np.clip(rng.normal((100, 50, 120), 8, (side, side, 3)), 1, 255)
    return np.where(inside[..., None], cell, 0).astype(np.uint8)


@pytest.fixture
def records(tmp_path: Path) -> tuple[Record, ...]:
    """Draw fields of two cells each, of two subjects."""
    for number in range(N):
        write_png(tmp_path / "in" / f"P{number % 2}" / f"{number}.png", _field(number), um_per_px=0.25, generated=True)
    return collect_images([tmp_path / "in"])


def _segment(records, out: Path, **options):
    return segment_images(records, out, METHOD, **{"crops": True} | options)


def _analyze(records, out: Path, **options):
    judge = PackageJudge(default_classifier())
    return analyze_images(records, judge, out, **{"crops": True, "method": METHOD} | options)


WORK = pytest.mark.parametrize("work", [_segment, _analyze])


def _rows(out: Path) -> list[dict[str, str]]:
    with (out / "crops" / "manifest.csv").open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def _files(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".npz"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@WORK
def test_each_cell_is_a_picture_as_classifiers_of_cut_out_cells_see_it(records, tmp_path: Path, work: Callable):
    cells = work(records, tmp_path / "out").cells
    rows = _rows(tmp_path / "out")
    assert len(rows) == len(cells) == 2 * N
    for row, cell in zip(rows, cells.to_dict("records"), strict=True):
        subject, stem = row["image"].removesuffix(".png").split("/")
        assert row["path"] == f"{subject}/{stem}-{row['cell']}.png"
        assert (row["image"], row["cell"], row["subject"]) == (cell["image"], str(cell["cell"]), subject)
        assert [int(row[name]) for name in ("top", "left", "height", "width")] == [
            cell[name] for name in ("top", "left", "height", "width")
        ]
        assert (row["label"], row["um_per_px"]) == ("", "0.25")
        field = read_image(tmp_path / "in" / row["image"])
        found = segment_pixels("", field.pixels, _find_dark)
        even = found.light.correct(field.pixels)
        assert (even != field.pixels).any()
        picture = read_image(tmp_path / "out" / "crops" / row["path"])
        expected = crop_cell(even, found.instances, int(row["cell"]), C_NMC_FRAMING)
        np.testing.assert_array_equal(picture.pixels, expected)
        assert is_cut_out(picture.pixels)
        # Cells that were scaled to one size would be taken for pictures of one pixel size.
        assert (picture.generated, picture.um_per_px) == (True, None)


def test_both_commands_cut_out_alike_and_an_analysis_adds_its_scores(records, tmp_path: Path):
    _segment(records, tmp_path / "a")
    analysis = _analyze(records, tmp_path / "b")
    pictures = [
        {name: content for name, content in _files(tmp_path / out / "crops").items() if name.endswith(".png")}
        for out in ("a", "b")
    ]
    assert pictures[0] == pictures[1]
    assert len(pictures[0]) == 2 * N
    assert tuple(_rows(tmp_path / "a")[0]) == MANIFEST_COLUMNS
    assert tuple(_rows(tmp_path / "b")[0]) == (*MANIFEST_COLUMNS, *SCORE_COLUMNS)
    for row, cell in zip(_rows(tmp_path / "b"), analysis.cells.to_dict("records"), strict=True):
        assert (float(row["probability"]), row["decision"]) == (cell["probability"], cell["decision"])


@WORK
def test_nothing_else_changes(records, tmp_path: Path, work: Callable):
    work(records, tmp_path / "with")
    work(records, tmp_path / "without", crops=False)
    with_crops, without = _files(tmp_path / "with"), _files(tmp_path / "without")
    assert "crops" not in json.loads(without["recipe.json"])["settings"]
    others = {name: content for name, content in with_crops.items() if not name.startswith("crops/")}
    assert others.keys() == without.keys()
    assert {name for name in others if others[name] != without[name]} == {"recipe.json"}


@WORK
def test_manifest_is_a_data_set_once_labels_are_filled_in(records, tmp_path: Path, work: Callable):
    work(records, tmp_path / "out", for_excel=True)
    manifest = tmp_path / "out" / "crops" / "manifest.csv"
    empty = read_dataset(manifest)
    assert [record.label for record in empty.records] == [None] * 2 * N
    assert {record.subject for record in empty.records} == {"P0", "P1"}
    assert empty.no_subject_reason is None
    rows = _rows(tmp_path / "out")
    for row, label in zip(rows, ("all", "hem", "", "all", "hem", "hem", "", "all"), strict=True):
        row["label"] = label
    with manifest.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    dataset = read_dataset(tmp_path / "out" / "crops")
    assert dataset.class_names == ("hem", "all")
    assert [record.label for record in dataset.records] == [1, 0, None, 1, 0, 0, None, 1]
    assert all(record.path.is_file() for record in dataset.records)
    assert len(dataset.labelled().records) == 6


@WORK
def test_picture_that_is_already_in_the_form_stays_as_it_is(tmp_path: Path, work: Callable):
    write_png(tmp_path / "in" / "a.png", _on_black(), um_per_px=0.1)
    record = Record(path=tmp_path / "in" / "a.png", image="a.png", label=1, subject="P1")
    work([record], tmp_path / "out")
    [row] = _rows(tmp_path / "out")
    assert (row["path"], row["label"], row["cell"]) == ("a-1.png", "1", "1")
    picture = read_image(tmp_path / "out" / "crops" / "a-1.png")
    np.testing.assert_array_equal(picture.pixels, _on_black())
    assert (picture.generated, picture.um_per_px) == (False, pytest.approx(0.1))


@WORK
def test_label_of_a_field_is_not_one_of_its_cells(tmp_path: Path, work: Callable):
    write_png(tmp_path / "in" / "field.png", _field())
    write_png(tmp_path / "in" / "single.png", _field(1, ((80, 120),))[:, 40:200])
    records = [
        Record(path=tmp_path / "in" / name, image=name, label=1, subject=None) for name in ("field.png", "single.png")
    ]
    work(records, tmp_path / "out")
    assert [(row["path"], row["label"], row["subject"]) for row in _rows(tmp_path / "out")] == [
        ("field-1.png", "", ""),
        ("field-2.png", "", ""),
        ("single-1.png", "1", ""),
    ]


def test_image_of_one_cell_in_which_none_is_found_has_a_picture_if_it_is_one(tmp_path: Path):
    write_png(tmp_path / "in" / "black.png", _on_black())
    write_png(tmp_path / "in" / "other.png", _field())
    records = [Record(path=path, image=path.name, label=None, subject=None) for path in (tmp_path / "in").iterdir()]
    nothing = SegmentationMethod("none", lambda pixels, *_: Reading(np.zeros(pixels.shape[:2], np.uint8)), "0")
    for name, method in (("found none", nothing), ("did not look", None)):
        _analyze(records, tmp_path / name, method=method)
        [row] = _rows(tmp_path / name)
        assert (row["path"], row["cell"], row["top"], row["um_per_px"]) == ("black-0.png", "", "", "")
        assert 0 <= float(row["probability"]) <= 1
        assert sorted(_files(tmp_path / name / "crops")) == ["black-0.png", "manifest.csv"]
    segment_images(records, tmp_path / "segmented", nothing, crops=True)
    assert _rows(tmp_path / "segmented") == []


@pytest.mark.parametrize("kind", ["field", "single", "on black"])
def test_crops_do_not_depend_on_what_the_judge_sees(kind: str):
    pixels = {"field": _field(), "single": _field(1, ((80, 120),))[:, 40:200], "on black": _on_black(1)}[kind]
    picture = Picture(np.ascontiguousarray(pixels), "PNG", 8, generated=False)
    one, other = (read_cells(picture, _find_dark, view, crops=True).crops for view in (CropView(), SPIKES))
    assert len(one) == (2 if kind == "field" else 1)
    assert one == other
    assert read_cells(picture, _find_dark, SPIKES).crops == ()


@WORK
@pytest.mark.parametrize("n", [1, 3])
def test_what_is_cancelled_goes_on_and_ends_alike(records, tmp_path: Path, work: Callable, n: int):
    job = Job(lambda _stage, done, _total: job.cancel() if done == n else None)
    work(records, tmp_path / "whole")
    with pytest.raises(Cancelled):
        work(records, tmp_path / "cut", engine=InOrder(), progress=job)
    assert not (tmp_path / "cut" / "crops").exists()
    work(records, tmp_path / "cut", resume=True, engine=Threads())
    assert _files(tmp_path / "cut") == _files(tmp_path / "whole")


@WORK
def test_what_is_killed_while_it_writes_goes_on_and_ends_alike(records, tmp_path: Path, monkeypatch, work: Callable):
    work(records, tmp_path / "whole")
    whole, n_written = store_module.written_whole, 0

    def cut(path: Path):
        nonlocal n_written
        n_written += path.parent.parent.name == "crops"
        if n_written == 3:
            path.with_name(".part-1-abcdef01.png").write_bytes(b"\x89PN")  # as a process leaves it that is killed
            raise KeyboardInterrupt
        return whole(path)

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "written_whole", cut)
        with pytest.raises(KeyboardInterrupt):
            work(records, tmp_path / "cut")
    assert len(list((tmp_path / "cut" / "crops").rglob("*.png"))) == 3
    assert not (tmp_path / "cut" / "crops" / "manifest.csv").exists()
    work(records, tmp_path / "cut", resume=True)
    assert _files(tmp_path / "cut") == _files(tmp_path / "whole")


@WORK
@pytest.mark.parametrize("first", [True, False])
def test_resuming_with_another_choice_is_refused(records, tmp_path: Path, work: Callable, first: bool):
    work(records, tmp_path / "out", crops=first)
    with pytest.raises(RunError, match=f"`crops` {not first} instead of {first}"):
        work(records, tmp_path / "out", crops=not first, resume=True)
    work(records, tmp_path / "out", crops=first, resume=True)


@WORK
@pytest.mark.parametrize("name", [" a ", "=a", "-1", "'b", 'x,"y', "é", "a\nb", "a-1"])
def test_picture_is_found_whatever_the_name_of_its_image(tmp_path: Path, work: Callable, name: str):
    if os.name != "posix" and name in {'x,"y', "a\nb"}:
        pytest.skip("no name of a file there")
    for folder in ("P1", " P2"):
        write_png(tmp_path / "in" / folder / f"{name}.png", _field())
        write_png(tmp_path / "in" / folder / "a.png", _field(1))
        Image.fromarray(_field(2)).save(tmp_path / "in" / folder / "a.bmp")
    work(collect_images([tmp_path / "in"]), tmp_path / "out")
    read = read_dataset(tmp_path / "out" / "crops").records
    assert len({record.path for record in read}) == len(_rows(tmp_path / "out")) == 12
    assert all(record.path.is_file() for record in read)
    assert {record.subject for record in read} == {"P1", "P2"}


def test_name_that_is_too_long_for_a_cell_is_a_failure(tmp_path: Path):
    write_png(tmp_path / "in" / "a.png", _on_black())
    long = Record(path=tmp_path / "in" / "a.png", image=f"{'b' * 251}.png", label=None, subject=None)
    records = [replace(long, image="a.png"), long]
    assert _analyze(records, tmp_path / "without", crops=False).failures == ()
    [failure] = _analyze(records, tmp_path / "with").failures
    assert failure.image == long.image
    assert "name must have at most 240 bytes and a suffix, got 251. Rename the file." in failure.reason
    assert [row["path"] for row in _rows(tmp_path / "with")] == ["a-1.png"]


def test_the_same_file_twice_has_its_cells_under_both_names(tmp_path: Path):
    for name in ("a.png", "b.png"):
        write_png(tmp_path / "in" / name, _field())
    _segment(collect_images([tmp_path / "in"]), tmp_path / "out")
    assert [row["path"] for row in _rows(tmp_path / "out")] == ["a-1.png", "a-2.png", "b-1.png", "b-2.png"]


def test_strict_leaves_out_the_cells_of_a_doubtful_image(tmp_path: Path):
    dark = (_field() * 0.2).astype(np.uint8)
    write_png(tmp_path / "in" / "dark.png", dark)
    [record] = collect_images([tmp_path / "in"])
    _segment([record], tmp_path / "out", strict=True)
    assert _rows(tmp_path / "out") == []
