"""The network of Mozafari 2018 learns what it is shown, by the published rule, and is a classifier as any other."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from torch import Generator

from leukospike.errors import ConfigError, DataError, ImageError
from leukospike.spikes import SpikingConv2d
from leukospike.spikes.decision import decide
from leukospike.spikes.mozafari import EpochResult, MozafariClassifier
from leukospike.spikes.plasticity import RewardRates, StdpRates, reward_modulated_stdp

# The original's rates times 25: as many steps as a test can wait for.
FAST = RewardRates(reward=StdpRates(causal=0.1, acausal=-0.075), punishment=StdpRates(causal=-0.1, acausal=0.0125))
SETTINGS = {"kernel_px": 5, "threshold": 12.0, "rates": FAST}


def bars(n: int, *, seed: int, angles: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Draw bars of one of several directions at places of chance, in noise: 40 x 40 pixels, and the direction."""
    chance = np.random.default_rng(seed)
    rows, columns = np.mgrid[:40, :40]
    images, labels = np.empty((n, 40, 40), np.float32), chance.integers(angles, size=n)
    for image, label in zip(images, labels, strict=True):
        angle, (row, column) = np.pi * label / angles, chance.uniform(12, 28, 2)
        across = (rows - row) * np.cos(angle) + (columns - column) * np.sin(angle)
        along = (columns - column) * np.cos(angle) - (rows - row) * np.sin(angle)
        bar = np.exp(-(across**2) / 4) * (np.abs(along) < 12)
        image[:] = np.clip(bar + 0.05 * chance.random((40, 40)), 0, 1)
    return images, labels


@pytest.fixture(scope="module")
def shown() -> tuple[np.ndarray, np.ndarray]:
    return bars(120, seed=0)


@pytest.fixture(scope="module")
def fitted(shown) -> MozafariClassifier:
    return MozafariClassifier(epochs=20, **SETTINGS).fit(*shown)


def test_it_learns_directions_of_bars_at_places_it_has_not_seen(fitted, shown):
    # Chance is 0.25; the same network with weights as drawn is measured beside it.
    held_out = bars(200, seed=1)
    untrained = MozafariClassifier(epochs=1, **SETTINGS | {"rates": RewardRates(reward=NONE, punishment=NONE)})
    assert untrained.fit(*shown).score(*held_out) < 0.4
    assert fitted.score(*held_out) > 0.8


NONE = StdpRates(causal=0.0, acausal=0.0)


def test_labels_that_say_nothing_cannot_be_learned(shown):
    images, labels = shown
    shuffled = np.random.default_rng(2).permutation(labels)
    model = MozafariClassifier(epochs=10, **SETTINGS).fit(images, shuffled)
    assert model.score(*bars(200, seed=1)) < 0.4


def test_an_epoch_is_the_published_rule_image_by_image(shown):
    images, labels = shown[0][:12], shown[1][:12]
    model = MozafariClassifier(features_per_class=2, dropout=0.0, epochs=1, **SETTINGS).fit(images, labels)
    seed = np.random.SeedSequence([0, 1]).generate_state(1, np.uint64)[0]
    generator = Generator().manual_seed(int(seed) >> 1)
    torch.rand(8, generator=generator)  # what dropout draws
    layer = SpikingConv2d(4, 8, 5, threshold=12.0, generator=Generator().manual_seed(0))
    layer.weight.clamp_(0, 1)
    for index in torch.randperm(12, generator=generator).tolist():
        inputs = model.encode(images[index : index + 1])
        first = decide(layer, inputs)
        answer = 1 if int(first.winners[0, 0, 0]) // 2 == labels[index] else -1
        layer.weight.copy_(
            reward_modulated_stdp(layer.weight, inputs, first.winners, first.times, [answer], rates=FAST)
        )
    assert torch.equal(model.layer_.weight, layer.weight)


