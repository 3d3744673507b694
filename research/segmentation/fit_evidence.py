"""`python -m research.segmentation.fit_evidence`: fit what tells white cells, on objects of unseen images."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from leukospike.segmentation.evidence import MEASURES, EvidenceNetwork, save_evidence
from research.segmentation.fit import SEED
from research.segmentation.objects import Found
from research.segmentation.readings import FOLDS, NOT_SMEARS, changed_readings_of, readings_of

SHIPPED = Path("src/leukospike/segmentation/evidence.safetensors")

STEPS, RATE, DECAY = 600, 0.02, 3e-3
_NOT_SMEARS_WEIGHT = 0.5
_CHULA_MISSED = 0.95  # in chula, where some cells are not boxed, what the network is so sure of teaches nothing


@dataclass(frozen=True)
class Objects:
    """Objects of some images, each with what it is."""

    group: np.ndarray
    """Laboratory of each."""
    measures: np.ndarray
    """Float32 (objects, measures)."""
    is_cell: np.ndarray
    """1 or 0."""

    def of(self, chosen: np.ndarray) -> "Objects":
        """Return some of them."""
        return Objects(self.group[chosen], self.measures[chosen], self.is_cell[chosen])


def objects_of(found: Sequence[tuple[Found, np.ndarray]]) -> Objects:
    """Put together the objects of images of which it is known what they are."""
    groups, rows, answers = [], [], []
    for one, each in found:
        known = ~np.isnan(each)
        if one.set == "chula":
            sure = 1 / (1 + np.exp(-one.evidence[:, MEASURES.index("white")]))
            known &= ~((each == 0) & (sure >= _CHULA_MISSED))
        groups += [one.set] * int(known.sum())
        rows.append(one.evidence[known])
        answers.append(each[known])
    measures = np.concatenate([np.zeros((0, len(MEASURES)), np.float32), *rows])
    return Objects(np.array(groups), measures, np.concatenate([np.zeros(0), *answers]))


def fit_evidence(objects: Objects, *, seed: int = SEED) -> EvidenceNetwork:
    """Fit the network to objects, laboratories weighing alike."""
    weight = np.zeros(len(objects.is_cell))
    for group in np.unique(objects.group):
        own = objects.group == group
        weight[own] = (_NOT_SMEARS_WEIGHT if group == NOT_SMEARS else 1.0) / own.sum()
    weight = torch.from_numpy(weight / weight.sum()).float()
    measures, answers = (torch.from_numpy(part).float() for part in (objects.measures, objects.is_cell))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = EvidenceNetwork()
    network.middle.copy_(measures.mean(dim=0))
    network.spread.copy_(measures.std(dim=0).clamp(min=1e-3))
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    for step in range(STEPS):
        for group in optimiser.param_groups:
            group["lr"] = RATE * (1 - step / STEPS)
        loss = (
            weight * functional.binary_cross_entropy_with_logits(network(measures), answers, reduction="none")
        ).sum()
        decay = DECAY * sum(layer.weight.square().sum() for layer in (network.hidden, network.out))
        optimiser.zero_grad()
        (loss + decay).backward()
        optimiser.step()
    return network.eval().requires_grad_(requires_grad=False)


def main() -> int:
    """Fit on the objects of all folds' test images, for the package."""
    argparse.ArgumentParser(prog="python -m research.segmentation.fit_evidence", description=__doc__).parse_args()
    found = [one for run in FOLDS for one in (*readings_of(run), *changed_readings_of(run))]
    objects = objects_of(found)
    save_evidence(fit_evidence(objects), SHIPPED)
    print(f"{len(objects.is_cell)} objects, {int(objects.is_cell.sum())} of them white cells: {SHIPPED}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
