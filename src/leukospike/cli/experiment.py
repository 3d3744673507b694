"""What `train` and `reproduce` have in common: settings from options, a file and a preset, and one run."""

from pathlib import Path
from typing import Any

from leukospike import datasets
from leukospike.cli.console import out_console, progress_bars, say
from leukospike.cli.outcome import end, refuse_inside
from leukospike.errors import ConfigError
from leukospike.plurals import number_of
from leukospike.settings import PAPER, Preset, RunConfig, read_settings


def run_experiment(
    data: Path,
    out: Path,
    preset: Preset,
    options: dict[str, Any],
    config: Path | None,
    *,
    groups: Path | None,
    resume: bool,
    hold_out: bool,
) -> None:
    """Run a protocol."""
    from leukospike.experiments.protocols import run_protocol
    from leukospike.experiments.runs import read_groups
    from leukospike.report import write_report

    refuse_inside(out, [data])
    run_config = settings_of(preset, options, config, hold_out=hold_out)
    if config is not None and groups is None and (joined := read_groups(config)).get("subjects"):
        msg = (
            f"settings: --config must go with its run's groups, which make {joined['subjects']} subjects"
            f" {joined['into']}, got {config} without. Give the same table with --groups."
        )
        raise ConfigError(msg)
    dataset = datasets.read_dataset(data)
    if groups is not None:
        from leukospike.audit import join_subjects

        dataset = join_subjects(dataset, groups)
    with progress_bars() as progress:
        outcome = run_protocol(dataset, run_config, out, resume=resume, progress=progress)
    cell = outcome.metrics["pooled"]["cell"]
    area = cell["roc_auc"]
    if area["value"] is not None:
        backbone = "" if run_config.backbone == PAPER else f", backbone {run_config.backbone}"
        out_console.print(
            f"{run_config.protocol} protocol{backbone}, {number_of(cell['n'], 'cell')}:"
            f" accuracy {cell['accuracy']['value']:.3f},"
            f" ROC AUC {area['value']:.3f} (interval {area['low']:.3f} to {area['high']:.3f}, {cell['interval']}"
            f"{'; too few subjects for it to vary' if area['low'] == area['high'] else ''})",
        )
    report = write_report(out)
    for notice in outcome.metrics["notices"]:
        say(notice)
    out_console.print(f"Report: {report}")
    end(outcome.failures, outcome.metrics["data"]["images"] + len(outcome.failures), see=out / "failures.csv")


def settings_of(preset: Preset, options: dict[str, Any], config: Path | None, *, hold_out: bool = False) -> RunConfig:
    """Put settings together: options go before the file's, and those before the preset's."""
    settings: dict[str, Any] = {"n_folds": 5} if hold_out else {}
    if config is not None:
        # The command says what is run; the file says how.
        settings |= {name: value for name, value in read_settings(config).items() if name != "dataset"}
    settings |= {name: value for name, value in options.items() if value is not None}
    settings["hold_out"] = hold_out
    return RunConfig.preset(preset, settings)
