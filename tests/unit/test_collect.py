"""PATHS on the command line, as records."""

from pathlib import Path

import pytest

from leukospike.datasets import collect_images, find_images
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


def test_unknown_folder_gives_every_image_and_its_first_folder_as_the_subject(tmp_path: Path):
    _touch(tmp_path, "P1/slide 1/a.png", "P2/b.tif", "P2/notes.txt", "c.png")
    records = collect_images([tmp_path])
    assert [(record.image, record.subject, record.label) for record in records] == [
        ("P1/slide 1/a.png", "P1", None),
        ("P2/b.tif", "P2", None),
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
    with pytest.raises(DataError, match=r"find_images: `paths` must not overlap, got [123] files? twice"):
        collect_images([tmp_path, tmp_path / second])


def test_missing_path_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"find_images: `paths` must exist, got .*nowhere\. Check the spelling\."):
        collect_images([tmp_path / "nowhere"])


def test_empty_folder_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"find_images: `paths` must hold images, got none in "):
        collect_images([tmp_path])


def test_bad_manifest_is_not_taken_for_an_image(tmp_path: Path):
    (tmp_path / "manifest.csv").write_text("label\n1\n")
    for path in (tmp_path, tmp_path / "manifest.csv"):
        with pytest.raises(DataError, match="manifest"):
            collect_images([path])


# --- whose images are ---


def _subjects(*paths: Path, **names: object) -> dict[str, str | None]:
    return {record.image: record.subject for record in collect_images(paths, **names)}


def test_folder_of_images_alone_is_one_subject(tmp_path: Path):
    _touch(tmp_path, "Anna/1.png", "Anna/2.png", "Anna/notes.docx")
    assert _subjects(tmp_path / "Anna") == {"1.png": "Anna", "2.png": "Anna"}


@pytest.mark.parametrize("name", ["all", "Healthy", "train", "fold_2"])
def test_folder_called_as_a_class_or_a_part_is_nobody(tmp_path: Path, name: str):
    _touch(tmp_path, f"{name}/1.png")
    assert _subjects(tmp_path / name) == {"1.png": None}


def test_subject_that_is_given_goes_before_folders(tmp_path: Path):
    _touch(tmp_path, "slide 1/1.png", "slide 2/2.png", "alone.png")
    assert _subjects(tmp_path, subject=" Anna ") == dict.fromkeys(
        ("slide 1/1.png", "slide 2/2.png", "alone.png"), "Anna"
    )
    assert _subjects(tmp_path / "alone.png", subject="Anna") == {"alone.png": "Anna"}


def test_subject_for_images_of_several_is_refused(tmp_path: Path):
    _touch(tmp_path, "all/P1/a.png", "hem/P2/b.png")
    with pytest.raises(
        DataError, match=r"`subject` must be used with images of one person, got 2 subjects \(P1, P2\)\."
    ):
        collect_images([tmp_path], subject="Anna")


def test_empty_subject_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="`subject` must not be empty, got an empty one"):
        collect_images([_touch(tmp_path, "a.png")], subject=" ")


def test_one_name_in_two_unicode_forms_is_one_person(tmp_path: Path):
    _touch(tmp_path, "M\u00fcller/1.png", "Mu\u0308ller/2.png", "P3/3.png")
    assert set(_subjects(tmp_path).values()) == {"M\u00fcller", "P3"}


def test_names_that_are_nearly_the_same_are_told(tmp_path: Path):
    _touch(tmp_path, "GL 01/1.png", "gl-01/2.png", "P3/3.png")
    [notice] = find_images([tmp_path]).notices
    assert (notice.code, notice.values) == ("subjects_alike", {"groups": 1})
    assert "GL 01 and gl-01" in notice.text


# --- classes of other names ---


def test_folders_that_may_be_classes_are_subjects_with_advice(tmp_path: Path):
    _touch(tmp_path, "leuk\u00e4misch/P1/1.png", "gesund/P2/2.png")
    found = find_images([tmp_path])
    assert {record.subject for record in found.records} == {"leuk\u00e4misch", "gesund"}
    [notice] = found.notices
    assert "folders gesund, leuk\u00e4misch are treated as subjects" in notice.text
    assert "blast" in notice.text
    assert "`positive` and `negative`" in notice.text


def test_classes_of_given_names_are_read_in_any_case_and_unicode_form(tmp_path: Path):
    _touch(tmp_path, "Leuka\u0308misch/P1/1.png", "gesund/P2/2.png")
    found = find_images([tmp_path], positive="leuk\u00e4misch", negative=["GESUND"])
    assert [(record.label, record.subject) for record in found.records] == [(1, "P1"), (0, "P2")]
    assert found.notices == ()


