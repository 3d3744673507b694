"""The package's classifier in its file: judgements, and which files are refused."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from scipy.special import log_softmax

from leukospike.classification.classifier import (
    Classifier,
    Judgement,
    called_kinds,
    default_classifier,
    read_classifier,
    with_blasts,
    write_classifier,
)
from leukospike.classification.kinds import KINDS, CellKind
from leukospike.errors import WeightsError

BLAST = CellKind.LYMPHOBLAST.place
SMEAR = ((170, 140, 190), (70, 30, 110))
NORMALISED = ((75, 32, 82), (60, 22, 72))


def _cell(rim: tuple[int, int, int], nucleus: tuple[int, int, int], *, radius: int = 42, seed: int = 0) -> np.ndarray:
    """Draw a cell as the classifier keeps them."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:192, :192] - 95.5
    away = np.hypot(rows, columns * 1.08)[..., None]
    pixels = np.where(away < 0.75 * radius, nucleus, rim) + rng.normal(0, 3, (192, 192, 3))
    return np.where(away < radius, pixels.clip(6, 255), 0).astype(np.uint8)


@pytest.fixture(scope="module")
def cells() -> np.ndarray:
    """Draw ten cells, of which every second has the look of C-NMC."""
    looks = (SMEAR, NORMALISED)
    return np.stack([_cell(*looks[place % 2], radius=30 + 4 * place, seed=place) for place in range(10)])


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return default_classifier()


def _judge(classifier: Classifier, cells: np.ndarray, *, given: bool = True, diameter_um: float = 11.0) -> Judgement:
    n = len(cells)
    return classifier.judge(cells, given=np.full(n, given), diameter_um=np.full(n, diameter_um))


def _agree(one: Judgement, other: Judgement, *, atol: float) -> None:
    for name in ("probability", "kinds"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=atol)
    np.testing.assert_allclose(one.distance, other.distance, rtol=10 * atol)


def test_probabilities_of_kinds_are_those_of_one_cell(classifier: Classifier, cells: np.ndarray):
    found = _judge(classifier, cells)
    assert found.kinds.shape == found.sets.shape == (10, len(KINDS))
    np.testing.assert_allclose(found.kinds.sum(axis=1), 1, atol=1e-9)
    np.testing.assert_array_equal(found.kinds[:, BLAST], found.probability)
    assert ((found.kinds >= 0) & (found.kinds <= 1)).all()
    assert found.sets[np.arange(10), found.kinds.argmax(axis=1)].all()
    np.testing.assert_array_equal(found.sets, classifier.confidence.sets.sets(found.kinds))
    np.testing.assert_array_equal(found.outlier, found.distance > classifier.confidence.outlier_distance)


def test_a_batch_is_what_its_cells_are_one_by_one_and_keeps_their_order(classifier: Classifier, cells: np.ndarray):
    together = _judge(classifier, cells)
    alone = [_judge(classifier, cell[None]) for cell in cells]
    for name in ("probability", "kinds"):
        one_by_one = np.concatenate([getattr(one, name) for one in alone])
        np.testing.assert_allclose(getattr(together, name), one_by_one, atol=2e-4)
    backwards = _judge(classifier, cells[::-1].copy())
    np.testing.assert_allclose(backwards.probability[::-1], together.probability, atol=2e-4)
    assert np.ptp(together.probability) > 0.01


def test_how_a_picture_came_matters_only_with_the_look_of_c_nmc(classifier: Classifier, cells: np.ndarray):
    given, cut_out = (_judge(classifier, cells, given=given) for given in (True, False))
    differ = np.abs(given.probability - cut_out.probability) > 1e-6
    assert differ.tolist() == [False, True] * 5
    np.testing.assert_array_equal(given.axes, cut_out.axes)


def test_a_known_scale_is_taken_before_any_other(classifier: Classifier, cells: np.ndarray):
    small, large = (_judge(classifier, cells, diameter_um=um) for um in (7.0, 20.0))
    differ = np.abs(small.kinds - large.kinds).max(axis=1) > 1e-6
    assert differ.tolist() == [True, False] * 5


