"""Results are kept image by image: what is interrupted goes on, and several callers do not disturb each other."""

import json
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from leukospike.analysis import keeping
from leukospike.analysis.analyze import analyze_images
from leukospike.analysis.engine import InOrder, Threads
from leukospike.analysis.judges import PackageJudge
from leukospike.analysis.reading import read_image
from leukospike.analysis.result import load_analysis
from leukospike.analysis.segmenting import segment_images, write_first_waves
from leukospike.classification.classifier import default_classifier
from leukospike.classification.explanation import default_explainer
from leukospike.datasets import Record, collect_images
from leukospike.errors import Cancelled, RunError
from leukospike.images import Picture
from leukospike.jobs import Job
from leukospike.segmentation import PixelSize
from leukospike.segmentation.class_maps import Reading
from leukospike.segmentation.methods import SegmentationMethod, surrogate

N = 5


def _find_dark(pixels: np.ndarray, *_: object) -> Reading:
    """Stand in for a segmenter: what is darker than glass is a nucleus."""
    return Reading(np.where(pixels.max(axis=2) < 150, 2, 0).astype(np.uint8))


METHOD = SegmentationMethod("dark", _find_dark, "0")


@pytest.fixture
def records(tmp_path: Path) -> tuple[Record, ...]:
    """Draw fields of two cells each, of two subjects."""
    rows, columns = np.mgrid[:160, :240]
    for number in range(N):
        rng = np.random.default_rng(number)
        pixels = rng.normal(225, 3, (160, 240, 3))
        for column in (70, 170):
            inside = np.hypot(rows - 80, columns - column) < 25 + number
            pixels[inside] = rng.normal((100, 50, 120), 8, (int(inside.sum()), 3))
        path = tmp_path / "in" / f"P{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
    return collect_images([tmp_path / "in"])


def _analyze(records, out: Path, **options):
    options = {"method": METHOD} | options
    return analyze_images(records, PackageJudge(default_classifier()), out, **options)


def _segment(records, out: Path, **options):
    return segment_images(records, out, METHOD, **options)


