"""Training on cells whose class is plain to see."""

import signal
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from leukospike.errors import ConfigError, WeightsError
from leukospike.original.components import FittedComponents
from leukospike.original.model import network_probabilities
from leukospike.original.training import ProjectedCells, Training, TrainingConfig, train_network

SIDE = 21
CPU = torch.device("cpu")
CONFIG = TrainingConfig(epochs=4, batch_size=8, seed=3)
NOBODY = ProjectedCells(np.zeros((0, 3), np.float32), np.zeros(0, np.int64))


@pytest.fixture(scope="module")
def components() -> FittedComponents:
    """Give three orthonormal images as a basis, ten times too large, so that pixels are about 1."""
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(SIDE * SIDE, 3)))[0].T * 10
    return FittedComponents(
        mean=np.zeros(SIDE * SIDE, np.float32),
        basis=np.ascontiguousarray(basis, np.float32),
        explained_variance_ratio=np.array([0.5, 0.3, 0.2], np.float32),
    )


def _cells(n: int, *, seed: int = 0) -> ProjectedCells:
    """Give cells whose first coordinate tells their class."""
    labels = np.arange(n) % 2
    coordinates = np.random.default_rng(seed).normal(0, 0.2, (n, 3))
    coordinates[:, 0] += 2 * labels - 1
    return ProjectedCells(coordinates.astype(np.float32), labels.astype(np.int64))


def _undecidable(n: int) -> ProjectedCells:
    """Give pairs of equal cells of both classes: any network gets half of them right."""
    return ProjectedCells(np.ones((n, 3), np.float32), (np.arange(n) % 2).astype(np.int64))


def _state(training: Training) -> dict[str, Tensor]:
    return training.network.state_dict()


def _same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def _fail_at(step: int, error: BaseException):
    """Give a progress that raises `error` after so many batches."""

    def progress(_stage: str, done: int, _total: int) -> None:
        if done == step:
            raise error

    return progress


def test_loss_falls_where_the_classes_are_plain(components):
    train, test = _cells(32), _cells(20, seed=1)
    config = replace(CONFIG, epochs=12)
    training = train_network(train, _cells(12, seed=2), components, config, device=CPU)
    losses = [record.train_loss for record in training.history]
    assert losses[-1] < 0.5 * losses[0]
    assert training.history[-1].train_accuracy == 1
    assert not training.network.training
    called = network_probabilities(training.network, components, test.coordinates) >= 0.5
    assert (called == (test.labels == 1)).all()


def test_history_has_every_figure_of_every_epoch(components):
    validation = _cells(12, seed=2)
    training = train_network(_cells(20), validation, components, CONFIG, device=CPU)
    assert [record.epoch for record in training.history] == [1, 2, 3, 4]
    last = training.history[-1]
    probabilities = network_probabilities(training.network, components, validation.coordinates)
    # Validation comes after the epoch's last step, so the final network must agree with it.
    assert last.val_accuracy == pytest.approx(((probabilities >= 0.5) == (validation.labels == 1)).mean())
    likelihood = np.where(validation.labels == 1, probabilities, 1 - probabilities)
    assert last.val_loss == pytest.approx(-np.log(likelihood.astype(np.float64)).mean(), rel=1e-3)
    assert last.val_auc is not None
    assert 0 <= last.val_auc <= 1
    assert last.learning_rate == CONFIG.learning_rate


def test_same_seed_same_weights_other_seed_others(components):
    def weights(seed: int) -> dict[str, Tensor]:
        config = replace(CONFIG, epochs=1, seed=seed)
        return _state(train_network(_cells(12), NOBODY, components, config, device=CPU))

    first = weights(0)
    torch.rand(5)
    assert _same(first, weights(0))
    assert not _same(first, weights(1))


