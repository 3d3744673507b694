"""Training of the segmenter: what it refuses, that it repeats itself, and that it learns."""

import math

import numpy as np
import pytest
import torch

from leukospike.errors import ConfigError, DataError
from leukospike.segmentation.input_spikes import INPUTS, input_spikes
from leukospike.segmentation.network import CLASSES, SpikingSegmenter
from research.segmentation import learning
from research.segmentation.examples import (
    CELL,
    MAY_BE,
    RED_CELL,
    REST,
    UNKNOWN,
    Bank,
    LabelledImage,
    training_batch,
)
from research.segmentation.learning import SegmenterTraining, drawn_by, segmentation_loss, train_segmenter


def disc(seed: int, side: int = 250) -> LabelledImage:
    """Draw a cell whose classes are known, and a red one: dark nucleus, blue cytoplasm, pink, on a bright ground."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    row, column = rng.uniform(100, 150, 2)
    distance = np.hypot(rows - row, columns - column)
    labels = ((distance < 30).astype(np.uint8) + (distance < 18)).astype(np.uint8)
    for angle in rng.uniform(0, 2 * np.pi) + np.arange(3) * 2:
        labels[np.hypot(rows - row - 60 * np.sin(angle), columns - column - 60 * np.cos(angle)) < 22] = RED_CELL
    colours = np.array([[235, 225, 230], [150, 160, 210], [90, 50, 130], [225, 165, 165]])
    pixels = np.clip(colours[labels] + rng.normal(0, 6, (side, side, 3)), 0, 255).astype(np.uint8)
    return LabelledImage("drawn", pixels, labels)


def potentials_of(classes: torch.Tensor, height: float = 20.0) -> torch.Tensor:
    return torch.nn.functional.one_hot(classes, len(CLASSES)).permute(0, 3, 1, 2).float() * height


def test_loss_of_the_truth_is_nothing():
    labels = torch.from_numpy(np.stack([disc(0).labels, disc(1).labels]).astype(np.int64))
    assert segmentation_loss(potentials_of(labels), labels) < 1e-3


def test_loss_by_hand():
    # All classes equal: entropy log 4; of the cell's two pixels 2/4 are found, of the nucleus' one 1/4.
    labels = torch.tensor([[[0, 3], [1, 2]]])
    cell = 1 - (2 * 2 / 2 + 30) / (4 / 2 + 2 + 30)
    nucleus = 1 - (2 / 4 + 30) / (4 / 4 + 1 + 30)
    expected = math.log(4) + 0.5 * cell + 0.5 * nucleus
    assert float(segmentation_loss(torch.zeros(1, 4, 2, 2), labels)) == pytest.approx(expected, abs=1e-5)


def test_unknown_pixels_teach_nothing():
    labels = torch.tensor([[[0, 1], [2, UNKNOWN]]])
    potentials = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    segmentation_loss(potentials, labels).backward()
    assert potentials.grad is not None
    assert bool((potentials.grad[0, :, 1, 1] == 0).all())
    assert bool((potentials.grad[0, :, 0, 0] != 0).all())


def test_image_of_which_nothing_is_known_teaches_nothing():
    potentials = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = segmentation_loss(potentials, torch.full((1, 2, 2), UNKNOWN))
    loss.backward()
    assert torch.isfinite(loss)
    assert potentials.grad is not None
    assert not potentials.grad.any()


def test_a_label_allows_the_classes_that_it_may_be_and_no_other():
    assert len(MAY_BE) == UNKNOWN + 1
    for label, allowed in enumerate(MAY_BE[:UNKNOWN]):
        labels = torch.full((1, 2, 2), label)
        for chosen, is_allowed in enumerate(allowed):
            loss = float(segmentation_loss(potentials_of(torch.full((1, 2, 2), chosen)), labels))
            assert loss < 0.02 if is_allowed else loss > 10
    assert MAY_BE[CELL] == (False, True, True, False)
    assert MAY_BE[REST] == (True, False, False, True)
    assert all(MAY_BE[UNKNOWN])


def test_training_repeats_itself():
    images, config = [disc(0), disc(1)], SegmenterTraining(iterations=10, batch_size=2, crop_px=64)
    first, second = (train_segmenter(images, {"drawn": 1.0}, config).state_dict() for _ in range(2))
    other = train_segmenter(images, {"drawn": 1.0}, SegmenterTraining(iterations=10, batch_size=2, crop_px=64, seed=1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["classes.weight"], other.state_dict()["classes.weight"])


def classes_of(network: SpikingSegmenter, pixels: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return network(torch.from_numpy(input_spikes(pixels))[None])[0].argmax(dim=0).numpy()


def test_learns_drawn_cells():
    config = SegmenterTraining(iterations=250, batch_size=4, crop_px=64)
    network = train_segmenter([disc(seed) for seed in range(6)], {"drawn": 1.0}, config)
    dice = []
    for image in (disc(seed) for seed in range(100, 104)):
        found = classes_of(network, image.pixels)
        white, true = (found == 1) | (found == 2), (image.labels == 1) | (image.labels == 2)
        for own, drawn in ((found == 2, image.labels == 2), (white, true), (found == 3, image.labels == RED_CELL)):
            dice.append(2 * np.count_nonzero(own & drawn) / (np.count_nonzero(own) + np.count_nonzero(drawn)))
    assert np.mean(np.reshape(dice, (4, 3)), axis=0) == pytest.approx(1, abs=0.25)


def test_unused_inputs_change_nothing():
    config = SegmenterTraining(iterations=10, batch_size=2, crop_px=64)
    network = train_segmenter([disc(0)], {"drawn": 1.0}, config, inputs=(3, 4, 5))
    spikes = torch.rand(1, INPUTS, 64, 64, generator=torch.Generator().manual_seed(0))
    others = spikes.clone()
    others[:, :3] = 1 - others[:, :3]
    assert torch.equal(network(spikes), network(others))
    others[:, 3:] = 1 - others[:, 3:]
    assert not torch.equal(network(spikes), network(others))


# --- what it learns from ---


def batch(images: list[LabelledImage], count: int = 100, *, side: int = 96, seed: int = 0):
    banks = {"drawn": Bank.of(images, torch.device("cpu"), seed=seed)}
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    return training_batch(banks, {"drawn": count}, side, rng, generator)


def test_batch_is_pixels_and_labels_of_its_size_and_repeats_itself():
    pixels, labels = batch([disc(0), disc(1)], 6)
    assert (pixels.shape, labels.shape) == ((6, 3, 96, 96), (6, 96, 96))
    assert (pixels.dtype, labels.dtype) == (torch.float32, torch.int64)
    assert float(pixels.min()) >= 0
    assert float(pixels.max()) <= 255
    assert torch.equal(pixels, pixels.round())
    assert set(labels.unique().tolist()) <= {0, 1, 2, RED_CELL, UNKNOWN}
    again, other = batch([disc(0), disc(1)], 6), batch([disc(0), disc(1)], 6, seed=1)
    assert torch.equal(pixels, again[0])
    assert torch.equal(labels, again[1])
    assert not torch.equal(pixels, other[0])


def test_groups_are_drawn_as_often_as_asked():
    device = torch.device("cpu")
    flat = {grey: np.full((150, 150, 3), grey, np.uint8) for grey in (60, 200)}
    nothing = np.zeros((150, 150), np.uint8)
    banks = {str(grey): Bank.of([LabelledImage(str(grey), one, nothing)], device, seed=0) for grey, one in flat.items()}
    pixels, _ = training_batch(
        banks, {"60": 30, "200": 10}, 64, np.random.default_rng(0), torch.Generator().manual_seed(0)
    )
    assert len(pixels) == 40
    assert 0.6 < float((pixels.mean(dim=(1, 2, 3)) < 130).float().mean()) < 0.9


def test_labels_lie_where_their_pixels_do():
    pixels, labels = batch([disc(seed) for seed in range(4)], 60)
    means = {label: pixels.permute(0, 2, 3, 1)[labels == label].mean(dim=0) for label in (0, 1, 2, RED_CELL)}
    # However the look is changed, nuclei stay the darkest, and the ground the brightest.
    luma = {label: float(mean.mean()) for label, mean in means.items()}
    assert luma[2] < luma[1] < luma[0]
    assert luma[2] < luma[RED_CELL] < luma[0]
    assert means[RED_CELL][0] > means[1][0]


def test_what_lies_beyond_an_image_is_unknown():
    small = LabelledImage("drawn", disc(0).pixels[100:150, 100:150], disc(0).labels[100:150, 100:150])
    _, labels = batch([small], 20)
    beyond = (labels == UNKNOWN).float().mean(dim=(1, 2))
    assert float(beyond.min()) > 0.1
    assert float(beyond.mean()) > 0.4
    _, labels = batch([disc(0)], 20, side=64)
    assert float((labels == UNKNOWN).float().mean()) < 0.05


def is_black(pixels: torch.Tensor) -> bool:
    return pixels.numel() > 0 and not bool(pixels.any())


def test_cells_are_shown_on_black():
    pixels, labels = batch([disc(0)], 150)
    white = (labels == 1) | (labels == 2)
    cut_out = [number for number in range(150) if is_black(pixels[number][:, ~white[number]])]
    assert 3 <= len(cut_out) <= 30
    for number in cut_out:
        assert bool(white[number].any())
        assert set(labels[number].unique().tolist()) <= {0, 1, 2}


def test_cells_of_unknown_parts_are_not_shown_on_black():
    image = disc(0)
    image.labels[(image.labels == 1) | (image.labels == 2)] = CELL
    pixels, labels = batch([image], 100)
    assert not any(is_black(pixels[number][:, labels[number] != CELL]) for number in range(100))


def test_some_crops_are_pieced_together():
    plain = LabelledImage("drawn", np.full((200, 200, 3), 200, np.uint8), np.zeros((200, 200), np.uint8))
    full = LabelledImage("drawn", np.full((200, 200, 3), 90, np.uint8), np.full((200, 200), RED_CELL, np.uint8))
    _, labels = batch([plain, full], 100)
    both = sum({0, RED_CELL} <= set(labels[number].unique().tolist()) for number in range(100))
    # Of four pieces, seven in eight hold both; one crop of a plain image holds one label.
    assert 10 <= both <= 40


def test_cells_that_are_moved_beside_others_are_parted_by_rest():
    _, labels = batch([disc(seed) for seed in range(4)], 150)
    crowded = 0
    for number in range(150):
        white = ((labels[number] == 1) | (labels[number] == 2)).numpy()
        pieces, count = learning.connected(white)
        large = np.bincount(pieces.ravel())[1:] > 300
        crowded += count > 1 and large.sum() > 1
    assert 10 <= crowded <= 90


# --- what the network draws itself ---


class _Sees(SpikingSegmenter):
    """A network that sees the classes that it is given."""

    def __init__(self, classes: np.ndarray, height: float = 8.0) -> None:
        super().__init__(folded=True)
        self._potentials = potentials_of(torch.from_numpy(classes.astype(np.int64))[None], height)

    def forward(self, spikes: torch.Tensor) -> torch.Tensor:
        assert spikes.shape[-2:] == self._potentials.shape[-2:]
        return self._potentials


def _drawn(**about: object) -> tuple[LabelledImage, np.ndarray]:
    """Give an image of which nothing is drawn, and the white cell in it."""
    image = disc(0)
    true = np.where(image.labels == RED_CELL, 3, image.labels)
    return LabelledImage("drawn", image.pixels, np.full_like(image.labels, UNKNOWN), **about), true  # pyright: ignore[reportArgumentType]


def _box(true: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero((true == 1) | (true == 2))
    return np.array([[rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]])


def test_boxed_cell_is_drawn_where_the_network_fills_its_box():
    image, true = _drawn()
    white = (true == 1) | (true == 2)
    boxed = LabelledImage("drawn", image.pixels, image.labels, boxed=_box(true))
    found = drawn_by(_Sees(true), boxed).labels
    np.testing.assert_array_equal(found[white], true[white])
    inside = np.zeros_like(white)
    top, left, bottom, right = _box(true)[0]
    inside[top:bottom, left:right] = True
    assert set(np.unique(found[inside & ~white])) <= {REST, UNKNOWN}
    assert (found[~inside] == UNKNOWN).all()
    assert (boxed.labels == UNKNOWN).all(), "the image itself is left alone"


def test_boxed_cell_of_which_the_network_sees_a_piece_is_not_drawn():
    image, true = _drawn()
    top, left, bottom, right = _box(true)[0]
    wide = LabelledImage("drawn", image.pixels, image.labels, boxed=np.array([[top - 30, left - 30, bottom, right]]))
    assert (drawn_by(_Sees(true), wide).labels == UNKNOWN).all()
    nothing = LabelledImage("drawn", image.pixels, image.labels, boxed=_box(true))
    assert (drawn_by(_Sees(np.zeros_like(true)), nothing).labels == UNKNOWN).all()


def test_pixels_of_which_the_network_is_not_sure_stay_open():
    image, true = _drawn()
    white = (true == 1) | (true == 2)
    boxed = LabelledImage("drawn", image.pixels, image.labels, boxed=_box(true))
    # e^1.2 of e^1.2 + 3: half, and white on the whole two thirds.
    found = drawn_by(_Sees(true, 1.2), boxed).labels
    assert set(np.unique(found[white])) <= {UNKNOWN, CELL}


def test_cell_in_the_middle_is_drawn_if_it_is_whole_and_sure():
    image, true = _drawn(is_centred=True)
    shift = tuple(125 - round(float(place.mean())) for place in np.nonzero((true == 1) | (true == 2)))
    middle = np.roll(true, shift, axis=(0, 1))
    white = (middle == 1) | (middle == 2)
    found = drawn_by(_Sees(middle), image).labels
    np.testing.assert_array_equal(found[white], middle[white])
    assert (found[middle == 3] == REST).all()
    assert (drawn_by(_Sees(middle, 0.9), image).labels[white] == UNKNOWN).all()
    aside = drawn_by(_Sees(np.roll(middle, 90, axis=1)), image).labels
    assert not np.isin(aside, (1, 2)).any()
    cut = np.where(np.arange(250)[:, None] < 125, middle[125:126], middle)
    assert not np.isin(drawn_by(_Sees(cut), image).labels, (1, 2)).any()


def test_what_looks_like_another_cell_is_left_open_where_not_all_are_boxed():
    image = disc(0)
    true = np.where(image.labels == RED_CELL, 3, image.labels)
    other = np.maximum(true, np.roll(true % 3, 100, axis=0))
    labels = np.where(image.labels == RED_CELL, RED_CELL, np.where(image.labels > 0, image.labels, 0)).astype(np.uint8)
    boxes = {"boxed": _box(true)}
    complete, partly = (
        LabelledImage("drawn", image.pixels, labels, is_complete=is_complete, **boxes) for is_complete in (True, False)
    )
    extra = (other > 0) & (true == 0)
    assert extra.any()
    assert (drawn_by(_Sees(other), complete).labels[extra] == 0).all()
    assert (drawn_by(_Sees(other), partly).labels[extra & (other != 3)] == UNKNOWN).all()


# --- what it refuses ---


def test_refuses_shares_of_other_groups():
    with pytest.raises(DataError, match="shares must name the groups drawn, got others"):
        train_segmenter([disc(0)], {"others": 1.0}, SegmenterTraining())


def test_refuses_impossible_settings():
    with pytest.raises(ConfigError, match="iterations must be at least 10, got 3"):
        SegmenterTraining(iterations=3)
