"""What a run can be told, and what is refused."""

import re
from pathlib import Path

import pytest

from leukospike.errors import ConfigError
from leukospike.original.preprocessing import BLUR_KERNELS
from leukospike.settings import BLUR_WINDOWS, SMALLEST_SIZE_PX, Preset, Protocol, RunConfig, read_settings


def test_presets_are_the_originals():
    cnmc, idb = RunConfig.preset(Preset.C_NMC), RunConfig.preset(Preset.ALL_IDB)
    assert (cnmc.image_size, cnmc.n_components, cnmc.augmented_copies) == (100, 500, 1)
    assert (idb.image_size, idb.n_components, idb.augmented_copies) == (224, 1200, 10)
    for config in (cnmc, idb):
        assert (config.n_folds, config.epochs, config.batch_size, config.blur_window) == (4, 10, 32, 9)
        assert config.learning_rate == 1e-3
        assert config.protocol is Protocol.HONEST


def test_settings_go_before_the_preset():
    config = RunConfig.preset(Preset.ALL_IDB, {"image_size": 64, "epochs": 3})
    assert (config.image_size, config.epochs, config.n_components) == (64, 3, 1200)


def test_misspelt_setting_is_refused_and_the_right_ones_are_named():
    with pytest.raises(ConfigError, match=r"settings: name must be one of dataset, .*epochs.*, got epoch\. Correct"):
        RunConfig.preset(Preset.C_NMC, {"epoch": 3})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_folds", 1),
        ("epochs", 0),
        ("epochs", True),
        ("seed", -1),
        ("max_cells", 3),
        ("image_size", SMALLEST_SIZE_PX - 1),
        ("n_components", 0),
        ("augmented_copies", -1),
        ("hidden_units", 0),
        ("batch_size", 1),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("blur_window", 8),
        ("backbone", "resnet18"),
        ("backbone", "timm:"),
        ("backbone", "timm:hf_hub:someone/network"),
        ("backbone", "timm:../network"),
        ("backbone", 1),
        ("hold_out", 1),
        ("pretrained", "yes"),
        ("protocol", "fair"),
        ("protocol", 1),
        ("protocol", ["honest"]),
    ],
)
def test_impossible_setting_is_refused(name, value):
    with pytest.raises(ConfigError, match=rf"settings: `{name}` must be .* got {re.escape(str(value))}\. ") as caught:
        RunConfig.preset(Preset.C_NMC, {name: value})
    assert "\n" not in str(caught.value)


def test_each_backbone_has_its_own_training():
    for backbone, epochs, rate in (("appearance", 16, 0.003), ("convolutional", 8, 0.002), ("timm:resnet18", 8, 5e-4)):
        for preset in Preset:
            config = RunConfig.preset(preset, {"backbone": backbone})
            assert (config.epochs, config.batch_size, config.learning_rate) == (epochs, 64, rate)
        assert RunConfig.preset(Preset.C_NMC, {"backbone": backbone, "epochs": 3}).epochs == 3


def test_stored_settings_are_those_that_count():
    assert RunConfig.preset(Preset.C_NMC).stored()["n_components"] == 500
    stored = RunConfig.preset(Preset.C_NMC, {"backbone": "appearance"}).stored()
    assert not {"n_components", "image_size", "blur_window", "hidden_units"} & set(stored)
    again = {name: value for name, value in stored.items() if name != "dataset"}
    assert RunConfig.preset(Preset.C_NMC, again) == RunConfig.preset(Preset.C_NMC, {"backbone": "appearance"})


def test_weights_learned_elsewhere_go_with_timm_only():
    assert RunConfig.preset(Preset.C_NMC, {"backbone": "timm:resnet18.a1_in1k", "pretrained": True}).pretrained
    for backbone in ("paper", "appearance", "convolutional"):
        with pytest.raises(
            ConfigError, match=rf"`pretrained` must be used with a backbone of timm:, got it with {backbone}"
        ):
            RunConfig.preset(Preset.C_NMC, {"backbone": backbone, "pretrained": True})


@pytest.mark.parametrize("content", [None, "epochs = three", "\x00\xff"])
def test_unreadable_settings_file(tmp_path: Path, content: str | None):
    path = tmp_path / "config.toml"
    if content is not None:
        path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"settings: `config` must be a readable TOML file, got .*config\.toml \("):
        read_settings(path)


def test_every_blur_window_has_its_kernel():
    assert tuple(BLUR_KERNELS) == BLUR_WINDOWS
