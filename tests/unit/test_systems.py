"""Backbones other than the original's, through the protocols: on discs cut out, by subject and as the paper splits."""

import json
import re
import shutil
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from leukospike.analysis.analyze import analyze_images
from leukospike.analysis.judges import CropRunJudge, load_classifier
from leukospike.auditing import join_subjects
from leukospike.classification.cell_model import CellModel, load_cell_model, save_cell_model
from leukospike.classification.network import CellNetwork
from leukospike.classification.network_input import REDUCTION, cell_crop, seen
from leukospike.classification.timm_network import TimmNetwork
from leukospike.datasets import DataSet, collect_images, read_dataset
from leukospike.errors import ConfigError, DataError, ImageError, RunError, WeightsError
from leukospike.experiments.folder import RunFolder
from leukospike.experiments.run import FinishedRun, run_experiment
from leukospike.experiments.systems.cells import CropFrontEnd
from leukospike.images import Picture, read_image, write_png
from leukospike.original.preprocessing import Augmentation
from leukospike.report import write_report
from leukospike.settings import Preset, Protocol, RunConfig
from leukospike.smears import CellKind, draw_cell, draw_field, subject_style
from leukospike.storage.tables import write_table
from leukospike.storage.weights import read_weights, write_weights
from tests.unit.timm_alone import import_timm

TIMM = "timm:mobilenetv3_small_050"


