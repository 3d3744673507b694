"""What each leak adds: the same network under three protocols, and the differences with intervals.

The three runs are those of `experiments.run`, each in its own folder, and can be resumed. They predict the same images,
so the differences are paired: whole subjects are resampled, and the figures of both runs are computed on them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from leukospike.datasets import DataSet
from leukospike.evaluation.estimates import NO_INTERVAL, Estimate, suffice, too_few_words
from leukospike.jobs import Progress, silent
from leukospike.settings import PAPER, Protocol, RunConfig

MEASURES = ("accuracy", "roc_auc")

_COPIES = "altered copies of one picture on both sides"
_FITS = "z-score, PCA and learning rate fitted with the test images"
_PERSONS = "different cells of one person on both sides"


@dataclass(frozen=True)
class Arm:
    """Results under one protocol."""

    protocol: Protocol
    figures: Mapping[str, Estimate]
    """By measure."""
    n_tested: int
    """Number of tested pictures; under ``paper`` including augmented copies."""


@dataclass(frozen=True)
class Worth:
    """Increase of each measure due to a leak."""

    leak: str
    between: tuple[Protocol, Protocol]
    gains: Mapping[str, Estimate]
    """By measure."""


@dataclass(frozen=True)
class Leaks:
    """Effect of all leaks on these data, with this network."""

    arms: tuple[Arm, ...]
    worth: tuple[Worth, ...]
    """One per leak, and, if there are several, all of them together as the last."""
    interval: str
    """How the intervals were computed, or why they are unknown."""
    backbone: str
    """Network that was trained."""
    epochs: int
    seed: int


def measure_leaks(dataset: DataSet, config: RunConfig, runs: Path, *, progress: Progress = silent) -> Leaks:
    """Train under each protocol that the data permit, and compare.

    Parameters
    ----------
    dataset : DataSet
        With labels. Without subjects, the protocol that splits by subject is left out.
    config : RunConfig
        Its protocol is ignored.
    runs : Path
        Folder of the runs ``paper``, ``image`` and ``honest``; existing runs are resumed.
    progress : Progress

    Returns
    -------
    Leaks

    Raises
    ------
    DataError, SplitError, RunError
        As of `run_experiment`.
    """
    from leukospike.experiments.folder import read_run  # slow to load, and only `run` needs it
    from leukospike.experiments.run import run_experiment

    has_subjects = all(record.subject is not None for record in dataset.records)
    group = "subject" if has_subjects else "image"
    protocols = [Protocol.PAPER, Protocol.IMAGE, *([Protocol.HONEST] if has_subjects else [])]
    predictions: dict[Protocol, pd.DataFrame] = {}
    arms: list[Arm] = []
    for protocol in protocols:
        run = runs / protocol.value

        def told(stage: str, done: int, total: int, protocol: Protocol = protocol) -> None:
            progress(f"{protocol.value}: {stage}", done, total)

        finished = run_experiment(
            dataset,
            replace(config, protocol=protocol),
            run,
            resume=(run / "config.toml").exists(),
            progress=told,
        )
        cell = finished.result.cell
        arms.append(Arm(protocol, {name: cell[name] for name in MEASURES}, cell.n))
        predictions[protocol] = read_run(run).predictions
    # Backbones other than the original fit nothing before the split, and their learning rate follows a schedule.
    copies = f"{_COPIES}; {_FITS}" if config.backbone == PAPER else _COPIES
    steps = {(Protocol.PAPER, Protocol.IMAGE): copies}
    if has_subjects:
        steps[(Protocol.IMAGE, Protocol.HONEST)] = _PERSONS
        steps[(protocols[0], protocols[-1])] = "all of these together"
    worth = tuple(
        Worth(leak, between, _gains(predictions[between[0]], predictions[between[1]], group, config.seed))
        for between, leak in steps.items()
    )
    drawn = predictions[Protocol.PAPER]
    enough = suffice(drawn["label"].to_numpy(int), drawn[group].to_numpy(str))
    n = drawn[group].nunique()
    interval = (
        f"95 %, from resampling {n} {group}s with replacement 1,000 times, in the same way for both protocols"
        if enough
        else too_few_words(f"{group}s")
    )
    return Leaks(tuple(arms), worth, interval, config.backbone, config.epochs, config.seed)


def leaks_as_json(leaks: Leaks) -> dict[str, object]:
    """Return the figures in the format of `audit.json`."""
    return {
        "backbone": leaks.backbone,
        "epochs": leaks.epochs,
        "seed": leaks.seed,
        "interval": leaks.interval,
        "protocols": [
            {"protocol": arm.protocol.value, "tested": arm.n_tested}
            | {name: _as_list(arm.figures[name]) for name in MEASURES}
            for arm in leaks.arms
        ],
        "worth": [
            {"leak": entry.leak, "from": entry.between[0].value, "to": entry.between[1].value}
            | {name: _as_list(gain) for name, gain in entry.gains.items()}
            for entry in leaks.worth
        ],
    }


def _as_list(estimate: Estimate) -> list[float | None]:
    """Return value, low and high."""
    return [estimate.value, estimate.low, estimate.high]


def _gains(flattering: pd.DataFrame, plain: pd.DataFrame, group: str, seed: int) -> dict[str, Estimate]:
    """Compute the difference of each measure, first table minus second, with its interval."""
    from leukospike.evaluation.paired import metric_differences  # slow to load, as above

    first, second = (
        (table["label"].to_numpy(int), table["probability"].to_numpy(float), table[group].to_numpy(str))
        for table in (flattering, plain)
    )
    enough = all(suffice(labels, groups) for labels, _, groups in (first, second))
    found = metric_differences(first, second, names=MEASURES, seed=seed)
    return {name: Estimate.of(gain, span if enough else NO_INTERVAL) for name, (gain, span) in found.items()}


def protocol_names(protocols: Sequence[Protocol]) -> list[str]:
    """Describe each protocol."""
    words = {
        Protocol.PAPER: "the original protocol, with all leaks",
        Protocol.IMAGE: "split by image, fitted on the training part only",
        Protocol.HONEST: "split by subject",
    }
    return [words[protocol] for protocol in protocols]
