"""Shared by `train` and `reproduce`: settings from options, a file and a preset, and the run itself."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from leukospike.cli.console import out_console, progress_bars, tell
from leukospike.cli.outcome import end, refuse_inside
from leukospike.errors import ConfigError
from leukospike.plurals import number_of
from leukospike.settings import PAPER, Preset, RunConfig, read_settings

if TYPE_CHECKING:
    from leukospike.experiments.results import RunResult  # slow to load, and --help needs none


def conduct(
    data: Path,
    out: Path,
    preset: Preset,
    options: dict[str, Any],
    config: Path | None,
    *,
    groups: Path | None,
    resume: bool,
    hold_out: bool,
    positive: list[str] | None,
    negative: list[str] | None,
) -> None:
    """Run an experiment, write its report, and print a summary."""
    from leukospike import datasets
    from leukospike.experiments.folder import RunFolder, read_joined
    from leukospike.experiments.run import run_experiment
    from leukospike.report import write_report

    refuse_inside(out, [data])
    run_config = settings_of(preset, options, config, hold_out=hold_out)
    if config is not None and groups is None and (joined := read_joined(config)) and joined.subjects:
        rule = (
            f"`config` must be used with the groups of its run, which join {joined.subjects} subjects into"
            f" {joined.into}"
        )
        raise ConfigError(
            rule, where="settings", got=f"{config} without them", advice="Pass the same table with `groups`."
        )
    dataset = datasets.read_dataset(data, positive=positive, negative=negative)
    if groups is not None:
        from leukospike.auditing import join_subjects

        dataset = join_subjects(dataset, groups)
    with progress_bars() as progress:
        finished = run_experiment(dataset, run_config, out, resume=resume, progress=progress)
    out_console.print(_in_one_line(finished.result))
    report = write_report(out)
    tell(finished.result.notices)
    out_console.print(f"Report: {report}")
    n_files = finished.result.data.images + len(finished.failures)
    end(finished.failures, n_files, see=RunFolder(out).failures)


def _in_one_line(result: "RunResult") -> str:
    """Print a summary."""
    from leukospike.report.words import interval_words, number

    cell = result.cell
    area = cell["roc_auc"]
    backbone = "" if result.backbone == PAPER else f", backbone {result.backbone}"
    start = (
        f"{result.protocol} protocol{backbone}, {number_of(cell.n, 'cell')}: accuracy {number(cell['accuracy'].value)}"
    )
    if not cell.has_intervals:
        return f"{start}, ROC AUC {number(area.value)} (interval {cell.interval})"
    if not area.is_known:
        return f"{start}, ROC AUC {number(area.value)} (interval unknown: every resample gives the same value)"
    return f"{start}, ROC AUC {number(area.value)} (interval {interval_words(area)}, {cell.interval})"


def settings_of(preset: Preset, options: dict[str, Any], config: Path | None, *, hold_out: bool = False) -> RunConfig:
    """Combine settings: options override the file, which overrides the preset."""
    settings: dict[str, Any] = {"n_folds": 5} if hold_out else {}
    if config is not None:
        # The command says what is run; the file says how.
        settings |= {name: value for name, value in read_settings(config).items() if name != "dataset"}
    settings |= {name: value for name, value in options.items() if value is not None}
    settings["hold_out"] = hold_out
    return RunConfig.preset(preset, settings)
