"""Scores of held-out cells: computed once for each method, seed and folds left out, and kept."""

import hashlib
import inspect
import time
from collections.abc import Sequence

import numpy as np

from leukospike.classification import (
    appearance,
    appearance_learning,
    appearance_network,
    augmentation,
    cells,
    learning,
    network,
    network_input,
)
from leukospike.storage.files import written_whole
from research import tables
from research.classification import methods
from research.classification.data import Cohort, folds, others
from research.classification.methods import METHODS

_QUICK = (methods, appearance, appearance_learning, appearance_network, cells, network_input)
_SLOW = (methods, augmentation, cells, network_input, learning, network)


def held_out_scores(cohort: Cohort, name: str, held: Sequence[int], seed: int) -> tuple[np.ndarray, float]:
    """Return all cells' log odds by a method fitted on all folds but `held` (NaN where it was), and the seconds of it.

    The seconds are the processor's. Folds and first weights are drawn by the seed.
    """
    method = METHODS[name]
    if method.fit is None:
        parts = [held_out_scores(cohort, member, held, seed) for member in method.members]
        return np.mean([scores for scores, _ in parts], axis=0), sum(seconds for _, seconds in parts)
    sources = [inspect.getsource(module) for module in (_SLOW if method.slow else _QUICK)]
    about = repr([name, sorted(held), seed, cohort.images, list(cohort.cells.subjects), sources])
    kept = tables.RESULTS / "classification" / f"{name}-{hashlib.sha256(about.encode()).hexdigest()[:16]}.npz"
    if not kept.exists():
        number = folds(cohort.cells.labels, cohort.groups, seed)
        train = others(number, held)
        test = np.flatnonzero(np.isin(number, held))
        start = time.process_time()  # not the clock, which tells what else the machine does
        scores = np.full(len(number), np.nan)
        scores[test] = method.fit(cohort, train, test, seed)
        with written_whole(kept) as part:
            np.savez(part, scores=scores, seconds=time.process_time() - start)
    with np.load(kept, allow_pickle=False) as arrays:
        return arrays["scores"], float(arrays["seconds"])
