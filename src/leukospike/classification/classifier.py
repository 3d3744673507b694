"""The package's classifier, in one file: kinds of cells, how likely a lymphoblast, and how far to believe it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from scipy.special import log_softmax, logsumexp
from torch import Tensor, nn

from leukospike.classification.appearance import APPEARANCES
from leukospike.classification.appearance_learning import appearances
from leukospike.classification.appearance_network import AppearanceNetwork
from leukospike.classification.kind_input import CELL_PX, INPUT_PX, as_smear, at_one_size, coarse_crop
from leukospike.classification.kind_network import AXES, KindNetwork
from leukospike.classification.kinds import KINDS, CellKind
from leukospike.classification.lite_network import folded
from leukospike.classification.network import colours_of
from leukospike.confidence import MahalanobisDistance, SubjectModel
from leukospike.confidence.blend import Blend
from leukospike.confidence.kind_sets import KindThresholds
from leukospike.confidence.stored import read_count, read_number
from leukospike.errors import WeightsError
from leukospike.evaluation.metrics import THRESHOLD
from leukospike.learning.chance import undrawn
from leukospike.side_by_side import one_core_each
from leukospike.storage.weights import check_settings, read_weights, write_weights, wrong_part

ERROR_RATE = 0.1
"""Share of the cells of a kind whose set may miss it."""

FORMAT = "leukospike-classifier-3"
"""By which the file of a classifier is recognised."""

NetworkT = TypeVar("NetworkT", bound=nn.Module)

_BLAST = CellKind.LYMPHOBLAST.place
_BATCH = 4  # measured: what is computed of so few cells stays in the cache of one core
_MOST_NETWORKS = 100
_SETTINGS = {
    "format": FORMAT,
    "input_px": INPUT_PX,
    "cell_px": CELL_PX,
    "appearances": APPEARANCES,
    "kinds": [kind.value for kind in KINDS],
}


@dataclass(frozen=True)
class Confidence:
    """Parameters fitted on cells that the networks had not seen, of subjects and laboratories left out."""

    at_home: Blend
    """The probability of a lymphoblast of a cell as C-NMC shows it: by the network, and by the measures."""
    elsewhere: Blend
    """That of any other cell: by the network alone."""
    sets: KindThresholds
    subjects: SubjectModel
    outlier_distance: float
    """Cells farther from the training cells are flagged."""


@dataclass(frozen=True)
class Judgement:
    """Results for cells."""

    probability: Float[np.ndarray, " n"]
    """Calibrated, of being a lymphoblast, where half of the cells are; 0 to 1."""
    kinds: Float[np.ndarray, "n kinds"]
    """Of each of `kinds.KINDS`; each row sums to 1, and that of the lymphoblast is `probability`."""
    sets: Bool[np.ndarray, "n kinds"]
    """Whether each kind remains possible at the error rate; what a cell is called always does."""
    distance: Float[np.ndarray, " n"]
    """From the training cells."""
    outlier: Bool[np.ndarray, " n"]
    axes: Float32[np.ndarray, "n axes"]
    """Where the cells lie on the network's principal axes."""


