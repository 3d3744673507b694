"""Errors with messages for the user.

An error is data: where it occurred, the rule that was broken, the value found instead, and what to do next. As text it
is one line::

    <where>: <rule>, got <value>. <what to do next>

A front end (command line, page, notebook) may format the fields for its own reader. Arguments are written in backticks,
such as `pixel_size`, which the command line shows as its option. Each class also inherits from a builtin exception, so
that callers need not know this package to catch it.
"""

from typing import Any, ClassVar


class LeukospikeError(Exception):
    """Anything this package raises on purpose.

    Parameters
    ----------
    rule : str
        What must hold, such as "n_folds must be at most 5"; alone, it is the whole message.
    where : str
        Function or step that raised the error; empty if the caller knows.
    got : object
        What was found instead; omitted if None.
    advice : str
        What to do next, a sentence or two.

    Examples
    --------
    >>> error = LeukospikeError("n_folds must be at most 5", where="subject_folds", got=9, advice="Lower n_folds.")
    >>> str(error)
    'subject_folds: n_folds must be at most 5, got 9. Lower n_folds.'
    >>> error.fields["got"]
    '9'
    """

    code: ClassVar[str] = "error"
    """Kind of error, for programs."""

    def __init__(self, rule: str, *, where: str = "", got: object = None, advice: str = "") -> None:
        super().__init__(rule)
        self.rule, self.where, self.advice = rule, where, advice
        self.got = None if got is None else str(got)

    def __str__(self) -> str:
        """Return the one line."""
        start = f"{self.where}: " if self.where else ""
        return start + self.reason

    @property
    def reason(self) -> str:
        """The line without `where`, for a reader who called no function."""
        got = "" if self.got is None else f", got {self.got}"
        stop = f". {self.advice}" if self.advice else ""
        return f"{self.rule}{got}{stop}"

    @property
    def fields(self) -> dict[str, str]:
        """The error as data: code, severity, where, rule, got, advice."""
        return {
            "code": self.code,
            "severity": "error",
            "where": self.where,
            "rule": self.rule,
            "got": "" if self.got is None else self.got,
            "advice": self.advice,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what pickle needs to rebuild the error, which may occur in another process."""
        return _rebuilt, (type(self), self.rule, self.where, self.got, self.advice)


def _rebuilt(kind: type[LeukospikeError], rule: str, where: str, got: str | None, advice: str) -> LeukospikeError:
    """Rebuild an error."""
    return kind(rule, where=where, got=got, advice=advice)


class ImageError(LeukospikeError, ValueError):
    """An image cannot be used; `where` is empty, since the caller knows the file's name."""

    code = "image"


class DataError(LeukospikeError, ValueError):
    """A folder or manifest does not hold a data set suitable for the task."""

    code = "data"


class LayoutError(DataError):
    """A folder has no known layout, so the labels of its images are unknown."""

    code = "layout"


class SplitError(LeukospikeError, ValueError):
    """The records cannot be split as requested."""

    code = "split"


class ConfigError(LeukospikeError, ValueError):
    """A setting is unknown or impossible."""

    code = "config"


class WeightsError(LeukospikeError, ValueError):
    """A weights file or run folder does not hold a usable model."""

    code = "weights"


class RunError(LeukospikeError, RuntimeError):
    """An output folder is in a state that does not allow the operation."""

    code = "run"


class FetchError(LeukospikeError, RuntimeError):
    """A download failed or did not match its checksum."""

    code = "fetch"


class ExportError(LeukospikeError, RuntimeError):
    """A model cannot be exported to another program's format."""

    code = "export"


class Cancelled(LeukospikeError, RuntimeError):  # noqa: N818 - nothing went wrong
    """Long work was cancelled by its `Job`; finished parts are kept."""

    code = "cancelled"
