"""A classifier with measures of confidence, in one file: networks, calibration, sets, subjects, outliers."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from scipy.special import expit
from torch import nn

from leukospike.classification.appearance import APPEARANCES
from leukospike.classification.appearance_learning import appearances
from leukospike.classification.appearance_network import AppearanceNetwork
from leukospike.classification.network_input import CROP_PX, REDUCTION
from leukospike.classification.source import Reference
from leukospike.confidence import (
    EVEN,
    Calibration,
    ConformalThresholds,
    Guarantee,
    MahalanobisDistance,
    OperatingPoint,
    SubjectModel,
    fit_calibration,
    fit_conformal,
    fit_subject_model,
    flag_threshold,
    threshold_at_sensitivity,
)
from leukospike.confidence.stored import read_count, read_number
from leukospike.errors import WeightsError
from leukospike.learning.chance import undrawn
from leukospike.storage.weights import check_settings, read_weights, write_weights, wrong_part

ERROR_RATE = 0.1
"""Share of cells of new subjects whose set may miss the label."""

SENSITIVITY = 0.9
"""Target of the operating point."""

_MOST_NETWORKS = 100
_FORMAT = "leukospike-classifier-2"
_SETTINGS = {"format": _FORMAT, "crop_px": CROP_PX, "reduction": REDUCTION, "appearances": APPEARANCES}


@dataclass(frozen=True)
class Confidence:
    """Parameters fitted on cells of subjects that the networks have not seen."""

    calibration: Calibration
    conformal: ConformalThresholds
    operating: OperatingPoint
    """For an own choice; the decision on a cell is by its probability at one half."""
    subjects: SubjectModel
    outlier_distance: float
    """Cells farther from the training cells are flagged."""


@dataclass(frozen=True)
class Judgement:
    """Results for cells, at an even prevalence."""

    probability: Float[np.ndarray, " n"]
    """Calibrated, of being leukemic."""
    sets: Bool[np.ndarray, "n 2"]
    """Whether normal, and whether leukemic, remains possible at the error rate."""
    distance: Float[np.ndarray, " n"]
    """From the training cells."""
    outlier: Bool[np.ndarray, " n"]


@dataclass(frozen=True)
class Classifier:
    """Maps crops to judgements."""

    networks: tuple[AppearanceNetwork, ...]
    confidence: Confidence
    distance: MahalanobisDistance
    """On standardised appearances."""
    reference: Reference
    """How the training cells look."""
    card: Mapping[str, Any]
    """Model card: data, licences, subjects, protocol, figures, limits, intended use."""

    def judge(self, crops: UInt8[np.ndarray, "n rows columns 3"]) -> Judgement:
        """Judge cells.

        Parameters
        ----------
        crops : ndarray of shape (n, rows, columns, 3), uint8
            As `network_input.cell_crop` makes them, of the training cells' size and stain.

        Returns
        -------
        Judgement
        """
        return self.judge_appearances(appearances(crops))

    def judge_appearances(self, measures: Float[np.ndarray, "n appearances"]) -> Judgement:
        """Judge cells by their features."""
        score, embedding = ensemble(self.networks, measures)
        probability = self.confidence.calibration.apply(expit(score))
        distance = self.distance.distances(embedding)
        return Judgement(
            probability,
            self.confidence.conformal.sets(probability),
            distance,
            distance > self.confidence.outlier_distance,
        )

    def digest(self) -> str:
        """Return a digest of all weights and settings, which permanently identifies the model of an analysis."""
        digest = hashlib.sha256(json.dumps(_settings_of(self), sort_keys=True).encode())
        for tensor in _tensors_of(self).values():
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()


def ensemble(
    networks: Sequence[AppearanceNetwork], measures: Float[np.ndarray, "n appearances"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n appearances"]]:
    """Return the mean log odds of networks that were standardised alike, before calibration, and the embedding."""
    with torch.inference_mode():
        embedding = networks[0].standardised(torch.from_numpy(measures))
        logits = torch.stack([network.decide(embedding) for network in networks]).mean(dim=0)
    return (logits[:, 1] - logits[:, 0]).double().numpy(), embedding.numpy()


def fit_confidence(
    scores: Float[np.ndarray, " n"],
    distances: Float[np.ndarray, " n"],
    labels: Int64[np.ndarray, " n"],
    subjects: np.ndarray,
) -> Confidence:
    """Fit the measures of confidence.

    Parameters
    ----------
    scores, distances : ndarray of shape (n,)
        Log odds, and distances from the training cells, of cells of subjects that the networks have not seen: out of
        the folds of a cross-validation.
    labels, subjects : ndarray of shape (n,)

    Returns
    -------
    Confidence
        Its conformal sets are `Guarantee.MARGINAL`: with so few normal subjects, those by class say nothing.
    """
    calibration = fit_calibration(expit(scores), labels, prevalence=EVEN)
    probability = calibration.apply(expit(scores))
    return Confidence(
        calibration=calibration,
        conformal=fit_conformal(probability, labels, subjects, alpha=ERROR_RATE, guarantee=Guarantee.MARGINAL),
        operating=threshold_at_sensitivity(probability, labels, subjects, sensitivity=SENSITIVITY),
        subjects=fit_subject_model(probability, labels, subjects, threshold=EVEN),
        outlier_distance=flag_threshold(distances, subjects),
    )


def write_classifier(classifier: Classifier, path: Path) -> None:
    """Write a classifier to `path`, whole or not at all: safetensors, with all else as JSON in its header."""
    write_weights(path, _tensors_of(classifier), _settings_of(classifier))


def read_classifier(path: Path) -> Classifier:
    """Read what `write_classifier` wrote.

    Raises
    ------
    WeightsError
        If the file is missing, not safetensors, of another program, or holds a part that is missing or impossible.
    """
    where = "read_classifier"
    stored = read_weights(path, form=_FORMAT, where=where, give="Install the package again.", use="Train a classifier.")
    check_settings(where, path, stored, _SETTINGS)
    try:
        settings = stored.settings
        read_count(where, settings, "networks", 1, _MOST_NETWORKS)
        networks: list[AppearanceNetwork] = []
        for number in range(settings["networks"]):
            with undrawn():
                network = AppearanceNetwork()
            start = f"network.{number}."
            own = {
                name.removeprefix(start): tensor for name, tensor in stored.tensors.items() if name.startswith(start)
            }
            network.load_state_dict(own)
            if bool((network.spread <= 0).any()):
                msg = f"a spread of {float(network.spread.min())}"
                raise ValueError(msg)
            networks.append(network.eval().requires_grad_(requires_grad=False))
        distance = {
            name.removeprefix("distance."): tensor.numpy()
            for name, tensor in stored.tensors.items()
            if name.startswith("distance.")
        }
        require_all_used(stored.tensors, networks, n_others=len(distance))
        confidence = settings["confidence"]
        return Classifier(
            networks=tuple(networks),
            confidence=Confidence(
                calibration=Calibration.from_stored(confidence["calibration"]),
                conformal=ConformalThresholds.from_stored(confidence["conformal"]),
                operating=OperatingPoint.from_stored(confidence["operating"]),
                subjects=SubjectModel.from_stored(confidence["subjects"]),
                outlier_distance=read_number(where, confidence, "outlier_distance", 0, 1e6),
            ),
            distance=MahalanobisDistance.from_stored(distance),
            reference=Reference.from_stored(where, settings["reference"]),
            card=dict(settings["card"]),
        )
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        if isinstance(error, WeightsError):
            raise
        raise wrong_part(where, path, error) from error


def require_all_used(tensors: Mapping[str, torch.Tensor], networks: Sequence[nn.Module], *, n_others: int = 0) -> None:
    """Refuse a file of more tensors than its networks have, or whose networks were not standardised alike.

    Raises
    ------
    ValueError
        If so: the networks left out, or what standardises all but the first, would count for nothing.
    """
    if len(tensors) != n_others + sum(len(network.state_dict()) for network in networks):
        msg = f"{len(tensors)} tensors for {len(networks)} networks"
        raise ValueError(msg)
    alike = [network for network in networks if isinstance(network, AppearanceNetwork)]
    if any(not (torch.equal(one.mean, alike[0].mean) and torch.equal(one.spread, alike[0].spread)) for one in alike):
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
        "networks": len(classifier.networks),
        "confidence": {
            "calibration": confidence.calibration.stored(),
            "conformal": confidence.conformal.stored(),
            "operating": confidence.operating.stored(),
            "subjects": confidence.subjects.stored(),
            "outlier_distance": confidence.outlier_distance,
        },
        "reference": classifier.reference.stored(),
        "card": dict(classifier.card),
    }


def _tensors_of(classifier: Classifier) -> dict[str, torch.Tensor]:
    """Return the content of the file's body."""
    tensors = {
        f"network.{number}.{name}": tensor
        for number, network in enumerate(classifier.networks)
        for name, tensor in network.state_dict().items()
    }
    return tensors | {
        f"distance.{name}": torch.from_numpy(array) for name, array in classifier.distance.stored().items()
    }