@dataclass(frozen=True)
class Classifier:
    """Maps cells to judgements."""

    network: KindNetwork
    measures: tuple[AppearanceNetwork, ...]
    """The second opinion on cells in C-NMC's form: lymphoblast or normal precursor, by the measures of `appearance`."""
    distance: MahalanobisDistance
    """On the network's principal axes."""
    confidence: Confidence
    card: Mapping[str, Any]
    """Model card: data, licences, subjects, protocol, figures, failures, intended use."""

    def judge(
        self,
        cells: UInt8[np.ndarray, "n rows columns 3"],
        *,
        given: Bool[np.ndarray, " n"],
        diameter_um: Float[np.ndarray, " n"],
    ) -> Judgement:
        """Judge cells.

        Parameters
        ----------
        cells : ndarray of shape (n, 192, 192, 3), uint8
            As `kind_input.cell_pixels` makes them.
        given : ndarray of shape (n,), bool
            Whether the picture came as C-NMC's do: of their size, and cut out on black by somebody else. One that also
            has the look of their stain normalisation is taken to be on their scale, and gets the second opinion.
        diameter_um : ndarray of shape (n,)
            Of the disc as large as each cell, micrometres; NaN where it is not known.

        Returns
        -------
        Judgement
        """
        axes, logits, at_home = self._seen(cells, given, diameter_um)
        kinds = log_softmax(logits, axis=1)
        odds = kinds[:, _BLAST] - logsumexp(np.delete(kinds, _BLAST, axis=1), axis=1)
        probability = self.confidence.elsewhere.apply(odds[:, None])
        if at_home.any():
            measured = appearances(np.stack([coarse_crop(cell) for cell in cells[at_home]]))
            opinions = np.stack([odds[at_home], ensemble(self.measures, measured)[0]], axis=1)
            probability[at_home] = self.confidence.at_home.apply(opinions)
        shares = with_blasts(kinds, probability)
        sets = self.confidence.sets.sets(shares)
        sets[np.arange(len(sets)), called_kinds(shares)] = True
        distance = self.distance.distances(axes)
        return Judgement(
            probability,
            shares,
            sets,
            distance,
            distance > self.confidence.outlier_distance,
            axes,
        )

    def _seen(
        self, cells: UInt8[np.ndarray, "n rows columns 3"], given: np.ndarray, diameter_um: np.ndarray
    ) -> tuple[Float32[np.ndarray, "n axes"], Float32[np.ndarray, "n kinds"], Bool[np.ndarray, " n"]]:
        """Return axes and logits by the network, a few cells at a time on each core, and which are at home."""
        axes, logits = np.empty((len(cells), AXES), np.float32), np.empty((len(cells), len(KINDS)), np.float32)
        at_home = np.empty(len(cells), bool)

        @torch.inference_mode()
        def see(first: int) -> None:
            part = slice(first, first + _BATCH)
            sizes = torch.from_numpy(diameter_um[part].astype(np.float32))
            seen = see_cells(self._quick, torch.from_numpy(cells[part]), torch.from_numpy(given[part]), sizes)
            axes[part], logits[part], at_home[part] = (each.numpy() for each in seen)

        with one_core_each() as pool:
            for _ in pool.map(see, range(0, len(cells), _BATCH)):
                pass
        return axes, logits, at_home

    @cached_property
    def _quick(self) -> KindNetwork:
        """The network as it computes fastest."""
        return folded(self.network)

    def digest(self) -> str:
        """Return a digest of all weights and settings, which permanently identifies the model of an analysis."""
        digest = hashlib.sha256(json.dumps(_settings_of(self), sort_keys=True).encode())
        for tensor in _tensors_of(self).values():
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()


def see_cells(
    network: KindNetwork,
    cells: UInt8[Tensor, "n rows columns 3"],
    given: Bool[Tensor, " n"],
    diameter_um: Float[Tensor, " n"],
) -> tuple[Float[Tensor, "n axes"], Float[Tensor, "n kinds"], Bool[Tensor, " n"]]:
    """Show cells to a network, as `Classifier.judge` has them.

    Returns
    -------
    axes, logits : Tensor of shape (n, ...)
    at_home : Tensor of shape (n,), bool
        Whether the picture came as C-NMC's do and looks like them.
    """
    shown, sizes, at_home = as_shown(cells, given, diameter_um)
    axes = network.on_axes(network.features(shown))
    return axes, network.decide(axes, sizes), at_home


def as_shown(
    cells: UInt8[Tensor, "n rows columns 3"], given: Bool[Tensor, " n"], diameter_um: Float[Tensor, " n"]
) -> tuple[Float[Tensor, "n 3 128 128"], Float[Tensor, " n"], Bool[Tensor, " n"]]:
    """Return cells as the network sees them, at one size, and the rest of what `kind_input.as_smear` returns."""
    colours, sizes, at_home = as_smear(colours_of(cells), given, diameter_um)
    return at_one_size(colours)[0], sizes, at_home


def with_blasts(
    kinds: Float[np.ndarray, "n kinds"], probability: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "n kinds"]:
    """Return the probabilities of all kinds where that of a lymphoblast is known better than by the network.

    Parameters
    ----------
    kinds : ndarray of shape (n, kinds)
        Log probabilities by the network.
    probability : ndarray of shape (n,)
        Of a lymphoblast; the others share what is left as the network has it.
    """
    others = np.delete(kinds, _BLAST, axis=1)
    shares = np.exp(others - logsumexp(others, axis=1, keepdims=True)) * (1 - probability[:, None])
    return np.insert(shares, _BLAST, probability, axis=1)


def called_kinds(kinds: Float[np.ndarray, "n kinds"]) -> Int64[np.ndarray, " n"]:
    """Return what each cell is called: a lymphoblast from one half on, else the likeliest of the other kinds.

    So the lymphoblasts of a differential are the cells that are called leukemic, although a cell may be a lymphoblast
    more likely than any one other kind and yet less likely than all of them together.

    Parameters
    ----------
    kinds : ndarray of shape (n, kinds)
        Probabilities.

    Returns
    -------
    ndarray of shape (n,)
        Places in `kinds.KINDS`.
    """
    others = kinds.copy()
    others[:, _BLAST] = -1
    return np.where(kinds[:, _BLAST] >= THRESHOLD, _BLAST, others.argmax(axis=1)).astype(np.int64)


