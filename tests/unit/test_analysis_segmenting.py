"""Many images side by side give what they give one by one, in their order, in bounded memory."""

import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from leukospike.analysis import keeping, segmenting
from leukospike.analysis.engine import Engine, InOrder, Threads
from leukospike.analysis.segmenting import Segmented, segment_images
from leukospike.datasets import Record, collect_images
from leukospike.errors import ConfigError
from leukospike.images import Picture, pixel_digest, write_png
from leukospike.segmentation import CELL_COLUMNS, Segmentation
from leukospike.segmentation.class_maps import Reading, read_classes
from leukospike.segmentation.facts import IMAGE_COLUMNS
from leukospike.segmentation.light import Light
from leukospike.segmentation.methods import SegmentationMethod
from leukospike.segmentation.network import default_segmenter
from leukospike.segmentation.result import segment_pixels
from leukospike.segmentation.scale import PixelSize
from leukospike.smears import CellKind, DrawnField, draw_cell, draw_field, subject_style

THREADS = 3


@pytest.fixture(autouse=True)
def several_threads() -> Iterator[None]:
    """Let torch have more than the one thread of the other tests."""
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


def _shipped(pixels: np.ndarray, light: Light, size: PixelSize | None) -> Reading:
    return read_classes(default_segmenter(), pixels, light, size)


def _nothing(pixels: np.ndarray, *_: object) -> Reading:
    return Reading(np.zeros(pixels.shape[:2], np.uint8))


def _field() -> DrawnField:
    rng = np.random.default_rng(1)
    return draw_field([CellKind.LYMPHOBLAST, CellKind.NEUTROPHIL, CellKind.LYMPHOCYTE], subject_style(rng), rng)


def _classes(field: DrawnField) -> np.ndarray:
    return np.where(field.mask == 255, 2, field.mask > 0).astype(np.uint8)


def _record(name: str, folder: Path = Path()) -> Record:
    return Record(path=folder / name, image=name, label=None, subject=None)


@pytest.fixture(scope="module")
def pictures() -> list[tuple[Record, Picture]]:
    """Draw cells of several sizes, so that no two take the same time."""
    rng = np.random.default_rng(0)
    style = subject_style(rng)
    result: list[tuple[Record, Picture]] = []
    for number in range(14):
        size_px = (300, 120, 450, 200)[number % 4]
        pixels = draw_cell(CellKind.LYMPHOBLAST, style, rng, size_px=size_px).pixels
        result.append((_record(f"{number}.png"), Picture(pixels=pixels, format="PNG", bit_depth=8, generated=True)))
    return result


def segmented(pictures, segmenter, engine: Engine | None = None):
    """Segment pictures through an engine, as the stages do."""

    def work(item: tuple[Record, Picture]) -> Segmentation:
        return segment_pixels(item[0].image, item[1].pixels, segmenter)

    for (record, picture), segmentation in (engine or Threads()).map(work, pictures, alone=keeping.is_large):
        yield record, picture, segmentation


def segment_files(records: list[Record], out: Path, segmenter, **options) -> Segmented:
    """Segment files with a segmenter that has no weights."""
    return segment_images(records, out, SegmentationMethod("test", segmenter, "0"), **options)


def _assert_same(one: Segmentation, other: Segmentation) -> None:
    np.testing.assert_array_equal(one.mask, other.mask)
    np.testing.assert_array_equal(one.instances.labels, other.instances.labels)
    pd.testing.assert_frame_equal(one.cells, other.cells, check_exact=True)
    assert (one.instances.boxes, one.quality, one.pixel_size) == (
        other.instances.boxes,
        other.quality,
        other.pixel_size,
    )


def test_side_by_side_is_one_by_one(pictures):
    together = list(segmented(pictures, _shipped))
    assert [record for record, *_ in together] == [record for record, _ in pictures]
    assert sum(len(segmentation.cells) for *_, segmentation in together) >= len(pictures) / 2
    for (record, picture, segmentation), given in zip(together, pictures, strict=True):
        assert (record, picture) == given
        [(_, _, alone)] = segmented([given], _shipped, InOrder())
        _assert_same(segmentation, alone)


def test_order_is_kept_where_the_first_takes_longest(pictures):
    ended: list[int] = []

    def slow_first(pixels: np.ndarray, *_: object) -> Reading:
        number = next(n for n, (_, picture) in enumerate(pictures) if picture.pixels is pixels)
        time.sleep(0.2 if number == 0 else 0)
        ended.append(number)
        return _nothing(pixels)

    names = [record.image for record, *_ in segmented(pictures, slow_first)]
    assert names == [record.image for record, _ in pictures]
    assert ended[0] != 0


