"""The systems that are trained in a fold: the original, or a network on cells cut out.

Both go through the same protocols (`experiments.plan`, `experiments.run`). `system` defines the interface; `paper` is
the original with spikes, components and 31 layers; `cells` trains the other backbones.
"""

from importlib import metadata

from leukospike.experiments.systems.cells import CellSystem
from leukospike.experiments.systems.paper import PaperSystem
from leukospike.experiments.systems.system import FoldResult, Items, Part, Stages, System
from leukospike.settings import PAPER, RunConfig, timm_name

__all__ = ["CellSystem", "FoldResult", "Items", "PaperSystem", "Part", "Stages", "System", "system_of", "versions_of"]

_LIBRARIES = ("leukospike", "torch", "numpy", "scikit-learn")


def system_of(config: RunConfig) -> System:
    """Return the system of a run.

    Raises
    ------
    ConfigError
        If its timm backbone is unavailable.
    """
    return PaperSystem(config) if config.backbone == PAPER else CellSystem(config)


def versions_of(config: RunConfig) -> dict[str, str]:
    """Return the versions of the libraries used by a run."""
    libraries = (*_LIBRARIES, "timm") if timm_name(config.backbone) else _LIBRARIES
    return {name: metadata.version(name) for name in libraries}
