"""Pictures that are no smears are what they say: many, of one form, and the same each time."""

import numpy as np

from research.segmentation import not_smears


def test_held_out_pictures_are_many_and_of_one_form():
    pictures = not_smears.test_pictures()
    assert len(pictures) >= 60
    for name, pixels in pictures.items():
        assert pixels.dtype == np.uint8, name
        assert pixels.ndim == 3, name
        assert pixels.shape[2] == 3, name
        assert np.ptp(pixels) > 0, name
    assert len({pixels.tobytes() for pixels in pictures.values()}) == len(pictures)


def test_training_pictures_are_the_same_each_time_and_of_every_kind():
    kinds = len(not_smears.KINDS)
    pictures = not_smears.training_pictures(kinds, seed=4)
    again = not_smears.training_pictures(3, seed=4)
    for one, other in zip(pictures, again, strict=False):
        np.testing.assert_array_equal(one, other)
    assert {pixels.dtype for pixels in pictures} == {np.dtype(np.uint8)}
    assert len({pixels.tobytes() for pixels in pictures}) == kinds
