"""Plots of spikes and of learned features, as matplotlib figures; they are returned, not displayed."""

import math

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor
from torch.nn.functional import conv_transpose2d

from leukospike.errors import ConfigError
from leukospike.spikes.encoding import BINS
from leukospike.spikes.gabor import check_bank, gabor_bank
from leukospike.spikes.maps import check_latency, check_weight, check_whole
from leukospike.spikes.waves import check_bins

_PANEL_INCHES = 2.2
_SILENT_COLOUR = "#f4f4f4"


def reconstruct_features(
    weight: Float[Tensor, "features channels height width"],
    kernels: Float[Tensor, "channels 1 rows columns"] | None = None,
    *,
    stride: int,
) -> Float[Tensor, "features r c"]:
    """Reconstruct what each feature detects, in pixels, as the sum of its kernels at their positions.

    Parameters
    ----------
    weight : Tensor of shape (features, channels, height, width), float32
        Learned weights.
    kernels : Tensor of shape (channels, 1, rows, columns), float32, optional
        Kernel of each input channel; by default the Gabor kernels of `gabor_bank`.
    stride : int
        Pixels between neighbouring positions of the map that the weights apply to: the pooling's stride.

    Returns
    -------
    Tensor of shape (features, (height - 1) * stride + rows, (width - 1) * stride + columns), float32
        Light is positive, as in the kernels. A channel's mean over the feature is subtracted, since uniform weights
        detect nothing.

    Raises
    ------
    ConfigError
        If weights or kernels are invalid, there is not one kernel per channel, or `stride` is not a positive whole
        number.
    """
    where = "reconstruct_features"
    check_weight(weight, where)
    kernels = gabor_bank() if kernels is None else kernels
    check_bank(kernels, where, "kernels")
    if len(kernels) != weight.shape[1] or check_whole(stride, where, "stride") < 1:
        msg = f"there must be one kernel for each of {weight.shape[1]} channels, and stride must be at least 1"
        raise ConfigError(
            msg,
            where=where,
            got=f"{len(kernels)} and {stride}",
            advice="Pass the kernels of the layer below.",
        )
    weight = weight.detach()
    uneven = weight - weight.mean(dim=(2, 3), keepdim=True)
    return conv_transpose2d(uneven, kernels.to(weight), stride=stride)[:, 0]


def plot_features(
    weight: Float[Tensor, "features channels height width"],
    kernels: Float[Tensor, "channels 1 rows columns"] | None = None,
    *,
    stride: int,
    columns: int = 10,
) -> Figure:
    """Plot what each feature detects, side by side.

    Parameters
    ----------
    weight, kernels, stride
        As for `reconstruct_features`.
    columns : int
        Features per row, at least 1.

    Returns
    -------
    Figure
        One panel per feature, titled with its index; grey is 0, and each panel has its own scale.

    Raises
    ------
    ConfigError
        As for `reconstruct_features`, or if there are no features or no columns.
    """
    check_weight(weight, "plot_features")
    if check_whole(columns, "plot_features", "columns") < 1 or len(weight) == 0:
        msg = "columns and features must be at least 1"
        raise ConfigError(
            msg, where="plot_features", got=f"{columns} and {len(weight)}", advice="Select features to show."
        )
    images = reconstruct_features(weight, kernels, stride=stride).cpu().numpy()
    columns = min(columns, len(images))
    figure = _figure(columns, math.ceil(len(images) / columns))
    for index, image in enumerate(images):
        axes = figure.add_subplot(math.ceil(len(images) / columns), columns, index + 1)
        reach = float(np.abs(image).max()) or 1.0
        axes.imshow(image, cmap="gray", vmin=-reach, vmax=reach)
        axes.set_title(str(index), fontsize=8)
        axes.set_axis_off()
    return figure


