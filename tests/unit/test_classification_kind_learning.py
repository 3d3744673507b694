"""Training of the network for kinds: what cells weigh, how they are measured, and what is fitted on which."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from leukospike.classification import kind_learning
from leukospike.classification.classifier import default_classifier
from leukospike.classification.kind_learning import (
    SOME_MATURE,
    KindTraining,
    Views,
    fit_kinds,
    views_of,
    weights_of,
)
from leukospike.classification.kind_network import KindNetwork
from leukospike.classification.kinds import KINDS, CellKind
from leukospike.classification.lite_network import FEATURES
from leukospike.errors import ConfigError, DataError

LEARNED = (CellKind.LYMPHOBLAST, CellKind.LYMPHOCYTE, CellKind.MONOCYTE)
CONFIG = KindTraining(views=1)


def _kinds(*kinds: CellKind) -> np.ndarray:
    return np.array([kind.place for kind in kinds])


def test_weights_are_those_worked_out_by_hand():
    blast, precursor, neutrophil = CellKind.LYMPHOBLAST, CellKind.PRECURSOR, CellKind.NEUTROPHIL
    cells = [
        # One half: the laboratory with blasts; its two kinds weigh a quarter each, and subjects by the root: 2 to 1.
        *[("A", blast, "1", 1 / 24)] * 4,
        ("A", blast, "2", 1 / 12),
        ("A", precursor, "3", 1 / 4),
        # The other half: two laboratories of a quarter each; the two kinds of one have an eighth each.
        *[("B", neutrophil, str(subject), 1 / 8) for subject in range(2)],
        *[("C", neutrophil, str(subject), 1 / 32) for subject in range(4)],
        ("C", CellKind.MONOCYTE, "9", 1 / 8),
    ]
    laboratories, kinds, subjects, expected = zip(*cells, strict=True)
    found = weights_of(_kinds(*kinds), np.array(laboratories), np.array(subjects))
    np.testing.assert_allclose(found, expected)


def test_subjects_of_the_same_name_in_two_laboratories_are_two():
    kinds = _kinds(*[CellKind.NEUTROPHIL] * 8)
    laboratories = np.array(["a"] * 5 + ["a b"] * 3)
    subjects = np.array(["b c"] * 4 + ["d"] + ["c"] + ["d"] * 2)
    found = weights_of(kinds, laboratories, subjects)
    root = 1 / (1 + 2**0.5)
    np.testing.assert_allclose(found, [1 / 12] * 4 + [1 / 6] + [root / 2] + [(1 - root) / 4] * 2)


def test_without_blasts_all_laboratories_weigh_alike():
    found = weights_of(_kinds(*[CellKind.NEUTROPHIL] * 4), np.array([*"AABC"]), np.array([*"1234"]))
    np.testing.assert_allclose(found, [1 / 6, 1 / 6, 1 / 3, 1 / 3])


def _pixels(n: int = 10) -> np.ndarray:
    """Draw cells with structure on black."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:192, :192] - 96
    pixels = np.zeros((n, 192, 192, 3), np.uint8)
    for place in range(n):
        inside = np.hypot(rows, columns) < 30 + 3 * place
        pixels[place][inside] = rng.integers(20, 200, (int(inside.sum()), 3))
    return pixels


class _Pool(ThreadPoolExecutor):
    def __init__(self) -> None:
        super().__init__(4)


def test_measures_do_not_follow_the_number_of_threads(monkeypatch: pytest.MonkeyPatch):
    network = default_classifier().network
    alone = views_of(_pixels(), network, CONFIG)
    monkeypatch.setattr(kind_learning, "one_core_each", _Pool)
    steps: list[tuple[int, int]] = []
    together = views_of(_pixels(), network, CONFIG, progress=lambda _, done, total: steps.append((done, total)))
    np.testing.assert_array_equal(alone.features, together.features)
    assert alone.owner.tolist() == [*range(10), *range(10)]
    assert steps == [(done, 4) for done in range(1, 5)]


def test_first_views_show_cells_as_they_are_and_the_others_follow_the_seed():
    network = default_classifier().network
    views, other = (views_of(_pixels(), network, replace(CONFIG, seed=seed)).features for seed in (0, 1))
    np.testing.assert_array_equal(views[:10], other[:10])
    assert (np.abs(views[10:] - other[10:]).max(axis=1) > 0.1).all()
    with torch.inference_mode():
        colours = torch.from_numpy(_pixels()).permute(0, 3, 1, 2).float() / 255
        expected = network.features(kind_learning.at_one_size(colours)[0]).numpy()
    np.testing.assert_allclose(views[:10], expected, rtol=1e-3, atol=1e-3)


def test_views_of_some_cells():
    views = Views(np.zeros((6, FEATURES), np.float32), np.array([0, 1, 2, 0, 1, 2]))
    assert views.of(np.array([2, 0])).tolist() == [0, 2, 3, 5]


def _separable(kinds: np.ndarray, *, seed: int = 0) -> Views:
    """Draw features that lie apart by kind, in two views of each cell."""
    means = np.random.default_rng(99).normal(0, 1, (len(KINDS), FEATURES))
    rng = np.random.default_rng(seed)
    features = np.concatenate([means[kinds] + rng.normal(0, 1.5, (len(kinds), FEATURES)) for _ in range(2)])
    return Views(features.astype(np.float32), np.tile(np.arange(len(kinds)), 2))


