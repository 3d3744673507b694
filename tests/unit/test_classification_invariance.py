"""Terms of the loss that compare subjects: against the textbook, and what they do in training."""

import numpy as np
import pytest
import torch

from leukospike.classification.invariance import moment_gap, risk_variance, subject_shrinkage


def test_risk_variance_is_that_of_the_subjects_means():
    rng = np.random.default_rng(0)
    losses, subjects = rng.random(60), rng.integers(0, 7, 60)
    means = [losses[subjects == subject].mean() for subject in np.unique(subjects)]
    found = risk_variance(torch.from_numpy(losses).float(), torch.from_numpy(subjects))
    assert float(found) == pytest.approx(np.var(means), rel=1e-5)
    assert float(risk_variance(torch.tensor([1.0, 5.0]), torch.tensor([3, 3]))) == 0


def test_subjects_of_equal_moments_have_no_gap_however_far_their_classes_are():
    cells = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0] * 40 + [1] * 40)
    subjects = torch.arange(4).repeat_interleave(20)
    features = torch.cat([cells, cells.flip(0), cells + 7, cells + 7])
    assert float(moment_gap(features, labels, subjects)) < 1e-10
    moved = features.clone()
    moved[:20] += 1  # the first subject's mean: 1 from the other's, so a half from their mean, in each feature
    by_mean = float(moment_gap(moved, labels, subjects))
    assert by_mean > 0.1
    spread = features.clone()
    spread[:20] = 2 * cells - cells.mean(dim=0)  # its mean stays
    assert float(moment_gap(spread, labels, subjects)) > 0.1


def test_shrinkage_is_along_what_sets_subjects_of_a_class_apart_and_not_along_the_classes():
    labels = torch.arange(200) // 100
    subjects = torch.arange(200) // 25
    features = torch.zeros(200, 3)
    features[:, 0] = 4.0 * labels  # apart by class
    features[:, 1] = torch.where(subjects % 2 == 0, 2.0, -2.0)  # apart by subject, of variance 4
    shrunk = subject_shrinkage(features, labels, subjects, strength=2.0)
    torch.testing.assert_close(shrunk, torch.diag(torch.tensor([1.0, 1 / 3, 1.0])))  # 1 / sqrt(1 + 2 x 4)
    torch.testing.assert_close(subject_shrinkage(features, labels, subjects, strength=0.0), torch.eye(3))
