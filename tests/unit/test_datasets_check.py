"""What the check of a data set finds."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leukospike.datasets import DataCheck, check_dataset, check_tables, read_any, read_dataset
from leukospike.errors import DataError


def _draw(path: Path, seed: int, *, rows: int = 20) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (rows, 24, 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def check(tmp_path: Path) -> DataCheck:
    """Check seven images: three pairs of equal pictures, one of them in two formats, one damaged file and a note."""
    _draw(tmp_path / "hem/n1/a.png", 1)
    _draw(tmp_path / "hem/n1/b.bmp", 1)
    _draw(tmp_path / "hem/n2/c.png", 2)
    _draw(tmp_path / "all/p1/d.png", 2)
    _draw(tmp_path / "all/p1/e.png", 3)
    _draw(tmp_path / "all/p2/f.tif", 3)
    _draw(tmp_path / "all/p2/g.png", 4, rows=30)
    (tmp_path / "all/p2/h.png").write_bytes(b"")
    (tmp_path / "all/p2/notes.txt").write_text("pale")
    (tmp_path / "LICENSE").touch()
    (tmp_path / ".hidden").touch()
    return check_dataset(read_dataset(tmp_path))


def test_equal_pixels_are_found_across_formats_subjects_and_labels(check: DataCheck) -> None:
    def names(groups: tuple) -> set[tuple[str, ...]]:
        return {tuple(record.image for record in group) for group in groups}

    same = ("hem/n1/a.png", "hem/n1/b.bmp")
    contradicting = ("all/p1/d.png", "hem/n2/c.png")
    cross = ("all/p1/e.png", "all/p2/f.tif")
    assert names(check.duplicates) == {same, contradicting, cross}
    assert names(check.cross_subject_duplicates) == {contradicting, cross}
    assert names(check.contradicting_duplicates) == {contradicting}


def test_failures_sizes_and_other_files_are_counted(check: DataCheck) -> None:
    assert [(failure.image, failure.reason) for failure in check.failures] == [
        ("all/p2/h.png", "file must not be empty, got 0 bytes. Copy it again from its source."),
    ]
    assert list(check.sizes.items()) == [((20, 24), 6), ((30, 24), 1)]
    assert check.other_files == {".txt": 1, "LICENSE": 1}
    assert check.generated == 0


def test_tables_say_it_in_words(check: DataCheck) -> None:
    tables = {table.title: table.rows for table in check_tables(check)}
    assert dict(tables["Data set"])["images"] == "7"
    assert dict(tables["Data set"])["files that cannot be used"] == "1"
    assert tables["Classes"] == [("hem", "3", "2"), ("all", "4", "2")]
    assert tables["Subjects"] == [
        ("n1", "2", "0", "0"),
        ("n2", "1", "0", "0"),
        ("p1", "0", "2", "0"),
        ("p2", "0", "2", "0"),
    ]
    assert tables["Sizes"] == [("20 x 24", "6"), ("30 x 24", "1")]
    assert ("all/p1/d.png, hem/n2/c.png", "n2, p1", "all, hem") in tables["Same pixels"]
    assert dict(tables["Data set"])["groups of pixel-identical images"] == "3 (3 redundant images)"
    assert all(len(row) == len(table.header) for table in check_tables(check) for row in table.rows)


def test_a_flat_folder_is_good_for_what_needs_no_labels(tmp_path: Path) -> None:
    for number in range(2):
        _draw(tmp_path / f"{number}.png", 1)
    (tmp_path / "notes.txt").write_text("pale")
    (tmp_path / "P1").mkdir()
    _draw(tmp_path / "P1" / "a.png", 2)
    [dataset] = read_any(tmp_path)
    assert [(record.image, record.label, record.subject) for record in dataset.records] == [
        ("0.png", None, None),
        ("1.png", None, None),
        ("P1/a.png", None, "P1"),
    ]
    tables = {table.title: table.rows for table in check_tables(check_dataset(dataset))}
    said = dict(tables["Data set"])
    assert said["layout"] == "files, not a known layout"
    assert said["usable with"] == "analyze, segment and audit, which need no labels"
    assert "class/subject/" in said["for train and reproduce"]
    assert said["groups of pixel-identical images"] == "1 (1 redundant image)"
    assert tables["Other files, not used"] == [(".txt", "1")]


@pytest.mark.parametrize("fault", ["empty", "manifest"])
def test_what_holds_no_image_or_a_faulty_manifest_stays_refused(tmp_path: Path, fault: str) -> None:
    (tmp_path / "notes.txt").write_text("pale")
    if fault == "manifest":
        _draw(tmp_path / "a.png", 1)
        (tmp_path / "manifest.csv").write_text("path\na.png\n")
    with pytest.raises(DataError, match="have a known layout" if fault == "empty" else "must begin with the columns"):
        read_any(tmp_path)


def test_a_sound_data_set_has_no_table_of_faults(tmp_path: Path) -> None:
    _draw(tmp_path / "a.png", 1)
    (tmp_path / "manifest.csv").write_text("path,label\na.png,\n")
    check = check_dataset(read_dataset(tmp_path))
    tables = {table.title: table.rows for table in check_tables(check)}
    assert list(tables) == ["Data set", "Classes", "Sizes"]
    assert tables["Classes"] == [("not labelled", "1", "unknown")]
    assert dict(tables["Data set"])["groups of pixel-identical images"] == "0"
    assert "Fill in the column subject" in dict(tables["Data set"])["reason for no subjects"]


def test_progress_is_told_after_each_image(tmp_path: Path) -> None:
    for number in range(3):
        _draw(tmp_path / f"hem/n/{number}.png", number)
    told: list[tuple[str, int, int]] = []
    check_dataset(read_dataset(tmp_path), progress=lambda *step: told.append(step))
    assert told == [("check images", done, 3) for done in (1, 2, 3)]


def test_an_interruption_stops_the_check(tmp_path: Path) -> None:
    for number in range(30):
        _draw(tmp_path / f"hem/n/{number}.png", number)

    def interrupt(stage: str, done: int, total: int) -> None:
        raise KeyboardInterrupt(stage, done, total)

    with pytest.raises(KeyboardInterrupt):
        check_dataset(read_dataset(tmp_path), progress=interrupt)
