"""Explanations of a decision: they sum to it, follow the networks, and find what the decision hangs on."""

import copy

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from leukospike.classification.appearance import APPEARANCES, SHAPES
from leukospike.classification.appearance_network import AppearanceNetwork
from leukospike.classification.attribution import (
    CONTRAST,
    attribution,
    decision_parts,
    deletion_curves,
    log_odds,
    pale,
)
from leukospike.classification.cells import LabelledCells
from leukospike.classification.classifier import Classifier
from leukospike.classification.network import colours_of
from leukospike.errors import WeightsError


class _Weighing(AppearanceNetwork):
    """Decides by a sum, so that each measure's share is known: its value times its weight."""

    def __init__(self, places: slice) -> None:
        super().__init__()
        self._places = places

    def decide(self, embedding: torch.Tensor) -> torch.Tensor:
        total = embedding[:, self._places].sum(dim=1)
        return torch.stack([torch.zeros_like(total), total], dim=1)


def _randomised(network: AppearanceNetwork, *layers: str) -> AppearanceNetwork:
    other = copy.deepcopy(network)
    for layer in layers:
        getattr(other, layer).reset_parameters()
    return other


@pytest.fixture(scope="module")
def crops(drawn_cells: LabelledCells) -> np.ndarray:
    return drawn_cells.crops[::4]


@pytest.fixture(scope="module")
def maps(drawn_classifier: Classifier, crops: np.ndarray) -> np.ndarray:
    return attribution(drawn_classifier.networks, crops)


def test_parts_sum_to_the_mean_of_the_networks_scores(drawn_classifier: Classifier, crops: np.ndarray):
    networks = drawn_classifier.networks
    scores = torch.stack([network.scores(colours_of(torch.from_numpy(crops))) for network in networks]).mean(dim=0)
    sums = [parts.log_odds for parts in decision_parts(networks, crops)]
    np.testing.assert_allclose(sums, scores.numpy(), atol=1e-3)
    assert np.ptp(sums) > 1


@pytest.mark.parametrize(
    ("places", "part"),
    [
        (slice(SHAPES.index("diameter"), SHAPES.index("diameter") + 1), "size"),
        (slice(SHAPES.index("form_factor"), SHAPES.index("form_factor") + 1), "shape"),
        (slice(8, 14), "colour"),
        (slice(14, 32), "contrast"),
        (slice(32, 62), "colour"),
        (slice(62, 89), "layout"),
        (slice(89, APPEARANCES), "structure"),
    ],
)
def test_each_measure_counts_for_its_part(crops: np.ndarray, places: slice, part: str):
    network = _Weighing(places).eval()
    embedding = network.embed(colours_of(torch.from_numpy(crops)))
    for parts, own in zip(decision_parts([network], crops), embedding[:, places].sum(dim=1).tolist(), strict=True):
        assert getattr(parts, part) == pytest.approx(own, rel=1e-4)
        assert parts.log_odds == pytest.approx(own, rel=1e-4)


def test_the_parts_that_an_even_cell_lacks_are_those_of_differences_within():
    crop = np.zeros((1, 96, 96, 3), np.uint8)
    crop[0, 30:60, 30:70] = (120, 60, 140)
    density = -np.log(np.array([120, 60, 140]) / 255 * (1 - 1 / 256) + 1 / 256)
    [mean] = decision_parts([_Weighing(slice(8, 11)).eval()], crop)
    assert mean.colour == pytest.approx(density.sum(), rel=1e-4)
    [quantiles] = decision_parts([_Weighing(slice(32, 33)).eval()], crop)
    assert quantiles.colour == pytest.approx(density[0], rel=1e-4)
    for places in (slice(14, 20), slice(92, APPEARANCES)):
        [parts] = decision_parts([_Weighing(places).eval()], crop)
        assert abs(parts.log_odds) < 1e-2


def test_a_map_sums_to_what_contrast_changes(drawn_classifier: Classifier, crops: np.ndarray, maps: np.ndarray):
    colours = colours_of(torch.from_numpy(crops))
    networks = drawn_classifier.networks
    with torch.no_grad():
        change = log_odds(networks, colours) - log_odds(networks, pale(colours, CONTRAST))
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), change.numpy(), atol=0.05)
    assert np.abs(change.numpy()).max() > 0.5


