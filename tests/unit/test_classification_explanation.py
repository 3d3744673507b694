"""All that is said of a cell: made, written, read and shown."""

import json
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
    load_explainer,
    read_explanations,
    save_explainer,
    spike_times,
    write_explanations,
)
from leukospike.classification.morphology import MorphologyReference, morphology
from leukospike.classification.neighbours import TrainingIndex
from leukospike.errors import RunError, WeightsError
from leukospike.images import luma
from leukospike.report.explanations import explained_cells, full_colour, overlay, smoothed, spike_time_colours
from leukospike.spikes import SILENT, latency_map


@pytest.fixture(scope="module")
def explainer(drawn_cells: LabelledCells, drawn_classifier: Classifier) -> Explainer:
    measures = appearances(drawn_cells.crops)
    embeddings = drawn_classifier.networks[0].standardised(torch.from_numpy(measures)).numpy()
    index = TrainingIndex.fit(
        embeddings,
        images=[f"<{cell}>.png" for cell in range(len(measures))],
        subjects=drawn_cells.subjects,
        labels=drawn_cells.labels.tolist(),
    )
    reference = MorphologyReference.fit([morphology(one, {}) for one in measures], drawn_cells.labels.tolist())
    return Explainer(drawn_classifier, index, reference)


@pytest.fixture(scope="module")
def explanations(explainer: Explainer, drawn_cells: LabelledCells) -> list[Explanation]:
    cells = [
        CellToExplain(f"{place} & co.png", number, 0.25 + number / 2, drawn_cells.crops[place], {"nc_ratio": 0.7})
        for number, place in enumerate((0, 44))
    ]
    return explainer.explain(cells)


def test_a_training_cell_finds_itself_and_its_kind(explanations: list[Explanation]):
    for explanation, place in zip(explanations, (0, 44), strict=True):
        assert explanation.neighbours[0].image == f"<{place}>.png"
        assert explanation.neighbours[0].similarity == pytest.approx(1, abs=1e-3)
        assert len(explanation.neighbours) == 5
        assert [place.measure for place in explanation.places] == [
            "diameter_px",
            "axis_ratio",
            "density",
            "contrast",
            "clumping",
        ]
    assert explanations[0].parts.log_odds < 0 < explanations[1].parts.log_odds


def test_nothing_to_explain(explainer: Explainer, tmp_path: Path):
    assert explainer.explain([]) == []
    write_explanations(tmp_path, [])
    assert read_explanations(tmp_path) == ()


def test_what_is_written_is_read(explanations: list[Explanation], tmp_path: Path):
    assert read_explanations(tmp_path) == ()
    write_explanations(tmp_path, explanations)
    for own, read in zip(explanations, read_explanations(tmp_path), strict=True):
        for name in ("image", "number", "probability", "parts", "neighbours", "places"):
            assert getattr(read, name) == getattr(own, name)
        for name in ("crop", "attribution", "latency"):
            np.testing.assert_array_equal(getattr(read, name), getattr(own, name))
            assert getattr(read, name).dtype == getattr(own, name).dtype
    told = json.loads((tmp_path / "explanations.json").read_text())
    assert told[1]["log_odds"] == explanations[1].parts.log_odds


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
    explainer: Explainer, drawn_cells: LabelledCells, tmp_path: Path
):
    path = tmp_path / "cells.safetensors"
    save_explainer(explainer, path)
    cell = CellToExplain("a", 0, 0.5, drawn_cells.crops[5], {})
    [own], [again] = explainer.explain([cell]), load_explainer(explainer.classifier, path).explain([cell])
    assert (again.parts, again.neighbours, again.places) == (own.parts, own.neighbours, own.places)
    classifier = explainer.classifier
    other = Classifier(classifier.networks[:1], classifier.confidence, classifier.distance, classifier.reference, {})
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
    assert [part.name for part in cells[0].parts][:3] == ["typical", "size", "shape"]


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
    assert "<bdi>44 &amp; co.png</bdi>, cell 1: 0.750, leukemic" in page
    assert page.count('<p class="flags">large</p>') == 2
    assert "<bdi>&lt;44&gt;.png</bdi>" in page
    assert explanations[1].places[0].words in page
    assert page.count("data:image/png") >= 6
