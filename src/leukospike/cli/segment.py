"""`leukospike segment`."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from leukospike.cli.console import out_console, progress_bars, say, tell
from leukospike.cli.options import (
    CropsOption,
    ForExcelOption,
    OutOption,
    PathsArgument,
    PixelSizeOption,
    ResumeOption,
    StrictOption,
)
from leukospike.cli.outcome import end, refuse_inside
from leukospike.errors import ConfigError
from leukospike.plurals import number_of

if TYPE_CHECKING:
    from leukospike.analysis.segmenting import Segmented


class Method(StrEnum):
    """How `segment` finds cells."""

    SURROGATE = "surrogate"
    STDP = "stdp"
    FIRST_WAVE = "first-wave"


def segment(
    paths: PathsArgument,
    out: OutOption,
    method: Annotated[
        Method, typer.Option("--method", metavar="NAME", help="One of the methods listed above.")
    ] = Method.SURROGATE,
    pixel_size: PixelSizeOption = None,
    strict: StrictOption = False,  # noqa: FBT002 - a flag
    crops: CropsOption = False,  # noqa: FBT002 - a flag
    for_excel: ForExcelOption = False,  # noqa: FBT002 - a flag
    resume: ResumeOption = False,  # noqa: FBT002 - a flag
) -> None:
    """Find white cells in images of single cells or whole fields; write masks, numbered outlines and measurements.

    Methods (for the Dice score of each, see docs/results/):

    - surrogate: a spiking network trained by surrogate gradients on images from several laboratories. Uneven light is
    corrected, the scale is estimated from red cells, and each cell gets a confidence. Doubtful images are flagged in
    images.csv, but their cells are kept.

    - stdp: a network that learned from spike times and reward, the original idea done properly; it finds nuclei in
    images of single cells and is of no use on fields.

    - first-wave: the published "segmentation", which is a map of edges; writes images of first spikes and latencies.

    Example:

    leukospike segment fields --out cells

    leukospike segment fields --strict --out cells

    leukospike segment fields --crops --out cells

    leukospike segment fields --out cells --resume
    """
    from leukospike.analysis.manifest import CROPS, MANIFEST
    from leukospike.analysis.segmenting import segment_images, write_first_waves
    from leukospike.datasets.collect import find_images
    from leukospike.segmentation import PixelSize
    from leukospike.segmentation.methods import stdp, surrogate

    for name, given in (("pixel_size", pixel_size is not None), ("crops", crops)):
        if given and method is Method.FIRST_WAVE:
            msg = f"`{name}` must be used with a method that finds cells"
            raise ConfigError(msg, where="segment", got=f"`method` {method}", advice=f"Leave out `{name}`.")
    size = PixelSize.given(pixel_size, where="segment")
    found = find_images(paths)
    records = found.records
    refuse_inside(out, paths)
    if method is Method.FIRST_WAVE:
        with progress_bars() as progress:
            failures = write_first_waves(records, out, resume=resume, progress=progress)
        out_console.print(f"{number_of(len(records) - len(failures), 'image')}: {out}")
    else:
        with progress_bars() as progress:
            segmented = segment_images(
                records,
                out,
                stdp() if method is Method.STDP else surrogate(),
                pixel_size=size,
                strict=strict,
                crops=crops,
                for_excel=for_excel,
                resume=resume,
                progress=progress,
            )
        failures = segmented.failures
        n_images, n_cells = len(segmented.images), len(segmented.cells)
        out_console.print(f"{number_of(n_images, 'image')}, {number_of(n_cells, 'cell')}: {out}")
        if crops:
            out_console.print(f"Cells to label: {out / CROPS / MANIFEST}")
        _say_of_images(segmented)
    tell(found.notices)
    end(failures, len(records), see=out / "failures.csv")


def _say_of_images(segmented: "Segmented") -> None:
    """Report how many images had no cells, and why, and how many others are doubtful."""
    if why := ", ".join(f"{flag} {count}" for flag, count in segmented.without_cells.items()):
        empty = segmented.images["cells"].to_list().count(0)
        say(f"No cells were found in {empty} of {number_of(len(segmented.images), 'image')} ({why}).")
    if doubted := sum("pixel_size" in str(flags).split() for flags in segmented.images["flags"].to_list()):
        which = number_of(doubted, "image")
        say(f"In {which}, the cells contradict the pixel size. Check --pixel-size, or the value stored in the files.")
    if flagged := segmented.flagged_with_cells:
        which = number_of(flagged, "image with cells has flags", "images with cells have flags")
        say(f"{which}: see the columns flags and advice in images.csv, and check the overlays.")
