"""Pixel size from drawn red cells of known diameter."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leukospike.errors import ConfigError
from leukospike.images import read_image
from leukospike.segmentation.scale import (
    RED_CELL_UM,
    PixelSize,
    agreed_pixel_sizes,
    contradicts,
    pixel_size_from_red_cells,
    stored_pixel_size,
)
from leukospike.smears import CellKind, draw_field, subject_style

BACKGROUND, RED, PURPLE = (225, 220, 215), (200, 150, 150), (90, 40, 130)


def _field(discs: list[tuple[float, float, float]], shape: tuple[int, int] = (480, 640)) -> np.ndarray:
    """Draw red discs of (row, column, diameter), with a pale centre."""
    rows, columns = np.indices(shape)
    pixels = np.full((*shape, 3), BACKGROUND, np.uint8)
    for row, column, diameter in discs:
        distance = np.hypot(rows - row, columns - column)
        pixels[(distance <= diameter / 2) & (distance >= diameter / 9)] = RED
    return pixels


def _grid(diameter: float, step: int = 100) -> list[tuple[float, float, float]]:
    return [(row, column, diameter) for row in range(80, 420, step) for column in range(80, 580, step)]


@pytest.mark.parametrize("diameter", [30, 50, 80])
def test_diameter_of_drawn_discs_is_found(diameter: int):
    size = pixel_size_from_red_cells(_field(_grid(diameter)))
    assert size is not None
    assert size.red_cell_px == pytest.approx(diameter, rel=0.04)
    assert size.um_per_px == pytest.approx(RED_CELL_UM / diameter, rel=0.04)
    assert size.source == "red cells"
    assert size.red_cells == 20


def test_spread_is_half_the_interquartile_range():
    small, large = ([(row, column, d) for row in (80, 180, 280, 380) for column in c]
                    for d, c in ((54, (80, 180)), (66, (320, 420))))  # fmt: skip
    size = pixel_size_from_red_cells(_field([*small, *large]))
    assert size is not None
    assert size.red_cells == 16
    assert size.spread_um_per_px == pytest.approx(RED_CELL_UM * (1 / 54 - 1 / 66) / 2, rel=0.1)


def test_whole_field_is_measured_on_a_smaller_copy():
    small = _field(_grid(40, step=60))
    size = pixel_size_from_red_cells(np.kron(small, np.ones((3, 3, 1), np.uint8)))
    assert size is not None
    assert size.red_cell_px == pytest.approx(120, rel=0.04)


def test_specks_and_platelets_do_not_count():
    rng = np.random.default_rng(0)
    specks = [(*rng.uniform(20, 460, 2), 12.0) for _ in range(40)]
    size = pixel_size_from_red_cells(_field([*specks, *_grid(60)]))
    assert size is not None
    assert size.red_cell_px == pytest.approx(60, rel=0.06)


def test_touching_and_cut_red_cells_do_not_mislead():
    touching = [(row, column + shift, 60.0) for row, column, _ in _grid(60)[::2] for shift in (0, 57)]
    cut = [(0.0, column, 60.0) for column in range(50, 600, 80)]
    size = pixel_size_from_red_cells(_field([*touching, *cut]))
    assert size is not None
    assert size.red_cell_px == pytest.approx(60, rel=0.06)


def test_white_cells_do_not_count():
    pixels = _field(_grid(50)[:4])
    class_map = np.zeros(pixels.shape[:2], np.uint8)
    rows, columns = np.indices(class_map.shape)
    for column in range(80, 600, 130):
        class_map[np.hypot(rows - 350, columns - column) <= 55] = 2
    pixels[class_map == 2] = PURPLE
    size = pixel_size_from_red_cells(pixels, class_map)
    assert size is not None
    assert size.red_cell_px == pytest.approx(50, rel=0.05)
    assert size.red_cells == 4


def test_too_few_red_cells_give_no_estimate():
    assert pixel_size_from_red_cells(_field(_grid(50)[:2])) is None
    assert pixel_size_from_red_cells(_field(_grid(50)[:3])) is not None


@pytest.mark.parametrize("grey", [0, 200])
def test_image_of_one_colour_gives_no_estimate(grey: int):
    assert pixel_size_from_red_cells(np.full((300, 300, 3), grey, np.uint8)) is None


@pytest.mark.parametrize("green", [60, 200, 250, 254])
def test_white_cell_on_an_overexposed_ground_gives_no_estimate(green: int):
    # A saturated background and the rounding of its blur: all that is left beside the white cell.
    pixels = np.full((120, 120, 3), 255, np.uint8)
    class_map = np.zeros((120, 120), np.uint8)
    pixels[40:80, 40:80], class_map[40:80, 40:80] = (120, green, 140), 2
    assert pixel_size_from_red_cells(pixels, class_map) is None


def test_cells_cut_out_on_black_give_no_estimate():
    pixels = np.zeros((450, 450, 3), np.uint8)
    rows, columns = np.indices((450, 450))
    for row in (100, 225, 350):
        pixels[np.hypot(rows - row, columns - 225) < 50] = PURPLE
    assert pixel_size_from_red_cells(pixels) is None


def test_generated_fields_have_the_size_that_they_are_drawn_at():
    for seed in range(3):
        rng = np.random.default_rng(seed)
        field = draw_field([CellKind.LYMPHOBLAST, CellKind.NEUTROPHIL], subject_style(rng), rng)
        whole = [box for box in field.boxes if box.label == "RBC" and box.top > 0 and box.left > 0
                 and box.bottom < 480 and box.right < 640]  # fmt: skip
        truth = np.median([(box.bottom - box.top + box.right - box.left) / 2 for box in whole])
        size = pixel_size_from_red_cells(field.pixels, (field.mask > 0).astype(np.uint8))
        assert size is not None
        assert size.red_cell_px == pytest.approx(truth, rel=0.05)


@pytest.mark.parametrize("value", [0.0, -0.1, float("nan"), float("inf")])
def test_impossible_size_is_refused(value: float):
    with pytest.raises(ConfigError, match="um_per_px must be positive"):
        PixelSize(value, "given")


def test_size_stored_in_the_file_is_taken(tmp_path: Path):
    Image.fromarray(_field(_grid(50))).save(tmp_path / "a.png", dpi=(254_000, 254_000))
    size = stored_pixel_size(read_image(tmp_path / "a.png"))
    assert size is not None
    assert size.um_per_px == pytest.approx(0.1, rel=1e-3)
    assert size.source == "metadata"
    Image.fromarray(_field(_grid(50))).save(tmp_path / "b.png", dpi=(72, 72))
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


def test_images_of_one_frame_agree_on_a_pixel_size():
    def estimate(um_per_px: float, red_cells: int) -> PixelSize:
        return PixelSize(um_per_px, "red cells", red_cells=red_cells)

    camera, other = (480, 640), (1944, 2592)
    sizes = [estimate(0.075, 9), estimate(0.060, 3), None, estimate(0.2, 5), PixelSize(0.07, "given"), None]
    frames = [camera, camera, camera, camera, camera, other]
    assert agreed_pixel_sizes(sizes, frames) == [0.075, 0.075, 0.075, 0.2, 0.07, None]
    assert agreed_pixel_sizes([], []) == []