def plot_latency(latency: UInt8[Tensor, "channels rows columns"], *, bins: int = BINS) -> Figure:
    """Plot when each position of one image spikes: the earliest spike over the channels, and each channel.

    Parameters
    ----------
    latency : Tensor of shape (channels, rows, columns), uint8
        0 to bins - 1; bins is silent.
    bins : int
        Number of time steps, 1 to 255.

    Returns
    -------
    Figure
        Dark is early, nearly white is silent. A single channel has a single panel.

    Raises
    ------
    ConfigError
        If `bins` is not a whole number from 1 to 255, or there are no channels.
    ImageError
        If `latency` is not a tensor of this shape and type.
    """
    check_bins(bins, "plot_latency")
    channels = _some_channels(latency, "plot_latency")
    panels = [("first of all", channels.min(axis=0))] if len(channels) > 1 else []
    panels += [(f"channel {index}", channel) for index, channel in enumerate(channels)]
    figure = _figure(len(panels), 1)
    colours = ListedColormap(colormaps["viridis"](np.linspace(0, 1, bins)))
    colours = colours.with_extremes(over=_SILENT_COLOUR)
    norm = BoundaryNorm(np.arange(bins + 1) - 0.5, bins)
    drawn = []
    for index, (title, panel) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), index + 1)
        drawn.append(axes.imshow(panel, cmap=colours, norm=norm, interpolation="nearest"))
        axes.set_title(title, fontsize=8)
        axes.set_axis_off()
    bar = figure.colorbar(drawn[0], ax=figure.axes, extend="max", label="time step of the first spike")
    bar.set_ticks(MaxNLocator(6, integer=True).tick_values(0, bins - 1))
    bar.minorticks_off()
    return figure


def plot_raster(latency: UInt8[Tensor, "channels rows columns"], *, bins: int = BINS) -> Figure:
    """Plot every neuron's spike over time, as a dot at its time step and number, coloured by channel.

    Parameters
    ----------
    latency : Tensor of shape (channels, rows, columns), uint8
        0 to bins - 1; bins is silent.
    bins : int
        Number of time steps, 1 to 255.

    Returns
    -------
    Figure
        Neurons are numbered channel by channel and row by row; a second panel counts the spikes of each time step.

    Raises
    ------
    ConfigError
        If `bins` is not a whole number from 1 to 255, or there are no channels.
    ImageError
        If `latency` is not a tensor of this shape and type.
    """
    check_bins(bins, "plot_raster")
    channels = _some_channels(latency, "plot_raster")
    figure = Figure(figsize=(6, 5), layout="constrained")
    FigureCanvasAgg(figure)
    raster, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    size = channels[0].size
    dot = np.clip(8000 / channels.size, 1, 20)
    for index, channel in enumerate(channels):
        spikes = np.flatnonzero(channel < bins)
        raster.scatter(channel.flat[spikes], index * size + spikes, s=dot, linewidths=0, label=f"channel {index}")
    raster.set_ylabel("neuron")
    raster.set_ylim(-0.5, len(channels) * size - 0.5)
    counts.bar(np.arange(bins), np.bincount(channels[channels < bins], minlength=bins), color="#767676")
    counts.set_ylabel("spikes")
    counts.set_xlabel("time step")
    counts.set_xlim(-0.5, bins - 0.5)
    return figure


def _some_channels(latency: Tensor, where: str) -> np.ndarray:
    """Return the maps as an array; raise an error if they are empty."""
    check_latency(latency, where, axes=("channel", "row", "column"))
    if latency.numel() == 0:
        msg = "latency must have at least one neuron"
        raise ConfigError(msg, where=where, got=f"shape {tuple(latency.shape)}", advice="Pass the map of one image.")
    return latency.cpu().numpy()


def _figure(columns: int, rows: int) -> Figure:
    """Make an empty figure with room for this many panels."""
    # Not through pyplot, which would keep a reference.
    figure = Figure(figsize=(_PANEL_INCHES * columns + 1, _PANEL_INCHES * rows + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
