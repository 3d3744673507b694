"""Whole fields: drawn ones, so that what is in them is known, and a segmenter that knows it too."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from leukospike.analysis.analyze import analyze_images
from leukospike.analysis.judges import SpikeRunJudge
from leukospike.analysis.result import Analysis
from leukospike.datasets import Record
from leukospike.images import pixel_digest, write_png
from leukospike.images.framing import Framing
from leukospike.original.components import fit_components
from leukospike.original.model import FittedModel
from leukospike.original.network import ResidualNetwork
from leukospike.original.preprocessing import Normalisation
from leukospike.segmentation import CELL_COLUMNS, PixelSize
from leukospike.segmentation.class_maps import Reading
from leukospike.segmentation.looks import ScaleFrom
from leukospike.segmentation.methods import SegmentationMethod
from leukospike.settings import Kind
from leukospike.smears import CellKind, DrawnField, draw_cell, draw_field, subject_style

SIDE = 24
FRAMING = Framing(side_px=300, um_per_px=25 / 300, cell_share=0.44, on_black=True)


@pytest.fixture(scope="module")
def model() -> FittedModel:
    maps = np.random.default_rng(0).random((12, SIDE, SIDE), dtype=np.float32)
    normalisation = Normalisation.fit(maps)
    components = fit_components(normalisation.apply(maps), n_components=8, seed=0)
    generator = torch.Generator().manual_seed(0)
    network = ResidualNetwork(image_size=SIDE, generator=generator)
    for _ in range(3):  # so that batch norm holds means of its own
        network(torch.randn(8, 1, SIDE, SIDE, generator=generator))
    return FittedModel(SIDE, 9, None, normalisation, components, network.eval(), FRAMING)


@pytest.fixture(scope="module")
def drawn() -> list[DrawnField]:
    """Draw two fields of one subject: two and three white cells."""
    rng = np.random.default_rng(5)
    style = subject_style(rng)
    kinds = ([CellKind.LYMPHOBLAST] * 2, [CellKind.LYMPHOBLAST, CellKind.LYMPHOCYTE, CellKind.LYMPHOCYTE])
    return [draw_field(kind, style, rng) for kind in kinds]


class _Oracle:
    """Gives the classes that fields were drawn by, and red cells of their size; of others it knows nothing."""

    def __init__(self, *fields: DrawnField) -> None:
        self._maps = {pixel_digest(field.pixels): np.searchsorted([0, 128, 255], field.mask) for field in fields}

    def __call__(self, pixels: np.ndarray, _light: object, size: PixelSize | None) -> Reading:
        known = self._maps.get(pixel_digest(pixels))
        if known is None:
            return Reading(np.zeros(pixels.shape[:2], np.uint8))
        classes, red_cells = known.astype(np.uint8), np.array([56.0, 57.6, 59.0])
        if size is not None:
            return Reading(classes, 50 / size.red_cell_px, ScaleFrom.STATED, red_cells)
        return Reading(classes, 50 / 57.6, ScaleFrom.RED_CELLS, red_cells)


def _records(folder: Path, fields: Sequence[DrawnField], **about) -> list[Record]:
    records = []
    for number, field in enumerate(fields):
        path = folder / f"{number}.png"
        write_png(path, field.pixels, um_per_px=about.get("um_per_px", 1 / 8))
        records.append(Record(path=path, image=path.name, label=None, subject="P1", centroids=about.get("centroids")))
    return records


def _analyze(records, fields, model: FittedModel, out: Path, **options) -> Analysis:
    out.mkdir()
    method = SegmentationMethod("oracle", _Oracle(*fields), "0")
    return analyze_images(records, SpikeRunJudge((model,), "run"), out, method=method, **options)


def _summary(out: Path) -> dict:
    summary = json.loads((out / "summary.json").read_text())
    return summary | {"notices": [notice["text"] for notice in summary["notices"]]}


def test_each_white_cell_of_a_field_has_a_row_with_its_place(drawn, model: FittedModel, tmp_path: Path):
    out = tmp_path / "out"
    analysis = _analyze(_records(tmp_path, drawn), drawn, model, out)
    cells = pd.read_csv(out / "cells.csv")
    first = ["image", "subject", "probability", "decision", "flags", "cell"]
    assert list(cells.columns)[:11] == [*first, "top", "left", "height", "width", "area_px"]
    assert set(CELL_COLUMNS) <= set(cells.columns)
    assert cells["image"].tolist() == ["0.png"] * 2 + ["1.png"] * 3
    assert cells["cell"].tolist() == [1, 2, 1, 2, 3]
    for number, field in enumerate(drawn):
        boxes = [
            (box.top, box.left, box.bottom - box.top, box.right - box.left) for box in field.boxes if box.label == "WBC"
        ]
        own = cells[cells["image"] == f"{number}.png"]
        assert list(own[["top", "left", "height", "width"]].itertuples(index=False, name=None)) == sorted(boxes)
    assert np.isfinite(analysis.cells["probability"]).all()
    assert analysis.subjects["cells"].tolist() == [5]


def test_image_has_its_counts_and_its_overlay(drawn, model: FittedModel, tmp_path: Path):
    out = tmp_path / "out"
    analysis = _analyze(_records(tmp_path, drawn), drawn, model, out)
    images = pd.read_csv(out / "images.csv", keep_default_na=False)
    assert images["kind"].tolist() == ["field", "field"]
    assert images["cells"].tolist() == images["counted"].tolist() == [2, 3]
    leukemic = analysis.cells["decision"] == "leukemic"
    assert images["leukemic"].tolist() == [leukemic[:2].sum(), leukemic[2:].sum()]
    overlay = np.asarray(Image.open(out / images["overlay"][0]))
    assert overlay.shape == drawn[0].pixels.shape
    assert (overlay != drawn[0].pixels).any()
    with np.load(out / "thumbnails.npz") as kept:
        assert kept["cells"].tolist() == [1, 2, 1, 2, 3]
        assert kept["thumbnails"].shape == (5, 64, 64, 3)


def test_cell_of_a_field_is_shown_as_its_picture_alone(model: FittedModel, tmp_path: Path):
    rng = np.random.default_rng(3)
    style = subject_style(rng)
    cell = draw_cell(CellKind.LYMPHOBLAST, style, rng)
    pixels = np.full((480, 640, 3), (235, 225, 230), np.uint8)
    mask = np.zeros((480, 640), np.uint8)
    inside = cell.mask > 0
    pixels[100:400, 200:500][inside], mask[100:400, 200:500][inside] = cell.pixels[inside], cell.mask[inside]
    field = DrawnField(pixels, mask, ())
    records = _records(tmp_path, [field], um_per_px=25 / 300)
    write_png(tmp_path / "alone.png", cell.pixels)
    records.append(Record(path=tmp_path / "alone.png", image="alone.png", label=None, subject="P1"))
    in_field, alone = _thumbnails(records, field, model, tmp_path / "out")
    assert np.abs(in_field - alone).mean() < 2
    [other_scale] = _thumbnails(records[:1], field, model, tmp_path / "other", pixel_size=PixelSize(0.2, "given"))
    assert np.abs(other_scale - alone).mean() > 20


def _thumbnails(records, field: DrawnField, model: FittedModel, out: Path, **options) -> np.ndarray:
    _analyze(records, [field], model, out, **options)
    with np.load(out / "thumbnails.npz") as kept:
        return kept["thumbnails"].astype(float)


def test_cell_that_the_border_cuts_is_in_no_mean(drawn, model: FittedModel, tmp_path: Path):
    top = min(box.top for box in drawn[1].boxes if box.label == "WBC")
    cut = DrawnField(drawn[1].pixels[top + 25 :], drawn[1].mask[top + 25 :], ())
    analysis = _analyze(_records(tmp_path, [cut]), [cut], model, tmp_path / "out")
    assert analysis.cells["flags"].tolist() == ["border", "", ""]
    assert np.isfinite(analysis.cells["probability"][0])
    assert analysis.subjects[["cells", "counted"]].to_numpy().tolist() == [[3, 2]]
    mean = analysis.cells["probability"][1:].mean()
    assert analysis.subjects["mean_probability"][0] == pytest.approx(mean, abs=1e-6)
    images = pd.read_csv(tmp_path / "out" / "images.csv")
    assert (images["cells"][0], images["counted"][0]) == (3, 2)
    summary = _summary(tmp_path / "out")
    assert [summary[name] for name in ("cells", "scored", "counted")] == [3, 3, 2]
    assert summary["leukemic"] == images["leukemic"][0] == analysis.subjects["leukemic"][0]
    assert any("1 cell is cut off at the border" in notice for notice in _summary(tmp_path / "out")["notices"])


@pytest.mark.parametrize(
    ("framing", "um_per_px", "way", "words"),
    [
        (FRAMING, 1 / 8, "pixel size", "by pixel size"),
        (replace(FRAMING, um_per_px=None), 1 / 8, "proportion", "the model's pixel size is missing"),
        (None, 1 / 8, "proportion", "framed as in C-NMC"),
    ],
)
def test_scale_is_said(drawn, model: FittedModel, tmp_path: Path, framing, um_per_px: float, way: str, words: str):
    out = tmp_path / "out"
    _analyze(_records(tmp_path, drawn, um_per_px=um_per_px), drawn, replace(model, framing=framing), out)
    assert set(pd.read_csv(out / "images.csv")["scaled_by"]) == {way}
    summary = _summary(out)
    assert summary["scale"]["fields_by_pixel_size"] == (2 if way == "pixel size" else 0)
    assert any(words in notice for notice in summary["notices"])


def test_pixel_size_comes_from_red_cells_where_nothing_states_it(drawn, model: FittedModel, tmp_path: Path):
    out = tmp_path / "out"
    _analyze(_records(tmp_path, drawn, um_per_px=None), drawn, model, out)
    images = pd.read_csv(out / "images.csv")
    assert set(images["pixel_size_from"]) == {"red cells"}
    assert images["um_per_px"].to_numpy() == pytest.approx(1 / 8, rel=0.1)
    assert (images["red_cells"] >= 3).all()
    assert set(images["scaled_by"]) == {"pixel size"}


def test_given_pixel_size_goes_before_all(drawn, model: FittedModel, tmp_path: Path):
    _analyze(_records(tmp_path, drawn), drawn, model, tmp_path / "out", pixel_size=PixelSize(0.1, "given"))
    images = pd.read_csv(tmp_path / "out" / "images.csv")
    assert images[["um_per_px", "pixel_size_from"]].to_numpy().tolist() == [[0.1, "given"]] * 2


def test_implausible_pixel_size_is_flagged_and_said(drawn, model: FittedModel, tmp_path: Path):
    analysis = _analyze(_records(tmp_path, drawn), drawn, model, tmp_path / "out", pixel_size=PixelSize(0.6, "given"))
    assert pd.read_csv(tmp_path / "out" / "images.csv")["flags"].tolist() == ["pixel_size"] * 2
    assert len(analysis.cells) == 5
    notices = _summary(tmp_path / "out")["notices"]
    assert any(notice.startswith("The pixel size is implausible in 2 images") for notice in notices)
    assert not any("could not be read" in notice for notice in notices)


def _bad(field: DrawnField, how: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    pixels = field.pixels
    return {
        "blank": np.full_like(pixels, 200),
        "inverted": 255 - pixels,
        "underexposed": (pixels * 0.15).astype(np.uint8),
        "overexposed": np.clip(pixels.astype(float) * 3.5, 0, 255).astype(np.uint8),
        "not_a_smear": rng.integers(0, 256, pixels.shape, dtype=np.uint8),
    }[how]


@pytest.mark.parametrize("how", ["inverted", "underexposed", "overexposed", "not_a_smear"])
@pytest.mark.parametrize("strict", [False, True])
def test_bad_field_has_a_flag_and_keeps_its_cells_unless_told_otherwise(
    drawn, model: FittedModel, tmp_path: Path, how: str, strict: bool
):
    bad = DrawnField(_bad(drawn[0], how), drawn[0].mask, ())
    fields, out = [bad, drawn[1]], tmp_path / "out"
    analysis = _analyze(_records(tmp_path, fields), fields, model, out, strict=strict, kind=Kind.FIELD)
    assert set(analysis.cells["image"]) == ({"1.png"} if strict else {"0.png", "1.png"})
    images = pd.read_csv(out / "images.csv", keep_default_na=False)
    assert how in images["flags"][0].split()
    assert images["advice"][0].startswith(images["flags"][0].split()[0])
    assert (images["flags"][1], images["advice"][1]) == ("", "")
    assert images["cells"].tolist() == [0 if strict else 2, 3]
    notices = _summary(out)["notices"]
    assert any(notice.startswith("1 image looks doubtful") for notice in notices)
    assert any("No white cell was found in 1 field" in notice for notice in notices) is strict


def test_blank_field_has_no_cells(drawn, model: FittedModel, tmp_path: Path):
    bad = DrawnField(_bad(drawn[0], "blank"), drawn[0].mask, ())  # the segmenter would make up cells
    fields, out = [bad, drawn[1]], tmp_path / "out"
    analysis = _analyze(_records(tmp_path, fields), fields, model, out)
    assert set(analysis.cells["image"]) == {"1.png"}
    images = pd.read_csv(out / "images.csv", keep_default_na=False)
    assert (images["flags"].tolist(), images["cells"].tolist()) == (["blank", ""], [0, 3])
    notices = _summary(out)["notices"]
    assert any("No white cell was found in 1 field" in notice for notice in notices)
    assert not any("doubtful" in notice for notice in notices)


def test_nothing_but_bad_fields_gives_empty_tables(drawn, model: FittedModel, tmp_path: Path):
    bad = DrawnField(_bad(drawn[0], "blank"), drawn[0].mask, ())
    analysis = _analyze(_records(tmp_path, [bad]), [bad], model, tmp_path / "out")
    assert (len(analysis.cells), len(analysis.subjects)) == (0, 0)
    assert "nc_ratio" in pd.read_csv(tmp_path / "out" / "cells.csv").columns


def _around_one_cell(field: DrawnField, margin: int = 20) -> DrawnField:
    box = next(box for box in field.boxes if box.label == "WBC")
    window = np.s_[max(0, box.top - margin) : box.bottom + margin, max(0, box.left - margin) : box.right + margin]
    return DrawnField(field.pixels[window], field.mask[window], ())


def test_kind_can_be_said(drawn, model: FittedModel, tmp_path: Path):
    records = _records(tmp_path, drawn[:1])
    analysis = _analyze(records, drawn[:1], model, tmp_path / "cell", kind=Kind.CELL)
    assert len(analysis.cells) == 1
    assert pd.read_csv(tmp_path / "cell" / "images.csv")["kind"].tolist() == ["cell"]
    assert _summary_kinds(records, drawn[0], model, tmp_path / "auto", Kind.AUTO) == {
        "asked": "auto", "cell": 0, "field": 1,
    }  # fmt: skip
    small = _around_one_cell(drawn[0])
    records = _records(tmp_path, [small])
    assert _summary_kinds(records, small, model, tmp_path / "small", Kind.AUTO) == {
        "asked": "auto", "cell": 1, "field": 0,
    }  # fmt: skip
    assert _summary_kinds(records, small, model, tmp_path / "field", Kind.FIELD) == {
        "asked": "field", "cell": 0, "field": 1,
    }  # fmt: skip


def test_small_field_of_many_cells_is_told_by_them(drawn, model: FittedModel, tmp_path: Path):
    size = (160, 120)
    pixels = np.asarray(Image.fromarray(drawn[1].pixels).resize(size, Image.Resampling.BOX))
    mask = np.asarray(Image.fromarray(drawn[1].mask).resize(size, Image.Resampling.NEAREST))
    small = DrawnField(pixels, mask, ())
    records = _records(tmp_path, [small], um_per_px=0.5)
    assert _summary_kinds(records, small, model, tmp_path / "auto", Kind.AUTO)["field"] == 1
    assert len(pd.read_csv(tmp_path / "auto" / "cells.csv")) == 3


def _summary_kinds(records, field, model: FittedModel, out: Path, kind: Kind) -> dict:
    _analyze(records, [field], model, out, kind=kind)
    return _summary(out)["kinds"]


def test_picture_of_one_cell_has_the_measures_of_that_in_its_middle(drawn, model: FittedModel, tmp_path: Path):
    box = next(box for box in drawn[1].boxes if box.label == "WBC")
    crop = _around_one_cell(drawn[1])
    unknown = draw_cell(CellKind.LYMPHOCYTE, subject_style(np.random.default_rng(0)), np.random.default_rng(1))
    records = _records(tmp_path, [crop])
    write_png(tmp_path / "x.png", unknown.pixels)
    records.append(Record(path=tmp_path / "x.png", image="x.png", label=None, subject="P2"))
    out = tmp_path / "out"
    analysis = _analyze(records, [crop], model, out)
    assert np.isfinite(analysis.cells["probability"]).all()
    assert analysis.cells["area_px"][0] == np.count_nonzero(drawn[1].mask[box.top : box.bottom, box.left : box.right])
    lines = (out / "cells.csv").read_text().splitlines()
    assert lines[2].endswith("," * (len(CELL_COLUMNS) - 1))  # no cell was found there: no measure is made up
    images = pd.read_csv(out / "images.csv", keep_default_na=False)
    assert images["kind"].tolist() == ["cell", "cell"]
    assert images["overlay"].tolist() == ["", ""]
    assert not list(out.glob("overlays/*"))


@pytest.mark.parametrize("kind", [Kind.AUTO, Kind.CELL])
def test_picture_without_a_white_cell_is_flagged_and_counted(drawn, model: FittedModel, tmp_path: Path, kind: Kind):
    cell = _around_one_cell(drawn[0])
    rng = np.random.default_rng(1)
    empty = draw_cell(CellKind.LYMPHOCYTE, subject_style(rng), rng)  # the segmenter gives it nothing
    blank = DrawnField(np.full((400, 400, 3), 200, np.uint8), np.zeros((400, 400), np.uint8), ())
    records = _records(tmp_path, [cell, DrawnField(empty.pixels, empty.mask, ()), blank])
    analysis = _analyze(records, [cell, blank], model, tmp_path / "out", kind=kind)
    # What a blank image shows cannot be told: it is taken for a field without cells.
    flags, scored = ["", "no_cell", "blank"], [True, True, False]
    n_cells = 3 if kind is Kind.CELL else 2
    assert analysis.cells["flags"].tolist() == flags[:n_cells]
    assert np.isfinite(analysis.cells["probability"]).tolist() == scored[:n_cells]
    assert "blank" in pd.read_csv(tmp_path / "out" / "images.csv", keep_default_na=False)["flags"][2].split()
    notices = _summary(tmp_path / "out")["notices"]
    assert [notice for notice in notices if "found in 1 image of a single cell" in notice] == [
        "No white cell was found in 1 image of a single cell. Scored nevertheless: check whether there is one."
    ]


def test_listed_centroids_are_scored(drawn, model: FittedModel, tmp_path: Path):
    boxes = [box for box in drawn[1].boxes if box.label == "WBC"]
    centres = tuple(((box.top + box.bottom) / 2, (box.left + box.right) / 2) for box in boxes)
    records = _records(tmp_path, drawn)
    listed = [replace(records[0], centroids=()), replace(records[1], centroids=(*centres[:2], (5.0, 5.0)))]
    _analyze(listed, drawn, model, tmp_path / "out")
    assert _summary(tmp_path / "out")["detection"] == {
        "fields": 1,
        "listed": 3,
        "found": 3,
        "matched": 2,
        "recall": 2 / 3,
        "precision": 2 / 3,
        "fields_with_empty_list": 1,
        "found_in_those": 2,
    }
    _analyze(records, drawn, model, tmp_path / "unlisted")
    assert _summary(tmp_path / "unlisted")["detection"] is None


def test_name_that_leaves_no_room_for_the_overlay_is_named(drawn, model: FittedModel, tmp_path: Path):
    [record] = _records(tmp_path, drawn[:1])
    analysis = _analyze([replace(record, image="x" * 251 + ".png")], drawn[:1], model, tmp_path / "out")
    [failure] = analysis.failures
    assert "must have at most 240 bytes" in failure.reason
    assert len(analysis.cells) == 0
