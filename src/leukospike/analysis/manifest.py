"""Cells as pictures of their own in the results, and the manifest in which their labels are filled in."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from leukospike.analysis.store import Store
from leukospike.datasets import Record
from leukospike.storage.tables import write_table

CROPS = "crops"
"""Folder of the pictures."""

MANIFEST = "manifest.csv"
"""In that folder: the file that `datasets.read_dataset` reads it by."""

MANIFEST_COLUMNS = ("path", "label", "subject", "image", "cell", "top", "left", "height", "width", "um_per_px")
"""Columns of the manifest; the first three are those that data sets are read by."""

SCORE_COLUMNS = ("probability", "decision")
"""Further columns, of scored cells."""

_PLACE = ("top", "left", "height", "width")


@dataclass(frozen=True)
class StoredImage:
    """One processed image, and the name of its results."""

    record: Record
    key: str
    """Of its stored results."""
    stem: str
    """Beginning of the names of its pictures."""


def write_crops(
    out: Path,
    images: Sequence[StoredImage],
    cells: pd.DataFrame,
    sizes: pd.DataFrame,
    store: Store,
    *,
    for_excel: bool,
) -> None:
    """Write each cell to `crops/`, one at a time, and then the manifest.

    A label is known only where an image shows a single cell. The label of a field says nothing of each cell: a patient
    with leukemia has normal cells, too.

    Parameters
    ----------
    out : Path
        Folder of the results.
    images : sequence of StoredImage
    cells : DataFrame
        The table of cells. Place, probability and decision are taken from it if it has them.
    sizes : DataFrame
        The table of images, for their pixel sizes.
    store : Store
        Of the results of these images.
    for_excel : bool
        Write the manifest with the byte order mark by which spreadsheets recognise UTF-8.
    """
    numbers = cells["cell"].fillna(0).to_list() if "cell" in cells else [0] * len(cells)
    places = {cell: place for place, cell in enumerate(zip(cells["image"].to_list(), numbers, strict=True))}
    um_per_px = dict(zip(sizes["image"].to_list(), sizes["um_per_px"].to_list(), strict=True))
    chosen: list[int] = []
    rows: list[dict[str, object]] = []
    for image in images:
        record = image.record
        for name, crop in store.write_crops(image.key, out / CROPS, image.stem).items():
            chosen.append(places[record.image, crop.cell])
            label = record.label if crop.is_of_image else None
            rows.append(
                {
                    # Readers strip a path, and a name may begin with a space.
                    "path": name if name == name.strip() else f"./{name}",
                    "label": "" if label is None else str(label),
                    "subject": record.subject,
                    "image": record.image,
                    "cell": crop.cell or pd.NA,
                    "um_per_px": um_per_px.get(record.image),
                }
            )
    table = pd.DataFrame(rows, columns=pd.Index(MANIFEST_COLUMNS)).astype({"cell": "Int64", "um_per_px": "float64"})
    own = cells.iloc[np.array(chosen, dtype=int)].reset_index(drop=True)
    for name in (*_PLACE, *SCORE_COLUMNS):
        if name in own:
            table[name] = own[name]
    write_table(out / CROPS / MANIFEST, table, for_excel=for_excel)
