"""From crops to networks: training, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from leukospike.classification import (
    CROP_PX,
    CellNetwork,
    ClassifierTraining,
    Input,
    LabelledCells,
    augmented,
    cell_crop,
    colours_of,
    train_classifier,
)
from leukospike.classification.appearance_learning import AppearanceTraining, appearances, train_appearance
from leukospike.classification.cells import drawing_odds
from leukospike.classification.classifier import ensemble
from leukospike.errors import DataError, ImageError, WeightsError
from leukospike.images.framing import C_NMC_FRAMING


def discs(n: int = 120, *, seed: int = 0) -> LabelledCells:
    """Draw cells of twelve subjects: leukemic ones are larger and denser."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    rows, columns = np.mgrid[:CROP_PX, :CROP_PX] - CROP_PX / 2
    crops = np.zeros((n, CROP_PX, CROP_PX, 3), np.uint8)
    for place, label in enumerate(labels):
        radius = rng.normal(20 + 6 * label, 3)
        inside = rows**2 + (columns * rng.uniform(0.9, 1.1)) ** 2 < radius**2
        colour = np.array([110, 50, 140]) - 12 * label + rng.normal(0, 10, 3)
        crops[place][inside] = np.clip(colour + rng.normal(0, 15, (inside.sum(), 3)), 8, 255)
    return LabelledCells(crops, labels.astype(np.int64), [f"{label}{place % 12}" for place, label in enumerate(labels)])


@pytest.fixture(scope="module")
def cells() -> LabelledCells:
    return discs()


def test_a_crop_is_the_mean_of_the_middle():
    picture = np.random.default_rng(0).integers(
        0, 256, (C_NMC_FRAMING.side_px, C_NMC_FRAMING.side_px, 3), dtype=np.uint8
    )
    blocks = picture[33:417, 33:417].reshape(96, 4, 96, 4, 3).astype(np.float64)
    np.testing.assert_array_equal(cell_crop(picture), np.floor(blocks.mean(axis=(1, 3)) + 0.5))
    with pytest.raises(ImageError, match="cell_crop: picture must be 450 x 450, got 20 x 30"):
        cell_crop(np.zeros((20, 30, 3), np.uint8))


def test_odds_are_even_between_classes_and_follow_the_root_within():
    labels = np.array([0] * 9 + [0] + [1] * 4)
    crops = np.zeros((14, 4, 4, 3), np.uint8)
    odds = drawing_odds(LabelledCells(crops, labels, ["a"] * 9 + ["b"] + ["c"] * 4), balanced=True)
    assert odds[labels == 0].sum() == pytest.approx(0.5)
    assert odds[:9].sum() / odds[9] == pytest.approx(3)
    even = drawing_odds(LabelledCells(crops, labels, ["a"] * 14), balanced=False)
    np.testing.assert_allclose(even, 1 / 14)


def test_networks_learn_and_follow_their_seed(cells: LabelledCells):
    config = AppearanceTraining(epochs=6, networks=1)
    measures = appearances(cells.crops)
    first, again, other = (
        ensemble(train_appearance(cells, one, known=measures), measures)[0]
        for one in (config, config, replace(config, seed=1))
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.mean((first > 0) == cells.labels) > 0.85


def test_one_class_is_refused(cells: LabelledCells):
    one = LabelledCells(cells.crops[::2], cells.labels[::2], cells.subjects[::2])
    with pytest.raises(DataError, match="labels must include both classes"):
        train_appearance(one, AppearanceTraining())
    with pytest.raises(DataError, match="labels must include both classes"):
        train_classifier(one, ClassifierTraining())


class _StoppedError(Exception):
    pass


def test_an_interrupted_training_ends_with_the_same_weights(cells: LabelledCells, tmp_path: Path):
    config = ClassifierTraining(epochs=2, batch_size=24)
    whole = train_classifier(cells, config)
    checkpoint = tmp_path / "state.safetensors"

    def stop(_: str, done: int, total: int) -> None:
        if done > total // 2:
            raise _StoppedError

    with pytest.raises(_StoppedError):
        train_classifier(cells, config, checkpoint=checkpoint, progress=stop)
    resumed = train_classifier(cells, config, checkpoint=checkpoint)
    for name, weight in whole.network.state_dict().items():
        torch.testing.assert_close(resumed.network.state_dict()[name], weight, rtol=0, atol=0)
    assert resumed.history == whole.history
    assert [record.epoch for record in whole.history] == [1, 2]
    with pytest.raises(WeightsError, match="checkpoint must have the same settings"):
        train_classifier(cells, replace(config, seed=1), checkpoint=checkpoint)
    checkpoint.write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="checkpoint must be readable"):
        train_classifier(cells, config, checkpoint=checkpoint)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: torch.cuda.is_available() is false")
def test_a_gpu_trains_and_gives_back_to_the_cpu(cells: LabelledCells):
    trained = train_classifier(cells, ClassifierTraining(epochs=6, batch_size=24, augmentation=0))
    with torch.inference_mode():
        scores = trained.network.scores(colours_of(torch.from_numpy(cells.crops)))
    assert scores.device.type == "cpu"
    assert np.mean((scores.numpy() > 0) == cells.labels) > 0.8


def test_ranks_do_not_follow_the_light(cells: LabelledCells):
    network = CellNetwork(inputs=(Input.RANK,)).eval()
    rng = np.random.default_rng(0)
    grey = np.where(cells.crops[:4].max(axis=3) > 0, rng.integers(20, 200, (4, CROP_PX, CROP_PX)), 0)
    # A smooth grey has equal values, whose order would be anyone's: here each is another.
    order = grey.reshape(4, -1).argsort(axis=1, kind="stable").argsort(axis=1).reshape(grey.shape)
    values = np.where(grey > 0, 0.1 + 0.8 * order / order.max(), 0).astype(np.float32)
    colours = torch.from_numpy(values)[:, None].expand(-1, 3, -1, -1)
    darker = torch.where(colours > 0, colours**1.7 * 0.9 + 0.02, 0)
    with torch.inference_mode():
        torch.testing.assert_close(network(colours), network(darker), rtol=1e-3, atol=0.05)


def test_augmentation_keeps_black_black_and_follows_its_generator(cells: LabelledCells):
    colours = colours_of(torch.from_numpy(cells.crops[:6]))
    first, again = (augmented(colours, strength=1, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert ((first == 0) | (first >= 1 / 51)).all()
    assert (first[:, :, :4, :4] == 0).all()
