"""Recognition of the data sets in a folder.

Data sets are recognised by their published folder names; nothing is guessed from pixels. A ``manifest.csv`` at the root
overrides everything else, because it was written on purpose.
"""

from collections.abc import Callable
from pathlib import Path

from leukospike.datasets.all_idb import read_all_idb1, read_all_idb2
from leukospike.datasets.classes import ClassNames, Names
from leukospike.datasets.cnmc import read_cnmc
from leukospike.datasets.own import read_class_folders, read_manifest, require_used
from leukospike.datasets.records import DataSet
from leukospike.errors import DataError


def read_dataset(root: Path, *, positive: Names = None, negative: Names = None) -> DataSet:
    """Recognise a data set by its layout and list its images, without opening them.

    Parameters
    ----------
    root : Path
        The data set's folder, its parent, one of its parts (such as a single C-NMC fold), or a CSV manifest.
    positive, negative : str, sequence of str or None
        The user's names for the leukemic and the normal class, in addition to the accepted ones.

    Returns
    -------
    DataSet
        With at least one record.

    Raises
    ------
    DataError
        If the folder is missing, empty, of unknown layout, or holds several data sets; or if a manifest or label table
        has a faulty line, which is named by its number.
    """
    require_used(ClassNames.of(positive, negative), [root])
    first, *others = found = read_datasets(root, positive=positive, negative=negative)
    if others:
        raise DataError(
            f"{root} must hold a single data set",
            where="read_dataset",
            got=" and ".join(f"{dataset.name} in {dataset.root}" for dataset in found),
            advice="Pass the folder of the one you mean.",
        )
    return first


def read_datasets(root: Path, *, positive: Names = None, negative: Names = None) -> tuple[DataSet, ...]:
    """List every data set under `root`, such as ALL-IDB1 and ALL-IDB2 side by side.

    Parameters
    ----------
    root : Path
        As for `read_dataset`, but may hold several.
    positive, negative : str, sequence of str or None
        As for `read_dataset`.

    Returns
    -------
    tuple of DataSet
        At least one.

    Raises
    ------
    DataError
        As for `read_dataset`, except that several data sets are allowed. A `LayoutError` if only the layout is unknown.
    """
    classes = ClassNames.of(positive, negative)
    try:
        if root.is_file():
            return (read_manifest(root, classes),)
        if not root.is_dir():
            raise DataError(
                "data must be an existing folder or CSV manifest",
                where="read_dataset",
                got=root,
                advice="Check the path.",
            )
        if (root / "manifest.csv").is_file():
            return (read_manifest(root / "manifest.csv", classes),)
        readers: tuple[Callable[[Path], DataSet | None], ...] = (read_cnmc, read_all_idb1, read_all_idb2)
        found = tuple(dataset for reader in readers if (dataset := reader(root)) is not None)
        return found or (read_class_folders(root, classes),)
    except OSError as error:
        raise DataError(
            "data must be readable",
            where="read_dataset",
            got=f"'{error.strerror}' for {error.filename}",
            advice="Check its permissions.",
        ) from error
