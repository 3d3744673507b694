"""From what a segmenter says of an image to the result: for stubs that know the answer, and for the shipped one."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from leukospike.errors import ConfigError, ImageError
from leukospike.segmentation import CELL_COLUMNS, Advice, PixelSize, Quality, Segmentation, segment_pixels
from leukospike.segmentation import result as result_module
from leukospike.segmentation.class_maps import Reading, Segmenter, read_classes
from leukospike.segmentation.looks import ScaleFrom
from leukospike.segmentation.network import default_segmenter
from leukospike.segmentation.result import MIN_CONFIDENCE, Doubt, red_cell_px
from leukospike.segmentation.segment import segment
from leukospike.smears import CellKind, DrawnField, draw_cell, draw_field, subject_style

KINDS = [CellKind.LYMPHOBLAST, CellKind.NEUTROPHIL, CellKind.LYMPHOCYTE]


def _drawn(seed: int) -> DrawnField:
    rng = np.random.default_rng(seed)
    return draw_field(KINDS, subject_style(rng), rng)


@pytest.fixture(scope="module")
def field() -> DrawnField:
    return _drawn(1)


def _classes(field: DrawnField) -> np.ndarray:
    return np.where(field.mask == 255, 2, field.mask > 0).astype(np.uint8)


def _stub(classes: np.ndarray, red_px: float | None = 58.0, **about: object) -> Segmenter:
    """Give a segmenter that knows the classes, and six red cells."""
    red_cells = np.zeros(0) if red_px is None else red_px * np.linspace(0.97, 1.03, 6)
    reading = Reading(classes, red_cells=red_cells, **about)  # pyright: ignore[reportArgumentType]
    return lambda *_: reading


def _segmented(field: DrawnField, **options: object) -> Segmentation:
    return segment_pixels("a", field.pixels, _stub(_classes(field)), **options)  # pyright: ignore[reportArgumentType]


# --- what follows from classes that are known ---


def test_cells_of_a_generated_field_are_those_drawn(field: DrawnField):
    result = segment_pixels("field.png", field.pixels, _stub(_classes(field)))
    assert result.quality == ()
    assert result.flags == ()
    np.testing.assert_array_equal(result.mask, field.mask)
    boxes = [(b.top, b.left, b.bottom - b.top, b.right - b.left) for b in field.boxes if b.label == "WBC"]
    rows = result.cells[["top", "left", "height", "width"]].itertuples(index=False)
    assert [tuple(row) for row in rows] == sorted(boxes)
    assert set(result.cells["image"]) == {"field.png"}
    assert result.pixel_size is not None
    assert (result.pixel_size.source, result.pixel_size.red_cells) == ("red cells", 6)
    side = result.pixel_size.um_per_px
    assert side == pytest.approx(1 / 8, rel=0.02)
    np.testing.assert_allclose(result.cells["area_um2"], result.cells["area_px"] * side**2, atol=0.005)


def test_too_few_red_cells_give_no_pixel_size_but_the_scale_tells_what_is_debris(field: DrawnField):
    few = Reading(_classes(field), scale=50 / 58, scale_from=ScaleFrom.RED_CELLS, red_cells=np.array([58.0]))
    result = segment_pixels("a", field.pixels, lambda *_: few)
    assert result.pixel_size is None
    assert len(result.measures) == 3
    large = Reading(_classes(field), scale=50 / 400, scale_from=ScaleFrom.RED_CELLS, red_cells=np.array([400.0]))
    assert segment_pixels("a", field.pixels, lambda *_: large).measures == ()


def test_debris_goes_by_the_pixel_size(field: DrawnField):
    coarse = _segmented(field, pixel_size=PixelSize(0.01, "given"))
    assert len(coarse.cells) == 0
    assert not coarse.mask.any()
    assert coarse.pixel_size == PixelSize(0.01, "given")


@pytest.mark.parametrize(
    ("size", "flags"),
    [
        (PixelSize(0.125, "given"), ()),
        (PixelSize(0.5, "given"), ("pixel_size",)),
        (PixelSize(0.5, "metadata"), ("pixel_size",)),
        (PixelSize(0.5, "red cells"), ()),  # it rests on what the image shows
        (PixelSize(0.03, "given"), ("pixel_size",)),  # all cells are dropped as debris
    ],
)
def test_size_that_the_cells_contradict_is_flagged_and_cells_stay(field: DrawnField, size: PixelSize, flags: tuple):
    result = _segmented(field, pixel_size=size)
    assert result.quality == ()
    assert result.flags == flags
    assert len(result.cells) == (0 if size.um_per_px < 0.1 else 3)


def test_cell_that_the_border_cuts_says_nothing_of_the_size(field: DrawnField):
    bottom = min(box.bottom for box in field.boxes if box.label == "WBC")
    pixels, classes = field.pixels[bottom - 20 :], _classes(field)[bottom - 20 :]
    whole = segment_pixels("a", pixels, _stub(classes), pixel_size=PixelSize(0.125, "given"))
    assert whole.cells["border"].any()
    assert whole.flags == ()
    assert whole.whole_cells == np.count_nonzero(~whole.cells["border"].astype(bool)) > 0


def test_blank_image_has_no_cells_whatever_the_class_map(field: DrawnField):
    blank = np.full_like(field.pixels, 200)
    result = segment_pixels("a", blank, _stub(_classes(field), None))
    assert [advice.quality for advice in result.quality] == [Quality.BLANK]
    assert tuple(result.cells.columns) == CELL_COLUMNS
    assert len(result.cells) == 0
    assert result.instances.boxes == ()
    assert not result.mask.any()
    assert result.pixel_size is None


@pytest.mark.parametrize("seed", range(3))
def test_negative_is_told_though_its_light_was_evened_out(seed: int):
    drawn = _drawn(seed)
    assert segment_pixels("a", 255 - drawn.pixels, _stub(_classes(drawn))).flags[0] == "inverted"


@pytest.mark.parametrize("quality", [quality for quality in Quality if quality is not Quality.BLANK])
def test_cells_are_given_whatever_is_said_of_the_image_and_refused_if_asked(
    field: DrawnField, quality: Quality, monkeypatch: pytest.MonkeyPatch
):
    said = (Advice(quality, "a measure", 2.0, 1.0),)
    monkeypatch.setattr(result_module, "quality_of", lambda *_, **__: said)
    given, refused = (_segmented(field, strict=strict) for strict in (False, True))
    assert (given.quality, refused.quality) == (said, said)
    assert (given.flags, refused.flags) == ((quality.value,), (quality.value,))
    assert len(given.measures) == 3
    np.testing.assert_array_equal(given.mask, field.mask)
    assert refused.measures == ()
    assert not refused.mask.any()


def test_doubtful_scale_or_size_alone_refuses_no_cells(field: DrawnField):
    result = _segmented(field, pixel_size=PixelSize(0.5, "given"), strict=True)
    assert result.doubts == (Doubt.PIXEL_SIZE,)
    assert len(result.measures) == 3


def test_strict_changes_nothing_in_a_good_image(field: DrawnField):
    plain, strict = (_segmented(field, strict=strict) for strict in (False, True))
    np.testing.assert_array_equal(plain.mask, strict.mask)
    pd.testing.assert_frame_equal(plain.cells, strict.cells)


@pytest.mark.parametrize(
    ("scale", "scale_from", "doubts"),
    [
        (1.0, ScaleFrom.RED_CELLS, ()),
        (50 / 13, ScaleFrom.RED_CELLS, ()),
        (50 / 11, ScaleFrom.RED_CELLS, (Doubt.SCALE,)),  # red cells of 11 pixels
        (50 / 170, ScaleFrom.STATED, (Doubt.SCALE,)),
        (1.0, ScaleFrom.NOTHING, (Doubt.NO_SCALE,)),
    ],
)
def test_scale_that_is_not_known_is_said(field: DrawnField, scale: float, scale_from: ScaleFrom, doubts: tuple):
    segmenter = _stub(_classes(field), scale=scale, scale_from=scale_from)
    result = segment_pixels("a", field.pixels, segmenter)
    assert result.doubts == doubts
    assert result.flags == tuple(doubt.value for doubt in doubts)
    assert (result.scale, result.scale_from) == (scale, scale_from)
    assert len(result.measures) == 3


class _Doubter:
    """Evidence that believes in some objects only, in their order."""

    def __init__(self, *confidences: float) -> None:
        self._confidences = np.array(confidences)

    def confidence(self, measures: np.ndarray) -> np.ndarray:
        assert len(measures) == len(self._confidences)
        return self._confidences


def test_objects_that_are_no_cells_are_left_out_and_counted(field: DrawnField, monkeypatch: pytest.MonkeyPatch):
    classes = _classes(field)
    shares = np.eye(4, dtype=np.float16)[classes].transpose(2, 0, 1)
    segmenter = _stub(classes, shares=shares, even=field.pixels)
    monkeypatch.setattr(result_module, "default_evidence", lambda: _Doubter(0.75, 0.1, MIN_CONFIDENCE))
    result = segment_pixels("a", field.pixels, segmenter)
    assert result.rejected == 1
    assert [cell.cell for cell in result.measures] == [1, 2]
    assert [cell.confidence for cell in result.measures] == [0.75, MIN_CONFIDENCE]
    assert result.cells["confidence"].tolist() == [0.75, MIN_CONFIDENCE]
    boxes = sorted((b.top, b.left, b.bottom, b.right) for b in field.boxes if b.label == "WBC")
    top, left, bottom, right = boxes[1]
    assert not result.mask[top:bottom, left:right].any()
    assert not result.instances.labels[top:bottom, left:right].any()
    assert set(np.unique(result.instances.labels)) == {0, 1, 2}


def test_segmenter_without_evidence_gives_no_confidence(field: DrawnField):
    result = _segmented(field)
    assert result.cells["confidence"].isna().all()
    assert result.rejected == 0


def test_colours_are_measured_in_even_light(field: DrawnField):
    dim = np.array([0.9, 0.8, 0.7]) * np.linspace(1, 0.6, 640)[None, :, None]
    other = (field.pixels * dim).astype(np.uint8)
    plain = _segmented(field)
    dimmed = segment_pixels("a", other, _stub(_classes(field)))
    colours = [name for name in CELL_COLUMNS if "red" in name or "green" in name or "blue" in name]
    assert colours
    for name in colours:
        np.testing.assert_allclose(dimmed.cells[name], plain.cells[name], rtol=0.12, atol=6)


# --- a field or a picture of one cell ---


def _with_cells(shape: tuple[int, int], cells: list[tuple[float, float, float]], **about: object) -> Segmentation:
    """Give what is made of an image with discs of (row, column, radius) that are white cells."""
    rows, columns = np.indices(shape)
    classes = np.zeros(shape, np.uint8)
    for row, column, radius in cells:
        classes[np.hypot(rows - row, columns - column) <= radius] = 1
        classes[np.hypot(rows - row, columns - column) <= 0.6 * radius] = 2
    colours = np.array([(235, 228, 230), (190, 160, 210), (90, 45, 130)])[classes]
    noise = np.random.default_rng(0).normal(0, 3, colours.shape)
    pixels = np.clip(colours + noise, 0, 255).astype(np.uint8)
    return segment_pixels("a", pixels, _stub(classes, None, **about))


@pytest.mark.parametrize(
    ("shape", "cells", "one"),
    [
        ((300, 300), [(150, 150, 60)], True),
        ((1600, 1600), [(800, 800, 300)], True),  # however many pixels it has
        ((300, 300), [(150, 150, 60), (150, 330, 60)], True),  # the neighbour is cut by the border
        ((300, 300), [(80, 80, 40), (220, 220, 40)], False),
        ((240, 320), [(60, 60, 20), (160, 100, 20), (100, 250, 20)], False),  # a small field
        ((300, 300), [(60, 240, 40)], False),  # aside
        ((900, 900), [(450, 450, 60)], False),  # lost in the middle
        ((300, 300), [(150, 20, 60)], False),  # cut
    ],
)
def test_picture_of_one_cell_is_told_from_a_field_by_what_it_shows(
    shape: tuple[int, int], cells: list[tuple[float, float, float]], one: bool
):
    assert _with_cells(shape, cells).shows_one_cell is one


@pytest.mark.parametrize(("scale", "one"), [(0.9, True), (2.0, False)])
@pytest.mark.parametrize("scale_from", [ScaleFrom.RED_CELLS, ScaleFrom.STATED])
def test_lone_cell_in_the_middle_of_a_whole_field_is_no_picture_of_one(scale: float, scale_from: ScaleFrom, one: bool):
    seen = _with_cells((300, 280), [(150, 140, 50)], scale=scale, scale_from=scale_from)
    assert seen.shows_one_cell is one
    untold = _with_cells((300, 280), [(150, 140, 50)], scale=scale, scale_from=ScaleFrom.WHITE_CELLS)
    assert untold.shows_one_cell


@pytest.mark.parametrize(
    ("scale", "scale_from", "one"),
    [
        (0.9, ScaleFrom.RED_CELLS, True),  # five red cells across
        (1.0, ScaleFrom.RED_CELLS, False),
        (0.5, ScaleFrom.NOTHING, False),  # how much it shows is not known
    ],
)
def test_picture_without_a_cell_is_of_one_if_it_is_too_small_for_a_field(
    scale: float, scale_from: ScaleFrom, one: bool
):
    assert _with_cells((300, 280), [], scale=scale, scale_from=scale_from).shows_one_cell is one


def test_cell_on_black_is_a_picture_of_one_cell():
    rng = np.random.default_rng(0)
    pixels = draw_cell(CellKind.NEUTROPHIL, subject_style(rng), rng).pixels
    result = segment_pixels("a", pixels, _stub(np.zeros(pixels.shape[:2], np.uint8), None))
    assert result.light.cut_out
    assert result.measures == ()
    assert result.shows_one_cell


# --- with the shipped weights ---


@pytest.fixture(scope="module")
def shipped() -> Segmenter:
    return partial(read_classes, default_segmenter())


def _resized(pixels: np.ndarray, factor: float) -> np.ndarray:
    rows, columns = pixels.shape[:2]
    how = Image.Resampling.BOX if factor < 1 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(pixels).resize((round(columns * factor), round(rows * factor)), how))


def _fall_off(pixels: np.ndarray) -> np.ndarray:
    """Let light fall to two fifths in the corners, redder on the right."""
    rows, columns = np.mgrid[-1 : 1 : pixels.shape[0] * 1j, -1 : 1 : pixels.shape[1] * 1j]
    light = np.exp(-0.45 * (rows**2 + columns**2))[..., None]
    return (pixels * light * np.exp(0.1 * columns[..., None] * np.array([0.0, -1.0, -1.5])).clip(0, 1)).astype(np.uint8)


def _through_eyepiece(pixels: np.ndarray) -> np.ndarray:
    rows, columns = np.ogrid[: pixels.shape[0], : pixels.shape[1]]
    outside = np.hypot(rows - pixels.shape[0] / 2, columns - pixels.shape[1] / 2) > 0.62 * pixels.shape[0]
    return np.where(outside[..., None], np.uint8(3), pixels)


def _grey_blue_red_cells(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Turn what is no white cell from eosin's pink to a grey blue, its darkness kept."""
    grey = pixels.astype(float).mean(axis=2, keepdims=True)
    other = grey + (grey < 205) * np.array([-14.0, -2.0, 12.0])
    return np.where(mask[..., None] > 0, pixels, other.clip(0, 255)).astype(np.uint8)


