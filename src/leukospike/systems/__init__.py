"""What is trained in a fold: the original system, or a network on cells cut out.

Both go through the same protocols (`leukospike.protocols`), which split the images and judge what comes out. `fold`
says what a system is given and must give back; `paper` is the original's, spikes, components and 31 layers; `cells`
trains the other backbones.
"""

from leukospike.systems.cells import CellSystem
from leukospike.systems.fold import FoldResult, Items, Part, Stages, System
from leukospike.systems.paper import PaperSystem

__all__ = ["CellSystem", "FoldResult", "Items", "PaperSystem", "Part", "Stages", "System"]
