"""Both protocols, on discs: who is tested, what is written, what is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from leukospike.datasets import DataSet, read_dataset
from leukospike.errors import DataError, RunError, SplitError
from leukospike.protocols import RunOutcome, run_protocol
from leukospike.runs import Protocol, RunConfig


@pytest.fixture(scope="module")
def honest(discs: Path, tiny: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> RunOutcome:
    return run_protocol(read_dataset(discs), tiny, tmp_path_factory.mktemp("honest") / "run")


@pytest.fixture(scope="module")
def paper(discs: Path, tiny: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> RunOutcome:
    config = replace(tiny, protocol=Protocol.PAPER)
    return run_protocol(read_dataset(discs), config, tmp_path_factory.mktemp("paper") / "run")


def _without_subjects(dataset: DataSet) -> DataSet:
    records = tuple(replace(record, subject=None) for record in dataset.records)
    return replace(dataset, records=records, no_subject_reason="It names no persons; use --protocol paper.")


def test_run_folder_holds_everything(honest: RunOutcome) -> None:
    names = {path.relative_to(honest.run).as_posix() for path in honest.run.rglob("*") if path.is_file()}
    assert names == {
        "config.toml",
        "metrics.json",
        "predictions.csv",
        "history.csv",
        "components.csv",
        "samples.npz",
        *(f"weights/fold_{fold}.safetensors" for fold in range(3)),
    }


def test_honest_tests_each_image_once(honest: RunOutcome, discs: Path) -> None:
    table = pd.read_csv(honest.run / "predictions.csv")
    assert list(table.columns) == ["image", "subject", "fold", "label", "probability"]
    assert sorted(table["image"]) == [record.image for record in read_dataset(discs).records]
    assert table["probability"].between(0, 1).all()


def test_honest_keeps_each_subject_in_one_fold(honest: RunOutcome) -> None:
    table = pd.read_csv(honest.run / "predictions.csv")
    assert (table.groupby("subject")["fold"].nunique() == 1).all()


def test_paper_tests_each_image_and_copy_once_and_splits_subjects(paper: RunOutcome, discs: Path) -> None:
    table = pd.read_csv(paper.run / "predictions.csv")
    n = len(read_dataset(discs).records)
    assert len(table) == 2 * n
    assert not table.duplicated(["image", "copy"]).any()
    assert (table.groupby("subject")["fold"].nunique() > 1).any()
    assert (table.groupby("image")["fold"].nunique() > 1).any()


def test_paper_fits_one_basis_on_everything_and_honest_one_a_fold(honest: RunOutcome, paper: RunOutcome) -> None:
    for outcome, distinct in ((honest, 3), (paper, 1)):
        spectra = pd.read_csv(outcome.run / "components.csv").groupby("fold")["explained_variance_ratio"].apply(tuple)
        assert spectra.nunique() == distinct


def test_paper_names_its_flaws_and_honest_has_none(honest: RunOutcome, paper: RunOutcome) -> None:
    assert honest.metrics["flaws"] == []
    assert honest.metrics["as_published"] is None
    said = " ".join(paper.metrics["flaws"])
    for word in ("copies", "principal components", "subject", "precision"):
        assert word in said


def test_paper_shows_precision_by_the_wrong_formula(paper: RunOutcome) -> None:
    pooled = paper.metrics["pooled"]["cell"]
    assert paper.metrics["as_published"]["precision"] == pytest.approx(pooled["specificity"]["value"])


def test_figures_are_those_of_the_predictions(honest: RunOutcome) -> None:
    table = pd.read_csv(honest.run / "predictions.csv")
    right = ((table["probability"] >= 0.5) == (table["label"] == 1)).mean()
    assert honest.metrics["pooled"]["cell"]["accuracy"]["value"] == pytest.approx(right)
    assert honest.metrics["pooled"]["cell"]["n"] == len(table)
    assert honest.metrics["pooled"]["subject"]["n"] == 6


def test_metrics_file_is_what_is_returned_and_strict_json(honest: RunOutcome) -> None:
    def refuse(constant: str) -> Any:
        raise AssertionError(constant)

    text = (honest.run / "metrics.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=refuse) == honest.metrics


def test_existing_run_is_refused(honest: RunOutcome, discs: Path, tiny: RunConfig) -> None:
    with pytest.raises(RunError, match="must be new or empty"):
        run_protocol(read_dataset(discs), tiny, honest.run)


def test_resuming_a_finished_run_changes_nothing(honest: RunOutcome, discs: Path, tiny: RunConfig) -> None:
    before = (honest.run / "metrics.json").read_bytes()
    again = run_protocol(read_dataset(discs), tiny, honest.run, resume=True)
    assert again.metrics == honest.metrics
    assert (honest.run / "metrics.json").read_bytes() == before


def test_resuming_with_other_settings_is_refused(honest: RunOutcome, discs: Path, tiny: RunConfig) -> None:
    with pytest.raises(RunError, match="epochs 2 in place of 1"):
        run_protocol(read_dataset(discs), replace(tiny, epochs=2), honest.run, resume=True)


def test_resuming_nothing_is_refused(discs: Path, tiny: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="--resume must name a run folder"):
        run_protocol(read_dataset(discs), tiny, tmp_path / "none", resume=True)


def test_honest_refuses_unknown_subjects_with_the_reason(discs: Path, tiny: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(SplitError, match=r"It names no persons; use --protocol paper"):
        run_protocol(_without_subjects(read_dataset(discs)), tiny, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_paper_without_subjects_draws_images(discs: Path, tiny: RunConfig, tmp_path: Path) -> None:
    config = replace(tiny, protocol=Protocol.PAPER, hold_out=True)
    outcome = run_protocol(_without_subjects(read_dataset(discs)), config, tmp_path / "run")
    assert outcome.metrics["pooled"]["subject"] is None
    assert "images" in outcome.metrics["pooled"]["cell"]["interval"]
    assert outcome.metrics["folds"][0]["test_subjects"] is None
    assert outcome.metrics["data"]["subjects"] is None


def test_too_many_folds_leave_no_folder(discs: Path, tiny: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(SplitError, match=r"at most the number of independent subjects \(6\), got 7"):
        run_protocol(read_dataset(discs), replace(tiny, n_folds=7), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_one_class_only_is_refused(draw_discs: Callable[..., Path], tiny: RunConfig, tmp_path: Path) -> None:
    dataset = read_dataset(draw_discs(tmp_path / "data", subjects=(2, 2)))
    one_class = replace(dataset, records=tuple(record for record in dataset.records if record.label == 1))
    with pytest.raises(DataError, match="class"):
        run_protocol(one_class, tiny, tmp_path / "run")


def test_unreadable_images_are_named_and_the_rest_goes_on(
    draw_discs: Callable[..., Path], tiny: RunConfig, tmp_path: Path
) -> None:
    data = draw_discs(tmp_path / "data")
    (data / "all" / "all-0" / "0.png").write_bytes(b"")
    outcome = run_protocol(read_dataset(data), replace(tiny, hold_out=True), tmp_path / "run")
    assert [failure.image for failure in outcome.failures] == ["all/all-0/0.png"]
    assert pd.read_csv(tmp_path / "run" / "failures.csv")["image"].tolist() == ["all/all-0/0.png"]
    assert outcome.metrics["data"]["failed"] == 1
    assert any("failures.csv" in notice for notice in outcome.metrics["notices"])


def test_too_few_images_for_the_components_is_announced(discs: Path, tiny: RunConfig, tmp_path: Path) -> None:
    config = replace(tiny, n_components=500, hold_out=True)
    outcome = run_protocol(read_dataset(discs), config, tmp_path / "run")
    used = outcome.metrics["folds"][0]["n_components"]
    assert used == outcome.metrics["folds"][0]["train_cells"]
    assert any(f"500 components were asked for; {used}" in notice for notice in outcome.metrics["notices"])


def test_identical_images_keep_two_subjects_together(
    draw_discs: Callable[..., Path], tiny: RunConfig, tmp_path: Path
) -> None:
    data = draw_discs(tmp_path / "data")
    (data / "all" / "all-1" / "0.png").write_bytes((data / "all" / "all-0" / "0.png").read_bytes())
    outcome = run_protocol(read_dataset(data), replace(tiny, n_folds=2), tmp_path / "run")
    table = pd.read_csv(tmp_path / "run" / "predictions.csv")
    assert table[table["subject"].isin(["all-0", "all-1"])]["fold"].nunique() == 1
    assert outcome.metrics["data"]["cross_subject_duplicates"] == 2


def test_max_cells_takes_from_every_subject(discs: Path, tiny: RunConfig, tmp_path: Path) -> None:
    run_protocol(read_dataset(discs), replace(tiny, max_cells=12), tmp_path / "run")
    table = pd.read_csv(tmp_path / "run" / "predictions.csv")
    assert table.groupby("subject").size().tolist() == [2] * 6


def test_samples_can_be_read_without_pickle(honest: RunOutcome) -> None:
    with np.load(honest.run / "samples.npz", allow_pickle=False) as samples:
        assert samples["labels"].tolist() == sorted(samples["labels"].tolist(), reverse=True)
        assert samples["latency"].dtype == np.uint8
        assert ((samples["latency"] == 0) == (samples["first_wave"] == 1)).all()
        assert samples["reconstructed"].shape == samples["prepared"].shape
