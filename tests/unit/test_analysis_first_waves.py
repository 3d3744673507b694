"""First waves and latencies as images."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from leukospike.analysis.segmenting import write_first_waves
from leukospike.datasets import Record, collect_images
from leukospike.images import luma, write_png
from leukospike.segmentation import GREY_PER_STEP
from leukospike.spikes import SILENT, first_wave, latency_map


def _cell(seed: int, shape: tuple[int, int] = (31, 40)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def _read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "L"
        return np.asarray(image)


def test_maps_are_those_of_the_spike_front_end_at_the_size_of_the_image(tmp_path: Path):
    pixels = _cell(0)
    write_png(tmp_path / "in" / "P1" / "a.png", pixels)
    assert write_first_waves(collect_images([tmp_path / "in"]), tmp_path / "out") == ()
    grey = torch.from_numpy(luma(pixels))[None, None]
    wave = _read(tmp_path / "out" / "P1" / "a_first_wave.png")
    assert wave.shape == (31, 40)
    assert set(np.unique(wave)) == {0, 255}
    np.testing.assert_array_equal(wave[2:-2, 2:-2] == 255, first_wave(grey)[0] == 1)
    latency = _read(tmp_path / "out" / "P1" / "a_latency.png")
    np.testing.assert_array_equal(latency[2:-2, 2:-2], (SILENT - latency_map(grey).latency[0].numpy()) * GREY_PER_STEP)
    for image in (wave, latency):
        border = np.ones(image.shape, bool)
        border[2:-2, 2:-2] = False
        assert not image[border].any()


def test_black_image_is_silent(tmp_path: Path):
    write_png(tmp_path / "in" / "black.png", np.zeros((20, 20, 3), np.uint8))
    write_first_waves(collect_images([tmp_path / "in"]), tmp_path / "out")
    assert not _read(tmp_path / "out" / "black_first_wave.png").any()
    assert not _read(tmp_path / "out" / "black_latency.png").any()


def test_unreadable_images_are_named_and_the_rest_goes_on(tmp_path: Path):
    write_png(tmp_path / "in" / "good.png", _cell(0))
    (tmp_path / "in" / "empty.png").touch()
    (tmp_path / "in" / "note.png").write_text("no image")
    steps: list[tuple[str, int, int]] = []
    failures = write_first_waves(
        collect_images([tmp_path / "in"]), tmp_path / "out", progress=lambda *step: steps.append(step)
    )
    assert [failure.image for failure in failures] == ["empty.png", "note.png"]
    assert all(failure.reason for failure in failures)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "failures.csv", "good_first_wave.png", "good_latency.png", "recipe.json",
    ]  # fmt: skip
    assert steps == [("segment", 1, 3), ("segment", 2, 3), ("segment", 3, 3)]


def test_images_that_differ_in_their_suffix_only_do_not_overwrite_each_other(tmp_path: Path):
    (tmp_path / "in").mkdir()
    for number, name in enumerate(("a.bmp", "a.png", "a.tif")):
        Image.fromarray(_cell(number)).save(tmp_path / "in" / name)
    write_first_waves(collect_images([tmp_path / "in"]), tmp_path / "out")
    for number, name in enumerate(("a", "a.png", "a.tif")):
        path = tmp_path / "out" / f"{name}_first_wave.png"
        grey = torch.from_numpy(luma(_cell(number)))[None, None]
        np.testing.assert_array_equal(_read(path)[2:-2, 2:-2] == 255, first_wave(grey)[0] == 1)


def test_results_stay_in_their_folder_wherever_the_image_lies(tmp_path: Path):
    write_png(tmp_path / "elsewhere" / "a.png", _cell(0))
    record = Record(path=tmp_path / "elsewhere" / "a.png", image="../elsewhere/a.png", label=None, subject=None)
    assert write_first_waves([record], tmp_path / "out") == ()
    assert (tmp_path / "out" / "elsewhere" / "a_first_wave.png").exists()


def test_name_that_leaves_no_room_is_a_failure(tmp_path: Path):
    name = "x" * 245 + ".png"
    write_png(tmp_path / "a.png", _cell(0))
    record = Record(path=tmp_path / "a.png", image=name, label=None, subject=None)
    [failure] = write_first_waves([record], tmp_path / "out")
    assert failure.image == name
    assert "must have at most 240 bytes" in failure.reason
