"""Somebody's split file."""

from pathlib import Path

import pytest

from leukospike.auditing import read_split
from leukospike.datasets import Record
from leukospike.errors import DataError

RECORDS = tuple(
    Record(path=Path(name), image=name, label=1, subject="A")
    for name in ("all/A/1.png", "all/A/2.png", "hem/B/1.png", "hem/B/3.png")
)


def _table(folder: Path, text: str) -> Path:
    path = folder / "split.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["all/A/2.png", "my-data/all/A/2.png", "A/2.png", "2.png", "2", "all\\A\\2.png"])
def test_images_may_be_called_by_part_of_their_name(name: str, tmp_path: Path) -> None:
    split = read_split(_table(tmp_path, f"Image,Split\n{name},train\n"), RECORDS)
    assert [record.image for record in split.records] == ["all/A/2.png"]
    assert split.n_unnamed == 3


def test_a_name_that_fits_two_images_or_none_is_a_failure(tmp_path: Path) -> None:
    split = read_split(_table(tmp_path, "image,split\n1.png,train\nx.png,test\n3.png,test\n"), RECORDS)
    assert [failure.image for failure in split.missing] == ["1.png", "x.png"]
    assert split.sides == ("test",)


def test_sides_are_split_and_fold_and_subjects_are_the_tables(tmp_path: Path) -> None:
    split = read_split(
        _table(tmp_path, "image,fold,split,subject,label\nall/A/1.png,0,train,Z,hem\n2.png,1,test,,\n"), RECORDS
    )
    assert split.sides == ("train, fold 0", "test, fold 1")
    assert [record.subject for record in split.records] == ["Z", "A"]
    assert split.labels == ("hem", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,side\na,b\n", "must begin with the columns image,split or fold, each once"),
        ("", "got 'an empty table'"),
        ("image,split\n2.png,\n", "line 2: image and side must be filled in"),
        ("image,split\n2.png,a\n2.png,b\n", "line 3: each image must be listed once"),
        ("image,split\n2.png\n", "line 2 must have 2 fields, got 1"),
        ("image,split\nnone.png,a\n", "got none that match"),
        ("image,split\n", "got none that match"),
    ],
)
def test_bad_tables_are_refused_with_the_reason(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_split(_table(tmp_path, text), RECORDS)


def test_a_missing_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must be a readable CSV table"):
        read_split(tmp_path / "none.csv", RECORDS)


def test_names_in_another_unicode_form_are_found(tmp_path: Path) -> None:
    records = [Record(path=Path("x"), image="Mu\u0308ller/1.png", label=1, subject="M\u00fcller")]
    split = read_split(_table(tmp_path, "image,split,subject\nM\u00fcller/1.png,train,Mu\u0308ller\n"), records)
    assert [record.subject for record in split.records] == ["M\u00fcller"]