def _draw(folder: Path, *, side: int = 450, seed: int = 0) -> Path:
    """Draw discs with a nucleus on black as class/subject/number.png, larger and bluer where leukemic."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    for name, radius, colour in (("hem", 0.16, (150, 90, 170)), ("all", 0.22, (110, 70, 180))):
        for subject in range(3):
            for cell in range(4):
                reach = side * radius * rng.uniform(0.95, 1.05)
                away = np.hypot(rows - side / 2, columns - side / 2)[..., None]
                stained = np.where(away < 0.8 * reach, np.array(colour) * 0.6, np.array(colour))
                pixels = np.where(away < reach, stained + rng.normal(0, 6, (side, side, 3)), 0)
                write_png(folder / name / f"{name}-{subject}" / f"{cell}.png", pixels.clip(0, 255).astype(np.uint8))
    return folder


@pytest.fixture(scope="module")
def cut_out(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return read_dataset(_draw(tmp_path_factory.mktemp("cut-out")))


@pytest.fixture(scope="module")
def timm() -> None:
    if find_spec("timm") is None:
        pytest.skip("timm is not installed")
    import_timm()


def config(backbone: str, **settings: object) -> RunConfig:
    return RunConfig.preset(Preset.C_NMC, {"backbone": backbone, "n_folds": 3, "epochs": 2, "batch_size": 8} | settings)


@pytest.fixture(scope="module")
def honest(cut_out: DataSet, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    return run_experiment(cut_out, config("appearance", epochs=30), tmp_path_factory.mktemp("appearance") / "run")


def test_run_folder_holds_all_but_components(honest: FinishedRun):
    names = {path.relative_to(honest.folder).as_posix() for path in honest.folder.rglob("*") if path.is_file()}
    assert names == {
        "config.toml",
        "metrics.json",
        "images.json",
        "predictions.csv",
        "history.csv",
        "samples.npz",
        *(f"weights/fold_{fold}.safetensors" for fold in range(3)),
    }
    assert "n_components" not in (honest.folder / "config.toml").read_text(encoding="utf-8")
    assert honest.result.backbone == "appearance"


def test_other_subjects_discs_are_told_apart(honest: FinishedRun):
    table = pd.read_csv(honest.folder / "predictions.csv")
    assert (table.groupby("subject")["fold"].nunique() == 1).all()
    assert honest.result.cell["roc_auc"].value > 0.95
    assert [fold.validation_cells for fold in honest.result.folds] == [0, 0, 0]
    assert [fold.train_cells + fold.test_cells for fold in honest.result.folds] == [24, 24, 24]


def test_probabilities_are_those_of_the_kept_networks(honest: FinishedRun, cut_out: DataSet):
    table = pd.read_csv(honest.folder / "predictions.csv").query("fold == 1")
    model = load_cell_model(RunFolder(honest.folder).weights(1))
    crops = np.stack([CropFrontEnd().see(_picture(cut_out, image)) for image in table["image"]])
    np.testing.assert_allclose(model.probabilities(crops), table["probability"], atol=1e-6)


def _picture(dataset: DataSet, image: str) -> Picture:
    [record] = [record for record in dataset.records if record.image == image]
    return read_image(record.path)


def test_a_fold_sees_no_cell_of_its_test_subjects(cut_out: DataSet, honest: FinishedRun, tmp_path: Path):
    table = pd.read_csv(honest.folder / "predictions.csv").query("fold == 0")
    other = tmp_path / "data"
    for record in cut_out.records:
        pixels = read_image(record.path).pixels
        write_png(other / record.image, pixels[..., ::-1].copy() if record.image in set(table["image"]) else pixels)
    run_experiment(read_dataset(other), config("appearance", epochs=30), tmp_path / "run")
    before, after = (load_cell_model(RunFolder(run).weights(0)) for run in (honest.folder, tmp_path / "run"))
    for name, weight in before.networks[0].state_dict().items():
        torch.testing.assert_close(after.networks[0].state_dict()[name], weight, rtol=0, atol=0)


def test_report_of_a_run_without_components(honest: FinishedRun, tmp_path: Path):
    run = tmp_path / "run"
    shutil.copytree(honest.folder, run)
    page = re.sub(r"data:image/[^\"]+", "", write_report(run).read_text(encoding="utf-8"))
    assert "backbone “appearance”" in page
    assert "Sample cells as read and as the network sees them" in page
    assert "trained in seconds" in page
    for absent in ("PCA spectrum", ">None<", "variance explained", "nan"):
        assert absent not in page


def test_paper_protocol_leaks_copies_and_names_what_applies(cut_out: DataSet, tmp_path: Path):
    outcome = run_experiment(cut_out, config("appearance", protocol=Protocol.PAPER), tmp_path / "run")
    table = pd.read_csv(outcome.folder / "predictions.csv")
    assert len(table) == 2 * len(cut_out.records)
    assert (table.groupby("image")["fold"].nunique() > 1).any()
    said = " ".join(map(str, outcome.result.flaws))
    assert "copies" in said
    assert "subject" in said
    assert "principal" not in said
    assert outcome.result.as_published is None


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize("backbone", ["convolutional", TIMM])
def test_networks_on_pixels_resume_to_the_same_figures(cut_out: DataSet, tmp_path: Path, backbone: str):
    settings = config(backbone, hold_out=True)
    whole = run_experiment(cut_out, settings, tmp_path / "whole")

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "train fold 1" and done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_experiment(cut_out, settings, tmp_path / "cut", progress=stop)
    resumed = run_experiment(cut_out, settings, tmp_path / "cut", resume=True)
    first, again = (pd.read_csv(outcome.folder / "predictions.csv") for outcome in (whole, resumed))
    pd.testing.assert_frame_equal(first, again)
    history = pd.read_csv(resumed.folder / "history.csv")
    assert history["epoch"].tolist() == [1, 2]
    assert history["val_loss"].isna().all()
    assert "Training curves per fold" in write_report(resumed.folder).read_text(encoding="utf-8")
    model = load_cell_model(RunFolder(resumed.folder).weights(0))
    assert model.backbone == backbone


@pytest.mark.usefixtures("timm")
def test_pretrained_weights_that_cannot_be_had_are_an_error(
    cut_out: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import timm as library

    def refuse(*_: object, pretrained: bool, **__: object) -> None:
        assert pretrained
        msg = "no\nroute"
        raise ConnectionError(msg)

    monkeypatch.setattr(library, "create_model", refuse)
    settings = config(TIMM, pretrained=True)
    with pytest.raises(
        ConfigError, match=r"with its weights, got ConnectionError \(no route\)\. .*leave out --pretrained"
    ):
        run_experiment(cut_out, settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("timm")
def test_unknown_network_and_missing_timm_are_named(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ConfigError, match=r"timm must provide the network, got timm:resnet0\."):
        TimmNetwork("resnet0")
    for elsewhere in ("hf_hub:someone/model", "../weights"):
        with pytest.raises(ConfigError, match="timm must provide the network"):
            TimmNetwork(elsewhere)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"must be installed with the extra timm.*pip install -e '.\[timm\]'"):
        TimmNetwork("resnet18")


@pytest.mark.parametrize("fault", ["import torchvision.ops", "raise RuntimeError('operator nms does not exist')"])
def test_a_torchvision_that_is_missing_or_unfit_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: str):
    (tmp_path / "timm.py").write_text(fault)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    words = rf"must have a torchvision that matches torch {re.escape(torch.__version__)}.*pip install torchvision\."
    with pytest.raises(ConfigError, match=words):
        TimmNetwork("resnet18")


@pytest.mark.usefixtures("timm")
def test_a_network_of_timm_sees_what_it_was_made_for():
    network = TimmNetwork(TIMM.removeprefix("timm:")).eval()
    given: list[torch.Tensor] = []
    network.network.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    network(torch.full((1, 3, 96, 96), 0.456))
    assert given[0].shape == (1, 3, 224, 224)
    torch.testing.assert_close(given[0][0, 1], torch.zeros(224, 224), rtol=0, atol=1e-6)


def test_analyze_with_a_run_of_cells(honest: FinishedRun, tmp_path: Path):
    other = _draw(tmp_path / "others", seed=9)
    (tmp_path / "analysis").mkdir()
    judge = load_classifier(honest.folder)
    assert isinstance(judge, CropRunJudge)
    analysis = analyze_images(collect_images([other]), judge, tmp_path / "analysis")
    leukemic = analysis.cells["image"].str.contains("all-")
    assert ((analysis.cells["probability"] >= 0.5) == leukemic).all()
    summary = json.loads((tmp_path / "analysis" / "summary.json").read_text(encoding="utf-8"))
    assert summary["model"]["backbone"] == "appearance"
    assert (summary["model"]["folds"], summary["model"]["networks"]) == (3, 9)
    assert any("mean of 9 networks, 3 from each of the 3 folds" in notice.text for notice in analysis.notices)


def test_weights_of_two_backbones_are_refused(honest: FinishedRun, tmp_path: Path):
    run = tmp_path / "run"
    shutil.copytree(honest.folder, run)
    save_cell_model(CellModel("convolutional", (CellNetwork().eval(),)), RunFolder(run).weights(1))
    with pytest.raises(WeightsError, match="must share one backbone"):
        load_classifier(run)


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(
    "change",
    [
        {"backbone": "timm:hf_hub:a/b"},
        {"backbone": 3},
        {"backbone": "convolutional"},
        {"backbone": "timm:vit_gigantic_patch14_224"},
        {"networks": 0},
        {"networks": 4},
        {"networks": None},
        {"format": "leukospike-cells-2"},
    ],
)
def test_a_tampered_file_is_refused(honest: FinishedRun, tmp_path: Path, change: dict[str, object]):
    path = tmp_path / "w.safetensors"
    stored = read_weights(RunFolder(honest.folder).weights(0), form="leukospike-cells-3", where="", give="", use="")
    write_weights(path, stored.tensors, stored.settings | change)
    with pytest.raises((WeightsError, ConfigError)):
        load_cell_model(path)


def _shown(pixels: np.ndarray) -> Picture:
    return Picture(pixels, "PNG", 8, generated=False)


def test_crops_show_a_cell_on_black_as_it_is_and_scale_other_pictures():
    front, rng = CropFrontEnd(), np.random.default_rng(0)
    rows, columns = np.mgrid[:450, :450]
    away = np.hypot(rows - 225, columns - 225)[..., None]
    stained = np.where(away < 70, np.array([80, 40, 130]), np.array([130, 100, 190]))
    pixels = np.where(away < 100, stained + rng.normal(0, 5, (450, 450, 3)), 0).clip(0, 255).astype(np.uint8)
    crop = front.see(_shown(pixels))
    np.testing.assert_array_equal(crop, cell_crop(pixels))
    smaller = np.asarray(Image.fromarray(pixels).resize((225, 225), Image.Resampling.BOX))
    assert np.abs(front.see(_shown(smaller)).astype(int) - crop).mean() < 2


def _on_glass(size_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a cell on glass, and give its mask."""
    style = subject_style(np.random.default_rng(1))
    cell = draw_cell(CellKind.LYMPHOBLAST, style, np.random.default_rng(2), size_px=size_px)
    glass = 228 + np.random.default_rng(3).normal(0, 2, cell.pixels.shape)
    return np.where(cell.mask[..., None] > 0, cell.pixels, glass).astype(np.uint8), cell.mask