CHANGES = {
    "as it is": lambda field: field.pixels,
    "half size": lambda field: _resized(field.pixels, 0.5),
    "double size": lambda field: _resized(field.pixels, 2.0),
    "uneven light": lambda field: _fall_off(field.pixels),
    "dim yellow light": lambda field: (field.pixels * np.array([0.75, 0.65, 0.45])).astype(np.uint8),
    "grey-blue red cells": lambda field: _grey_blue_red_cells(field.pixels, field.mask),
}


def _found(result: Segmentation, field: DrawnField) -> int:
    """Count the drawn white cells of which some found one has more than half of the pixels."""
    labels = np.asarray(
        Image.fromarray(result.instances.labels).resize(field.mask.shape[::-1], Image.Resampling.NEAREST)
    )
    count = 0
    for box in (box for box in field.boxes if box.label == "WBC"):
        own = labels[box.top : box.bottom, box.left : box.right][
            field.mask[box.top : box.bottom, box.left : box.right] > 0
        ]
        count += np.bincount(own, minlength=2)[1:].max() > 0.5 * own.size
    return count


@pytest.mark.parametrize("how", CHANGES)
@pytest.mark.parametrize("seed", [0, 2])
def test_white_cells_of_a_field_are_found_however_it_was_taken(shipped: Segmenter, how: str, seed: int):
    field = _drawn(seed)
    result = segment_pixels("a", CHANGES[how](field), shipped)
    assert len(result.measures) == len(KINDS)
    assert _found(result, field) == len(KINDS)
    assert not result.shows_one_cell