def test_several_names_may_be_given_for_a_class(tmp_path: Path):
    _touch(tmp_path, "Benign/a/1.png", "Early/b/2.png", "Pre/c/3.png", "Pro/d/4.png")
    records = collect_images([tmp_path], positive=["Early", "Pre", "Pro"])
    assert [record.label for record in records] == [0, 1, 1, 1]


def test_folder_beside_those_of_classes_is_no_subject(tmp_path: Path):
    _touch(tmp_path, "hem/P1/1.png", "all/P2/2.png", "other/P3/3.png", "other/4.png")
    found = find_images([tmp_path])
    assert {record.image: (record.label, record.subject) for record in found.records} == {
        "all/P2/2.png": (None, "P2"),
        "hem/P1/1.png": (None, "P1"),
        "other/4.png": (None, None),
        "other/P3/3.png": (None, "P3"),
    }
    [notice] = found.notices
    assert notice.text.startswith("Next to the class folder all are folders with unknown names: other. Labels")


def test_patients_who_are_numbered_are_no_classes(tmp_path: Path):
    _touch(tmp_path, "0/a.png", "1/b.png", "2/c.png")
    assert set(_subjects(tmp_path).values()) == {"0", "1", "2"}
    assert set(_subjects(*(tmp_path / name for name in "012")).values()) == {"0", "1", "2"}


def test_given_folders_that_may_be_classes_are_told(tmp_path: Path):
    _touch(tmp_path, "krank/1.png", "gesund/2.png")
    [notice] = find_images([tmp_path / "krank", tmp_path / "gesund"]).notices
    assert notice.code == "classes_or_subjects"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            {"positive": "blasst"},
            r"`positive` must be the folder name or label of a class in the data, got 'blasst', but the data have ",
        ),
        ({"positive": "x", "negative": ["y", "X"]}, r"must differ, got 'x' for both\."),
        ({"negative": " "}, r"must name a class, got an empty name\."),
    ],
)
def test_names_of_classes_that_cannot_be_meant_are_refused(tmp_path: Path, names: dict, message: str):
    _touch(tmp_path, "krank/1.png", "gesund/2.png")
    with pytest.raises(DataError, match=message):
        collect_images([tmp_path], **names)


def test_parts_of_a_data_set_are_no_subjects(tmp_path: Path):
    _touch(tmp_path, "train/P1/1.png", "test/P2/2.png", "test/3.png")
    records = collect_images([tmp_path])
    assert [(record.partition, record.subject) for record in records] == [
        ("test", None),
        ("test", "P2"),
        ("train", "P1"),
    ]


def test_two_data_sets_of_one_folder_keep_their_names(tmp_path: Path):
    _touch(tmp_path, "ALL_IDB1/im/Im001_1.jpg", "ALL_IDB2/img/Im001_1.tif")
    assert _subjects(tmp_path) == {"ALL_IDB1/im/Im001_1.jpg": None, "ALL_IDB2/img/Im001_1.tif": None}


def test_fault_in_what_says_the_labels_is_told(tmp_path: Path):
    _touch(tmp_path, "fold_0/all/UID_1_1_1_all.bmp", "fold_0/all/cell.bmp", "fold_0/hem/UID_H2_1_1_hem.bmp")
    found = find_images([tmp_path])
    assert {record.subject for record in found.records} == {"1", "H2", None}
    [notice] = found.notices
    assert notice.text.startswith("Labels are ignored: file ")


# --- what counts as an image ---


def test_what_is_no_image_is_left_out_and_counted_if_it_might_matter(tmp_path: Path):
    _touch(tmp_path, "P1/a.png", "P1/a.xyc", "P1/report.docx", "P1/table.xlsx", "P1/raw.dat", "P1/b.dat", "P1/blob")
    _touch(tmp_path, "P1/@eaDir/a.png/T.jpg", "P1/._a.png", "P1/Thumbs.db", "#recycle/a.png", "P1/slide.svs")
    (tmp_path / "P1" / "unnamed").write_bytes(b"\x89PNG\r\n\x1a\n")
    found = find_images([tmp_path])
    assert [record.image for record in found.records] == ["P1/a.png", "P1/slide.svs", "P1/unnamed"]
    [notice] = found.notices
    assert (notice.code, notice.values) == ("files_left_out", {".dat": 2, "no ending": 1})


def test_file_that_is_given_is_never_left_out(tmp_path: Path):
    _touch(tmp_path, "notes.txt", ".hidden")
    assert [record.image for record in collect_images([tmp_path / "notes.txt", tmp_path / ".hidden"])] == [
        ".hidden",
        "notes.txt",
    ]