def test_an_unknown_diameter_is_a_typical_one(classifier: Classifier, cells: np.ndarray):
    unknown, typical, large = (
        _judge(classifier, cells, given=False, diameter_um=um) for um in (np.nan, float(np.exp(2.48)), 20.0)
    )
    np.testing.assert_allclose(unknown.kinds, typical.kinds, atol=1e-6)
    assert np.abs(unknown.kinds - large.kinds).max() > 0.01


def test_kinds_beside_a_known_blast_share_what_is_left():
    kinds = log_softmax(np.random.default_rng(0).normal(0, 2, (6, len(KINDS))), axis=1)
    known = np.array([0.0, 0.2, 0.5, 0.9, 1.0, 0.3])
    shares = with_blasts(kinds, known)
    np.testing.assert_array_equal(shares[:, BLAST], known)
    others = np.delete(np.exp(kinds), BLAST, axis=1)
    expected = others / others.sum(axis=1, keepdims=True) * (1 - known[:, None])
    np.testing.assert_allclose(np.delete(shares, BLAST, axis=1), expected, atol=1e-12)


def test_what_is_no_cell_is_an_outlier(classifier: Classifier):
    noise = np.random.default_rng(0).integers(6, 256, (3, 192, 192, 3), dtype=np.uint8)
    assert _judge(classifier, noise).outlier.all()


def test_nothing_gives_numbers_too(classifier: Classifier):
    found = _judge(classifier, np.zeros((2, 192, 192, 3), np.uint8), diameter_um=np.nan)
    for name in ("probability", "kinds", "distance", "axes"):
        assert np.isfinite(getattr(found, name)).all()
    assert len(_judge(classifier, np.zeros((0, 192, 192, 3), np.uint8)).kinds) == 0


def test_a_file_gives_back_the_same_judgements(drawn_classifier: Classifier, cells: np.ndarray, tmp_path: Path):
    write_classifier(drawn_classifier, tmp_path / "a.safetensors")
    once = read_classifier(tmp_path / "a.safetensors")
    # Half precision rounds once, and no more.
    _agree(_judge(once, cells), _judge(drawn_classifier, cells), atol=1e-3)
    write_classifier(once, tmp_path / "b.safetensors")
    again = read_classifier(tmp_path / "b.safetensors")
    assert again.digest() == once.digest() == drawn_classifier.digest()
    for name in ("probability", "kinds", "sets", "distance", "outlier", "axes"):
        np.testing.assert_array_equal(getattr(_judge(again, cells), name), getattr(_judge(once, cells), name))
    assert again.card == drawn_classifier.card
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_digest_follows_each_part(drawn_classifier: Classifier, tmp_path: Path):
    def nudged(_: dict, tensors: dict) -> None:
        tensors["network/decision.bias"][0] += 0.5

    def renamed(settings: dict, _: dict) -> None:
        settings["card"]["name"] = "another"

    def moved(settings: dict, _: dict) -> None:
        settings["confidence"]["elsewhere"]["offset"] += 0.1

    digests = {
        read_classifier(_tampered(drawn_classifier, tmp_path, change)).digest() for change in (nudged, renamed, moved)
    }
    assert len(digests | {drawn_classifier.digest()}) == 4


Change = Callable[[dict, dict], object]


