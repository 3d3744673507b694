"""Tables of what a judge of kinds says: which cells count, and what is decided on their subjects."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from leukospike.analysis.flags import BORDER, NOT_WHITE, OUTLIER
from leukospike.analysis.folder import AnalysisFolder, read_tables
from leukospike.analysis.judges import JudgeFacts, Judgements, PackageJudge
from leukospike.analysis.reading import ReadCell, ReadImage
from leukospike.analysis.summary import Summary
from leukospike.analysis.tables import (
    DIFFERENTIAL_COLUMNS,
    IMAGE_TABLE_COLUMNS,
    LEFT_OUT,
    POSTERIOR_COLUMNS,
    SUBJECT_COLUMNS,
    Tables,
    counted_cells,
    tabulate,
)
from leukospike.classification.classifier import default_classifier
from leukospike.classification.kinds import KINDS, CellKind
from leukospike.classification.kinds import NOT_WHITE as KINDS_NOT_WHITE
from leukospike.confidence import score_subjects
from leukospike.datasets import Record
from leukospike.settings import Kind

BLAST, LYMPHOCYTE, MONOCYTE = CellKind.LYMPHOBLAST, CellKind.LYMPHOCYTE, CellKind.MONOCYTE
ERYTHROBLAST, PLATELET = CellKind.ERYTHROBLAST, CellKind.PLATELET


@dataclass(frozen=True)
class Cell:
    """What is said of one cell."""

    subject: str | None
    kind: CellKind
    sure: float = 0.9
    outlier: bool = False
    flags: tuple[str, ...] = ()
    is_blank: bool = False


@dataclass(frozen=True)
class Told:
    """What is tabulated of some cells, one in each image."""

    cells: list[Cell]
    empty: list[str] = field(default_factory=list)
    """Subjects of images without cells."""

    def tables(self, *, prevalence: float = 0.5) -> Tables:
        owners = [cell.subject for cell in self.cells] + list(self.empty)
        records = [
            Record(path=Path(f"{place}.png"), image=f"{place}.png", label=None, subject=owner)
            for place, owner in enumerate(owners)
        ]
        images = [_image((ReadCell(cell.is_blank, cell.flags, None, None),)) for cell in self.cells]
        images += [_image(()) for _ in self.empty]
        shares = np.array([_shares(cell) for cell in self.cells]).reshape(-1, len(KINDS))
        judgements = Judgements(
            shares[:, BLAST.place],
            np.array([cell.outlier for cell in self.cells], bool),
            shares,
            tuple(f"{cell.kind}, {MONOCYTE}" for cell in self.cells),
            np.arange(len(self.cells)) + 0.123,
        )
        judge = PackageJudge(default_classifier())
        overlays = [""] * len(records)
        return tabulate(records, images, overlays, judgements, judge, with_measures=False, prevalence=prevalence)


def _image(cells: tuple[ReadCell, ...]) -> ReadImage:
    nothing = np.zeros((len(cells), 64, 64, 3), np.uint8)
    return ReadImage(Kind.CELL, cells, np.zeros(0), nothing, is_generated=False, scaled_by="", facts=None, overlay=None)


def _shares(cell: Cell) -> np.ndarray:
    shares = np.full(len(KINDS), (1 - cell.sure) / (len(KINDS) - 1))
    shares[cell.kind.place] = cell.sure
    return shares


def _row(tables: Tables, subject: str) -> dict:
    [row] = tables.subjects.loc[tables.subjects["subject"] == subject].to_dict("records")
    return row


@pytest.fixture(scope="module")
def mixed() -> Tables:
    """Tabulate one subject with all sorts of cells, one that is normal, and one without cells."""
    cells = [
        *[Cell("A", BLAST)] * 22,
        *[Cell("A", MONOCYTE)] * 3,
        *[Cell("A", ERYTHROBLAST)] * 4,
        *[Cell("A", PLATELET, flags=(BORDER,))] * 2,
        *[Cell("A", BLAST, outlier=True)] * 5,
        *[Cell("A", CellKind.NONE_OF_THESE, outlier=True)] * 6,
        *[Cell("A", BLAST, flags=(BORDER,))] * 7,
        *[Cell("A", BLAST, is_blank=True)] * 2,
        *[Cell("B", LYMPHOCYTE)] * 40,
        Cell(None, BLAST),
    ]
    return Told(cells, empty=["C"]).tables()


def test_cells_that_are_not_white_are_flagged_and_not_counted(mixed: Tables):
    cells = mixed.cells
    flagged = [NOT_WHITE in flags.split() for flags in cells["flags"]]
    assert flagged == cells["kind"].isin([kind.value for kind in KINDS_NOT_WHITE]).tolist()
    assert sum(flagged) == 12
    counted = counted_cells(cells)
    assert Counter(counted["kind"]) == {"lymphoblast": 23, "monocyte": 3, "lymphocyte": 40}
    assert set(counted["flags"]) == {""}


def test_blank_cells_have_no_kind(mixed: Tables):
    blank = mixed.cells["probability"].isna()
    assert blank.sum() == 2
    own = [name for name in mixed.cells if name not in {"image", "subject", "decision", "flags"}]
    assert mixed.cells.loc[blank, own].isna().all(axis=None)
    assert mixed.cells.loc[~blank, own].notna().all(axis=None)
    assert mixed.cells.loc[blank, ["decision", "flags"]].to_numpy().tolist() == [["", ""]] * 2


def test_what_is_left_out_is_counted_by_its_first_reason(mixed: Tables):
    row = _row(mixed, "A")
    assert [row[name] for name in ("cells", "counted", *LEFT_OUT, "leukemic")] == [51, 25, 9, 11, 4, 22]
    # Blank ones are in none of them.
    assert row["cells"] - 2 == row["counted"] + sum(row[name] for name in LEFT_OUT)
    columns = [*SUBJECT_COLUMNS[:3], *LEFT_OUT, *SUBJECT_COLUMNS[3:], *POSTERIOR_COLUMNS, "decision", "reason"]
    assert list(mixed.subjects.columns) == columns


def test_subjects_are_scored_by_their_counted_cells(mixed: Tables):
    counted = counted_cells(mixed.cells).dropna(subset=["subject"])
    scores = score_subjects(
        default_classifier().confidence.subjects,
        counted["probability"].to_numpy(np.float64),
        counted["subject"].to_numpy(str),
        mature=counted["kind"].isin(["monocyte", "lymphocyte"]).to_numpy(),
    )
    for score in scores:
        row = _row(mixed, score.subject)
        assert row["posterior"] == pytest.approx(score.posterior, abs=1e-6)
        assert row["blasts"] == pytest.approx(score.blasts.expected, abs=0.05)
    assert (_row(mixed, "A")["decision"], _row(mixed, "B")["decision"]) == ("leukemic", "normal")


def test_a_subject_without_cells_has_a_row_too(mixed: Tables):
    assert mixed.subjects["subject"].tolist() == ["A", "B", "C"]
    row = _row(mixed, "C")
    assert (row["cells"], row["counted"], row["decision"]) == (0, 0, "not enough")
    assert row["reason"] == "0 cells counted; at least 20 are needed."
    assert np.isnan([row[name] for name in ("mean_probability", "share_leukemic", *POSTERIOR_COLUMNS)]).all()


@pytest.mark.parametrize("cell", [Cell("A", BLAST, flags=(BORDER,)), Cell("A", PLATELET), Cell("A", BLAST)])
def test_cells_too_few_or_not_counted_decide_nothing(cell: Cell):
    row = _row(Told([cell] * 19).tables(), "A")
    assert row["decision"] == "not enough"
    assert row["counted"] == (0 if cell.flags or cell.kind is PLATELET else 19)


def test_a_laboratory_of_mostly_unfamiliar_cells_leaves_all_subjects_undecided():
    familiar = [Cell("A", BLAST)] * 30
    unfamiliar = [Cell("B", BLAST, outlier=True)] * 31
    alone, together = Told(familiar).tables(), Told(familiar + unfamiliar).tables()
    assert _row(alone, "A")["decision"] == "leukemic"
    assert together.subjects["decision"].tolist() == ["unfamiliar"] * 2
    assert _row(together, "A")["reason"] == "31 of 61 cells found in all images are unlike all training cells."
    assert _row(together, "B")["reason"] == "31 of 31 cells found are unlike all training cells."
    # One more familiar cell, and only their own subject is undecided.
    evenly = Told([*familiar, Cell(None, BLAST), *unfamiliar]).tables()
    assert evenly.subjects["decision"].tolist() == ["leukemic", "unfamiliar"]


def test_prevalence_is_of_the_posterior_alone():
    cells = [Cell("A", MONOCYTE)] * 18 + [Cell("A", BLAST)] * 6
    even, rare = Told(cells).tables(), Told(cells).tables(prevalence=0.01)
    assert _row(rare, "A")["posterior"] < _row(even, "A")["posterior"]
    pd.testing.assert_frame_equal(even.cells, rare.cells)
    pd.testing.assert_frame_equal(even.differential, rare.differential)


def test_differentials_add_up(mixed: Tables):
    table = mixed.differential
    assert list(table.columns) == list(DIFFERENTIAL_COLUMNS)
    assert table.groupby("subject").size().to_dict() == dict.fromkeys("ABC", len(KINDS))
    for subject in "ABC":
        own = table.loc[table["subject"] == subject]
        white, row = own.loc[own["white"]], _row(mixed, subject)
        assert white["cells"].sum() == row["counted"]
        assert white["percent"].sum() == pytest.approx(100 if row["counted"] else 0, abs=0.01)
        counts = dict(zip(own["kind"], own["cells"], strict=True))
        assert set(own.loc[~own["white"], "kind"]) == {kind.value for kind in KINDS_NOT_WHITE}
        assert own.loc[~own["white"], ["percent", "low", "high"]].isna().all(axis=None)
        if subject == "A":
            found = {kind: n for kind, n in counts.items() if n}
            assert found == {
                "lymphoblast": 22, "monocyte": 3, "erythroblast": 4, "platelet": 2, "not one of these": 6,
            }  # fmt: skip
    [blasts] = table.loc[(table["subject"] == "A") & (table["kind"] == "lymphoblast")].to_dict("records")
    assert blasts["percent"] == 88
    assert blasts["low"] < 88 < blasts["high"]


def test_images_count_as_subjects_do(mixed: Tables):
    images = mixed.images
    assert list(images.columns) == list(IMAGE_TABLE_COLUMNS)
    of_a = images.loc[images["subject"] == "A"]
    assert (of_a["counted"].sum(), of_a["leukemic"].sum()) == (25, 22)


def test_tables_read_back_are_equal(mixed: Tables, tmp_path: Path):
    facts = JudgeFacts("leukospike", 3, 450, "digest", card={"name": "a card"})
    summary = Summary(
        92, 0, 92, 90, 66, 23, generated=False, decision_threshold=0.5, prevalence=0.5, model=facts, kinds=None,
        scale=None, detection=None, environment={}, notices=(),
    )  # fmt: skip
    AnalysisFolder(tmp_path).write(mixed, (), with_images=False, for_excel=False)
    read = read_tables(tmp_path, summary)
    for name in ("cells", "subjects", "differential"):
        pd.testing.assert_frame_equal(getattr(read, name), getattr(mixed, name), check_dtype=False)


def test_no_cells_at_all_give_empty_tables():
    tables = Told([]).tables()
    assert len(tables.cells) == len(tables.subjects) == len(tables.differential) == 0
    nobody = Told([Cell(None, BLAST)] * 3).tables()
    assert (len(nobody.cells), len(nobody.subjects), len(nobody.differential)) == (3, 0, 0)
    assert OUTLIER not in "".join(nobody.cells["flags"])
