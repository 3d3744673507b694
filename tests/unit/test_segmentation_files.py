"""Many images side by side give what they give one by one, in their order, in bounded memory."""

import re
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from leukospike.datasets import Record, collect_images
from leukospike.errors import ConfigError
from leukospike.images import Picture, pixel_digest, write_png
from leukospike.segmentation import CELL_COLUMNS, Segmentation
from leukospike.segmentation import files as files_module
from leukospike.segmentation.class_maps import class_maps
from leukospike.segmentation.files import IMAGE_COLUMNS, segment_files, segmented
from leukospike.segmentation.network import default_segmenter
from leukospike.smears import CellKind, DrawnField, draw_cell, draw_field, subject_style

THREADS = 3


@pytest.fixture(autouse=True)
def several_threads() -> Iterator[None]:
    """Let torch have more than the one thread of the other tests."""
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


def _shipped(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    return class_maps(default_segmenter(), images)


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
    together = list(segmented(pictures, _shipped, pixel_size=None))
    assert [record for record, *_ in together] == [record for record, _ in pictures]
    assert sum(len(segmentation.cells) for *_, segmentation in together) >= len(pictures) / 2
    for (record, picture, segmentation), given in zip(together, pictures, strict=True):
        assert (record, picture) == given
        [(_, _, alone)] = segmented([given], _shipped, pixel_size=None)
        _assert_same(segmentation, alone)


def test_order_is_kept_where_the_first_takes_longest(pictures):
    ended: list[int] = []

    def slow_first(images: Sequence[np.ndarray]) -> list[np.ndarray]:
        number = next(n for n, (_, picture) in enumerate(pictures) if picture.pixels is images[0])
        time.sleep(0.2 if number == 0 else 0)
        ended.append(number)
        return [np.zeros(image.shape[:2], np.uint8) for image in images]

    names = [record.image for record, *_ in segmented(pictures, slow_first, pixel_size=None)]
    assert names == [record.image for record, _ in pictures]
    assert ended[0] != 0


def test_few_images_are_held_at_a_time(pictures):
    taken = 0

    def counted() -> Iterator[tuple[Record, Picture]]:
        nonlocal taken
        for picture in pictures * 3:
            taken += 1
            yield picture

    ahead = [taken - done for done, _ in enumerate(segmented(counted(), _shipped, pixel_size=None))]
    assert 2 < max(ahead) <= 8


def test_large_images_go_alone_and_with_all_threads(pictures, monkeypatch):
    monkeypatch.setattr(files_module, "_LARGE_VALUES", 3 * 300 * 300)
    seen: dict[int, tuple[bool, int]] = {}
    running, most = 0, 0
    lock = threading.Lock()

    def noted(images: Sequence[np.ndarray]) -> list[np.ndarray]:
        nonlocal running, most
        large = images[0].shape[0] > 300
        with lock:
            running += 1
            most = max(most, running if large else 0)
        seen[id(images[0])] = (threading.current_thread() is threading.main_thread(), torch.get_num_threads())
        time.sleep(0.01)
        with lock:
            running -= 1
        return _shipped(images)

    list(segmented(pictures, noted, pixel_size=None))
    for _, picture in pictures:
        large = picture.pixels.shape[0] > 300
        assert seen[id(picture.pixels)] == ((True, THREADS) if large else (False, 1))
    assert most == 1


def test_a_lone_image_has_all_threads(pictures):
    seen: list[int] = []

    def noted(images: Sequence[np.ndarray]) -> list[np.ndarray]:
        seen.append(torch.get_num_threads())
        return _shipped(images)

    list(segmented(pictures[:1], noted, pixel_size=None))
    assert seen == [THREADS]


def test_threads_of_the_caller_are_left_as_they_were(pictures):
    list(segmented(pictures[:4], _shipped, pixel_size=None))
    assert torch.get_num_threads() == THREADS
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == THREADS


def test_nothing_to_segment():
    assert list(segmented([], _shipped, pixel_size=None)) == []


def test_an_error_is_raised_in_its_place(pictures):
    def refused(images: Sequence[np.ndarray]) -> list[np.ndarray]:
        if images[0] is pictures[3][1].pixels:
            msg = "class_maps: refused."
            raise ConfigError(msg)
        return _shipped(images)

    results = segmented(pictures, refused, pixel_size=None)
    assert [next(results)[0].image for _ in range(3)] == ["0.png", "1.png", "2.png"]
    with pytest.raises(ConfigError, match="refused"):
        next(results)
    assert torch.get_num_threads() == THREADS


def test_red_cells_and_their_spread_are_empty_where_none_were_counted(tmp_path):
    field = _field()
    write_png(tmp_path / "in" / "seen.png", field.pixels)
    write_png(tmp_path / "in" / "stated.png", field.pixels, um_per_px=0.125)
    write_png(tmp_path / "in" / "blank.png", np.full((99, 99, 3), 200, np.uint8))
    records = [_record(f"{name}.png", tmp_path / "in") for name in ("seen", "stated", "blank")]
    (tmp_path / "out").mkdir()
    segment_files(
        records, tmp_path / "out", lambda images: [_classes(field)[: len(image), : image.shape[1]] for image in images]
    )
    table = pd.read_csv(tmp_path / "out" / "images.csv", dtype=str, keep_default_na=False).set_index("image")
    columns = ["um_per_px", "um_per_px_spread", "pixel_size_from", "red_cells"]
    seen = table.loc["seen.png", columns]
    assert float(seen["um_per_px"]) == pytest.approx(0.125, rel=0.1)
    assert 0 < float(seen["um_per_px_spread"]) < 0.05
    assert (seen["pixel_size_from"], int(seen["red_cells"]) >= 3) == ("red cells", True)
    assert table.loc["stated.png", columns].tolist() == ["0.125", "", "metadata", ""]
    assert table.loc["blank.png", columns].tolist() == ["", "", "", ""]


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
    (tmp_path / "out").mkdir()
    segmented = segment_files([_record("a.png", tmp_path / "in")], tmp_path / "out", lambda _: [classes])
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
    docs = (Path(__file__).parents[2] / "docs" / "howto.md").read_text(encoding="utf-8")
    rows = docs.split(f"`{table}.csv` has a row for each", 1)[1].split("|---|---|---|\n", 1)[1].split("\n\n", 1)[0]
    explained: list[str] = []
    for row in rows.splitlines():
        names = re.findall(r"`(\w+)`", row.split("|")[1])
        explained += [f"{names[0].rsplit('_', 1)[0]}{name}" if name.startswith("_") else name for name in names]
    assert sorted(explained) == sorted(columns)


def test_labels_keep_numbers_above_one_byte(tmp_path):
    labels = np.array([[0, 1, 255], [256, 300, 65_535]], np.uint16)
    files_module.write_pixels(tmp_path / "a.png", labels)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), labels)


def test_more_cells_than_labels_can_number_are_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(files_module, "_MOST_CELLS", 2)
    field = _field()
    write_png(tmp_path / "in" / "three.png", field.pixels)
    write_png(tmp_path / "in" / "none.png", field.pixels[:, ::-1].copy())
    (tmp_path / "out").mkdir()
    maps = {pixel_digest(field.pixels): _classes(field)}
    segmented = segment_files(
        [_record(name, tmp_path / "in") for name in ("three.png", "none.png")],
        tmp_path / "out",
        lambda images: [maps.get(pixel_digest(image), np.zeros(image.shape[:2], np.uint8)) for image in images],
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
    (tmp_path / "out").mkdir()
    done = segment_files(records, tmp_path / "out", lambda given: [np.zeros(one.shape[:2], np.uint8) for one in given])
    assert [failure.image for failure in done.failures] == [f"{folder}/b.png"]
    assert done.images["image"].tolist() == ["a.png"]
