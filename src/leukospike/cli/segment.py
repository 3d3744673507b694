"""`leukospike segment`."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from leukospike.cli.console import out_console, progress_bars, say, tell
from leukospike.cli.options import ForExcelOption, OutOption, PathsArgument, PixelSizeOption, ResumeOption, StrictOption
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
        Method, typer.Option("--method", metavar="NAME", help="One of the methods above.")
    ] = Method.SURROGATE,
    pixel_size: PixelSizeOption = None,
    strict: StrictOption = False,  # noqa: FBT002 - a flag
    for_excel: ForExcelOption = False,  # noqa: FBT002 - a flag
    resume: ResumeOption = False,  # noqa: FBT002 - a flag
) -> None:
    """Find white cells in images, single cells or whole fields: masks, numbered outlines, and tables of measures.

    Methods (docs/results/ has the Dice of each):

    - surrogate: a spiking network trained by surrogate gradients, on images of several laboratories. Light is evened
    out, the scale found from red cells, and each cell gets a confidence; what may be wrong with an image is said in
    images.csv, and its cells are given all the same.

    - stdp: one that learned by spike times and reward, the original's idea done properly; it finds nuclei, and is no
    use on fields.

    - first-wave: the published "segmentation", a map of edges, as images of first spikes and latencies.

    Example:

    leukospike segment fields --out cells

    leukospike segment fields --strict --out cells

    leukospike segment fields --out cells --resume
    """
    from leukospike.analysis.segmenting import segment_images, write_first_waves
    from leukospike.datasets.collect import find_images
    from leukospike.segmentation import PixelSize
    from leukospike.segmentation.methods import stdp, surrogate

    if method is Method.FIRST_WAVE and pixel_size is not None:
        msg = "`pixel_size` must go with a method that finds cells"
        raise ConfigError(msg, where="segment", got=f"`method` {method}", advice="Leave it out.")
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
                for_excel=for_excel,
                resume=resume,
                progress=progress,
            )
        failures = segmented.failures
        n_images, n_cells = len(segmented.images), len(segmented.cells)
        out_console.print(f"{number_of(n_images, 'image')}, {number_of(n_cells, 'cell')}: {out}")
        _say_of_images(segmented)
    tell(found.notices)
    end(failures, len(records), see=out / "failures.csv")


def _say_of_images(segmented: "Segmented") -> None:
    """Say how many images gave no cells, and why, and of how many others something is doubtful."""
    if why := ", ".join(f"{flag} {count}" for flag, count in segmented.without_cells.items()):
        empty = segmented.images["cells"].to_list().count(0)
        say(f"No cells were found in {empty} of {number_of(len(segmented.images), 'image')} ({why}).")
    if doubted := sum("pixel_size" in str(flags).split() for flags in segmented.images["flags"].to_list()):
        which = number_of(doubted, "image")
        say(f"In {which} cells contradict the pixel size. Check --pixel-size, or what the files state.")
    if flagged := segmented.flagged_with_cells:
        which = number_of(flagged, "image with cells has flags", "images with cells have flags")
        say(f"{which}: flags and advice in images.csv say what may be wrong. Look at their overlays.")
