"""Pictures that are no blood smears: some to test on, and others, drawn by other means, to fit on.

`held_out` has photographs of installed packages and drawn pictures of many kinds, which nothing may be fitted to;
`training` draws any number at random. They share no generator and no photograph.
"""

from research.segmentation.not_smears.held_out import test_pictures
from research.segmentation.not_smears.training import KINDS, training_pictures

__all__ = ["KINDS", "test_pictures", "training_pictures"]
