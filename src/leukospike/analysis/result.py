"""What an analysis gives: tables, notices, figures, and the folder that holds its pictures."""

import shutil
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pandas as pd
from jaxtyping import UInt8

from leukospike.analysis.folder import AnalysisFolder, read_summary, read_tables
from leukospike.analysis.summary import Summary
from leukospike.analysis.tables import Tables, counted_cells
from leukospike.classification.explanation import Explanation, read_explanations
from leukospike.failures import Failure, read_failures
from leukospike.notices import Notice
from leukospike.storage.files import whole_folder


class TemporaryFolder:
    """A folder that goes with this object."""

    def __init__(self) -> None:
        self.path = Path(mkdtemp(prefix="leukospike-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


@dataclass(frozen=True)
class Analysis:
    """Cells, what is said of each, and of each subject.

    Shows itself in a notebook as its table of subjects, or of cells where no subject is known.
    """

    tables: Tables
    failures: tuple[Failure, ...]
    summary: Summary
    folder: Path
    """Of all files; of an analysis that was not asked to keep them, one that goes with this object."""
    temporary: TemporaryFolder | None = field(default=None, repr=False, compare=False)
    """What removes such a folder with this object."""

    @property
    def cells(self) -> pd.DataFrame:
        """One row a cell, see `tables.Tables`."""
        return self.tables.cells

    @property
    def subjects(self) -> pd.DataFrame:
        """One row a subject of whom a cell is counted, see `tables.Tables`."""
        return self.tables.subjects

    @property
    def images(self) -> pd.DataFrame:
        """One row an image, see `tables.Tables`."""
        return self.tables.images

    @property
    def counted(self) -> pd.DataFrame:
        """The rows of `cells` that count for subjects and images."""
        return counted_cells(self.cells)

    @property
    def notices(self) -> tuple[Notice, ...]:
        """What a reader should know."""
        return self.summary.notices

    @property
    def explanations(self) -> tuple[Explanation, ...]:
        """Why some cells got their probability; empty where that was not asked for.

        Raises
        ------
        RunError
            If the files were changed.
        """
        return read_explanations(self.folder)

    def overlay(self, image: str) -> Path | None:
        """Return the picture of a field with numbered outlines; None of an image of a single cell.

        Parameters
        ----------
        image : str
            As in the tables.
        """
        names = self.images.loc[self.images["image"] == image, "overlay"].dropna().to_list()
        return self.folder / names[0] if names and names[0] and (self.folder / names[0]).is_file() else None

    def thumbnails(self, cells: Sequence[tuple[str, int]]) -> list[UInt8[np.ndarray, "side side 3"] | None]:
        """Return small pictures of some cells.

        Parameters
        ----------
        cells : sequence of (str, int)
            Image and number of each, as in the table; 0 where a cell has no number.

        Returns
        -------
        list of ndarray of shape (side, side, 3), uint8, or None
            None where none was kept.
        """
        return AnalysisFolder(self.folder).thumbnails(cells)

    def save(self, folder: str | Path) -> Path:
        """Copy all files, tables among them, to a new folder.

        Parameters
        ----------
        folder : str or Path
            New or empty.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        RunError
            If the folder holds something.
        """
        with whole_folder(Path(folder), where="Analysis.save") as part:
            shutil.copytree(self.folder, part, dirs_exist_ok=True)
        return Path(folder)

    def report(self, path: str | Path) -> Path:
        """Write the report, one HTML file that needs nothing but itself.

        Parameters
        ----------
        path : str or Path
            Of the file; what was there is replaced.

        Returns
        -------
        Path
            The file.
        """
        from leukospike.report.analyses import (
            write_analysis_report,  # a result shows itself; the page is drawn above it
        )

        return write_analysis_report(self, Path(path))

    def _repr_html_(self) -> str:
        """Show the figures and a table in a notebook."""
        shown = self.subjects if len(self.subjects) else self.cells
        notices = "".join(f"<li>{escape(str(notice))}</li>" for notice in self.notices)
        table = shown.to_html(index=False, max_rows=20, border=0)
        return f"<p>{escape(str(self.summary))}. Research use only, not a diagnosis.</p>{table}<ul>{notices}</ul>"


def load_analysis(folder: str | Path) -> Analysis:
    """Load the folder of a finished analysis.

    Parameters
    ----------
    folder : str or Path
        As `leukospike analyze` or `Analysis.save` left it; also of version 0.1.0.

    Returns
    -------
    Analysis

    Raises
    ------
    RunError
        If a file is missing, cannot be read, or does not hold what an analysis writes.
    """
    path = Path(folder)
    summary = read_summary(path)
    return Analysis(read_tables(path, summary), read_failures(path), summary, path)
