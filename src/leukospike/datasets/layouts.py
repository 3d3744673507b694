"""How each public image set, and the user's own, lies on the disk.

Recognition goes by the folders' names, as the sets are published; nothing is guessed from pixels. A ``manifest.csv`` at
the root overrules everything else, because somebody wrote it on purpose.
"""

import csv
import os
import posixpath
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from leukospike.datasets.records import DataSet, Record
from leukospike.errors import DataError, LayoutError
from leukospike.images import IMAGE_SUFFIXES

CNMC_CREDIT = (
    "A. Gupta and R. Gupta, ALL Challenge dataset of ISBI 2019 (C-NMC 2019), The Cancer Imaging Archive,"
    " doi 10.7937/tcia.2019.dc64i46r, CC BY 3.0"
)
ALL_IDB_CREDIT = (
    "R. Donida Labati, V. Piuri and F. Scotti, ALL-IDB: the acute lymphoblastic leukemia image database for image"
    " processing, IEEE ICIP 2011, doi 10.1109/ICIP.2011.6115881; not to be passed on"
)

NORMAL_NAMES = frozenset({"0", "hem", "normal", "healthy", "lymphocyte", "lymphocytes", "negative", "benign"})
"""What folders and manifests may call the normal class, in any case."""

LEUKEMIC_NAMES = frozenset(
    {"1", "all", "blast", "blasts", "leukemic", "leukemia", "leukaemic", "leukaemia", "lymphoblast", "lymphoblasts"}
    | {"positive"}
)
"""What folders and manifests may call the leukemic class, in any case."""

UNDERSTOOD = (
    "C-NMC (fold_N/{all,hem}/), ALL-IDB1 (im/ and xyc/), ALL-IDB2 (img/), class/subject/ folders, or a manifest.csv"
    " with the columns path,label,subject"
)
"""What can be learned from, in words."""

_CNMC_FILE = re.compile(r"UID_([^_]+)_[^_]+_[^_]+_(all|hem)", re.IGNORECASE)
_CNMC_PRELIMINARY = "C-NMC_test_prelim_phase_data"
_CNMC_FINAL = "C-NMC_test_final_phase_data"
_CNMC_LABELS = "C-NMC_test_prelim_phase_data_labels.csv"
_KAGGLE_FOLDERS = frozenset({"training_data", "validation_data", "testing_data"})
_ALL_IDB_FILE = re.compile(r"Im\d+_([01])", re.IGNORECASE)


def read_dataset(root: Path) -> DataSet:
    """Recognise a data set by its layout and list its images; none is opened.

    Parameters
    ----------
    root : Path
        The data set's folder, one that holds just that, one of its parts (such as a single C-NMC fold), or a CSV
        manifest.

    Returns
    -------
    DataSet
        With at least one record.

    Raises
    ------
    DataError
        If the folder is missing, of no known layout, empty, or holds several data sets; or if a manifest or label
        table has a bad line, which is named by its number.
    """
    first, *others = found = read_datasets(root)
    if others:
        names = " and ".join(f"{dataset.name} in {dataset.root}" for dataset in found)
        msg = f"read_dataset: {root} must hold one data set, got {names}. Give the folder of the one you mean."
        raise DataError(msg)
    return first


def read_datasets(root: Path) -> tuple[DataSet, ...]:
    """List every data set that lies under `root`, such as ALL-IDB1 and ALL-IDB2 side by side.

    Parameters
    ----------
    root : Path
        As for `read_dataset`, but may hold several.

    Returns
    -------
    tuple of DataSet
        At least one.

    Raises
    ------
    DataError
        As for `read_dataset`, but for the holding of several. A `LayoutError` where the layout alone is unknown.
    """
    try:
        if root.is_file():
            return (_read_manifest(root),)
        if not root.is_dir():
            msg = f"read_dataset: data must be an existing folder or CSV manifest, got {root}. Check the path."
            raise DataError(msg)
        if (root / "manifest.csv").is_file():
            return (_read_manifest(root / "manifest.csv"),)
        readers: tuple[Callable[[Path], DataSet | None], ...] = (_read_cnmc, _read_all_idb1, _read_all_idb2)
        found = tuple(dataset for reader in readers if (dataset := reader(root)) is not None)
        return found or (_read_folder(root),)
    except OSError as error:
        msg = (
            f"read_dataset: data must be readable, got '{error.strerror}' for {error.filename}. Check its permissions."
        )
        raise DataError(msg) from error