def test_few_images_are_held_at_a_time(pictures):
    taken = 0

    def counted() -> Iterator[tuple[Record, Picture]]:
        nonlocal taken
        for picture in pictures * 3:
            taken += 1
            yield picture

    ahead = [taken - done for done, _ in enumerate(segmented(counted(), _nothing))]
    assert 2 < max(ahead) <= 8


def test_large_images_go_alone_and_with_all_threads(pictures, monkeypatch):
    monkeypatch.setattr(keeping, "_LARGE_VALUES", 3 * 300 * 300)
    seen: dict[int, tuple[bool, int]] = {}
    running, most = 0, 0
    lock = threading.Lock()

    def noted(pixels: np.ndarray, *_: object) -> Reading:
        nonlocal running, most
        large = pixels.shape[0] > 300
        with lock:
            running += 1
            most = max(most, running if large else 0)
        seen[id(pixels)] = (threading.current_thread() is threading.main_thread(), torch.get_num_threads())
        time.sleep(0.01)
        with lock:
            running -= 1
        return _nothing(pixels)

    list(segmented(pictures, noted))
    for _, picture in pictures:
        large = picture.pixels.shape[0] > 300
        assert seen[id(picture.pixels)] == ((True, THREADS) if large else (False, 1))
    assert most == 1


def test_a_lone_image_has_all_threads(pictures):
    seen: list[int] = []

    def noted(pixels: np.ndarray, *_: object) -> Reading:
        seen.append(torch.get_num_threads())
        return _nothing(pixels)

    list(segmented(pictures[:1], noted))
    assert seen == [THREADS]


def test_threads_of_the_caller_are_left_as_they_were(pictures):
    list(segmented(pictures[:4], _shipped))
    assert torch.get_num_threads() == THREADS
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == THREADS


def test_nothing_to_segment():
    assert list(segmented([], _shipped)) == []


def test_an_error_is_raised_in_its_place(pictures):
    def refused(pixels: np.ndarray, *_: object) -> Reading:
        if pixels is pictures[3][1].pixels:
            msg = "read_classes: refused."
            raise ConfigError(msg)
        return _nothing(pixels)

    results = segmented(pictures, refused)
    assert [next(results)[0].image for _ in range(3)] == ["0.png", "1.png", "2.png"]
    with pytest.raises(ConfigError, match="refused"):
        next(results)
    assert torch.get_num_threads() == THREADS


def _table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / f"{name}.csv", dtype=str, keep_default_na=False).set_index("image")


def test_red_cells_and_their_interval_are_empty_where_none_were_counted(tmp_path):
    field = _field()
    write_png(tmp_path / "in" / "seen.png", field.pixels)
    write_png(tmp_path / "in" / "stated.png", field.pixels, um_per_px=0.125)
    write_png(tmp_path / "in" / "blank.png", np.full((99, 99, 3), 200, np.uint8))
    records = [_record(f"{name}.png", tmp_path / "in") for name in ("seen", "stated", "blank")]

    given: list[float | None] = []

    def known(pixels: np.ndarray, _light: Light, size: PixelSize | None) -> Reading:
        blank = pixels.shape[0] < 100
        given.append(None if size is None else size.um_per_px)
        red_cells = np.zeros(0) if blank else np.array([57.0, 58.0, 59.0])
        return Reading(_classes(field)[: len(pixels), : pixels.shape[1]], red_cells=red_cells)

    segment_files(records, tmp_path / "out", known)
    assert sorted(given, key=str) == [0.125, None, None]
    table = _table(tmp_path / "out", "images")
    columns = ["um_per_px", "um_per_px_low", "um_per_px_high", "pixel_size_from", "red_cells"]
    seen = table.loc["seen.png", columns]
    assert float(seen["um_per_px"]) == pytest.approx(7.2 / 58, rel=1e-3)
    assert float(seen["um_per_px_low"]) < float(seen["um_per_px"]) < float(seen["um_per_px_high"])
    assert (seen["pixel_size_from"], seen["red_cells"]) == ("red cells", "3")
    assert table.loc["stated.png", columns].tolist() == ["0.125", "", "", "metadata", ""]
    assert table.loc["blank.png", columns].tolist() == ["", "", "", "", ""]


