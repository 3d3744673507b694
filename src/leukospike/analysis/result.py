"""The result of an analysis: tables, notices, figures, and the folder of its pictures."""

import shutil
import weakref
from collections.abc import Mapping, Sequence
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
from leukospike.notices import Notice, as_html
from leukospike.storage.files import whole_folder


class TemporaryFolder:
    """A folder that is removed with this object."""

    def __init__(self) -> None:
        self.path = Path(mkdtemp(prefix="leukospike-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


@dataclass(frozen=True)
class Analysis:
    """Results of an analysis for cells, images and subjects.

    A notebook shows it as the table of subjects, or of cells if no subject is known.
    """

    tables: Tables
    failures: tuple[Failure, ...]
    summary: Summary
    folder: Path
    """Folder of all files; a temporary one, removed with this object, if none was given."""
    temporary: TemporaryFolder | None = field(default=None, repr=False, compare=False)
    """Removes a temporary folder together with this object."""
    sources: Mapping[str, Path] = field(default_factory=dict[str, Path], repr=False, compare=False)
    """File of each image, from which the report cuts cells in their surroundings; empty of a loaded folder, which does
    not record where the images lie."""

    @property
    def cells(self) -> pd.DataFrame:
        """One row per cell, see `tables.Tables`."""
        return self.tables.cells

    @property
    def subjects(self) -> pd.DataFrame:
        """One row per subject with a counted cell, see `tables.Tables`."""
        return self.tables.subjects

    @property
    def differential(self) -> pd.DataFrame:
        """One row per subject and kind, see `tables.Tables`."""
        return self.tables.differential

    @property
    def images(self) -> pd.DataFrame:
        """One row per image, see `tables.Tables`."""
        return self.tables.images

    @property
    def counted(self) -> pd.DataFrame:
        """The rows of `cells` that count for subjects and images."""
        return counted_cells(self.cells)

    @property
    def notices(self) -> tuple[Notice, ...]:
        """Notices for the reader."""
        return self.summary.notices

    @property
    def explanations(self) -> tuple[Explanation, ...]:
        """Explanations of some cells; empty if none were requested.

        Raises
        ------
        RunError
            If the files were changed.
        """
        return read_explanations(self.folder)

    def overlay(self, image: str) -> Path | None:
        """Return the picture of a field with numbered outlines; None for an image of a single cell.

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
            Image and number of each, as in the table; 0 if a cell has no number.

        Returns
        -------
        list of ndarray of shape (side, side, 3), uint8, or None
            None if none was stored.
        """
        return AnalysisFolder(self.folder).thumbnails(cells)

    def save(self, folder: str | Path) -> Path:
        """Copy all files, including the tables, to a new folder.

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
            If the folder is not empty.
        """
        with whole_folder(Path(folder), where="Analysis.save") as part:
            shutil.copytree(self.folder, part, dirs_exist_ok=True)
        return Path(folder)

    def report(self, path: str | Path) -> Path:
        """Write the report, one self-contained HTML file.

        Parameters
        ----------
        path : str or Path
            Path of the file; an existing file is replaced.

        Returns
        -------
        Path
            The file.
        """
        # A result displays itself, but the page is drawn on a layer above it.
        from leukospike.report.analyses import write_analysis_report

        return write_analysis_report(self, Path(path))

    def _repr_html_(self) -> str:
        """Show the figures and a table in a notebook."""
        shown = self.subjects if len(self.subjects) else self.cells
        table = shown.to_html(index=False, max_rows=20, border=0)
        said = f"<p>{escape(str(self.summary))}. Research use only, not a diagnosis.</p>"
        return f'{said}<div style="overflow-x: auto">{table}</div>{as_html(self.notices)}'


def load_analysis(folder: str | Path) -> Analysis:
    """Load the folder of a finished analysis.

    Parameters
    ----------
    folder : str or Path
        Written by `leukospike analyze` or `Analysis.save`, also of version 0.1.0.

    Returns
    -------
    Analysis

    Raises
    ------
    RunError
        If a file is missing, cannot be read, or is invalid.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import leukospike as ls
    >>> from leukospike.smears import SmearConfig, generate_cohort
    >>> with TemporaryDirectory() as folder:
    ...     config = SmearConfig(n_subjects=2, cells_per_subject=1, fields_per_subject=0)
    ...     cohort = generate_cohort(config, Path(folder) / "cohort")
    ...     _ = ls.analyze(cohort, out=Path(folder) / "analysis")
    ...     analysis = ls.load_analysis(Path(folder) / "analysis")
    >>> len(analysis.cells)
    2
    """
    path = Path(folder)
    summary = read_summary(path)
    return Analysis(read_tables(path, summary), read_failures(path), summary, path)
