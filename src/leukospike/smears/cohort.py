"""A generated data set: several subjects, their cells, and a few whole fields for each."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from leukospike.errors import ConfigError
from leukospike.images import write_png
from leukospike.jobs import Progress, silent
from leukospike.smears.cells import CROP_UM, CellKind, check_size_px, draw_cell
from leukospike.smears.fields import MAX_WHITE_CELLS, PX_PER_UM, DrawnField, draw_field
from leukospike.smears.optics import SubjectStyle, subject_style
from leukospike.storage.files import whole_folder, write_text, written_whole
from leukospike.storage.tables import write_rows

_README = """\
Generated blood smears, drawn by leukospike. No patient and no real blood is in these pictures.

They stand in for real data where there are none: to try the program, to test it, to learn its reports.
They prove nothing about leukemia. Never quote a figure that was reached on them as a result.

Command     {command}
Settings    subjects {n_subjects}, cells of each {cells_per_subject}, fields of each {fields_per_subject},
            width of a cell's picture {cell_size_px} pixels; the same settings and program give the same pictures

manifest.csv        one line a cell: path, label, subject, generated
cells/all/          lymphoblasts of the leukemic subjects (GL..), black outside the cell; 25 micrometres wide
cells/hem/          lymphocytes of the healthy subjects (GH..), likewise
fields/images/      whole fields, 640x480 pixels, 80x60 micrometres
fields/masks/       under the same names: 255 nucleus and 128 cytoplasm of white cells, 0 all else
fields/boxes.csv    image (its name without .png), label (WBC, RBC, Platelets), xmin, ymin, xmax, ymax in pixels,
                    counted from 0 at the upper left; xmax and ymax are the first column and row outside
"""


@dataclass(frozen=True, kw_only=True)
class SmearConfig:
    """What to generate.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    n_subjects: int
    """Subjects, at least 2; the first, third, ... are leukemic, the others healthy."""
    cells_per_subject: int = 40
    """Pictures of single cells of each subject, at least 1."""
    fields_per_subject: int = 2
    """Whole fields of each subject, 0 or more."""
    cell_size_px: int = 300
    """Rows and columns of a cell's picture, 64 to 1024."""
    seed: int = 0
    """Same seed, same pictures; a subject does not depend on how many there are."""

    def __post_init__(self) -> None:
        """Raise an error for impossible values."""
        check_size_px(self.cell_size_px, where="SmearConfig")
        for name, lowest, reason in (
            ("n_subjects", 2, "At least one leukemic and one healthy subject are needed."),
            ("cells_per_subject", 1, "Each subject needs at least one cell."),
            ("fields_per_subject", 0, "Use 0 for no fields."),
            ("seed", 0, "Use any whole number from 0."),
        ):
            value = getattr(self, name)
            if value < lowest:
                msg = f"`{name}` must be at least {lowest}"
                raise ConfigError(msg, where="SmearConfig", got=value, advice=reason)


@dataclass(frozen=True)
class _Subject:
    """One imagined person."""

    number: int  # from 0
    seed: int

    @property
    def leukemic(self) -> bool:
        """Return whether this person, and so every cell, is leukemic."""
        return self.number % 2 == 0

    @property
    def name(self) -> str:
        """Return the id: GL for generated leukemic, GH for generated healthy."""
        return f"G{'L' if self.leukemic else 'H'}{self.number + 1:02d}"

    def chance(self, *what: int) -> np.random.Generator:
        """Return an independent random number generator for one picture of this person."""
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(self.number, *what)))

    @property
    def style(self) -> SubjectStyle:
        """Return the stain and microscope."""
        return subject_style(self.chance(0))