@pytest.mark.parametrize(("how", "factor"), [("as it is", 1.0), ("half size", 0.5), ("double size", 2.0)])
def test_pixel_size_of_a_field_is_found_at_any_size(shipped: Segmenter, how: str, factor: float):
    field = _drawn(0)
    result = segment_pixels("a", CHANGES[how](field), shipped)
    whole = [box for box in field.boxes if box.label == "RBC" and box.top > 0 and box.left > 0
             and box.bottom < 480 and box.right < 640]  # fmt: skip
    truth = factor * np.median([np.sqrt((box.bottom - box.top) * (box.right - box.left)) for box in whole])
    assert result.pixel_size is not None
    assert result.pixel_size.red_cell_px == pytest.approx(truth, rel=0.05)
    assert result.scale_from is ScaleFrom.RED_CELLS
    assert result.scale * truth == pytest.approx(50, rel=0.15)


def test_wrong_size_in_the_file_does_not_hide_cells(shipped: Segmenter):
    field = _drawn(0)
    result = segment_pixels("a", field.pixels, shipped, pixel_size=PixelSize(0.25, "metadata"))
    assert _found(result, field) == len(KINDS)


def test_field_through_an_eyepiece_keeps_its_cells(shipped: Segmenter):
    field = _drawn(0)
    seen = _through_eyepiece(field.pixels)
    shown = seen.max(axis=2) > 3
    inside = [box for box in field.boxes if box.label == "WBC"
              and shown[box.top : box.bottom, box.left : box.right].all()]  # fmt: skip
    result = segment_pixels("a", seen, shipped)
    assert len(inside) >= 2
    assert _found(result, DrawnField(field.pixels, field.mask, tuple(inside))) == len(inside)
    assert not result.light.cut_out
    assert not result.shows_one_cell
    assert not (result.mask[~shown] > 0).any()


