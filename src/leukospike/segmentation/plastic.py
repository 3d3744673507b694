"""A segmenter in which all weights are learned from spike times: STDP features, and class neurons taught by reward.

It applies the original's idea at each pixel. The image's colours become latencies. Features learned by STDP read them
at several scales, at which the first spike of a window stands for the window. Class neurons, several per class, read
the latencies of all features at their pixel; the earliest one gives the pixel its class (Mozafari 2018, doi
10.1109/TNNLS.2018.2826721).

Weights are never negative, so a spike can only hasten other spikes. Evidence against a class is therefore carried by
partners, which spike earlier the later the signal does: lightness besides darkness, and a partner of each feature.
"""

from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor, nn

from leukospike.errors import WeightsError
from leukospike.segmentation.class_maps import Reading
from leukospike.segmentation.light import Light
from leukospike.segmentation.rank_spikes import RANK_INPUTS, at_working_size, rank_spikes
from leukospike.segmentation.scale import PixelSize
from leukospike.spikes import BINS, SpikingConv2d, pool_latency
from leukospike.storage.weights import fill, write_weights

CLASSES = ("rest", "cytoplasm", "nucleus")
"""Classes of a pixel, in the order of their numbers in a class map."""

SCALES = (1, 4, 16)
"""Sides of the windows whose first spikes the features read, pixels at working size."""

FEATURES = 24
"""Number of features at each scale."""

NEURONS_PER_CLASS = 20
"""Number of neurons for each class; each comes to represent one appearance of it."""

CHANNELS = 2 * RANK_INPUTS
"""Number of latencies of a pixel: darkness and rank of red, green and blue, and the partner of each."""

READ = 2 * FEATURES * len(SCALES)
"""Number of latencies that a class neuron reads: those of all features and their partners."""

_KERNEL_PX = 3
_FEATURE_THRESHOLD = 0.3 * CHANNELS * _KERNEL_PX**2
_CLASS_THRESHOLD = 0.13 * READ
_FORMAT = "leukospike-plastic-segmenter-1"
_SETTINGS = {"format": _FORMAT, "bins": BINS, "scales": list(SCALES), "classes": list(CLASSES)}


