"""A whole system, cross-validated: by the original's protocol with its flaws, an honest one, and one between them.

What is trained, `systems` has: the original's network on spike maps, or another on cells cut out. The protocols differ
in who is on which side of the split, and in what the fitted objects (normalisation, components) have seen. The one
between splits by image as the original does, and fits on the training part alone as the honest one does: `audit` parts
the flaws by it.
"""

import hashlib
import json
import shutil
import zipfile
import zlib
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from leukospike.datasets import DataSet
from leukospike.environment import describe_environment, peak_memory_mb
from leukospike.errors import DataError, ImageError, LeukospikeError, RunError, SplitError
from leukospike.evaluation.metrics import FEW_SUBJECTS, as_published, metric_table, per_subject
from leukospike.experiments.preparation import INDEX, Prepared, prepare, require_same_images
from leukospike.experiments.runs import read_config, read_groups, weights_path, write_config
from leukospike.experiments.splits import Fold, image_folds, subject_folds
from leukospike.experiments.systems import FoldResult, Items, Part, Stages, System, system_of
from leukospike.failures import Failure, read_failures, write_failures
from leukospike.images.reading import read_image
from leukospike.jobs import Progress, silent
from leukospike.learning.history import EpochRecord
from leukospike.plurals import number_of
from leukospike.settings import PAPER, TIMM, Preset, Protocol, RunConfig
from leukospike.storage.files import locked, new_folder, remove_leftovers, write_table, write_text, written_whole

PUBLISHED = {
    Preset.ALL_IDB: {"accuracy": 0.9960, "source": "Noshad and Fallahi, doi 10.1080/21681163.2022.2157748, 10 folds"},
    Preset.C_NMC: {"accuracy": 0.9894, "source": "Noshad and Fallahi, doi 10.1080/21681163.2022.2157748"},
}
"""What the original system reports, by image and with the flaws below."""

_FLAW_SUBJECTS = "Cells of one subject fall on both sides of the split."
_FLAW_DUPLICATES = "{} images are filed under more than one subject with the same pixels, and fall on both sides."
_FLAW_ALL_IDB = (
    "ALL-IDB has no patient ids: all crops of ALL-IDB2 are cut from images of ALL-IDB1, some images overlap, and"
    " nobody can say which images are of one person."
)
_IMAGES = "images.json"  # the index, which outlives what it names
_PICTURES = "pictures.npz"
_DAMAGE = (OSError, EOFError, ValueError, KeyError, TypeError, RecursionError)
_TOLD = ("pooled", "data", "folds", "notices")  # of the metrics, what callers tell
_SAMPLES_PER_CLASS = 3
_LARGEST_SAMPLE_PX = 512


@dataclass(frozen=True)
class RunOutcome:
    """What a finished run leaves for its caller to say."""

    run: Path
    metrics: dict[str, Any]
    failures: tuple[Failure, ...]


