"""Learning by spike times alone: that it learns, repeats itself, and refuses what cannot teach."""

import numpy as np
import pytest
import torch

from leukospike.errors import ConfigError, DataError
from leukospike.segmentation.light import Light
from leukospike.segmentation.plastic import PlasticSegmenter, read_classes
from research.segmentation.examples import CELL, RED_CELL, REST, UNKNOWN, LabelledImage
from research.segmentation.plastic_learning import PlasticTraining, train_plastic

SHORT = PlasticTraining(feature_steps=15, pixels_per_image=200, epochs=4)


def drawn_cell(seed: int, side: int = 200) -> LabelledImage:
    """Draw a cell whose classes are known: a dark nucleus in a blue cytoplasm on a bright ground."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    distance = np.hypot(rows - rng.uniform(70, 130), columns - rng.uniform(70, 130))
    classes = ((distance < 50).astype(np.uint8) + (distance < 30)).astype(np.uint8)
    colours = np.array([[235, 225, 230], [150, 160, 210], [90, 50, 130]])
    pixels = np.clip(colours[classes] + rng.normal(0, 6, (side, side, 3)), 0, 255).astype(np.uint8)
    return LabelledImage("drawn", pixels, classes)


def classes_of(network: PlasticSegmenter, pixels: np.ndarray) -> np.ndarray:
    return read_classes(network, pixels, Light.unknown(pixels.shape[:2])).classes


def accuracy(network: PlasticSegmenter, image: LabelledImage) -> float:
    """Give the mean over classes, of which chance gets a third."""
    found = classes_of(network, image.pixels)
    return float(np.mean([(found[image.labels == number] == number).mean() for number in range(3)]))


def test_learning_finds_cells_that_it_has_not_seen():
    trained = train_plastic([drawn_cell(seed) for seed in range(4)], SHORT)
    untrained = PlasticSegmenter(generator=torch.Generator().manual_seed(0))
    assert accuracy(untrained, drawn_cell(9)) < 0.6
    assert accuracy(trained, drawn_cell(9)) > 0.7


def test_same_seed_gives_the_same_weights():
    config = PlasticTraining(feature_steps=3, pixels_per_image=50, epochs=1, seed=3)
    first, again = (train_plastic([drawn_cell(0)], config).state_dict() for _ in range(2))
    other = train_plastic([drawn_cell(0)], PlasticTraining(feature_steps=3, pixels_per_image=50, epochs=1, seed=4))
    for name, weight in first.items():
        assert torch.equal(weight, again[name])
        assert not torch.equal(weight, other.state_dict()[name])


def test_a_cell_without_parts_rewards_both():
    image = drawn_cell(0)
    whole = LabelledImage("drawn", image.pixels, np.where(image.labels > 0, CELL, 0).astype(np.uint8))
    found = classes_of(train_plastic([whole], SHORT), image.pixels)
    assert ((found > 0) == (image.labels > 0)).mean() > 0.85


@pytest.mark.parametrize("label", [RED_CELL, REST])
def test_red_cells_and_what_is_of_no_white_cell_are_rest(label: int):
    image = drawn_cell(0)
    other = LabelledImage("drawn", image.pixels, np.where(image.labels > 0, image.labels, label).astype(np.uint8))
    config = PlasticTraining(feature_steps=3, pixels_per_image=50, epochs=1)
    first, second = (train_plastic([one], config).state_dict() for one in (image, other))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    "images", [[], [LabelledImage("a", np.zeros((9, 9, 3), np.uint8), np.full((9, 9), UNKNOWN, np.uint8))]]
)
def test_refuses_images_that_teach_nothing(images):
    with pytest.raises(DataError, match="must hold labelled pixels"):
        train_plastic(images, SHORT)


@pytest.mark.parametrize(
    ("field", "value"), [("feature_steps", 0), ("pixels_per_image", 9), ("epochs", 0), ("seed", -1)]
)
def test_refuses_impossible_settings(field, value):
    with pytest.raises(ConfigError, match=f"PlasticTraining: {field} must be at least"):
        PlasticTraining(**{field: value})