@pytest.mark.parametrize("size_px", [150, 300, 450])
@pytest.mark.parametrize("kind", KINDS)
def test_cell_on_black_is_found_whole(shipped: Segmenter, kind: CellKind, size_px: int):
    rng = np.random.default_rng(4)
    cell = draw_cell(kind, subject_style(rng), rng, size_px=size_px)
    result = segment_pixels("a", cell.pixels, shipped)
    assert len(result.measures) == 1
    found, drawn = result.mask > 0, cell.mask > 0
    assert np.count_nonzero(found & drawn) / np.count_nonzero(found | drawn) > 0.85
    assert result.scale_from is ScaleFrom.CUT_OUT


def test_blank_slide_has_no_cells(shipped: Segmenter):
    noise = np.random.default_rng(0).normal(0, 2, (400, 500, 3))
    result = segment_pixels("a", (225 + noise).astype(np.uint8), shipped)
    assert result.measures == ()
    assert result.flags[0] == "blank"


# --- a size that red cells contradict ---


@pytest.mark.parametrize(("um_per_px", "contradicted"), [(0.125, False), (0.14, False), (0.25, True), (0.03, True)])
def test_red_cells_decide_where_they_contradict_a_stated_size(um_per_px: float, contradicted: bool):
    reading = Reading(np.zeros((300, 400), np.uint8), scale=50 / 57.6, scale_from=ScaleFrom.RED_CELLS)
    size = PixelSize(um_per_px, "given")
    assert red_cell_px(reading, size) == pytest.approx(57.6 if contradicted else size.red_cell_px)