def _tampered(classifier: Classifier, folder: Path, change: Change) -> Path:
    """Write a classifier whose settings and tensors were changed."""
    path = folder / "c.safetensors"
    write_classifier(classifier, path)
    with safe_open(path, framework="pt") as file:
        settings = json.loads(file.metadata()["leukospike"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(settings, tensors)
    save_file(tensors, path, metadata={"leukospike": json.dumps(settings)})
    return path


def _confidence(part: str, **values: object) -> Change:
    return lambda settings, _: settings["confidence"][part].update(values)


def _tensor(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    return lambda _, tensors: tensors.update({name: change(tensors[name]).contiguous()})


@pytest.mark.parametrize(
    "change",
    [
        lambda settings, _: settings.update(format="leukospike-classifier-2"),
        lambda settings, _: settings.update(input_px=96),
        lambda settings, _: settings.update(cell_px=96),
        lambda settings, _: settings.update(appearances=3),
        lambda settings, _: settings.update(kinds=settings["kinds"][::-1]),
        lambda settings, _: settings.pop("kinds"),
        lambda settings, _: settings.update(measures=0),
        lambda settings, _: settings.update(measures=10**9),
        lambda settings, _: settings.update(measures=True),
        lambda settings, _: settings.update(measures=1),
        lambda settings, _: settings.update(measures=3),
        lambda settings, _: settings.pop("card"),
        lambda settings, _: settings.update(card=None),
        lambda settings, _: settings.update(card="a card"),
        lambda settings, _: settings.pop("confidence"),
        lambda settings, _: settings.update(confidence=[]),
        lambda settings, _: settings["confidence"].update(at_home=None),
        lambda settings, _: settings["confidence"].pop("elsewhere"),
        lambda settings, _: settings["confidence"].pop("sets"),
        lambda settings, _: settings["confidence"].pop("subjects"),
        lambda settings, _: settings["confidence"].update(outlier_distance=-1),
        lambda settings, _: settings["confidence"].update(outlier_distance=float("nan")),
        _confidence("at_home", weights=[1.0]),
        _confidence("at_home", weights=[1.0, -1.0]),
        _confidence("elsewhere", weights=[1.0, 1.0]),
        _confidence("elsewhere", offset="low"),
        _confidence("sets", least=[0.1] * 10),
        _confidence("sets", alpha=2),
        _confidence("subjects", rate_leukemic=0.05),
        _confidence("subjects", precision=0),
        lambda _, tensors: tensors.pop("network/decision.weight"),
        lambda _, tensors: tensors.pop("network/body.stem.1.weight"),
        lambda _, tensors: tensors.pop("measures-0/spread"),
        lambda _, tensors: tensors.pop("distance/whitening"),
        lambda _, tensors: tensors.update({"more": torch.zeros(1)}),
        lambda _, tensors: tensors.update({"network/more": torch.zeros(1)}),
        _tensor("measures-0/spread", torch.zeros_like),
        _tensor("measures-1/mean", lambda mean: mean + 1),
        _tensor("measures-1/mean", lambda mean: torch.full_like(mean, torch.nan)),
        _tensor("network/decision.bias", lambda bias: bias[:5]),
        _tensor("network/decision.bias", lambda bias: bias.double()),
        _tensor("network/axes", lambda axes: axes[:, :50]),
        _tensor("network/body.stem.2.running_var", lambda variance: variance - 1000),
        _tensor("distance/means", lambda means: means[:, :3]),
        _tensor("distance/means", lambda means: means[:0]),
        lambda _, tensors: tensors.update(
            {"distance/means": torch.zeros(2, 3), "distance/whitening": torch.zeros(3, 3)}
        ),
    ],
)  # fmt: skip
def test_a_spoiled_file_is_refused_in_one_line(drawn_classifier: Classifier, tmp_path: Path, change: Change):
    with pytest.raises(WeightsError) as error:
        read_classifier(_tampered(drawn_classifier, tmp_path, change))
    assert "\n" not in str(error.value)


def test_other_files_are_refused(tmp_path: Path):
    with pytest.raises(WeightsError, match="read_classifier: weights must be a file, got"):
        read_classifier(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(WeightsError, match="read_classifier: weights must be a readable safetensors file"):
        read_classifier(tmp_path / "text.safetensors")


def test_the_shipped_classifier_is_small_and_says_what_it_is(classifier: Classifier):
    wanted = {"name", "what", "intended_use", "data", "weights_licence", "protocol", "figures", "limits", "rebuild"}
    assert wanted <= set(classifier.card)
    assert "(" in classifier.card["figures"]["C-NMC, cell: area under the ROC curve"]
    assert Path("src/leukospike/classification/classifier.safetensors").stat().st_size < 10e6


def test_a_cell_is_called_a_lymphoblast_only_if_that_is_more_likely_than_all_else_together():
    kinds = np.zeros((3, len(KINDS)))
    kinds[0, [0, 2, 3]] = 0.4, 0.35, 0.25  # likeliest of all, and yet less likely than the others together
    kinds[1, [0, 2]] = 0.5, 0.5
    kinds[2, [0, 2, 5]] = 0.1, 0.3, 0.6
    assert called_kinds(kinds).tolist() == [2, 0, 5]
