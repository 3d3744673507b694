"""Training of the segmenter: what it refuses, that it repeats itself, and that it learns."""

import math

import numpy as np
import pytest
import torch

from leukospike.errors import ConfigError, DataError
from leukospike.segmentation.class_maps import class_maps
from leukospike.segmentation.examples import CELL, UNKNOWN, LabelledImage, training_example
from leukospike.segmentation.input_spikes import INPUTS
from leukospike.segmentation.learning import SegmenterTraining, segmentation_loss, train_segmenter


def disc(seed: int, side: int = 250) -> LabelledImage:
    """Draw a cell whose classes are known: a dark nucleus in a blue cytoplasm on a bright ground."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    distance = np.hypot(rows - rng.uniform(100, 150), columns - rng.uniform(100, 150))
    classes = ((distance < 30).astype(np.uint8) + (distance < 18)).astype(np.uint8)
    colours = np.array([[235, 225, 230], [150, 160, 210], [90, 50, 130]])
    pixels = np.clip(colours[classes] + rng.normal(0, 6, (side, side, 3)), 0, 255).astype(np.uint8)
    return LabelledImage("drawn", pixels, classes)


def potentials_of(classes: torch.Tensor, height: float = 20.0) -> torch.Tensor:
    return torch.nn.functional.one_hot(classes, 3).permute(0, 3, 1, 2).float() * height


def test_loss_of_the_truth_is_nothing():
    labels = torch.from_numpy(np.stack([disc(0).classes, disc(1).classes]).astype(np.int64))
    assert segmentation_loss(potentials_of(labels), labels) < 1e-3


def test_loss_by_hand():
    # All classes equal: entropy log 3; of the cell's two pixels 2/3 are found, of the nucleus' one 1/3.
    labels = torch.tensor([[[0, 0], [1, 2]]])
    cell = 1 - (2 * 4 / 3 + 30) / (4 * 2 / 3 + 2 + 30)
    nucleus = 1 - (2 / 3 + 30) / (4 / 3 + 1 + 30)
    expected = math.log(3) + 0.5 * cell + 0.5 * nucleus
    assert float(segmentation_loss(torch.zeros(1, 3, 2, 2), labels)) == pytest.approx(expected, abs=1e-5)


def test_unknown_pixels_teach_nothing():
    labels = torch.tensor([[[0, 1], [2, UNKNOWN]]])
    potentials = torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    segmentation_loss(potentials, labels).backward()
    assert potentials.grad is not None
    assert bool((potentials.grad[0, :, 1, 1] == 0).all())
    assert bool((potentials.grad[0, :, 0, 0] != 0).all())


def test_cell_may_be_cytoplasm_or_nucleus():
    labels = torch.full((1, 2, 2), CELL)
    for chosen in (1, 2):
        assert segmentation_loss(potentials_of(torch.full((1, 2, 2), chosen)), labels) < 1e-3
    assert segmentation_loss(potentials_of(torch.zeros(1, 2, 2, dtype=torch.long)), labels) > 10


def test_training_repeats_itself():
    images, config = [disc(0), disc(1)], SegmenterTraining(iterations=10, batch_size=2, crop_px=64)
    first, second = (train_segmenter(images, {"drawn": 1.0}, config).state_dict() for _ in range(2))
    other = train_segmenter(images, {"drawn": 1.0}, SegmenterTraining(iterations=10, batch_size=2, crop_px=64, seed=1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["classes.weight"], other.state_dict()["classes.weight"])


def test_learns_drawn_cells():
    config = SegmenterTraining(iterations=100, batch_size=3, crop_px=64)
    network = train_segmenter([disc(seed) for seed in range(6)], {"drawn": 1.0}, config)
    unseen = [disc(seed) for seed in range(100, 104)]
    for image, found in zip(unseen, class_maps(network, [image.pixels for image in unseen]), strict=True):
        for own, true in ((found == 2, image.classes == 2), (found > 0, image.classes > 0)):
            assert 2 * np.count_nonzero(own & true) / (np.count_nonzero(own) + np.count_nonzero(true)) > 0.8


def test_unused_inputs_change_nothing():
    config = SegmenterTraining(iterations=10, batch_size=2, crop_px=64)
    network = train_segmenter([disc(0)], {"drawn": 1.0}, config, inputs=(3, 4, 5))
    spikes = torch.rand(1, INPUTS, 64, 64, generator=torch.Generator().manual_seed(0))
    others = spikes.clone()
    others[:, :3] = 1 - others[:, :3]
    assert torch.equal(network(spikes), network(others))
    others[:, 3:] = 1 - others[:, 3:]
    assert not torch.equal(network(spikes), network(others))


def is_black(pixels: np.ndarray) -> bool:
    return pixels.size > 0 and not pixels.any()


def test_cells_are_shown_on_black():
    looks = [training_example([disc(0)], 96, np.random.default_rng(seed)) for seed in range(100)]
    cut_out = [(pixels, classes) for pixels, classes in looks if is_black(pixels[classes == 0])]
    assert 3 <= len(cut_out) <= 30
    assert any((classes > 0).any() for _, classes in cut_out)
    assert not any((classes == UNKNOWN).any() for _, classes in cut_out)


def test_cells_of_unknown_parts_are_not_shown_on_black():
    image = disc(0)
    image.classes[image.classes > 0] = CELL
    looks = [training_example([image], 96, np.random.default_rng(seed)) for seed in range(60)]
    assert not any(is_black(pixels[classes == 0]) for pixels, classes in looks)


def test_some_examples_are_pieced_together():
    plain = LabelledImage("plain", np.full((200, 200, 3), 200, np.uint8), np.zeros((200, 200), np.uint8))
    full = LabelledImage("plain", np.full((200, 200, 3), 90, np.uint8), np.full((200, 200), 2, np.uint8))
    examples = [training_example([plain, full], 96, np.random.default_rng(seed))[1] for seed in range(100)]
    # Of four pieces, seven in eight hold both; one crop of a plain image holds one class.
    assert 10 <= sum({0, 2} <= set(np.unique(classes)) for classes in examples) <= 45


def test_refuses_shares_of_other_groups():
    with pytest.raises(DataError, match="shares must name the groups drawn, got others"):
        train_segmenter([disc(0)], {"others": 1.0}, SegmenterTraining())


def test_refuses_impossible_settings():
    with pytest.raises(ConfigError, match="iterations must be at least 10, got 3"):
        SegmenterTraining(iterations=3)