def test_cells_on_a_background_are_segmented_and_keep_their_share_of_the_picture():
    pixels, mask = _on_glass(257)
    crop = CropFrontEnd().see(_shown(pixels))
    assert (crop[:4] == 0).all()
    share = np.sqrt(np.count_nonzero(mask) / np.pi) * 2 / 257
    diameter = 2 * np.sqrt(np.count_nonzero(seen(crop)) / np.pi)
    assert diameter * REDUCTION / 450 == pytest.approx(share, rel=0.1)


def test_light_is_evened_out_where_a_cell_is_cut_out():
    pixels, _ = _on_glass(257)
    dim = (pixels * np.array([0.8, 0.7, 0.6]) * np.linspace(1, 0.7, 257)[None, :, None]).astype(np.uint8)
    front = CropFrontEnd()
    plain, evened = (front.see(_shown(one)).astype(int) for one in (pixels, dim))
    both = (plain.max(axis=2) > 0) & (evened.max(axis=2) > 0)
    assert both.sum() > 0.9 * (plain.max(axis=2) > 0).sum()
    assert np.abs(plain - evened)[both].mean() < 8


def test_fields_and_empty_pictures_are_failures():
    front, rng = CropFrontEnd(), np.random.default_rng(0)
    field = draw_field([CellKind.LYMPHOBLAST, CellKind.LYMPHOCYTE, CellKind.LYMPHOCYTE], subject_style(rng), rng)
    for size in ((640, 480), (320, 240)):
        pixels = np.asarray(Image.fromarray(field.pixels).resize(size, Image.Resampling.BOX))
        with pytest.raises(ImageError, match=r"must show a single cell, got a field with 3 cells\."):
            front.see(_shown(pixels))
    with pytest.raises(ImageError, match=r"must show a white cell, got none \(blank"):
        front.see(_shown(np.full((200, 200, 3), 200, np.uint8)))