# --- C-NMC -----------------------------------------------------------------------------------------------------------


def _read_cnmc(root: Path) -> DataSet | None:
    """Read C-NMC as The Cancer Imaging Archive or Kaggle lays it out, from any level down to one fold."""
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
            for path in _images(part)
        ]
    kaggle = any(_KAGGLE_FOLDERS & {root.absolute().name, *part.relative_to(root).parts} for part in parts)
    return _dataset(
        root,
        records,
        name="C-NMC 2019",
        layout="c-nmc-kaggle" if kaggle else "c-nmc",
        class_names=("hem", "all"),
        no_subject_reason=(
            "C-NMC publishes no patient ids for its final test set, nor for its preliminary one without"
            f" {_CNMC_LABELS}: give the folder of the training data."
        ),
        credit=CNMC_CREDIT,
    )


def _cnmc_folds(root: Path) -> list[Path]:
    """Find the fold folders of the training set, each holding ``all`` and ``hem``."""
    for above in ("", "C-NMC_training_data", "training_data", "C-NMC_Leukemia/training_data"):
        folder = _unwrapped(root / above)
        if folder.is_dir():
            inside = [_unwrapped(path) for path in _visible(folder) if re.fullmatch(r"fold_\d+", path.name)]
            folds = [fold for fold in inside if _is_fold(fold)]
            if folds:
                return folds
    return [root] if _is_fold(root) else []


def _is_fold(folder: Path) -> bool:
    """Tell whether a folder holds C-NMC's class folders, and in them files with C-NMC's names."""
    classes = [folder / name for name in ("all", "hem") if (folder / name).is_dir()]
    return any(_CNMC_FILE.fullmatch(path.stem) for cells in classes for path in _visible(cells))


def _cnmc_part(root: Path, name: str, kaggle_folder: str) -> list[Path]:
    """Find a test set's folder; TCIA and Kaggle put it in different places."""
    if root.absolute().name == name:
        return [_unwrapped(root)]
    for above in ("", kaggle_folder, f"C-NMC_Leukemia/{kaggle_folder}"):
        folder = root / above / name
        if folder.is_dir():
            return [_unwrapped(folder)]
    return []


def _cnmc_training(root: Path, fold: Path) -> Iterator[Record]:
    """List one fold; class and subject are in the file name, and the class again in the folder's."""
    for class_name in ("all", "hem"):
        if not (fold / class_name).is_dir():
            continue
        for path in _images(fold / class_name):
            subject, named_class = _cnmc_uid(path.stem, f"read_dataset: file {path}")
            if named_class != class_name:
                msg = (
                    f"read_dataset: file {path} must lie in the folder of its class '{named_class}', got"
                    f" '{class_name}'. Move it, or restore the data set."
                )
                raise DataError(msg)
            partition = fold.absolute().name
            label = int(class_name == "all")
            yield Record(path=path, image=name_below(path, root), label=label, subject=subject, partition=partition)


def _cnmc_preliminary(root: Path, folder: Path) -> Iterator[Record]:
    """List the preliminary test set, whose labels and original names are in a table in or beside its folder."""
    places = (folder, *folder.absolute().parents[:2])
    table = next((place / _CNMC_LABELS for place in places if (place / _CNMC_LABELS).is_file()), None)
    known = {} if table is None else _cnmc_labels(table)
    for path in _images(folder):
        # The WebP copies keep the table's names but for the ending.
        label, subject = known.get(path.stem, (None, None))
        yield Record(path=path, image=name_below(path, root), label=label, subject=subject, partition="preliminary")


def _cnmc_labels(table: Path) -> dict[str, tuple[int, str]]:
    """Read label and subject by file stem; the column called Patient_ID holds the original file name."""
    known: dict[str, tuple[int, str]] = {}
    for line, row in _rows(table, ("patient_id", "new_names", "labels")):
        where = f"read_dataset: {table.name} line {line}"
        subject, named_class = _cnmc_uid(Path(row["patient_id"]).stem, where)
        label = int(named_class == "all")
        if row["labels"] != str(label):
            msg = (
                f"{where}: labels must be {label} for a name ending in '{named_class}', got '{row['labels']}'."
                " Download the table again."
            )
            raise DataError(msg)
        known[Path(row["new_names"]).stem] = (label, subject)
    return known


