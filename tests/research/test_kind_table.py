"""The tables of kinds."""

import numpy as np

from research.classification.kind_table import equal_parts


def test_equal_parts_weigh_alike():
    weights = equal_parts(["b", "a", "b", "c", "b"])
    np.testing.assert_allclose(weights, [1 / 3, 1, 1 / 3, 1, 1 / 3])