class PlasticSegmenter(nn.Module):
    """Features at each scale, and the class neurons that read them.

    Parameters
    ----------
    generator : torch.Generator
        Source of the initial weights, which lie around the middle of 0 to 1, where STDP changes them most.

    Attributes
    ----------
    features : ModuleList of SpikingConv2d
        One layer for each of `SCALES`, with `FEATURES` features on 3 x 3 windows of the pooled map.
    readout : SpikingConv2d
        1 x 1 windows; `NEURONS_PER_CLASS` neurons of the first class, then those of the second and of the third.
    """

    def __init__(self, *, generator: torch.Generator) -> None:
        super().__init__()
        self.features = nn.ModuleList(
            SpikingConv2d(
                CHANNELS,
                FEATURES,
                _KERNEL_PX,
                threshold=_FEATURE_THRESHOLD,
                weight_mean=0.5,
                weight_std=0.1,
                generator=generator,
            )
            for _ in SCALES
        )
        self.readout = SpikingConv2d(
            READ,
            NEURONS_PER_CLASS * len(CLASSES),
            1,
            threshold=_CLASS_THRESHOLD,
            weight_mean=0.5,
            weight_std=0.1,
            generator=generator,
        )
        for weight in self.parameters():
            weight.clamp_(0, 1)

    def feature_layers(self) -> list[SpikingConv2d]:
        """Return the layers of features, in the order of `SCALES`."""
        return [layer for layer in self.features if isinstance(layer, SpikingConv2d)]

    def forward(
        self, latency: UInt8[Tensor, "batch channels rows columns"]
    ) -> UInt8[Tensor, "batch read rows columns"]:
        """Return the latencies that the class neurons read at each pixel.

        Parameters
        ----------
        latency : Tensor of shape (batch, 12, rows, columns), uint8
            From `input_latency`.

        Returns
        -------
        Tensor of shape (batch, 144, rows, columns), uint8
            0 (first) to 14, 15 silent: the features scale by scale, each at all pixels of its window, then their
            partners in the same order.
        """
        rows, columns = latency.shape[-2:]
        seen: list[Tensor] = []
        for layer, scale in zip(self.feature_layers(), SCALES, strict=True):
            spikes = layer.latency(seen_at(latency, scale))
            seen.append(spikes.repeat_interleave(scale, 2).repeat_interleave(scale, 3)[..., :rows, :columns])
        features = torch.cat(seen, dim=1)
        return torch.cat([features, BINS - 1 - features.clamp(max=BINS - 1)], dim=1)

    def winners(self, read: UInt8[Tensor, "batch read rows columns"]) -> UInt8[Tensor, "batch rows columns"]:
        """Return the class whose neuron spikes first at each pixel, or 0 if none does.

        Among neurons that spike together the one of highest potential wins, then the lowest number.
        """
        spikes = self.readout(read)
        earliest = spikes.latency.amin(dim=1, keepdim=True)
        strength = spikes.potential.masked_fill_(spikes.latency != earliest, -1)
        return (strength.argmax(dim=1) // NEURONS_PER_CLASS).to(torch.uint8)


def input_latency(pixels: UInt8[np.ndarray, "rows columns 3"]) -> UInt8[Tensor, "1 channels rows columns"]:
    """Encode an image at working size in `BINS` spike times.

    Parameters
    ----------
    pixels : ndarray of shape (rows, columns, 3)
        RGB, uint8, 0-255.

    Returns
    -------
    Tensor of shape (1, 12, rows, columns), uint8
        0 (first) to 14, 15 silent: the six channels of `rank_spikes`, where higher values spike earlier, then the
        partner of each, where lower values spike earlier.
    """
    steps = np.rint(rank_spikes(pixels) * BINS).astype(np.uint8)
    return torch.from_numpy(np.concatenate([BINS - steps, steps]))[None]


def seen_at(latency: UInt8[Tensor, "batch channels rows columns"], scale: int) -> UInt8[Tensor, "batch channels r c"]:
    """Return the input of the features of one scale: each window's first spike, with border windows repeated.

    Parameters
    ----------
    latency : Tensor of shape (batch, channels, rows, columns), uint8
    scale : int
        Side of the windows, pixels; those at the last row and column may extend beyond the map.

    Returns
    -------
    Tensor of shape (batch, channels, r, c), uint8
        ``r = ceil(rows / scale) + 2``, and c likewise.
    """
    rows, columns = latency.shape[-2:]
    margin = _KERNEL_PX // 2
    inside = np.pad(latency.numpy(), ((0, 0), (0, 0), (0, -rows % scale), (0, -columns % scale)), mode="edge")
    pooled = pool_latency(torch.from_numpy(inside), scale).numpy()
    return torch.from_numpy(np.pad(pooled, ((0, 0), (0, 0), (margin, margin), (margin, margin)), mode="edge"))


def read_classes(
    network: PlasticSegmenter,
    pixels: UInt8[np.ndarray, "rows columns 3"],
    _light: Light,
    _pixel_size: PixelSize | None = None,
) -> Reading:
    """Return the class of every pixel of an image, without correcting its light, as in this segmenter's training.

    Parameters
    ----------
    network : PlasticSegmenter
    pixels : ndarray of shape (rows, columns, 3)
        RGB, uint8, 0-255.

    Returns
    -------
    Reading
        Without red cells and evidence: this segmenter only finds white cells, and at its own sizes.
    """
    found = network.winners(network(input_latency(at_working_size(pixels))))[0].numpy()
    return Reading(resized_classes(found, pixels.shape[0], pixels.shape[1]))


def resized_classes(classes: UInt8[np.ndarray, "_ _"], rows: int, columns: int) -> UInt8[np.ndarray, "rows columns"]:
    """Resize a map of classes; each pixel gets the class that covers most of its area, among equals the lower."""
    if classes.shape == (rows, columns):
        return classes
    how = Image.Resampling.BOX if rows < classes.shape[0] else Image.Resampling.BILINEAR
    shares = [
        np.asarray(Image.fromarray((classes == number).astype(np.uint8) * 255).resize((columns, rows), how))
        for number in range(len(CLASSES))
    ]
    return np.argmax(shares, axis=0).astype(np.uint8)


def save_plastic(network: PlasticSegmenter, path: Path) -> None:
    """Write a network to `path` atomically."""
    write_weights(path, network.state_dict(), _SETTINGS)


def load_plastic(path: Path) -> PlasticSegmenter:
    """Load a network that `save_plastic` wrote.

    Raises
    ------
    WeightsError
        If the file is missing, not safetensors, of another format or other settings, incomplete, or contains a value
        that is not float32 or outside 0 to 1.
    """
    where = "load_plastic"
    network = PlasticSegmenter(generator=torch.Generator().manual_seed(0))
    give, use = "Pass a file written by save_plastic.", "Use a file written by save_plastic."
    fill(network, path, _SETTINGS, where=where, give=give, use=use)
    for name, weight in network.named_parameters():
        if not 0 <= float(weight.min()) <= float(weight.max()) <= 1:
            msg = "weights must be from 0 to 1"
            raise WeightsError(msg, where=where, got=f"other values in {name} of {path.name}", advice="Train again.")
    return network


@cache
def default_plastic() -> PlasticSegmenter:
    """Return the network with the weights shipped in the package."""
    with resources.as_file(resources.files("leukospike") / "segmentation" / "segmenter_stdp.safetensors") as path:
        return load_plastic(path)
