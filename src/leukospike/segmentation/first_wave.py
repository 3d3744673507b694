"""The original's "segmentation": first spike waves, written as images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from leukospike.datasets import Record
from leukospike.datasets.decoding import decoded
from leukospike.failures import Failure
from leukospike.images.reading import Picture, luma
from leukospike.jobs import Progress, silent
from leukospike.segmentation.files import name_failure, output_stem, write_pixels
from leukospike.spikes import SILENT, latency_map

_WAVE, _LATENCY = "_first_wave.png", "_latency.png"

GREY_PER_STEP = 17
"""Grey levels between one spike time and the next: 255 spikes first, 17 last, 0 is silent."""


def segment_by_first_wave(
    records: Sequence[Record], out: Path, *, progress: Progress = silent
) -> tuple[list[Path], list[Failure]]:
    """Write, for each image, its first spike wave and its latencies, at the image's own size.

    `<image without suffix>_first_wave.png` holds 255 where a pixel spikes first, else 0;
    `<image without suffix>_latency.png` holds 255 for the first spike time, 17 less for each later one, and 0 for
    silent pixels. The two rows and columns at each border, which the 5 x 5 kernels cannot reach, are silent.

    Parameters
    ----------
    records : sequence of Record
    out : Path
        An existing folder; sub-folders are made as the images have them.
    progress : Progress

    Returns
    -------
    written : list of Path
        The first-wave images.
    failures : list of Failure
    """
    written: list[Path] = []
    failures: list[Failure] = []
    names: set[str] = set()
    for done, (record, result) in enumerate(decoded(records), start=1):
        stem = output_stem(record.image, names)
        if not isinstance(result, Picture):
            failures.append(Failure(record.image, str(result)))
        elif (failure := name_failure(record.image, stem)) is not None:
            failures.append(failure)
        else:
            latency = latency_map(torch.from_numpy(luma(result.pixels))[None, None]).latency[0].numpy()
            latency = np.pad(latency, 2, constant_values=SILENT)
            write_pixels(out / f"{stem}{_WAVE}", np.where(latency == 0, 255, 0).astype(np.uint8))
            write_pixels(out / f"{stem}{_LATENCY}", ((SILENT - latency) * GREY_PER_STEP).astype(np.uint8))
            written.append(out / f"{stem}{_WAVE}")
        progress("segment", done, len(records))
    return written, failures
