"""The shipped classifier: from the numerical features of a cell to the odds that it is leukemic."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from leukospike.classification.appearance import APPEARANCES, appearance_of

HIDDEN = 128


class AppearanceNetwork(nn.Module):
    """Map crops of cells to the logits of (normal, leukemic), by shape and colour only.

    Two hidden layers with GELU on standardised measures. All steps are differentiable
    but those at the cell's outline, so that a decision can be traced back to the pixels.

    Parameters
    ----------
    dropout : float
        Share of each hidden layer left out in training, 0 to 1.

    Examples
    --------
    >>> network = AppearanceNetwork().eval()
    >>> colours = torch.full((2, 3, 96, 96), 0.5)
    >>> network(colours).shape, network.embed(colours).shape
    (torch.Size([2, 2]), torch.Size([2, 107]))
    """

    mean: Float[Tensor, " appearances"]
    spread: Float[Tensor, " appearances"]

    def __init__(self, *, dropout: float = 0.5) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(APPEARANCES))
        self.register_buffer("spread", torch.ones(APPEARANCES))
        self.first = nn.Linear(APPEARANCES, HIDDEN)
        self.second = nn.Linear(HIDDEN, HIDDEN)
        self.decision = nn.Linear(HIDDEN, 2)
        self._dropout = dropout

    def forward(self, colours: Float[Tensor, "batch 3 rows columns"]) -> Float[Tensor, "batch 2"]:
        """Return the logits of (normal, leukemic) of cells whose colours are 0 to 1, black around them."""
        return self.decide(self.embed(colours))

    def scores(self, colours: Float[Tensor, "batch 3 rows columns"]) -> Float[Tensor, " batch"]:
        """Return the log odds that each cell is leukemic, before calibration."""
        logits = self(colours)
        return logits[:, 1] - logits[:, 0]

    def embed(self, colours: Float[Tensor, "batch 3 rows columns"]) -> Float[Tensor, "batch appearances"]:
        """Return the measures of each cell, standardised over the training cells."""
        return self.standardised(appearance_of(colours))

    def standardised(self, measures: Float[Tensor, "batch appearances"]) -> Float[Tensor, "batch appearances"]:
        """Return measures in standard deviations of the training cells, from their mean."""
        return (measures - self.mean) / self.spread

    def decide(self, embedding: Float[Tensor, "batch appearances"]) -> Float[Tensor, "batch 2"]:
        """Return the logits of (normal, leukemic) from standardised measures."""
        return self.decision(self.hidden(embedding))

    def hidden(self, embedding: Float[Tensor, "batch appearances"]) -> Float[Tensor, "batch hidden"]:
        """Return the second hidden layer: `HIDDEN` numbers a cell."""
        embedding = functional.dropout(embedding, self._dropout / 5, self.training)
        hidden = functional.dropout(functional.gelu(self.first(embedding)), self._dropout, self.training)
        return functional.dropout(functional.gelu(self.second(hidden)), self._dropout, self.training)