def test_contradicted_size_is_said_and_cells_stay_as_they_are():
    rng = np.random.default_rng(0)
    field = draw_field([CellKind.LYMPHOBLAST, CellKind.LYMPHOCYTE], subject_style(rng), rng)
    plain, wrong, far_off = (
        segment_pixels("a", field.pixels, partial(read_classes, default_segmenter()), pixel_size=size)
        for size in (None, PixelSize(0.25, "given"), PixelSize(1.0, "given"))
    )
    assert plain.flags == ()
    for doubted in (wrong, far_off):
        assert "pixel_size" in doubted.flags
        assert len(doubted.measures) == len(plain.measures)


def test_no_size_is_read_off_a_negative():
    rng = np.random.default_rng(0)
    pixels = draw_field([CellKind.LYMPHOBLAST], subject_style(rng), rng).pixels
    told, negative = (
        segment_pixels("a", image, _stub(np.zeros(image.shape[:2], np.uint8))) for image in (pixels, 255 - pixels)
    )
    assert told.pixel_size is not None
    assert "inverted" in negative.flags
    assert negative.pixel_size is None


def test_field_lit_from_one_side_is_no_negative():
    rng = np.random.default_rng(0)
    pixels = draw_field([CellKind.LYMPHOBLAST], subject_style(rng), rng).pixels
    dark = (pixels * np.linspace(1, 0.3, pixels.shape[1])[None, :, None]).astype(np.uint8)
    assert "inverted" not in segment_pixels("a", dark, _stub(np.zeros(dark.shape[:2], np.uint8), None)).flags


