"""Maps of a decision: they sum to it, follow the network, and find what the decision hangs on."""

import copy

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from leukospike.classification.attribution import CONTRAST, attribution, deletion_curves, log_odds, pale
from leukospike.classification.classifier import Classifier, as_shown
from leukospike.classification.kind_input import inside
from leukospike.classification.kind_network import KindNetwork
from leukospike.classification.kinds import CellKind


@pytest.fixture(scope="module")
def network(drawn_classifier: Classifier) -> KindNetwork:
    return drawn_classifier.network


@pytest.fixture(scope="module")
def shown(drawn_pixels: np.ndarray) -> torch.Tensor:
    cells = torch.from_numpy(drawn_pixels[::8])
    return as_shown(cells, torch.zeros(len(cells), dtype=torch.bool), torch.full((len(cells),), torch.nan))[0]


@pytest.fixture(scope="module")
def sizes(shown: torch.Tensor) -> torch.Tensor:
    return torch.full((len(shown),), 13.0)


@pytest.fixture(scope="module")
def maps(network: KindNetwork, shown: torch.Tensor, sizes: torch.Tensor) -> np.ndarray:
    return attribution(network, shown, sizes)


def test_log_odds_are_those_of_the_probability(network: KindNetwork, shown: torch.Tensor, sizes: torch.Tensor):
    with torch.inference_mode():
        odds = log_odds(network, shown, sizes)
        logits = network.decide(network.on_axes(network.features(shown)), sizes)
    probability = logits.softmax(dim=1)[:, CellKind.LYMPHOBLAST.place]
    torch.testing.assert_close(odds.sigmoid(), probability)
    assert np.ptp(odds.numpy()) > 2


def test_a_map_sums_to_what_contrast_changes(
    network: KindNetwork, shown: torch.Tensor, sizes: torch.Tensor, maps: np.ndarray
):
    with torch.inference_mode():
        change = log_odds(network, shown, sizes) - log_odds(network, pale(shown, CONTRAST), sizes)
    assert maps.shape == (len(shown), 128, 128)
    assert maps.dtype == np.float32
    assert np.abs(change.numpy()).max() > 1
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), change.numpy(), atol=0.3, rtol=0.15)


def test_a_map_is_the_path_integral_of_the_gradient(
    network: KindNetwork, shown: torch.Tensor, sizes: torch.Tensor, maps: np.ndarray
):
    cell, start = shown[1:2], pale(shown[1:2], CONTRAST)
    gradients = []
    for place in (np.arange(24) + 0.5) / 24:
        between = (start + place * (cell - start)).requires_grad_()
        log_odds(network, between, sizes[:1]).sum().backward()
        gradients.append(between.grad)
    expected = ((cell - start) * torch.stack(gradients).mean(dim=0)).sum(dim=1)[0].numpy()
    assert np.corrcoef(maps[1].ravel(), expected.ravel())[0, 1] > 0.95


def test_a_map_is_zero_around_the_cell_and_of_a_black_picture(
    network: KindNetwork, shown: torch.Tensor, maps: np.ndarray
):
    cell = inside(shown)[:, 0].numpy()
    assert not maps[~cell].any()
    assert (maps[cell] != 0).mean() > 0.9
    assert not attribution(network, torch.zeros(1, 3, 128, 128), torch.full((1,), torch.nan)).any()


def test_cells_are_explained_one_by_one(
    network: KindNetwork, shown: torch.Tensor, sizes: torch.Tensor, maps: np.ndarray
):
    np.testing.assert_allclose(attribution(network, shown[3:4], sizes[3:4])[0], maps[3], atol=1e-5)


def test_pixels_of_high_share_go_and_the_decision_with_them(
    network: KindNetwork, shown: torch.Tensor, sizes: torch.Tensor, maps: np.ndarray
):
    rng = np.random.default_rng(0)
    orders = {"map": maps, "reversed": -maps, "random": rng.random(maps.shape, np.float32)}
    areas = {
        name: np.trapezoid(deletion_curves(network, shown, sizes, order, steps=6), dx=1 / 6, axis=1)
        for name, order in orders.items()
    }
    assert (areas["map"] < areas["random"]).mean() > 0.8
    assert (areas["reversed"] > areas["map"]).all()


def test_a_deletion_curve_goes_from_the_cell_to_the_even_cell(
    network: KindNetwork, shown: torch.Tensor, sizes: torch.Tensor, maps: np.ndarray
):
    curves = deletion_curves(network, shown, sizes, maps, steps=3)
    assert curves.shape == (len(shown), 4)
    with torch.inference_mode():
        ends = [log_odds(network, shown, sizes), log_odds(network, pale(shown, 0), sizes)]
    np.testing.assert_allclose(curves[:, [0, -1]], torch.stack(ends, dim=1).numpy(), atol=1e-3)


def test_maps_of_another_decision_are_others(
    network: KindNetwork, shown: torch.Tensor, sizes: torch.Tensor, maps: np.ndarray
):
    """Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018; the other layers are not learned from cells."""
    some = slice(0, 3)
    cells = inside(shown)[some, 0].numpy()
    likeness = []
    for seed in range(3):
        torch.manual_seed(seed)
        other = copy.deepcopy(network)
        other.decision.reset_parameters()
        drawn = attribution(other, shown[some], sizes[some])
        pairs = zip(maps[some], drawn, cells, strict=True)
        likeness.append(np.mean([spearmanr(own[cell], its[cell]).statistic for own, its, cell in pairs]))
    # One draw can come out alike or opposite by chance; a map that ignores the weights would be alike in all.
    assert np.abs(np.mean(likeness)) < 0.5
    assert np.max(likeness) < 0.9


def test_pale_cells_keep_mean_colour_and_outline(shown: torch.Tensor):
    paler = pale(shown[:1], 0.5)
    cell = inside(shown[:1])[0, 0]
    torch.testing.assert_close(paler[0, :, cell].mean(dim=1), shown[0, :, cell].mean(dim=1))
    torch.testing.assert_close(paler[0, :, cell].std(dim=1), shown[0, :, cell].std(dim=1) / 2)
    assert torch.equal(paler[0, :, ~cell], shown[0, :, ~cell])
