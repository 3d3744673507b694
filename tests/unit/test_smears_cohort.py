"""The generated data set as it lies on disk."""

import csv

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from leukospike.datasets import read_dataset
from leukospike.errors import ConfigError, RunError
from leukospike.images import read_image
from leukospike.smears import SmearConfig, generate_cohort

CONFIG = SmearConfig(n_subjects=3, cells_per_subject=3, fields_per_subject=1, cell_size_px=80, seed=5)


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return generate_cohort(CONFIG, tmp_path_factory.mktemp("smears") / "cohort")


def test_manifest_lists_every_cell_and_no_other(cohort):
    rows = table(cohort / "manifest.csv")
    assert list(rows[0]) == ["path", "label", "subject", "generated"]
    on_disk = {p.relative_to(cohort).as_posix() for p in (cohort / "cells").rglob("*.png")}
    assert {row["path"] for row in rows} == on_disk
    assert len(rows) == len(on_disk) == 9
    assert {row["generated"] for row in rows} == {"true"}
    for row in rows:
        assert row["path"].startswith(f"cells/{row['label']}/{row['subject']}/{row['subject']}_")


def test_our_own_reader_knows_the_cohort(cohort):
    dataset = read_dataset(cohort)
    assert dataset.layout == "manifest"
    assert [(r.label, r.subject) for r in dataset.records] == [(1, "GL01")] * 3 + [(1, "GL03")] * 3 + [(0, "GH02")] * 3
    assert all(r.path.is_file() for r in dataset.records)


def test_each_subject_is_of_one_class(cohort):
    pairs = {(row["subject"], row["label"]) for row in table(cohort / "manifest.csv")}
    assert pairs == {("GL01", "all"), ("GH02", "hem"), ("GL03", "all")}


def test_every_picture_says_that_it_was_generated(cohort):
    pictures = [*(cohort / "cells").rglob("*.png"), *(cohort / "fields" / "images").glob("*.png")]
    assert len(pictures) == 12
    for path in pictures:
        picture = read_image(path)
        assert picture.generated
        assert picture.pixels.shape == ((80, 80, 3) if "cells" in path.parts else (480, 640, 3))


def test_masks_and_boxes_on_disk_agree(cohort):
    boxes = table(cohort / "fields" / "boxes.csv")
    assert list(boxes[0]) == ["image", "label", "xmin", "ymin", "xmax", "ymax"]
    images = sorted(p.name for p in (cohort / "fields" / "images").iterdir())
    assert images == sorted(p.name for p in (cohort / "fields" / "masks").iterdir())
    assert {box["image"] + ".png" for box in boxes} == set(images)
    for name in images:
        mask = np.asarray(Image.open(cohort / "fields" / "masks" / name))
        assert mask.shape == (480, 640)
        found = {(c.start, r.start, c.stop, r.stop) for r, c in ndimage.find_objects(ndimage.label(mask > 0)[0])}
        listed = {
            tuple(int(box[key]) for key in ("xmin", "ymin", "xmax", "ymax"))
            for box in boxes
            if box["image"] + ".png" == name and box["label"] == "WBC"
        }
        assert listed == found


def test_readme_calls_it_a_stand_in(cohort):
    text = (cohort / "README.txt").read_text()
    assert "No patient" in text
    assert "Never quote" in text
    assert "leukospike smears --subjects 3 --out cohort --seed 5" in text


def test_same_seed_same_bytes_other_seed_other_cells(cohort, tmp_path):
    again = generate_cohort(CONFIG, tmp_path / "cohort")
    assert contents(again) == contents(cohort)
    other = generate_cohort(SmearConfig(n_subjects=2, cells_per_subject=1, cell_size_px=80, seed=6), tmp_path / "other")
    name = "cells/all/GL01/GL01_001.png"
    assert (other / name).read_bytes() != (cohort / name).read_bytes()


def test_a_subject_does_not_depend_on_how_many_there_are(cohort, tmp_path):
    fewer = generate_cohort(
        SmearConfig(n_subjects=2, cells_per_subject=2, fields_per_subject=1, cell_size_px=80, seed=5),
        tmp_path / "fewer",
    )
    small, large = contents(fewer), contents(cohort)
    pictures = [name for name in small if name.endswith(".png")]
    assert len(pictures) == 2 * (2 + 1 + 1)
    assert all(small[name] == large[name] for name in pictures)


def test_no_fields_when_none_are_asked(tmp_path):
    out = generate_cohort(
        SmearConfig(n_subjects=2, cells_per_subject=1, fields_per_subject=0, cell_size_px=64), tmp_path / "out"
    )
    assert table(out / "fields" / "boxes.csv") == []
    assert len(table(out / "manifest.csv")) == 2


def test_progress_counts_to_the_end(tmp_path):
    heard = []
    generate_cohort(
        SmearConfig(n_subjects=2, cells_per_subject=2, fields_per_subject=1, cell_size_px=64),
        tmp_path / "out",
        progress=lambda stage, done, total: heard.append((stage, done, total)),
    )
    assert heard == [("drawing cells", i, 4) for i in (1, 2, 3, 4)] + [("drawing fields", i, 2) for i in (1, 2)]


def test_full_folder_is_refused_and_kept(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(
        RunError, match=r"^generate_cohort: output folder must be new or empty, got .*\. Choose another"
    ):
        generate_cohort(CONFIG, tmp_path)
    assert contents(tmp_path) == {"mine.txt": b"mine"}


def test_an_interrupted_cohort_leaves_nothing(tmp_path):
    def full_disk(stage, _done, _total):
        if stage == "drawing fields":
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        generate_cohort(CONFIG, tmp_path / "out", progress=full_disk)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ({"n_subjects": 1}, r"`n_subjects` must be at least 2, got 1\. At least one leukemic and one healthy"),
        ({"cells_per_subject": 0}, r"`cells_per_subject` must be at least 1, got 0\. Each subject needs"),
        ({"fields_per_subject": -1}, r"`fields_per_subject` must be at least 0, got -1\. Use 0"),
        ({"seed": -3}, r"`seed` must be at least 0, got -3\. Use any whole number"),
        ({"cell_size_px": 20}, r"size of a cell's picture must be from 64 to 1024 pixels, got 20\."),
    ],
)
def test_impossible_settings_are_refused(setting, text):
    with pytest.raises(ConfigError, match=rf"^SmearConfig: {text}"):
        SmearConfig(**({"n_subjects": 2} | setting))
