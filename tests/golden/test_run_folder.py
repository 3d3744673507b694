"""Stored runs of releases, on generated cells: they load, and what is deterministic in them comes out again."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from leukospike.evaluation.metrics import METRICS, metric_table
from leukospike.experiments.runs import load_models, read_config
from leukospike.images.reading import luma
from leukospike.original.components import fit_components
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
    [model] = load_models(run)
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
    for value in area.values():
        assert f"{value:.3f}" in page
    assert "research use only" in page.lower()


def test_figures_come_out_of_the_stored_predictions(run: Path):
    table = pd.read_csv(run / "predictions.csv")
    ours = metric_table(
        table["label"].to_numpy(),
        table["probability"].to_numpy(),
        table["subject"].to_numpy(str),
        group_name="subjects",
        seed=read_config(run).seed,
    )
    stored = json.loads((run / "metrics.json").read_text())["pooled"]["cell"]
    assert ours["confusion"] == stored["confusion"]
    assert ours["interval"] == stored["interval"]
    came_later = {"misclassification"}
    for name in set(METRICS) - came_later:
        assert ours[name] == pytest.approx(stored[name], abs=1e-6)


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
    [model] = load_models(run)
    np.testing.assert_allclose(model.reconstructions(samples["prepared"]), samples["reconstructed"], atol=1e-4)


def test_stored_network_answers_as_it_did(samples: dict[str, np.ndarray], expected: dict[str, np.ndarray]):
    # Of the newest release, which the script made the expected values from.
    [model] = load_models(RUNS[-1])
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