def run_protocol(
    dataset: DataSet, config: RunConfig, run: Path, *, resume: bool = False, progress: Progress = silent
) -> RunOutcome:
    """Cross-validate a system on a data set and write a run folder.

    Parameters
    ----------
    dataset : DataSet
    config : RunConfig
    run : Path
        The run folder: `config.toml`, `metrics.json`, `images.json`, `predictions.csv`, `history.csv`, `samples.npz`,
        `weights/fold_*.safetensors`; of the original system `components.csv`; and `failures.csv` if an image could not
        be used. The report is made from it by `report.write_report`.
    resume : bool
        True: `run` is an interrupted run, and is carried on. It ends with the figures of an uninterrupted one.
    progress : Progress
        Told of each image, batch and fold.

    Returns
    -------
    RunOutcome

    Raises
    ------
    DataError
        If labels are missing or of one class only.
    ConfigError
        If a backbone of timm is asked for and cannot be had.
    SplitError
        If the honest protocol is asked for and subjects are unknown or too few.
    RunError
        If `run` exists and is not to be resumed, or is to be resumed with other settings, other data, or other subjects
        joined.
    """
    command = _command(config)
    where = f"{command} --protocol {config.protocol}"
    given = _training_part(dataset)
    dataset = _chosen(given, config)
    with _naming_max_cells(len(dataset.records), len(given.records)):
        _check_splittable(dataset, config, where)
    groups = _said_of_groups(dataset)
    if resume:
        _check_resumable(run, config, groups)
        with locked(run, where=command):
            remove_leftovers(run)
            if (run / "metrics.json").exists():
                require_same_images(dataset.records, run / _IMAGES)
                shutil.rmtree(run / "state", ignore_errors=True)
                with _as_written(run, command):
                    finished = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
                    return RunOutcome(run, finished | {name: finished[name] for name in _TOLD}, read_failures(run))
            return _run(dataset, config, run, progress)
    if (run / "config.toml").exists():
        msg = f"{command}: --out must be new or empty, got the run {run}. Add --resume to carry it on, or name another."
        raise RunError(msg)
    is_new = not run.exists()
    new_folder(run, where=command)
    try:
        with locked(run, where=command):
            new_folder(run, where=command)  # whoever held the lock until now may have begun a run
            remove_leftovers(run)
            try:
                write_config(run, config, groups=groups)
                return _run(dataset, config, run, progress)
            except LeukospikeError:
                if not _is_trained(run):
                    # What failed for a reason of its own would fail again: there is nothing to resume.
                    (run / "config.toml").unlink(missing_ok=True)
                    shutil.rmtree(run / "state", ignore_errors=True)
                raise
    except LeukospikeError:
        if is_new:
            with suppress(OSError):  # it holds what was trained
                run.rmdir()
        raise


