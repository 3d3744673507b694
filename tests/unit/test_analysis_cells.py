"""Tables of cells and subjects from a model and many images."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from leukospike.analysis.analyze import analyze_images
from leukospike.analysis.judges import SpikeRunJudge
from leukospike.analysis.result import Analysis
from leukospike.datasets import Record, collect_images
from leukospike.errors import WeightsError
from leukospike.images import luma, read_image, write_png
from leukospike.original.components import fit_components
from leukospike.original.model import FittedModel
from leukospike.original.network import ResidualNetwork
from leukospike.original.preprocessing import Normalisation, spike_map

SIDE = 24


def _model(seed: int = 0, side: int = SIDE) -> FittedModel:
    maps = np.random.default_rng(seed).random((12, side, side), dtype=np.float32)
    normalisation = Normalisation.fit(maps)
    components = fit_components(normalisation.apply(maps), n_components=8, seed=0)
    generator = torch.Generator().manual_seed(seed)
    network = ResidualNetwork(image_size=side, generator=generator)
    for _ in range(3):  # so that batch norm holds means of its own
        network(torch.randn(8, 1, side, side, generator=generator))
    return FittedModel(side, 9, None, normalisation, components, network.eval())


@pytest.fixture(scope="module")
def model() -> FittedModel:
    return _model()


def _texts(summary: dict) -> list[str]:
    return [notice["text"] for notice in summary["notices"]]


def _noise(seed: int, side: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """Lay out two subjects of three cells each, and a cell that is nobody's."""
    for subject in ("P1", "P2"):
        for number in range(3):
            write_png(tmp_path / "in" / subject / f"{number}.png", _noise(ord(subject[1]) * 10 + number))
    write_png(tmp_path / "in" / "stray.png", _noise(1))
    return tmp_path / "in"


def _analyze(source: Path | Sequence[Record], models: Sequence[FittedModel], out: Path, **options) -> Analysis:
    records = collect_images([source]) if isinstance(source, Path) else source
    return analyze_images(records, SpikeRunJudge(tuple(models), "run"), out, **options)


def test_cells_table_has_its_columns_in_order_and_a_row_an_image(cells: Path, model: FittedModel, tmp_path: Path):
    _analyze(cells, [model], tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "cells.csv", keep_default_na=False)
    assert list(table.columns)[:5] == ["image", "subject", "probability", "decision", "flags"]
    assert table["image"].tolist() == [
        "P1/0.png", "P1/1.png", "P1/2.png", "P2/0.png", "P2/1.png", "P2/2.png", "stray.png",
    ]  # fmt: skip
    assert table["subject"].tolist() == ["P1"] * 3 + ["P2"] * 3 + [""]
    assert set(table["flags"]) == {""}


def test_probabilities_are_those_of_the_model(cells: Path, model: FittedModel, tmp_path: Path):
    analysis = _analyze(cells, [model], tmp_path / "out")
    maps = np.stack(
        [spike_map(luma(read_image(cells / image).pixels), size=SIDE, window=9) for image in analysis.cells["image"]]
    )
    expected = model.probabilities(maps)
    assert analysis.cells["probability"].to_numpy() == pytest.approx(expected, abs=1e-6)
    assert analysis.cells["decision"].tolist() == np.where(expected >= 0.5, "leukemic", "normal").tolist()
    written = pd.read_csv(tmp_path / "out" / "cells.csv")["probability"]
    assert written.to_numpy() == pytest.approx(analysis.cells["probability"].to_numpy())


def test_several_models_are_averaged(cells: Path, tmp_path: Path):
    models = [_model(seed) for seed in (0, 1, 2)]
    alone = [
        _analyze(cells, [model], tmp_path / str(number)).cells["probability"].to_numpy()
        for number, model in enumerate(models)
    ]
    assert np.abs(alone[0] - alone[1]).max() > 1e-4
    together = _analyze(cells, models, tmp_path / "all")
    assert together.cells["probability"].to_numpy() == pytest.approx(np.mean(alone, axis=0), abs=1e-6)
    summary = json.loads((tmp_path / "all" / "summary.json").read_text())
    assert (summary["model"]["folds"], summary["model"]["networks"]) == (3, 3)
    assert any("mean of 3 networks, one from each of the 3 folds" in notice for notice in _texts(summary))
    assert summary["prevalence"] is None


def test_subject_gets_the_mean_of_its_cells(cells: Path, model: FittedModel, tmp_path: Path):
    analysis = _analyze(cells, [model], tmp_path / "out")
    assert analysis.subjects["subject"].tolist() == ["P1", "P2"]
    for row in analysis.subjects.to_dict("records"):
        own = analysis.cells.loc[analysis.cells["subject"] == row["subject"], "probability"]
        assert (row["cells"], row["counted"], row["leukemic"]) == (3, 3, (own >= 0.5).sum())
        assert row["mean_probability"] == pytest.approx(own.mean(), abs=1e-6)
        assert row["share_leukemic"] == pytest.approx((own >= 0.5).mean(), abs=1e-6)
        assert row["decision"] == ("leukemic" if own.mean() >= 0.5 else "normal")
    written = pd.read_csv(tmp_path / "out" / "subjects.csv")
    assert list(written.columns) == [
        "subject", "cells", "counted", "leukemic", "mean_probability", "share_leukemic", "decision",
    ]  # fmt: skip


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_blank_image_is_flagged_and_gets_no_probability(cells: Path, model: FittedModel, tmp_path: Path, grey: int):
    write_png(cells / "P1" / "0.png", np.full((40, 40, 3), grey, np.uint8))
    analysis = _analyze(cells, [model], tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "cells.csv", keep_default_na=False)
    assert table.iloc[0].tolist() == ["P1/0.png", "P1", "", "", "blank"]
    assert (table["probability"][1:] != "").all()
    assert analysis.subjects[["cells", "counted"]].to_numpy().tolist() == [[3, 2], [3, 3]]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["images"], summary["scored"]) == (7, 6)
    assert any("1 image is blank" in notice for notice in _texts(summary))


