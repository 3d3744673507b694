"""Images are decoded once, in order, and found again."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from leukospike.datasets import Record, decoding, read_dataset
from leukospike.datasets.decoding import decoded
from leukospike.errors import ImageError, RunError
from leukospike.experiments.preparation import Prepared, prepare
from leukospike.images import Picture, luma, pixel_digest, read_image, write_png
from leukospike.original.front_end import SpikeFrontEnd
from leukospike.original.preprocessing import spike_map

FRONT = SpikeFrontEnd(24, 9)
SETTINGS = {"copies": 2, "seed": 0}


@pytest.fixture
def records(discs: Path) -> tuple[Record, ...]:
    return read_dataset(discs).records


def _prepare(records: tuple[Record, ...], folder: Path, **changes: int) -> Prepared:
    return prepare(records, folder, FRONT, **(SETTINGS | changes))


def test_maps_are_those_of_each_image_alone(records, tmp_path: Path):
    prepared = _prepare(records, tmp_path)
    assert prepared.seen.shape == (3 * len(records), 24, 24)
    assert prepared.records == records
    for place in (0, 7, len(records) - 1):
        pixels = read_image(records[place].path).pixels
        np.testing.assert_array_equal(prepared.seen[place], spike_map(luma(pixels), size=24, window=9))
        assert prepared.digests[place] == pixel_digest(pixels)


def test_copies_differ_from_their_image_and_from_each_other(records, tmp_path: Path):
    prepared = _prepare(records, tmp_path)
    images, first, second = np.split(np.array(prepared.seen), 3)
    for one, other in ((images, first), (images, second), (first, second)):
        assert np.abs(one - other).max(axis=(1, 2)).min() > 0.01
    assert first.min() >= 0
    assert first.max() <= images.max() + 1e-6


def test_copy_depends_on_its_own_image_only(draw_discs: Callable[..., Path], tmp_path: Path):
    data = draw_discs(tmp_path / "data")
    records = read_dataset(data).records
    before = _prepare(records, tmp_path / "before")
    changed = records[3].path
    write_png(changed, read_image(changed).pixels[::-1].copy())
    after = _prepare(records, tmp_path / "after")
    n = len(records)
    differ = {place for place in range(3 * n) if not np.array_equal(before.seen[place], after.seen[place])}
    assert differ == {3, n + 3, 2 * n + 3}


def test_seed_decides_the_copies_and_nothing_else(records, tmp_path: Path):
    first, other = _prepare(records, tmp_path / "0"), _prepare(records, tmp_path / "1", seed=1)
    n = len(records)
    np.testing.assert_array_equal(first.seen[:n], other.seen[:n])
    assert not np.array_equal(first.seen[n:], other.seen[n:])
    torch.rand(3)
    np.testing.assert_array_equal(first.seen, _prepare(records, tmp_path / "again").seen)


def test_kept_maps_are_found_again_without_decoding(records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = _prepare(records, tmp_path)

    def refuse(_path: Path) -> Picture:
        raise AssertionError

    monkeypatch.setattr(decoding, "read_image", refuse)
    again = _prepare(records, tmp_path)
    np.testing.assert_array_equal(first.seen, again.seen)
    assert (again.records, again.digests, again.failures) == (first.records, first.digests, first.failures)


def test_interrupted_preparation_is_made_again(records, tmp_path: Path):
    def cut(_stage: str, done: int, _total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(records, tmp_path / "cut", FRONT, **SETTINGS, progress=cut)
    whole, resumed = _prepare(records, tmp_path / "whole"), _prepare(records, tmp_path / "cut")
    np.testing.assert_array_equal(whole.seen, resumed.seen)
    assert whole.digests == resumed.digests


def test_maps_of_another_size_are_refused(records, tmp_path: Path):
    _prepare(records, tmp_path)
    with pytest.raises(RunError, match=r"images must be the same as at the start of the run, got settings that differ"):
        prepare(records, tmp_path, SpikeFrontEnd(25, 9), **SETTINGS)


@pytest.mark.parametrize("change", [{"seed": 1}, {"copies": 1}])
def test_maps_of_other_settings_are_refused(records, tmp_path: Path, change: dict[str, int]):
    _prepare(records, tmp_path)
    with pytest.raises(RunError, match=r"images must be the same as at the start of the run, got settings that differ"):
        _prepare(records, tmp_path, **change)


def test_maps_of_other_images_are_refused(records, tmp_path: Path):
    _prepare(records, tmp_path)
    with pytest.raises(RunError, match="Pass the original data or start a new run"):
        _prepare(records[:-1], tmp_path)


@pytest.mark.parametrize("change", [{"label": 0}, {"subject": "hem-0"}])
def test_maps_of_other_labels_or_subjects_are_refused(records, tmp_path: Path, change: dict[str, int | str]):
    _prepare(records, tmp_path)
    with pytest.raises(RunError, match=r"start of the run, got another label or subject for all/all-0/0\.png than"):
        _prepare((replace(records[0], **change), *records[1:]), tmp_path)


def test_other_pixels_are_refused_and_a_copied_file_is_not(draw_discs: Callable[..., Path], tmp_path: Path):
    records = read_dataset(draw_discs(tmp_path / "data")).records
    records[4].path.write_bytes(b"")
    _prepare(records, tmp_path / "maps")
    for record in records:
        os.utime(record.path, (0, 0))
    _prepare(records, tmp_path / "maps")
    write_png(records[3].path, read_image(records[3].path).pixels[::-1].copy())
    with pytest.raises(RunError, match=rf"got other pixels in {records[3].image} than"):
        _prepare(records, tmp_path / "maps")


def test_unreadable_images_are_left_out_and_named(draw_discs: Callable[..., Path], tmp_path: Path):
    data = draw_discs(tmp_path / "data")
    records = read_dataset(data).records
    records[2].path.write_bytes(records[2].path.read_bytes()[:60])
    for prepared in (_prepare(records, tmp_path / "maps"), _prepare(records, tmp_path / "maps")):
        assert prepared.records == records[:2] + records[3:]
        assert prepared.seen.shape == (3 * (len(records) - 1), 24, 24)
        [failure] = prepared.failures
        assert failure.image == records[2].image
        assert failure.reason
        pixels = read_image(records[3].path).pixels
        np.testing.assert_array_equal(prepared.seen[2], spike_map(luma(pixels), size=24, window=9))


def test_drawn_images_are_known_as_such(draw_discs: Callable[..., Path], tmp_path: Path):
    records = read_dataset(draw_discs(tmp_path / "data")).records
    assert not _prepare(records, tmp_path / "before").generated
    write_png(records[5].path, read_image(records[5].path).pixels, generated=True)
    assert _prepare(records, tmp_path / "after").generated


def test_images_are_decoded_in_order_with_errors_in_their_place(draw_discs: Callable[..., Path], tmp_path: Path):
    records = read_dataset(draw_discs(tmp_path / "data", cells=12)).records  # more than are held at a time
    records[70].path.write_bytes(b"")
    seen = list(decoded(records))
    assert [record for record, _ in seen] == list(records)
    errors = [place for place, (_, result) in enumerate(seen) if isinstance(result, ImageError)]
    assert errors == [70]
    for place in (0, 63, 64, 71):
        result = seen[place][1]
        assert isinstance(result, Picture)
        np.testing.assert_array_equal(result.pixels, read_image(records[place].path).pixels)
