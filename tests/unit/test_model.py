"""One fold's model in one file, and every way in which such a file can be bad."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from leukospike.errors import WeightsError
from leukospike.images.framing import Framing
from leukospike.original.components import fit_components
from leukospike.original.model import FittedModel, load_model, network_probabilities, save_model
from leukospike.original.network import ResidualNetwork
from leukospike.original.preprocessing import Normalisation

SIDE = 24


def _maps(n: int = 20) -> np.ndarray:
    return np.random.default_rng(0).random((n, SIDE, SIDE), dtype=np.float32)


def _model(hidden_units: int | None = None) -> FittedModel:
    maps = _maps()
    normalisation = Normalisation.fit(maps)
    components = fit_components(normalisation.apply(maps), n_components=6, seed=0)
    generator = torch.Generator().manual_seed(0)
    network = ResidualNetwork(image_size=SIDE, hidden_units=hidden_units, generator=generator)
    network(torch.randn(4, 1, SIDE, SIDE, generator=generator))  # so that batch norm holds means of its own
    return FittedModel(SIDE, 9, hidden_units, normalisation, components, network.eval())


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_model(_model(), tmp_path / "fold_0.safetensors")
    return tmp_path / "fold_0.safetensors"


def _rewrite(path: Path, *, drop: str = "", poison: str = "", **settings: object) -> None:
    """Change a good file: leave out a tensor, make one NaN, or change settings in the header."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["leukospike"])
    tensors = {name: tensor for name, tensor in load_file(path).items() if name != drop}
    if poison:
        tensors[poison].view(-1)[0] = float("nan")
    save_file(tensors, path, metadata={"leukospike": json.dumps(header | settings)})


@pytest.mark.parametrize("hidden_units", [None, 5])
def test_loaded_model_is_the_saved_one(tmp_path: Path, hidden_units: int | None):
    model = _model(hidden_units)
    save_model(model, tmp_path / "deep" / "fold_0.safetensors")
    loaded = load_model(tmp_path / "deep" / "fold_0.safetensors")
    assert (loaded.image_size, loaded.blur_window, loaded.hidden_units) == (SIDE, 9, hidden_units)
    assert loaded.normalisation == model.normalisation
    for name in ("mean", "basis", "explained_variance_ratio"):
        np.testing.assert_array_equal(getattr(loaded.components, name), getattr(model.components, name))
    kept = loaded.network.state_dict()
    assert all(torch.equal(kept[name], tensor) for name, tensor in model.network.state_dict().items())
    assert not loaded.network.training
    np.testing.assert_array_equal(loaded.probabilities(_maps()), model.probabilities(_maps()))


def test_probabilities_go_through_every_step():
    model, maps = _model(), _maps()
    normal = (maps - np.float32(model.normalisation.mean)) / np.float32(model.normalisation.std)
    seen = model.components.reconstruct(model.components.project(normal))
    with torch.inference_mode():
        logits = model.network(torch.from_numpy(seen[:, None])).numpy().astype(np.float64)
    expected = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    probabilities = model.probabilities(maps)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)


def test_reconstructions_are_in_the_units_of_the_maps():
    # Images within the basis come back as they were.
    model = _model()
    inside = model.reconstructions(_maps())
    np.testing.assert_allclose(model.reconstructions(inside), inside, atol=1e-5)
    assert np.abs(inside - _maps()).mean() < _maps().std()


def test_many_cells_are_scored_in_parts_and_none_gives_none():
    model = _model()
    coordinates = np.random.default_rng(1).normal(size=(130, 6)).astype(np.float32)
    whole = network_probabilities(model.network, model.components, coordinates)
    assert whole.shape == (130,)
    last = network_probabilities(model.network, model.components, coordinates[128:])
    np.testing.assert_allclose(whole[128:], last, atol=1e-6)
    assert network_probabilities(model.network, model.components, coordinates[:0]).shape == (0,)


def test_scoring_takes_no_notice_of_training_mode():
    model = _model()
    expected = model.probabilities(_maps())
    model.network.train()
    np.testing.assert_array_equal(model.probabilities(_maps()), expected)


# --- bad files ---


def _refused(path: Path, reason: str) -> None:
    with pytest.raises(WeightsError, match=reason) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path: Path):
    _refused(tmp_path / "none.safetensors", r"weights must be a file, got .*none\.safetensors\. Pass a run folder")


def test_text_file(tmp_path: Path):
    path = tmp_path / "notes.safetensors"
    path.write_text("These are not weights.\n" * 9)
    _refused(path, r"weights must be a readable safetensors file, got notes\.safetensors \(")


def test_empty_file(tmp_path: Path):
    (tmp_path / "empty.safetensors").touch()
    _refused(tmp_path / "empty.safetensors", "must be a readable safetensors file")


def test_truncated_file(saved: Path):
    saved.write_bytes(saved.read_bytes()[:-1000])
    _refused(saved, r"weights must be a readable safetensors file, got fold_0\.safetensors \(")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_safetensors_of_another_program(tmp_path: Path, metadata: dict[str, str] | None):
    path = tmp_path / "bert.safetensors"
    save_file({"weight": torch.zeros(3)}, path, metadata=metadata)
    _refused(
        path, r"weights must have the format leukospike-model-1, got None in bert\.safetensors\. Use weights written"
    )


