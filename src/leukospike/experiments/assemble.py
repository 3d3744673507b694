"""Combines the results of all folds: predictions, metrics by fold and overall, and notices."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from leukospike.environment import describe_environment, peak_memory_mb
from leukospike.evaluation.estimates import FEW_SUBJECTS, FEWEST_SUBJECTS, Metrics, groups_per_class
from leukospike.evaluation.metrics import as_published, metrics_of, per_subject
from leukospike.experiments.plan import Plan
from leukospike.experiments.preparation import Prepared
from leukospike.experiments.results import (
    HISTORY_COLUMNS,
    DataDescription,
    FinishedFold,
    FoldFigures,
    Published,
    RunResult,
)
from leukospike.experiments.splits import Fold
from leukospike.experiments.systems import Items, Stages, System
from leukospike.jobs import Progress
from leukospike.notices import Notice, Severity
from leukospike.plurals import number_of
from leukospike.settings import PAPER, Preset, Protocol, RunConfig

PUBLISHED = {
    Preset.ALL_IDB: Published({"accuracy": 0.9960}, "Noshad and Fallahi, doi 10.1080/21681163.2022.2157748, 10 folds"),
    Preset.C_NMC: Published({"accuracy": 0.9894}, "Noshad and Fallahi, doi 10.1080/21681163.2022.2157748"),
}
"""Published results of the original system, by image and with the flaws listed in `RunResult.flaws`."""


@dataclass(frozen=True)
class Assembled:
    """Results of all folds together, as values and as the tables of the run folder."""

    result: RunResult
    predictions: pd.DataFrame
    """One row per tested picture: image, subject, fold, label, probability, and under the protocol `paper` copy."""
    history: pd.DataFrame
    """One row per epoch of a fold: fold, and the fields of `EpochRecord`."""
    components: pd.DataFrame | None
    """One row per component of a fold: fold, component, explained_variance_ratio; None if there are none."""


def assemble(
    plan: Plan,
    system: System,
    prepared: Prepared,
    items: Items,
    folds: Sequence[Fold],
    finished: Sequence[FinishedFold],
    *,
    environments: Sequence[Mapping[str, object]],
    progress: Progress,
) -> Assembled:
    """Combine the folds.

    Parameters
    ----------
    plan : Plan
    system : System
        What was trained.
    prepared : Prepared
    items : Items
        What was split.
    folds : sequence of Fold
    finished : sequence of FinishedFold
        Results of each fold.
    environments : sequence of mapping
        Environments of the folds, in order, as returned by `describe_environment`.
    progress : Progress
        Called for each fold with the stage "evaluate".

    Returns
    -------
    Assembled
    """
    config = plan.config
    predictions = _predictions(prepared, items, folds, finished)
    stages = Stages()
    for fold in finished:
        for stage, seconds in fold.stages.items():
            stages.seconds[stage] = stages.seconds.get(stage, 0.0) + seconds
    per_fold: list[FoldFigures] = []
    with stages.timed("evaluate"):
        for number, (fold, came_to) in enumerate(zip(folds, finished, strict=True)):
            progress("evaluate", number, len(folds) + 1)
            part = predictions.query("fold == @number")
            per_fold.append(_fold_figures(number, fold, came_to, prepared, items, _figures(part, config.seed)))
        cell, subject = _figures(predictions, config.seed)
        progress("evaluate", len(folds) + 1, len(folds) + 1)
    data = describe_data(plan, prepared)
    as_original = config.protocol is Protocol.PAPER and config.backbone == PAPER
    result = RunResult(
        protocol=config.protocol,
        backbone=config.backbone,
        dataset=config.dataset.value,
        hold_out=config.hold_out,
        seed=config.seed,
        generated=prepared.generated,
        data=data,
        flaws=tuple(_flaws(plan, system, data)),
        notices=(
            *_notices(plan, prepared, per_fold, predictions),
            *_one_class_watched(plan.config, items, folds),
            *_other_environments(environments),
        ),
        environment=describe_environment(),
        stages={stage: round(seconds, 2) for stage, seconds in stages.seconds.items()},
        peak_memory_mb=max(peak_memory_mb(), *(fold.peak_memory_mb for fold in finished)),
        folds=tuple(per_fold),
        cell=cell,
        subject=subject,
        as_published=as_published(predictions["label"].to_numpy(np.int64), predictions["probability"].to_numpy(float))
        if as_original
        else None,
        # The published figure applies only to the same data set.
        published=PUBLISHED[config.dataset] if plan.dataset.layout.startswith(config.dataset) else None,
    )
    return Assembled(
        result=result,
        predictions=predictions if config.protocol is Protocol.PAPER else predictions.drop(columns="copy"),
        history=_history(finished),
        components=_components(finished),
    )


def _predictions(
    prepared: Prepared, items: Items, folds: Sequence[Fold], finished: Sequence[FinishedFold]
) -> pd.DataFrame:
    """Build one row a tested item."""
    parts = [
        pd.DataFrame(
            {
                "image": [prepared.records[place].image for place in items.image[fold.test]],
                "subject": [prepared.records[place].subject for place in items.image[fold.test]],
                "fold": number,
                "label": items.labels[fold.test],
                "probability": came_to.probabilities,
                "copy": items.copy[fold.test],
            }
        )
        for number, (fold, came_to) in enumerate(zip(folds, finished, strict=True))
    ]
    return pd.concat(parts).sort_values(["fold", "image", "copy"], ignore_index=True)


def _history(finished: Sequence[FinishedFold]) -> pd.DataFrame:
    """Build one row an epoch."""
    rows = [{"fold": number} | asdict(record) for number, fold in enumerate(finished) for record in fold.history]
    return pd.DataFrame(rows, columns=pd.Index(HISTORY_COLUMNS))


def _components(finished: Sequence[FinishedFold]) -> pd.DataFrame | None:
    """Build one row a component."""
    rows = [
        {"fold": number, "component": index, "explained_variance_ratio": share}
        for number, fold in enumerate(finished)
        for index, share in enumerate(fold.explained_variance_ratio or (), start=1)
    ]
    return pd.DataFrame(rows) if rows else None


def _figures(predictions: pd.DataFrame, seed: int) -> tuple[Metrics, Metrics | None]:
    """Compute the figures by cell and, where there are subjects, by subject."""
    labels = predictions["label"].to_numpy(np.int64)
    probabilities = predictions["probability"].to_numpy(np.float64)
    groups, are_subjects = _groups(predictions)
    if not are_subjects:
        return metrics_of(labels, probabilities, groups, group_name="images", seed=seed), None
    cell = metrics_of(labels, probabilities, groups, group_name="subjects", seed=seed)
    truth, means, names = per_subject(labels, probabilities, groups)
    return cell, metrics_of(truth, means, names, group_name="subjects", seed=seed)


def _groups(predictions: pd.DataFrame) -> tuple[np.ndarray, bool]:
    """Return the units of resampling, and whether they are subjects; images if any subject is unknown."""
    known = not bool(predictions["subject"].isna().to_numpy().any())
    return predictions["subject" if known else "image"].to_numpy(str), known


def _fold_figures(
    number: int,
    fold: Fold,
    finished: FinishedFold,
    prepared: Prepared,
    items: Items,
    figures: tuple[Metrics, Metrics | None],
) -> FoldFigures:
    """Collect the results of one fold."""
    shares = finished.explained_variance_ratio
    return FoldFigures(
        fold=number,
        train_cells=len(fold.train),
        validation_cells=len(fold.validation),
        test_cells=len(fold.test),
        train_subjects=_n_subjects(prepared, items, fold.train),
        test_subjects=_n_subjects(prepared, items, fold.test),
        n_components=None if shares is None else len(shares),
        explained_variance=None if shares is None else min(float(sum(shares)), 1.0),  # but for rounding
        cell=figures[0],
        subject=figures[1],
    )


def _n_subjects(prepared: Prepared, items: Items, places: np.ndarray) -> int | None:
    """Count the subjects among some items; None where they are unknown."""
    if any(record.subject is None for record in prepared.records):
        return None
    return len(np.unique(items.subjects[places]))


def describe_data(plan: Plan, prepared: Prepared) -> DataDescription:
    """Describe the data of a run."""
    dataset, records = plan.dataset, prepared.records
    owners: dict[str, set[str]] = {}
    for record, digest in zip(records, prepared.digests, strict=True):
        owners.setdefault(digest, set()).add(str(record.subject))
    known = all(record.subject is not None for record in records)
    counts = Counter(prepared.digests)
    normal, leukemic = ({record.subject for record in records if record.label == label} for label in (0, 1))
    return DataDescription(
        name=dataset.name,
        layout=dataset.layout,
        credit=dataset.credit,
        images=len(records),
        subjects=len(normal | leukemic) if known else None,
        class_names=dataset.class_names,
        cells_per_class=(sum(record.label == 0 for record in records), sum(record.label == 1 for record in records)),
        subjects_per_class=(len(normal), len(leukemic)) if known else None,
        failed=len(prepared.failures),
        duplicate_images=sum(count for count in counts.values() if count > 1),
        cross_subject_duplicates=sum(
            counts[digest] for digest, subjects in owners.items() if known and len(subjects) > 1
        ),
        digest=hashlib.sha256("\n".join(sorted(prepared.digests)).encode()).hexdigest(),
    )


def _flaws(plan: Plan, system: System, data: DataDescription) -> Iterator[Notice]:
    """Name what is wrong with the protocol on these data."""
    protocol, dataset = plan.config.protocol, plan.dataset
    if protocol is Protocol.HONEST:
        return
    if protocol is Protocol.PAPER:
        yield from system.flaws
    if dataset.no_subject_reason is not None:
        yield _flaw(
            "unknown_subjects",
            "ALL-IDB has no patient ids: all crops of ALL-IDB2 are cut from images of ALL-IDB1, some images overlap,"
            " and it is unknown which images show the same person."
            if dataset.layout.startswith("all-idb")
            else "The subjects of the images are unknown.",
        )
        return
    yield _flaw("split_subjects", "Cells of one subject are on both sides of the split.")
    if shared := data.cross_subject_duplicates:
        yield _flaw(
            "shared_images",
            f"{shared} images with identical pixels are filed under more than one subject, and are on both sides of"
            " the split.",
            images=shared,
        )


def _flaw(code: str, text: str, **values: int) -> Notice:
    """Build the notice of a flaw."""
    return Notice(code, text, Severity.WARNING, values)


def _notices(
    plan: Plan, prepared: Prepared, folds: Sequence[FoldFigures], predictions: pd.DataFrame
) -> Iterator[Notice]:
    """State where the run differs from its settings, and what its figures do not show."""
    config = plan.config
    fewest = min((fold.n_components for fold in folds if fold.n_components), default=config.n_components)
    if fewest < config.n_components:
        yield Notice(
            "fewer_components",
            f"{config.n_components} components were requested, but only {fewest} are possible with so few images and"
            " were used.",
            values={"asked": config.n_components, "used": fewest},
        )
    if failed := len(prepared.failures):
        yield Notice(
            "failed_images",
            f"{number_of(failed, 'image')} could not be used; failures.csv lists each with the reason.",
            Severity.WARNING,
            {"images": failed},
        )
    if (joined := plan.joined) and joined.subjects:
        where = "in the split and in intervals" if config.protocol is Protocol.HONEST else "in intervals"
        yield Notice(
            "joined_subjects",
            f"Subjects with overlapping images, from the groups of an audit, count as one {where}: {joined.subjects}"
            f" subjects are joined into {joined.into}.",
            values={"subjects": joined.subjects, "into": joined.into},
        )
    yield from _both_classes(prepared)
    if config.max_cells is not None:
        yield Notice(
            "max_cells",
            f"At most {config.max_cells} cells were used, spread over the subjects.",
            values={"max_cells": config.max_cells},
        )
    fewest_cells = min(fold.train_cells for fold in folds)
    if config.batch_size > fewest_cells:
        yield Notice(
            "large_batch",
            f"A batch holds {config.batch_size} cells, more than the {fewest_cells} in a training part: an epoch is a"
            " single step.",
            Severity.WARNING,
            {"batch_size": config.batch_size, "cells": fewest_cells},
        )
    if config.hold_out:
        yield _held_out(folds[0], prepared, config.protocol)
    yield from _few_subjects(predictions)


def _both_classes(prepared: Prepared) -> Iterator[Notice]:
    """Name the subjects with images of both classes."""
    labels_of: dict[str, set[int | None]] = {}
    for record in prepared.records:
        if record.subject is not None:
            labels_of.setdefault(record.subject, set()).add(record.label)
    if both := sorted(subject for subject, labels in labels_of.items() if len(labels) > 1):
        yield Notice(
            "both_classes",
            f"{number_of(len(both), 'subject has', 'subjects have')} images of both classes ({', '.join(both)[:80]})."
            " In results by subject they count as leukemic. Check the labels, and why the subjects were joined.",
            Severity.WARNING,
            {"subjects": len(both)},
        )


def _held_out(fold: FoldFigures, prepared: Prepared, protocol: Protocol) -> Notice:
    """State the share of the data that was tested."""
    # Under `paper`, copies are tested too, and the validation cells are the test cells.
    n = fold.train_cells + fold.test_cells if protocol is Protocol.PAPER else len(prepared.records)
    whose = ""
    values: Mapping[str, int] = {"tested": fold.test_cells, "cells": n}
    if fold.test_subjects is not None:
        n_subjects = len({record.subject for record in prepared.records})
        whose = f", of {fold.test_subjects} of {number_of(n_subjects, 'subject')}"
        values = {**values, "tested_subjects": fold.test_subjects, "subjects": n_subjects}
    held_out = f"{fold.test_cells} of {number_of(n, 'cell')} ({fold.test_cells / n:.0%}){whose}"
    return Notice(
        "held_out",
        f"One part was held out and tested, {held_out}; there is no cross-validation.",
        values=values,
    )


def _one_class_watched(config: RunConfig, items: Items, folds: Sequence[Fold]) -> Iterator[Notice]:
    """Count the folds in which the learning rate depends on one class only."""
    if config.protocol is Protocol.PAPER:
        return
    lacking = sum(len(np.unique(items.labels[fold.validation])) == 1 for fold in folds)
    if lacking:
        yield Notice(
            "one_class_validation",
            f"In {lacking} of {number_of(len(folds), 'fold')} the validation cells are of one class, because the other"
            " class has too few subjects to hold any back. There, the learning rate depends on one class only.",
            Severity.WARNING,
            {"folds": lacking},
        )


def _other_environments(environments: Sequence[Mapping[str, object]]) -> Iterator[Notice]:
    """State that a run was continued elsewhere, or with another number of threads."""
    changed = {
        name: ", then ".join(str(one[name]) for one in environments)
        for name in environments[0]
        if len({str(one[name]) for one in environments}) > 1
    }
    if changed:
        what = "; ".join(f"{name}: {values}" for name, values in changed.items())
        yield Notice(
            "other_environment",
            f"The run was interrupted and continued in another environment ({what}). Rounding differs there, so the"
            " figures can differ from those of an uninterrupted run.",
            Severity.WARNING,
            changed,
        )


def _few_subjects(predictions: pd.DataFrame) -> Iterator[Notice]:
    """State that there are too few subjects, or images if subjects are unknown, to draw conclusions."""
    groups, are_subjects = _groups(predictions)
    normal, leukemic = groups_per_class(predictions["label"].to_numpy(np.int64), groups)
    unit = "subject" if are_subjects else "image"
    values = {"normal": normal, "leukemic": leukemic}
    tested = f"{normal} normal and {number_of(leukemic, f'leukemic {unit}')}"
    if min(normal, leukemic) < FEWEST_SUBJECTS:
        yield Notice(
            "too_few_subjects",
            f"The figures are based on {tested}: with fewer than {FEWEST_SUBJECTS} of a class, there are no intervals"
            " or tests, and nothing can be concluded.",
            Severity.WARNING,
            values,
        )
    elif are_subjects and min(normal, leukemic) < FEW_SUBJECTS:
        yield Notice(
            "few_subjects",
            f"The figures are based on {tested}: with fewer than {FEW_SUBJECTS} of a class, intervals from resampling"
            " are too narrow.",
            Severity.WARNING,
            values,
        )