@contextmanager
def _as_written(path: Path, command: str) -> Generator[None]:
    """Say, where a file of a run was changed or damaged, that it was."""
    try:
        yield
    except (
        OSError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        RecursionError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        if isinstance(error, LeukospikeError):
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        msg = (
            f"{command}: run must be as leukospike wrote it, got {path} changed or damaged ({reason}). Start a new run."
        )
        raise RunError(msg) from error


def _result_of(path: Path, fold: Fold, command: str) -> dict[str, Any]:
    """Read what is kept of a fold."""
    with _as_written(path, command):
        result = json.loads(path.read_text(encoding="utf-8"))
        probabilities = np.array(result["probabilities"], np.float64)
        if probabilities.shape != (len(fold.test),) or not np.isfinite(probabilities).all():
            msg = f"not {len(fold.test)} probabilities"
            raise ValueError(msg)
        return result | {name: result[name] for name in ("history", "explained_variance_ratio", "stages")}


def _is_trained(run: Path) -> bool:
    """Tell whether a run holds anything that took training."""
    return any(run.glob("weights/*")) or any(run.glob("state/fold_*"))


@contextmanager
def _naming_max_cells(n_taken: int, n_given: int) -> Generator[None]:
    """Say, where cells were left out on request, that too few of them may be the reason of an error."""
    try:
        yield
    except (DataError, SplitError) as error:
        if n_taken == n_given:
            raise
        msg = f"{error} Or raise --max-cells: it took {n_taken} of {n_given} images."
        raise type(error)(msg) from error


def _check_splittable(dataset: DataSet, config: RunConfig, where: str) -> None:
    """Refuse, before an image is opened, what the protocol cannot split; identical images may join subjects later."""
    dataset.require_labels(where)
    if config.protocol is not Protocol.PAPER:
        labels = [int(record.label or 0) for record in dataset.records]
        images = [record.image for record in dataset.records]
        subjects = images
        if config.protocol is Protocol.HONEST:
            dataset.require_subjects(where)
            subjects = [str(record.subject) for record in dataset.records]
        folds = subject_folds(labels, subjects, images, n_folds=config.n_folds, seed=config.seed)
        if config.hold_out:
            _held_out(folds, np.array(labels))


def _require_readable_classes(dataset: DataSet, prepared: Prepared, command: str) -> None:
    """Refuse to go on if the images that could be read are not of both classes."""
    labels = {record.label for record in prepared.records}
    if labels == {0, 1}:
        return
    first = prepared.failures[0]
    got = " and ".join(f"only '{dataset.class_names[label]}'" for label in labels if label is not None) or "none"
    msg = (
        f"{command}: readable images must be of both classes, '{dataset.class_names[0]}' and"
        f" '{dataset.class_names[1]}', got {got}: {len(prepared.failures)} of {len(dataset.records)} cannot be read"
        f" (first {first.image}: {first.reason.rstrip('.')}). Restore those or add images."
    )
    raise DataError(msg)


def _run(dataset: DataSet, config: RunConfig, run: Path, progress: Progress) -> RunOutcome:
    """Do all the folds that are not done yet, then put everything together."""
    state = run / "state"
    stages = Stages()
    system = system_of(config)
    with stages.timed("prepare images"):
        prepared = prepare(
            dataset.records, state, system.front, copies=system.copies, seed=config.seed, progress=progress
        )
    _require_readable_classes(dataset, prepared, _command(config))
    items = _items(prepared, system.copies)
    folds = _folds(items, config)
    if not system.validates:
        folds = [_without_validation(fold, config.protocol) for fold in folds]
    if not (state / _PICTURES).exists():
        # Now, and not after hours of training, when the images may have gone.
        _keep_pictures(state / _PICTURES, prepared, items, folds[0], _command(config))
    numbers = range(len(folds))
    for number in numbers:
        done = state / f"fold_{number}.json"
        if done.exists() and weights_path(run, number).exists():
            continue
        fold_stages = Stages(stages.seconds if number == 0 else {})

        def told(stage: str, done: int, total: int, number: int = number) -> None:
            progress(f"{stage} fold {number + 1}", done, total)

        part = Part(
            number=number,
            fold=folds[number],
            prepared=prepared,
            items=items,
            weights=weights_path(run, number),
            checkpoint=state / f"fold_{number}.checkpoint.safetensors",
            stages=fold_stages,
            progress=told,
        )
        write_text(done, json.dumps(_said_of_fold(system.run_fold(part), fold_stages)))
        part.checkpoint.unlink(missing_ok=True)
    results = [_result_of(state / f"fold_{number}.json", fold, _command(config)) for number, fold in enumerate(folds)]
    write_text(run / _IMAGES, (state / INDEX).read_text(encoding="utf-8"))
    outcome = _put_together(dataset, config, run, system, prepared, items, folds, results, progress)
    shutil.rmtree(state)
    return outcome


def _without_validation(fold: Fold, protocol: Protocol) -> Fold:
    """Train on the validation items too, which nothing would watch; under `paper` those are the test items."""
    nobody = fold.validation[:0]
    if protocol is Protocol.PAPER:
        return replace(fold, validation=nobody)
    return replace(fold, train=np.concatenate([fold.train, fold.validation]), validation=nobody)


def _said_of_fold(result: FoldResult, stages: Stages) -> dict[str, Any]:
    """Give what is kept of a fold until all are done."""
    shares = result.explained_variance_ratio
    return {
        "probabilities": [float(probability) for probability in result.probabilities],
        "history": [asdict(record) for record in result.history],
        "explained_variance_ratio": None if shares is None else [float(share) for share in shares],
        "stages": stages.seconds,
        "peak_memory_mb": peak_memory_mb(),
    }


def _put_together(
    dataset: DataSet,
    config: RunConfig,
    run: Path,
    system: System,
    prepared: Prepared,
    items: Items,
    folds: Sequence[Fold],
    results: Sequence[dict[str, Any]],
    progress: Progress,
) -> RunOutcome:
    """Write everything that is made from all folds; `metrics.json`, the sign of a finished run, last."""
    predictions = _predictions(prepared, items, folds, results)
    if config.protocol is not Protocol.PAPER:
        predictions = predictions.drop(columns="copy")
    write_table(run / "predictions.csv", predictions)
    histories = [{"fold": n} | record for n, result in enumerate(results) for record in result["history"]]
    columns = ["fold", *(field.name for field in fields(EpochRecord))]
    write_table(run / "history.csv", pd.DataFrame(histories, columns=pd.Index(columns)))
    shares = [
        {"fold": n, "component": index, "explained_variance_ratio": share}
        for n, result in enumerate(results)
        for index, share in enumerate(result["explained_variance_ratio"] or (), start=1)
    ]
    if shares:
        write_table(run / "components.csv", pd.DataFrame(shares))
    if prepared.failures:
        write_failures(run / "failures.csv", prepared.failures)
    _write_samples(run, system, prepared, items)

    stages = Stages()
    for result in results:
        for stage, seconds in result["stages"].items():
            stages.seconds[stage] = stages.seconds.get(stage, 0.0) + seconds
    per_fold: list[dict[str, Any]] = []
    with stages.timed("evaluate"):
        for number, (fold, result) in enumerate(zip(folds, results, strict=True)):
            progress("evaluate", number, len(folds) + 1)
            part = predictions.query("fold == @number")
            ratios = result["explained_variance_ratio"]
            per_fold.append(
                {
                    "fold": number,
                    "train_cells": len(fold.train),
                    "validation_cells": len(fold.validation),
                    "test_cells": len(fold.test),
                    "train_subjects": _n_subjects(prepared, items, fold.train),
                    "test_subjects": _n_subjects(prepared, items, fold.test),
                    "n_components": None if ratios is None else len(ratios),
                    "explained_variance": None if ratios is None else min(float(sum(ratios)), 1.0),  # but for rounding
                }
                | _tables(part, config.seed)
            )
        pooled = _tables(predictions, config.seed)
        progress("evaluate", len(folds) + 1, len(folds) + 1)
    labels = predictions["label"].to_numpy(np.int64)
    probabilities = predictions["probability"].to_numpy(np.float64)
    as_original = config.protocol is Protocol.PAPER and config.backbone == PAPER
    metrics: dict[str, Any] = {
        "protocol": config.protocol.value,
        "backbone": config.backbone,
        "dataset": config.dataset.value,
        "hold_out": config.hold_out,
        "seed": config.seed,
        "generated": prepared.generated,
        "data": _describe(dataset, prepared),
        "flaws": _flaws(dataset, prepared, config.protocol, system),
        "notices": _notices(config, dataset, prepared, per_fold, pooled["subject"]),
        "environment": describe_environment(),
        "stages": [{"stage": stage, "seconds": round(seconds, 2)} for stage, seconds in stages.seconds.items()],
        "peak_memory_mb": max(peak_memory_mb(), *(result["peak_memory_mb"] for result in results)),
        "folds": per_fold,
        "pooled": pooled,
        "as_published": as_published(labels, probabilities) if as_original else None,
        # Beside other people's cells the published figure would be no comparison.
        "published": PUBLISHED[config.dataset] if dataset.layout.startswith(config.dataset) else None,
    }
    libraries = ["leukospike", "torch", "lightning", "numpy", "scikit-learn"]
    libraries += ["timm"] if config.backbone.startswith(TIMM) else []
    versions = {name: metadata.version(name) for name in libraries}
    data = {name: metrics["data"][name] for name in ("name", "layout", "images", "subjects", "digest")}
    write_config(run, config, groups=_said_of_groups(dataset), data=data, versions=versions)
    write_text(run / "metrics.json", json.dumps(metrics, indent=1))
    return RunOutcome(run, metrics, prepared.failures)


def _training_part(dataset: DataSet) -> DataSet:
    """Leave out C-NMC's test sets: the final one has no labels, and the preliminary one is kept apart for testing."""
    if not dataset.layout.startswith("c-nmc"):
        return dataset
    records = tuple(record for record in dataset.records if record.partition != "preliminary")
    return replace(dataset, records=records or dataset.records).labelled()


def _chosen(dataset: DataSet, config: RunConfig) -> DataSet:
    """Take at most `max_cells` images: a random one of each subject and class in turn, so that none is left out."""
    if config.max_cells is None or config.max_cells >= len(dataset.records):
        return dataset
    rng = np.random.default_rng(config.seed)
    turn: Counter[tuple[str | None, int | None]] = Counter()
    ranked: list[tuple[int, int]] = []
    for place in rng.permutation(len(dataset.records)):
        record = dataset.records[place]
        owner = (record.subject, record.label)
        ranked.append((turn[owner], int(place)))
        turn[owner] += 1
    ranked.sort(key=lambda pair: pair[0])  # stable: the random order decides within a turn
    places = sorted(place for _, place in ranked[: config.max_cells])
    return replace(dataset, records=tuple(dataset.records[place] for place in places))


def _items(prepared: Prepared, copies: int) -> Items:
    """List images and copies in the order of the maps."""
    n = len(prepared.records)
    image = np.tile(np.arange(n), 1 + copies)
    labels = np.array([record.label for record in prepared.records], np.int64)
    # Where there are no subjects, each image stands for itself.
    subjects = np.array([record.image if record.subject is None else record.subject for record in prepared.records])
    return Items(labels[image], subjects[image], prepared.digests, image, np.repeat(np.arange(1 + copies), n))


def _folds(items: Items, config: RunConfig) -> list[Fold]:
    """Split the items by the protocol; where one part is held out, give that fold alone."""
    if config.protocol is Protocol.PAPER:
        folds = image_folds(len(items.labels), n_folds=config.n_folds, seed=config.seed)
        return folds[:1] if config.hold_out else folds
    originals = items.copy == 0
    n = int(originals.sum())
    # By image, each stands for itself, whoever's it is and whatever it equals.
    alone = [str(place) for place in range(n)]
    by_subject = config.protocol is Protocol.HONEST
    by_image = subject_folds(
        items.labels[originals].tolist(),
        items.subjects[originals].tolist() if by_subject else alone,
        items.digests if by_subject else alone,
        n_folds=config.n_folds,
        seed=config.seed,
    )
    if config.hold_out:
        by_image = _held_out(by_image, items.labels[originals])
    copies = int(items.copy.max(initial=0))
    # Copies follow their image into the training part; nothing is validated or tested on them.
    return [
        replace(fold, train=np.concatenate([fold.train + copy * n for copy in range(1 + copies)])) for fold in by_image
    ]


def _held_out(folds: Sequence[Fold], labels: np.ndarray) -> list[Fold]:
    """Give the first fold that can be tested: one with both classes in its test part."""
    for fold in folds:
        if len(np.unique(labels[fold.test])) == 2:
            return [fold]
    msg = (
        f"train: the held-out part must hold both classes, got one class in each of {len(folds)} parts."
        " Lower --folds or give more subjects of the rarer class."
    )
    raise SplitError(msg)


def _predictions(
    prepared: Prepared, items: Items, folds: Sequence[Fold], results: Sequence[dict[str, Any]]
) -> pd.DataFrame:
    """Give one row a tested item."""
    parts = [
        pd.DataFrame(
            {
                "image": [prepared.records[place].image for place in items.image[fold.test]],
                "subject": [prepared.records[place].subject for place in items.image[fold.test]],
                "fold": number,
                "label": items.labels[fold.test],
                "probability": result["probabilities"],
                "copy": items.copy[fold.test],
            }
        )
        for number, (fold, result) in enumerate(zip(folds, results, strict=True))
    ]
    return pd.concat(parts).sort_values(["fold", "image", "copy"], ignore_index=True)


def _tables(predictions: pd.DataFrame, seed: int) -> dict[str, Any]:
    """Give the metric tables by cell and, where there are subjects, by subject."""
    labels = predictions["label"].to_numpy(np.int64)
    probabilities = predictions["probability"].to_numpy(np.float64)
    if bool(predictions["subject"].isna().to_numpy().any()):
        images = predictions["image"].to_numpy(str)
        return {"cell": metric_table(labels, probabilities, images, group_name="images", seed=seed), "subject": None}
    subjects = predictions["subject"].to_numpy(str)
    cell = metric_table(labels, probabilities, subjects, group_name="subjects", seed=seed)
    truth, means, names = per_subject(labels, probabilities, subjects)
    return {"cell": cell, "subject": metric_table(truth, means, names, group_name="subjects", seed=seed)}


def _describe(dataset: DataSet, prepared: Prepared) -> dict[str, Any]:
    """Say what the run was on."""
    records = prepared.records
    owners: dict[str, set[str]] = {}
    for record, digest in zip(records, prepared.digests, strict=True):
        owners.setdefault(digest, set()).add(str(record.subject))
    known = all(record.subject is not None for record in records)
    per_class = [
        len({record.subject for record in records if record.label == label}) if known else 0 for label in (0, 1)
    ]
    counts = Counter(prepared.digests)
    return {
        "name": dataset.name,
        "layout": dataset.layout,
        "credit": dataset.credit,
        "images": len(records),
        "subjects": len({record.subject for record in records}) if known else None,
        "class_names": list(dataset.class_names),
        "cells_per_class": [sum(record.label == label for record in records) for label in (0, 1)],
        "subjects_per_class": per_class if known else None,
        "failed": len(prepared.failures),
        "duplicate_images": sum(count for count in counts.values() if count > 1),
        "cross_subject_duplicates": sum(
            counts[digest] for digest, subjects in owners.items() if known and len(subjects) > 1
        ),
        "digest": hashlib.sha256("\n".join(sorted(prepared.digests)).encode()).hexdigest(),
    }


def _flaws(dataset: DataSet, prepared: Prepared, protocol: Protocol, system: System) -> list[str]:
    """Name what is wrong with a protocol on these data."""
    if protocol is Protocol.HONEST:
        return []
    flaws: list[str] = list(system.flaws) if protocol is Protocol.PAPER else []
    if dataset.no_subject_reason is not None:
        flaws.append(_FLAW_ALL_IDB if dataset.layout.startswith("all-idb") else "Nobody can say whose the images are.")
        return flaws
    flaws.append(_FLAW_SUBJECTS)
    shared = _describe(dataset, prepared)["cross_subject_duplicates"]
    if shared:
        flaws.append(_FLAW_DUPLICATES.format(shared))
    return flaws


def _said_of_groups(dataset: DataSet) -> dict[str, Any]:
    """Say which subjects count as one; nothing if nobody joined any. The digest is of their names, as JSON."""
    if dataset.joined is None:
        return {}
    return {
        "digest": hashlib.sha256(json.dumps(dataset.joined).encode()).hexdigest(),
        "subjects": sum(map(len, dataset.joined)),
        "into": len(dataset.joined),
    }


def _notices(
    config: RunConfig,
    dataset: DataSet,
    prepared: Prepared,
    folds: Sequence[dict[str, Any]],
    by_subject: dict[str, Any] | None,
) -> list[str]:
    """Say where the run is not what was asked for."""
    notices: list[str] = []
    fewest = min((fold["n_components"] for fold in folds if fold["n_components"]), default=config.n_components)
    if fewest < config.n_components:
        notices.append(
            f"{config.n_components} components were asked for; {fewest} are possible with so few images, and were used."
        )
    if prepared.failures:
        notices.append(
            f"{number_of(len(prepared.failures), 'image')} could not be used; failures.csv names each with the reason."
        )
    if (groups := _said_of_groups(dataset)) and groups["subjects"]:
        where = "in the split and in intervals" if config.protocol is Protocol.HONEST else "in intervals"
        notices.append(
            f"Subjects whose images overlap by an audit's groups count as one, {where}: {groups['subjects']} subjects"
            f" are joined into {groups['into']}."
        )
    labels_of: dict[str, set[int | None]] = {}
    for record in prepared.records:
        if record.subject is not None:
            labels_of.setdefault(record.subject, set()).add(record.label)
    if both := sorted(subject for subject, labels in labels_of.items() if len(labels) > 1):
        notices.append(
            f"Images of both classes are filed under {number_of(len(both), 'subject')} ({', '.join(both)[:80]}), by"
            " subject counted as leukemic. Check the labels, and what joined them."
        )
    if config.max_cells is not None:
        notices.append(f"At most {config.max_cells} cells were taken, spread over the subjects.")
    fewest_cells = min(fold["train_cells"] for fold in folds)
    if config.batch_size > fewest_cells:
        notices.append(
            f"A batch holds {config.batch_size} cells, more than the {fewest_cells} that a training part has: an epoch"
            " is a single step."
        )
    if config.hold_out:
        notices.append(_held_out_words(folds[0], prepared, config.protocol))
    if by_subject is not None:
        normal, leukemic = by_subject["n"] - by_subject["positives"], by_subject["positives"]
        if min(normal, leukemic) < FEW_SUBJECTS:
            notices.append(
                f"The figures rest on {normal} normal and {number_of(leukemic, 'leukemic subject')}: with fewer than"
                f" {FEW_SUBJECTS} of a class, intervals from resampling are too narrow."
            )
    return notices


def _held_out_words(fold: Mapping[str, Any], prepared: Prepared, protocol: Protocol) -> str:
    """Say what share of the data was tested."""
    # Under `paper` copies are tested too, and the cells that are watched are the test cells.
    n = fold["train_cells"] + fold["test_cells"] if protocol is Protocol.PAPER else len(prepared.records)
    whose = ""
    if fold["test_subjects"] is not None:
        n_subjects = len({record.subject for record in prepared.records})
        whose = f", of {fold['test_subjects']} of {number_of(n_subjects, 'subject')}"
    held_out = f"{fold['test_cells']} of {number_of(n, 'cell')} ({fold['test_cells'] / n:.0%}){whose}"
    return f"One part was held out and tested, {held_out}; there is no cross-validation."


def _keep_pictures(path: Path, prepared: Prepared, items: Items, fold: Fold, command: str) -> None:
    """Keep the pixels of a few test cells of the first fold; those that can no longer be read are left out."""
    # A small fold of the paper's protocol may hold augmented copies only: then their images are shown.
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
        msg = (
            f"{command}: images must stay readable until training begins, got {lost[0]}. Restore them and repeat the"
            " command."
        )
        raise DataError(msg)
    usual = Counter(pixels.shape for pixels in found.values()).most_common(1)[0][0]
    chosen: list[int] = []
    for label in (1, 0):
        of_class = [place for place, pixels in found.items() if items.labels[place] == label and pixels.shape == usual]
        chosen += of_class[:_SAMPLES_PER_CLASS]
    with written_whole(path) as part:
        np.savez(part, places=np.array(chosen), pictures=np.stack([found[place] for place in chosen]))


def _write_samples(run: Path, system: System, prepared: Prepared, items: Items) -> None:
    """Take the kept pictures through each step, for the report."""
    path = run / "state" / _PICTURES
    with _as_written(path, "run"), np.load(path, allow_pickle=False) as kept:
        chosen, pictures = kept["places"].tolist(), kept["pictures"]
    side = min(max(pictures.shape[1:3]), _LARGEST_SAMPLE_PX)
    arrays = {
        "names": np.array([prepared.records[place].image for place in chosen]),
        "labels": items.labels[chosen],
        "cells": np.stack([np.asarray(Image.fromarray(pixels).resize((side, side))) for pixels in pictures]),
    } | system.samples(weights_path(run, 0), pictures, np.array(prepared.seen[chosen]))
    with written_whole(run / "samples.npz") as part:
        np.savez_compressed(part, allow_pickle=False, **arrays)


def _candidates(items: Items, test: Sequence[int]) -> list[int]:
    """Take test images of each class, evenly spread over the list."""
    candidates: list[int] = []
    for label in (1, 0):
        of_class = [place for place in test if items.labels[place] == label]
        candidates += of_class[:: max(1, len(of_class) // (2 * _SAMPLES_PER_CLASS))]
    return candidates


def _command(config: RunConfig) -> str:
    """Name the command that a run is made with: its messages begin with it."""
    return "train" if config.hold_out else "reproduce"


def _check_resumable(run: Path, config: RunConfig, groups: dict[str, Any]) -> None:
    """Refuse to resume what is not there or was something else."""
    command = _command(config)
    if not run.is_dir():
        msg = f"{command}: --resume must name a run folder, got {run}. Leave --resume out to start it."
        raise RunError(msg)
    before = asdict(read_config(run))
    for name, value in asdict(config).items():
        if before[name] != value:
            msg = (
                f"{command}: --resume must be given the settings of the run, got {name} {value} in place of"
                f" {before[name]}. Repeat the first command and add --resume."
            )
            raise RunError(msg)
    begun = read_groups(run / "config.toml")
    if begun != groups:
        msg = (
            f"{command}: --resume must be given the --groups of the run, got {_group_words(groups)} in place of"
            f" {_group_words(begun)}. Repeat the first command and add --resume."
        )
        raise RunError(msg)


def _group_words(groups: Mapping[str, Any]) -> str:
    """Say in a few words which subjects are joined."""
    if not groups:
        return "none"
    return f"{groups['subjects']} subjects joined into {groups['into']} (digest {groups['digest'][:8]})"


def _n_subjects(prepared: Prepared, items: Items, places: np.ndarray) -> int | None:
    """Count the subjects among some items; None where they are unknown."""
    if any(record.subject is None for record in prepared.records):
        return None
    return len(np.unique(items.subjects[places]))