def test_features_that_are_dropped_out_do_not_change(shown):
    images, labels = shown[0][:30], shown[1][:30]
    model = MozafariClassifier(epochs=1, dropout=0.5, **SETTINGS).fit(images, labels)
    drawn = SpikingConv2d(4, 40, 5, threshold=12.0, generator=Generator().manual_seed(0)).weight.clamp(0, 1)
    changed = (model.layer_.weight != drawn).flatten(1).any(dim=1)
    seed = np.random.SeedSequence([0, 1]).generate_state(1, np.uint64)[0]
    kept = torch.rand(40, generator=Generator().manual_seed(int(seed) >> 1)) >= 0.5
    assert bool(changed.any())
    assert not bool((changed & ~kept).any())


def test_an_epoch_without_a_feature_learns_nothing(shown):
    images, labels = shown[0][:4], [0, 1, 0, 1]
    model = MozafariClassifier(features_per_class=1, epochs=30, dropout=0.9, **SETTINGS).fit(images, labels)
    assert EpochResult(model.history_[0].epoch, 0, 0, 4) in model.history_


def test_rates_follow_the_answers_of_the_epoch_before(shown):
    # Where all answers were right, reward is scaled by 0 and nothing changes any more.
    images, labels = shown
    model = MozafariClassifier(epochs=40, **SETTINGS | {"dropout": 0.0})
    model.fit(images[:20], labels[:20])
    assert (model.history_[-1].right, model.history_[-2].right) == (20, 20)
    before = model.layer_.weight.clone()
    model.partial_fit(images[:20], labels[:20])
    assert torch.equal(model.layer_.weight, before)


def test_epochs_are_reported_in_order(shown):
    results: list[EpochResult] = []
    model = MozafariClassifier(epochs=3, **SETTINGS).fit(shown[0][:20], shown[1][:20], on_epoch=results.append)
    assert [result.epoch for result in results] == [1, 2, 3]
    assert all(result.right + result.wrong + result.silent == 20 for result in results)
    assert results == model.history_


def test_fit_is_as_many_calls_of_partial_fit(shown):
    images, labels = shown[0][:20], shown[1][:20]
    model = MozafariClassifier(**SETTINGS)
    for _ in range(3):
        model.partial_fit(images, labels, classes=[0, 1, 2, 3])
    assert torch.equal(model.layer_.weight, MozafariClassifier(epochs=3, **SETTINGS).fit(images, labels).layer_.weight)