def test_images_of_one_frame_are_measured_by_one_pixel_size(tmp_path):
    field = _field()
    other = np.ascontiguousarray(field.pixels[:, ::-1])
    few = np.ascontiguousarray(field.pixels[::-1])
    small = np.ascontiguousarray(field.pixels[:-40])
    frames = {"a": field.pixels, "b": other, "few": few, "small": small}
    for name, pixels in frames.items():
        write_png(tmp_path / "in" / f"{name}.png", pixels)
    diameters = {"a": np.full(20, 58.0), "b": np.full(4, 64.0), "few": np.full(2, 58.0), "small": np.full(4, 64.0)}
    by_digest = {pixel_digest(pixels): name for name, pixels in frames.items()}
    masks = {"a": _classes(field), "b": _classes(field)[:, ::-1], "few": _classes(field)[::-1]}

    def known(pixels: np.ndarray, *_: object) -> Reading:
        name = by_digest[pixel_digest(pixels)]
        classes = np.ascontiguousarray(masks.get(name, _classes(field)[:-40]))
        return Reading(classes, red_cells=diameters[name])

    done = segment_files([_record(f"{name}.png", tmp_path / "in") for name in frames], tmp_path / "out", known)
    images = done.images.set_index("image")
    agreed = round(7.2 / 58, 5)
    assert images.loc[["a.png", "b.png", "few.png"], "um_per_px"].tolist() == [agreed] * 3
    assert images.loc["small.png", "um_per_px"] == round(7.2 / 64, 5)
    together = ["a.png", "b.png", "few.png"]
    assert images.loc["small.png", "pixel_size_from"] == "red cells"
    assert images.loc[together, "pixel_size_from"].tolist() == ["red cells of all images"] * 3
    assert images.loc[together, "red_cells"].tolist() == [24] * 3
    assert (images.loc[together, "um_per_px_low"] <= round(7.2 / 64, 5)).all()
    assert (images.loc[together, "um_per_px_high"] >= agreed).all()
    for image, um_per_px in (("b.png", 7.2 / 58), ("few.png", 7.2 / 58), ("small.png", 7.2 / 64)):
        cells = done.cells[done.cells["image"] == image]
        assert len(cells) >= 2
        np.testing.assert_allclose(cells["area_um2"], cells["area_px"] * um_per_px**2, atol=0.006)
        np.testing.assert_allclose(cells["diameter_um"], 2 * np.sqrt(cells["area_um2"] / np.pi), atol=0.006)


def test_what_is_said_of_an_image_is_in_its_row_and_its_cells_stay(tmp_path):
    field = _field()
    rng = np.random.default_rng(0)
    light = np.linspace(1, 0.6, 640)[None, :, None] * np.array([0.9, 0.8, 0.7])
    write_png(tmp_path / "in" / "uneven.png", (field.pixels * light).astype(np.uint8))
    write_png(tmp_path / "in" / "dark.png", (field.pixels * 0.15).astype(np.uint8))
    write_png(tmp_path / "in" / "blank.png", (200 + rng.normal(0, 1, field.pixels.shape)).astype(np.uint8))
    records = [_record(f"{name}.png", tmp_path / "in") for name in ("uneven", "dark", "blank")]

    def known(*_: object) -> Reading:
        return Reading(_classes(field))

    for name, strict in (("given", False), ("strict", True)):
        (tmp_path / name).mkdir()
        done = segment_files(records, tmp_path / name, known, strict=strict)
        assert done.failures == ()
        assert done.images["cells"].tolist() == ([3, 0, 0] if strict else [3, 3, 0])
        assert done.without_cells == ({"blank": 1, "underexposed": 1} if strict else {"blank": 1})
    table = _table(tmp_path / "given", "images")
    assert table["flags"].tolist()[::2] == ["", "blank"]
    assert "underexposed" in table.loc["dark.png", "flags"].split()
    assert re.search(r"underexposed \(light [\d.]+, at least 60\)", table.loc["dark.png", "advice"])
    uneven = table.loc["uneven.png"]
    assert float(uneven["unevenness"]) == pytest.approx(1 / 0.6, rel=0.1)
    assert float(table.loc["dark.png", "unevenness"]) < 1.3
    assert float(uneven["light_red"]) > float(uneven["light_green"]) > float(uneven["light_blue"])
    assert (uneven["lit"], uneven["scale"], uneven["scale_from"], uneven["rejected"]) == ("1.0", "1.0", "own", "0")


def test_images_without_cells_are_counted_by_what_is_said_of_them():
    flags = ["blank", "", "not_a_smear out_of_focus", "blank", "blank"]
    images = pd.DataFrame({"cells": [0, 0, 0, 0, 2], "flags": flags})
    counted = Segmented(images, pd.DataFrame(), ()).without_cells
    assert list(counted.items()) == [("blank", 2), ("not_a_smear", 1), ("nothing_found", 1), ("out_of_focus", 1)]
    assert Segmented(images[4:], pd.DataFrame(), ()).without_cells == {}


