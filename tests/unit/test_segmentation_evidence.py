"""What speaks for an object being a white cell: measured on drawn ones, and weighed."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from leukospike.errors import WeightsError
from leukospike.segmentation.class_maps import Reading
from leukospike.segmentation.evidence import (
    MEASURES,
    EvidenceNetwork,
    default_evidence,
    evidence_of,
    load_evidence,
    save_evidence,
)
from leukospike.segmentation.instances import Box, Instances, find_cells
from leukospike.segmentation.light import EMPTY
from leukospike.storage.weights import read_weights, write_weights

SHAPE = (200, 300)
NUCLEUS, CYTOPLASM, RED = (0.6, 0.7, 0.3), (0.2, 0.25, 0.08), (0.1, 0.2, 0.15)  # optical densities


def _disc(row: float, column: float, radius: float) -> np.ndarray:
    rows, columns = np.indices(SHAPE)
    return np.hypot(rows - row, columns - column) <= radius


def _reading(
    cells: list[tuple[float, float, float]],
    *,
    sure: float = 0.98,
    density: float = 1.0,
    size: int = 1,
    red: bool = True,
) -> tuple[Reading, Instances]:
    """Draw cells of (row, column, radius) among red ones, and what a network that is so sure says of them."""
    classes = np.zeros(SHAPE, np.uint8)
    for column in range(25, 300, 60) if red else ():
        classes[_disc(170, column, 20)] = 3
    for row, column, radius in cells:
        classes[_disc(row, column, radius)] = 1
        classes[_disc(row, column, 0.6 * radius)] = 2
    stain = np.array([(0, 0, 0), CYTOPLASM, np.array(NUCLEUS) * density, RED])[classes]
    even = (EMPTY * 10**-stain).round().astype(np.uint8)
    shares = np.full((4, *SHAPE), (1 - sure) / 3, np.float16)
    np.put_along_axis(shares, classes[None].astype(np.int64), np.float16(sure), axis=0)
    full = np.where(classes == 3, 0, classes).repeat(size, axis=0).repeat(size, axis=1).astype(np.uint8)
    reading = Reading(full, 1 / size, red_cells=np.full(4, 40.0 * size), even=even, shares=shares)
    return reading, find_cells(full, red_cell_px=10.0 * size)


CELLS = [(60.0, 60.0, 40.0), (60.0, 200.0, 25.0)]


def _measures(
    cells: list[tuple[float, float, float]], *, cut_out: bool = False, **about: object
) -> dict[str, np.ndarray]:
    reading, instances = _reading(cells, **about)  # pyright: ignore[reportArgumentType]
    assert len(instances.boxes) == len(cells)
    found = evidence_of(reading, instances, cut_out=cut_out)
    assert found.shape == (len(cells), len(MEASURES))
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    return dict(zip(MEASURES, found.T, strict=True))


def test_measures_of_drawn_cells_are_those_drawn():
    found = _measures(CELLS)
    odds = np.log(0.98 / 0.02 + 1e-9)
    np.testing.assert_allclose(found["nucleus"], odds, atol=0.05)
    assert (found["white"] > odds - 0.05).all()
    np.testing.assert_allclose(np.exp(found["diameter"]), [80 / 40, 50 / 40], rtol=0.02)
    np.testing.assert_allclose(found["nucleus_share"], 0.36, atol=0.02)
    np.testing.assert_allclose(found["roundness"], 1, atol=0.02)
    np.testing.assert_allclose(found["elongation"], 0, atol=0.02)
    for place, name in enumerate(("red_density", "green_density", "blue_density")):
        np.testing.assert_allclose(found[name], NUCLEUS[place] - RED[place], atol=0.02)
    np.testing.assert_allclose(found["cytoplasm_green_density"], CYTOPLASM[1] - RED[1], atol=0.02)
    np.testing.assert_allclose(found["texture"], 0, atol=0.01)
    red = np.mean([_disc(170, column, 20) for column in range(25, 300, 60)], axis=0).sum() * 5 / np.prod(SHAPE)
    white = np.pi * (40**2 + 25**2) / np.prod(SHAPE)
    np.testing.assert_allclose(found["red_cells"], red, rtol=0.03)
    np.testing.assert_allclose(found["white_cells"], white, rtol=0.03)
    np.testing.assert_allclose(found["empty"], 1 - red - white, rtol=0.03)
    assert not np.any([found[name] for name in ("border", "cut_out", "unsure")])


def test_objects_are_measured_in_their_order():
    found = _measures(CELLS)
    alone = [_measures([cell]) for cell in CELLS]
    for name in ("diameter", "edge", "white", "nucleus_share", "green_density"):
        np.testing.assert_allclose(found[name], [one[name][0] for one in alone], atol=1e-5)
    assert found["diameter"][0] > found["diameter"][1]


@pytest.mark.parametrize("size", [2, 3])
def test_size_of_the_image_is_of_no_matter(size: int):
    plain, larger = _measures(CELLS), _measures(CELLS, size=size)
    for name in MEASURES:
        np.testing.assert_allclose(larger[name], plain[name], atol=0.03, err_msg=name)


def test_each_measure_goes_with_what_it_says():
    plain = _measures(CELLS)
    unsure = _measures(CELLS, sure=0.7)
    for name in ("white", "white_least", "nucleus"):
        assert (unsure[name] < plain[name]).all()
    assert (unsure["around"] > plain["around"]).all()
    assert (unsure["unsure"] > 0.9).all()
    pale = _measures(CELLS, density=0.5)
    for name in ("red_density", "green_density", "blue_density"):
        assert (pale[name] < plain[name]).all()
    lone = _measures(CELLS, red=False)
    assert (lone["red_cells"] == 0).all()
    assert (lone["empty"] > plain["empty"]).all()
    assert (_measures(CELLS, cut_out=True)["cut_out"] == 1).all()


def test_cut_cells_are_told():
    assert _measures([(60.0, 60.0, 40.0), (20.0, 200.0, 30.0)])["border"].tolist() == [1.0, 0.0]


def test_long_and_ragged_objects_are_told():
    reading, _ = _reading([(60.0, 150.0, 40.0)])
    assert reading.shares is not None
    rows, columns = np.indices(SHAPE)
    long = np.hypot((rows - 60) / 20, (columns - 150) / 60) <= 1
    star = np.hypot(rows - 60, columns - 150) <= 30 + 18 * np.cos(6 * np.arctan2(rows - 60, columns - 150))
    measured = {}
    for name, region in (("long", long), ("star", star)):
        top, left = (int(np.flatnonzero(region.any(axis=axis))[0]) for axis in (1, 0))
        height, width = (int(np.count_nonzero(region.any(axis=axis))) for axis in (1, 0))
        instances = Instances(region.astype(np.int32), (Box(top, left, height, width),))
        measured[name] = dict(zip(MEASURES, evidence_of(reading, instances, cut_out=False)[0], strict=True))
    assert measured["long"]["elongation"] == pytest.approx(np.log(3), rel=0.03)
    assert measured["long"]["roundness"] == pytest.approx(1, abs=0.02)
    assert measured["star"]["elongation"] < 0.1
    assert measured["star"]["roundness"] < 0.9


def test_object_of_a_pixel_is_no_obstacle():
    reading, _ = _reading(CELLS)
    labels = np.zeros(SHAPE, np.int32)
    labels[3, 4] = 1
    instances = find_cells((labels * 2).astype(np.uint8), red_cell_px=0.5)
    assert len(instances.boxes) == 1
    assert np.isfinite(evidence_of(reading, instances, cut_out=False)).all()


def test_no_objects_have_no_measures():
    reading, _ = _reading([])
    found = evidence_of(reading, find_cells(reading.classes), cut_out=False)
    assert found.shape == (0, len(MEASURES))
    assert default_evidence().confidence(found).shape == (0,)


@pytest.mark.parametrize("missing", ["even", "shares"])
def test_reading_without_its_image_is_refused(missing: str):
    reading, instances = _reading(CELLS)
    parts = {"even": reading.even, "shares": reading.shares} | {missing: None}
    with pytest.raises(
        ValueError, match="evidence_of: reading must hold the image at its working size, got one without"
    ):
        evidence_of(Reading(reading.classes, **parts), instances, cut_out=False)


# --- the network ---


def _network(seed: int = 0) -> EvidenceNetwork:
    torch.manual_seed(seed)
    network = EvidenceNetwork()
    network.middle.copy_(torch.randn(len(MEASURES)))
    network.spread.copy_(0.5 + torch.rand(len(MEASURES)))
    return network.eval().requires_grad_(requires_grad=False)


def test_confidence_is_that_of_the_written_network():
    network = _network()
    measures = np.random.default_rng(0).normal(0, 9, (50, len(MEASURES))).astype(np.float32)
    usual = np.clip((measures - network.middle.numpy()) / network.spread.numpy(), -4, 4)
    hidden = np.tanh(usual @ network.hidden.weight.numpy().T + network.hidden.bias.numpy())
    odds = hidden @ network.out.weight.numpy()[0] + network.out.bias.numpy()[0]
    np.testing.assert_allclose(network.confidence(measures), 1 / (1 + np.exp(-odds)), atol=1e-5)
    assert np.abs((measures - network.middle.numpy()) / network.spread.numpy()).max() > 4


def test_shipped_network_gives_confidence_of_any_measures():
    measures = np.random.default_rng(0).normal(0, 100, (200, len(MEASURES))).astype(np.float32)
    confidence = default_evidence().confidence(measures)
    assert confidence.shape == (200,)
    assert ((confidence >= 0) & (confidence <= 1)).all()


def test_save_and_load(tmp_path: Path):
    network, path = _network(), tmp_path / "evidence.safetensors"
    save_evidence(network, path)
    measures = np.random.default_rng(0).normal(size=(9, len(MEASURES))).astype(np.float32)
    np.testing.assert_array_equal(load_evidence(path).confidence(measures), network.confidence(measures))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "readable safetensors"), (b"no weights", "readable safetensors"), (None, "must be a file")],
)
def test_refuses_what_is_no_weights_file(tmp_path: Path, content: bytes | None, message: str):
    path = tmp_path / "evidence.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        load_evidence(path)


@pytest.mark.parametrize("name", ["measures", "hidden"])
def test_refuses_other_measures(tmp_path: Path, name: str):
    path = tmp_path / "evidence.safetensors"
    save_evidence(_network(), path)
    stored = read_weights(path, form="leukospike-evidence-1", where="", give="", use="")
    other = {"measures": list(MEASURES[::-1]), "hidden": 3}[name]
    write_weights(path, stored.tensors, stored.settings | {name: other})
    with pytest.raises(WeightsError, match=rf"load_evidence.*invalid part \({name} of {re.escape(str(other))[:30]}"):
        load_evidence(path)


def test_refuses_another_form_missing_parts_and_values_that_are_none(tmp_path: Path):
    path = tmp_path / "evidence.safetensors"
    network = _network()
    save_evidence(network, path)
    settings = json.loads(
        json.dumps(read_weights(path, form="leukospike-evidence-1", where="", give="", use="").settings)
    )
    write_weights(path, network.state_dict(), settings | {"format": "another"})
    with pytest.raises(WeightsError, match="have the format leukospike-evidence-1, got another"):
        load_evidence(path)
    write_weights(path, {"middle": network.middle}, settings)
    with pytest.raises(WeightsError, match="invalid part"):
        load_evidence(path)
    network.out.bias[0] = float("nan")
    save_evidence(network, path)
    with pytest.raises(WeightsError, match=r"finite, got NaN or infinity in out\.bias"):
        load_evidence(path)
