"""Pixel size from red cells of known diameter."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leukospike.errors import ConfigError
from leukospike.images import read_image
from leukospike.segmentation.red_cells import (
    MIN_RED_CELLS_SEEN,
    largest_group,
    round_diameters,
    same_size,
    usual_width,
    widths_in_clumps,
)
from leukospike.segmentation.scale import (
    RED_CELL_UM,
    PixelSize,
    agreed_pixel_sizes,
    contradicts,
    pixel_size_from_red_cells,
    stored_pixel_size,
)

Disc = tuple[float, float, float]


def _region(discs: list[Disc], shape: tuple[int, int] = (480, 640), *, pale: bool = True) -> np.ndarray:
    """Draw discs of (row, column, diameter), with a hole where a pale centre is missed."""
    rows, columns = np.indices(shape)
    region = np.zeros(shape, bool)
    for row, column, diameter in discs:
        distance = np.hypot(rows - row, columns - column)
        region |= (distance <= diameter / 2) & (distance >= (diameter / 9 if pale else 0))
    return region


def _grid(diameter: float, step: int = 100) -> list[Disc]:
    return [(row + 0.3, column - 0.2, diameter) for row in range(80, 420, step) for column in range(80, 580, step)]


def _red_cell_px(discs: list[Disc]) -> float:
    size = pixel_size_from_red_cells(same_size(round_diameters(_region(discs))))
    assert size is not None
    return size.red_cell_px


# --- what is measured on a region ---


@pytest.mark.parametrize("pale", [True, False])
@pytest.mark.parametrize("diameter", [12, 20, 30, 50, 80])
def test_diameter_of_whole_discs_is_found(diameter: int, pale: bool):
    found = round_diameters(_region(_grid(diameter), pale=pale))
    assert len(found) == 20
    np.testing.assert_allclose(found, diameter, rtol=0.03)


def test_specks_do_not_count():
    rng = np.random.default_rng(0)
    specks = [(*rng.uniform(3, 40, 2), 6.0) for _ in range(5)]
    np.testing.assert_allclose(round_diameters(_region([*specks, *_grid(60)])), 60, rtol=0.03)


def test_discs_that_the_border_cuts_are_left_out():
    # Cut by less than a tenth of their diameter, they would still pass for round.
    ends = [(row, column, 60.0) for row in (27.0, 452.0) for column in (100.0, 220.0, 340.0, 460.0)]
    sides = [(row, column, 60.0) for row in (130.0, 250.0, 350.0) for column in (27.0, 612.0)]
    whole = [(row, column, 60.0) for row in (160.0, 300.0) for column in (160.0, 320.0, 480.0)]
    np.testing.assert_allclose(round_diameters(_region([*ends, *sides, *whole])), [60] * 6, rtol=0.03)
    assert len(round_diameters(_region([*ends, *sides]))) == 0


def test_long_and_dented_pieces_are_left_out():
    rows, columns = np.indices((480, 640))
    region = _region(_grid(50)[:3])
    region |= np.hypot((rows - 300) / 2, columns - 100) <= 25  # twice as long as wide
    region |= (np.hypot(rows - 300, columns - 250) <= 30) & ~(np.hypot(rows - 300, columns - 285) <= 25)
    region[280:320, 400:480] = True  # an oblong
    np.testing.assert_allclose(round_diameters(region), [50] * 3, rtol=0.03)


def test_clumps_are_parted_where_too_few_lie_alone():
    # Drawn to overlap by a tenth; a part lacks the slice that is the other's.
    pairs = [(row, column + shift, 60.0) for row in (100, 240, 380) for column in (150, 400) for shift in (0, 54)]
    found = round_diameters(_region([tuple(map(float, disc)) for disc in pairs], pale=False))
    assert len(found) >= 8
    assert np.median(found) == pytest.approx(60, rel=0.05)


def test_clumps_are_left_out_where_enough_lie_alone():
    alone = _grid(50)[:MIN_RED_CELLS_SEEN]
    clump = [(300.0, 200.0, 80.0), (300.0, 272.0, 80.0)]
    np.testing.assert_allclose(round_diameters(_region([*alone, *clump])), [50] * MIN_RED_CELLS_SEEN, rtol=0.03)


def test_parts_that_the_border_cuts_are_left_out():
    # Both clumps reach the border with one of their discs; only the other one is whole.
    clumps = [(26.0, 100.0, 60.0), (80.0, 100.0, 60.0), (200.0, 26.0, 60.0), (200.0, 80.0, 60.0)]
    assert len(round_diameters(_region(clumps, pale=False))) == 2


@pytest.mark.parametrize("value", [False, True])
def test_region_without_a_round_piece_gives_none(value: bool):
    assert round_diameters(np.full((60, 80), value)).shape == (0,)


@pytest.mark.parametrize("diameter", [24, 50, 90])
def test_usual_width_is_about_the_diameter_of_cut_discs(diameter: int):
    cut = [(0.0, float(column), float(diameter)) for column in range(60, 600, 110)]
    assert usual_width(_region(cut, pale=False)) == pytest.approx(diameter, rel=0.05)
    assert usual_width(_region(_grid(diameter), pale=False)) == pytest.approx(diameter, rel=0.05)
    assert usual_width(np.zeros((50, 60), bool)) == 0


@pytest.mark.parametrize("diameter", [24, 50, 90])
def test_widths_in_clumps_are_diameters_where_discs_overlap(diameter: int):
    clump = [(150.0, float(column), float(diameter)) for column in range(0, 640, round(0.875 * diameter))]
    group, share = largest_group(widths_in_clumps(_region(clump, pale=False)))
    assert np.median(group) == pytest.approx(diameter, rel=0.1)
    assert share > 0.6
    assert widths_in_clumps(np.zeros((50, 60), bool)).shape == (0,)


def test_diameters_do_not_depend_on_how_a_region_is_turned():
    region = _region([(100.0, 130.0, 50.0), (300.0, 200.0, 70.0), (200.0, 400.0, 33.0)])
    found = np.sort(round_diameters(region))
    for turned in (region.T, region[::-1], region[:, ::-1]):
        np.testing.assert_allclose(np.sort(round_diameters(turned)), found)


# --- which of them are of one size ---


def test_largest_group_says_which_share_of_the_area_it_covers():
    group, share = largest_group(np.array([10.0, 30.0, 31.0, 90.0]))
    assert group.tolist() == [90.0]
    assert share == pytest.approx(8100 / (100 + 900 + 961 + 8100))
    assert largest_group(np.zeros(0))[1] == 0


def test_the_size_that_covers_most_is_chosen():
    usual, odd = [48.0, 50.0, 52.0, 55.0], [20.0, 21.0, 90.0]
    assert same_size(np.array([*odd[:2], *usual])).tolist() == usual
    assert same_size(np.array([*usual, *odd[2:]])).tolist() == usual


def test_sizes_that_contradict_tell_nothing():
    assert len(same_size(np.array([20.0, 30.0, 45.0, 66.0]))) == 1  # the largest is half of the area
    assert len(same_size(np.array([20.0, 30.0, 45.0, 66.0, 20.0, 30.0, 45.0]))) == 0
    assert pixel_size_from_red_cells(same_size(np.array([20.0, 20.5, 21.0, 40.0, 30.0, 60.0, 90.0]))) is None
    assert same_size(np.zeros(0)).shape == (0,)


# --- the estimate ---


def test_median_error_over_fields_of_known_size_is_small():
    errors = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        diameter = rng.uniform(20, 90)
        discs = [
            (row, column, diameter * rng.normal(1, 0.05)) for row, column, _ in _grid(1, step=round(1.5 * diameter))
        ]
        errors.append(abs(_red_cell_px(discs) / diameter - 1))
    assert np.median(errors) <= 0.03


def test_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    truth = RED_CELL_UM / 50
    held = 0
    for _ in range(400):
        size = pixel_size_from_red_cells(50 * np.exp(rng.normal(0, 0.06, 20)))
        assert size is not None
        assert size.interval is not None
        low, high = size.interval
        assert low < size.um_per_px < high
        held += low <= truth <= high
    assert 0.9 <= held / 400 <= 0.98


def test_interval_narrows_with_more_cells():
    rng = np.random.default_rng(1)
    few, many = (pixel_size_from_red_cells(50 * np.exp(rng.normal(0, 0.06, count))) for count in (5, 500))
    assert few is not None
    assert many is not None
    assert few.interval is not None
    assert many.interval is not None
    assert np.ptp(many.interval) < np.ptp(few.interval) / 4
    assert (few.red_cells, many.red_cells, few.source) == (5, 500, "red cells")


def test_too_few_red_cells_give_no_estimate():
    assert pixel_size_from_red_cells(np.full(MIN_RED_CELLS_SEEN - 1, 50.0)) is None
    size = pixel_size_from_red_cells(np.full(MIN_RED_CELLS_SEEN, 50.0))
    assert size is not None
    assert size.um_per_px == pytest.approx(RED_CELL_UM / 50)
    assert size.red_cell_px == pytest.approx(50)


def test_some_cells_of_another_size_do_not_mislead():
    assert _red_cell_px([*_grid(60)[:12], *[(row, column, 30.0) for row, column, _ in _grid(1)[12:]]]) == pytest.approx(
        60, rel=0.03
    )


@pytest.mark.parametrize("value", [0.0, -0.1, float("nan"), float("inf")])
def test_impossible_size_is_refused(value: float):
    with pytest.raises(ConfigError, match="um_per_px must be positive"):
        PixelSize(value, "given")


def test_size_stored_in_the_file_is_taken(tmp_path: Path):
    picture = Image.fromarray(np.where(_region(_grid(50))[..., None], (200, 150, 150), 225).astype(np.uint8))
    picture.save(tmp_path / "a.png", dpi=(254_000, 254_000))
    size = stored_pixel_size(read_image(tmp_path / "a.png"))
    assert size is not None
    assert size.um_per_px == pytest.approx(0.1, rel=1e-3)
    assert (size.source, size.interval) == ("metadata", None)
    picture.save(tmp_path / "b.png", dpi=(72, 72))
    assert stored_pixel_size(read_image(tmp_path / "b.png")) is None


@pytest.mark.parametrize(
    ("um_per_px", "doubtful"), [(0.039, True), (0.041, False), (0.12, False), (0.39, False), (0.41, True)]
)
def test_cells_contradict_a_size_by_which_they_have_less_than_4_or_more_than_40_micrometres(
    um_per_px: float, doubtful: bool
):
    areas = [1, round(np.pi * 100**2 / 4), 10**6]  # the median counts: 100 pixels across
    assert contradicts(PixelSize(um_per_px, "given"), areas) == doubtful
    assert not contradicts(PixelSize(um_per_px, "given"), [])


def _estimate(um_per_px: float, red_cells: int) -> PixelSize:
    return PixelSize(um_per_px, "red cells", red_cells=red_cells)


def test_images_of_one_frame_agree_on_a_pixel_size():
    camera, other = (480, 640), (1944, 2592)
    sizes = [_estimate(0.075, 9), _estimate(0.060, 3), None, _estimate(0.2, 5), PixelSize(0.07, "given"), None]
    frames = [camera, camera, camera, camera, camera, other]
    agreed = agreed_pixel_sizes(sizes, frames)
    assert [size and size.um_per_px for size in agreed] == [0.075, 0.075, 0.075, 0.2, 0.07, None]
    assert agreed[0] is not None
    assert (agreed[0].source, agreed[0].red_cells) == ("red cells of all images", 12)
    assert agreed_pixel_sizes([], []) == []


def test_images_with_more_red_cells_weigh_more():
    frames = [(480, 640)] * 3
    few = [_estimate(0.070, 3), _estimate(0.071, 3), _estimate(0.080, 50)]
    assert [size and size.um_per_px for size in agreed_pixel_sizes(few, frames)] == pytest.approx([0.080] * 3)


def test_images_that_differ_more_agree_less_surely():
    frames = [(480, 640)] * 5

    def width(spread: float) -> float:
        agreed = agreed_pixel_sizes([_estimate(0.08 * np.exp(spread * k), 10) for k in range(-2, 3)], frames)[0]
        assert agreed is not None
        assert agreed.interval is not None
        assert agreed.interval[0] < 0.08 < agreed.interval[1]
        return agreed.interval[1] / agreed.interval[0]

    assert width(0.06) > width(0.01) > 1


def test_interval_of_two_images_holds_those_of_both():
    two = [
        PixelSize(0.080, "red cells", interval=(0.075, 0.086), red_cells=4),
        PixelSize(0.084, "red cells", interval=(0.080, 0.088), red_cells=4),
    ]
    agreed = agreed_pixel_sizes([*two, None], [(480, 640)] * 3)
    assert agreed[2] is not None
    assert agreed[2].interval == (0.075, 0.088)
    assert agreed[2].red_cells == 8


def test_images_that_contradict_each_other_agree_on_nothing():
    own = [_estimate(um_per_px, 5) for um_per_px in (0.05, 0.08, 0.12, 0.19)]
    assert agreed_pixel_sizes([*own, None], [(480, 640)] * 5) == [*own, None]


def test_one_image_alone_passes_on_what_it_says():
    only = PixelSize(0.08, "red cells", interval=(0.075, 0.085), red_cells=4)
    assert agreed_pixel_sizes([None, only], [(480, 640)] * 2) == [only, only]