def test_scale_of_white_cells_that_are_none_is_doubted():
    guess = Reading(np.zeros((300, 400), np.uint8), scale=0.4, scale_from=ScaleFrom.WHITE_CELLS, red_cells=np.zeros(0))
    rng = np.random.default_rng(0)
    pixels = draw_field([CellKind.LYMPHOBLAST], subject_style(rng), rng).pixels[:300, :400]
    assert "no_scale" in segment_pixels("a", pixels, lambda *_: guess).flags


@pytest.mark.parametrize(
    ("image", "got"),
    [
        (np.zeros((0, 0, 3), np.uint8), r"uint8 of shape \(0, 0, 3\)"),
        (np.zeros((1, 40, 3), np.uint8), r"uint8 of shape \(1, 40, 3\)"),
        (np.ma.masked_array(np.zeros((40, 40, 3), np.uint8)), "MaskedArray"),
    ],
)
def test_what_is_no_picture_is_refused(image: object, got: str):
    with pytest.raises(ImageError, match=rf"^segment: image must be an RGB array, uint8, .*, got {got}\. Convert it"):
        segment(image)


def test_pixel_size_must_be_a_number():
    with pytest.raises(ConfigError, match=r"^segment: `pixel_size` must be a number of micrometres, got True"):
        segment(np.full((40, 40, 3), 200, np.uint8), pixel_size=True)
