"""The user's cells as an analysis sees them."""

import math
from pathlib import Path

import numpy as np
import pytest

from leukospike.analysis.engine import InOrder
from leukospike.classification.kinds import CellKind
from leukospike.datasets import Record
from leukospike.errors import DataError
from leukospike.images import write_png
from leukospike.refinement.cells import read_cells
from leukospike.refinement.labels import LabelledCell
from leukospike.segmentation.methods import surrogate
from leukospike.smears import CellKind as DrawnKind
from leukospike.smears import draw_cell, subject_style


def _labelled(path: Path, subject: str | None, diameter_um: float = math.nan) -> LabelledCell:
    record = Record(path=path, image=path.name, label=None, subject=subject)
    return LabelledCell(record, CellKind.LYMPHOCYTE, path.name, diameter_um)


def _drawn(seed: int, size_px: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return draw_cell(DrawnKind.LYMPHOCYTE, subject_style(rng), rng, size_px=size_px).pixels


def test_cells_are_cut_out_or_taken_as_they_are_and_failures_are_named(tmp_path: Path):
    on_black = np.zeros((450, 450, 3), np.uint8)
    rows, columns = np.mgrid[:450, :450] - 225
    on_black[np.hypot(rows, columns) < 120] = [150, 90, 180]
    on_black[np.hypot(rows, columns) < 80] = [90, 40, 140]
    write_png(tmp_path / "a.png", on_black)
    write_png(tmp_path / "b.png", _drawn(1, 300))
    write_png(tmp_path / "c.png", np.full((200, 200, 3), 230, np.uint8))
    (tmp_path / "d.png").write_bytes(b"none")
    write_png(tmp_path / "e.png", _drawn(1, 300))
    cells = [
        _labelled(tmp_path / name, subject, 12.0)
        for name, subject in (("a.png", "P1"), ("b.png", "P2"), ("c.png", "P2"), ("d.png", "P3"), ("e.png", "P4"))
    ]
    own = read_cells(cells, surrogate(), engine=InOrder())
    assert [cell.record.image for cell in own.cells] == ["a.png", "b.png", "e.png"]
    assert own.pixels.shape == (3, 192, 192, 3)
    assert own.given.tolist() == [True, False, False]
    # The size in the manifest is that of a cell cut out already; the others are measured where they are.
    assert own.diameter_um[0] == 12.0
    assert own.diameter_um[1] != 12.0
    # The same pixels join subjects.
    assert own.groups[1] == own.groups[2] != own.groups[0]
    assert [failure.image for failure in own.failures] == ["c.png", "d.png"]
    assert own.failures[0].reason.startswith("image must show a white cell in its middle, got none")


def test_nothing_to_learn_from_is_an_error(tmp_path: Path):
    write_png(tmp_path / "c.png", np.full((200, 200, 3), 230, np.uint8))
    with pytest.raises(DataError, match=r"images must show white cells, got none \(first c.png: image must show"):
        read_cells([_labelled(tmp_path / "c.png", "P1")], surrogate(), engine=InOrder())
