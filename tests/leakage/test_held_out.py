"""What is held out must leave no trace in anything fitted."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from leukospike.datasets import read_dataset
from leukospike.experiments.run import run_experiment
from leukospike.experiments.splits import subject_folds
from leukospike.images import read_image, write_png
from leukospike.settings import Protocol, RunConfig


def _fitted(data: Path, config: RunConfig, run: Path) -> dict[str, torch.Tensor]:
    run_experiment(read_dataset(data), config, run)
    return load_file(run / "weights" / "fold_0.safetensors")


def _scramble(path: Path) -> None:
    # Its own noise for each image: equal ones would tie their subjects together, and change the split.
    rng = np.random.default_rng(list(str(path).encode()))
    write_png(path, rng.integers(0, 256, read_image(path).pixels.shape, dtype=np.uint8))


@pytest.mark.parametrize(("protocol", "same"), [(Protocol.HONEST, True), (Protocol.PAPER, False)])
def test_changing_held_out_pixels(
    protocol: Protocol, same: bool, draw_discs: Callable[..., Path], tiny: RunConfig, tmp_path: Path
) -> None:
    """Honest: every fitted value of the fold is bit-identical. Paper: it is not, so that this test can fail."""
    config = replace(tiny, protocol=protocol, hold_out=True)
    before = _fitted(draw_discs(tmp_path / "data"), config, tmp_path / "before")
    tested = pd.read_csv(tmp_path / "before" / "predictions.csv")["image"].unique()
    for image in tested:
        _scramble(tmp_path / "data" / image)
    after = _fitted(tmp_path / "data", config, tmp_path / "after")
    assert before.keys() == after.keys()
    equal = [torch.equal(before[name], after[name]) for name in before]
    assert all(equal) is same


def test_header_of_the_model_is_the_same(draw_discs: Callable[..., Path], tiny: RunConfig, tmp_path: Path) -> None:
    """The z-score lies in the header, which the tensors' comparison does not see: so compare the files' bytes."""
    config = replace(tiny, hold_out=True)
    _fitted(draw_discs(tmp_path / "data"), config, tmp_path / "before")
    for image in pd.read_csv(tmp_path / "before" / "predictions.csv")["image"]:
        _scramble(tmp_path / "data" / image)
    _fitted(tmp_path / "data", config, tmp_path / "after")
    weights = Path("weights") / "fold_0.safetensors"
    assert (tmp_path / "before" / weights).read_bytes() == (tmp_path / "after" / weights).read_bytes()


def test_validation_subjects_fit_nothing_but_the_learning_rate(
    draw_discs: Callable[..., Path], tiny: RunConfig, tmp_path: Path
) -> None:
    """With one epoch the learning rate never moves, so that changed validation subjects must leave no trace."""
    config = replace(tiny, hold_out=True)
    before = _fitted(draw_discs(tmp_path / "data"), config, tmp_path / "before")
    dataset = read_dataset(tmp_path / "data")
    fold = subject_folds(
        [int(record.label or 0) for record in dataset.records],
        [str(record.subject) for record in dataset.records],
        [record.image for record in dataset.records],
        n_folds=config.n_folds,
        seed=config.seed,
    )[0]
    assert len(fold.validation)
    for place in fold.validation:
        _scramble(dataset.records[place].path)
    after = _fitted(tmp_path / "data", config, tmp_path / "after")
    assert all(torch.equal(before[name], after[name]) for name in before)
