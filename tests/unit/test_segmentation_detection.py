"""Found cells against listed ones."""

import numpy as np
import pandas as pd

from leukospike.segmentation.detection import Matches, match_centroids


def _cells(*places: tuple[float, float], radius: float = 10) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "row": [row for row, _ in places],
            "column": [column for _, column in places],
            "area_px": [round(np.pi * radius**2)] * len(places),
        }
    )


def test_listed_cell_is_found_within_the_radius_of_a_found_one():
    assert match_centroids([(50.0, 50.0)], _cells((50, 59.5))) == Matches(listed=1, found=1, matched=1)
    assert match_centroids([(50.0, 50.0)], _cells((50, 60.5))) == Matches(listed=1, found=1, matched=0)


def test_each_cell_counts_once():
    assert match_centroids([(50.0, 50.0), (50.0, 55.0)], _cells((50, 52))).matched == 1
    assert match_centroids([(50.0, 50.0)], _cells((50, 52), (50, 48))).matched == 1


def test_the_most_pairs_count_even_where_a_nearer_one_is_given_up():
    # The first listed cell is nearest to the first found one, which is the only one in reach of the second.
    assert match_centroids([(0.0, 0.0), (0.0, 9.0)], _cells((0, 1), (0, -9.0))).matched == 2


def test_one_side_may_be_empty():
    assert match_centroids([], _cells((1, 1))) == Matches(listed=0, found=1, matched=0)
    assert match_centroids([(1.0, 1.0)], _cells()) == Matches(listed=1, found=0, matched=0)
