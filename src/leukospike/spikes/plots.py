"""Pictures of spikes and of learned features, as matplotlib figures, which are not displayed here."""

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
    """Draw what each feature looks for, in pixels: the kernels that it has weights for, added up at their places.

    Parameters
    ----------
    weight : Tensor of shape (features, channels, height, width), float32
        What was learned.
    kernels : Tensor of shape (channels, 1, rows, columns), float32, optional
        What each input channel stands for; the Gabor kernels of `gabor_bank` if left out.
    stride : int
        Pixels between neighbouring positions of the map that the weights are on: the pooling's stride.

    Returns
    -------
    Tensor of shape (features, (height - 1) * stride + rows, (width - 1) * stride + columns), float32
        Light is positive, as in the kernels; a channel's mean over the feature does not count, since uniform weights
        look for nothing.

    Raises
    ------
    ConfigError
        If weights or kernels are none, there is not one kernel a channel, or `stride` is not a positive whole number.
    """
    where = "reconstruct_features"
    check_weight(weight, where)
    kernels = gabor_bank() if kernels is None else kernels
    check_bank(kernels, where, "kernels")
    if len(kernels) != weight.shape[1] or check_whole(stride, where, "stride") < 1:
        msg = f"kernels must be one for each of {weight.shape[1]} channels and stride at least 1"
        raise ConfigError(
            msg,
            where=where,
            got=f"{len(kernels)} and {stride}",
            advice="Give the kernels of the layer below.",
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
    """Show what each feature looks for, side by side.

    Parameters
    ----------
    weight, kernels, stride
        As for `reconstruct_features`.
    columns : int
        Features in a row, at least 1.

    Returns
    -------
    Figure
        One panel a feature, titled with its index; grey is nothing, and each panel has a scale of its own.

    Raises
    ------
    ConfigError
        As for `reconstruct_features`, or if there is no feature or no column.
    """
    check_weight(weight, "plot_features")
    if check_whole(columns, "plot_features", "columns") < 1 or len(weight) == 0:
        msg = "columns and features must be at least 1"
        raise ConfigError(
            msg, where="plot_features", got=f"{columns} and {len(weight)}", advice="Choose features to show."
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
    """Show when each position of one image spikes: the earliest of its channels, and each channel.

    Parameters
    ----------
    latency : Tensor of shape (channels, rows, columns), uint8
        0 to bins - 1; bins is silent.
    bins : int
        Number of time steps, 1 to 255.

    Returns
    -------
    Figure
        Dark is early, nearly white is silent. With one channel there is one panel.

    Raises
    ------
    ConfigError
        If `bins` is not a whole number from 1 to 255, or there is no channel.
    ImageError
        If `latency` is not a tensor of such a shape and type.
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
    """Show every neuron's spike over time: a dot at its time step and its number, coloured by channel.

    Parameters
    ----------
    latency : Tensor of shape (channels, rows, columns), uint8
        0 to bins - 1; bins is silent.
    bins : int
        Number of time steps, 1 to 255.

    Returns
    -------
    Figure
        Neurons are numbered channel by channel and row by row; below, how many spike at each time step.

    Raises
    ------
    ConfigError
        If `bins` is not a whole number from 1 to 255, or there is no channel.
    ImageError
        If `latency` is not a tensor of such a shape and type.
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
    """Return the maps as an array, and refuse none."""
    check_latency(latency, where, axes=("channel", "row", "column"))
    if latency.numel() == 0:
        msg = "latency must hold a neuron"
        raise ConfigError(msg, where=where, got=f"shape {tuple(latency.shape)}", advice="Give the map of one image.")
    return latency.cpu().numpy()


def _figure(columns: int, rows: int) -> Figure:
    """Make an empty figure with room for so many panels."""
    # Not through pyplot, which would keep it.
    figure = Figure(figsize=(_PANEL_INCHES * columns + 1, _PANEL_INCHES * rows + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
