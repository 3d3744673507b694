"""Cross-validation of a whole system: by the original protocol with its flaws, an honest one, and one between them.

`systems` defines what is trained: the original network on spike maps, or another one on cells cut out. The protocols
differ in the split, and in the data on which normalisation and components are fitted. The intermediate one splits by
image like the original, and fits on the training part only like the honest one; `audit` uses it to separate the effects
of the flaws.

The steps of a run: `plan` selects records, `preparation` decodes each image once, each fold is trained and stored as
soon as it is done, and `assemble` combines the results. A run interrupted at any point continues with `resume`.
"""

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from leukospike.datasets import DataSet
from leukospike.environment import describe_environment, peak_memory_mb
from leukospike.errors import DataError, ImageError, LeukospikeError, RunError
from leukospike.experiments.assemble import assemble
from leukospike.experiments.folder import RunFolder, as_written, read_config, read_joined, read_result, write_config
from leukospike.experiments.plan import Plan, folds_of, plan_run
from leukospike.experiments.preparation import INDEX, Prepared, prepare, require_same_images
from leukospike.experiments.results import FinishedFold, RunResult
from leukospike.experiments.splits import Fold
from leukospike.experiments.systems import Items, Part, Stages, System, system_of, versions_of
from leukospike.failures import Failure, read_failures, write_failures
from leukospike.images import read_image
from leukospike.jobs import Progress, silent
from leukospike.settings import RunConfig
from leukospike.storage.files import locked, new_folder, remove_leftovers, write_text, written_whole
from leukospike.storage.reading import read_arrays, read_json
from leukospike.storage.tables import write_table

_WHERE = "run_experiment"
_SAMPLES_PER_CLASS = 3
_LARGEST_SAMPLE_PX = 512


@dataclass(frozen=True)
class FinishedRun:
    """A finished run."""

    folder: Path
    result: RunResult
    failures: tuple[Failure, ...]
    """Images that could not be used."""


def run_experiment(
    dataset: DataSet, config: RunConfig, out: Path, *, resume: bool = False, progress: Progress = silent
) -> FinishedRun:
    """Cross-validate a system on a data set and write a run folder.

    Parameters
    ----------
    dataset : DataSet
    config : RunConfig
    out : Path
        The run folder: `config.toml`, `metrics.json`, `images.json`, `predictions.csv`, `history.csv`, `samples.npz`,
        `weights/fold_*.safetensors`; `components.csv` for the original system; and `failures.csv` if an image could not
        be used. `folder.read_run` reads it, and `report.write_report` writes the report.
    resume : bool
        Continue the interrupted run in `out`; the figures are those of an uninterrupted one.
    progress : Progress
        Called after each image, batch and fold.

    Returns
    -------
    FinishedRun

    Raises
    ------
    DataError
        If labels are missing or of one class only.
    ConfigError
        If a timm backbone is requested but unavailable.
    SplitError
        If the honest protocol is requested but subjects are unknown or too few.
    RunError
        If `out` exists and is not to be resumed, or is to be resumed with other settings, other data, or other subjects
        joined.
    """
    plan = plan_run(dataset, config)
    folder = RunFolder(out)
    return _resumed(plan, folder, progress) if resume else _begun(plan, folder, progress)


def _begun(plan: Plan, folder: RunFolder, progress: Progress) -> FinishedRun:
    """Start a run in a new folder, which is removed if the run fails before any training."""
    out = folder.path
    if folder.config.exists():
        advice = "Add `resume` to continue it, or choose another folder."
        rule = "`out` must be new or empty"
        raise RunError(rule, where=_WHERE, got=f"the run {out}", advice=advice)
    is_new = not out.exists()
    new_folder(out, where=_WHERE)
    try:
        with locked(out, where=_WHERE):
            new_folder(out, where=_WHERE)  # the previous holder of the lock may have begun a run
            remove_leftovers(out)
            try:
                write_config(folder, plan.config, joined=plan.joined)
                return _carried_out(plan, folder, progress)
            except LeukospikeError:
                if not folder.is_trained:
                    # A failure without an interruption would recur: there is nothing to resume.
                    folder.config.unlink(missing_ok=True)
                    shutil.rmtree(folder.state, ignore_errors=True)
                raise
    except LeukospikeError:
        if is_new:
            with suppress(OSError):  # it holds results of training
                out.rmdir()
        raise