@pytest.mark.parametrize("step", [1, 6, 10])
def test_interrupted_training_ends_as_if_it_had_not_been(components, tmp_path: Path, step: int):
    # 20 cells in batches of 8: 3 steps an epoch, so in the 1st, at the end of the 2nd, and in the 4th epoch.
    train, validation, checkpoint = _cells(20), _cells(8, seed=2), tmp_path / "fold.safetensors"
    whole = train_network(train, validation, components, CONFIG, device=CPU)
    with pytest.raises(RuntimeError, match="power cut"):
        train_network(
            train,
            validation,
            components,
            CONFIG,
            checkpoint=checkpoint,
            progress=_fail_at(step, RuntimeError("power cut")),
            device=CPU,
        )
    assert checkpoint.exists() == (step > 3)
    steps: list[int] = []
    resumed = train_network(
        train,
        validation,
        components,
        CONFIG,
        checkpoint=checkpoint,
        progress=lambda _stage, done, _total: steps.append(done),
        device=CPU,
    )
    assert steps == list(range((step - 1) // 3 * 3 + 1, 13))
    assert resumed.history == whole.history
    assert _same(_state(resumed), _state(whole))


def test_resuming_a_finished_training_trains_no_more(components, tmp_path: Path):
    checkpoint = tmp_path / "fold.safetensors"
    config = replace(CONFIG, epochs=2)
    first = train_network(_cells(12), NOBODY, components, config, checkpoint=checkpoint, device=CPU)
    again = train_network(
        _cells(12),
        NOBODY,
        components,
        config,
        checkpoint=checkpoint,
        progress=_fail_at(1, AssertionError("trained")),
        device=CPU,
    )
    assert again.history == first.history
    assert _same(_state(again), _state(first))


def test_training_leaves_threads_seed_and_signals_as_they_were(components):
    signals = [signal.getsignal(each) for each in sorted(signal.valid_signals())]
    before = torch.get_rng_state(), torch.get_num_threads(), torch.is_grad_enabled(), warnings.filters[:]
    with ThreadPoolExecutor() as pool:
        pool.submit(train_network, _cells(8), _cells(4), components, CONFIG, device=CPU).result()
    after = torch.get_rng_state(), torch.get_num_threads(), torch.is_grad_enabled(), warnings.filters[:]
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert [signal.getsignal(each) for each in sorted(signal.valid_signals())] == signals


def test_learning_rate_falls_after_5_epochs_without_a_better_accuracy(components, tmp_path: Path):
    config = TrainingConfig(epochs=12, batch_size=4, learning_rate=1e-3)
    checkpoint = tmp_path / "fold.safetensors"

    def train(progress) -> Training:
        return train_network(
            _cells(4), _undecidable(4), components, config, checkpoint=checkpoint, progress=progress, device=CPU
        )

    # The first epoch sets the mark, the second to sixth do not pass it. The count survives an interruption.
    with pytest.raises(RuntimeError, match="power cut"):
        train(_fail_at(4, RuntimeError("power cut")))
    training = train(_fail_at(0, RuntimeError))
    rates = [record.learning_rate for record in training.history]
    assert rates == pytest.approx([1e-3] * 6 + [3e-4] * 5 + [9e-5])
    assert {record.val_accuracy for record in training.history} == {0.5}


def test_learning_rate_does_not_fall_below_a_millionth(components):
    config = TrainingConfig(epochs=7, batch_size=4, learning_rate=2e-6)
    training = train_network(_cells(4), _undecidable(4), components, config, device=CPU)
    assert [record.learning_rate for record in training.history] == pytest.approx([2e-6] * 6 + [1e-6])


def test_without_validation_cells_the_learning_rate_stays(components):
    config = TrainingConfig(epochs=8, batch_size=4)
    training = train_network(_cells(4), NOBODY, components, config, device=CPU)
    for record in training.history:
        assert (record.val_loss, record.val_accuracy, record.val_auc) == (None, None, None)
        assert record.learning_rate == config.learning_rate


def test_validation_of_one_class_has_no_area(components):
    cells = _cells(6)
    leukemic = ProjectedCells(cells.coordinates[1::2], cells.labels[1::2])
    record = train_network(cells, leukemic, components, replace(CONFIG, epochs=1), device=CPU).history[0]
    assert record.val_auc is None
    assert record.val_accuracy is not None


def test_hidden_layer_is_trained_too(components):
    config = TrainingConfig(epochs=1, hidden_units=7)
    training = train_network(_cells(8), NOBODY, components, config, device=CPU)
    assert training.network.head[2].out_features == 7


@pytest.mark.parametrize("validation", [NOBODY, _cells(4, seed=1)], ids=["alone", "with validation"])
def test_loss_that_is_no_number_is_an_error(components, tmp_path: Path, validation: ProjectedCells):
    cells = _cells(8)
    cells.coordinates[3] = np.nan
    checkpoint = tmp_path / "fold.safetensors"
    with pytest.raises(WeightsError, match=r"loss must be finite, got nan in epoch 1\. Lower the learning rate\."):
        train_network(cells, validation, components, CONFIG, checkpoint=checkpoint, device=CPU)
    assert not checkpoint.exists()


def test_checkpoint_of_other_settings_is_refused(components, tmp_path: Path):
    checkpoint = tmp_path / "fold.safetensors"
    config = replace(CONFIG, epochs=1)
    train_network(_cells(8), NOBODY, components, config, checkpoint=checkpoint, device=CPU)
    with pytest.raises(
        WeightsError, match=r"checkpoint must have the same settings, got fold\.safetensors with other ones"
    ):
        train_network(_cells(8), NOBODY, components, CONFIG, checkpoint=checkpoint, device=CPU)


@pytest.mark.parametrize("content", [b"", b"not safetensors"])
def test_damaged_checkpoint_is_refused(components, tmp_path: Path, content: bytes):
    checkpoint = tmp_path / "fold.safetensors"
    checkpoint.write_bytes(content)
    with pytest.raises(WeightsError, match=r"checkpoint must be readable, got fold\.safetensors \(.*Remove it"):
        train_network(_cells(8), NOBODY, components, CONFIG, checkpoint=checkpoint, device=CPU)


@pytest.mark.parametrize(
    ("setting", "value"), [("epochs", 0), ("batch_size", 1), ("learning_rate", 0.0), ("hidden_units", 0), ("seed", -1)]
)
def test_impossible_settings_are_refused(setting, value):
    with pytest.raises(ConfigError, match=rf"TrainingConfig: {setting} must be at least .*, got {value}"):
        TrainingConfig(**{setting: value})