def generate_cohort(config: SmearConfig, out: Path, *, progress: Progress = silent) -> Path:
    """Draw the subjects' cells and fields and write them as a data set.

    ``cells/{all,hem}/<subject>/*.png``, ``manifest.csv`` (path, label, subject, generated), ``fields/images/*.png``,
    ``fields/masks/*.png`` under the same names, ``fields/boxes.csv``, and ``README.txt``, which says that this is a
    stand-in. The metadata of each picture state that it was generated, and its pixel size. A cohort is written
    completely or not at all.

    Parameters
    ----------
    config : SmearConfig
        What to generate.
    out : Path
        New or empty folder.
    progress : Progress
        Called after each picture.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    RunError
        If `out` is not empty.
    """
    subjects = [_Subject(number, config.seed) for number in range(config.n_subjects)]
    with whole_folder(out, where="generate_cohort") as part:
        _write_cells(config, subjects, part, progress)
        _write_fields(config, subjects, part / "fields", progress)
        command = f"leukospike smears --subjects {config.n_subjects} --out {shlex.quote(out.name)} --seed {config.seed}"
        settings = {
            name: getattr(config, name)
            for name in ("n_subjects", "cells_per_subject", "fields_per_subject", "cell_size_px")
        }
        write_text(part / "README.txt", _README.format(command=command, **settings))
    return out


def _write_cells(config: SmearConfig, subjects: Sequence[_Subject], folder: Path, progress: Progress) -> None:
    """Write all pictures of single cells and their manifest."""
    rows: list[tuple[str, str, str, str]] = []
    n_cells = len(subjects) * config.cells_per_subject
    for subject in subjects:
        style = subject.style
        kind, label = (CellKind.LYMPHOBLAST, "all") if subject.leukemic else (CellKind.LYMPHOCYTE, "hem")
        for number in range(config.cells_per_subject):
            drawn = draw_cell(kind, style, subject.chance(1, number), size_px=config.cell_size_px)
            path = f"cells/{label}/{subject.name}/{subject.name}_{number + 1:03d}.png"
            write_png(folder / path, drawn.pixels, generated=True, um_per_px=CROP_UM / config.cell_size_px)
            rows.append((path, label, subject.name, "true"))
            progress("drawing cells", len(rows), n_cells)
    write_rows(folder / "manifest.csv", ("path", "label", "subject", "generated"), rows)


def _write_fields(config: SmearConfig, subjects: Sequence[_Subject], folder: Path, progress: Progress) -> None:
    """Write all fields, their masks and their boxes."""
    rows: list[tuple[str, str, int, int, int, int]] = []
    n_fields = len(subjects) * config.fields_per_subject
    for subject in subjects:
        style = subject.style
        for number in range(config.fields_per_subject):
            drawn = _draw_some_field(subject, style, subject.chance(2, number))
            name = f"{subject.name}_field_{number + 1:02d}"
            write_png(folder / "images" / f"{name}.png", drawn.pixels, generated=True, um_per_px=1 / PX_PER_UM)
            # Grey, not RGB, as masks of other data sets are.
            with written_whole(folder / "masks" / f"{name}.png") as part:
                Image.fromarray(drawn.mask).save(part, format="PNG")
            rows += [(name, box.label, box.left, box.top, box.right, box.bottom) for box in drawn.boxes]
            progress("drawing fields", subject.number * config.fields_per_subject + number + 1, n_fields)
    write_rows(folder / "boxes.csv", ("image", "label", "xmin", "ymin", "xmax", "ymax"), rows)


def _draw_some_field(subject: _Subject, style: SubjectStyle, rng: np.random.Generator) -> DrawnField:
    """Draw a field with one to four white cells; blasts in leukemic subjects only."""
    n_white = int(rng.integers(1, MAX_WHITE_CELLS + 1))
    n_blasts = int(rng.integers(1, n_white + 1)) if subject.leukemic else 0
    n_neutrophils = int(rng.binomial(n_white - n_blasts, 0.6))
    whites = [CellKind.LYMPHOBLAST] * n_blasts + [CellKind.NEUTROPHIL] * n_neutrophils
    whites += [CellKind.LYMPHOCYTE] * (n_white - len(whites))
    return draw_field(whites, style, rng)
