"""A file of weights comes back as it was; what is refused is tested with the models that use it."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from leukospike.errors import WeightsError
from leukospike.storage.weights import read_weights, write_weights, wrong_part

HINTS = {"where": "load", "give": "Give a file.", "use": "Use another."}


def test_tensors_and_settings_come_back(tmp_path: Path):
    tensors = {"a": torch.arange(6.0).view(2, 3).T, "num_batches_tracked": torch.tensor([1, 2])}
    settings = {"format": "leukospike-x-1", "names": ["é", "b"], "none": None}
    write_weights(tmp_path / "deep" / "x.safetensors", tensors, settings)
    stored = read_weights(tmp_path / "deep" / "x.safetensors", form="leukospike-x-1", **HINTS)
    assert stored.settings == settings
    assert set(stored.tensors) == set(tensors)
    assert all(torch.equal(stored.tensors[name], tensor) for name, tensor in tensors.items())


def test_another_form(tmp_path: Path):
    write_weights(tmp_path / "x.safetensors", {"a": torch.zeros(1)}, {"format": "leukospike-x-1"})
    expected = (
        r"load: weights must have the format leukospike-y-1, got leukospike-x-1 in x\.safetensors\. Use another\."
    )
    with pytest.raises(WeightsError, match=expected):
        read_weights(tmp_path / "x.safetensors", form="leukospike-y-1", **HINTS)


def test_header_nested_too_deep(tmp_path: Path):
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors", metadata={"leukospike": "[" * 200_000})
    with pytest.raises(WeightsError, match=r"load: weights must be a readable safetensors file, got x\.safetensors \("):
        read_weights(tmp_path / "x.safetensors", form="leukospike-x-1", **HINTS)


@pytest.mark.parametrize("name", ["a", "num_batches"])
def test_only_counters_are_whole_numbers(tmp_path: Path, name: str):
    write_weights(tmp_path / "x.safetensors", {name: torch.tensor([1, 2])}, {"format": "leukospike-x-1"})
    with pytest.raises(WeightsError, match=f"load: weights must be float32, got int64 in {name} of"):
        read_weights(tmp_path / "x.safetensors", form="leukospike-x-1", **HINTS)


def test_a_wrong_part_is_told_in_one_short_line(tmp_path: Path):
    message = str(wrong_part("load", tmp_path / "x.safetensors", ValueError("a\nb " + "c" * 500)))
    assert message.startswith(
        "load: weights must hold a complete model, got x.safetensors with an invalid part (a b ccc"
    )
    assert "\n" not in message
    assert len(message) < 260