def ensemble(
    networks: Sequence[AppearanceNetwork], measures: Float[np.ndarray, "n appearances"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n appearances"]]:
    """Return the mean log odds of networks that were standardised alike, before calibration, and the embedding."""
    with torch.inference_mode():
        embedding = networks[0].standardised(torch.from_numpy(measures))
        logits = torch.stack([network.decide(embedding) for network in networks]).mean(dim=0)
    return (logits[:, 1] - logits[:, 0]).double().numpy(), embedding.numpy()


def write_classifier(classifier: Classifier, path: Path) -> None:
    """Write a classifier to `path`, whole or not at all: safetensors, with all else as JSON in its header.

    The network is written in half precision: measured, probabilities change by less than .001.
    """
    write_weights(path, _tensors_of(classifier), _settings_of(classifier))


def read_classifier(path: Path) -> Classifier:
    """Read what `write_classifier` wrote.

    Raises
    ------
    WeightsError
        If the file is missing, not safetensors, of another program, or holds a part that is missing or impossible.
    """
    where = "read_classifier"
    stored = read_weights(
        path,
        form=FORMAT,
        where=where,
        give="Install the package again.",
        use="Train a classifier.",
        kinds=(torch.float32, torch.float16),
    )
    check_settings(where, path, stored, _SETTINGS)
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in stored.tensors.items():
        part, _, own = name.partition("/")
        parts.setdefault(part, {})[own] = tensor.float() if tensor.dtype == torch.float16 else tensor
    try:
        settings = stored.settings
        n_measures = read_count(where, settings, "measures", 1, _MOST_NETWORKS)
        measures = tuple(_filled(AppearanceNetwork, parts.pop(f"measures-{number}")) for number in range(n_measures))
        require_alike(measures)
        network = _filled(KindNetwork, parts.pop("network"))
        numbers = {name: {key: value.numpy() for key, value in own.items()} for name, own in parts.items()}
        distance = MahalanobisDistance.from_stored(numbers.pop("distance"))
        if numbers or distance.means.shape[1] != AXES:
            msg = f"unknown parts {sorted(numbers)}" if numbers else "distances on other axes"
            raise ValueError(msg)
        confidence = settings["confidence"]
        return Classifier(
            network=network,
            measures=measures,
            distance=distance,
            confidence=Confidence(
                at_home=Blend.from_stored(confidence["at_home"], n_scores=2),
                elsewhere=Blend.from_stored(confidence["elsewhere"], n_scores=1),
                sets=KindThresholds.from_stored(confidence["sets"], n_kinds=len(KINDS)),
                subjects=SubjectModel.from_stored(confidence["subjects"]),
                outlier_distance=read_number(where, confidence, "outlier_distance", 0, 1e6),
            ),
            card=dict(settings["card"]),
        )
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        if isinstance(error, WeightsError):
            raise
        raise wrong_part(where, path, error) from error


def _filled(kind: type[NetworkT], weights: Mapping[str, torch.Tensor]) -> NetworkT:
    """Make a network of stored weights, refusing divisors that cannot be."""
    with undrawn():
        network = kind()
    network.load_state_dict(weights)
    for name, tensor in network.named_buffers():
        if (name.endswith("running_var") and bool((tensor < 0).any())) or (
            name == "spread" and bool((tensor <= 0).any())
        ):
            msg = f"{name} of {float(tensor.min())}"
            raise ValueError(msg)
    return network.eval().requires_grad_(requires_grad=False)


def require_alike(networks: Sequence[AppearanceNetwork]) -> None:
    """Refuse networks that were not standardised alike: what standardises all but the first would count for nothing.

    Raises
    ------
    ValueError
        If so.
    """
    first = networks[0]
    if any(not (torch.equal(one.mean, first.mean) and torch.equal(one.spread, first.spread)) for one in networks):
        msg = "networks with different standardisation"
        raise ValueError(msg)


@cache
def default_classifier() -> Classifier:
    """Return the package's classifier."""
    with resources.as_file(resources.files("leukospike") / "classification" / "classifier.safetensors") as path:
        return read_classifier(path)


def _settings_of(classifier: Classifier) -> dict[str, Any]:
    """Return the content of the file's header."""
    confidence = classifier.confidence
    return _SETTINGS | {
        "measures": len(classifier.measures),
        "confidence": {
            "at_home": confidence.at_home.stored(),
            "elsewhere": confidence.elsewhere.stored(),
            "sets": confidence.sets.stored(),
            "subjects": confidence.subjects.stored(),
            "outlier_distance": confidence.outlier_distance,
        },
        "card": dict(classifier.card),
    }


def _tensors_of(classifier: Classifier) -> dict[str, torch.Tensor]:
    """Return the content of the file's body."""
    tensors = {
        f"network/{name}": tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in classifier.network.state_dict().items()
    }
    for number, network in enumerate(classifier.measures):
        tensors |= {f"measures-{number}/{name}": tensor for name, tensor in network.state_dict().items()}
    numbers = {f"distance/{name}": array for name, array in classifier.distance.stored().items()}
    return tensors | {name: torch.from_numpy(array) for name, array in numbers.items()}
