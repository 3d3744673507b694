"""The folder of a run."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from leukospike.errors import RunError, WeightsError
from leukospike.experiments.folder import RunFolder, model_files, read_config, write_config
from leukospike.experiments.results import DataDescription
from leukospike.original.components import fit_components
from leukospike.original.model import FittedModel, load_model, save_model
from leukospike.original.network import ResidualNetwork
from leukospike.original.preprocessing import Normalisation
from leukospike.settings import SMALLEST_SIZE_PX, Preset, Protocol, RunConfig, read_settings

DATA = DataDescription(
    name="cells",
    layout="folders",
    credit="",
    images=4,
    subjects=None,
    class_names=("hem", "all"),
    cells_per_class=(2, 2),
    subjects_per_class=None,
    failed=0,
    duplicate_images=0,
    cross_subject_duplicates=0,
    digest="ab",
)


def test_written_config_is_read_again(tmp_path: Path):
    config = RunConfig(dataset=Preset.ALL_IDB, protocol=Protocol.PAPER, hidden_units=1200, learning_rate=3e-4, seed=7)
    write_config(RunFolder(tmp_path), config, data=DATA, versions={"torch": "2.13.0"})
    assert read_config(tmp_path) == config
    # None stands for what is not said.
    write_config(RunFolder(tmp_path), replace(config, hidden_units=None))
    assert read_config(tmp_path).hidden_units is None


def test_config_of_a_run_can_be_given_to_another(tmp_path: Path):
    config = RunConfig(dataset=Preset.C_NMC, epochs=3)
    write_config(RunFolder(tmp_path), config, data=DATA, versions={"torch": "2.13.0"})
    settings = read_settings(tmp_path / "config.toml")
    assert settings == {name: value for name, value in asdict(config).items() if value is not None}


def test_folder_without_config_is_no_run(tmp_path: Path):
    with pytest.raises(RunError, match=r"run folder must hold config\.toml, got .* without it\. Pass a folder that"):
        read_config(tmp_path)


@pytest.mark.parametrize("content", ["", 'dataset = "mars"\nprotocol = "honest"', 'dataset = "c-nmc"'])
def test_config_of_something_else_is_no_run(tmp_path: Path, content: str):
    (tmp_path / "config.toml").write_text(content)
    with pytest.raises(RunError, match=r"config\.toml must hold the settings of a run, got .*\. Use another run\."):
        read_config(tmp_path)


def _save(path: Path, seed: int) -> None:
    maps = np.random.default_rng(seed).random((6, SMALLEST_SIZE_PX, SMALLEST_SIZE_PX), dtype=np.float32)
    normalisation = Normalisation.fit(maps)
    components = fit_components(normalisation.apply(maps), n_components=2, seed=0)
    network = ResidualNetwork(image_size=SMALLEST_SIZE_PX, generator=torch.Generator().manual_seed(seed))
    save_model(FittedModel(SMALLEST_SIZE_PX, 9, None, normalisation, components, network), path)


def test_models_of_a_run_and_of_one_file(tmp_path: Path):
    for fold in range(2):
        _save(RunFolder(tmp_path).weights(fold), fold)
    (tmp_path / "metrics.json").write_text('{"folds": [{}, {}]}')  # the sign of a finished run
    first, second = (load_model(path) for path in model_files(tmp_path))
    assert first.normalisation != second.normalisation
    assert model_files(RunFolder(tmp_path).weights(1)) == [RunFolder(tmp_path).weights(1)]


def test_unfinished_run_is_no_model(tmp_path: Path):
    message = r"`model` must be the folder of a finished run, got .* which is not one\. Finish the run with"
    with pytest.raises(WeightsError, match=message):
        model_files(tmp_path)
    _save(RunFolder(tmp_path).weights(0), 0)
    with pytest.raises(WeightsError, match=message):
        model_files(tmp_path)