def test_copies_of_crops_are_moved_as_maps_are():
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)
    still = Augmentation(torch.tensor([False, True]), torch.zeros(2, 2), torch.ones(2), torch.zeros(2))
    np.testing.assert_array_equal(CropFrontEnd().changed(crops, still)[0], crops[0])
    np.testing.assert_array_equal(CropFrontEnd().changed(crops, still)[1], crops[1, :, ::-1])


@pytest.mark.parametrize("name", ["image_size", "n_components", "blur_window", "hidden_units"])
def test_settings_of_the_original_are_refused_with_other_backbones(name: str):
    with pytest.raises(ConfigError, match=rf"settings: `{name}` must be used with the backbone paper"):
        config("appearance", **{name: 9})


def test_overlapping_subjects_stay_together(cut_out: DataSet, tmp_path: Path):
    groups = {record.image: str(record.subject) for record in cut_out.records}
    for image, subject in groups.items():
        if subject in {"hem-0", "all-2"} and image.endswith("0.png"):
            groups[image] = "both"
    table = tmp_path / "groups.csv"
    write_table(table, pd.DataFrame({"image": groups, "group": groups}).assign(image=list(groups)))
    joined = join_subjects(cut_out, table)
    names = {record.subject for record in joined.records}
    assert names == {"all-0", "all-1", "all-2+hem-0", "hem-1", "hem-2"}
    assert sum(record.subject == "all-2+hem-0" for record in joined.records) == 8
    assert joined.joined == (("all-2", "hem-0"),)
    assert cut_out.joined is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "must be a readable CSV"),
        ("picture,group\n", "must begin with the columns image,group"),
        ("image,group\na,1\na,2\n", "line 3: .*listed once"),
        ("image,group\na,\n", "line 2: image and group must be filled in"),
        ("image,group\na,1\n", "must name every image of the data, got"),
    ],
)
def test_unusable_groups_are_refused(cut_out: DataSet, tmp_path: Path, text: str | None, message: str):
    table = tmp_path / "groups.csv"
    if text is not None:
        table.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=rf"groups\.csv.*{message}|{message}.*groups\.csv"):
        join_subjects(cut_out, table)
    with pytest.raises(DataError, match="`groups` must be used with data that record the subject of each image"):
        join_subjects(
            replace(cut_out, records=tuple(replace(record, subject=None) for record in cut_out.records)), table
        )


def test_groups_of_other_images_are_refused(cut_out: DataSet, tmp_path: Path):
    table = tmp_path / "groups.csv"
    rows = [f"{record.image},{record.subject}" for record in cut_out.records]
    table.write_text("\n".join(["image,group", *rows, "none.png,x", "gone.png,x"]), encoding="utf-8")
    with pytest.raises(DataError, match=r"must name only images of the data, got 2 of 26 .* \(first gone.png\)"):
        join_subjects(cut_out, table)


def test_black_pictures_are_failures_and_no_cells(cut_out: DataSet, tmp_path: Path):
    data = tmp_path / "data"
    for record in cut_out.records:
        write_png(data / record.image, read_image(record.path).pixels)
    dot = np.zeros((450, 450, 3), np.uint8)
    write_png(data / "all" / "all-0" / "black.png", dot)
    dot[220:230, 220:230] = 200
    write_png(data / "all" / "all-0" / "dot.png", dot)
    outcome = run_experiment(read_dataset(data), config("appearance"), tmp_path / "run")
    assert [failure.image for failure in outcome.failures] == ["all/all-0/black.png", "all/all-0/dot.png"]
    assert all(re.search("must show a (white )?cell, got", failure.reason) for failure in outcome.failures)