def _logits(network: KindNetwork, features: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        unknown = torch.full((len(features),), torch.nan)
        return network.decide(network.on_axes(torch.from_numpy(features)), unknown).numpy()


@pytest.fixture(scope="module")
def fitted() -> KindNetwork:
    kinds = np.tile(_kinds(*LEARNED), 30)
    return _fit(kinds, _separable(kinds), np.arange(len(kinds)))


def _fit(kinds: np.ndarray, views: Views, places: np.ndarray, *, config: KindTraining = CONFIG) -> KindNetwork:
    n = len(kinds)
    sizes = np.full(n, 12.0, np.float32)
    return fit_kinds(views, kinds, np.full(n, 1 / n), sizes, places, config, body=KindNetwork())


def test_kinds_that_lie_apart_are_told_apart(fitted: KindNetwork):
    kinds = np.tile(_kinds(*LEARNED), 20)
    logits = _logits(fitted, _separable(kinds, seed=1).features)
    assert np.mean(logits.argmax(axis=1) == np.tile(kinds, 2)) > 0.97


def test_a_kind_that_was_not_learned_is_never_called(fitted: KindNetwork):
    shown = np.arange(len(KINDS)).repeat(20)
    logits = _logits(fitted, _separable(shown, seed=2).features)
    assert set(logits.argmax(axis=1).tolist()) == set(_kinds(*LEARNED).tolist())
    absent = np.setdiff1d(np.arange(len(KINDS)), _kinds(*LEARNED))
    shares = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    assert shares[:, absent].max() < 1e-6


def test_cells_that_weigh_more_count_for_more():
    kinds = np.tile(_kinds(CellKind.LYMPHOCYTE, CellKind.MONOCYTE), 20)
    views = Views(np.random.default_rng(0).normal(0, 1, (40, FEATURES)).astype(np.float32), np.arange(40))
    sizes = np.full(40, np.nan, np.float32)
    shares: list[float] = []
    for weight in (1.0, 9.0):
        weights = np.where(kinds == CellKind.MONOCYTE.place, weight, 1.0)
        config = replace(CONFIG, penalty=100.0)
        network = fit_kinds(views, kinds, weights, sizes, np.arange(40), config, body=KindNetwork())
        logits = _logits(network, views.features)
        shares.append(float((logits[:, CellKind.MONOCYTE.place] - logits[:, CellKind.LYMPHOCYTE.place]).mean()))
    # With so high a penalty the offsets alone decide; smoothing draws them a little to even.
    assert shares[0] == pytest.approx(0, abs=0.01)
    assert shares[1] == pytest.approx(np.log((0.95 * 0.9 + 0.025) / (0.95 * 0.1 + 0.025)), abs=0.05)


def test_the_network_for_photographs_stays_as_it_was():
    body = KindNetwork()
    kinds = np.tile(_kinds(*LEARNED), 4)
    n = len(kinds)
    network = fit_kinds(
        _separable(kinds), kinds, np.full(n, 1 / n), np.full(n, 12.0, np.float32), np.arange(n), CONFIG, body=body
    )
    for name, tensor in body.body.state_dict().items():
        torch.testing.assert_close(network.body.state_dict()[name], tensor, rtol=0, atol=0)
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert not network.training
    assert not body.axes.any()


def test_one_kind_is_refused():
    kinds = np.tile(_kinds(*LEARNED), 4)
    with pytest.raises(DataError, match="fit_kinds: cells must be of at least two kinds, got one"):
        _fit(kinds, _separable(kinds), np.array([0, 3, 6]))


@pytest.mark.parametrize("setting", [{"views": -1}, {"augmentation": -0.5}, {"penalty": float("nan")}, {"seed": -1}])
def test_impossible_settings_are_refused(setting: dict):
    [name] = setting
    with pytest.raises(ConfigError, match=f"KindTraining: {name} must be at least 0, got"):
        KindTraining(**setting)


def test_a_cell_of_unknown_kind_is_learned_as_one_of_the_mature():
    # The last cells look like lymphoblasts, and nobody has said what they are.
    kinds = np.tile(_kinds(*LEARNED), 30)
    alike = np.concatenate([kinds, np.full(30, CellKind.LYMPHOBLAST.place)])
    views, told = _separable(alike), np.concatenate([kinds, np.full(30, SOME_MATURE)])
    with_them = _fit(told, views, np.arange(len(told)))
    without = _fit(told, views, np.arange(len(kinds)))
    blasts = views.features[: len(alike)][alike == CellKind.LYMPHOBLAST.place]

    def mean_blast(network: KindNetwork) -> float:
        return float(torch.from_numpy(_logits(network, blasts)).softmax(dim=1)[:, CellKind.LYMPHOBLAST.place].mean())

    assert mean_blast(without) > 0.8
    # As many of them are blasts as are some mature kind, each of those as likely as another.
    assert mean_blast(with_them) == pytest.approx(0.5, abs=0.1)
