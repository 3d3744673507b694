"""All that is said of a cell: made, written, read and shown."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from leukospike.analysis.result import load_analysis
from leukospike.classification.appearance_learning import appearances
from leukospike.classification.cells import LabelledCells
from leukospike.classification.classifier import Classifier
from leukospike.classification.explanation import (
    CellToExplain,
    Explainer,
    Explanation,
    chosen_cells,
    likely_kinds,
    load_explainer,
    read_explanations,
    save_explainer,
    spike_times,
    write_explanations,
)
from leukospike.classification.kinds import CellKind
from leukospike.classification.morphology import MorphologyReference, morphology
from leukospike.classification.neighbours import TrainingIndex
from leukospike.errors import RunError, WeightsError
from leukospike.images import luma
from leukospike.report.explanations import explained_cells, full_colour, overlay, smoothed, spike_time_colours
from leukospike.spikes import SILENT, latency_map

PLACES = (0, 44)


@pytest.fixture(scope="module")
def explainer(drawn_pixels: np.ndarray, drawn_cells: LabelledCells, drawn_classifier: Classifier) -> Explainer:
    labels = drawn_cells.labels.tolist()
    n = len(labels)
    judged = drawn_classifier.judge(drawn_pixels, given=np.zeros(n, bool), diameter_um=np.full(n, np.nan))
    index = TrainingIndex.fit(
        judged.axes,
        images=[f"<{cell}>.png" for cell in range(n)],
        subjects=drawn_cells.subjects,
        kinds=["lymphoblast" if label else "lymphocyte" for label in labels],
        laboratories=["drawn"] * n,
    )
    measured = [morphology(one, {"nc_ratio": 0.5}) for one in appearances(drawn_cells.crops)]
    return Explainer(drawn_classifier, index, MorphologyReference.fit(measured, labels))


def _cell(pixels: np.ndarray, *, number: int = 0, given: bool = False) -> CellToExplain:
    return CellToExplain(f"{number} & co.png", number, 0.25 + number / 2, pixels, given, np.nan, {"nc_ratio": 0.7})


@pytest.fixture(scope="module")
def explanations(explainer: Explainer, drawn_pixels: np.ndarray) -> list[Explanation]:
    return explainer.explain([_cell(drawn_pixels[place], number=number) for number, place in enumerate(PLACES)])


def test_a_training_cell_finds_itself_and_its_kind(explanations: list[Explanation]):
    for explanation, place, kind in zip(explanations, PLACES, ("lymphocyte", "lymphoblast"), strict=True):
        nearest = explanation.neighbours[0]
        assert (nearest.image, nearest.kind, nearest.laboratory) == (f"<{place}>.png", kind, "drawn")
        assert nearest.similarity == pytest.approx(1, abs=1e-3)
        assert len(explanation.neighbours) == 5
        assert explanation.kinds[0].kind == kind


def test_what_the_kinds_are_is_what_is_judged(
    explainer: Explainer, explanations: list[Explanation], drawn_pixels: np.ndarray
):
    judged = explainer.classifier.judge(drawn_pixels[[0]], given=np.zeros(1, bool), diameter_um=np.full(1, np.nan))
    expected = likely_kinds(judged.kinds[0])
    assert [kind.kind for kind in explanations[0].kinds] == [kind.kind for kind in expected]
    for found, own in zip(explanations[0].kinds, expected, strict=True):
        assert found.probability == pytest.approx(own.probability, abs=1e-5)
    assert explanations[0].attribution.shape == explanations[0].latency.shape == (128, 128)
    assert np.abs(explanations[0].attribution).sum() > 0.1


def test_three_kinds_are_named_at_most_and_none_that_is_unlikely():
    shares = np.zeros(11)
    shares[[CellKind.MONOCYTE.place, CellKind.BASOPHIL.place]] = 0.2, 0.795
    shares[CellKind.PLATELET.place] = 0.005
    assert [kind.kind for kind in likely_kinds(shares)] == ["basophil", "monocyte"]
    assert [kind.probability for kind in likely_kinds(np.full(11, 1 / 11))] == [1 / 11] * 3


def test_sizes_and_colours_are_compared_only_of_cells_like_those_of_the_reference(
    explainer: Explainer, drawn_pixels: np.ndarray
):
    # Dark in every colour and of little contrast, as stain normalisation left C-NMC's cells.
    dark = np.where(drawn_pixels[0] >= 5, 20 + drawn_pixels[0] // 6, 0).astype(np.uint8)
    home, unlike, cut_out = explainer.explain(
        [_cell(dark, given=True), _cell(drawn_pixels[0], given=True), _cell(dark, given=False)]
    )
    assert [home.at_home, unlike.at_home, cut_out.at_home] == [True, False, False]
    everything = ["diameter_px", "nc_ratio", "axis_ratio", "density", "contrast", "clumping"]
    assert [place.measure for place in home.places] == everything
    for other in (unlike, cut_out):
        assert [place.measure for place in other.places] == ["nc_ratio", "axis_ratio"]


def test_nothing_to_explain(explainer: Explainer, tmp_path: Path):
    assert explainer.explain([]) == []
    write_explanations(tmp_path, [])
    assert read_explanations(tmp_path) == ()


def test_what_is_written_is_read(explanations: list[Explanation], tmp_path: Path):
    assert read_explanations(tmp_path) == ()
    write_explanations(tmp_path, explanations)
    for own, read in zip(explanations, read_explanations(tmp_path), strict=True):
        for name in ("image", "number", "probability", "kinds", "at_home", "neighbours", "places"):
            assert getattr(read, name) == getattr(own, name)
        for name in ("picture", "attribution", "latency"):
            np.testing.assert_array_equal(getattr(read, name), getattr(own, name))
            assert getattr(read, name).dtype == getattr(own, name).dtype
    told = json.loads((tmp_path / "explanations.json").read_text())
    assert told[1]["kinds"][0] == {"kind": "lymphoblast", "probability": explanations[1].kinds[0].probability}


def test_files_that_do_not_belong_together(explanations: list[Explanation], tmp_path: Path):
    write_explanations(tmp_path, explanations)
    (tmp_path / "explanations.json").write_text(
        json.dumps(json.loads((tmp_path / "explanations.json").read_text())[:1])
    )
    with pytest.raises(RunError, match="the two files describe different cells"):
        read_explanations(tmp_path)
    (tmp_path / "explanations.npz").unlink()
    with pytest.raises(RunError, match=r"explanations.json and explanations.npz must be as leukospike wrote them"):
        read_explanations(tmp_path)


def test_the_explainer_comes_back_with_its_classifier_alone(
    explainer: Explainer, drawn_pixels: np.ndarray, tmp_path: Path
):
    path = tmp_path / "cells.safetensors"
    save_explainer(explainer, path)
    cell = _cell(drawn_pixels[5])
    [own], [again] = explainer.explain([cell]), load_explainer(explainer.classifier, path).explain([cell])
    assert (again.kinds, again.neighbours, again.places) == (own.kinds, own.neighbours, own.places)
    other = replace(explainer.classifier, card={"what": "another"})
    with pytest.raises(
        WeightsError, match=r"must belong to the same classifier, got cells\.safetensors of another one"
    ):
        load_explainer(other, path)


def test_chosen_are_the_nearest_to_the_threshold_and_the_ends():
    probability = np.linspace(0, 1, 101)
    probability[10] = np.nan
    chosen = chosen_cells(probability, 12, threshold=0.5)
    assert len(chosen) == 12
    assert chosen == sorted(chosen, reverse=True)
    assert {100, 99, 98, 0, 1, 2} <= set(chosen)
    assert len(set(chosen) & set(range(46, 55))) == 6
    assert chosen_cells(probability[:3], 12, threshold=0.5) == [2, 1, 0]
    assert chosen_cells(probability, 0, threshold=0.5) == []
    assert chosen_cells(probability, 1, threshold=0.5) == [50]
    assert chosen_cells(np.full(4, np.nan), 3, threshold=0.5) == []
    for n_chosen in range(1, 9):
        assert len(chosen_cells(np.linspace(0, 1, 6), n_chosen, threshold=0.9)) == min(n_chosen, 6)


def test_spike_times_are_those_of_the_front_end_within_the_cell(drawn_cells: LabelledCells):
    crop = drawn_cells.crops[0]
    times = spike_times(crop)
    latency = latency_map(torch.from_numpy(luma(crop))[None, None]).latency[0].numpy()
    inside = crop.max(axis=2) >= 5
    np.testing.assert_array_equal(times[2:-2, 2:-2][inside[2:-2, 2:-2]], latency[inside[2:-2, 2:-2]])
    assert (times[~inside] == SILENT).all()
    assert times[inside].min() == 0


def test_colours_say_which_way_and_how_much():
    crop = np.zeros((96, 96, 3), np.uint8)
    crop[20:70] = 100
    attribution = np.zeros((96, 96), np.float32)
    attribution[30:34, 48] = 1
    attribution[56:60, 48] = -1
    smooth = smoothed(attribution, crop)
    assert smooth.sum() == pytest.approx(0, abs=1e-5)
    drawn = overlay(crop, smooth, full=full_colour([smooth])).astype(int)
    red_less_blue = drawn[..., 0] - drawn[..., 2]
    assert red_less_blue[64, 96] > 50
    assert red_less_blue[116, 96] < -50
    assert not drawn[:30].any()
    assert abs(red_less_blue[100, 20]) <= 1
    assert full_colour([]) == 1
    assert (spike_time_colours(np.full((96, 96), SILENT, np.uint8)) == 255).all()


def test_what_is_shown_is_in_words(explanations: list[Explanation]):
    flags = {(explanations[0].image, explanations[0].number): "out_of_focus"}
    cells = explained_cells(explanations, threshold=0.5, flags=flags, fields={explanations[1].image})
    assert [cell.flags for cell in cells] == ["out_of_focus", ""]
    assert [cell.cell for cell in cells] == [0, explanations[1].number]
    assert [cell.decision for cell in cells] == ["normal", "leukemic"]
    assert [cell.kinds[0].name for cell in cells] == ["lymphocyte", "lymphoblast"]
    assert cells[1].kinds[0].probability == f"{explanations[1].kinds[0].probability:.3f}"
    assert [cell.neighbours[0].laboratory for cell in cells] == ["drawn", "drawn"]


def test_the_report_shows_explained_cells(explanations: list[Explanation], tmp_path: Path):
    rows = "".join(f"{cell.image},S1,{cell.probability},,{cell.number},large\n" for cell in explanations)
    (tmp_path / "cells.csv").write_text("image,subject,probability,decision,cell,flags\n" + rows)
    (tmp_path / "subjects.csv").write_text("subject,cells,counted,leukemic,mean_probability,share_leukemic,decision\n")
    (tmp_path / "images.csv").write_text(
        "image,subject,kind,cells,counted,leukemic,flags,um_per_px,pixel_size_from,red_cells,scaled_by,overlay\n"
        f"{explanations[1].image},S1,field,1,1,1,,,,,source,\n"
    )
    summary = {"images": 2, "failed": 0, "model": {}, "generated": True, "decision_threshold": 0.5}
    (tmp_path / "summary.json").write_text(json.dumps(summary | {"notices": []}))
    np.savez(tmp_path / "thumbnails.npz", images=np.array([], dtype=str), thumbnails=np.zeros((0, 64, 64, 3), np.uint8))
    assert 'id="explanations"' not in load_analysis(tmp_path).report(tmp_path / "report.html").read_text()
    write_explanations(tmp_path, explanations)
    page = load_analysis(tmp_path).report(tmp_path / "report.html").read_text()
    assert 'id="explanations"' in page
    assert "Why: 2 cells explained" in page
    assert "<bdi>1 &amp; co.png</bdi>, cell 1: 0.750, leukemic" in page
    assert page.count('<p class="flags">large</p>') == 2
    assert "<bdi>&lt;44&gt;.png</bdi>" in page
    assert explanations[1].places[0].words in page
    assert page.count("compared with C-NMC, ratios only") == 2
    for kind in explanations[1].kinds:
        assert f"<td>{kind.kind}</td>" in page
    assert page.count("data:image/png") >= 6
