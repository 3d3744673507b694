"""What is trained in a fold: the original system, or a network on cells cut out.

Both go through the same protocols (`experiments.protocols`), which split the images and judge what comes out. `fold`
says what a system is given and must give back; `paper` is the original's, spikes, components and 31 layers; `cells`
trains the other backbones.
"""

from leukospike.experiments.systems.cells import CellSystem
from leukospike.experiments.systems.fold import FoldResult, Items, Part, Stages, System
from leukospike.experiments.systems.paper import PaperSystem
from leukospike.settings import PAPER, RunConfig

__all__ = ["CellSystem", "FoldResult", "Items", "PaperSystem", "Part", "Stages", "System", "system_of"]


def system_of(config: RunConfig) -> System:
    """Give what a run trains.

    Raises
    ------
    ConfigError
        If its backbone is of timm, and cannot be had.
    """
    return PaperSystem(config) if config.backbone == PAPER else CellSystem(config)
