"""A segmenter of random weights, and noise for it to read."""

import numpy as np
import torch

from leukospike.segmentation.network import SpikingSegmenter


def segmenter(seed: int = 0) -> SpikingSegmenter:
    """Return a folded network of random weights whose layers neither fall silent nor saturate."""
    torch.manual_seed(seed)
    network = SpikingSegmenter(folded=False)
    network.train()
    with torch.no_grad():
        for _ in range(20):  # so that batch norm has seen something
            network(torch.rand(2, 6, 64, 64))
    return network.eval().fold()


def noise(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Return random bytes as an image of so many rows and columns."""
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)