def test_a_map_is_the_path_integral_of_the_gradient(drawn_classifier: Classifier, crops: np.ndarray, maps: np.ndarray):
    colours = colours_of(torch.from_numpy(crops[:1]))
    start = pale(colours, CONTRAST)
    gradients = []
    for place in (np.arange(64) + 0.5) / 64:
        between = (start + place * (colours - start)).requires_grad_()
        log_odds(drawn_classifier.networks, between).sum().backward()
        gradients.append(between.grad)
    expected = ((colours - start) * torch.stack(gradients).mean(dim=0)).sum(dim=1)[0].numpy()
    assert np.corrcoef(maps[0].ravel(), expected.ravel())[0, 1] > 0.99


def test_a_map_is_zero_around_the_cell_and_of_a_black_crop(
    drawn_classifier: Classifier, crops: np.ndarray, maps: np.ndarray
):
    assert not maps[crops.max(axis=3) < 5].any()
    assert (maps[crops.max(axis=3) >= 5] != 0).mean() > 0.9
    assert not attribution(drawn_classifier.networks, np.zeros((1, 96, 96, 3), np.uint8)).any()


def test_cells_are_explained_one_by_one(drawn_classifier: Classifier, crops: np.ndarray, maps: np.ndarray):
    np.testing.assert_allclose(attribution(drawn_classifier.networks, crops[3:4])[0], maps[3], atol=1e-6)


def test_pixels_of_high_share_go_and_the_decision_with_them(
    drawn_classifier: Classifier, crops: np.ndarray, maps: np.ndarray
):
    rng = np.random.default_rng(0)
    orders = {
        "map": maps,
        "reversed": -maps,
        "turned": np.rot90(maps, 2, (1, 2)).copy(),
        "random": rng.random(maps.shape, np.float32),
    }
    areas = {
        name: np.trapezoid(deletion_curves(drawn_classifier.networks, crops, order), dx=1 / 20, axis=1)
        for name, order in orders.items()
    }
    assert (areas["map"] < areas["random"]).mean() > 0.9
    assert (areas["map"] < areas["turned"]).mean() > 0.9
    assert (areas["reversed"] > areas["random"]).mean() > 0.9


def test_a_deletion_curve_goes_from_the_cell_to_the_even_cell(
    drawn_classifier: Classifier, crops: np.ndarray, maps: np.ndarray
):
    networks, colours = drawn_classifier.networks, colours_of(torch.from_numpy(crops))
    curves = deletion_curves(networks, crops, maps, steps=4)
    assert curves.shape == (len(crops), 5)
    with torch.no_grad():
        ends = [log_odds(networks, colours), log_odds(networks, pale(colours, 0))]
    np.testing.assert_allclose(curves[:, [0, -1]], torch.stack(ends, dim=1).numpy(), atol=1e-4)


def test_maps_of_randomised_networks_are_others(drawn_classifier: Classifier, crops: np.ndarray, maps: np.ndarray):
    """Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018: from the last layer to the first."""
    crops, maps = crops[::2], maps[::2]
    inside = crops.max(axis=3) >= 5
    likeness = []
    for layers in (("decision",), ("decision", "second"), ("decision", "second", "first")):
        per_draw = []
        for seed in range(8):
            torch.manual_seed(seed)
            networks = [_randomised(network, *layers) for network in drawn_classifier.networks]
            others = attribution(networks, crops)
            per_draw.append(
                np.mean(
                    [
                        spearmanr(own[where], other[where]).statistic
                        for own, other, where in zip(maps, others, inside, strict=True)
                    ]
                )
            )
        likeness.append(per_draw)
    # One draw can come out alike or opposite by chance; a map that ignores the weights would be alike in all.
    assert np.abs(np.mean(likeness, axis=1)).max() < 0.4
    assert np.mean(np.abs(likeness[0])) > np.mean(np.abs(likeness[2]))
    assert np.abs(likeness[2]).max() < 0.7


def test_pale_cells_keep_mean_colour_and_outline(crops: np.ndarray):
    colours = colours_of(torch.from_numpy(crops[:1]))
    paler = pale(colours, 0.5)
    inside = colours.amax(dim=1)[0] > 4.5 / 255
    torch.testing.assert_close(paler[0, :, inside].mean(dim=1), colours[0, :, inside].mean(dim=1))
    torch.testing.assert_close(paler[0, :, inside].std(dim=1), colours[0, :, inside].std(dim=1) / 2)
    assert torch.equal(paler[0, :, ~inside], colours[0, :, ~inside])


def test_without_networks_there_is_nothing_to_explain(crops: np.ndarray):
    with pytest.raises(WeightsError, match="attribution: networks must be at least one, got none"):
        attribution([], crops)
