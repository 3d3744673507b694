"""A cell of a field, shown as other pictures show theirs: discs, whose size in the picture is known."""

import numpy as np
import pytest

from leukospike.images.framing import Framing
from leukospike.segmentation import Box, Instances
from leukospike.segmentation.crop import crop_cell

ON_BLACK = Framing(side_px=120, um_per_px=0.1, cell_share=0.5, on_black=True)
ON_GLASS = Framing(side_px=120, um_per_px=0.1, cell_share=0.5, on_black=False)


def _field(*discs: tuple[int, int, int], shape: tuple[int, int] = (200, 260)) -> tuple[np.ndarray, Instances]:
    """Draw purple discs (row, column, radius) on pink."""
    pixels = np.full((*shape, 3), (230, 200, 215), np.uint8)
    labels = np.zeros(shape, np.int32)
    boxes = []
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    for number, (row, column, radius) in enumerate(discs, start=1):
        inside = np.hypot(rows - row, columns - column) <= radius
        pixels[inside], labels[inside] = (120, 60, 160), number
        high, wide = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        boxes.append(Box(int(high[0]), int(wide[0]), len(high), len(wide)))
    return pixels, Instances(labels, tuple(boxes))


def _diameter(picture: np.ndarray) -> float:
    """Measure the purple in a picture."""
    return 2 * float(np.sqrt(np.count_nonzero((picture[..., 1] < 130) & (picture[..., 0] > 0)) / np.pi))


@pytest.mark.parametrize("framing", [ON_BLACK, ON_GLASS])
@pytest.mark.parametrize(("um_per_px", "diameter"), [(0.1, 60), (0.2, 120 * 0.98), (0.05, 30)])
def test_cell_has_as_many_pixels_to_the_micrometre_as_others(framing: Framing, um_per_px: float, diameter: float):
    pixels, instances = _field((100, 130, 30))
    picture = crop_cell(pixels, instances, 1, framing, um_per_px=um_per_px)
    assert picture.shape == (120, 120, 3)
    assert _diameter(picture) == pytest.approx(diameter, rel=0.05)


@pytest.mark.parametrize("radius", [12, 30, 70])
@pytest.mark.parametrize("unknown", ["of the field", "of the model"])
def test_without_a_scale_the_cell_takes_up_the_usual_share(radius: int, unknown: str):
    pixels, instances = _field((100, 130, radius))
    framing = ON_BLACK if unknown == "of the field" else Framing(120, None, 0.5, on_black=True)
    picture = crop_cell(pixels, instances, 1, framing, um_per_px=None if unknown == "of the field" else 0.1)
    assert _diameter(picture) == pytest.approx(60, rel=0.05)


def test_cell_is_in_the_middle_and_others_are_not_seen_on_black():
    pixels, instances = _field((100, 130, 30), (100, 185, 20))
    picture = crop_cell(pixels, instances, 1, ON_BLACK, um_per_px=0.1)
    rows, columns = np.nonzero(picture.max(axis=2))
    assert (rows.mean(), columns.mean()) == pytest.approx((59.5, 59.5), abs=1)
    assert np.count_nonzero(picture.max(axis=2)) == pytest.approx(np.pi * 30**2, rel=0.05)
    with_neighbour = crop_cell(pixels, instances, 1, ON_GLASS, um_per_px=0.1)
    assert tuple(with_neighbour[60, 118]) == (120, 60, 160)


def test_black_of_a_cell_is_not_black_of_its_surroundings():
    pixels, instances = _field((100, 130, 30))
    pixels[instances.labels > 0] = 0
    picture = crop_cell(pixels, instances, 1, ON_BLACK, um_per_px=0.1)
    assert picture[60, 60].tolist() == [1, 1, 1]
    assert picture[2, 2].tolist() == [0, 0, 0]


def test_field_goes_on_beyond_its_edge_but_not_on_black():
    pixels, instances = _field((10, 20, 30))
    beyond = crop_cell(pixels, instances, 1, ON_GLASS, um_per_px=0.1)
    assert beyond.shape == (120, 120, 3)
    assert (beyond > 0).all()
    assert not crop_cell(pixels, instances, 1, ON_BLACK, um_per_px=0.1)[:20].any()


@pytest.mark.parametrize("um_per_px", [0.02, 2.0])
@pytest.mark.parametrize("framing", [ON_BLACK, ON_GLASS])
def test_scale_that_does_not_fit_still_gives_a_picture(framing: Framing, um_per_px: float):
    pixels, instances = _field((100, 130, 30), (3, 3, 5))
    for number in (1, 2):
        assert crop_cell(pixels, instances, number, framing, um_per_px=um_per_px).shape == (120, 120, 3)
