"""Training without labels."""

import numpy as np
import torch

from leukospike.classification.network_input import CROP_PX
from research.classification.pretraining import pretrain, twin_loss


def blobs(n: int = 48) -> np.ndarray:
    """Draw cells of many sizes and colours."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:CROP_PX, :CROP_PX] - CROP_PX / 2
    crops = np.zeros((n, CROP_PX, CROP_PX, 3), np.uint8)
    for crop in crops:
        inside = rows**2 + (columns * rng.uniform(0.7, 1.3)) ** 2 < rng.uniform(14, 30) ** 2
        crop[inside] = np.clip(rng.uniform(40, 200, 3) + rng.normal(0, 15, (inside.sum(), 3)), 8, 255)
    return crops


def test_features_that_agree_with_themselves_alone_cost_nothing():
    # Columns of a Hadamard matrix: of mean 0 and spread 1, and uncorrelated.
    two = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    apart = torch.kron(two, torch.kron(two, two))[:, 1:]
    assert float(twin_loss(apart, 3 * apart + 1)) < 1e-6
    assert float(twin_loss(apart, -apart)) > 3.9  # (1 - -1)^2
    assert float(twin_loss(apart[:, [0, 0]], apart[:, [0, 0]])) > 0.01  # one said twice


def test_the_loss_falls_and_follows_the_seed():
    crops = blobs()
    found = pretrain(crops, epochs=6)
    assert len(found.losses) == 6
    assert found.losses[-1] < 0.8 * found.losses[0]
    again = pretrain(crops, epochs=6)
    assert again.losses == found.losses
    assert not found.network.training
    for name, weight in found.network.state_dict().items():
        torch.testing.assert_close(again.network.state_dict()[name], weight, rtol=0, atol=0)
