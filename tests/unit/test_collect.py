"""PATHS on the command line, as records."""

from pathlib import Path

import pytest

from leukospike.datasets import collect_images
from leukospike.errors import DataError


def _touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_known_layout_gives_its_subjects(tmp_path: Path):
    _touch(tmp_path, "all/P1/a.png", "all/P1/b.png", "hem/P2/a.png")
    records = collect_images([tmp_path])
    assert [(record.image, record.subject) for record in records] == [
        ("all/P1/a.png", "P1"),
        ("all/P1/b.png", "P1"),
        ("hem/P2/a.png", "P2"),
    ]


def test_unknown_folder_gives_every_file_and_its_first_folder_as_the_subject(tmp_path: Path):
    _touch(tmp_path, "P1/slide 1/a.png", "P2/b.txt", "c.png")
    records = collect_images([tmp_path])
    assert [(record.image, record.subject, record.label) for record in records] == [
        ("P1/slide 1/a.png", "P1", None),
        ("P2/b.txt", "P2", None),
        ("c.png", None, None),
    ]


def test_names_of_cnmc_cells_say_the_subject_wherever_they_lie(tmp_path: Path):
    names = ("UID_11_1_2_all.bmp", "UID_h3_5_1_hem.png", "UID_3_5_hem.png", "some/UID_H12_1_1_hem.webp", "some/a.png")
    _touch(tmp_path, *names)
    subjects = {record.image: record.subject for record in collect_images([tmp_path])}
    assert subjects == dict(zip(names, ("11", "H3", None, "H12", "some"), strict=True))
    [record] = collect_images([tmp_path / "UID_11_1_2_all.bmp"])
    assert record.subject == "11"


def test_several_folders_name_subjects_as_the_folder_that_holds_them(tmp_path: Path):
    _touch(tmp_path, "P34/1.png", "P34/2.png", "PH10/1.png", "PH10/old/3.png")
    together = collect_images([tmp_path])
    apart = collect_images([tmp_path / "P34", tmp_path / "PH10"])
    assert [(record.path, record.subject) for record in apart[:3]] == [
        (record.path, record.subject) for record in together[:3]
    ]
    assert [record.subject for record in apart] == ["P34", "P34", "PH10", "old"]
    assert {record.subject for record in collect_images([tmp_path / "P34"])} == {None}


def test_folders_of_classes_and_their_subjects_one_by_one(tmp_path: Path):
    _touch(tmp_path, "all/P34/1.png", "hem/PH10/1.png", "all/P1/1.png", "hem/P1/2.png", "all/a.png", "hem/b.png")
    folders = [tmp_path / name for name in ("all/P34", "hem/PH10")]
    assert [record.subject for record in collect_images(folders)] == ["P34", "PH10"]
    assert {record.subject for record in collect_images([tmp_path / "all" / "P1", tmp_path / "hem" / "P1"])} == {
        "all/P1",
        "hem/P1",
    }
    subjects = {record.image: record.subject for record in collect_images([tmp_path / "all", tmp_path / "hem"])}
    assert (subjects["a.png"], subjects["b.png"]) == (None, None)


def test_file_stands_for_itself(tmp_path: Path):
    _touch(tmp_path, "a.png", "b.png")
    [record] = collect_images([tmp_path / "b.png"])
    assert (record.path, record.image, record.subject) == (tmp_path / "b.png", "b.png", None)


def test_manifest_file_gives_its_lines(tmp_path: Path):
    _touch(tmp_path, "x/1.png", "y/2.png")
    manifest = tmp_path / "some.csv"
    manifest.write_text("path,label,subject\nx/1.png,all,P1\ny/2.png,hem,P2\n")
    assert [(record.image, record.subject, record.label) for record in collect_images([manifest])] == [
        ("x/1.png", "P1", 1),
        ("y/2.png", "P2", 0),
    ]


def test_several_paths_keep_short_names_where_these_differ(tmp_path: Path):
    _touch(tmp_path, "a/1.png", "b/2.png")
    assert [record.image for record in collect_images([tmp_path / "b", tmp_path / "a"])] == ["1.png", "2.png"]


def test_colliding_names_are_told_apart_by_their_folders(tmp_path: Path):
    _touch(tmp_path, "a/cells/1.png", "b/cells/1.png", "b/cells/2.png")
    records = collect_images([tmp_path / "a" / "cells", tmp_path / "b" / "cells"])
    assert [record.image for record in records] == ["a/cells/1.png", "b/cells/1.png", "b/cells/2.png"]
    assert all(record.path == tmp_path / record.image for record in records)


@pytest.mark.parametrize("second", [".", "P1", "P1/a.png"])
def test_file_that_comes_twice_is_refused(tmp_path: Path, second: str):
    _touch(tmp_path, "P1/a.png", "P1/x/deep/a.png", "b.png")
    with pytest.raises(DataError, match=r"collect_images: PATHS must not overlap, got [123] files? twice"):
        collect_images([tmp_path, tmp_path / second])


def test_missing_path_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"collect_images: PATHS must exist, got .*nowhere\. Check its spelling\."):
        collect_images([tmp_path / "nowhere"])


def test_empty_folder_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"collect_images: PATHS must hold images, got none in "):
        collect_images([tmp_path])


def test_bad_manifest_is_not_taken_for_an_image(tmp_path: Path):
    (tmp_path / "manifest.csv").write_text("label\n1\n")
    for path in (tmp_path, tmp_path / "manifest.csv"):
        with pytest.raises(DataError, match="manifest"):
            collect_images([path])
