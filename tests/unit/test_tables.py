"""CSV tables that spreadsheets and people can have."""

import math
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leukospike.analysis.folder import read_figures
from leukospike.errors import DataError
from leukospike.storage.tables import harmless, read_rows, restored, table_text, write_rows, write_table

PLAIN = pd.DataFrame(
    {
        "image": ["a.png", "b, c.png", None],
        "value": [-0.5, math.nan, 1e-7],
        "n": [1, -2, 3],
        "sure": [True, False, True],
    }
)
FORMULAS = ["=1+1", "+x", "-x", "@x", "\tx", "\rx", "'=x", "''@x"]


@given(st.text())
def test_every_text_comes_back(text: str) -> None:
    assert restored(harmless(text)) == text


@given(st.text(alphabet="'=+-@\t\r09.e"))
def test_text_of_formulas_and_apostrophes_comes_back(text: str) -> None:
    assert restored(harmless(text)) == text


@pytest.mark.parametrize("text", FORMULAS)
def test_no_text_that_is_written_begins_as_a_formula(text: str, tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", pd.DataFrame({"image": [text, "b.png"]}))
    assert pd.read_csv(tmp_path / "t.csv")["image"].tolist() == [f"'{text}", "b.png"]
    [(_, row), _] = read_rows(tmp_path / "t.csv", ("image",), where="test")
    assert row["image"] == text


@pytest.mark.parametrize("number", ["-1", "-0.5", "+3", "-1e-05", "-.5"])
def test_negative_numbers_stay_numbers_in_columns_of_text(number: str) -> None:
    assert harmless(number) == number


def test_table_without_such_text_is_as_pandas_writes_it(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", PLAIN)
    assert (tmp_path / "t.csv").read_bytes() == PLAIN.to_csv(index=False, lineterminator="\n").encode()
    assert table_text(PLAIN) == PLAIN.to_csv(index=False, lineterminator="\n")


def test_table_is_written_without_its_index(tmp_path: Path) -> None:
    write_table(tmp_path / "cells.csv", pd.DataFrame({"image": ["a,b.png"], "probability": [0.25]}))
    assert (tmp_path / "cells.csv").read_text() == 'image,probability\n"a,b.png",0.25\n'


def test_table_that_is_given_stays_as_it_is(tmp_path: Path) -> None:
    table = pd.DataFrame({"image": ["=1"]})
    write_table(tmp_path / "t.csv", table)
    assert table["image"].tolist() == ["=1"]


def test_rows_are_written_as_tables_are(tmp_path: Path) -> None:
    write_rows(tmp_path / "r.csv", ("image", "n"), [("=1", -1), ('say "a, b"', 2)])
    write_table(tmp_path / "t.csv", pd.DataFrame({"image": ["=1", 'say "a, b"'], "n": [-1, 2]}))
    assert (tmp_path / "r.csv").read_bytes() == (tmp_path / "t.csv").read_bytes()


def test_tables_for_excel_begin_with_a_byte_order_mark_and_read_the_same(tmp_path: Path) -> None:
    for write in (
        lambda path, **how: write_table(path, pd.DataFrame({"image": ["Müller"]}), **how),
        lambda path, **how: write_rows(path, ("image",), [("Müller",)], **how),
    ):
        write(tmp_path / "plain.csv")
        write(tmp_path / "excel.csv", for_excel=True)
        assert (tmp_path / "excel.csv").read_bytes() == b"\xef\xbb\xbf" + (tmp_path / "plain.csv").read_bytes()
        rows = [read_rows(tmp_path / name, ("image",), where="test") for name in ("plain.csv", "excel.csv")]
        assert rows[0] == rows[1] == [(2, {"image": "Müller"})]


def test_outer_spaces_of_values_stay(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(" Image ,n\n a.png,1\n")
    assert read_rows(tmp_path / "t.csv", ("image",), where="test") == [(2, {"image": " a.png", "n": "1"})]


def test_one_of_two_columns_will_do(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("fold\n1\n")
    assert read_rows(tmp_path / "t.csv", ("split|fold",), where="test") == [(2, {"fold": "1"})]
    with pytest.raises(DataError, match=r"^test: t\.csv must begin with the columns image,split or fold, each once"):
        read_rows(tmp_path / "t.csv", ("image", "split|fold"), where="test")


def test_names_that_begin_as_formulas_come_back_from_an_analysis(tmp_path: Path) -> None:
    write_table(tmp_path / "cells.csv", pd.DataFrame({"image": ["=a.png", "'@b.png"], "probability": [0.5, 0.25]}))
    table = read_figures(tmp_path / "cells.csv", text=("image",), required=("image",))
    assert table["image"].tolist() == ["=a.png", "'@b.png"]
