"""Notices that come with a result: caveats or remarks, as text and as data."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Severity(StrEnum):
    """How important a notice is."""

    INFO = "info"
    """Good to know; the figures can be read as they are."""
    WARNING = "warning"
    """Limits what can be concluded from the figures."""


@dataclass(frozen=True)
class Notice:
    """One thing to know about a result.

    The text is a sentence or two. Arguments are written in backticks, such as `max_cells`, which a front end may show
    as its own options.

    Attributes
    ----------
    code : str
        Kind of notice, for programs.
    text : str
    severity : Severity
    values : mapping of str to str, int or float
        The figures in the text.

    Examples
    --------
    >>> notice = Notice("few_subjects", "Only 3 subjects are normal.", Severity.WARNING, {"normal": 3})
    >>> str(notice)
    'Only 3 subjects are normal.'
    >>> Notice.from_json(notice.to_json()) == notice
    True
    >>> Notice.from_json("As an old folder has it.").code
    'note'
    """

    code: str
    text: str
    severity: Severity = Severity.INFO
    values: Mapping[str, str | int | float] = field(default_factory=dict[str, str | int | float])

    def __str__(self) -> str:
        """Return the text."""
        return self.text

    def to_json(self) -> dict[str, object]:
        """Return the notice as JSON data."""
        return {
            "code": self.code,
            "text": self.text,
            "severity": self.severity.value,
            "values": dict(self.values),
        }

    @classmethod
    def from_json(cls, content: object) -> "Notice":
        """Read the output of `to_json`; a plain string, as in older folders, is the text alone.

        Raises
        ------
        ValueError
            If `content` is neither.
        """
        if isinstance(content, str):
            return cls("note", content)
        match content:
            case {"code": str(code), "text": str(text), "severity": str(severity), "values": Mapping() as values}:
                known = {str(name): value for name, value in values.items() if isinstance(value, str | int | float)}
                if len(known) == len(values):
                    return cls(code, text, Severity(severity), known)
            case _:
                pass
        msg = f"a notice must have code, text, severity and values, got {content!r:.80}"
        raise ValueError(msg)


def as_options(text: str) -> str:
    """Replace arguments in backticks by their command-line options.

    Examples
    --------
    >>> as_options("Pass `pixel_size` for all images.")
    'Pass --pixel-size for all images.'
    """
    return re.sub(r"`([a-z_]+)`", lambda match: "--" + match[1].replace("_", "-"), text)