def _resumed(plan: Plan, folder: RunFolder, progress: Progress) -> FinishedRun:
    """Continue a run, or read it if it is finished."""
    _check_resumable(plan, folder)
    with locked(folder.path, where=_WHERE):
        remove_leftovers(folder.path)
        if not folder.metrics.exists():
            return _carried_out(plan, folder, progress)
        require_same_images(plan.dataset.records, folder.images)
        shutil.rmtree(folder.state, ignore_errors=True)
        with as_written(folder.failures, _WHERE):
            failures = read_failures(folder.path)
        return FinishedRun(folder.path, read_result(folder.path), failures)


def _check_resumable(plan: Plan, folder: RunFolder) -> None:
    """Refuse to resume a missing run or one with other settings."""
    if not folder.path.is_dir():
        rule, advice = "`resume` must be used with a run folder", "Leave out `resume` to start one."
        raise RunError(rule, where=_WHERE, got=folder.path, advice=advice)
    again = "Repeat the first command and add `resume`."
    before = asdict(read_config(folder.path))
    for name, value in asdict(plan.config).items():
        if before[name] != value:
            rule, got = (
                "`resume` must be used with the settings of the run",
                f"{name} {value} instead of {before[name]}",
            )
            raise RunError(rule, where=_WHERE, got=got, advice=again)
    begun = read_joined(folder.config)
    if begun != plan.joined:
        rule = "`resume` must be used with the `groups` of the run"
        got = f"{plan.joined or 'none'} instead of {begun or 'none'}"
        raise RunError(rule, where=_WHERE, got=got, advice=again)


def _carried_out(plan: Plan, folder: RunFolder, progress: Progress) -> FinishedRun:
    """Train all remaining folds, then combine the results."""
    config = plan.config
    stages = Stages()
    system = system_of(config)
    with stages.timed("prepare images"):
        prepared = prepare(
            plan.dataset.records, folder.state, system.front, copies=system.copies, seed=config.seed, progress=progress
        )
    _require_readable_classes(plan.dataset, prepared)
    items = Items.of(prepared, system.copies)
    folds = folds_of(items, config, validates=system.validates)
    environments = _noted_environments(folder.environments)
    if not folder.pictures.exists():
        # Now rather than after hours of training, when the images may be gone.
        _keep_pictures(folder.pictures, prepared, items, folds[0])
    for number, fold in enumerate(folds):
        if folder.finished_fold(number).exists() and folder.weights(number).exists():
            continue
        fold_stages = Stages(stages.seconds if number == 0 else {})

        def told(stage: str, done: int, total: int, number: int = number) -> None:
            progress(f"{stage} fold {number + 1}", done, total)

        part = Part(
            number=number,
            fold=fold,
            prepared=prepared,
            items=items,
            weights=folder.weights(number),
            checkpoint=folder.checkpoint(number),
            stages=fold_stages,
            progress=told,
        )
        _keep_fold(folder.finished_fold(number), system, part)
        part.checkpoint.unlink(missing_ok=True)
    finished = [_kept_fold(folder.finished_fold(number), fold) for number, fold in enumerate(folds)]
    write_text(folder.images, (folder.state / INDEX).read_text(encoding="utf-8"))
    assembled = assemble(plan, system, prepared, items, folds, finished, environments=environments, progress=progress)
    write_table(folder.predictions, assembled.predictions)
    write_table(folder.history, assembled.history)
    if assembled.components is not None:
        write_table(folder.components, assembled.components)
    if prepared.failures:
        write_failures(folder.failures, prepared.failures)
    _write_samples(folder, system, prepared, items)
    data = assembled.result.data
    write_config(folder, config, joined=plan.joined, data=data, versions=versions_of(config))
    # Last, since it marks a finished run.
    write_text(folder.metrics, json.dumps(assembled.result.to_json(), indent=1))
    shutil.rmtree(folder.state)
    return FinishedRun(folder.path, assembled.result, prepared.failures)


def _noted_environments(path: Path) -> list[dict[str, str | int | None]]:
    """Record the current environment, and return all environments so far."""
    noted: list[dict[str, str | int | None]] = []
    if path.exists():
        with as_written(path, _WHERE):
            noted = [dict(one) for one in read_json(path, _WHERE)["environments"]]
    now = describe_environment()
    if not noted or noted[-1] != now:
        noted.append(now)
        write_text(path, json.dumps({"environments": noted}, indent=1))
    return noted


