"""Penalties that make a network decide consistently across subjects.

All cells of a subject are of one class here, so subjects are compared within their class, or by their loss: making all
subjects look alike would erase the difference between the classes.
"""

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from leukospike.classification.cells import LabelledCells


def subject_numbers(cells: LabelledCells) -> Int64[Tensor, " n"]:
    """Return the number of each cell's subject, from 0."""
    return torch.from_numpy(np.unique(np.asarray(cells.subjects), return_inverse=True)[1])


def risk_variance(losses: Float[Tensor, " batch"], subjects: Int64[Tensor, " batch"]) -> Float[Tensor, ""]:
    """Return the variance over subjects of their mean loss (V-REx, doi 10.48550/arXiv.2003.00688).

    Parameters
    ----------
    losses : Tensor of shape (batch,), float32
        Of each cell.
    subjects : Tensor of shape (batch,), int64
        Whose cell.

    Returns
    -------
    Tensor of shape (), float32
        0 for fewer than two subjects.

    Examples
    --------
    >>> risk_variance(torch.tensor([1.0, 3.0, 4.0]), torch.tensor([0, 0, 1]))
    tensor(1.)
    """
    return _variance(_means(losses[:, None], subjects))


def moment_gap(
    features: Float[Tensor, "batch features"], labels: Int64[Tensor, " batch"], subjects: Int64[Tensor, " batch"]
) -> Float[Tensor, ""]:
    """Return how far the subjects of a class differ in the first two moments of their features.

    After deep CORAL (doi 10.1007/978-3-319-49409-8_35), with the diagonal of the covariance alone, since few cells of
    a subject are in a batch: over the subjects of a class, the variance of the mean feature and of its mean square
    about the mean of the class; the mean over both of all features, summed over classes.

    Parameters
    ----------
    features : Tensor of shape (batch, features), float32
    labels, subjects : Tensor of shape (batch,), int64
        Each subject of one class.

    Returns
    -------
    Tensor of shape (), float32

    Examples
    --------
    >>> features, labels, subjects = torch.tensor([[1.0], [3.0], [1.0], [3.0]]), torch.ones(4).long(), torch.arange(4)
    >>> moment_gap(features, labels, subjects // 2), moment_gap(features, labels, subjects % 2)
    (tensor(0.), tensor(0.5000))
    """
    gap = features.new_zeros(())
    for label in labels.unique():
        of_class = labels == label
        about = features[of_class] - features[of_class].mean(dim=0)
        moments = torch.cat([about, about**2], dim=1)
        gap = gap + _variance(_means(moments, subjects[of_class]))
    return gap


def subject_shrinkage(
    features: Float[Tensor, "n features"],
    labels: Int64[Tensor, " n"],
    subjects: Int64[Tensor, " n"],
    *,
    strength: float,
) -> Float[Tensor, "features features"]:
    """Return a matrix that shrinks features along the directions in which subjects of one class differ.

    Within-class covariance normalisation (doi 10.21437/Interspeech.2006-183), regularised: the inverse root of the
    identity and the covariance of the subjects' mean features about the mean of their class, times the strength.

    Parameters
    ----------
    features : Tensor of shape (n, features), float32
        Standardised, so that the identity is of their scale.
    labels, subjects : Tensor of shape (n,), int64
        Each subject of one class.
    strength : float
        At least 0; 0 gives the identity.

    Returns
    -------
    Tensor of shape (features, features), float32
        Symmetric; features are multiplied by it from the right.
    """
    means, classes = _means(features, subjects), _means(labels.to(features.dtype)[:, None], subjects)[:, 0]
    about = torch.cat([means[classes == label] - means[classes == label].mean(dim=0) for label in (0, 1)]).double()
    variance, directions = torch.linalg.eigh(about.T @ about / len(about))
    return (directions / (1 + strength * variance.clamp(min=0)).sqrt() @ directions.T).to(features.dtype)


def _means(values: Float[Tensor, "batch n"], subjects: Int64[Tensor, " batch"]) -> Float[Tensor, "subjects n"]:
    """Return the mean over each subject's cells."""
    _, place, count = subjects.unique(return_inverse=True, return_counts=True)
    return values.new_zeros(len(count), values.shape[1]).index_add(0, place, values) / count[:, None]


def _variance(means: Float[Tensor, "subjects n"]) -> Float[Tensor, ""]:
    """Return the variance over subjects, the mean of all columns."""
    return means.var(dim=0, correction=0).mean()