def _files(folder: Path) -> dict[str, bytes]:
    """Read all files but those whose bytes hold a time."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".npz"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def _cancelled_after(n: int) -> Job:
    job = Job(lambda _stage, done, _total: job.cancel() if done == n else None)
    return job


@pytest.mark.parametrize("work", [_analyze, _segment, write_first_waves])
@pytest.mark.parametrize("n", [1, 3])
def test_what_is_cancelled_goes_on_and_ends_alike(records, tmp_path: Path, monkeypatch, work, n: int):
    work(records, tmp_path / "whole")
    with pytest.raises(Cancelled):
        work(records, tmp_path / "cut", engine=InOrder(), progress=_cancelled_after(n))
    assert len(list((tmp_path / "cut" / "state").glob("*.npz"))) == n
    decoded: list[str] = []
    decode = keeping.decoded

    def noted(missing):
        decoded.extend(record.image for record in missing)
        return decode(missing)

    monkeypatch.setattr(keeping, "decoded", noted)
    work(records, tmp_path / "cut", resume=True)
    assert len(decoded) == N - n
    assert _files(tmp_path / "cut") == _files(tmp_path / "whole")
    assert not (tmp_path / "cut" / "state").exists()


def test_cancelled_before_anything_is_kept_leaves_nothing(tmp_path: Path):
    job = Job()
    job.cancel()
    broken = tmp_path / "in" / "P0" / "a.png"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"\x89PNG")
    with pytest.raises(Cancelled):
        _analyze(collect_images([broken]), tmp_path / "out", progress=job)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"strict": True}, "`strict` True instead of False"),
        ({"pixel_size": PixelSize(0.1, "given")}, "`pixel_size` 0.1 instead of None"),
        ({"method": SegmentationMethod("other", _find_dark, "1")}, "`method` 1 instead of 0"),
        ({"prevalence": 0.1}, "`prevalence` 0.1 instead of 0.5"),
    ],
)
def test_folder_of_another_recipe_is_refused_by_name(records, tmp_path: Path, options, said: str):
    with pytest.raises(Cancelled):
        _analyze(records, tmp_path / "out", engine=InOrder(), progress=_cancelled_after(1))
    with pytest.raises(RunError, match=said):
        _analyze(records, tmp_path / "out", resume=True, **options)
    with pytest.raises(RunError, match="the command segment instead of analyze"):
        _segment(records, tmp_path / "out", resume=True)


def test_results_are_not_written_over(records, tmp_path: Path):
    _segment(records[:1], tmp_path / "out")
    before = _files(tmp_path / "out")
    with pytest.raises(RunError, match=r"`out` must be a new folder, got .* already holds results\. Add `resume`"):
        _segment(records[:1], tmp_path / "out")
    assert _files(tmp_path / "out") == before
    with pytest.raises(RunError, match="must be used with the folder of an interrupted call"):
        _segment(records[:1], tmp_path / "none", resume=True)


@pytest.mark.parametrize("work", [_analyze, _segment])
def test_finished_work_is_found_again_and_of_other_images_refused(records, tmp_path: Path, monkeypatch, work):
    first = work(records, tmp_path / "out")
    monkeypatch.setattr(keeping, "decoded", lambda _: pytest.fail("decoded again"))
    again = work(records, tmp_path / "out", resume=True)
    pd.testing.assert_frame_equal(again.cells, first.cells, check_dtype=False)
    with pytest.raises(RunError, match="`resume` must be used with the images of the first call"):
        work(records[1:], tmp_path / "out", resume=True)


def test_damaged_state_is_named(records, tmp_path: Path):
    with pytest.raises(Cancelled):
        _analyze(records, tmp_path / "out", engine=InOrder(), progress=_cancelled_after(2))
    path = next((tmp_path / "out" / "state").glob("*.npz"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(
        RunError, match=rf"{path.name} changed or damaged .*\. Remove this file and run the command again"
    ):
        _analyze(records, tmp_path / "out", resume=True)
    path.unlink()
    assert len(_analyze(records, tmp_path / "out", resume=True).cells) == 2 * N


def test_the_same_file_twice_is_worked_on_once(records, tmp_path: Path):
    shutil.copy(records[0].path, tmp_path / "in" / "P0" / "copy.png")
    calls: list[int] = []

    def counted(pixels: np.ndarray, *rest: object) -> Reading:
        calls.append(1)
        return _find_dark(pixels, *rest)

    both = [record for record in collect_images([tmp_path / "in"]) if record.path.stem in {"0", "copy"}]
    analysis = _analyze(both, tmp_path / "out", method=SegmentationMethod("dark", counted, "0"))
    assert len(calls) == 1
    assert analysis.cells["image"].tolist() == ["P0/0.png"] * 2 + ["P0/copy.png"] * 2


@pytest.mark.parametrize("work", [_analyze, _segment, write_first_waves])
def test_the_same_broken_file_twice_is_named_twice(records, tmp_path: Path, work):
    for name in ("x.png", "y.png"):
        (tmp_path / "in" / "P0" / name).write_bytes(records[0].path.read_bytes()[:300])
    done = work(collect_images([tmp_path / "in"]), tmp_path / "out")
    failures = done if isinstance(done, tuple) else done.failures
    assert [failure.image for failure in failures] == ["P0/x.png", "P0/y.png"]
    assert len({failure.reason for failure in failures}) == 1


def test_loaded_tables_are_those_that_were_returned(records, tmp_path: Path):
    analysis = _analyze(records, tmp_path / "out", explainer=default_explainer())
    loaded = load_analysis(tmp_path / "out")
    for name in ("cells", "subjects", "images"):
        pd.testing.assert_frame_equal(getattr(loaded, name), getattr(analysis, name), check_dtype=False)
    assert (loaded.summary, loaded.failures) == (analysis.summary, analysis.failures)
    assert len(loaded.explanations) > 0
    saved = load_analysis(analysis.save(tmp_path / "copy"))
    assert _files(tmp_path / "copy") == _files(tmp_path / "out")
    assert "<table" in saved._repr_html_()
    first = analysis.cells.iloc[0]
    [picture, none] = saved.thumbnails([(first["image"], int(first["cell"])), ("nobody.png", 1)])
    assert picture is not None
    assert none is None


def test_engines_give_the_same(records, tmp_path: Path):
    for name, engine in (("a", InOrder()), ("b", Threads())):
        _analyze(records, tmp_path / name, engine=engine)
    assert _files(tmp_path / "a") == _files(tmp_path / "b")


def test_the_first_stage_can_be_sent_elsewhere(records):
    judge = PackageJudge(default_classifier())
    picture = Picture(np.asarray(Image.open(records[0].path)), "PNG", 8, generated=False)
    work = partial(read_image, segmenter=surrogate().segmenter, view=judge.view)
    here = work(picture)
    there = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(work))(pickle.loads(pickle.dumps(picture)))))
    assert (here.kind, here.facts, len(here.cells)) == (there.kind, there.facts, len(there.cells))
    np.testing.assert_array_equal(here.seen, there.seen)


def test_analyses_at_once_with_one_judge_give_what_they_give_alone(records, tmp_path: Path):
    judge = PackageJudge(default_classifier())

    def work(name: str, part) -> dict[str, bytes]:
        analyze_images(part, judge, tmp_path / name, method=METHOD)
        return _files(tmp_path / name)

    parts = {"a": records, "b": records[:3]}
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda item: work(*item), parts.items()))
    assert together == [work(f"{name}-alone", part) for name, part in parts.items()]


def test_recipe_names_the_weights(records, tmp_path: Path):
    _analyze(records[:1], tmp_path / "out")
    recipe = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert recipe["verb"] == "analyze"
    assert recipe["settings"]["model"] == default_classifier().digest()
    assert recipe["finished_with"]
