"""`leukospike segment`."""

from typing import TYPE_CHECKING, Annotated

import typer

from leukospike import datasets
from leukospike.cli.console import out_console, progress_bars, say
from leukospike.cli.options import OutOption, PathsArgument, PixelSizeOption, StrictOption
from leukospike.cli.outcome import end, refuse_inside
from leukospike.cli.reading import Method, given_pixel_size, segmenter_of
from leukospike.errors import ConfigError
from leukospike.failures import write_failures
from leukospike.plurals import number_of
from leukospike.storage.files import whole_folder

if TYPE_CHECKING:
    from leukospike.segmentation.files import Segmented


def segment(
    paths: PathsArgument,
    out: OutOption,
    method: Annotated[
        Method, typer.Option("--method", metavar="NAME", help="One of the methods above.")
    ] = Method.SURROGATE,
    pixel_size: PixelSizeOption = None,
    strict: StrictOption = False,  # noqa: FBT002 - a flag
) -> None:
    """Find white cells in images, single cells or whole fields: masks, numbered outlines, and tables of measures.

    Methods (docs/results.md has the Dice of each):

    - surrogate: a spiking network trained by surrogate gradients, on images of several laboratories. Light is evened
    out, the scale found from red cells, and each cell gets a confidence; what may be wrong with an image is said in
    images.csv, and its cells are given all the same.

    - stdp: one that learned by spike times and reward, the original's idea done properly; it finds nuclei, and is no
    use on fields.

    - first-wave: the published "segmentation", a map of edges, as images of first spikes and latencies.

    Example:

    leukospike segment fields --out cells

    leukospike segment fields --strict --out cells
    """
    from leukospike.segmentation import segment_by_first_wave
    from leukospike.segmentation.files import segment_files

    if method is Method.FIRST_WAVE and pixel_size is not None:
        msg = f"segment: --pixel-size must go with a method that finds cells, got --method {method}. Leave it out."
        raise ConfigError(msg)
    size = given_pixel_size(pixel_size, where="segment")
    records = datasets.collect_images(paths)
    refuse_inside(out, paths)
    with whole_folder(out, where="segment") as part:
        with progress_bars() as progress:
            if method is Method.FIRST_WAVE:
                written, failures = segment_by_first_wave(records, part, progress=progress)
                segmented = None
                found = number_of(len(written), "image")
            else:
                segmented = segment_files(
                    records, part, segmenter_of(method), pixel_size=size, strict=strict, progress=progress
                )
                failures = segmented.failures
                found = f"{number_of(len(segmented.images), 'image')}, {number_of(len(segmented.cells), 'cell')}"
        if failures:
            write_failures(part / "failures.csv", failures)
    out_console.print(f"{found}: {out}")
    if segmented is not None:
        _say_of_images(segmented)
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
