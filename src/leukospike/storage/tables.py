"""CSV tables: writing, and reading of user-provided ones.

A spreadsheet treats a cell that begins with ``=``, ``+``, ``-`` or ``@`` as a formula, and file names may begin so.
Such text is written with a leading apostrophe, which is removed on reading; text that already has one gets a second, so
that every text is restored exactly. Numbers, including negative ones, are written unchanged, also in text columns.
"""

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from leukospike.errors import DataError
from leukospike.storage.files import written_whole

if TYPE_CHECKING:
    import pandas  # slow to load, and most commands write no table

_NO_TEXT = "biufcmM"  # kinds of columns
_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")  # the last four: the wide forms of the first
_ESCAPED = re.compile(f"'{_FORMULA.pattern}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]inf")


def harmless(text: str) -> str:
    """Put an apostrophe before text that a spreadsheet would treat as a formula.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
        `restored` returns `text` again.

    Examples
    --------
    >>> [harmless(text) for text in ("=1+1", "'=1", "-0.5", "-a.png", "cell.png", "'tis")]
    ["'=1+1", "''=1", '-0.5', "'-a.png", 'cell.png', "'tis"]
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def restored(text: str) -> str:
    """Remove the apostrophe added by `harmless`.

    Parameters
    ----------
    text : str

    Returns
    -------
    str

    Examples
    --------
    >>> [restored(text) for text in ("'=1+1", "''=1", "-0.5", "'tis")]
    ['=1+1', "'=1", '-0.5', "'tis"]
    """
    return text[1:] if _ESCAPED.match(text) else text


def table_text(table: "pandas.DataFrame") -> str:
    """Return a table as CSV, its text made harmless for spreadsheets.

    Parameters
    ----------
    table : DataFrame

    Returns
    -------
    str
        Lines end in a line feed.
    """
    safe = _harmless_table(table)
    texts = [place for place, kind in enumerate(safe.dtypes) if kind.kind not in _NO_TEXT]
    quoting = _quoting(safe.iloc[:, place] for place in texts)
    return safe.to_csv(index=False, lineterminator="\n", quoting=quoting)


def write_table(path: Path, table: "pandas.DataFrame", *, for_excel: bool = False) -> None:
    """Write a CSV file in UTF-8 atomically, with text made harmless for spreadsheets.

    Parameters
    ----------
    path : Path
        Its folder is created if missing; an existing file is replaced.
    table : DataFrame
    for_excel : bool
        Begin with a byte order mark: without one, Excel misreads non-English letters.
    """
    with written_whole(path) as part:
        part.write_bytes(table_text(table).encode(_encoding(for_excel)))


def write_rows(
    path: Path, header: Sequence[str], rows: Iterable[Sequence[str | int]], *, for_excel: bool = False
) -> None:
    """Write a CSV file as `write_table` does, from rows.

    Parameters
    ----------
    path : Path
    header : sequence of str
        Names of the columns.
    rows : iterable of sequences of str or int
    for_excel : bool
    """
    encoding = _encoding(for_excel)
    # File names may hold bytes that are not valid text; these are escaped.
    with written_whole(path) as part, part.open("w", encoding=encoding, errors="backslashreplace", newline="") as file:
        safe = [[harmless(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
        writer = csv.writer(file, lineterminator="\n", quoting=_quoting(safe))
        writer.writerow(header)
        writer.writerows(safe)


def read_rows(path: Path, columns: Sequence[str], *, where: str) -> list[tuple[int, dict[str, str]]]:
    """Read a CSV file in UTF-8 that a person or a spreadsheet may have written.

    Parameters
    ----------
    path : Path
    columns : sequence of str
        Required columns; "split|fold" means one of the two, or both.
    where : str
        Name of the caller, which begins the error.

    Returns
    -------
    list of (int, dict of str to str)
        Number of the line, and its values by column: names of columns in lower case, with values as before `harmless`.
        Empty lines are left out.

    Raises
    ------
    DataError
        If the file cannot be read, is not CSV in UTF-8, lacks a column, names one twice, or has a line with more or
        fewer values; the line is named.
    """
    try:
        # utf-8-sig: spreadsheets put a byte order mark before the first column's name.
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            header = [name.strip().casefold() for name in next(lines, [])]
            if not all(set(name.split("|")) & set(header) for name in columns) or len(set(header)) < len(header):
                raise DataError(
                    f"{path.name} must begin with the columns {','.join(columns).replace('|', ' or ')}, each once and"
                    " separated by commas",
                    where=where,
                    got=f"'{','.join(header)[:80] or 'an empty table'}'",
                    advice="Correct its first line.",
                )
            rows: list[tuple[int, dict[str, str]]] = []
            for values in lines:
                if not any(value.strip() for value in values):
                    continue
                if len(values) != len(header):
                    raise DataError(
                        f"{path.name} line {lines.line_num} must have {len(header)} fields",
                        where=where,
                        got=len(values),
                        advice="Correct it; a value with a comma needs quotes.",
                    )
                if any("\0" in value for value in values):
                    raise DataError(
                        f"{path.name} line {lines.line_num} must be text",
                        where=where,
                        got="a NUL byte",
                        advice="Correct it or export the table again.",
                    )
                rows.append((lines.line_num, dict(zip(header, map(restored, values), strict=True))))
            return rows
    except OSError as error:
        raise DataError(
            f"{path.name} must be a readable CSV table",
            where=where,
            got=f"'{error.strerror or error}'",
            advice="Check that it exists, and check its permissions.",
        ) from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(
            f"{path.name} must be a CSV table in UTF-8",
            where=where,
            got=f"one that is not ({error})",
            advice="Export it again.",
        ) from error


def _encoding(for_excel: bool) -> str:  # noqa: FBT001 - as the option above
    """Return the name of the encoding."""
    return "utf-8-sig" if for_excel else "utf-8"


def _quoting(cells: Iterable[Iterable[object]]) -> Literal[0, 2]:
    """Quote all text of a table with a carriage return in it, which Python before 3.13 leaves bare: it ends a line."""
    has_return = any(isinstance(cell, str) and "\r" in cell for some in cells for cell in some)
    return csv.QUOTE_NONNUMERIC if has_return else csv.QUOTE_MINIMAL


def _harmless_table(table: "pandas.DataFrame") -> "pandas.DataFrame":
    """Return a table with its text made harmless; the table itself is unchanged."""
    safe = table.copy(deep=False)
    for place, kind in enumerate(table.dtypes):
        if kind.kind not in _NO_TEXT:
            cells = list(table.iloc[:, place])
            if any(isinstance(cell, str) and harmless(cell) != cell for cell in cells):
                safe.isetitem(place, [harmless(cell) if isinstance(cell, str) else cell for cell in cells])
    return safe
