"""The network for kinds: a softmax regression on what EfficientNet-Lite0 measures of a cell, and on its diameter."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from leukospike.classification.kind_input import at_one_size, by_nucleus, inside
from leukospike.classification.kinds import KINDS
from leukospike.classification.lite_network import FEATURES, LiteNetwork

AXES = 100
"""Principal axes of the features that the decision is made from."""

_TYPICAL_LOG_UM, _GAIN = 2.48, 3.0  # about the mean log of a white cell's diameter in micrometres, one over its spread


class KindNetwork(nn.Module):
    """Cells to the logits of `kinds.KINDS`.

    The network for photographs stays as it was learned; principal axes and decision are fitted on cells.

    Examples
    --------
    >>> network = KindNetwork().eval()
    >>> axes = network.measure(torch.full((2, 3, 192, 192), 0.5))
    >>> axes.shape, network.decide(axes, torch.tensor([12.0, torch.nan])).shape
    (torch.Size([2, 100]), torch.Size([2, 11]))
    """

    centre: Float[Tensor, " features"]
    axes: Float[Tensor, "features axes"]

    def __init__(self) -> None:
        super().__init__()
        self.body = LiteNetwork()
        self.register_buffer("centre", torch.zeros(FEATURES))
        self.register_buffer("axes", torch.zeros(FEATURES, AXES))
        self.decision = nn.Linear(AXES + 1, len(KINDS))

    def measure(self, colours: Float[Tensor, "batch 3 rows columns"]) -> Float[Tensor, "batch axes"]:
        """Return where cells lie on the principal axes.

        Parameters
        ----------
        colours : Tensor of shape (batch, 3, rows, columns)
            0 to 1, black around the cell, at any size.
        """
        return self.on_axes(self.features(at_one_size(colours)[0]))

    def features(self, shown: Float[Tensor, "batch 3 128 128"]) -> Float[Tensor, "batch features"]:
        """Return what the network measures of cells at one size."""
        standard = by_nucleus(shown).contiguous(memory_format=torch.channels_last)
        return self.body(standard, inside(standard).to(standard.dtype))

    def on_axes(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "batch axes"]:
        """Return where cells lie on the principal axes by their features."""
        return (features - self.centre) @ self.axes

    def decide(
        self, axes: Float[Tensor, "batch axes"], diameter_um: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch kinds"]:
        """Return the logits of cells by where they lie and their diameters; NaN counts as a typical one."""
        return self.decision(torch.cat([axes, size_of(diameter_um)[:, None]], dim=1))


def size_of(diameter_um: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """Return diameters as numbers about 0, which is that of one not known."""
    return ((diameter_um.log() - _TYPICAL_LOG_UM) * _GAIN).nan_to_num(nan=0.0).clamp(-3, 3)