def _cnmc_uid(stem: str, where: str) -> tuple[str, str]:
    """Take subject and class from a C-NMC file name.

    The letter that marks a healthy subject comes in either case (in the folds examined, only ``h3`` in lower case and
    no subject in both), so it is raised: one person never becomes two. ``3`` and ``H3`` are different persons.
    """
    match = _CNMC_FILE.fullmatch(stem)
    if match is None:
        msg = f"{where}: name must be UID_<subject>_<image>_<cell>_<all|hem>, got '{stem}'. Rename or remove it."
        raise DataError(msg)
    return _spelled(match[1].upper()), match[2].lower()


def cnmc_subject(stem: str) -> str | None:
    """Take the subject from a C-NMC file name, as the reader of that data set does.

    Parameters
    ----------
    stem : str
        The file's name without folder and ending.

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


# --- ALL-IDB ---------------------------------------------------------------------------------------------------------


def _read_all_idb1(root: Path) -> DataSet | None:
    """Read ALL-IDB1: whole fields, the blasts of each listed beside it."""
    folder = _all_idb_folder(root, "1", "im")
    if folder is None:
        return None
    records = [
        Record(
            path=path,
            image=name_below(path, folder),
            label=_all_idb_label(path),
            subject=None,
            centroids=_centroids(folder / "xyc" / f"{path.stem}.xyc"),
        )
        for path in _images(folder / "im")
    ]
    return _all_idb(folder, records, name="ALL-IDB1", layout="all-idb1")


def _read_all_idb2(root: Path) -> DataSet | None:
    """Read ALL-IDB2: crops with one cell in the centre."""
    folder = _all_idb_folder(root, "2", "img")
    if folder is None:
        return None
    records = [
        Record(path=path, image=name_below(path, folder), label=_all_idb_label(path), subject=None)
        for path in _images(folder / "img")
    ]
    return _all_idb(folder, records, name="ALL-IDB2", layout="all-idb2")


def _all_idb(folder: Path, records: list[Record], *, name: str, layout: str) -> DataSet:
    """Put together what both parts of ALL-IDB have in common."""
    return _dataset(
        folder,
        records,
        name=name,
        layout=layout,
        class_names=("normal", "blast"),
        no_subject_reason=(
            "ALL-IDB does not publish patient ids, so its images cannot be split by patient: use C-NMC for the honest"
            " protocol, or --protocol paper, which splits by image and says so."
        ),
        credit=ALL_IDB_CREDIT,
    )


def _all_idb_folder(root: Path, number: str, inside: str) -> Path | None:
    """Find ALL-IDB1 or 2: `root` itself or a folder in it, known by its image folder and the files' names."""
    named = [path for path in _visible(root) if re.fullmatch(rf"ALL[-_ ]?IDB{number}", path.name, re.IGNORECASE)]
    for folder in (root, *named):
        images = folder / inside
        if images.is_dir() and any(_ALL_IDB_FILE.fullmatch(path.stem) for path in _visible(images)):
            return folder
    return None


def _all_idb_label(path: Path) -> int:
    """Take the class from the file name, ``ImNNN_0`` or ``ImNNN_1``."""
    match = _ALL_IDB_FILE.fullmatch(path.stem)
    if match is None:
        msg = f"read_dataset: file {path} must be named ImNNN_0 or ImNNN_1, got '{path.stem}'. Rename or remove it."
        raise DataError(msg)
    return int(match[1])