def test_subject_of_blank_images_only_is_not_listed(tmp_path: Path, model: FittedModel):
    write_png(tmp_path / "in" / "P1" / "0.png", np.zeros((40, 40, 3), np.uint8))
    analysis = _analyze(tmp_path / "in", [model], tmp_path / "out")
    assert len(analysis.subjects) == 0
    assert (tmp_path / "out" / "subjects.csv").read_text().startswith("subject,cells,")


def test_whole_field_is_flagged(tmp_path: Path, model: FittedModel):
    write_png(tmp_path / "in" / "field.png", np.tile(_noise(0, 25), (2, 41, 1)))
    analysis = _analyze(tmp_path / "in", [model], tmp_path / "out")
    assert analysis.cells["flags"].tolist() == ["large"]
    assert analysis.cells["probability"].notna().all()


def test_unreadable_files_are_named_and_the_rest_goes_on(cells: Path, model: FittedModel, tmp_path: Path):
    (cells / "P1" / "1.png").write_bytes(b"\x89PNG\r\n")
    (cells / "note.png").write_text("no image")
    analysis = _analyze(cells, [model], tmp_path / "out")
    assert [failure.image for failure in analysis.failures] == ["P1/1.png", "note.png"]
    failures = pd.read_csv(tmp_path / "out" / "failures.csv")
    assert failures["image"].tolist() == ["P1/1.png", "note.png"]
    assert failures["reason"].str.len().min() > 0
    assert len(analysis.cells) == 6
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["images"], summary["scored"], summary["failed"]) == (8, 6, 2)


def test_nothing_readable_gives_empty_tables(tmp_path: Path, model: FittedModel):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").touch()
    analysis = _analyze(tmp_path / "in", [model], tmp_path / "out")
    assert (len(analysis.cells), len(analysis.subjects), len(analysis.failures)) == (0, 0, 1)
    assert pd.read_csv(tmp_path / "out" / "cells.csv").empty


def test_no_failures_no_file(cells: Path, model: FittedModel, tmp_path: Path):
    _analyze(cells, [model], tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"cells.csv", "recipe.json", "subjects.csv", "summary.json", "thumbnails.npz"}


def test_more_cells_than_are_scored_at_a_time(tmp_path: Path, model: FittedModel):
    records = [Record(path=tmp_path / f"{n:03}.png", image=f"{n:03}.png", label=None, subject=None) for n in range(70)]
    for number, record in enumerate(records):
        write_png(record.path, _noise(number))
    steps: list[tuple[str, int, int]] = []
    analysis = _analyze(records, [model], tmp_path / "out", progress=lambda *step: steps.append(step))
    assert analysis.cells["image"].tolist() == [record.image for record in records]
    maps = np.stack([spike_map(luma(read_image(record.path).pixels), size=SIDE, window=9) for record in records])
    assert analysis.cells["probability"].to_numpy() == pytest.approx(model.probabilities(maps), abs=1e-6)
    assert steps == [("analyze", done, 70) for done in range(1, 71)]


def test_thumbnails_are_small_pictures_of_the_cells(cells: Path, model: FittedModel, tmp_path: Path):
    _analyze(cells, [model], tmp_path / "out")
    with np.load(tmp_path / "out" / "thumbnails.npz", allow_pickle=False) as kept:
        assert kept["images"].tolist()[-1] == "stray.png"
        assert kept["thumbnails"].shape == (7, 64, 64, 3)
        np.testing.assert_array_equal(kept["thumbnails"][-1][12:52, 12:52], _noise(1))


def test_summary_names_the_model_by_its_weights(cells: Path, model: FittedModel, tmp_path: Path):
    def digest(models: list[FittedModel], out: str) -> str:
        _analyze(cells, models, tmp_path / out)
        return json.loads((tmp_path / out / "summary.json").read_text())["model"]["digest"]

    assert digest([model], "a") == digest([_model()], "b")
    assert digest([model], "c") != digest([_model(1)], "d")


def test_drawn_cells_and_unknown_subjects_are_said(tmp_path: Path, model: FittedModel):
    write_png(tmp_path / "in" / "a.png", _noise(0), generated=True)
    _analyze(tmp_path / "in" / "a.png", [model], tmp_path / "out")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["generated"] is True
    assert any(notice.startswith("No subjects are known") for notice in _texts(summary))


def test_weights_that_give_no_probability_are_refused(cells: Path, tmp_path: Path):
    model = _model()
    with torch.no_grad():
        model.network.get_parameter("stem.0.weight").fill_(3e38)  # finite, but not what it is multiplied with
    with pytest.raises(
        WeightsError, match=r"a probability for each cell, got nan for P1/0\.png with run\. Train again"
    ):
        _analyze(cells, [model, _model(1)], tmp_path / "out")


def test_models_of_different_sizes_are_refused(cells: Path, model: FittedModel, tmp_path: Path):
    with pytest.raises(WeightsError, match=r"analyze: models must share one image size, got several in run\."):
        _analyze(cells, [model, _model(side=30)], tmp_path / "out")
