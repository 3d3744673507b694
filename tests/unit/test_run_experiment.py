"""Both protocols, on discs: who is tested, what is written, what is refused."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from leukospike.datasets import DataSet, read_dataset
from leukospike.errors import DataError, RunError, SplitError
from leukospike.experiments import run as run_module
from leukospike.experiments.folder import RunFolder
from leukospike.experiments.run import FinishedRun, run_experiment
from leukospike.images import luma, read_image
from leukospike.original.model import load_model
from leukospike.original.preprocessing import spike_map
from leukospike.settings import Preset, Protocol, RunConfig


@pytest.fixture(scope="module")
def honest(discs: Path, tiny: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    return run_experiment(read_dataset(discs), tiny, tmp_path_factory.mktemp("honest") / "run")


@pytest.fixture(scope="module")
def paper(discs: Path, tiny: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    config = replace(tiny, protocol=Protocol.PAPER)
    return run_experiment(read_dataset(discs), config, tmp_path_factory.mktemp("paper") / "run")


def _without_subjects(dataset: DataSet) -> DataSet:
    records = tuple(replace(record, subject=None) for record in dataset.records)
    return replace(dataset, records=records, no_subject_reason="It names no persons; use --protocol paper.")


def test_run_folder_holds_everything(honest: FinishedRun) -> None:
    names = {path.relative_to(honest.folder).as_posix() for path in honest.folder.rglob("*") if path.is_file()}
    assert names == {
        "config.toml",
        "metrics.json",
        "images.json",
        "predictions.csv",
        "history.csv",
        "components.csv",
        "samples.npz",
        *(f"weights/fold_{fold}.safetensors" for fold in range(3)),
    }


def test_honest_tests_each_image_once(honest: FinishedRun, discs: Path) -> None:
    table = pd.read_csv(honest.folder / "predictions.csv")
    assert list(table.columns) == ["image", "subject", "fold", "label", "probability"]
    assert sorted(table["image"]) == [record.image for record in read_dataset(discs).records]
    assert table["probability"].between(0, 1).all()


def test_honest_keeps_each_subject_in_one_fold(honest: FinishedRun) -> None:
    table = pd.read_csv(honest.folder / "predictions.csv")
    assert (table.groupby("subject")["fold"].nunique() == 1).all()


def test_paper_tests_each_image_and_copy_once_and_splits_subjects(paper: FinishedRun, discs: Path) -> None:
    table = pd.read_csv(paper.folder / "predictions.csv")
    n = len(read_dataset(discs).records)
    assert len(table) == 2 * n
    assert not table.duplicated(["image", "copy"]).any()
    assert (table.groupby("subject")["fold"].nunique() > 1).any()
    assert (table.groupby("image")["fold"].nunique() > 1).any()


def test_paper_fits_one_basis_on_everything_and_honest_one_a_fold(honest: FinishedRun, paper: FinishedRun) -> None:
    def n_distinct(outcome: FinishedRun) -> int:
        table = pd.read_csv(outcome.folder / "components.csv")
        return table.groupby("fold")["explained_variance_ratio"].apply(tuple).nunique()

    assert n_distinct(paper) == 1
    assert n_distinct(honest) > 1  # two folds of so few subjects may train on the same ones


def test_paper_names_its_flaws_and_honest_has_none(honest: FinishedRun, paper: FinishedRun) -> None:
    assert honest.result.flaws == ()
    assert honest.result.as_published is None
    said = " ".join(map(str, paper.result.flaws))
    for word in ("copies", "principal components", "subject", "precision"):
        assert word in said


def test_paper_shows_precision_by_the_wrong_formula(paper: FinishedRun) -> None:
    pooled = paper.result.cell
    assert paper.result.as_published["precision"] == pytest.approx(pooled["specificity"].value)


def test_figures_are_those_of_the_predictions(honest: FinishedRun) -> None:
    table = pd.read_csv(honest.folder / "predictions.csv")
    right = ((table["probability"] >= 0.5) == (table["label"] == 1)).mean()
    assert honest.result.cell["accuracy"].value == pytest.approx(right)
    assert honest.result.cell.n == len(table)
    assert honest.result.subject.n == 6


def test_metrics_file_is_what_is_returned_and_strict_json(honest: FinishedRun) -> None:
    def refuse(constant: str) -> Any:
        raise AssertionError(constant)

    text = (honest.folder / "metrics.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=refuse) == honest.result.to_json()


def test_existing_run_is_refused(honest: FinishedRun, discs: Path, tiny: RunConfig) -> None:
    with pytest.raises(RunError, match="must be new or empty"):
        run_experiment(read_dataset(discs), tiny, honest.folder)


def test_resuming_a_finished_run_changes_nothing(honest: FinishedRun, discs: Path, tiny: RunConfig) -> None:
    before = (honest.folder / "metrics.json").read_bytes()
    again = run_experiment(read_dataset(discs), tiny, honest.folder, resume=True)
    assert again.result.to_json() == honest.result.to_json()
    assert (honest.folder / "metrics.json").read_bytes() == before


def test_resuming_a_finished_run_with_other_data_is_refused(honest: FinishedRun, discs: Path, tiny: RunConfig) -> None:
    dataset = read_dataset(discs)
    first = dataset.records[0]
    for change in ({"label": 1 - int(first.label or 0)}, {"subject": "hem-0"}, {"path": dataset.records[5].path}):
        other = replace(dataset, records=(replace(first, **change), *dataset.records[1:]))
        with pytest.raises(RunError, match=r"images must be the same as at the start of the run, got .*all-0/0\.png"):
            run_experiment(other, tiny, honest.folder, resume=True)


def test_resuming_with_other_settings_is_refused(honest: FinishedRun, discs: Path, tiny: RunConfig) -> None:
    with pytest.raises(RunError, match="epochs 2 instead of 1"):
        run_experiment(read_dataset(discs), replace(tiny, epochs=2), honest.folder, resume=True)


def test_resuming_nothing_is_refused(discs: Path, tiny: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="`resume` must be used with a run folder"):
        run_experiment(read_dataset(discs), tiny, tmp_path / "none", resume=True)


def test_honest_refuses_unknown_subjects_with_the_reason(discs: Path, tiny: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(SplitError, match=r"It names no persons; use --protocol paper"):
        run_experiment(_without_subjects(read_dataset(discs)), tiny, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_paper_without_subjects_draws_images(discs: Path, tiny: RunConfig, tmp_path: Path) -> None:
    config = replace(tiny, protocol=Protocol.PAPER, hold_out=True)
    outcome = run_experiment(_without_subjects(read_dataset(discs)), config, tmp_path / "run")
    assert outcome.result.subject is None
    assert "images" in outcome.result.cell.interval
    assert outcome.result.folds[0].test_subjects is None
    assert outcome.result.data.subjects is None


def test_too_many_folds_leave_no_folder(discs: Path, tiny: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(SplitError, match=r"at most the number of independent subjects \(6\), got 7"):
        run_experiment(read_dataset(discs), replace(tiny, n_folds=7), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_one_class_only_is_refused(draw_discs: Callable[..., Path], tiny: RunConfig, tmp_path: Path) -> None:
    dataset = read_dataset(draw_discs(tmp_path / "data", subjects=(2, 2)))
    one_class = replace(dataset, records=tuple(record for record in dataset.records if record.label == 1))
    with pytest.raises(DataError, match="class"):
        run_experiment(one_class, tiny, tmp_path / "run")


def test_unreadable_images_are_named_and_the_rest_goes_on(
    draw_discs: Callable[..., Path], tiny: RunConfig, tmp_path: Path
) -> None:
    data = draw_discs(tmp_path / "data")
    (data / "all" / "all-0" / "0.png").write_bytes(b"")
    outcome = run_experiment(read_dataset(data), replace(tiny, hold_out=True), tmp_path / "run")
    assert [failure.image for failure in outcome.failures] == ["all/all-0/0.png"]
    assert pd.read_csv(tmp_path / "run" / "failures.csv")["image"].tolist() == ["all/all-0/0.png"]
    assert outcome.result.data.failed == 1
    assert any("failures.csv" in str(notice) for notice in outcome.result.notices)


def test_too_few_images_for_the_components_is_announced(discs: Path, tiny: RunConfig, tmp_path: Path) -> None:
    config = replace(tiny, n_components=500, hold_out=True)
    outcome = run_experiment(read_dataset(discs), config, tmp_path / "run")
    used = outcome.result.folds[0].n_components
    assert used == outcome.result.folds[0].train_cells
    assert any(f"500 components were requested, but only {used}" in str(notice) for notice in outcome.result.notices)


def test_identical_images_keep_two_subjects_together(
    draw_discs: Callable[..., Path], tiny: RunConfig, tmp_path: Path
) -> None:
    data = draw_discs(tmp_path / "data")
    (data / "all" / "all-1" / "0.png").write_bytes((data / "all" / "all-0" / "0.png").read_bytes())
    outcome = run_experiment(read_dataset(data), replace(tiny, n_folds=2), tmp_path / "run")
    table = pd.read_csv(tmp_path / "run" / "predictions.csv")
    assert table[table["subject"].isin(["all-0", "all-1"])]["fold"].nunique() == 1
    assert outcome.result.data.cross_subject_duplicates == 2


def test_max_cells_takes_from_every_subject(discs: Path, tiny: RunConfig, tmp_path: Path) -> None:
    run_experiment(read_dataset(discs), replace(tiny, max_cells=12), tmp_path / "run")
    table = pd.read_csv(tmp_path / "run" / "predictions.csv")
    assert table.groupby("subject").size().tolist() == [2] * 6


def test_samples_can_be_read_without_pickle(honest: FinishedRun) -> None:
    with np.load(honest.folder / "samples.npz", allow_pickle=False) as samples:
        assert samples["labels"].tolist() == sorted(samples["labels"].tolist(), reverse=True)
        assert samples["latency"].dtype == np.uint8
        assert ((samples["latency"] == 0) == (samples["first_wave"] == 1)).all()
        assert samples["reconstructed"].shape == samples["prepared"].shape


def test_resuming_with_other_images_is_refused(
    draw_discs: Callable[..., Path], tiny: RunConfig, tmp_path: Path
) -> None:
    dataset = read_dataset(draw_discs(tmp_path / "data"))

    def cut(stage: str, _done: int, _total: int) -> None:
        if stage == "train fold 2":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_experiment(dataset, tiny, tmp_path / "run", progress=cut)
    fewer = replace(dataset, records=dataset.records[1:])
    with pytest.raises(RunError, match=r"images must be the same as at the start of the run, got images that differ"):
        run_experiment(fewer, tiny, tmp_path / "run", resume=True)
    # The run is as it was, and can still be carried on.
    assert run_experiment(dataset, tiny, tmp_path / "run", resume=True).result.data.images == 24


def test_run_ends_though_its_images_are_lost_after_training(
    draw_discs: Callable[..., Path], tiny: RunConfig, honest: FinishedRun, tmp_path: Path
) -> None:
    data = draw_discs(tmp_path / "data")

    def lose(stage: str, done: int, _total: int) -> None:
        if stage == "train fold 1" and done:
            shutil.rmtree(data, ignore_errors=True)

    run_experiment(read_dataset(data), tiny, tmp_path / "run", progress=lose)
    assert not data.exists()
    for name in ("predictions.csv", "samples.npz"):
        assert (tmp_path / "run" / name).read_bytes() == (honest.folder / name).read_bytes()


def test_run_carried_on_with_other_threads_says_so(
    discs: Path, tiny: RunConfig, honest: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(Exception):  # noqa: N818 - no error of the program
        pass

    def stop(stage: str, done: int, _total: int) -> None:
        if stage == "train fold 2" and done:
            raise Interrupted

    with pytest.raises(Interrupted):
        run_experiment(read_dataset(discs), tiny, tmp_path / "run", progress=stop)
    here = run_module.describe_environment()
    monkeypatch.setattr(run_module, "describe_environment", lambda: here | {"threads": 99})
    resumed = run_experiment(read_dataset(discs), tiny, tmp_path / "run", resume=True)
    (notice,) = [notice for notice in resumed.result.notices if notice.code == "other_environment"]
    assert notice.values == {"threads": f"{here['threads']}, then 99"}
    assert "other_environment" not in {notice.code for notice in honest.result.notices}


def test_validation_of_one_class_is_named(
    draw_discs: Callable[..., Path], tiny: RunConfig, honest: FinishedRun, tmp_path: Path
) -> None:
    data = draw_discs(tmp_path / "data")
    shutil.rmtree(data / "hem" / "hem-0")  # leaves one normal subject to each training part
    run = run_experiment(read_dataset(data), replace(tiny, n_folds=2), tmp_path / "run")
    (notice,) = [notice for notice in run.result.notices if notice.code == "one_class_validation"]
    assert notice.values == {"folds": 1}  # the other trains on one subject of each class and sets none aside
    assert "one_class_validation" not in {notice.code for notice in honest.result.notices}


def test_late_error_leaves_what_was_trained(
    discs: Path, tiny: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        msg = "no room"
        raise RunError(msg)

    dataset, config = read_dataset(discs), replace(tiny, hold_out=True)
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "_write_samples", fail)
        with pytest.raises(RunError):
            run_experiment(dataset, config, tmp_path / "run")

    def written() -> tuple[int, ...]:
        # Not when it was read last, which the report's samples change.
        found = RunFolder(tmp_path / "run").weights(0).stat()
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    before = written()
    run_experiment(dataset, config, tmp_path / "run", resume=True)
    assert written() == before


def test_images_lost_before_training_are_named_and_nothing_is_left(
    draw_discs: Callable[..., Path], tiny: RunConfig, tmp_path: Path
) -> None:
    data = draw_discs(tmp_path / "data")
    (tmp_path / "empty").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "empty")

    def lose(stage: str, _done: int, _total: int) -> None:
        if stage == "augment":
            shutil.rmtree(data, ignore_errors=True)

    with pytest.raises(DataError, match=r"^run_experiment: images must stay readable .*, got all/all-.*\.png \("):
        run_experiment(read_dataset(data), tiny, tmp_path / "run", progress=lose)
    assert list((tmp_path / "empty").iterdir()) == []
    assert (tmp_path / "run").is_symlink()


@pytest.mark.parametrize(("classes", "got"), [("*", "none: 24 of 24"), ("all", "only 'hem': 12 of 24")])
def test_unreadable_class_is_named_with_the_first_reason(
    draw_discs: Callable[..., Path], tiny: RunConfig, tmp_path: Path, classes: str, got: str
) -> None:
    data = draw_discs(tmp_path / "data")
    for path in data.glob(f"{classes}/*/*"):
        path.write_bytes(b"")
    first = r"\(first all/all-0/0\.png: file must not be empty, got 0 bytes\. Copy .*\)\. Restore"
    with pytest.raises(DataError, match=rf"images must include both classes, .*, got {got} cannot be read {first}"):
        run_experiment(read_dataset(data), tiny, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_too_few_cells_on_request_are_said_to_be(discs: Path, tiny: RunConfig, tmp_path: Path) -> None:
    hint = r"\. Or raise `max_cells`, which limited the images to 4 of 24\.$"
    with pytest.raises((DataError, SplitError), match=hint):
        run_experiment(read_dataset(discs), replace(tiny, max_cells=4), tmp_path / "run")
    with pytest.raises(SplitError, match=r"or add subjects\.$"):
        run_experiment(read_dataset(discs), replace(tiny, n_folds=7), tmp_path / "run")


def test_honest_refuses_all_idb_and_says_what_to_use(
    draw_discs: Callable[..., Path], tiny: RunConfig, tmp_path: Path
) -> None:
    dataset = read_dataset(_all_idb2(draw_discs(tmp_path / "data", cells=2), tmp_path / "idb"))
    assert dataset.layout == "all-idb2"
    config = replace(tiny, dataset=Preset.ALL_IDB)
    with pytest.raises(
        SplitError, match=r"every image must have a subject, got 12 of 12 without .*or the protocol paper"
    ):
        run_experiment(dataset, config, tmp_path / "run")
    outcome = run_experiment(dataset, replace(config, protocol=Protocol.PAPER, hold_out=True), tmp_path / "run")
    assert any("ALL-IDB has no patient ids" in str(flaw) for flaw in outcome.result.flaws)
    assert outcome.result.published.figures["accuracy"] == 0.9960


def _all_idb2(discs: Path, root: Path) -> Path:
    """Copy drawn cells to where ALL-IDB2 has its own."""
    (root / "img").mkdir(parents=True)
    for number, path in enumerate(sorted(discs.rglob("*.png")), start=1):
        label = int(path.parent.parent.name == "all")
        with Image.open(path) as image:
            image.save(root / "img" / f"Im{number:03}_{label}.tif")
    return root


def test_smallest_paper_run_goes_through(discs: Path, tiny: RunConfig, tmp_path: Path) -> None:
    # Two items a fold: with some seed, both are augmented copies.
    config = replace(tiny, protocol=Protocol.PAPER, max_cells=4, n_folds=4, hold_out=True)
    copies: list[list[int]] = []
    for seed in range(4):
        run_experiment(read_dataset(discs), replace(config, seed=seed), tmp_path / str(seed))
        copies.append(pd.read_csv(tmp_path / str(seed) / "predictions.csv")["copy"].tolist())
    assert [1, 1] in copies


def test_hold_out_runs_one_fold_and_says_so(honest: FinishedRun, discs: Path, tiny: RunConfig, tmp_path: Path) -> None:
    outcome = run_experiment(read_dataset(discs), replace(tiny, hold_out=True), tmp_path / "run")
    assert [path.name for path in (tmp_path / "run" / "weights").iterdir()] == ["fold_0.safetensors"]
    table = pd.read_csv(tmp_path / "run" / "predictions.csv")
    assert (len(table), table["subject"].nunique()) == (8, 2)
    assert [str(notice) for notice in outcome.result.notices[-2:]] == [
        "One part was held out and tested, 8 of 24 cells (33%), of 2 of 6 subjects; there is no cross-validation.",
        "The figures are based on 1 normal and 1 leukemic subject: with fewer than 5 of a class, there are no"
        " intervals or tests, and nothing can be concluded.",
    ]
    assert outcome.result.folds == honest.result.folds[:1]
    assert outcome.result.cell == outcome.result.folds[0].cell


def test_figures_of_each_fold_are_those_of_its_predictions(honest: FinishedRun) -> None:
    table = pd.read_csv(honest.folder / "predictions.csv")
    for fold in honest.result.folds:
        part = table[table["fold"] == fold.fold]
        right = ((part["probability"] >= 0.5) == (part["label"] == 1)).mean()
        assert fold.cell["accuracy"].value == pytest.approx(right)
        assert fold.test_cells == len(part)
        assert fold.test_subjects == part["subject"].nunique()
        # Copies are trained on, and neither validated nor tested on.
        assert fold.train_cells / 2 + fold.validation_cells + fold.test_cells == 24


def test_history_has_a_line_an_epoch_and_fold(honest: FinishedRun) -> None:
    history = pd.read_csv(honest.folder / "history.csv")
    assert history[["fold", "epoch"]].to_numpy().tolist() == [[0, 1], [1, 1], [2, 1]]
    assert list(history.columns) == [
        "fold", "epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_auc", "learning_rate",
    ]  # fmt: skip


def test_models_of_the_run_give_its_predictions(honest: FinishedRun, discs: Path) -> None:
    table = pd.read_csv(honest.folder / "predictions.csv")
    for fold, part in table.groupby("fold"):
        model = load_model(RunFolder(honest.folder).weights(int(fold)))
        maps = [spike_map(luma(read_image(discs / image).pixels), size=24, window=9) for image in part["image"]]
        assert model.probabilities(np.stack(maps)) == pytest.approx(part["probability"].to_numpy(), abs=1e-5)