def test_labels_hold_the_numbers_of_the_table_and_part_cells_that_touch(tmp_path):
    field = _field()
    classes = _classes(field)
    rows, columns = np.indices(classes.shape)
    classes[:] = 0
    for centre in (100, 189):  # two discs that touch
        distance = np.hypot(rows - 100, columns - centre)
        classes[distance <= 45] = 1
        classes[distance <= 30] = 2
    stained = np.array([[0, 0, 0], [190, 150, 210], [90, 50, 130]])[classes]
    stained = np.clip(stained + np.random.default_rng(0).normal(0, 12, stained.shape), 0, 255).astype(np.uint8)
    write_png(tmp_path / "in" / "a.png", np.where(classes[..., None] > 0, stained, field.pixels))
    segmented = segment_files([_record("a.png", tmp_path / "in")], tmp_path / "out", lambda *_: Reading(classes))
    with Image.open(tmp_path / "out" / "a_labels.png") as image:
        assert image.mode == "I;16"
        labels = np.asarray(image)
    assert labels.shape == classes.shape
    assert np.bincount(labels.ravel())[1:].tolist() == segmented.cells["area_px"].tolist()
    assert len(segmented.cells) == 2
    for cell in segmented.cells.to_dict("records"):
        assert labels[round(cell["row"]), round(cell["column"])] == cell["cell"]
    with Image.open(tmp_path / "out" / "a_mask.png") as image:
        np.testing.assert_array_equal(np.asarray(image) > 0, labels > 0)


@pytest.mark.parametrize(("table", "columns"), [("cells", CELL_COLUMNS), ("images", IMAGE_COLUMNS)])
def test_each_column_is_explained_in_the_docs(table: str, columns: tuple[str, ...]):
    docs = (Path(__file__).parents[2] / "docs" / "reference" / "segment.md").read_text(encoding="utf-8")
    rows = docs.split(f"## {table}.csv", 1)[1].split("|---|---|---|\n", 1)[1].split("\n\n", 1)[0]
    explained: list[str] = []
    for row in rows.splitlines():
        names = re.findall(r"`(\w+)`", row.split("|")[1])
        explained += [f"{names[0].rsplit('_', 1)[0]}{name}" if name.startswith("_") else name for name in names]
    assert sorted(explained) == sorted(columns)


def test_more_cells_than_labels_can_number_are_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(segmenting, "_MOST_CELLS", 2)
    field = _field()
    write_png(tmp_path / "in" / "three.png", field.pixels)
    write_png(tmp_path / "in" / "none.png", field.pixels[:, ::-1].copy())
    maps = {pixel_digest(field.pixels): _classes(field)}
    segmented = segment_files(
        [_record(name, tmp_path / "in") for name in ("three.png", "none.png")],
        tmp_path / "out",
        lambda pixels, *_: Reading(maps[pixel_digest(pixels)]) if pixel_digest(pixels) in maps else _nothing(pixels),
    )
    [failure] = segmented.failures
    assert failure.image == "three.png"
    assert "must have at most 2 cells, got 3" in failure.reason
    assert segmented.images["image"].tolist() == ["none.png"]
    assert not list((tmp_path / "out").glob("three*"))
    assert len(segmented.cells) == 0


def test_files_with_a_damaged_one_in_the_middle(pictures, tmp_path):
    for number, (record, picture) in enumerate(pictures):
        write_png(tmp_path / record.image, picture.pixels)
        if number == 6:
            (tmp_path / record.image).write_bytes((tmp_path / record.image).read_bytes()[:500])
    records = [_record(record.image, tmp_path) for record, _ in pictures]
    out = tmp_path / "together"
    out.mkdir()
    together = segment_files(records, out, _shipped)
    assert [failure.image for failure in together.failures] == ["6.png"]
    whole = [record for number, record in enumerate(records) if number != 6]
    assert together.images["image"].tolist() == [record.image for record in whole]

    cells: list[pd.DataFrame] = []
    for record in whole:
        single = tmp_path / f"alone-{record.path.stem}"
        single.mkdir()
        cells.append(segment_files([record], single, _shipped).cells)
        for written in single.glob("*.png"):
            assert (out / written.name).read_bytes() == written.read_bytes()
    expected = pd.concat([table for table in cells if len(table)], ignore_index=True)
    pd.testing.assert_frame_equal(together.cells, expected, check_exact=True)


@pytest.mark.parametrize("folder", ["a_mask.png", "cells.csv"])
def test_folder_named_as_a_result_loses_no_other_image(tmp_path: Path, folder: str):
    images = [tmp_path / "in" / "a.png", tmp_path / "in" / folder / "b.png"]
    for path in images:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_png(path, np.full((40, 40, 3), 200, np.uint8))
    records = collect_images([tmp_path / "in"])
    done = segment_files(records, tmp_path / "out", _nothing)
    assert [failure.image for failure in done.failures] == [f"{folder}/b.png"]
    assert done.images["image"].tolist() == ["a.png"]