def _centroids(path: Path) -> tuple[tuple[float, float], ...] | None:
    """Read the blasts of one field, published as ``column<TAB>row``, as (row, column)."""
    if not path.is_file():
        return None
    centroids: list[tuple[float, float]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s+(\d+(?:\.\d+)?)\s*", line)
        if match is None:
            msg = f"read_dataset: {path} line {number} must be column<TAB>row, got {line[:40]!r}. Restore the file."
            raise DataError(msg)
        centroids.append((float(match[2]), float(match[1])))
    return tuple(centroids)


# --- The user's own --------------------------------------------------------------------------------------------------


def _read_folder(root: Path) -> DataSet:
    """Read ``class/subject/`` folders, the last hope of `read_datasets`."""
    folders = [path for path in _visible(root) if path.is_dir()]
    labels = {folder: _label(folder.name) for folder in folders}
    known = {label: folder.name for folder, label in labels.items() if label is not None}
    unknown = [folder.name for folder, label in labels.items() if label is None]
    if not known:
        inside = ", ".join(path.name for path in _visible(root)[:5]) or "nothing"
        msg = f"read_dataset: {root} must be of a known layout, got {inside}. Lay it out as {UNDERSTOOD}."
        raise LayoutError(msg)
    if unknown or len(known) < len(folders):
        got = ", ".join(folder.name for folder in folders)
        msg = (
            f"read_dataset: class folders in {root} must be one normal and one leukemic (such as hem and all), got"
            f" {got}. Say which is which in a manifest.csv with the columns path,label,subject."
        )
        raise LayoutError(msg)
    records = [
        Record(
            path=path,
            image=name_below(path, root),
            label=labels[root / class_name],
            # The first folder below the class; whatever lies deeper, such as slides, is the same person's.
            subject=inner[0] if inner[1:] or path.is_dir() else None,
        )
        # Whatever lies among the cells: what is no image is named by whoever opens it, not left out in silence.
        for path in visible_files(*folders, outside=root)
        for class_name, *inner in [name_below(path, root).split("/")]
    ]
    if not any(record.path.suffix.lower() in IMAGE_SUFFIXES for record in records):
        records = []
    return _dataset(
        root,
        records,
        name=_spelled(root.absolute().name),
        layout="folder",
        class_names=(known.get(0, "normal"), known.get(1, "leukemic")),
        no_subject_reason=(
            "Images that lie directly in a class folder belong to nobody known: put each in class/subject/, or name"
            " its subject in a manifest.csv."
        ),
        credit="",
    )


def _read_manifest(table: Path) -> DataSet:
    """Read a CSV manifest; its paths are relative to its folder."""
    if table.suffix.lower() != ".csv":
        msg = f"read_dataset: data must be a folder or a CSV manifest, got the file {table}. Give its folder."
        raise DataError(msg)
    root = table.parent
    records: list[Record] = []
    first_line: dict[str, int] = {}
    class_names = {0: "normal", 1: "leukemic"}
    for line, row in _rows(table, ("path", "label")):
        where = f"read_dataset: {table.name} line {line}"
        if not row["path"]:
            msg = f"{where}: path must name an image, got an empty field. Fill it in or remove the line."
            raise DataError(msg)
        image = posixpath.normpath(row["path"])
        if image in first_line:
            msg = f"{where}: path must be unique, got '{image}' again after line {first_line[image]}. Remove one."
            raise DataError(msg)
        first_line[image] = line
        label = _label(row["label"])
        if label is None and row["label"]:
            msg = f"{where}: label must be 1 (leukemic), 0 (normal) or empty, got '{row['label']}'. Correct it."
            raise DataError(msg)
        if label is not None and row["label"] not in {"0", "1"}:
            class_names[label] = row["label"]
        records.append(Record(path=root / image, image=image, label=label, subject=row.get("subject") or None))
    if records and not any(record.path.is_file() for record in records):
        msg = (
            f"read_dataset: paths in {table.name} must be relative to its folder, got none that exists there (first"
            f" '{records[0].image}'). Move the table or correct the paths."
        )
        raise DataError(msg)
    return _dataset(
        root,
        records,
        name=_spelled(root.absolute().name),
        layout="manifest",
        class_names=(class_names[0], class_names[1]),
        no_subject_reason=f"Fill in the column subject of {table.name}, or split by image and say so.",
        credit="",
    )


def _label(name: str) -> int | None:
    """Turn a class's name into 1, 0, or None if it is not one of the known."""
    name = name.strip().casefold()
    return 1 if name in LEUKEMIC_NAMES else 0 if name in NORMAL_NAMES else None


# --- Common ground ---------------------------------------------------------------------------------------------------


def _dataset(
    root: Path,
    records: Iterable[Record],
    *,
    name: str,
    layout: str,
    class_names: tuple[str, str],
    no_subject_reason: str,
    credit: str,
) -> DataSet:
    """Sort the records, and keep the reason for missing subjects only if one is missing."""
    ordered = tuple(sorted(records, key=lambda record: record.image))
    if not ordered:
        msg = f"read_dataset: {root} must hold images, got none ({layout}). Check that the download is whole."
        raise DataError(msg)
    return DataSet(
        name=name,
        layout=layout,
        root=root,
        records=ordered,
        class_names=class_names,
        no_subject_reason=no_subject_reason if any(record.subject is None for record in ordered) else None,
        credit=credit,
    )


def _visible(folder: Path) -> list[Path]:
    """List a folder in order, without what file managers leave behind."""
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and path.name not in {"Thumbs.db", "desktop.ini", "__MACOSX"}
    )