def test_weights_of_an_older_form_are_refused_by_their_own_reader(honest: FinishedRun, tmp_path: Path):
    path = tmp_path / "w.safetensors"
    stored = read_weights(RunFolder(honest.folder).weights(0), form="leukospike-cells-3", where="", give="", use="")
    write_weights(path, stored.tensors, stored.settings | {"format": "leukospike-cells-2"})
    with pytest.raises(WeightsError, match=r"format leukospike-cells-3, got leukospike-cells-2.* Train again"):
        load_classifier(path)


def test_networks_that_a_header_leaves_out_are_missed(honest: FinishedRun, tmp_path: Path):
    path = tmp_path / "w.safetensors"
    stored = read_weights(RunFolder(honest.folder).weights(0), form="leukospike-cells-3", where="", give="", use="")
    write_weights(path, stored.tensors, stored.settings | {"networks": 1})
    with pytest.raises(WeightsError, match="for 1 networks"):
        load_cell_model(path)
    write_weights(path, stored.tensors | {"network.1.mean": stored.tensors["network.1.mean"] + 1}, stored.settings)
    with pytest.raises(WeightsError, match="different standardisation"):
        load_cell_model(path)


def test_a_run_without_one_of_its_models_is_refused(honest: FinishedRun, tmp_path: Path):
    run = tmp_path / "run"
    shutil.copytree(honest.folder, run)
    RunFolder(run).weights(1).rename(RunFolder(run).weights(9))
    with pytest.raises(WeightsError, match=r"weights of each of its 3 folds and no others, got .*fold_9"):
        load_classifier(run)


@pytest.mark.parametrize("content", ["", "{}", "[]", "junk", '{"probabilities": [NaN]}'])
def test_damaged_state_of_a_run_is_named(cut_out: DataSet, tmp_path: Path, content: str):
    def stop(stage: str, *_: int) -> None:
        if stage.endswith("fold 3"):
            raise KeyboardInterrupt

    run, settings = tmp_path / "run", config("appearance", augmented_copies=3)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(cut_out, settings, run, progress=stop)
    (run / "state" / "fold_0.json").write_text(content)
    with pytest.raises(RunError, match=r"fold_0\.json must be as leukospike wrote it, got .*fold_0\.json \("):
        run_experiment(cut_out, settings, run, resume=True)


def test_damaged_pictures_of_a_run_are_named(cut_out: DataSet, tmp_path: Path):
    def stop(stage: str, *_: int) -> None:
        if stage.endswith("fold 3"):
            raise KeyboardInterrupt

    for name, said in (("pictures.npz", "as leukospike wrote it"), ("seen.npy", "must be unchanged")):
        run = tmp_path / name
        with pytest.raises(KeyboardInterrupt):
            run_experiment(cut_out, config("appearance"), run, progress=stop)
        (run / "state" / name).write_bytes(b"")
        with pytest.raises(RunError, match=said):
            run_experiment(cut_out, config("appearance"), run, resume=True)


def test_groups_may_leave_out_what_cannot_be_read_and_nothing_else(cut_out: DataSet, tmp_path: Path):
    data = tmp_path / "data"
    for record in cut_out.records:
        write_png(data / record.image, read_image(record.path).pixels)
    broken = data / "all" / "all-0" / "broken.png"
    broken.write_bytes(b"no picture")
    table = tmp_path / "groups.csv"
    rows = [f"{record.image},{record.subject}" for record in cut_out.records]
    table.write_text("\n".join(["image,group", *rows]), encoding="utf-8")
    joined = join_subjects(read_dataset(data), table)
    assert {record.subject for record in joined.records} == {record.subject for record in cut_out.records}
    write_png(broken, read_image(cut_out.records[0].path).pixels)
    with pytest.raises(DataError, match=r"must name every image of the data, got groups.csv without 1"):
        join_subjects(read_dataset(data), table)


def test_a_subject_of_both_classes_is_said(cut_out: DataSet, tmp_path: Path):
    first = cut_out.records[0]
    mislabelled = replace(cut_out, records=(replace(first, label=1 - int(first.label or 0)), *cut_out.records[1:]))
    outcome = run_experiment(mislabelled, config("appearance"), tmp_path / "run")
    said = " ".join(map(str, outcome.result.notices))
    assert f"1 subject has images of both classes ({first.subject})" in said
