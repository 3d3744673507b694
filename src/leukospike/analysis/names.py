"""Names of an image's results, derived from the name of the image."""

import os
from pathlib import PurePosixPath

from leukospike.failures import Failure

_RESULT_SUFFIXES = (".png", ".csv")
_LONGEST_SUFFIX = "_first_wave.png"
_LONGEST_STEM = 255 - len(_LONGEST_SUFFIX)  # most file systems allow 255 bytes


def output_stem(image: str, names: set[str]) -> str:
    """Name the results after the image, without its suffix if the name is still unique.

    The path of an image in a manifest may lead anywhere, but its results stay in the folder.
    """
    inside = PurePosixPath(*(part for part in PurePosixPath(image).parts if part not in {"/", ".."}))
    stem = str(inside.with_suffix(""))
    while stem in names:
        stem = str(inside) if str(inside) not in names else f"{stem}_"
    names.add(stem)
    return stem


def name_failure(image: str, stem: str) -> Failure | None:
    """Refuse a name too long for a suffix, and a folder named like a result."""
    for folder in PurePosixPath(stem).parts[:-1]:
        # Its results would lie in a folder of that name, which may be the name of another image's result.
        if PurePosixPath(folder).suffix in _RESULT_SUFFIXES:
            return Failure(image, f"folder name must not end like a result file (.png, .csv), got {folder}. Rename it.")
    if (length := len(os.fsencode(PurePosixPath(stem).name))) <= _LONGEST_STEM:
        return None
    return Failure(image, f"name must have at most {_LONGEST_STEM} bytes and a suffix, got {length}. Rename the file.")