def test_the_same_seed_gives_the_same_and_another_seed_not(shown):
    images, labels = shown[0][:20], shown[1][:20]
    first, second, third = (
        MozafariClassifier(epochs=2, random_state=seed, **SETTINGS).fit(images, labels).layer_.weight
        for seed in (3, 3, 4)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_torchs_own_chance_is_left_alone(shown):
    torch.manual_seed(9)
    before = torch.random.get_rng_state()
    MozafariClassifier(epochs=1, **SETTINGS).fit(shown[0][:8], shown[1][:8]).predict(shown[0][:8])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_many_images_are_predicted_as_one_by_one(fitted, shown):
    images = shown[0][:70]
    one_by_one = [fitted.predict(image[None])[0] for image in images]
    np.testing.assert_array_equal(fitted.predict(images), one_by_one)


def test_images_with_a_channel_axis_are_the_same_images(fitted, shown):
    images = shown[0][:5]
    np.testing.assert_array_equal(fitted.predict(images[:, None]), fitted.predict(images))


def test_text_labels_come_back(shown):
    names = np.array(["down", "across", "left", "right"])
    images, labels = shown[0][:40], names[shown[1][:40]]
    model = MozafariClassifier(epochs=15, **SETTINGS).fit(images, labels)
    assert model.classes_.tolist() == sorted(names.tolist())
    assert model.score(images, labels) > 0.8


def test_where_nothing_spikes_the_nearest_to_the_threshold_answers(fitted, shown):
    images = shown[0][:20]
    assert (fitted.first_spikes(images)[:, 0] >= 0).all()
    deaf = clone(fitted).set_params(threshold=1e6, epochs=1).fit(images, shown[1][:20])
    deaf.layer_.weight.copy_(fitted.layer_.weight)
    assert (deaf.first_spikes(images) == -1).all()
    patient = clone(fitted).set_params(threshold=None, epochs=1).fit(images, shown[1][:20])
    patient.layer_.weight.copy_(fitted.layer_.weight)
    np.testing.assert_array_equal(deaf.predict(images), patient.predict(images))


def test_no_image_gives_no_label(fitted):
    assert fitted.predict(np.zeros((0, 40, 40))).shape == (0,)
    assert fitted.first_spikes(np.zeros((0, 40, 40))).shape == (0, 3)


def test_scikit_learn_can_clone_validate_and_search(shown):
    images, labels = shown[0][:40], shown[1][:40] > 1
    model = MozafariClassifier(epochs=1, features_per_class=1, **SETTINGS)
    assert clone(model).get_params() == model.get_params()
    assert cross_val_score(model, images, labels, cv=2).shape == (2,)
    search = GridSearchCV(model, {"kernel_px": np.array([3, 5]), "threshold": [6.0]}, cv=2).fit(images, labels)
    assert search.best_params_["kernel_px"] in (3, 5)


# --- what cannot be ---

GOOD = np.random.default_rng(0).random((4, 40, 40))


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (np.zeros((4, 40)), r"X must be \(n, rows, columns\) or .* got \(4, 40\)\. Convert the images to grey"),
        (np.zeros((4, 3, 40, 40)), r"got \(4, 3, 40, 40\)"),
        (np.zeros((4, 19, 40)), r"X must be at least 21 x 21 pixels for these windows, got 19 x 40"),
        (GOOD * 255, r"X must hold values from 0 to 1, got .* Divide 8-bit values by 255"),
        (np.full((4, 40, 40), np.nan), r"X must hold values from 0 to 1, got nan to nan"),
        (np.full((4, 40, 40), "a"), r"X must be an array of numbers, got"),
        (np.full((4, 40, 40), 0.7), r"images must have edges, got a blank one at index 0\. Leave it out"),
        (np.stack([GOOD[0], np.zeros((40, 40))]), r"images must have edges, got a blank one at index 1\. Leave it out"),
    ],
)
def test_images_that_cannot_be(images: np.ndarray, reason: str):
    with pytest.raises(ImageError, match=rf"MozafariClassifier\.encode: .*{reason}"):
        MozafariClassifier(**SETTINGS).fit(images, [0, 1, 0, 1][: len(images)])


def test_the_smallest_size_that_is_accepted_is_the_smallest_that_fits():
    chance = np.random.default_rng(0)
    for settings in ({}, {"pool_px": 4, "pool_stride_px": 3}, {"pool_px": 1, "pool_stride_px": 1}):
        model = MozafariClassifier(**SETTINGS | settings)
        side = 4 + model.pool_px - 2 * (model.pool_px // 2) + model.pool_stride_px * (model.kernel_px - 1)
        assert min(model.encode(chance.random((1, side, side))).shape[2:]) == 5
        with pytest.raises(ImageError, match=f"X must be at least {side} x {side}"):
            model.encode(chance.random((1, side - 1, side)))


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ([0, 1, 0], "y must hold a label for each of 4 images, got 3"),
        ([1, 1, 1, 1], r"y must hold at least two classes, got \[1\]"),
        ([0.5, 1.5, 0.5, 1.5], "y must be a vector of text, integers or Booleans, got float64"),
        ([[0], [1], [0], [1]], r"y must be a vector .* of shape \(4, 1\)"),
    ],
)
def test_labels_that_cannot_be(labels: list[object], reason: str):
    with pytest.raises(DataError, match=f"MozafariClassifier: {reason}"):
        MozafariClassifier(epochs=1, **SETTINGS).fit(GOOD, labels)


def test_a_label_that_the_first_call_did_not_name():
    model = MozafariClassifier(**SETTINGS).partial_fit(GOOD, [0, 1, 0, 1])
    with pytest.raises(
        DataError, match=r"y must hold only labels from \[0, 1\], got \[2\]\. Pass all classes to the first"
    ):
        model.partial_fit(GOOD, [0, 1, 2, 1])


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"features_per_class": 0}, "features_per_class must be at least 1, got 0"),
        ({"threshold": -1.0}, "threshold must be at least 0"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
        ({"bins": 0}, "bins must be"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, object], reason: str):
    with pytest.raises(ConfigError, match=reason):
        MozafariClassifier(**SETTINGS | settings).fit(GOOD, [0, 1, 0, 1])
