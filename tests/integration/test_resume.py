"""A run that is interrupted, anywhere, ends with the figures of one that is not."""

import hashlib
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from leukospike.auditing import join_subjects
from leukospike.datasets import read_dataset
from leukospike.errors import RunError
from leukospike.experiments.folder import RunFolder, read_joined, write_config
from leukospike.experiments.results import JoinedSubjects
from leukospike.experiments.run import FinishedRun, run_experiment
from leukospike.settings import Protocol, RunConfig
from leukospike.storage.files import locked

UNREPEATABLE = ("stages", "peak_memory_mb")


class _Cut(BaseException):
    """An interruption that no handler takes for an error."""


@pytest.fixture(scope="module", params=list(Protocol))
def whole(request: pytest.FixtureRequest, discs: Path, tiny: RunConfig, tmp_path_factory: pytest.TempPathFactory):
    """Give an uninterrupted run by each protocol, and its settings."""
    config = replace(tiny, protocol=request.param, n_folds=2, epochs=2)
    return run_experiment(read_dataset(discs), config, tmp_path_factory.mktemp("whole") / "run"), config


@pytest.mark.parametrize(
    ("stage", "done"), [("prepare images", 5), ("train fold 1", 3), ("train fold 2", 1), ("evaluate", 1)]
)
def test_resumed_run_ends_the_same(
    whole: tuple[FinishedRun, RunConfig], stage: str, done: int, discs: Path, tmp_path: Path
) -> None:
    uninterrupted, config = whole
    dataset = read_dataset(discs)

    def cut(at: str, steps: int, _total: int) -> None:
        if (at, steps) == (stage, done):
            raise _Cut

    with pytest.raises(_Cut):
        run_experiment(dataset, config, tmp_path / "cut", progress=cut)
    left_over = tmp_path / "cut" / "state" / ".part-fold_0-abcdefgh.json"  # as of a process that was killed outright
    elsewhere = tmp_path / "cut" / "weights" / ".part-fold_0-abcdefgh.safetensors"
    for path in (left_over, elsewhere, tmp_path / "cut" / ".lock"):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert not (tmp_path / "cut" / "metrics.json").exists()
    resumed = run_experiment(dataset, config, tmp_path / "cut", resume=True)

    for name in ("predictions.csv", "history.csv", "components.csv"):
        assert (tmp_path / "cut" / name).read_bytes() == (uninterrupted.folder / name).read_bytes()
    for fold in range(2):
        weights = f"weights/fold_{fold}.safetensors"
        ours, theirs = load_file(tmp_path / "cut" / weights), load_file(uninterrupted.folder / weights)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    ours, theirs = resumed.result.to_json(), uninterrupted.result.to_json()
    for name in theirs.keys() - set(UNREPEATABLE):
        assert ours[name] == theirs[name]
    assert not (tmp_path / "cut" / "state").exists()
    assert not list((tmp_path / "cut").rglob(".*"))


def test_what_a_finished_run_was_killed_over_is_removed(
    whole: tuple[FinishedRun, RunConfig], discs: Path, tmp_path: Path
) -> None:
    uninterrupted, config = whole
    run = tmp_path / "run"
    shutil.copytree(uninterrupted.folder, run)
    (run / "state").mkdir()
    (run / "figures").mkdir()
    (run / "figures" / ".part-roc-abcdefgh.png").touch()
    resumed = run_experiment(read_dataset(discs), config, run, resume=True)
    assert resumed.result.to_json() == uninterrupted.result.to_json()
    assert not (run / "state").exists()
    assert not list(run.rglob(".*"))


def test_subjects_who_count_as_one_are_recorded_and_stay_so(discs: Path, tiny: RunConfig, tmp_path: Path) -> None:
    dataset, table, run = read_dataset(discs), tmp_path / "groups.csv", tmp_path / "run"
    joined = []
    for number in (1, 2):
        group = {record.image: str(record.subject) for record in dataset.records}
        group["all/all-0/0.png"] = group[f"all/all-{number}/0.png"] = "both"
        table.write_text("\n".join(["image,group", *map(",".join, group.items())]))
        joined.append(join_subjects(dataset, table))
    config = replace(tiny, n_folds=2)
    outcome = run_experiment(joined[0], config, run)
    assert "2 subjects are joined into 1." in " ".join(map(str, outcome.result.notices))
    groups = tomllib.loads((run / "config.toml").read_text())["groups"]
    expected = hashlib.sha256(b'[["all-0", "all-1"]]').hexdigest()
    assert groups == {"digest": expected, "subjects": 2, "into": 1}
    assert read_joined(run / "config.toml") == JoinedSubjects(expected, 2, 1)
    for other, words in ((dataset, "got none instead of 2 subjects"), (joined[1], "got 2 subjects joined into 1")):
        with pytest.raises(RunError, match=rf"`resume` must be used with the `groups` of the run, {words}"):
            run_experiment(other, config, run, resume=True)
    assert run_experiment(joined[0], config, run, resume=True).result.to_json() == outcome.result.to_json()


@pytest.mark.parametrize("resume", [False, True])
def test_run_that_is_still_going_is_left_alone(discs: Path, tiny: RunConfig, tmp_path: Path, resume: bool) -> None:
    if resume:
        write_config(RunFolder(tmp_path), tiny)
    with (
        locked(tmp_path, where="run_experiment"),
        pytest.raises(RunError, match=r"run_experiment: output folder must not be in use, got "),
    ):
        run_experiment(read_dataset(discs), tiny, tmp_path, resume=resume)
