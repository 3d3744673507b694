"""What the pictures show is what was given: read back from the figures."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

from leukospike.errors import ConfigError
from leukospike.spikes import gabor_bank
from leukospike.spikes.plots import plot_features, plot_latency, plot_raster, reconstruct_features

LATENCY = torch.tensor([[[0, 3], [15, 2]], [[1, 15], [15, 2]]], dtype=torch.uint8)


def drawn(figure: Figure, panel: int) -> np.ndarray:
    figure.draw_without_rendering()
    return np.asarray(figure.axes[panel].images[0].get_array())


def one_synapse(channel: int, row: int, column: int) -> Tensor:
    """Give the weights of a feature with one synapse, on 4 channels of 3 x 3."""
    weight = torch.zeros((1, 4, 3, 3))
    weight[0, channel, row, column] = 9.0
    return weight


@pytest.mark.parametrize("place", [(0, 0, 0), (3, 1, 2)])
def test_a_synapse_shows_its_kernel_at_its_place_less_the_mean(place):
    channel, row, column = place
    found = reconstruct_features(one_synapse(*place), stride=4)[0]
    assert found.shape == (13, 13)
    everywhere = reconstruct_features(one_synapse(*place) - 1, stride=4)[0]
    torch.testing.assert_close(found, everywhere)  # what is the same at all places does not count
    expected = torch.zeros((13, 13))
    for r in range(3):
        for c in range(3):
            kernel = gabor_bank()[channel, 0] * (8.0 if (r, c) == (row, column) else -1.0)
            expected[4 * r : 4 * r + 5, 4 * c : 4 * c + 5] += kernel
    torch.testing.assert_close(found, expected)


def test_one_kernel_for_each_channel():
    with pytest.raises(ConfigError, match="one kernel for each of 2 channels, and stride must be at least 1, got 4"):
        reconstruct_features(torch.zeros((1, 2, 3, 3)), stride=4)


def test_a_panel_for_each_feature():
    weight = torch.rand((7, 4, 3, 3), generator=torch.Generator().manual_seed(0))
    figure = plot_features(weight, stride=2, columns=3)
    assert [axes.get_title() for axes in figure.axes] == [str(index) for index in range(7)]
    np.testing.assert_allclose(drawn(figure, 6), reconstruct_features(weight, stride=2)[6], atol=1e-6)


def test_features_that_look_for_nothing_are_grey():
    image = plot_features(torch.ones((1, 4, 3, 3)), stride=2).axes[0].images[0]
    assert image.norm.vmin == -image.norm.vmax < 0


@pytest.mark.parametrize(("count", "columns"), [(0, 3), (2, 0)])
def test_no_feature_or_no_column(count, columns):
    with pytest.raises(ConfigError, match="plot_features: columns and features must be at least 1"):
        plot_features(torch.ones((count, 4, 3, 3)), stride=2, columns=columns)


def test_latency_shows_the_first_of_all_and_each_channel():
    figure = plot_latency(LATENCY)
    np.testing.assert_array_equal(drawn(figure, 0), [[0, 3], [15, 2]])
    np.testing.assert_array_equal(drawn(figure, 1), LATENCY[0])
    np.testing.assert_array_equal(drawn(figure, 2), LATENCY[1])
    assert len(plot_latency(LATENCY[:1]).axes) == 2  # the map and its scale


def test_silence_has_a_colour_of_its_own():
    figure = plot_latency(LATENCY[:1])
    figure.draw_without_rendering()
    colours = figure.axes[0].images[0].to_rgba(np.array([[14, 15]]))[0]
    last, silent = colours
    assert silent.min() > 0.9
    assert np.abs(last - silent).max() > 0.3


def test_raster_shows_every_spike_and_no_silence():
    figure = plot_raster(LATENCY)
    dots = [collection.get_offsets().data.tolist() for collection in figure.axes[0].collections]
    assert dots == [[[0, 0], [3, 1], [2, 3]], [[1, 4], [2, 7]]]
    counts = [bar.get_height() for bar in figure.axes[1].patches]
    assert counts == [1, 1, 2, 1] + 11 * [0]


@pytest.mark.parametrize("plot", [plot_latency, plot_raster])
def test_no_neuron(plot):
    with pytest.raises(ConfigError, match="latency must have at least one neuron, got shape"):
        plot(torch.zeros((0, 2, 2), dtype=torch.uint8))
