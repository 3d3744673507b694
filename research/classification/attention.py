"""Subjects by learned attention over their cells, against the mean.

Gated attention [1]_ on the standardised measures of a subject's cells: the network learns which cells to look at, and
to tell leukemic subjects by them. Trained on the subjects of four folds, tested on those of the fifth.

References
----------
.. [1] Ilse, Tomczak, Welling, Attention-based deep multiple instance learning, ICML 2018, arXiv 1802.04712, equation 9.
"""

import numpy as np
import torch
from sklearn.metrics import brier_score_loss, roc_auc_score
from torch import Tensor, nn

from leukospike.evaluation.metrics import per_subject
from research import tables
from research.classification.data import FOLDS, Cohort, cohort, folds, others
from research.classification.nested import SEEDS
from research.classification.scores import held_out_scores

WIDTH = 32
STEPS = 600
CELLS = 64  # of a subject at a time, drawn anew
BAGS = 8
RATE, DECAY, DROPOUT = 0.001, 0.05, 0.3


class Attention(nn.Module):
    """Cells of a subject to the logit of leukemia."""

    def __init__(self, measures: int) -> None:
        super().__init__()
        self.told = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(measures, WIDTH), nn.GELU(), nn.Dropout(DROPOUT))
        self.what, self.gate = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.weight, self.decision = nn.Linear(WIDTH, 1), nn.Linear(WIDTH, 1)

    def forward(self, bags: Tensor) -> Tensor:
        """Return a logit for each (bag, cell, measure)."""
        told = self.told(bags)
        attention = self.weight(self.what(told).tanh() * self.gate(told).sigmoid()).softmax(dim=1)
        return self.decision((attention * told).sum(dim=1))[:, 0]


def run() -> None:
    """Print and save area under the curve and Brier score of both, for each seed."""
    torch.set_num_threads(1)
    cells = cohort()
    rows = [judged(cells, seed) for seed in SEEDS]
    print(tables.table("Learned attention over a subject's cells, C-NMC, subjects held out", rows))
    tables.save("classification-attention", {"rows": rows})


def judged(cells: Cohort, seed: int) -> dict[str, str]:
    """Test each fold's subjects by what was trained on the others."""
    labels, groups = cells.cells.labels, cells.groups
    number = folds(labels, groups, seed)
    names = np.unique(groups)
    truth = np.array([labels[groups == name][0] for name in names])
    learned, mean = np.empty(len(names)), np.empty(len(names))
    for fold in range(FOLDS):
        train, held = others(number, [fold]), np.flatnonzero(number == fold)
        network, centre, spread = trained(cells, train, seed)
        for name in np.unique(groups[held]):
            own = torch.from_numpy((cells.appearances[groups == name] - centre) / spread)
            with torch.inference_mode():
                learned[names == name] = float(network(own[None]).sigmoid())
        scores = held_out_scores(cells, "appearance", [fold], seed)[0][held]
        _, means, of = per_subject(labels[held], 1 / (1 + np.exp(-scores)), groups[held])
        for name, value in zip(of, means, strict=True):
            mean[names == name] = value
    return {
        "seed": str(seed),
        "attention: AUC": f"{roc_auc_score(truth, learned):.3f}",
        "attention: Brier": f"{brier_score_loss(truth, learned):.3f}",
        "mean probability: AUC": f"{roc_auc_score(truth, mean):.3f}",
        "mean probability: Brier": f"{brier_score_loss(truth, mean):.3f}",
    }


def trained(cells: Cohort, train: np.ndarray, seed: int) -> tuple[Attention, np.ndarray, np.ndarray]:
    """Train on bags of the cells of one subject each, classes drawn alike."""
    known, groups, labels = cells.appearances[train], cells.groups[train], cells.cells.labels[train]
    centre, spread = known.mean(axis=0), known.std(axis=0)
    measures = torch.from_numpy((known - centre) / spread)
    bags = [np.flatnonzero(groups == name) for name in np.unique(groups)]
    truth = np.array([labels[bag[0]] for bag in bags])
    odds = 0.5 / np.bincount(truth)[truth]
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    network = Attention(measures.shape[1])
    adam = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    for _ in range(STEPS):
        drawn = rng.choice(len(bags), BAGS, p=odds)
        places = np.stack([rng.choice(bags[bag], CELLS) for bag in drawn])
        target = torch.from_numpy(truth[drawn]).float()
        loss = nn.functional.binary_cross_entropy_with_logits(network(measures[places]), target)
        adam.zero_grad()
        loss.backward()
        adam.step()
    return network.eval(), centre, spread
