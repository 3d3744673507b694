"""C-NMC 2019: cells cut out on black, with the subject in the file name."""

import re
from collections.abc import Iterator
from pathlib import Path

from leukospike.datasets.listing import entries, images_in, name_below, person
from leukospike.datasets.records import DataSet, Record, data_set
from leukospike.errors import DataError
from leukospike.storage.tables import read_rows

CNMC_CREDIT = (
    "A. Gupta and R. Gupta, ALL Challenge dataset of ISBI 2019 (C-NMC 2019), The Cancer Imaging Archive,"
    " doi 10.7937/tcia.2019.dc64i46r, CC BY 3.0"
)
_CNMC_FILE = re.compile(r"UID_([^_]+)_[^_]+_[^_]+_(all|hem)", re.IGNORECASE)
_CNMC_PRELIMINARY = "C-NMC_test_prelim_phase_data"
_CNMC_FINAL = "C-NMC_test_final_phase_data"
_CNMC_LABELS = "C-NMC_test_prelim_phase_data_labels.csv"
_KAGGLE_FOLDERS = frozenset({"training_data", "validation_data", "testing_data"})


def read_cnmc(root: Path) -> DataSet | None:
    """Read C-NMC in the layout of The Cancer Imaging Archive or Kaggle, from any level down to a single fold.

    Parameters
    ----------
    root : Path

    Returns
    -------
    DataSet or None
        None if it is not there.

    Raises
    ------
    DataError
        If a file or a line of the label table is not as published.
    OSError
        If a folder cannot be listed.
    """
    folds = _cnmc_folds(root)
    preliminary = _cnmc_part(root, _CNMC_PRELIMINARY, "validation_data")
    final = _cnmc_part(root, _CNMC_FINAL, "testing_data")
    parts = [*folds, *preliminary, *final]
    if not parts:
        return None
    records = [record for fold in folds for record in _cnmc_training(root, fold)]
    for part in preliminary:
        records += _cnmc_preliminary(root, part)
    for part in final:
        records += [
            Record(path=path, image=name_below(path, root), label=None, subject=None, partition="final")
            for path in images_in(part)
        ]
    kaggle = any(_KAGGLE_FOLDERS & {root.absolute().name, *part.relative_to(root).parts} for part in parts)
    return data_set(
        root,
        records,
        name="C-NMC 2019",
        layout="c-nmc-kaggle" if kaggle else "c-nmc",
        class_names=("hem", "all"),
        no_subject_reason=(
            "C-NMC publishes no patient ids for its final test set, and none for its preliminary test set without"
            f" {_CNMC_LABELS}: pass the folder of the training data."
        ),
        credit=CNMC_CREDIT,
    )


def _cnmc_folds(root: Path) -> list[Path]:
    """Find the fold folders of the training set, each holding ``all`` and ``hem``."""
    for above in ("", "C-NMC_training_data", "training_data", "C-NMC_Leukemia/training_data"):
        folder = _unwrapped(root / above)
        if folder.is_dir():
            inside = [_unwrapped(path) for path in entries(folder) if re.fullmatch(r"fold_\d+", path.name)]
            folds = [fold for fold in inside if _is_fold(fold)]
            if folds:
                return folds
    return [root] if _is_fold(root) else []


def _is_fold(folder: Path) -> bool:
    """Tell whether a folder holds the class folders of C-NMC, with files named as in C-NMC."""
    classes = [folder / name for name in ("all", "hem") if (folder / name).is_dir()]
    return any(_CNMC_FILE.fullmatch(path.stem) for cells in classes for path in entries(cells))


def _cnmc_part(root: Path, name: str, kaggle_folder: str) -> list[Path]:
    """Find the folder of a test set, which TCIA and Kaggle place differently."""
    if root.absolute().name == name:
        return [_unwrapped(root)]
    for above in ("", kaggle_folder, f"C-NMC_Leukemia/{kaggle_folder}"):
        folder = root / above / name
        if folder.is_dir():
            return [_unwrapped(folder)]
    return []


def _cnmc_training(root: Path, fold: Path) -> Iterator[Record]:
    """List one fold; class and subject are in the file name, and the class also in the folder name."""
    for class_name in ("all", "hem"):
        if not (fold / class_name).is_dir():
            continue
        for path in images_in(fold / class_name):
            subject, named_class = _cnmc_uid(path.stem, f"file {path}")
            if named_class != class_name:
                raise DataError(
                    f"file {path} must be in the folder of its class '{named_class}'",
                    where="read_dataset",
                    got=f"'{class_name}'",
                    advice="Move it, or restore the data set.",
                )
            partition = fold.absolute().name
            label = int(class_name == "all")
            yield Record(path=path, image=name_below(path, root), label=label, subject=subject, partition=partition)


def _cnmc_preliminary(root: Path, folder: Path) -> Iterator[Record]:
    """List the preliminary test set, whose labels and original names are in a table in its folder or next to it."""
    places = (folder, *folder.absolute().parents[:2])
    table = next((place / _CNMC_LABELS for place in places if (place / _CNMC_LABELS).is_file()), None)
    known = {} if table is None else _cnmc_labels(table)
    for path in images_in(folder):
        # The WebP copies keep the names of the table, except for the extension.
        label, subject = known.get(path.stem, (None, None))
        yield Record(path=path, image=name_below(path, root), label=label, subject=subject, partition="preliminary")


def _cnmc_labels(table: Path) -> dict[str, tuple[int, str]]:
    """Read label and subject by file stem; the column called Patient_ID holds the original file name."""
    known: dict[str, tuple[int, str]] = {}
    for line, row in read_rows(table, ("patient_id", "new_names", "labels"), where="read_dataset"):
        subject, named_class = _cnmc_uid(Path(row["patient_id"].strip()).stem, f"{table.name} line {line}")
        label = int(named_class == "all")
        if row["labels"].strip() != str(label):
            raise DataError(
                f"{table.name} line {line}: labels must be {label} for a name ending in '{named_class}'",
                where="read_dataset",
                got=f"'{row['labels']}'",
                advice="Download the table again.",
            )
        known[Path(row["new_names"].strip()).stem] = (label, subject)
    return known


def _cnmc_uid(stem: str, what: str) -> tuple[str, str]:
    """Parse subject and class from a C-NMC file name; `what` is used in the error message.

    The letter that marks a healthy subject occurs in either case (in the folds examined, only ``h3`` in lower case and
    no subject in both). It is converted to upper case, so that one person never becomes two. ``3`` and ``H3`` are
    different people.
    """
    match = _CNMC_FILE.fullmatch(stem)
    if match is None:
        raise DataError(
            f"{what}: name must be UID_<subject>_<image>_<cell>_<all|hem>",
            where="read_dataset",
            got=f"'{stem}'",
            advice="Rename or remove it.",
        )
    return person(match[1].upper()), match[2].lower()


def cnmc_subject(stem: str) -> str | None:
    """Parse the subject from a C-NMC file name.

    Parameters
    ----------
    stem : str
        File name without folder and extension.

    Returns
    -------
    str or None
        None if the name is not ``UID_<subject>_<image>_<cell>_<all|hem>``.

    Examples
    --------
    >>> cnmc_subject("UID_h3_12_4_hem"), cnmc_subject("cell_001")
    ('H3', None)
    """
    return _cnmc_uid(stem, "cnmc_subject")[0] if _CNMC_FILE.fullmatch(stem) else None


def _unwrapped(folder: Path) -> Path:
    """Step into a nested folder of the same name, as often left by unpacking an archive."""
    return folder / folder.name if (folder / folder.name).is_dir() else folder
