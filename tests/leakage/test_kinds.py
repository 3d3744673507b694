"""The network for kinds must not know the cells that it will be judged by."""

import numpy as np
import torch

from leukospike.classification.kind_learning import KindTraining, Views, fit_kinds
from leukospike.classification.kind_network import KindNetwork
from leukospike.classification.kinds import KINDS
from leukospike.classification.lite_network import FEATURES


def test_altering_other_cells_leaves_every_weight() -> None:
    n = 60
    rng = np.random.default_rng(0)
    places = np.flatnonzero(np.arange(n) % 3)
    others = np.arange(n) % 3 == 0
    features = rng.normal(0, 1, (2 * n, FEATURES)).astype(np.float32)
    kinds, sizes = rng.integers(0, 3, n), rng.uniform(7, 20, n).astype(np.float32)
    weights = rng.uniform(0.5, 1, n)
    body = KindNetwork()

    def fitted(*, altered: bool) -> dict[str, torch.Tensor]:
        change = others & altered
        return fit_kinds(
            Views(np.where(np.tile(change, 2)[:, None], 7 - 5 * features, features), np.tile(np.arange(n), 2)),
            np.where(change, len(KINDS) - 1 - kinds, kinds),
            np.where(change, 30 * weights, weights),
            np.where(change, np.float32(99), sizes),
            places,
            KindTraining(views=1),
            body=body,
        ).state_dict()

    before, after = fitted(altered=False), fitted(altered=True)
    assert before["decision.weight"].abs().max() > 0.01
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor), name