def _keep_fold(path: Path, system: System, part: Part) -> None:
    """Train and score a fold, and store its results."""
    came_to = system.run_fold(part)
    shares = came_to.explained_variance_ratio
    finished = FinishedFold(
        probabilities=np.asarray(came_to.probabilities, np.float64),
        history=tuple(came_to.history),
        explained_variance_ratio=None if shares is None else tuple(float(share) for share in shares),
        stages=part.stages.seconds,
        peak_memory_mb=peak_memory_mb(),
    )
    write_text(path, json.dumps(finished.to_json()))


def _kept_fold(path: Path, fold: Fold) -> FinishedFold:
    """Read the stored results of a fold."""
    content = read_json(path, _WHERE)
    with as_written(path, _WHERE):
        return FinishedFold.from_json(content, n_test=len(fold.test))


def _require_readable_classes(dataset: DataSet, prepared: Prepared) -> None:
    """Raise an error unless the readable images include both classes."""
    labels = {record.label for record in prepared.records}
    if labels == {0, 1}:
        return
    first = prepared.failures[0]
    found = " and ".join(f"only '{dataset.class_names[label]}'" for label in labels if label is not None) or "none"
    rule = f"readable images must include both classes, '{dataset.class_names[0]}' and '{dataset.class_names[1]}'"
    got = (
        f"{found}: {len(prepared.failures)} of {len(dataset.records)} cannot be read (first {first.image}:"
        f" {first.reason.rstrip('.')})"
    )
    raise DataError(rule, where=_WHERE, got=got, advice="Restore them or add images.")


def _keep_pictures(path: Path, prepared: Prepared, items: Items, fold: Fold) -> None:
    """Store the pixels of a few test cells of the first fold; cells that can no longer be read are left out."""
    # A small fold under the protocol `paper` may hold only augmented copies: then their images are shown.
    test = sorted({int(place) for place in items.image[fold.test]})
    found: dict[int, np.ndarray] = {}
    lost: list[str] = []
    for place in _candidates(items, test):
        record = prepared.records[place]
        try:
            found[place] = read_image(record.path).pixels
        except ImageError as error:
            lost.append(f"{record.image} ({str(error).rstrip('.')})")
    if not found:
        rule, advice = "images must stay readable until training begins", "Restore them and run the command again."
        raise DataError(rule, where=_WHERE, got=lost[0], advice=advice)
    usual = Counter(pixels.shape for pixels in found.values()).most_common(1)[0][0]
    chosen: list[int] = []
    for label in (1, 0):
        of_class = [place for place, pixels in found.items() if items.labels[place] == label and pixels.shape == usual]
        chosen += of_class[:_SAMPLES_PER_CLASS]
    with written_whole(path) as part:
        np.savez(part, places=np.array(chosen), pictures=np.stack([found[place] for place in chosen]))


def _write_samples(folder: RunFolder, system: System, prepared: Prepared, items: Items) -> None:
    """Process the stored pictures step by step, for the report."""
    kept = read_arrays(folder.pictures, _WHERE, ("places", "pictures"))
    chosen, pictures = kept["places"].tolist(), kept["pictures"]
    side = min(max(pictures.shape[1:3]), _LARGEST_SAMPLE_PX)
    arrays = {
        "names": np.array([prepared.records[place].image for place in chosen]),
        "labels": items.labels[chosen],
        "cells": np.stack([np.asarray(Image.fromarray(pixels).resize((side, side))) for pixels in pictures]),
    } | system.samples(folder.weights(0), pictures, np.array(prepared.seen[chosen]))
    with written_whole(folder.samples) as part:
        np.savez_compressed(part, allow_pickle=False, **arrays)


def _candidates(items: Items, test: Sequence[int]) -> list[int]:
    """Choose test images of each class, evenly spread over the list."""
    candidates: list[int] = []
    for label in (1, 0):
        of_class = [place for place in test if items.labels[place] == label]
        candidates += of_class[:: max(1, len(of_class) // (2 * _SAMPLES_PER_CLASS))]
    return candidates
