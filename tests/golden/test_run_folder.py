"""Stored runs of releases, on generated cells: they load, and what is deterministic in them comes out again."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from leukospike.evaluation.estimates import FEWEST_SUBJECTS
from leukospike.evaluation.metrics import delong_interval, metrics_of, point_metrics, resampled_intervals
from leukospike.experiments.folder import model_files, read_config, read_run
from leukospike.images import luma
from leukospike.original.components import fit_components
from leukospike.original.model import load_model
from leukospike.original.preprocessing import Normalisation, spike_map
from leukospike.report import write_report
from leukospike.spikes import first_wave, latency_map

HERE = Path(__file__).parent
RUNS = sorted(HERE.glob("run-*"))


@pytest.fixture(params=RUNS, ids=lambda run: run.name)
def run(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def samples(run: Path) -> dict[str, np.ndarray]:
    with np.load(run / "samples.npz", allow_pickle=False) as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    with np.load(HERE / "expected.npz", allow_pickle=False) as stored:
        return dict(stored)


def test_run_of_a_release_still_loads(run: Path):
    config = read_config(run)
    [path] = model_files(run)
    model = load_model(path)
    assert (model.image_size, model.blur_window, model.hidden_units) == (
        config.image_size,
        config.blur_window,
        config.hidden_units,
    )
    assert len(model.components.basis) == config.n_components


def test_report_of_a_release_can_be_written_again(run: Path, tmp_path: Path):
    copy = shutil.copytree(run, tmp_path / "run")
    page = write_report(copy).read_text(encoding="utf-8")
    area = json.loads((run / "metrics.json").read_text())["pooled"]["cell"]["roc_auc"]
    assert f"{area['value']:.3f} (interval unknown)" in page  # of a subject of each class nothing is concluded
    assert f"{area['low']:.3f} to" not in page
    assert "research use only" in page.lower()


def test_figures_come_out_of_the_stored_predictions(run: Path):
    table = pd.read_csv(run / "predictions.csv")
    judged = (table["label"].to_numpy(), table["probability"].to_numpy(), table["subject"].to_numpy(str))
    stored = json.loads((run / "metrics.json").read_text())["pooled"]["cell"]
    ours = metrics_of(*judged, group_name="subjects")
    assert ours.confusion.to_json() == stored["confusion"]
    values, intervals = point_metrics(*judged[:2]), resampled_intervals(*judged, seed=read_config(run).seed)
    for name in set(values) & set(stored):
        old = [math.nan if end is None else end for end in map(stored[name].get, ("value", "low", "high"))]
        assert [values[name], intervals[name].low, intervals[name].high] == pytest.approx(old, abs=1e-6, nan_ok=True)
    delong = delong_interval(*judged[:2])
    old = [stored["roc_auc"][end] for end in ("delong_low", "delong_high")]
    assert [delong.low, delong.high] == pytest.approx(old, abs=1e-6)


def test_run_of_a_release_claims_nothing_from_two_subjects(run: Path):
    result = read_run(run).result
    assert result.subject is not None
    assert result.subject.rarer < FEWEST_SUBJECTS
    assert not result.cell.has_intervals
    assert not result.cell.delong.is_known
    assert "fewer than 5 subjects of a class" in result.cell.interval


def test_stored_cells_spike_as_they_did(samples: dict[str, np.ndarray]):
    for cell, latency, wave in zip(samples["cells"], samples["latency"], samples["first_wave"], strict=True):
        grey = torch.from_numpy(luma(cell))[None, None]
        np.testing.assert_array_equal(latency_map(grey).latency[0], latency)
        np.testing.assert_array_equal(first_wave(grey)[0], wave)


def test_stored_cells_are_prepared_as_they_were(run: Path, samples: dict[str, np.ndarray]):
    config = read_config(run)
    for cell, prepared in zip(samples["cells"], samples["prepared"], strict=True):
        ours = spike_map(luma(cell), size=config.image_size, window=config.blur_window)
        np.testing.assert_allclose(ours, prepared, atol=1e-5)


def test_stored_cells_are_rebuilt_from_components_as_they_were(run: Path, samples: dict[str, np.ndarray]):
    [path] = model_files(run)
    model = load_model(path)
    np.testing.assert_allclose(model.reconstructions(samples["prepared"]), samples["reconstructed"], atol=1e-4)


def test_stored_network_answers_as_it_did(samples: dict[str, np.ndarray], expected: dict[str, np.ndarray]):
    # Of the newest release, which the script made the expected values from.
    [path] = model_files(RUNS[-1])
    model = load_model(path)
    assert expected["probabilities"].max() > 2 * expected["probabilities"].min()  # else any network would do
    np.testing.assert_allclose(model.probabilities(samples["prepared"]), expected["probabilities"], rtol=1e-2)


def test_components_of_stored_maps_are_the_stored_ones(expected: dict[str, np.ndarray]):
    normalisation = Normalisation.fit(expected["maps"])
    assert (normalisation.mean, normalisation.std) == pytest.approx(tuple(expected["z_score"]), rel=1e-6)
    n = len(expected["basis"])
    components = fit_components(normalisation.apply(expected["maps"]), n_components=n, seed=0)
    np.testing.assert_allclose(
        components.explained_variance_ratio, expected["explained_variance_ratio"], rtol=1e-3, atol=1e-5
    )
    # A component and its mirror image are the same; those of nearly equal variance may mix, but not the first ones.
    overlap = np.abs((components.basis * expected["basis"]).sum(axis=1))
    assert overlap[:5] == pytest.approx(1, abs=1e-3)
