"""Read blood smears for acute lymphoblastic leukemia: research use only, never a diagnosis.

One function per task, each with one typed result. Segmentations, analyses and findings display themselves in a
notebook:

>>> import leukospike as ls
>>> picture = ls.read_image("field.png")            # doctest: +SKIP
>>> cells = ls.segment(picture)                     # doctest: +SKIP
>>> analysis = ls.analyze(["patient-1", "patient-2"])  # doctest: +SKIP
>>> findings = ls.audit("my-cells")                 # doctest: +SKIP
>>> layer = ls.spikes.SpikingConv2d(2, 4, 5, threshold=10.0)

`read_image` decodes any microscope image, `segment` finds its white cells, `analyze` scores the cells of many images
and their subjects, `audit` looks for copies and overlapping subjects, `load_classifier` loads a classifier of cells,
and `load_analysis` reads the results of an earlier call. `spikes` holds the spiking layers. Each has a docstring with
an example; long-running functions take a `jobs.Job` as `progress`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leukospike import spikes as spikes
    from leukospike.analysis.analyze import analyze as analyze
    from leukospike.analysis.judges import load_classifier as load_classifier
    from leukospike.analysis.result import load_analysis as load_analysis
    from leukospike.auditing.findings import audit as audit
    from leukospike.images import read_image as read_image
    from leukospike.segmentation.segment import segment as segment

# Loaded on first use: torch alone takes a second. No `__all__`, so that help shows this page and not every docstring.
_WHERE = {
    "analyze": ("leukospike.analysis.analyze", "analyze"),
    "audit": ("leukospike.auditing.findings", "audit"),
    "load_analysis": ("leukospike.analysis.result", "load_analysis"),
    "load_classifier": ("leukospike.analysis.judges", "load_classifier"),
    "read_image": ("leukospike.images", "read_image"),
    "segment": ("leukospike.segmentation.segment", "segment"),
}


def __getattr__(name: str) -> object:
    """Load a public name on first use."""
    if name == "spikes":
        return import_module("leukospike.spikes")
    if name == "__version__":
        from importlib.metadata import version  # slow to load, and few ask for it

        return version("leukospike")
    if name not in _WHERE:
        msg = f"module 'leukospike' has no attribute {name!r}"
        raise AttributeError(msg)
    module, attribute = _WHERE[name]
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted([*_WHERE, "spikes"])
