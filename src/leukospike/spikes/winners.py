"""Winner-take-all: the first neurons to spike, one per feature, which learn or decide."""

import torch
from jaxtyping import Int64
from torch import Tensor

from leukospike.spikes.maps import check_count
from leukospike.spikes.waves import Spikes, check_spikes


def k_winners(spikes: Spikes, k: int, radius: int = 0) -> Int64[Tensor, "batch k 3"]:
    """Select up to k neurons of each image one after another; each silences its feature and its neighbourhood.

    The earliest neuron wins, then the one of highest potential, then the lowest (feature, row, column). After a win
    its feature is silenced, and so are all features at positions at most `radius` rows and columns away.

    Parameters
    ----------
    spikes : Spikes
        Of shape (batch, channels, rows, columns).
    k : int
        Maximum number of winners per image, at least 1.
    radius : int
        Radius of a winner's inhibition, pixels; 0 is its own position.

    Returns
    -------
    Tensor of shape (batch, k, 3), int64
        Feature, row and column in the order of winning; -1 if no neuron is left.

    Raises
    ------
    ConfigError
        If `k` is not a whole number of at least 1, or `radius` not one of at least 0.
    ImageError
        If `spikes` is not `Spikes`.

    Examples
    --------
    >>> import torch
    >>> latency = torch.tensor([[3, 0], [1, 15]], dtype=torch.uint8).view(1, 2, 1, 2)
    >>> potential = torch.tensor([[7.0, 6.0], [8.0, 0.0]]).view(1, 2, 1, 2)
    >>> k_winners(Spikes(latency, potential), k=3)
    tensor([[[ 0,  0,  1],
             [ 1,  0,  0],
             [-1, -1, -1]]])
    """
    check_count(k, "k_winners", "k", least=1, advice="Request at least one winner.")
    check_count(radius, "k_winners", "radius", least=0, advice="Use 0 to inhibit only the winner's position.")
    check_spikes(spikes, "k_winners")
    latency = spikes.latency.clone()
    batch, channels, rows, columns = latency.shape
    device = latency.device
    winners = torch.full((batch, k, 3), -1, dtype=torch.int64, device=device)
    if latency.numel() == 0:
        return winners
    all_channels = torch.arange(channels, device=device).view(1, -1, 1, 1)
    all_rows = torch.arange(rows, device=device).view(1, 1, -1, 1)
    all_columns = torch.arange(columns, device=device).view(1, 1, 1, -1)
    for place in range(k):
        earliest = latency.amin(dim=(1, 2, 3), keepdim=True)
        strength = spikes.potential.masked_fill(latency != earliest, -torch.inf)
        index = strength.flatten(1).argmax(dim=1)  # the first among equals
        feature = index // (rows * columns)
        row, column = index % (rows * columns) // columns, index % columns
        found = earliest.flatten() < spikes.bins
        winners[found, place] = torch.stack([feature, row, column], dim=1)[found]
        near = (all_rows - row.view(-1, 1, 1, 1)).abs() <= radius
        near = near & ((all_columns - column.view(-1, 1, 1, 1)).abs() <= radius)
        latency.masked_fill_(near | (all_channels == feature.view(-1, 1, 1, 1)), spikes.bins)
    return winners