@pytest.mark.parametrize("name", ["network.stem.0.weight", "components.basis"])
def test_nan_weights(saved: Path, name: str):
    _rewrite(saved, poison=name)
    _refused(saved, rf"weights must be finite, got NaN or infinity in {name} of fold_0\.safetensors\. Train again\.")


@pytest.mark.parametrize("setting", ["mean", "std"])
def test_nan_in_the_normalisation(saved: Path, setting: str):
    _rewrite(saved, **{setting: float("nan")})
    _refused(
        saved, r"weights must hold a complete model, got fold_0\.safetensors with an invalid part \(a standard dev"
    )


@pytest.mark.parametrize("name", ["network.head.2.bias", "network.stages.4.residual.3.weight", "components.mean"])
def test_missing_tensor(saved: Path, name: str):
    _rewrite(saved, drop=name)
    key = name.removeprefix("network.")
    _refused(saved, rf"weights must hold a complete model, got fold_0\.safetensors with an invalid part \(.*{key}")


@pytest.mark.parametrize("settings", [{"image_size": 64}, {"image_size": 3}, {"hidden_units": 8}])
def test_settings_that_do_not_fit_the_tensors(saved: Path, settings: dict[str, int]):
    _rewrite(saved, **settings)
    _refused(saved, "weights must hold a complete model")


def test_components_of_another_size(saved: Path):
    # 24 and 25 pixels give the network the same shapes, but not the components.
    _rewrite(saved, image_size=25)
    _refused(saved, r"with an invalid part \(components of shape \(6, 576\) for 625 pixels\)")


def test_unknown_blur(saved: Path):
    _rewrite(saved, blur_window=8)
    _refused(saved, r"with an invalid part \(a blur window of 8\)")


@pytest.mark.parametrize(
    "settings", [{"mean": [1]}, {"std": "1"}, {"image_size": 24.0}, {"blur_window": True}, {"hidden_units": [8]}]
)
def test_settings_of_a_wrong_kind(saved: Path, settings: dict[str, object]):
    _rewrite(saved, **settings)
    [(name, value)] = settings.items()
    _refused(saved, rf"with an invalid part \({name} of {re.escape(str(value))}\)")


@pytest.mark.parametrize("mean", [-0.1, 1.5, 10**400])
@pytest.mark.parametrize("std", [0.2, 10**400])
def test_impossible_normalisation(saved: Path, mean: float, std: float):
    _rewrite(saved, mean=mean, std=std)
    _refused(saved, r"with an invalid part \(a standard deviation of ")


FRAMING = {"side_px": 450, "um_per_px": 0.1, "cell_share": 0.45, "on_black": True}


@pytest.mark.parametrize(
    "framing", [None, FRAMING, FRAMING | {"um_per_px": None}, FRAMING | {"side_px": 4096, "cell_share": 1}]
)
def test_framing_comes_back(saved: Path, framing: dict[str, object] | None):
    _rewrite(saved, framing=framing)
    assert load_model(saved).framing == (None if framing is None else Framing(**framing))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("side_px", 450.5),
        ("side_px", "450"),
        ("side_px", True),
        ("cell_share", "0.5"),
        ("cell_share", True),
        ("on_black", "no"),
        ("on_black", 1),
        ("um_per_px", "0.1"),
    ],
)
def test_framing_of_a_wrong_kind(saved: Path, name: str, value: object):
    _rewrite(saved, framing=FRAMING | {name: value})
    _refused(saved, rf"with an invalid part \({name} of {value}\)")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("side_px", 15),
        ("side_px", 4097),
        ("cell_share", 0),
        ("cell_share", float("inf")),
        ("cell_share", float("nan")),
        ("cell_share", 50.0),
        ("um_per_px", 1e-9),
        ("um_per_px", 10**400),
        ("um_per_px", float("nan")),
    ],
)
def test_impossible_framing(saved: Path, name: str, value: object):
    _rewrite(saved, framing=FRAMING | {name: value})
    _refused(saved, rf"with an invalid part \(cells shown as Framing\(.*{name}={str(value)[:9]}")


def test_negative_variance(saved: Path):
    with safe_open(saved, framework="pt") as file:
        header = file.metadata()
    tensors = load_file(saved)
    tensors["network.stem.1.running_var"][3] = -0.5
    save_file(tensors, saved, metadata=header)
    _refused(saved, r"with an invalid part \(a negative variance in stem\.1\.running_var\)")


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float16, torch.int64])
def test_weights_of_another_type(saved: Path, kind: torch.dtype):
    with safe_open(saved, framework="pt") as file:
        header = file.metadata()
    tensors = load_file(saved)
    tensors["network.head.2.bias"] = tensors["network.head.2.bias"].to(kind)
    save_file(tensors, saved, metadata=header)
    name = str(kind).removeprefix("torch.")
    _refused(saved, rf"weights must be float32, got {name} in network\.head\.2\.bias of fold_0\.safetensors\. Use")


def test_header_that_is_no_table(saved: Path):
    save_file(load_file(saved), saved, metadata={"leukospike": "[1, 2]"})
    _refused(saved, r"weights must be a readable safetensors file, got fold_0\.safetensors \(a header of type list\)")


def test_pickle_is_not_opened(tmp_path: Path):
    path = tmp_path / "weights.safetensors"
    torch.save({"weight": torch.zeros(3)}, path)
    _refused(path, "must be a readable safetensors file")
