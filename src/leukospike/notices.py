"""What a result says about itself: a caveat or a remark, as a sentence and as data."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Severity(StrEnum):
    """How much a reader has to take notice."""

    INFO = "info"
    """Good to know; the figures can be read as they stand."""
    WARNING = "warning"
    """Changes what may be concluded from the figures."""


@dataclass(frozen=True)
class Notice:
    """One thing to know about a result.

    As text it is a sentence or two; an argument is written in backticks, such as `max_cells`, which a door may show as
    its own option.

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
        """Return the notice in terms of JSON."""
        return {
            "code": self.code,
            "text": self.text,
            "severity": self.severity.value,
            "values": dict(self.values),
        }

    @classmethod
    def from_json(cls, content: object) -> "Notice":
        """Read what `to_json` returned; a plain string, as older folders have it, is the text alone.

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
    """Show arguments, which stand in backticks, as the options of the command line that they are.

    Examples
    --------
    >>> as_options("Give `pixel_size`, which holds for all.")
    'Give --pixel-size, which holds for all.'
    """
    return re.sub(r"`([a-z_]+)`", lambda match: "--" + match[1].replace("_", "-"), text)
