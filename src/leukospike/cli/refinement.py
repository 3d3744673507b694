"""`leukospike train --start shipped`."""

from pathlib import Path

from leukospike.cli.console import out_console, progress_bars, tell
from leukospike.cli.outcome import end, refuse_inside
from leukospike.errors import ConfigError
from leukospike.settings import Start


def require_fitting(start: Start, **options: object) -> None:
    """Refuse options of a training that starts from nothing.

    Raises
    ------
    ConfigError
        If one of them is given.
    """
    for name, value in options.items():
        if value is not None:
            rule = f"`{name}` must be used without `start`"
            raise ConfigError(rule, where="settings", got=f"it with {start}", advice="Leave one of them out.")


def conduct_refinement(
    data: Path,
    out: Path,
    *,
    n_folds: int | None,
    seed: int | None,
    positive: list[str] | None,
    negative: list[str] | None,
) -> None:
    """Refine the package's classifier, and print what the result is worth."""
    from leukospike.refinement.run import FAILURES, MODEL, REPORT, RefinementConfig, refine_classifier

    refuse_inside(out, [data])
    given = {"n_folds": n_folds, "seed": seed}
    config = RefinementConfig(**{name: value for name, value in given.items() if value is not None})
    with progress_bars() as progress:
        found = refine_classifier(data, out, config, positive=positive, negative=negative, progress=progress)
    out_console.print(found.verdict.line)
    tell(found.notices)
    out_console.print(f"Model: {out / MODEL}")
    out_console.print(f"Report: {out / REPORT}")
    end(found.failures, found.n_images, see=out / FAILURES)