def _images(folder: Path) -> list[Path]:
    """List the files of a folder that are named as images."""
    return [path for path in _visible(folder) if path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir()]


def visible_files(*folders: Path, outside: Path | None = None) -> Iterator[Path]:
    """List all files at any depth, without what file managers leave behind.

    Links to folders are followed, but each real folder is listed once, however many links lead to it, even from within
    itself; under its own name, if it has one below `folders`.

    Parameters
    ----------
    *folders : Path
    outside : Path, optional
        A folder whose own files are not listed, though a link should lead to it.

    Yields
    ------
    Path
        A file, or a folder that cannot be listed: whoever opens it will say why.

    Raises
    ------
    OSError
        If one of `folders` itself cannot be listed.
    """
    listed = set() if outside is None else {os.path.realpath(outside)}
    waiting, links = deque(folders), deque[Path]()
    while waiting or links:
        folder = waiting.popleft() if waiting else links.popleft()
        real = os.path.realpath(folder)
        if real in listed:
            continue
        listed.add(real)
        try:
            inside = _visible(folder)
        except OSError:
            if folder in folders:
                raise
            yield folder
            continue
        for path in inside:
            if not os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises in a folder that must not be entered
                yield path
            elif path.is_symlink():
                links.append(path)
            else:
                waiting.append(path)


def name_below(path: Path, root: Path) -> str:
    """Name a file by its place below a folder, alike on every system.

    Parameters
    ----------
    path, root : Path

    Returns
    -------
    str
        POSIX path. Bytes that are no text in any encoding come out spelled, so that every table can hold the name.
    """
    return _spelled(path.relative_to(root).as_posix())


def _spelled(name: str) -> str:
    """Spell the bytes of a name that are no text."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _unwrapped(folder: Path) -> Path:
    """Step into a folder of the same name, which unpacking an archive often leaves."""
    return folder / folder.name if (folder / folder.name).is_dir() else folder


def _rows(table: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Read a CSV table as (line number, row); column names in any case, values stripped, empty lines skipped."""
    try:
        # utf-8-sig: spreadsheets put a byte order mark before the first column's name.
        with table.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            header = [name.strip().casefold() for name in next(lines, [])]
            if not set(columns) <= set(header) or len(set(header)) < len(header):
                got = ",".join(header)[:80] or "an empty table"
                msg = (
                    f"read_dataset: {table.name} must begin with the columns {','.join(columns)}, each once and"
                    f" separated by commas, got '{got}'. Correct its first line."
                )
                raise DataError(msg)
            for values in lines:
                if not any(value.strip() for value in values):
                    continue
                if len(values) != len(header):
                    msg = (
                        f"read_dataset: {table.name} line {lines.line_num} must have {len(header)} fields, got"
                        f" {len(values)}. Correct it; a value with a comma needs quotes."
                    )
                    raise DataError(msg)
                if any("\0" in value for value in values):
                    msg = (
                        f"read_dataset: {table.name} line {lines.line_num} must be text, got a NUL byte."
                        " Correct it or export the table again."
                    )
                    raise DataError(msg)
                yield lines.line_num, dict(zip(header, (value.strip() for value in values), strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        msg = (
            f"read_dataset: {table.name} must be a CSV table in UTF-8, got one that is not ({error}). Export it again."
        )
        raise DataError(msg) from error
